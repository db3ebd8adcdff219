"""What is said of replicas that wait for Karpenter to buy their node."""

from __future__ import annotations

from typing import Any

import pytest

from inferfleet.planning import discover_pools, expect_purchase
from inferfleet.values import (
    CapacityType,
    NodePool,
    OfferKey,
    PodPhase,
    PoolSpec,
    Reason,
    Requirement,
    Worker,
    WorkerPod,
)

POOLS = discover_pools((), [PoolSpec("l4", instance_types=("g6.xlarge",))], {})


def waiting(since: float = 0.0, pool: str = "l4") -> Worker:
    pod = WorkerPod("w", "u", 0, PodPhase.PENDING, since, unschedulable=Reason("Unschedulable", "no node"))
    return Worker("w", "r", OfferKey(pool, CapacityType.ON_DEMAND), (pod,))


def node_pool(name: str = "gpu", capacity_type: str = "on-demand", **fields: Any) -> NodePool:
    return NodePool(name, (Requirement("karpenter.sh/capacity-type", "In", (capacity_type,)),), **fields)


@pytest.mark.parametrize(
    ("node_pools", "waited_seconds", "code", "told"),
    [
        ([node_pool()], 29.0, "", ""),
        ([node_pool()], 30.0, "NotBought", "does Karpenter not run?"),
        ([node_pool(gpu_limit=2, gpus=1)], 1.0, "", ""),
        ([node_pool(gpu_limit=2, gpus=2)], 1.0, "NodePoolBlocked", "2 GPUs of at most 2"),
        (
            [node_pool(problem=Reason("NotReady", "no class"))],
            1.0,
            "NodePoolBlocked",
            "gpu: NotReady: no class",
        ),
        ([node_pool(gpu_limit=2, gpus=2), node_pool("other")], 1.0, "", ""),
        ([node_pool(capacity_type="spot")], 1.0, "NoNodePool", "1 NodePools, none of which allows"),
        ([], 1.0, "NoNodePool", "no NodePool that allows"),
    ],
    ids=[
        "Karpenter takes some seconds",
        "it takes too long",
        "the limit leaves room",
        "the limit is reached",
        "the NodePool is not ready",
        "another NodePool can",
        "none sells this",
        "there is none",
    ],
)
def test_what_stands_in_the_way_of_a_node_is_named(
    node_pools: list[NodePool], waited_seconds: float, code: str, told: str
):
    purchase = expect_purchase([waiting(100.0)], POOLS, node_pools, 30.0, 100.0 + waited_seconds)
    assert purchase is not None
    obstacle = purchase.obstacle
    assert (obstacle.code if obstacle else "") == code
    assert told in (obstacle.message if obstacle else "")


def test_nodes_that_karpenter_does_not_buy_are_not_its_business():
    plain = discover_pools((), [PoolSpec("own", node_labels={"team": "chat"}, accelerator_name="L4")], {})
    assert expect_purchase([waiting(pool="own")], plain, [node_pool()], 30.0, 60.0) is None
    assert expect_purchase([], POOLS, [node_pool()], 30.0, 60.0) is None
