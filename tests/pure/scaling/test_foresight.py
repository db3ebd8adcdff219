"""Demand a cold start ahead: what is learned, and when it is trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import pi, sin
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_cases import settled, steady

from inferfleet.scaling.foresight import BUCKETS, Ahead, by_season, foresee, note, trusts
from inferfleet.values import Foresight

MONDAY = 1_799_625_600.0
"""2027-01-11 00:00 UTC."""
HOUR, DAY = 3600.0, 86400.0
AHEAD = 300.0
TOKENS = 240.0
"""Of a request: chance makes 100 tokens a second 80 or 120 in a minute."""


def walk(
    shape: Callable[[float], float], seconds: float, known: Foresight | None = None, tokens: float = TOKENS
) -> Foresight:
    known = known or Foresight()
    begin = known.marked_at or MONDAY
    for step in range(int(seconds / 60)):
        at = begin + 60.0 * (step + 1)
        known = note(known, shape(at - MONDAY), tokens, AHEAD, at)
    return known


def test_a_ramp_is_met_a_cold_start_ahead() -> None:
    known = walk(lambda s: 100 + s / 10, 2 * HOUR)
    ahead = foresee(known, 820.0, AHEAD, MONDAY + 2 * HOUR)
    assert ahead.by == "trend"
    assert ahead.demand == pytest.approx(820 + AHEAD / 10, rel=0.02)
    assert ahead.error < 10


def test_noise_is_no_trend_so_the_forecast_switches_itself_off() -> None:
    rng = Random(1)
    known = walk(lambda _s: 100 + rng.gauss(0, 20), 3 * HOUR)
    assert not trusts(known, 0)
    ahead = foresee(known, 100.0, AHEAD, MONDAY + 3 * HOUR)
    assert (ahead.demand, ahead.by) == (100.0, "")
    assert ahead.error == pytest.approx(9, abs=1), "a smoothed level of noise of 20 is off by less than that"


def test_until_errors_are_known_nothing_is_foreseen() -> None:
    assert foresee(walk(lambda _s: 100.0, 600), 100.0, AHEAD, MONDAY + 600) == Ahead()


def test_a_trend_that_was_right_is_dropped_once_it_loses_and_trusted_again_later() -> None:
    rng = Random(2)
    ramp = walk(lambda s: 100 + s / 5, 2 * HOUR)
    noise = walk(lambda _s: max(0.0, 1540 + rng.gauss(0, 600)), 2 * HOUR, ramp)
    again = walk(lambda s: 1540 + (s - 4 * HOUR) / 2, 2 * HOUR, noise)
    assert [trusts(known, 0) for known in (ramp, noise, again)] == [True, False, True]


def test_a_trend_must_be_better_than_none_and_a_season_hardly_worse() -> None:
    known = Foresight(level=100.0, judged=(20, 20), errors=(5.0, 5.5, 5.0, 5.5))
    assert [trusts(known, which) for which in (0, 1)] == [False, True]


def daily(seconds: float) -> float:
    return 100 + 80 * sin(2 * pi * seconds / DAY)


def rush(seconds: float) -> float:
    """Every day at 9, the load is four times as high at once."""
    return 400.0 if 9 * HOUR <= seconds % DAY < 17 * HOUR else 100.0


def test_the_second_morning_is_known_from_the_first() -> None:
    known = walk(rush, DAY + 9 * HOUR - 240)
    now = MONDAY + DAY + 9 * HOUR - 240
    ahead = foresee(known, 100.0, AHEAD, now)
    assert "season" in ahead.by
    assert ahead.demand > 200
    assert foresee(walk(rush, 9 * HOUR - 240), 100.0, AHEAD, MONDAY + 9 * HOUR - 240).demand < 110


def test_days_of_the_week_differ_once_they_were_seen() -> None:
    weekday = lambda s: 300.0 if int(s // DAY) < 5 and 9 * HOUR <= s % DAY < 17 * HOUR else 100.0  # noqa: E731
    known = walk(weekday, 7 * DAY)
    monday, sunday = MONDAY + 7 * DAY + 9 * HOUR - 200, MONDAY + 6 * DAY + 9 * HOUR - 200
    assert (by_season(known, 100.0, monday, AHEAD) or 0) > 150
    assert (by_season(known, 100.0, sunday, AHEAD) or 0) == pytest.approx(100, rel=0.05)


def test_the_state_is_one_week_of_ten_minutes_and_the_promises_under_way() -> None:
    known = walk(daily, 2 * DAY)
    assert len(known.week) == BUCKETS == 1008
    assert sum(value >= 0 for value in known.week) == pytest.approx(288, abs=1)
    assert len(known.promises) <= AHEAD / 60 + 1


@pytest.mark.parametrize("to", [400.0, 10.0])
def test_a_leap_is_a_new_level_at_once_and_is_not_overshot(to: float) -> None:
    known = walk(lambda _s: 100.0, HOUR)
    levels = []
    for _ in range(20):
        known = walk(lambda _s: to, 60, known)
        levels.append(known.level)
    assert levels == pytest.approx([to] * 20, abs=abs(to - 100) / 10)


def test_what_may_be_chance_moves_the_level_by_a_part() -> None:
    known = walk(lambda _s: 130.0, 60, walk(lambda _s: 100.0, HOUR))
    assert known.level == pytest.approx(109)


def test_a_steep_ramp_is_a_trend_even_where_chance_is_small() -> None:
    """A hundred requests a second leave so little to chance that each minute of it might pass for a leap."""
    shape = lambda s: 100 + s / 10  # noqa: E731
    known = walk(shape, HOUR, tokens=0.01)
    ahead = foresee(known, shape(HOUR), AHEAD, MONDAY + HOUR)
    assert ahead.by == "trend"
    assert ahead.demand == pytest.approx(shape(HOUR + AHEAD), rel=0.05)


def test_where_requests_come_in_clumps_a_clump_is_no_leap() -> None:
    clumps = walk(lambda s: 200.0 if s % 1200 < 300 else 100.0, 4 * HOUR)
    even = walk(lambda _s: 100.0, 4 * HOUR)
    assert walk(lambda _s: 250.0, 60, even).level == 250
    assert walk(lambda _s: 250.0, 60, clumps).level < 200


def test_nothing_is_a_leap_until_it_is_known_how_far_off_forecasts_are() -> None:
    known = walk(lambda _s: 400.0, 60, walk(lambda _s: 100.0, 600))
    assert known.level == pytest.approx(190)


def test_a_silence_ends_a_trend() -> None:
    known = walk(lambda s: 100 + s / 10, HOUR)
    later = note(known, 50.0, TOKENS, AHEAD, MONDAY + 2 * HOUR)
    assert (later.level, later.trend) == (50.0, 0.0)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0, 10), min_size=5, max_size=60))
def test_a_forecast_only_ever_adds(rates: list[float]) -> None:
    """Whatever is foreseen: never fewer replicas than the present asks for."""
    memory = replace(settled(1), foresight=walk(lambda s: 10 + s / 50, 2 * HOUR))
    shape = lambda s: rates[int(s // 5) % len(rates)]  # noqa: E731
    for _, decision, _ in steady(shape, memory=memory, seconds=200):
        reactive = max(count for law, count in decision.laws if law != "forecast")
        assert max(count for _, count in decision.laws) >= reactive
