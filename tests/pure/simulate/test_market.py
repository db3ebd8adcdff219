"""Spot capacity has the statistics that were published of it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import permutations
from random import Random
from statistics import correlation, fmean, median

import pytest

from inferfleet.simulate.clock import Clock
from inferfleet.simulate.market import SpotMarket

DAYS = 300
TICK_SECONDS = 195.0
ZONES = {"a": 0.5, "b": 0.7, "c": 0.85}


@pytest.fixture(scope="module")
def history() -> dict[str, list[bool]]:
    """Whether each zone had spot, looked at as often as the traces did."""
    clock = Clock()
    market = SpotMarket(ZONES, clock, Random(7), lambda _zone: None)
    seen: dict[str, list[bool]] = {zone: [] for zone in ZONES}
    for tick in range(int(DAYS * 86_400 / TICK_SECONDS)):
        clock.run(tick * TICK_SECONDS)
        for zone, past in seen.items():
            past.append(market.is_available(zone))
    return seen


def drops(past: list[bool]) -> list[int]:
    return [tick for tick in range(1, len(past)) if past[tick - 1] and not past[tick]]


def spells(past: list[bool]) -> list[float]:
    lengths, run = [], 0
    for up in past:
        run = run + 1 if up else 0
        if up:
            lengths[-1:] = [run] if run > 1 else [*lengths[-1:], run]
    return [length * TICK_SECONDS / 3600 for length in lengths]


def test_zones_have_spot_a_share_of_the_time_within_what_was_seen(history: dict[str, list[bool]]):
    shares = [fmean(past) for past in history.values()]
    assert shares == sorted(shares)
    assert all(0.17 <= share <= 0.96 for share in shares)


def test_uninterrupted_spells_last_as_long_as_they_did(history: dict[str, list[bool]]):
    for past in history.values():
        assert 0.3 <= median(spells(past)) <= 1.4
        assert 0.7 <= fmean(spells(past)) <= 10.4


def test_zones_of_a_region_go_together(history: dict[str, list[bool]]):
    found = fmean(
        correlation([float(up) for up in history[one]], [float(up) for up in history[other]])
        for one, other in permutations(ZONES, 2)
    )
    assert found == pytest.approx(0.43, abs=0.12)


def test_a_loss_makes_another_one_within_minutes_likely(history: dict[str, list[bool]]):
    lost = {zone: drops(past) for zone, past in history.items()}
    together, by_chance = [], []
    for one, other in permutations(ZONES, 2):
        near = [
            bisect_right(lost[other], tick + 1) > bisect_left(lost[other], tick - 1) for tick in lost[one]
        ]
        together.append(fmean(near))
        by_chance.append(3 * len(lost[other]) / len(history[other]))
    assert fmean(together) == pytest.approx(0.20, abs=0.06)
    assert fmean(together) > 3 * fmean(by_chance)


def test_a_pool_of_four_often_loses_two_or_more_at_once():
    clock, events = Clock(), []
    rng = Random(3)

    def outage(zone: str) -> None:
        instants = sorted(market.seconds_to_loss(zone) for _ in range(4))
        while instants:
            same = [at for at in instants if at < instants[0] + TICK_SECONDS]
            events.append(len(same))
            instants = instants[len(same) :]

    market = SpotMarket(ZONES, clock, rng, outage)
    clock.run(DAYS * 86_400.0)
    assert 0.22 <= sum(lost >= 2 for lost in events) / len(events) <= 0.55
