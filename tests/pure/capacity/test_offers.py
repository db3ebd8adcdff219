"""Which offer is chosen: zones, limits, prices."""

from __future__ import annotations

import pytest
from capacity_cases import (
    ALL,
    NOW,
    OD,
    SPOT,
    ask,
    interrupted,
    offer,
    placed,
    pool,
    spec,
    worker,
    workers,
)

from inferfleet.capacity import dollars_per_hour, dollars_per_million_tokens
from inferfleet.capacity.offers import is_cooling, loss_score, record_losses
from inferfleet.values import (
    CapacityMemory,
    Offer,
    OfferKey,
)


def test_replicas_spread_over_zones() -> None:
    assert sorted(placed(ask(5, workers(od=1)))) == [(SPOT, "a"), (SPOT, "a"), (SPOT, "b"), (SPOT, "b")]


@pytest.mark.parametrize(
    ("offers", "losses", "expected"),
    [
        ((offer(OD), offer(SPOT, "a"), offer(SPOT, "b")), (), "a"),
        ((offer(OD), offer(SPOT, "a", price=0.4), offer(SPOT, "b")), (), "b"),
        ((offer(OD), offer(SPOT, "a", free=0), offer(SPOT, "b", price=0.5)), (), "b"),
        ((offer(OD), offer(SPOT, "a", free=0), offer(SPOT, "b", free=0)), (), "a"),
        ((offer(OD), offer(SPOT, "a"), offer(SPOT, "b", free=0)), interrupted(NOW - 60), "b"),
        ((offer(OD), offer(SPOT, "a"), offer(SPOT, "b", price=0.5)), interrupted(NOW - 1000), "b"),
        ((offer(OD), offer(SPOT, "a"), offer(SPOT, "b", free=0)), interrupted(NOW - 1000), "a"),
    ],
    ids=[
        "equal zones go by name",
        "the cheaper zone",
        "the zone with free GPUs",
        "with none free the pod waits for one in the best zone",
        "a zone that cools down is avoided even for one without free GPUs",
        "a recent loss weighs more than a price",
        "free GPUs weigh more than an old loss",
    ],
)
def test_the_best_zone_is_chosen(
    offers: tuple[Offer, ...], losses: tuple[tuple[OfferKey, float], ...], expected: str
) -> None:
    wanted = spec(fallback=False)
    chosen = ask(2, workers(od=1), pool=pool(*offers), spec=wanted, memory=CapacityMemory(losses=losses))
    assert placed(chosen) == [(SPOT, expected)]


def test_one_pass_does_not_promise_the_same_gpu_twice() -> None:
    offers = pool(offer(OD), offer(SPOT, "a", free=2), offer(SPOT, "b", price=0.5))
    allocation = ask(5, workers(od=1), pool=offers, gpus_per_replica=2)
    assert placed(allocation) == [(SPOT, "a"), (SPOT, "b"), (SPOT, "b"), (SPOT, "b")]
    pending = worker("pending", SPOT, "a", ready=False, node=None)
    allocation = ask(3, (*workers(od=1), pending), pool=offers, gpus_per_replica=2)
    assert placed(allocation) == [(SPOT, "b")], "a replica on its way takes what still looks free"


def test_a_cooldown_doubles_with_each_loss_and_ends() -> None:
    key = OfferKey("pool", SPOT, "a")
    one, three = ((key, NOW),), tuple((key, NOW - back) for back in (600, 300, 0))
    assert [is_cooling(key, one, NOW + after) for after in (179, 181)] == [True, False]
    assert [is_cooling(key, three, NOW + after) for after in (719, 721)] == [True, False]
    assert not is_cooling(OfferKey("pool", SPOT, "b"), three, NOW)
    assert not is_cooling(key, (), NOW)


def test_losses_fade() -> None:
    key = OfferKey("pool", SPOT, "a")
    assert loss_score(key, ((key, NOW),), NOW) == 1.0
    assert loss_score(key, ((key, NOW),), NOW + 3600) == pytest.approx(0.368, abs=0.001)
    assert record_losses(((key, NOW),), (), NOW + 7 * 3600, 600) == ()


def test_zones_and_the_highest_price_limit_the_offers_and_a_limit_that_leaves_none_is_said() -> None:
    assert placed(ask(2, workers(od=1), spec=spec(zones=("b",)))) == [(SPOT, "b")]
    cheap = ask(2, spec=spec(max_dollars_per_gpu_hour=0.5))
    assert {kind for kind, _ in placed(cheap)} == {SPOT}
    none = ask(2, spec=spec(zones=("moon",)))
    assert none.placements == ()
    assert none.problem is not None
    assert "zones moon" in none.problem.message


def test_cost_is_that_of_placed_replicas() -> None:
    pending = worker("pending", SPOT, node=None)
    assert dollars_per_hour((*workers(od=1, spot=2), pending), (ALL,), 2) == pytest.approx(2 * (1.0 + 0.6))
    gone = (worker("gone", SPOT, "z"),)
    assert dollars_per_hour(gone, (ALL,), 1) == pytest.approx(0.3), "a like offer prices one that is gone"
    assert dollars_per_million_tokens(3.6, 1000) == pytest.approx(1.0)
    assert dollars_per_million_tokens(3.6, 0) is None
