"""Karpenter buys exactly the machine that the plan chose, or it is said why it does not."""

from __future__ import annotations

from typing import Any

import pytest
from karpenter_world import (
    CAPACITY,
    COUNT,
    GPU,
    TYPE,
    ZONE,
    World,
    buying,
    created,
    deployment,
    gpu_pool,
    within,
)

pytestmark = pytest.mark.controlplane

# sold with 1, 4 and 8 of them in a machine
ANY_GPU = within(GPU, "l4", "l40s")
ANY_WAY = within(CAPACITY, "spot", "on-demand")
BOTH_ZONES = within(ZONE, "zone-a", "zone-b")


@pytest.mark.parametrize(
    ("parallelism", "types"),
    [
        ({"tensor": 1, "data": 1}, {"g6.xlarge", "g6e.xlarge"}),
        ({"tensor": 4, "data": 1}, {"g6.12xlarge", "g6e.12xlarge"}),
    ],
    ids=["one GPU each", "four GPUs each"],
)
def test_each_replica_gets_a_machine_of_its_size_known_from_the_nodepool_alone(
    world: World, parallelism: dict[str, Any], types: set[str]
):
    world.apply(buying(ANY_GPU, ANY_WAY, BOTH_ZONES))
    world.apply(
        deployment(
            replicas=3,
            parallelism=parallelism,
            capacity={"spot": {"share": "50%"}, "onDemand": {"base": 1}},
        )
    )
    pods = world.await_running(3)
    plan = world.status()["plan"]
    bought = []
    for name, pod in pods.items():
        node, tags = world.node_of(name)["metadata"]["labels"], pod["metadata"]["labels"]
        assert node[TYPE] in types
        assert node[COUNT] == str(parallelism["tensor"]) == str(plan["gpusPerReplica"])
        assert (node[CAPACITY], node[ZONE]) == (
            tags["inferfleet.dev/capacity-type"],
            tags["inferfleet.dev/zone"],
        )
        bought.append(node[CAPACITY])
    assert sorted(bought) == ["on-demand", "on-demand", "spot"]
    assert len(world.nodes()) == 3, "a machine for each replica and none besides"


def test_while_spot_is_sold_out_on_demand_stands_in_and_spot_is_tried_again_later(world: World):
    after_seconds = 5.0
    world.karpenter.start(sold_out=["*/spot/*"])
    world.apply(buying(within(GPU, "l4"), ANY_WAY, BOTH_ZONES))
    fallback = {"after": f"{after_seconds:g}s", "hold": "12s"}
    world.apply(deployment(capacity={"spot": {"share": "100%"}, "fallback": fallback}))
    (stand_in,) = world.await_running(1).values()
    assert stand_in["metadata"]["labels"]["inferfleet.dev/capacity-type"] == "on-demand"
    first = min(created(raw) for raw in world.seen.values())
    # a pass every 2 s, and a machine that may be busy with other things
    assert after_seconds <= created(stand_in) - first + 1 <= after_seconds + 11
    assert len(world.seen) <= 4, "one waits for spot in each zone, one stands in, one tries again"
    world.karpenter.start()

    def back_on_spot() -> bool:
        found = [
            raw["metadata"]["labels"]["inferfleet.dev/capacity-type"] for raw in world.running().values()
        ]
        return found == ["spot"]

    world.eventually(back_on_spot, "the replica should return to spot", seconds=60)


def test_while_karpenter_does_not_run_that_is_said_and_nothing_is_tried_over_and_over(world: World):
    world.karpenter.stop()
    world.apply(buying(within(GPU, "l4"), within(CAPACITY, "on-demand"), within(ZONE, "zone-a")))
    world.apply(deployment(capacity={"fallback": {"after": "4s"}}))

    def told() -> bool:
        status, reason, message = world.condition("CapacityAvailable")
        return (status, reason) == ("False", "NotBought") and "gpu" in message and bool(world.pods())

    world.eventually(
        lambda: world.condition("CapacityAvailable")[1] == "Buying", "a node should be hoped for"
    )
    world.eventually(told, "it should be said that Karpenter buys nothing")
    world.eventually(lambda: not world.pods() or told(), "it should stay said")
    assert len(world.seen) == 1
    world.karpenter.start()
    world.await_running(1)
    assert len(world.seen) == 1, "the pod that waited is the one that runs"
    world.eventually(lambda: world.condition("CapacityAvailable")[0] == "True", "all should be well again")


def test_what_stands_in_the_way_of_a_machine_is_named(world: World):
    world.apply(gpu_pool())
    world.apply(deployment(replicas=2, capacity={"fallback": {"after": "60s"}}))

    def told(code: str, part: str) -> bool:
        status, reason, message = world.condition("CapacityAvailable")
        return (status, reason) == ("False", code) and part in message

    world.eventually(lambda: told("NoNodePool", "g6.xlarge"), "the missing NodePool should be named")
    world.apply(buying(within(GPU, "l4"), within(COUNT, "1"), limits={"nvidia.com/gpu": "1"}))
    world.await_running(1)
    world.eventually(lambda: told("NodePoolBlocked", "1 GPUs of at most 1"), "the limit should be named")
    assert len(world.pods()) == len(world.seen) == 2
