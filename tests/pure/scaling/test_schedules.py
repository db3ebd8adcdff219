"""Known events: when they are on, what they say, and that capacity is there when they begin."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from scaling_cases import SPEC, decide, each, fleet, scope, settled

from inferfleet.scaling.schedules import bounds
from inferfleet.values import Schedule

BERLIN = ZoneInfo("Europe/Berlin")
HOURS = Schedule("office", "Europe/Berlin", "0 8 * * 1-5", end="0 18 * * 1-5", min_replicas=6)
SALE = Schedule("sale", "UTC", "0 12 * * *", duration_seconds=1800, min_replicas=9, max_replicas=40)
NIGHT = Schedule("night", "Europe/Berlin", "0 22 * * *", end="0 6 * * *", min_replicas=0, max_replicas=2)


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("schedules", "now", "expected"),
    [
        ((), "2026-11-18T12:00", (1, 20, "")),
        ((HOURS,), "2026-11-18T07:50", (1, 20, "")),
        ((HOURS,), "2026-11-18T07:57", (6, 20, "office (ahead)")),
        ((HOURS,), "2026-11-18T08:00", (6, 20, "office")),
        ((HOURS,), "2026-11-18T17:59", (6, 20, "office")),
        ((HOURS,), "2026-11-18T18:00", (1, 20, "")),
        ((HOURS,), "2026-11-21T12:00", (1, 20, "")),
        ((HOURS, SALE), "2026-11-18T13:10", (9, 40, "office, sale")),
        ((SALE,), "2026-11-18T12:57", (9, 20, "sale (ahead)")),
        ((SALE,), "2026-11-18T13:31", (1, 20, "")),
        ((NIGHT,), "2026-11-18T03:00", (0, 2, "night")),
        ((NIGHT,), "2026-11-18T21:58", (1, 20, "night (ahead)")),
    ],
    ids=[
        "no event",
        "long before it",
        "a cold start before it",
        "as it begins",
        "until it ends",
        "after it",
        "on a Saturday",
        "two at once: the larger",
        "its most counts from its beginning only",
        "after its duration",
        "fewer at night, past midnight",
        "fewer are never asked for ahead",
    ],
)
def test_when_an_event_is_on(
    schedules: tuple[Schedule, ...], now: str, expected: tuple[int, int, str]
) -> None:
    assert bounds(replace(SPEC, schedules=schedules), at(now), 240.0) == expected


def test_the_hour_is_the_zones_in_summer_and_in_winter() -> None:
    spec = replace(SPEC, schedules=(HOURS,))
    for day in ("2026-07-15", "2026-11-18"):
        assert bounds(spec, at(f"{day}T07:59"), 0.0)[0] == 1
        assert bounds(spec, at(f"{day}T08:00"), 0.0)[0] == 6


def test_replicas_are_asked_for_a_measured_cold_start_before_the_event() -> None:
    spec = replace(SPEC, schedules=(HOURS,))
    memory = replace(settled(1), cold_starts=(600.0, 600.0))
    begins = at("2026-11-18T08:00")
    desired = {}
    for before in (660, 540, 0):
        now = begins - before
        decision, _ = decide(scope(fleet(1), each(1, at=now), spec=spec), memory, now)
        desired[before] = (decision.desired, decision.schedule)
    assert desired == {660: (1, ""), 540: (6, "office (ahead)"), 0: (6, "office")}
    assert "schedule office" in decision.reason.message
