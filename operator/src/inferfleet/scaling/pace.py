"""How fast the number of replicas may follow what the laws ask for: windows, rates, bounds, in this order."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from inferfleet.scaling.evidence import Evidence, Load, round_up
from inferfleet.scaling.rules import Rules

RATE_PERIOD_SECONDS = 60.0

PANIC_SECONDS = 60.0
"""A burst is over when none was seen for this long (or for the scale-down window, where that is shorter)."""

Steps = tuple[tuple[float, int], ...]
"""A step function of time: (instant, value from then on), oldest first."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a limit may look at. `current` is what was asked for last; `recommendations` end with now's.

    `spent_on` is what the demand of the last hour asked for, where that hour missed too much.
    """

    rules: Rules
    load: Load
    current: int
    recommendations: Steps
    changes: Steps
    now: float
    panic: bool = False
    spent_on: Steps = ()


def _up_window(pace: Pace, wanted: int) -> int:
    """Go up only to what was asked for throughout the window: a spike of one scrape buys nothing.

    A burst does not wait: its own window has told it from a spike.
    """
    if wanted <= pace.current or pace.panic:
        return wanted
    lowest = min(values_within(pace.recommendations, pace.now - pace.rules.up_window_seconds))
    return max(pace.current, min(wanted, lowest))


def _down_window(pace: Pace, wanted: int) -> int:
    """Go down only to the most that was asked for within the window, and only once the window is full.

    After a restart of the operator it is empty: that holds, as it must.
    """
    start = pace.now - pace.rules.down_window_seconds
    if wanted >= pace.current:
        return wanted
    if pace.recommendations[0][0] > start:
        return pace.current
    return min(pace.current, max(wanted, *values_within(pace.recommendations, start)))


def _budget(pace: Pace, wanted: int) -> int:
    """Keep what the demand of the last hour asked for while too much of that hour was missed.

    A replica that is let go costs a cold start of misses when the next burst comes: none are left to spend.
    """
    if wanted >= pace.current or not pace.spent_on:
        return wanted
    return min(pace.current, max(wanted, *(count for _, count in pace.spent_on)))


def _evidence(pace: Pace, wanted: int) -> int:
    """Take nothing away while any replica's load is unknown; ask for nothing new while all are."""
    match pace.load.evidence:
        case Evidence.FRESH:
            return wanted
        case Evidence.PARTIAL:
            return max(wanted, pace.current)
        case Evidence.MISSING:
            return pace.current


def _panic(pace: Pace, wanted: int) -> int:
    """Take nothing away during a burst."""
    return max(wanted, pace.current) if pace.panic else wanted


def _rest_can_hold(pace: Pace, wanted: int) -> int:
    """Go down only as far as the rest is predicted to hold the objectives with the load spread over it.

    Tokens over the capacity at the objectives, with room for chance, requests over the batches, what is
    cached over the caches. While the objectives are missed under load nothing goes.
    """
    load = pace.load
    if wanted >= pace.current:
        return wanted
    if load.is_loaded and max(load.latency.lasting_ttft, load.latency.lasting_itl) > 1.0:
        return pace.current
    tokens = max(load.demand_tokens_per_second, load.tokens_per_second)
    needed = (
        min(round_up(load.replicas_for(tokens)), math.ceil(load.in_system)),
        _share(load.in_system, load.slots),
        _share(load.kv_usage, pace.rules.utilization),
    )
    return min(pace.current, max(wanted, *needed))


def _up_rate(pace: Pace, wanted: int) -> int:
    """Add no more than so many in a minute, except in a burst: what it needs was counted."""
    if pace.panic:
        return wanted
    base = min(values_within(pace.changes, pace.now - RATE_PERIOD_SECONDS), default=pace.current)
    return min(wanted, max(pace.current, base + pace.rules.up_per_minute))


def _down_rate(pace: Pace, wanted: int) -> int:
    """Take away no more than so many in a minute."""
    base = max(values_within(pace.changes, pace.now - RATE_PERIOD_SECONDS), default=pace.current)
    return max(wanted, min(pace.current, base - pace.rules.down_per_minute))


def _bounds(pace: Pace, wanted: int) -> int:
    """Whatever the evidence says, stay within what the user allows."""
    return max(pace.rules.min_replicas, min(wanted, pace.rules.max_replicas))


LIMITS: tuple[tuple[str, Callable[[Pace, int], int]], ...] = (
    ("scale-up window", _up_window),
    ("scale-down window", _down_window),
    ("budget of misses", _budget),
    ("evidence", _evidence),
    ("panic", _panic),
    ("load on the rest", _rest_can_hold),
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
    return [value for _, value in steps[_holds_at(steps, start) :]]


def append(steps: Steps, at: float, value: int, keep_seconds: float) -> Steps:
    """Add a step; drop what lies before the one that holds at `at - keep_seconds`.

    A run of equal values keeps its first and last instant only, so a quiet day takes no memory. The same
    instant again replaces: asking twice changes nothing.
    """
    kept = steps[: bisect_left(steps, (at,))]
    kept = kept[_holds_at(kept, at - keep_seconds) :]
    run = 2
    if len(kept) >= run and all(step[1] == value for step in kept[-run:]):
        kept = kept[:-1]
    return (*kept, (at, value))


def _holds_at(steps: Steps, at: float) -> int:
    """Which step holds at an instant; the first where none was taken yet."""
    return max(0, bisect_right(steps, (at, math.inf)) - 1)


def _share(whole: float, each: float) -> int:
    return round_up(whole / each) if each > 0 else 0
