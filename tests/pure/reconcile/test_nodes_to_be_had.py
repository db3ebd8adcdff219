"""Where replicas find a node, and what becomes of those that find none."""

from __future__ import annotations

from small_fleets import (
    ON_DEMAND,
    SPOT,
    assert_fixed_point,
    at_least,
    autoscaling,
    condition,
    mixed,
    of_type,
    serving,
    two_nodes,
)
from small_world import SmallWorld, gpu_node

from inferfleet.values import ConditionType, PoolSpec, Reason


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
    assert len(of_type(world, ON_DEMAND)) == 2
    assert [worker.offer.zone for worker in of_type(world, SPOT)] == ["zone-b"], "the other zone is tried"
    assert world.now - world.plans[0][0] < 150, "on-demand covers soon after the time to fall back"
    world.checks.append(lambda w, _made: at_least(w, 2))
    world.run(200)
    world.nodes["spot"] = gpu_node("spot", SPOT, "zone-b")
    world.run(300)
    assert not of_type(world, SPOT), "zones that denied it are left alone for a while"
    world.run_until(lambda w: len(of_type(w, SPOT)) == 1 and len(w.workers) == 2, 900)
    assert_fixed_point(world)


def test_a_replica_without_a_node_freezes_nothing() -> None:
    """It froze another planner's every decision (dynamo#14251). Here nobody gives it up meanwhile."""
    world = serving(1, capacity=mixed(fallback_after_seconds=3600.0))
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
