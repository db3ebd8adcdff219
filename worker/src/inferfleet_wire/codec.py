"""Reading untrusted JSON into the contract's values, with messages that name the field."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

WIRE_VERSION = 1

Value = TypeVar("Value")
Choice = TypeVar("Choice", bound=Enum)


class WireError(ValueError):
    """A message that does not follow the contract, or follows another version of it."""


def parse(text: str | bytes, what: str) -> Mapping[str, Any]:
    """The object in `text`, once its version is one that this side understands."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"{what} is not JSON: {error}") from error
    fields = as_object(data, what)
    version = fields.get("version")
    if version != WIRE_VERSION or isinstance(version, bool):
        raise WireError(f"{what} has version {version!r}, this side understands {WIRE_VERSION}")
    return fields


def render(fields: Mapping[str, Any]) -> str:
    """One line of JSON with the version in front; the same value always gives the same bytes."""
    return json.dumps({"version": WIRE_VERSION, **fields}, separators=(",", ":"), allow_nan=False)


def as_object(value: Any, what: str) -> Mapping[str, Any]:
    """`value` if it is an object."""
    if not isinstance(value, dict):
        raise WireError(f"{what} must be an object, not {value!r:.80}")
    return value


def as_list(value: Any, what: str) -> list[Any]:
    """`value` if it is a list."""
    if not isinstance(value, list):
        raise WireError(f"{what} must be a list, not {value!r:.80}")
    return value


def text(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A string; required without a default."""
    return _typed(fields, name, str, "a string", default)


def choice(kind: type[Choice], fields: Mapping[str, Any], name: str) -> Choice:
    """One of a closed set of strings; required."""
    value = fields.get(name)
    try:
        return kind(value)
    except ValueError as error:
        raise WireError(
            f"{name} must be one of {', '.join(c.value for c in kind)}, not {value!r:.80}"
        ) from error


def flag(fields: Mapping[str, Any], name: str, default: bool | None = None) -> bool:
    """A boolean; required without a default."""
    return _typed(fields, name, bool, "true or false", default)


def count(fields: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A whole number of zero or more; required without a default."""
    value = _typed(fields, name, int, "a whole number", default)
    if isinstance(value, bool) or value < 0:
        raise WireError(f"{name} must be a whole number of zero or more, not {value!r}")
    return value


def number(fields: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """A finite number of zero or more; required without a default."""
    value = optional_number(fields, name)
    if value is None:
        if default is None or name in fields:
            raise WireError(f"{name} must be a number")
        return default
    return value


def optional_number(fields: Mapping[str, Any], name: str) -> float | None:
    """A finite number of zero or more, or None where it is null or absent."""
    value = fields.get(name)
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or value < 0
    ):
        raise WireError(f"{name} must be a number of zero or more, not {value!r:.80}")
    return float(value)


def counts(fields: Mapping[str, Any], name: str) -> dict[str, int]:
    """Counts by cause; absent means none."""
    by_cause = as_object(fields.get(name, {}), name)
    return {cause: count(by_cause, cause) for cause in by_cause}


def _typed(
    fields: Mapping[str, Any], name: str, kind: type[Value], kind_name: str, default: Value | None
) -> Value:
    if name not in fields and default is not None:
        return default
    value = fields.get(name)
    if not isinstance(value, kind):
        raise WireError(f"{name} must be {kind_name}, not {value!r:.80}")
    return value
