"""An operator that restarts goes on where the workers are."""

from __future__ import annotations

import pytest
from small_fleets import SPOT, SPOT_TAINT, assert_fixed_point, of_type, serving


@pytest.mark.parametrize("after", range(0, 45, 4))
def test_an_operator_that_restarts_at_any_moment_of_a_scale_down_goes_on(after: int) -> None:
    world = serving(1)
    world.demand = lambda _now: 10
    world.run_until(lambda w: len(w.endpoints) == 3)
    world.demand = lambda _now: 0
    for name in world.endpoints:
        world.stream(name, 40)
    world.run(after)
    world.forget()
    world.run_until(lambda w: len(w.workers) == 1, 300)
    assert world.lost == 0
    assert_fixed_point(world)


def test_a_restart_in_a_calm_world_does_and_says_nothing() -> None:
    world = serving(2)
    world.forget()
    made = world.step()
    assert (made.actions, made.events) == ((), ())


def test_a_restart_of_the_operator_holds_rather_than_drops() -> None:
    world = serving(1)
    world.demand = lambda _now: 10
    world.run_until(lambda w: len(w.endpoints) == 3)
    world.demand = lambda _now: 0
    world.run(5)
    world.forget()
    world.run(24)
    assert len(world.endpoints) == 3, "the window starts anew"


def test_a_drain_goes_on_after_a_restart_even_if_its_cause_is_gone() -> None:
    world = serving(2)
    leaving = of_type(world, SPOT)[0].name
    world.stream(leaving, 60)
    world.taint("spot", SPOT_TAINT)
    world.run(3)
    world.forget()
    world.restore("spot")
    world.run_until(lambda w: leaving not in w.workers)
    assert world.lost == 0
