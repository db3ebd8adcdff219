"""Any happenings in any order: the invariants hold, and a calm world comes to rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleets import SPOT_TAINT, assert_fixed_point, mixed, rolled_out, two_nodes
from small_world import SmallWorld


def load(world: SmallWorld) -> None:
    world.demand = lambda _now: 12


def idle(world: SmallWorld) -> None:
    world.demand = lambda _now: 0


def taint(world: SmallWorld) -> None:
    world.taint("spot", SPOT_TAINT)


def cordon(world: SmallWorld) -> None:
    world.cordon("spot")


def mend(world: SmallWorld) -> None:
    world.restore("spot")


def kill(world: SmallWorld) -> None:
    world.kill("spot")


def delete(world: SmallWorld) -> None:
    if world.endpoints:
        world.delete_pod(world.endpoints[-1])


def forget(world: SmallWorld) -> None:
    world.forget()


def deafen(world: SmallWorld) -> None:
    world.deaf = True


def hear(world: SmallWorld) -> None:
    world.deaf = False


def roll(world: SmallWorld) -> None:
    world.spec = replace(world.spec, engine=replace(world.spec.engine, image=f"engine:{int(world.now)}"))


def slow(world: SmallWorld) -> None:
    world.start_seconds = 25.0


HAPPENINGS = (load, idle, taint, cordon, mend, kill, delete, forget, deafen, hear, roll, slow)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(1, 40)), max_size=10))
def test_whatever_happens_the_invariants_hold_and_a_calm_world_comes_to_rest(
    happenings: list[tuple[Callable[[SmallWorld], None], int]],
) -> None:
    world = two_nodes(capacity=mixed(fallback_hold_seconds=60.0))
    world.run(20)
    for happening, seconds in happenings:
        happening(world)
        world.run(seconds)
    for calm in (mend, hear, idle):
        calm(world)
    world.run(400)
    assert_fixed_point(world)
    assert len(world.endpoints) == 1
    assert rolled_out(world)
