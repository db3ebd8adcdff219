"""The spec as it holds now: events of the calendar applied, what it leaves open filled by measurements."""

from __future__ import annotations

from dataclasses import dataclass

from inferfleet.scaling import schedules
from inferfleet.values import AutoscalingSpec

UTILIZATION = 1.0
"""Of what a replica takes at the objectives, at their percentile: the room that it asks for is left there,
and is learned under demand as it comes. A second margin would be a margin on a margin."""

SHORTEST_DOWN_SECONDS, LONGEST_DOWN_SECONDS = 60.0, 600.0

UP_AT_LEAST = 10
DOWN_SHARE = 4


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds, targets and pace without gaps; `schedule` names the events that set the bounds.

    `capacity_factor` is the capacity in multiples of the plan's, None where it is learned.
    """

    min_replicas: int
    max_replicas: int
    tolerated_queue: float
    utilization: float
    up_window_seconds: float
    down_window_seconds: float
    up_per_minute: int
    down_per_minute: int
    schedule: str = ""
    capacity_factor: float | None = None


def resolve(
    spec: AutoscalingSpec,
    *,
    current: int,
    cold_start_seconds: float,
    now: float,
) -> Rules:
    """Fill what the spec leaves open.

    A replica that goes too early costs a cold start to get back, so it is kept for as long as that takes:
    the break-even of renting against buying. Rates follow the size of the fleet: up by doubling, down by a
    quarter in a minute.
    """
    fewest, most, names = schedules.bounds(spec, now, cold_start_seconds)
    down = min(LONGEST_DOWN_SECONDS, max(SHORTEST_DOWN_SECONDS, cold_start_seconds))
    return Rules(
        min_replicas=fewest,
        max_replicas=most,
        tolerated_queue=spec.target_queue_per_replica,
        utilization=spec.target_utilization or UTILIZATION,
        up_window_seconds=spec.scale_up_window_seconds,
        down_window_seconds=_or(spec.scale_down_window_seconds, down),
        up_per_minute=spec.max_scale_up_per_minute or max(UP_AT_LEAST, current),
        down_per_minute=spec.max_scale_down_per_minute or max(1, current // DOWN_SHARE),
        schedule=names,
        capacity_factor=spec.capacity_factor,
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
