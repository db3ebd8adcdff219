"""`plan` walked second by second in a small world: what the demo shows, and what must never be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_world import MODEL, SmallWorld, deployment, gpu_node

from inferfleet.reconcile import plan
from inferfleet.values import (
    AutoscalingMode,
    AutoscalingSpec,
    CapacitySpec,
    CapacityType,
    ConditionType,
    CreateWorker,
    DeletePod,
    DrainCause,
    EngineSpec,
    IntOrPercent,
    LossCause,
    MarkDraining,
    ModelSpec,
    NodeClaim,
    Observed,
    Plan,
    PodPhase,
    PoolSpec,
    Reason,
    RolloutSpec,
    SetServing,
    Worker,
)

ON_DEMAND, SPOT = CapacityType.ON_DEMAND, CapacityType.SPOT
SPOT_TAINT = "aws-node-termination-handler/spot-itn"


def autoscaling(**changes: object) -> AutoscalingSpec:
    spec = AutoscalingSpec(
        min_replicas=1,
        max_replicas=3,
        target_queue_per_replica=2,
        scale_down_window_seconds=25,
        max_scale_down_per_minute=10,
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


def mixed(base: int = 1, share: float = 1.0, **changes: object) -> CapacitySpec:
    spec = CapacitySpec(on_demand_base=IntOrPercent(count=base), spot_share=IntOrPercent(share=share))
    return replace(spec, **changes)  # type: ignore[arg-type]


def two_nodes(
    scaling: AutoscalingSpec | None = None, capacity: CapacitySpec | None = None, **changes: object
) -> SmallWorld:
    nodes = (gpu_node("od", ON_DEMAND, "zone-a"), gpu_node("spot", SPOT, "zone-b"))
    world = SmallWorld(
        deployment(scaling or autoscaling(), capacity or mixed(), **changes),
        {node.name: node for node in nodes},
    )
    world.checks.append(Guard())
    return world


class Guard:
    """What must hold in every pass, whatever happens."""

    def __init__(self) -> None:
        self.deadlines: dict[str, float] = {}

    def __call__(self, world: SmallWorld, made: Plan) -> None:
        assert made.desired >= world.spec.autoscaling.min_replicas or world.spec.deleted_at
        drains = [worker for worker in world.workers.values() if worker.drain]
        for worker in drains:
            deadline = worker.drain.deadline if worker.drain else None
            held = self.deadlines.get(worker.leader.uid)
            assert held is None or (deadline is not None and deadline <= held + 1), "a drain was loosened"
            if deadline is not None:
                self.deadlines[worker.leader.uid] = deadline
        self.endpoints_stay_served(world, made)

    @staticmethod
    def endpoints_stay_served(world: SmallWorld, made: Plan) -> None:
        """Nobody takes the last replica out of service unless its machine goes or the deployment does."""
        if world.spec.deleted_at is not None or made.desired == 0:
            return
        by_uid = {worker.leader.uid: worker for worker in world.workers.values()}
        out = [a.uid for a in made.actions if isinstance(a, SetServing) and not a.serving]
        out += [a.uid for a in made.actions if isinstance(a, DeletePod)]
        leaving = {by_uid[uid].name for uid in out if uid in by_uid}
        if not leaving or set(world.endpoints) - leaving or not set(world.endpoints) & leaving:
            return
        marks = {a.uid: a.drain.cause for a in made.actions if isinstance(a, MarkDraining)}
        for uid in out:
            worker = by_uid[uid]
            cause = marks.get(uid) or (worker.drain.cause if worker.drain else None)
            going = world.nodes.get(worker.leader.node or "")
            assert cause is DrainCause.INTERRUPTION or going is None or going.not_ready_since, (
                f"{worker.name} was the last in service and went for {cause}"
            )


def quiet(world: SmallWorld) -> bool:
    return world.last is not None and not world.last.actions and not world.last.events


def assert_fixed_point(world: SmallWorld) -> None:
    world.run_until(lambda w: quiet(w) and all(worker.ready for worker in w.workers.values()))
    for _ in range(5):
        made = world.act()
        assert made.actions == ()
        assert made.events == ()


def serving(replicas: int, **changes: object) -> SmallWorld:
    world = two_nodes(autoscaling(min_replicas=replicas, max_replicas=max(3, replicas)), **changes)  # type: ignore[arg-type]
    world.run_until(lambda w: len(w.endpoints) == replicas)
    world.run(30)
    assert_fixed_point(world)
    return world


def rolled_out(world: SmallWorld) -> bool:
    return world.last is not None and {w.revision for w in world.workers.values()} == {world.last.revision}


def created(made: Plan) -> list[CreateWorker]:
    return [action for action in made.actions if isinstance(action, CreateWorker)]


def condition(made: Plan, kind: ConditionType) -> tuple[bool | None, Reason]:
    found = next(c for c in made.conditions if c.type is kind)
    return found.status, found.reason


def of_type(world: SmallWorld, kind: CapacityType) -> list[Worker]:
    return [worker for worker in world.staying if worker.offer.capacity_type is kind]


# -- the demo ------------------------------------------------------------------------------------------------


def test_a_new_deployment_gets_its_first_replica_and_then_nothing_is_planned() -> None:
    world = two_nodes()
    first = world.step()
    assert [action.worker for action in created(first)] == [f"chat-{first.revision[:6]}-0"]  # type: ignore[index]
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


@pytest.mark.parametrize(
    ("labels", "taint", "longest"),
    [
        ({}, SPOT_TAINT, 55),
        ({}, "karpenter.sh/disrupted", 55),
        (
            {"kubernetes.azure.com/scalesetpriority": "spot"},
            "remediator.kubernetes.azure.com/unschedulable",
            12,
        ),
        ({"cloud.google.com/gke-spot": "true"}, "cloud.google.com/impending-node-termination", 5),
    ],
    ids=["AWS 120 s", "Karpenter on AWS 120 s", "AKS 30 s", "GKE 15 s"],
)
def test_a_spot_notice_gets_a_replacement_in_the_same_pass_and_loses_nothing(
    labels: dict[str, str], taint: str, longest: float
) -> None:
    world = serving(2)
    world.nodes["spot"] = replace(world.nodes["spot"], labels={**world.nodes["spot"].labels, **labels})
    leaving = of_type(world, SPOT)[0].name
    world.stream(leaving, longest)
    world.taint("spot", taint)
    made = world.step()
    kinds = [type(action) for action in made.actions]
    assert kinds == [CreateWorker, MarkDraining, SetServing], "the replacement is asked for first"
    assert created(made)[0].offer.capacity_type is ON_DEMAND
    world.run_until(lambda w: leaving not in w.workers)
    assert (world.lost, world.failed) == (0, 0)
    world.run_until(lambda w: len(w.endpoints) == 2)
    assert condition(world.step(), ConditionType.CAPACITY_AVAILABLE)[1].code == "Substituted"


def test_what_karpenter_consolidates_moves_within_spot_and_leaves_when_it_is_replaced() -> None:
    world = serving(2)
    world.nodes["spot2"] = gpu_node("spot2", SPOT, "zone-c")
    (leaving,) = [worker.name for worker in of_type(world, SPOT)]
    world.stream(leaving, 200)
    world.claims = (NodeClaim("gpu-1", "spot", reason="Underutilized"),)
    world.taint("spot", "karpenter.sh/disrupted")
    made = world.step()
    assert [action.offer.capacity_type for action in created(made)] == [SPOT], "nothing was lost"
    assert leaving in world.endpoints
    world.checks.append(lambda w, _made: _at_least(w, 2))
    world.run_until(lambda w: leaving not in w.endpoints)
    world.run_until(lambda w: leaving not in w.workers)
    assert (world.lost, world.failed) == (0, 0)
    assert_fixed_point(world)


def test_the_only_replica_serves_on_until_its_replacement_is_ready() -> None:
    world = serving(1, capacity=mixed(base=0))
    (leaving,) = world.endpoints
    world.taint("spot", SPOT_TAINT)
    world.step()
    assert world.endpoints == [leaving]
    world.run_until(lambda w: len(w.endpoints) == 2)
    world.run_until(lambda w: leaving not in w.endpoints)
    assert len(world.endpoints) == 1
    world.run_until(lambda w: leaving not in w.workers)
    assert_fixed_point(world)


def test_the_only_replica_leaves_in_time_to_drain_when_its_replacement_is_late() -> None:
    world = serving(1, capacity=mixed(base=0))
    (leaving,) = world.endpoints
    world.start_seconds = 300
    world.stream(leaving, 110)
    world.taint("spot", SPOT_TAINT)
    out_after = world.run_until(lambda w: leaving not in w.endpoints)
    assert 50 <= out_after <= 115, "half of the notice, at most, is kept for draining"
    world.run_until(lambda w: leaving not in w.workers)
    assert world.lost == 0


# -- voluntary departures ------------------------------------------------------------------------------------


def test_a_new_image_rolls_out_one_by_one_with_all_replicas_in_service() -> None:
    world = serving(3)
    before = world.last.revision if world.last else None
    world.spec = replace(world.spec, engine=replace(world.spec.engine, image="engine:2"))
    world.checks.append(lambda w, _made: _at_least(w, 3))
    world.demand = lambda _now: 6
    world.step()
    world.run_until(rolled_out, 900)
    assert world.last is not None
    assert world.last.revision != before
    assert (world.lost, world.failed) == (0, 0)
    world.demand = lambda _now: 0
    assert_fixed_point(world)


def _at_least(world: SmallWorld, count: int) -> None:
    assert len(world.endpoints) >= count


def test_a_rollout_in_place_makes_room_first() -> None:
    world = serving(
        2, rollout=RolloutSpec(max_surge=IntOrPercent(count=0), max_unavailable=IntOrPercent(count=1))
    )
    world.spec = replace(world.spec, engine=replace(world.spec.engine, image="engine:2"))
    world.checks.append(lambda w, _made: _at_least(w, 1))
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


def test_a_cordoned_node_is_left_when_the_replacement_is_ready() -> None:
    world = serving(2)
    world.checks.append(lambda w, _made: _at_least(w, 2))
    leaving = of_type(world, SPOT)[0].name
    world.cordon("spot")
    made = world.step()
    assert len(created(made)) == 1
    world.run(3)
    assert leaving in world.endpoints
    world.run_until(lambda w: leaving not in w.workers)
    assert len(world.endpoints) == 2


def test_a_pod_that_someone_deletes_is_replaced_at_once() -> None:
    world = serving(2)
    gone = world.endpoints[0]
    world.stream(gone, 20)
    world.delete_pod(gone)
    made = world.step()
    assert len(created(made)) == 1
    world.run_until(lambda w: len(w.endpoints) == 2 and gone not in w.workers)
    assert world.lost == 0
    assert_fixed_point(world)


def test_a_deployment_that_is_deleted_drains_all_and_then_lets_its_finalizer_go() -> None:
    world = serving(2)
    for name in world.endpoints:
        world.stream(name, 40)
    world.spec = replace(world.spec, deleted_at=world.now)
    made = world.step()
    assert not created(made)
    assert not made.finished
    world.run_until(lambda w: w.last is not None and w.last.finished, 120)
    assert world.lost == 0
    assert not world.workers


# -- losses --------------------------------------------------------------------------------------------------


def test_a_node_that_dies_costs_what_was_in_flight_on_it_and_that_is_counted() -> None:
    world = serving(2)
    victim = of_type(world, SPOT)[0].name
    world.stream(victim, 300)
    world.stream(victim, 300)
    world.step()
    world.kill("spot")
    world.run_until(lambda w: victim not in w.workers, 60)
    made = world.step()
    assert made.lost_requests == world.lost == 2
    assert made.lost == ((LossCause.NODE_LOST, 2),)
    world.run_until(lambda w: len(w.endpoints) == 2)
    world.run(60)
    assert world.last is not None
    assert world.last.lost_requests == 2, "a loss is counted once"


def test_streams_longer_than_the_notice_are_cut_at_the_deadline_and_counted() -> None:
    world = serving(2)
    victim = of_type(world, SPOT)[0].name
    world.stream(victim, 500)
    world.taint("spot", SPOT_TAINT)
    took = world.run_until(lambda w: victim not in w.workers, 130)
    assert took >= 100
    assert world.step().lost == ((LossCause.INTERRUPTION, 1),)


def test_replicas_that_end_by_themselves_are_replaced_with_growing_pauses() -> None:
    world = serving(1)
    waits = []
    for _ in range(5):
        end_all(world)
        waits.append(world.run_until(lambda w: any(not x.finished for x in w.workers.values())))
        world.run(6)
    assert waits[0] <= 1, "one failure is replaced at once"
    assert waits == sorted(waits)
    assert waits[-1] >= 60
    end_all(world)
    world.run(6)
    status, reason = condition(world.step(), ConditionType.PROGRESSING)
    assert (status, reason.code) == (True, "BackingOff")


def end_all(world: SmallWorld) -> None:
    for worker in world.workers.values():
        pod = replace(worker.leader, phase=PodPhase.FAILED, ready=False, containers_ready=False)
        world.workers[worker.name] = replace(worker, pods=(pod,))


# -- capacity ------------------------------------------------------------------------------------------------


def spot_market() -> SmallWorld:
    """One on-demand node; spot is sold, but no spot node exists yet."""
    labels = {"node.kubernetes.io/instance-type": "g6.12xlarge"}
    pool = PoolSpec(
        name="l4",
        node_labels=labels,
        zones=("zone-a", "zone-b"),
        capacity_types=(ON_DEMAND, SPOT),
        max_nodes=8,
    )
    world = two_nodes(autoscaling(min_replicas=2), mixed())
    del world.nodes["spot"]
    world.pool_specs = (pool,)
    return world


def test_denied_spot_is_reported_then_covered_by_on_demand_then_tried_again_and_returned_to() -> None:
    world = spot_market()
    world.run(60)
    status, reason = condition(world.step(), ConditionType.CAPACITY_AVAILABLE)
    assert status is False
    assert "Insufficient nvidia.com/gpu" in reason.message
    assert len(world.endpoints) == 1
    world.run_until(lambda w: len(w.endpoints) == 2, 200)
    assert [worker.offer.capacity_type for worker in world.staying] == [ON_DEMAND, ON_DEMAND]
    assert world.now - world.plans[0][0] < 150, "on-demand covers soon after the time to fall back"
    world.nodes["spot"] = gpu_node("spot", SPOT, "zone-b")
    world.checks.append(lambda w, _made: _at_least(w, 2))
    world.run(300)
    assert not of_type(world, SPOT), "on-demand is held for a while"
    world.run_until(lambda w: len(of_type(w, SPOT)) == 1 and len(w.workers) == 2, 900)
    assert_fixed_point(world)


def test_a_replica_without_a_node_freezes_nothing() -> None:
    world = serving(1)
    world.cordon("spot")
    world.demand = lambda _now: 12
    world.run(60)
    assert any(pod.unschedulable for worker in world.workers.values() for pod in worker.pods)
    world.demand = lambda _now: 0
    world.run_until(lambda w: len(w.workers) == 1, 300)
    assert_fixed_point(world)


def test_no_node_at_all_is_waited_for() -> None:
    world = two_nodes()
    world.nodes.clear()
    made = world.step()
    assert condition(made, ConditionType.PLANNED) == (
        False,
        Reason("NoCapacity", "no node with GPUs exists, and no GPUPool or NodePool describes one"),
    )
    assert world.step().events == ()
    world.nodes["od"] = gpu_node("od", ON_DEMAND, "zone-a")
    world.run_until(lambda w: len(w.endpoints) == 1)


def test_nodes_that_come_and_go_change_no_plan() -> None:
    world = serving(1)
    assert world.last is not None
    before = world.last.layout
    labels = {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.memory": "81559",
        "node.kubernetes.io/instance-type": "p5.48xlarge",
    }
    world.nodes["big"] = gpu_node("big", ON_DEMAND, "zone-a", gpus=8, **labels)
    assert world.step().layout == before
    del world.nodes["big"]
    assert world.step().layout == before
    assert_fixed_point(world)


# -- bad input, blindness and restarts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "kind", "code"),
    [
        (
            lambda o: replace(o, spec_problem=Reason("BadQuantity", "spec.x is no quantity")),
            ConditionType.PLANNED,
            "BadQuantity",
        ),
        (
            lambda o: replace(o, model=None, model_problem=Reason("NoConfig", "no config.json")),
            ConditionType.MODEL_RESOLVED,
            "NoConfig",
        ),
        (
            lambda o: replace(o, spec=replace(o.spec, capacity=replace(o.spec.capacity, pools=("nowhere",)))),
            ConditionType.PLANNED,
            None,
        ),
    ],
    ids=["a spec that does not parse", "a model that cannot be read", "a pool that does not exist"],
)
def test_bad_input_is_said_once_and_the_running_replicas_stay(spoil, kind, code) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    world = serving(2)
    first = plan(spoil(world.observe()), world.now)
    status, reason = condition(first, kind)
    assert status is False
    assert code is None or reason.code == code
    assert first.actions == ()
    assert (first.layout, first.revision) == (world.last.layout, world.last.revision)  # type: ignore[union-attr]
    assert [event.warning for event in first.events] == [True] * len(first.events)
    assert first.events
    again = plan(replace(spoil(world.observe()), previous_conditions=first.conditions), world.now)
    assert again.events == ()


def test_a_replacement_under_a_refused_spec_is_rendered_from_the_spec_of_its_revision() -> None:
    world = serving(2)
    assert plan(world.observe(), world.now).renders_spec
    spec = replace(world.spec, engine=replace(world.spec.engine, image="engine:2"))
    refused = replace(spec, capacity=replace(spec.capacity, pools=("nowhere",)))
    made = plan(replace(world.observe(), spec=refused), world.now)
    assert (made.revision, made.renders_spec) == (world.last.revision, False)  # type: ignore[union-attr]
    assert plan(replace(world.observe(), spec=spec), world.now).renders_spec


def test_a_deployment_of_which_only_the_name_is_known_keeps_what_it_has() -> None:
    world = serving(2)
    nameless = replace(deployment(), autoscaling=AutoscalingSpec(), engine=EngineSpec(""))
    seen = replace(world.observe(), spec=nameless, spec_known=False, spec_problem=Reason("Bad", "no number"))
    made = plan(seen, world.now)
    assert made.actions == ()
    assert made.desired == 2


def test_a_stale_view_takes_nothing_away() -> None:
    world = serving(2)
    world.taint("spot", SPOT_TAINT)
    stale = Reason("ViewStale", "the watch of pods is 90 s old")
    made = plan(replace(world.observe(), view_stale=stale, workers=()), world.now)
    assert {type(action) for action in made.actions} <= {CreateWorker}
    made = plan(replace(world.observe(), view_stale=stale), world.now)
    assert {type(action) for action in made.actions} <= {CreateWorker}


def test_silent_engines_hold_the_number_of_replicas() -> None:
    world = serving(1)
    world.demand = lambda _now: 10
    world.run_until(lambda w: len(w.endpoints) == 3)
    world.demand = lambda _now: 0
    world.deaf = True
    world.run(600)
    assert len(world.endpoints) == 3
    assert condition(world.step(), ConditionType.SCALING_ACTIVE)[0] is False
    world.deaf = False
    world.run_until(lambda w: len(w.workers) == 1, 200)


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


@pytest.mark.parametrize("mode", [AutoscalingMode.EXTERNAL, AutoscalingMode.OFF])
def test_someone_else_sets_the_number_of_replicas(mode: AutoscalingMode) -> None:
    world = serving(1)
    world.spec = replace(world.spec, autoscaling=autoscaling(mode=mode, replicas=3))
    world.run_until(lambda w: len(w.endpoints) == 3)
    world.spec = replace(world.spec, autoscaling=autoscaling(mode=mode, replicas=2))
    world.demand = lambda _now: 30
    world.run_until(lambda w: len(w.workers) == 2)
    assert world.lost == 0


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
    observed = world.observe()
    seen = plan(
        replace(
            observed,
            samples=tuple(
                replace(sample, kv_cache_tokens=tokens, at=world.now) for sample in observed.samples
            ),
            scaling=replace(
                observed.scaling,
                busy_tokens_per_second=pace,
            ),
        ),
        world.now,
    )
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


def test_a_model_that_is_not_read_yet_is_waited_for() -> None:
    made = plan(Observed(spec=deployment(), nodes=(gpu_node("od", ON_DEMAND, "a"),)), 0.0)
    assert made.actions == ()
    assert condition(made, ConditionType.MODEL_RESOLVED)[0] is None
    assert made.events == ()


def test_an_impossible_model_says_what_would_help() -> None:
    spec = deployment(model=ModelSpec("deepseek-ai/deepseek-v3"), engine=EngineSpec("engine:1"))
    assert MODEL is not None
    huge = replace(MODEL, parameters=671 * 10**9, weight_bytes=671 * 10**9)
    made = plan(Observed(spec=spec, nodes=(gpu_node("od", ON_DEMAND, "a"),), model=huge), 0.0)
    status, reason = condition(made, ConditionType.PLANNED)
    assert status is False
    assert reason.message
    assert made.actions == ()


def test_a_notice_that_only_the_worker_saw_moves_it_to_another_node_once() -> None:
    world = serving(1, capacity=mixed(base=0))
    world.notices["spot"] = ("rebalance", None, "aws imds")
    (leaving,) = world.endpoints
    world.run_until(lambda w: leaving not in w.workers)
    assert [worker.leader.node for worker in world.workers.values()] == ["od"]
    assert_fixed_point(world)


def test_for_karpenter_a_replacement_names_whom_it_avoids_and_no_host() -> None:
    world = serving(1, capacity=mixed(base=0))
    node = world.nodes["spot"]
    world.nodes["spot"] = replace(node, labels={**node.labels, "karpenter.sh/nodepool": "gpu"})
    world.notices["spot"] = ("rebalance", None, "aws imds")
    (leaving,) = world.endpoints
    made = [action for _ in range(10) for action in created(world.step())]
    assert made[0].strangers == (leaving,)
    assert "kubernetes.io/hostname" not in {requirement.key for requirement in made[0].requirements}


def test_nodes_of_others_that_go_are_not_remembered() -> None:
    world = serving(1)
    world.nodes["cpu"] = replace(gpu_node("cpu", ON_DEMAND, "zone-a", gpus=0), unschedulable=True)
    assert world.step().interruptions == ()
    world.cordon("od")
    assert [item.node for item in world.step().interruptions] == ["od"]


def test_a_paused_deployment_neither_rolls_out_nor_scales_but_still_flees() -> None:
    world = serving(2)
    world.spec = replace(world.spec, paused=True, engine=replace(world.spec.engine, image="engine:2"))
    world.demand = lambda _now: 12
    world.run(30)
    assert len(world.workers) == 2
    assert len({worker.revision for worker in world.workers.values()}) == 1
    world.taint("spot", SPOT_TAINT)
    assert len(created(world.step())) == 1


def test_what_was_said_last_stands_while_the_view_is_stale() -> None:
    world = serving(2)
    stale = Reason("ViewStale", "the watch of pods is 90 s old")
    made = plan(replace(world.observe(), view_stale=stale, workers=(), nodes=()), world.now)
    assert condition(made, ConditionType.READY)[0] is True
    assert condition(made, ConditionType.PROGRESSING) == (None, stale)
    assert made.events == ()


# -- whatever happens ----------------------------------------------------------------------------------------


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
