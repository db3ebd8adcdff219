"""From one revision to the next with the fleet in service."""

from __future__ import annotations

from dataclasses import replace

from small_fleets import ON_DEMAND, assert_fixed_point, at_least, condition, created, rolled_out, serving
from small_world import gpu_node

from inferfleet.values import ConditionType, IntOrPercent, RolloutSpec


def test_a_new_image_rolls_out_one_by_one_with_all_replicas_in_service() -> None:
    world = serving(3)
    before = world.last.revision if world.last else None
    world.spec = replace(world.spec, engine=replace(world.spec.engine, image="engine:2"))
    world.checks.append(lambda w, _made: at_least(w, 3))
    world.demand = lambda _now: 6
    world.step()
    world.run_until(rolled_out, 900)
    assert world.last is not None
    assert world.last.revision != before
    assert (world.lost, world.failed) == (0, 0)
    world.demand = lambda _now: 0
    assert_fixed_point(world)


def test_a_rollout_in_place_makes_room_first() -> None:
    world = serving(
        2, rollout=RolloutSpec(max_surge=IntOrPercent(count=0), max_unavailable=IntOrPercent(count=1))
    )
    world.spec = replace(world.spec, engine=replace(world.spec.engine, image="engine:2"))
    world.checks.append(lambda w, _made: at_least(w, 1))
    world.checks.append(lambda w, made: _at_most(len(w.staying) + len(created(made)), 2))
    world.step()
    world.run_until(rolled_out, 900)
    assert_fixed_point(world)


def _at_most(value: int, most: int) -> None:
    assert value <= most


def test_a_new_plan_comes_up_complete_beside_the_old_one_before_any_of_that_goes() -> None:
    world = serving(2)
    old = set(world.endpoints)
    world.nodes["od2"] = gpu_node("od2", ON_DEMAND, "zone-a")
    world.demand = lambda _now: 4
    world.spec = replace(world.spec, engine=replace(world.spec.engine, max_num_seqs=3))
    world.step()
    assert len(world.workers) == 4, "a second set at once"
    world.run_until(lambda w: len(w.endpoints) == 4)
    assert not any(world.workers[name].leaving for name in old)
    world.run_until(rolled_out, 300)
    assert (world.lost, world.failed) == (0, 0)
    world.demand = lambda _now: 0
    assert_fixed_point(world)


def test_a_rollout_that_does_not_come_up_is_halted_and_the_old_replicas_go_on() -> None:
    world = serving(2, rollout=RolloutSpec(progress_deadline_seconds=60))
    old = set(world.endpoints)
    world.spec = replace(world.spec, engine=replace(world.spec.engine, image="engine:broken"))
    made = world.act()
    world.broken_images.add(made.revision or "")
    world.run(120)
    status, reason = condition(world.step(), ConditionType.PROGRESSING)
    assert status is False
    assert reason.code == "NewReplicasFail"
    assert "the engine exits with 1" in reason.message
    assert set(world.endpoints) == old
    assert len(world.workers) == 3, "one surge replica, and no second one after the halt"
    world.spec = replace(world.spec, engine=replace(world.spec.engine, image="engine:1"))
    assert_fixed_point(world)
    assert set(world.endpoints) == old, "going back restarts nobody"


def test_a_fleet_is_complete_once_all_that_are_wanted_serve_in_the_newest_revision() -> None:
    world = serving(2)
    assert world.step().complete
    world.spec = replace(world.spec, engine=replace(world.spec.engine, image="engine:2"))
    assert not world.step().complete
    world.run_until(rolled_out, 300)
    world.run_until(lambda w: len(w.endpoints) == 2)
    assert world.step().complete
