"""How replicas are divided over reserved, spot and on-demand, and that obeying comes to rest."""

from __future__ import annotations

import pytest
from capacity_cases import (
    ALL,
    NOW,
    OD,
    RESERVED,
    SPOT,
    ask,
    interrupted,
    offer,
    pool,
    spec,
    worker,
    workers,
)
from hypothesis import given
from hypothesis import strategies as st

from inferfleet import capacity
from inferfleet.capacity import Need
from inferfleet.values import (
    CapacityMemory,
    CapacitySpec,
    IntOrPercent,
    Pool,
    Worker,
)


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
