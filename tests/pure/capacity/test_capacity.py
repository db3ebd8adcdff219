"""Which offers serve the replicas: base, share, over-provision, fallback and return, zones, prices."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferfleet import capacity
from inferfleet.capacity import Allocation, Need, allocate, dollars_per_hour, dollars_per_million_tokens
from inferfleet.capacity.offers import is_cooling, loss_score, record_losses
from inferfleet.values import (
    Accelerator,
    CapacityMemory,
    CapacitySpec,
    CapacityType,
    IntOrPercent,
    Offer,
    OfferKey,
    PodPhase,
    Pool,
    Reason,
    Worker,
    WorkerPod,
)

NOW = 50_000.0
OD, SPOT, RESERVED = CapacityType.ON_DEMAND, CapacityType.SPOT, CapacityType.RESERVED
PRICES = {OD: 1.0, SPOT: 0.3, RESERVED: 0.0}
DENIED = Reason("Unschedulable", "0/4 nodes are available")


def offer(kind: CapacityType, zone: str = "a", free: int = 100, price: float | None = None) -> Offer:
    return Offer("pool", kind, zone, PRICES[kind] if price is None else price, "test", free_gpus=free)


def pool(*offers: Offer) -> Pool:
    return Pool("pool", Accelerator("L4", 24 << 30, 3e11, 1e14), 4, 4, (), offers)


ALL = pool(offer(OD), offer(SPOT), offer(SPOT, "b"))


def worker(name: str, kind: CapacityType, zone: str = "a", *, ready: bool = True, **pod: object) -> Worker:
    base = WorkerPod(f"{name}-0", f"uid-{name}", 0, PodPhase.RUNNING, NOW - 1000, f"node-{name}", ready=ready)
    return Worker(name, "rev", OfferKey("pool", kind, zone), (replace(base, **pod),))  # type: ignore[arg-type]


def workers(**counts: int) -> tuple[Worker, ...]:
    kinds = {"od": OD, "spot": SPOT, "reserved": RESERVED}
    return tuple(worker(f"{name}{n}", kinds[name]) for name, count in counts.items() for n in range(count))


def spec(base: int = 1, share: float = 1.0, **changes: object) -> CapacitySpec:
    made = CapacitySpec(on_demand_base=IntOrPercent(count=base), spot_share=IntOrPercent(share=share))
    return replace(made, **changes)  # type: ignore[arg-type]


def ask(target: int, staying: tuple[Worker, ...] = (), **changes: object) -> Allocation:
    need = Need(target, spec(), ALL, 1, staying)
    memory = changes.pop("memory", CapacityMemory())
    return allocate(replace(need, **changes), memory, NOW)  # type: ignore[arg-type]


def placed(allocation: Allocation) -> list[tuple[CapacityType, str]]:
    return [(p.offer.capacity_type, p.offer.zone) for p in allocation.placements]


def kinds(allocation: Allocation) -> str:
    return " ".join(sorted(p.offer.capacity_type.value for p in allocation.placements))


# -- the mix -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "wanted", "offers", "expected"),
    [
        (6, spec(1, 0.8), ALL, (2, 4, 0)),
        (6, spec(0, 1.0), ALL, (0, 6, 0)),
        (6, spec(0, 0.0), ALL, (6, 0, 0)),
        (3, spec(5, 1.0), ALL, (3, 0, 0)),
        (4, spec(1, 1.0, on_demand_base=IntOrPercent(share=0.5)), ALL, (2, 2, 0)),
        (0, spec(2, 1.0), ALL, (0, 0, 0)),
        (4, spec(1, 1.0), pool(offer(OD)), (4, 0, 0)),
        (4, spec(1, 1.0), pool(offer(SPOT)), (0, 4, 0)),
        (4, spec(1, 1.0), pool(offer(OD), offer(SPOT), offer(RESERVED, free=2)), (0, 2, 2)),
        (4, spec(3, 1.0), pool(offer(OD), offer(SPOT), offer(RESERVED, free=2)), (1, 1, 2)),
        (4, spec(1, 1.0, spot_overprovision=IntOrPercent(count=1)), ALL, (1, 4, 0)),
        (5, spec(1, 1.0, spot_overprovision=IntOrPercent(share=0.5)), ALL, (1, 5, 0)),
        (4, spec(4, 1.0, spot_overprovision=IntOrPercent(count=1)), ALL, (4, 0, 0)),
    ],
    ids=[
        "the share holds above the base",
        "all spot",
        "all on-demand",
        "a base above the target is the target",
        "a base as a share of all",
        "nothing for nothing",
        "without spot on offer on-demand serves",
        "without on-demand on offer spot serves",
        "what is reserved comes first and counts as base",
        "the rest of the base is on-demand",
        "a counted over-provision comes on top",
        "a shared over-provision is of one zone's lump, not of all",
        "without spot there is nothing to over-provision",
    ],
)
def test_replicas_are_divided_over_the_types(
    target: int, wanted: CapacitySpec, offers: Pool, expected: tuple[int, int, int]
) -> None:
    mix = ask(target, spec=wanted, pool=offers).mix
    assert (mix.on_demand, mix.spot, mix.reserved) == expected


def test_what_is_there_and_wanted_is_left_alone() -> None:
    allocation = ask(4, workers(od=1, spot=3))
    assert (allocation.placements, allocation.surplus, allocation.given_up) == ((), (), ())


def test_a_smaller_target_leaves_a_surplus_by_type() -> None:
    assert ask(2, workers(od=1, spot=3)).surplus == ((SPOT, 2),)


def test_an_offer_that_vanished_does_not_move_who_runs_on_it() -> None:
    allocation = ask(3, workers(od=1, spot=2), pool=pool(offer(SPOT), offer(SPOT, "b")))
    assert (allocation.placements, allocation.surplus) == ((), ())


# -- fallback and return -------------------------------------------------------------------------------------


def interrupted(at: float) -> tuple[tuple[OfferKey, float], ...]:
    return ((OfferKey("pool", SPOT, "a"), at),)


def spot_in(zone: str, count: int, *, ready: bool = True) -> tuple[Worker, ...]:
    return tuple(worker(f"{zone}{n}", SPOT, zone, ready=ready) for n in range(count))


FULL = replace(ALL, max_nodes=4)


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


# -- zones ---------------------------------------------------------------------------------------------------


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


# -- limits and cost -----------------------------------------------------------------------------------------


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


# -- invariants ----------------------------------------------------------------------------------------------

FLEETS = st.builds(
    lambda od, spot, starting: (
        *workers(od=od, spot=spot),
        *(worker(f"new{n}", SPOT, "b", ready=False) for n in range(starting)),
    ),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 2),
)
SPECS = st.builds(
    lambda base, share, extra, fallback: spec(
        base, share, spot_overprovision=IntOrPercent(count=extra), fallback=fallback
    ),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(0, 1),
    st.booleans(),
)
MEMORIES = st.sampled_from(
    [
        CapacityMemory(),
        CapacityMemory(losses=interrupted(NOW - 10)),
        CapacityMemory(losses=interrupted(NOW - 900)),
    ]
)


@given(st.integers(0, 8), FLEETS, SPECS, MEMORIES)
def test_capacity_never_falls_below_the_target_and_asking_twice_changes_nothing(
    target: int, staying: tuple[Worker, ...], wanted: CapacitySpec, memory: CapacityMemory
) -> None:
    need = Need(target, wanted, ALL, 1, staying)
    allocation = capacity.allocate(need, memory, NOW)
    after = len(staying) + len(allocation.placements) - sum(count for _, count in allocation.surplus)
    assert after >= target
    assert capacity.allocate(need, allocation.memory, NOW).memory == allocation.memory


@given(st.integers(0, 8), FLEETS, SPECS, MEMORIES)
def test_obeying_comes_to_rest(
    target: int, staying: tuple[Worker, ...], wanted: CapacitySpec, memory: CapacityMemory
) -> None:
    for turn in range(30):
        allocation = capacity.allocate(Need(target, wanted, ALL, 1, staying), memory, NOW)
        memory = allocation.memory
        if not allocation.placements and not allocation.surplus:
            return
        new = tuple(
            worker(f"t{turn}-{n}", p.offer.capacity_type, p.offer.zone)
            for n, p in enumerate(allocation.placements)
        )
        left = list(staying)
        for kind, count in allocation.surplus:
            for gone in [w for w in left if w.offer.capacity_type is kind][:count]:
                left.remove(gone)
        staying = (*left, *new)
    raise AssertionError(allocation)
