"""Known events: which of them is on, and the bounds it brings."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

from inferfleet.values import AutoscalingSpec, Schedule

_MINUTE = 60


def bounds(spec: AutoscalingSpec, now: float, lead_seconds: float) -> tuple[int, int, str]:
    """The fewest and most replicas now, and the names of the events that say so.

    An event's own bounds stand in for the spec's; of several events the largest count. `lead_seconds` before
    it begins (a cold start) its replicas are asked for, so that they serve when it does.
    """
    on = [schedule for schedule in spec.schedules if _is_on(schedule, now)]
    ahead = [s for s in spec.schedules if s not in on and _is_on(s, now + lead_seconds)]
    fewest = max(_given(s.min_replicas for s in on), default=spec.min_replicas)
    fewest = max(fewest, *_given(s.min_replicas for s in ahead), fewest)
    most = max(_given(s.max_replicas for s in on), default=spec.max_replicas)
    names = ", ".join([*(s.name for s in on), *(f"{s.name} (ahead)" for s in ahead)])
    return fewest, max(most, fewest), names


def _given(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def _is_on(schedule: Schedule, at: float) -> bool:
    return _is_on_in(schedule, int(at // _MINUTE))


@lru_cache(maxsize=1024)
def _is_on_in(schedule: Schedule, minute: int) -> bool:
    """True if the last start up to this minute has not met its end yet."""
    local = datetime.fromtimestamp(minute * _MINUTE, UTC).astimezone(ZoneInfo(schedule.time_zone))
    started = next(CronSim(schedule.start, local + timedelta(minutes=1), reverse=True), None)
    if started is None:
        return False
    if schedule.end is None:
        ends = started.timestamp() + (schedule.duration_seconds or 0.0)
        return minute * _MINUTE < ends
    ended = next(CronSim(schedule.end, started), None)
    return ended is None or minute * _MINUTE < ended.timestamp()
