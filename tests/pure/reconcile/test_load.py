"""The number of replicas follows the load, walked second by second."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleets import SPOT_TAINT, assert_fixed_point, autoscaling, condition, created, serving, two_nodes

from inferfleet.reconcile import plan
from inferfleet.values import AutoscalingMode, ConditionType


def test_a_new_deployment_gets_its_first_replica_and_then_nothing_is_planned() -> None:
    world = two_nodes()
    first = world.step()
    assert [action.worker for action in created(first)] == [f"chat-{first.revision[:6]}-0"]
    assert {event.reason.code for event in first.events} == {"Resolved", "Planned", "Creating"}
    world.run_until(lambda w: len(w.endpoints) == 1)
    assert_fixed_point(world)


def test_a_queue_asks_for_three_replicas_within_seconds_and_for_no_more_while_they_start() -> None:
    world = serving(1)
    world.start_seconds = 60
    world.demand = lambda _now: 10
    assert world.run_until(lambda w: w.last is not None and w.last.desired == 3) <= 8
    world.spec = replace(world.spec, autoscaling=autoscaling(max_replicas=12))
    world.run(20)
    assert world.last is not None
    assert world.last.desired == 3, "a queue that waits for warming replicas must not cascade"


def test_load_gone_brings_one_replica_back_with_a_running_stream_unharmed() -> None:
    world = serving(1)
    world.demand = lambda _now: 10
    world.run_until(lambda w: len(w.endpoints) == 3)
    world.run(20)
    world.demand = lambda _now: 0
    for name in world.endpoints:
        world.stream(name, 70)
    world.run_until(lambda w: len(w.workers) == 1, 200)
    assert (world.lost, world.failed) == (0, 0)
    assert_fixed_point(world)


def test_a_stream_that_runs_on_holds_no_replica_but_its_own() -> None:
    """Engines that share a machine slow each other: alone, a stream is faster than any was under load."""
    world = serving(1)
    world.pace = lambda w: 25.0 / max(1, len({stream.worker for stream in w.streams}))
    world.demand = lambda _now: 20
    world.run_until(lambda w: len(w.endpoints) == 3)
    world.run(40)
    world.demand = lambda _now: 0
    world.run_until(lambda w: not w.streams)
    world.stream(world.endpoints[0], 200)
    assert world.run_until(lambda w: w.last is not None and w.last.desired == 1) <= 45
    world.run_until(lambda w: len(w.workers) == 1, 200)
    world.run_until(lambda w: not w.streams, 250)
    assert world.lost == 0


@pytest.mark.parametrize("mode", [AutoscalingMode.EXTERNAL, AutoscalingMode.OFF])
def test_someone_else_sets_the_number_of_replicas(mode: AutoscalingMode) -> None:
    world = serving(1)
    world.spec = replace(world.spec, autoscaling=autoscaling(mode=mode, replicas=3))
    world.run_until(lambda w: len(w.endpoints) == 3)
    world.spec = replace(world.spec, autoscaling=autoscaling(mode=mode, replicas=2))
    world.demand = lambda _now: 30
    world.run_until(lambda w: len(w.workers) == 2)
    assert world.lost == 0


def test_a_paused_deployment_neither_rolls_out_nor_scales_but_still_flees() -> None:
    world = serving(2)
    world.spec = replace(world.spec, paused=True, engine=replace(world.spec.engine, image="engine:2"))
    world.demand = lambda _now: 12
    world.run(30)
    assert len(world.workers) == 2
    assert len({worker.revision for worker in world.workers.values()}) == 1
    world.taint("spot", SPOT_TAINT)
    assert len(created(world.step())) == 1


def test_the_same_input_gives_the_same_plan() -> None:
    world = two_nodes()
    observed = world.observe()
    assert plan(observed, world.now) == plan(observed, world.now)


def test_status_counts_what_runs_and_what_it_costs() -> None:
    world = serving(2)
    world.demand = lambda _now: 6
    world.run(60)
    made = world.step()
    assert (made.ready, made.desired, made.spot_ready) == (2, 2, 1)
    assert made.dollars_per_hour == pytest.approx(1.15 + 0.345)
    assert made.decision is not None
    assert made.decision.tokens_per_second == pytest.approx(150, rel=0.2)
    assert made.dollars_per_million_tokens == pytest.approx(
        made.dollars_per_hour / (made.decision.tokens_per_second * 3600) * 1e6
    )


def test_what_engines_report_replaces_the_estimates_in_what_is_shown_and_a_drift_is_a_reason() -> None:
    world = serving(1)
    assert world.last
    layout = world.last.layout
    assert layout
    planned = layout.prediction
    pace, tokens = planned.tokens_per_second / 2, layout.kv_cache_tokens // 2
    world.now += 1
    scaling = replace(world.memory.scaling, busy_tokens_per_second=pace)
    world.memory = replace(world.memory, scaling=scaling)
    observed = world.observe()
    told = (replace(sample, kv_cache_tokens=tokens, at=world.now) for sample in observed.samples)
    seen = plan(replace(observed, samples=tuple(told)), world.now)
    # what is rendered stays as planned
    assert seen.layout == layout
    assert seen.measured
    assert seen.measured.kv_cache_tokens == tokens
    assert seen.measured.prediction.tokens_per_second == pytest.approx(pace, rel=0.05)
    cost = seen.measured.prediction.dollars_per_million_tokens
    assert cost == pytest.approx(2 * planned.dollars_per_million_tokens, rel=0.05)
    status, reason = condition(seen, ConditionType.PLANNED)
    assert (status, reason.code) == (True, "KvCacheDrift")
    for number in (tokens, layout.kv_cache_tokens, f"predicted were {planned.tokens_per_second:.0f}"):
        assert str(number) in reason.message
    assert f"${cost:.2f} per million tokens" in reason.message
