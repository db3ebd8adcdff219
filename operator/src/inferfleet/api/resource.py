"""What all custom resources share: strict parsing, the scalar types of Kubernetes, metadata, and rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple, Self

import durationpy
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from inferfleet.values import IntOrPercent

DURATION_PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
QUANTITY_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
PERCENT_PATTERN: Final = r"^(100|[0-9]{1,2})%$"


class SpecError(ValueError):
    """A resource that says something impossible. `code` is CamelCase and goes into the condition's reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Rule(NamedTuple):
    """A CEL rule of the API server: what must hold, what to say, and the field to blame."""

    rule: str
    message: str
    field: str | None = None


def validated(*rules: Rule) -> dict[str, Any]:
    """Return the schema extension that carries CEL rules."""
    return {
        "x-kubernetes-validations": [
            {"rule": rule.rule, "message": rule.message}
            | ({"fieldPath": rule.field, "reason": "FieldValueInvalid"} if rule.field else {})
            for rule in rules
        ]
    }


def _check_duration(text: str) -> str:
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration such as 40ms, 1.5s, 5m or 1h30m")
    return text


def _check_quantity(text: str) -> str:
    if not re.fullmatch(QUANTITY_PATTERN, text):
        raise ValueError(f"{text!r} is not a quantity such as 80Gi, 3350G or 900M")
    return text


def _check_int_or_percent(value: int | str) -> int | str:
    if isinstance(value, str) and not re.fullmatch(PERCENT_PATTERN, value):
        raise ValueError(f"{value!r} is neither a count nor a percentage from 0% to 100%")
    if isinstance(value, int) and value < 0:
        raise ValueError("a count cannot be negative")
    return value


Text = Annotated[str, Field(max_length=4096)]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Duration = Annotated[
    str,
    AfterValidator(_check_duration),
    Field(json_schema_extra={"pattern": DURATION_PATTERN, "maxLength": 32}),
]
Quantity = Annotated[
    str,
    AfterValidator(_check_quantity),
    Field(json_schema_extra={"pattern": QUANTITY_PATTERN, "maxLength": 32}),
]
CountOrPercent = Annotated[
    int | str,
    AfterValidator(_check_int_or_percent),
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "pattern": PERCENT_PATTERN,
            "minimum": 0,
            "maxLength": 4,
        }
    ),
]


def seconds(duration: str) -> float:
    """Return the length of a duration that has passed its check."""
    return float(durationpy.from_str(duration).total_seconds())


def int_or_percent(value: int | str) -> IntOrPercent:
    """Return the value of a count or percentage that has passed its check."""
    if isinstance(value, int):
        return IntOrPercent(count=value)
    return IntOrPercent(share=int(value.removesuffix("%")) / 100)


def amount(quantity: str) -> float:
    """Return the number that a quantity stands for."""
    from kubernetes.utils.quantity import parse_quantity  # noqa: PLC0415 - 40 MiB that few processes need

    return float(parse_quantity(quantity))  # type: ignore[no-untyped-call]


def timestamp(instant: float) -> str:
    """Write an instant as the API does, to the millisecond."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(timestamp: str) -> float:
    """Read an instant that the API or `timestamp` wrote."""
    return datetime.fromisoformat(timestamp).timestamp()


def maybe_timestamp(at: float | None) -> str | None:
    """Write an instant, if there is one."""
    return None if at is None else timestamp(at)


def maybe_instant(at: str | None) -> float | None:
    """Read an instant, if there is one."""
    return None if at is None else instant(at)


class Part(BaseModel):
    """A piece of a spec: camelCase, no coercion, nothing unknown."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
    )


class StatusPart(BaseModel):
    """A piece of a status: written here, so what a newer release added is ignored when read."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )


class Metadata(BaseModel):
    """The part of the object's metadata that is used here."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Resource(BaseModel):
    """A custom resource as the API server serves it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """Read a raw object.

        Raises:
            SpecError: with code `InvalidSpec`, naming every field that is wrong and why.
        """
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise SpecError("InvalidSpec", "; ".join(_problems(error))) from error


def _problems(error: ValidationError) -> list[str]:
    """Return one line per wrong field, in the words that the user wrote them in."""
    return [
        f"{'.'.join(str(step) for step in detail['loc'])}: {detail['msg'].removeprefix('Value error, ')}"
        for detail in error.errors(include_url=False, include_context=False)
    ]
