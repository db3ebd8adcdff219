"""What a user writes about the number of replicas."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from inferfleet.api.resource import Duration, Part, Rule, validated
from inferfleet.values import AutoscalingMode

SCHEDULE_ENDS: Final = "a schedule needs either end or duration"
SCHEDULE_SAYS: Final = "a schedule needs minReplicas, maxReplicas, or both"
ORDERED: Final = "minReplicas must not be more than maxReplicas"
CRON_FIELDS: Final = 5
SOME_MONDAY: Final = datetime(2024, 1, 1, tzinfo=UTC)


def _check_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise ValueError(f"{name!r} is no IANA time zone such as Europe/Berlin") from error
    return name


def _check_cron(text: str) -> str:
    try:
        happens = len(text.split()) == CRON_FIELDS and next(CronSim(text, SOME_MONDAY), None)
    except CronSimError as error:
        raise ValueError(f"{text!r} is no cron expression: {error}") from error
    if not happens:
        raise ValueError(
            f"{text!r} is no cron expression of five fields that ever comes, such as 0 8 * * 1-5"
        )
    return text


Cron = Annotated[str, Field(min_length=9, max_length=128), AfterValidator(_check_cron)]


class Schedule(Part):
    """A known event: bounds on the replicas that stand in for those of `autoscaling` while it lasts."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule("has(self.end) != has(self.duration)", SCHEDULE_ENDS),
            Rule("has(self.minReplicas) || has(self.maxReplicas)", SCHEDULE_SAYS),
            Rule(
                "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
                ORDERED,
                ".minReplicas",
            ),
        )
    )

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """What it is called in status and conditions."""
    time_zone: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_time_zone)] = "UTC"
    """IANA time zone in which `start` and `end` are meant, such as Europe/Berlin."""
    start: Cron
    """When it begins, as cron: minute, hour, day of month, month, day of week. Replicas are asked for a cold
    start earlier, so that they serve by then."""
    end: Cron | None = None
    """When it ends, as cron. Either this or `duration`."""
    duration: Duration | None = None
    """How long it lasts. Either this or `end`."""
    min_replicas: Annotated[int | None, Field(ge=0, le=1000)] = None
    """Fewest replicas meanwhile. Default: those of `autoscaling`."""
    max_replicas: Annotated[int | None, Field(ge=1, le=1000)] = None
    """Most replicas meanwhile. Default: those of `autoscaling`."""

    @model_validator(mode="after")
    def _ends_once_and_says_something(self) -> Self:
        if (self.end is None) == (self.duration is None):
            raise ValueError(SCHEDULE_ENDS)
        if self.min_replicas is None and self.max_replicas is None:
            raise ValueError(SCHEDULE_SAYS)
        if self.max_replicas is not None and (self.min_replicas or 0) > self.max_replicas:
            raise ValueError(ORDERED)
        return self


class Wake(Part):
    """What brings a deployment without replicas back, besides the annotation `inferfleet.dev/wake`."""

    query: Annotated[str | None, Field(min_length=1, max_length=2048)] = None
    """PromQL asked while there is no replica; above 0 means that requests wait. Needs the operator's
    Prometheus."""


class Autoscaling(Part):
    """How many replicas, and how fast that may change."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule(
                "!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
                ORDERED,
                ".minReplicas",
            ),
        )
    )

    mode: Annotated[AutoscalingMode, Field(strict=False)] = AutoscalingMode.INTERNAL
    """Internal: the operator decides. External: HPA or KEDA writes `spec.replicas`. Off: you write it."""
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Fewest replicas; 0 lets the deployment scale to zero."""
    max_replicas: Annotated[int | None, Field(ge=1, le=1000)] = None
    """Most replicas. Default: `minReplicas`, but at least 1."""
    target_queue_per_replica: Annotated[float, Field(gt=0)] = 4.0
    """Waiting requests per replica that are tolerated."""
    target_utilization: Annotated[float | None, Field(gt=0, le=1)] = None
    """Share of a replica's capacity at the objectives that is planned for. Default: all of it, for that
    capacity is measured at their percentile."""
    capacity_factor: Annotated[float | None, Field(gt=0, le=10)] = None
    """What a replica takes at the objectives, in multiples of what the plan predicts for the mean
    request and a fleet of that size.
    Write it where you have measured it: latencies do not correct it then. Default: learned."""
    scale_up_window: Duration = "5s"
    """How long more demand must last before a replica is added."""
    scale_down_window: Duration | None = None
    """How long less demand must last before a replica is removed. Default: as long as a cold start takes, 1
    to 10 minutes."""
    max_scale_up_per_minute: Annotated[int | None, Field(ge=1, le=1000)] = None
    """Most replicas added in a minute; a burst may exceed it. Default: as many as there are, at least 10."""
    max_scale_down_per_minute: Annotated[int | None, Field(ge=1, le=1000)] = None
    """Most replicas removed in a minute. Default: a quarter of those there are, at least 1."""
    schedules: Annotated[
        list[Schedule],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []
    """Known events."""
    wake: Wake = Wake()
    """Who asks for a replica while there is none."""

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        if self.max_replicas is not None and self.min_replicas > self.max_replicas:
            raise ValueError(ORDERED)
        return self

    @property
    def upper_bound(self) -> int:
        """The most replicas, with the default filled in."""
        return self.max_replicas if self.max_replicas is not None else max(1, self.min_replicas)
