"""Spot capacity has the statistics that were published of it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import permutations
from random import Random
from statistics import correlation, fmean, median

import pytest

from inferfleet.simulate.clock import Clock
from inferfleet.simulate.market import SpotMarket

DAYS = 400
TICK_SECONDS = 195.0
REGIONS = {
    "us-west-2": {"a": 0.90, "b": 0.89, "c": 0.89},
    "us-east-2": {"a": 0.72, "b": 0.72},
    "us-east-1": {"a": 0.17, "b": 0.40, "c": 0.50, "d": 0.60},
}
"""Shares of the time that give what the traces would have if zones were independent: 99.9, 92.4, 90.0 %."""

History = dict[str, list[bool]]


def watch(zones: dict[str, float], days: float, seed: int) -> History:
    """Whether each zone had spot, looked at as often as the traces did."""
    clock = Clock()
    market = SpotMarket(zones, clock, Random(seed), lambda _zone: None)
    seen: History = {zone: [] for zone in zones}
    for tick in range(int(days * 86_400 / TICK_SECONDS)):
        clock.run(tick * TICK_SECONDS)
        for zone, past in seen.items():
            past.append(market.is_available(zone))
    return seen


@pytest.fixture(scope="module")
def regions() -> dict[str, History]:
    return {name: watch(zones, DAYS, seed=7) for name, zones in REGIONS.items()}


def drops(past: list[bool]) -> list[int]:
    return [tick for tick in range(1, len(past)) if past[tick - 1] and not past[tick]]


def spells(past: list[bool]) -> list[float]:
    lengths, run = [], 0
    for up in past:
        run = run + 1 if up else 0
        if up:
            lengths[-1:] = [run] if run > 1 else [*lengths[-1:], run]
    return [length * TICK_SECONDS / 3600 for length in lengths]


def test_each_zone_has_spot_for_its_share_of_the_time(regions: dict[str, History]) -> None:
    for name, zones in REGIONS.items():
        for zone, share in zones.items():
            assert fmean(regions[name][zone]) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(
    ("region", "zones_up", "published"),
    [
        ("us-west-2", 1, 0.961),
        ("us-west-2", 2, 0.916),
        ("us-west-2", 3, 0.803),
        ("us-east-2", 1, 0.807),
        ("us-east-1", 1, 0.713),
    ],
)
def test_a_region_has_spot_for_as_much_of_the_time_as_was_seen(
    regions: dict[str, History], region: str, zones_up: int, published: float
) -> None:
    up = [sum(zones) >= zones_up for zones in zip(*regions[region].values(), strict=True)]
    assert fmean(up) == pytest.approx(published, abs=0.03)


def test_uninterrupted_spells_last_as_long_as_they_did(regions: dict[str, History]) -> None:
    for past in (past for history in regions.values() for past in history.values()):
        assert 0.3 <= median(spells(past)) <= 2.0
        assert 0.7 <= fmean(spells(past)) <= 10.4


def test_zones_of_a_region_go_together(regions: dict[str, History]) -> None:
    found = fmean(
        correlation([float(up) for up in history[one]], [float(up) for up in history[other]])
        for history in regions.values()
        for one, other in permutations(history, 2)
    )
    assert found == pytest.approx(0.43, abs=0.05)


def test_a_loss_makes_another_one_within_minutes_likely(regions: dict[str, History]) -> None:
    together, by_chance = [], []
    for history in regions.values():
        lost = {zone: drops(past) for zone, past in history.items()}
        for one, other in permutations(history, 2):
            near = [
                bisect_right(lost[other], tick + 1) > bisect_left(lost[other], tick - 1) for tick in lost[one]
            ]
            together.append(fmean(near))
            by_chance.append(3 * len(lost[other]) / len(history[other]))
    assert fmean(together) == pytest.approx(0.20, abs=0.06)
    assert fmean(together) > 3 * fmean(by_chance)


def test_a_pool_of_four_often_loses_two_or_more_at_once() -> None:
    clock, events, rng = Clock(), [], Random(3)

    def outage(zone: str) -> None:
        instants = sorted(market.seconds_to_loss(zone, rng) for _ in range(4))
        while instants:
            same = [at for at in instants if at < instants[0] + TICK_SECONDS]
            events.append(len(same))
            instants = instants[len(same) :]

    market = SpotMarket(REGIONS["us-west-2"], clock, Random(3), outage)
    clock.run(DAYS * 86_400.0)
    assert 0.22 <= sum(lost >= 2 for lost in events) / len(events) <= 0.55


def test_a_zone_may_always_or_never_have_spot() -> None:
    seen = watch({"always": 1.0, "never": 0.0}, days=30, seed=1)
    assert all(seen["always"])
    assert not any(seen["never"])
