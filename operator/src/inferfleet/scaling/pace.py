"""How fast the number of replicas may follow what the laws ask for: windows, rates, bounds, in this order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from inferfleet.scaling.evidence import Evidence, Load
from inferfleet.values import AutoscalingSpec

RATE_PERIOD_SECONDS = 60.0

Steps = tuple[tuple[float, int], ...]
"""A step function of time: (instant, value from then on), oldest first."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a limit may look at. `current` is what was asked for last; `recommendations` end with now's."""

    spec: AutoscalingSpec
    load: Load
    current: int
    recommendations: Steps
    changes: Steps
    now: float


def _up_window(pace: Pace, wanted: int) -> int:
    """Go up only to what was asked for throughout the window: a spike of one scrape buys nothing."""
    if wanted <= pace.current:
        return wanted
    lowest = min(values_within(pace.recommendations, pace.now - pace.spec.scale_up_window_seconds))
    return max(pace.current, min(wanted, lowest))


def _down_window(pace: Pace, wanted: int) -> int:
    """Go down only to the most that was asked for within the window, and only once the window is full.

    After a restart of the operator it is empty: that holds, as it must.
    """
    start = pace.now - pace.spec.scale_down_window_seconds
    if wanted >= pace.current:
        return wanted
    if pace.recommendations[0][0] > start:
        return pace.current
    return min(pace.current, max(wanted, *values_within(pace.recommendations, start)))


def _evidence(pace: Pace, wanted: int) -> int:
    """Take nothing away while any replica's load is unknown; ask for nothing new while all are."""
    match pace.load.evidence:
        case Evidence.FRESH:
            return wanted
        case Evidence.PARTIAL:
            return max(wanted, pace.current)
        case Evidence.MISSING:
            return pace.current


def _rest_can_hold(pace: Pace, wanted: int) -> int:
    """Go down only as far as the rest has KV cache for what is cached now, at the target utilisation.

    The laws have checked tokens and batches by then: they answer for the whole load.
    """
    if wanted >= pace.current:
        return wanted
    needed = math.ceil(pace.load.kv_usage / pace.spec.target_utilization - 1e-9)
    return min(pace.current, max(wanted, needed))


def _up_rate(pace: Pace, wanted: int) -> int:
    """Add no more than so many in a minute."""
    base = min(values_within(pace.changes, pace.now - RATE_PERIOD_SECONDS), default=pace.current)
    return min(wanted, max(pace.current, base + pace.spec.max_scale_up_per_minute))


def _down_rate(pace: Pace, wanted: int) -> int:
    """Take away no more than so many in a minute."""
    base = max(values_within(pace.changes, pace.now - RATE_PERIOD_SECONDS), default=pace.current)
    return max(wanted, min(pace.current, base - pace.spec.max_scale_down_per_minute))


def _bounds(pace: Pace, wanted: int) -> int:
    """Whatever the evidence says, stay within what the user allows."""
    return max(pace.spec.min_replicas, min(wanted, pace.spec.max_replicas))


LIMITS: tuple[tuple[str, Callable[[Pace, int], int]], ...] = (
    ("scale-up window", _up_window),
    ("scale-down window", _down_window),
    ("evidence", _evidence),
    ("kv cache of the rest", _rest_can_hold),
    ("scale-up rate", _up_rate),
    ("scale-down rate", _down_rate),
    ("bounds", _bounds),
)


def limit(pace: Pace, wanted: int) -> tuple[int, tuple[str, ...]]:
    """Pass `wanted` through every limit; also say which of them changed it."""
    limited_by: list[str] = []
    for name, law in LIMITS:
        allowed = law(pace, wanted)
        if allowed != wanted:
            limited_by.append(name)
        wanted = allowed
    return wanted, tuple(limited_by)


def values_within(steps: Steps, start: float) -> list[int]:
    """The values that a step function had at `start` and since."""
    before = [value for at, value in steps if at <= start]
    return [*before[-1:], *(value for at, value in steps if at > start)]


def append(steps: Steps, at: float, value: int, keep_seconds: float) -> Steps:
    """Add a step; drop what lies before the one that holds at `at - keep_seconds`.

    A run of equal values keeps its first and last instant only, so a quiet day takes no memory. The same
    instant again replaces: asking twice changes nothing.
    """
    kept = [step for step in steps if step[0] < at]
    first = max((index for index, step in enumerate(kept) if step[0] <= at - keep_seconds), default=0)
    kept = kept[first:]
    run = 2
    if len(kept) >= run and all(step[1] == value for step in kept[-run:]):
        kept.pop()
    return (*kept, (at, value))
