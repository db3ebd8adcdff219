"""Replicas whose node, pod or deployment goes: replaced first, out of the endpoints in time, and counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleets import (
    ON_DEMAND,
    SPOT,
    SPOT_TAINT,
    assert_fixed_point,
    at_least,
    condition,
    created,
    mixed,
    of_type,
    serving,
)
from small_world import SmallWorld, gpu_node

from inferfleet.telemetry.deployment_metrics import numbers_of
from inferfleet.values import (
    ConditionType,
    CreateWorker,
    Event,
    LossCause,
    MarkDraining,
    NodeClaim,
    PodPhase,
    Reason,
    SetServing,
)


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
    world.checks.append(lambda w, _made: at_least(w, 2))
    world.run_until(lambda w: leaving not in w.endpoints)
    world.run_until(lambda w: leaving not in w.workers)
    assert (world.lost, world.failed) == (0, 0)
    assert_fixed_point(world)


def test_advice_to_rebalance_starts_the_replacement_early_and_drains_without_the_notices_deadline() -> None:
    world = serving(2)
    (leaving,) = [worker.name for worker in of_type(world, SPOT)]
    world.stream(leaving, 200)
    world.checks.append(lambda w, _made: at_least(w, 2))
    world.taint("spot", "aws-node-termination-handler/rebalance-recommendation")
    made = world.step()
    assert [type(action) for action in made.actions] == [CreateWorker, MarkDraining]
    assert [action.drain.deadline for action in made.actions if isinstance(action, MarkDraining)] == [None]
    assert leaving in world.endpoints, "it serves until the replacement does"
    world.run_until(lambda w: leaving not in w.endpoints)
    world.run_until(lambda w: leaving not in w.workers)
    assert (world.lost, world.failed) == (0, 0)


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


def test_a_cordoned_node_is_left_when_the_replacement_is_ready() -> None:
    world = serving(2)
    world.checks.append(lambda w, _made: at_least(w, 2))
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
    assert world.step().memory.interruptions == ()
    world.cordon("od")
    assert [item.node for item in world.step().memory.interruptions] == ["od"]


def test_a_node_that_dies_costs_what_was_in_flight_on_it_and_that_is_counted_and_told() -> None:
    world = serving(2)
    victim = of_type(world, SPOT)[0].name
    world.stream(victim, 300)
    world.stream(victim, 300)
    world.step()
    events: list[Event] = []
    world.checks.append(lambda _w, made: events.extend(made.events))
    world.kill("spot")
    world.run_until(lambda w: victim not in w.workers, 60)
    made = world.step()
    assert made.memory.lost_requests == world.lost == 2
    assert made.memory.lost == ((LossCause.NODE_LOST, 2),)
    shown = numbers_of(made)
    assert (shown["lost_requests", "node-lost"], shown["lost_requests", "crash"]) == (2, 0)
    world.run_until(lambda w: len(w.endpoints) == 2)
    world.run(60)
    assert world.last is not None
    assert world.last.memory.lost_requests == 2, "a loss is counted once"
    words = "2 requests got no whole answer: 2 to node lost"
    told = [event for event in events if event.reason.code == "RequestsLost"]
    assert told == [Event(Reason("RequestsLost", words), warning=True)]


def test_streams_longer_than_the_notice_are_cut_at_the_deadline_and_counted() -> None:
    world = serving(2)
    victim = of_type(world, SPOT)[0].name
    world.stream(victim, 500)
    world.taint("spot", SPOT_TAINT)
    took = world.run_until(lambda w: victim not in w.workers, 130)
    assert took >= 100
    assert world.step().memory.lost == ((LossCause.INTERRUPTION, 1),)


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
