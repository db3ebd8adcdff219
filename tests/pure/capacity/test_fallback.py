"""What stands in for spot that was lost or denied, and when spot is tried again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from capacity_cases import (
    ALL,
    DENIED,
    FULL,
    NOW,
    OD,
    RESERVED,
    SPOT,
    ask,
    interrupted,
    kinds,
    offer,
    placed,
    pool,
    spec,
    spot_in,
    worker,
    workers,
)

from inferfleet.capacity import Need, allocate
from inferfleet.values import (
    CapacityMemory,
    OfferKey,
    Pool,
    Worker,
)


@pytest.mark.parametrize(
    ("others", "offers", "expected"),
    [
        (spot_in("b", 3), ALL, 1),
        (spot_in("a", 3), ALL, 4),
        ((*spot_in("a", 1), *spot_in("b", 2)), ALL, 2),
        ((*spot_in("a", 2), *spot_in("b", 1, ready=False)), ALL, 4),
        (spot_in("a", 3), replace(FULL, offers=(offer(OD, free=0), offer(SPOT))), 1),
        (spot_in("a", 3), replace(FULL, offers=(offer(OD, free=2), offer(SPOT))), 3),
    ],
    ids=[
        "the others are elsewhere",
        "those beside it are likely to follow",
        "one beside it",
        "what starts does not count",
        "no more than there is room for",
        "as far as there is room",
    ],
)
def test_one_interruption_casts_suspicion_on_its_zone(
    others: tuple[Worker, ...], offers: Pool, expected: int
) -> None:
    allocation = ask(5, (*workers(od=1), *others), pool=offers, lost=interrupted(NOW))
    assert kinds(allocation).count("on-demand") == expected
    new = [worker(f"new{n}", kind, zone, ready=False) for n, (kind, zone) in enumerate(placed(allocation))]
    held = (*workers(od=1), *others, *new)
    full = tuple(replace(o, free_gpus=0) if o.capacity_type is OD else o for o in offers.offers)
    again = ask(5, held, pool=replace(offers, offers=full), memory=allocation.memory, lost=interrupted(NOW))
    assert (again.placements, again.surplus) == ((), ()), "they are not let go because they took the room"
    still = ask(5, held, pool=offers, memory=allocation.memory)
    assert still.surplus == (), "nor because the first one is gone"
    over = allocate(Need(5, spec(), offers, 1, held), allocation.memory, NOW + 181)
    missing = 4 - sum(w.ready for w in others)
    assert dict(over.surplus).get(OD, 0) == expected - missing, "minutes later only what is missing is held"


def test_lost_spot_is_covered_by_on_demand_at_once_and_asked_for_elsewhere() -> None:
    allocation = ask(3, (*workers(od=1), *spot_in("b", 1)), lost=interrupted(NOW))
    assert placed(allocation) == [(OD, "a"), (SPOT, "b")]
    assert allocation.mix.covered == 1
    coming = (*workers(od=2), *spot_in("b", 1), worker("new", SPOT, "b", ready=False))
    waiting = ask(3, coming, memory=allocation.memory)
    assert (waiting.placements, waiting.surplus) == ((), ())
    there = (*workers(od=2), *spot_in("b", 2))
    assert ask(3, there, memory=allocation.memory).surplus == ((OD, 1),), "the hold keeps no stand-in"


def test_without_fallback_lost_spot_is_bought_as_spot_in_another_zone() -> None:
    allocation = ask(3, workers(od=1, spot=1), spec=spec(fallback=False), lost=interrupted(NOW))
    assert placed(allocation) == [(SPOT, "b")]


ONE_ZONE = pool(offer(OD), offer(SPOT))


def test_where_spot_was_lost_or_denied_none_is_asked_for_within_the_hold() -> None:
    memory = CapacityMemory(losses=interrupted(NOW - 300))
    allocation = ask(3, workers(od=2, spot=1), pool=ONE_ZONE, memory=memory)
    assert (allocation.placements, allocation.surplus) == ((), ())
    growing = ask(5, workers(od=2, spot=1), pool=ONE_ZONE, memory=memory)
    assert kinds(growing) == "on-demand on-demand"


def test_a_shorter_hold_in_the_spec_counts_at_once() -> None:
    before = ask(4, workers(od=4), pool=ONE_ZONE, memory=CapacityMemory(losses=interrupted(NOW - 300)))
    assert kinds(before) == ""
    shorter = replace(spec(), fallback_hold_seconds=45)
    assert kinds(ask(4, workers(od=4), pool=ONE_ZONE, memory=before.memory, spec=shorter)) == "spot"


def test_without_a_hold_on_demand_stands_in_all_the_same_and_the_zone_is_tried_at_once() -> None:
    wanted = replace(spec(), fallback_hold_seconds=0)
    allocation = ask(3, workers(od=1, spot=1), pool=ONE_ZONE, spec=wanted, lost=interrupted(NOW))
    assert kinds(allocation) == "on-demand on-demand spot"


def test_after_the_hold_one_replica_tries_the_zone_and_once_it_has_a_node_the_rest_follow() -> None:
    memory = CapacityMemory(losses=interrupted(NOW - 700))
    allocation = ask(4, workers(od=4), pool=ONE_ZONE, memory=memory)
    assert (kinds(allocation), allocation.surplus) == ("spot", ())
    trying = worker("try", SPOT, ready=False, node=None, created_at=NOW - 60)
    waiting = ask(4, (*workers(od=4), trying), pool=ONE_ZONE, memory=memory)
    assert (waiting.placements, waiting.surplus) == ((), ())
    joined = replace(trying, pods=(replace(trying.leader, node="node"),))
    following = ask(4, (*workers(od=4), joined), pool=ONE_ZONE, memory=memory)
    assert (kinds(following), following.surplus) == ("spot spot", ()), "stand-ins stay until spot is Ready"


def test_who_was_there_before_the_loss_says_nothing_of_what_the_zone_has_now() -> None:
    memory = CapacityMemory(losses=interrupted(NOW - 700))
    assert kinds(ask(4, workers(od=3, spot=1), pool=ONE_ZONE, memory=memory)) == "spot"


def test_zones_that_have_not_failed_are_asked_for_all_that_is_missing() -> None:
    memory = CapacityMemory(losses=interrupted(NOW - 60))
    assert placed(ask(4, workers(od=4), memory=memory)) == [(SPOT, "b")] * 3


def test_stand_ins_do_not_keep_the_target_from_being_met() -> None:
    assert kinds(ask(3, workers(od=1), spec=spec(base=0))) == "spot spot spot"


def test_what_no_zone_may_be_asked_for_is_bought_on_demand() -> None:
    memory = CapacityMemory(losses=interrupted(NOW - 700))
    allocation = ask(5, workers(od=1, spot=1), pool=ONE_ZONE, memory=memory)
    assert kinds(allocation) == "on-demand on-demand spot"


def test_each_spot_replica_that_is_ready_sends_one_stand_in_home() -> None:
    allocation = ask(4, workers(od=4, spot=1), memory=CapacityMemory(losses=interrupted(NOW - 700)))
    assert allocation.surplus == ((OD, 1),)


def test_spot_that_finds_no_node_is_given_up_after_a_while() -> None:
    stuck = worker("stuck", SPOT, ready=False, node=None, unschedulable=DENIED, created_at=NOW - 121)
    allocation = ask(2, (*workers(od=1), stuck))
    assert [w.name for w, _ in allocation.given_up] == ["stuck"]
    assert "0/4 nodes are available" in allocation.given_up[0][1].message
    assert placed(allocation) == [(OD, "a"), (SPOT, "b")]
    young = replace(stuck, pods=(replace(stuck.leader, created_at=NOW - 100),))
    allocation = ask(2, (*workers(od=1), young))
    assert (allocation.given_up, allocation.placements) == ((), ())


def test_on_demand_that_finds_no_node_tries_the_next_zone_and_waits_where_there_is_none() -> None:
    stuck = worker("stuck", OD, ready=False, node=None, unschedulable=DENIED, created_at=NOW - 121)
    two_zones = pool(offer(OD, free=0), offer(OD, "b", free=0))
    assert placed(ask(1, (stuck,), pool=two_zones)) == [(OD, "b")]
    alone = ask(1, (stuck,), pool=pool(offer(OD, free=0)))
    assert (alone.given_up, alone.placements) == ((), ())


def test_the_same_loss_told_in_every_pass_is_one() -> None:
    first = ask(3, workers(od=1, spot=1), lost=interrupted(NOW - 5))
    again = ask(3, workers(od=2, spot=1), memory=first.memory, lost=interrupted(NOW - 5))
    assert again.memory.losses == first.memory.losses
    assert len(again.memory.losses) == 1


def test_reserved_gpus_that_become_free_take_back_one_replica_at_a_time() -> None:
    offers = pool(offer(OD), offer(SPOT), offer(RESERVED, free=2))
    moving = ask(3, workers(od=1, spot=2), pool=offers)
    assert (kinds(moving), moving.surplus) == ("reserved", ((OD, 1),))
    under_way = (*workers(od=1, spot=2), worker("back", RESERVED, ready=False))
    waiting = ask(3, under_way, pool=offers)
    assert (waiting.placements, waiting.surplus) == ((), ((OD, 1),))
    lost = CapacityMemory(losses=((OfferKey("pool", RESERVED, "a"), NOW - 60),))
    assert ask(3, workers(od=1, spot=2), pool=offers, memory=lost).placements == (), (
        "not where it just failed"
    )
