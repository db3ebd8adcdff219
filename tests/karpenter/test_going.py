"""Machines that Karpenter takes away are left as all others are: replacement first, never in mid-request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_worker import fake_worker
from karpenter_world import CAPACITY, TYPE, ZONE, World, buying, created, deployment, within

pytestmark = pytest.mark.controlplane

KEEP_NODE = "karpenter.sh/do-not-disrupt"
DRAIN = "inferfleet.dev/drain"
ONE_L4 = (
    within(TYPE, "g6.xlarge", "g6.2xlarge"),
    within(CAPACITY, "on-demand"),
    within(ZONE, "zone-a", "zone-b"),
)


def delete(world: World, pod: str) -> None:
    world.api.must("delete", "nodeclaim", world.claim_of(pod), "--wait=false")


def drift(world: World, _pod: str) -> None:
    """The NodePool has a grace period, so Karpenter does not ask the pods."""
    patch = json.dumps({"spec": {"template": {"metadata": {"labels": {"team": "chat"}}}}})
    world.api.must("patch", "nodepool", "gpu", "--type=merge", "-p", patch)


def expire(_world: World, _pod: str) -> None:
    """Nothing needs to be done: the machine's time runs out."""


@pytest.mark.parametrize(
    ("how", "node_pool"),
    [
        (delete, buying(*ONE_L4)),
        (drift, buying(*ONE_L4, grace="2m")),
        (expire, buying(*ONE_L4, expire="15s")),
    ],
    ids=["its NodeClaim is deleted", "it drifted from its NodePool", "it expired"],
)
def test_a_machine_that_goes_is_replaced_first_and_drained_by_us(
    world: World, how: Any, node_pool: dict[str, Any]
):
    world.apply(node_pool)
    world.apply(deployment())
    ((name, old),) = world.await_running(1).items()
    node = old["spec"]["nodeName"]
    how(world, name)
    world.eventually(lambda: bool(world.pods()) and node not in world.nodes(), "the machine should go", 60)
    left = world.seen[old["metadata"]["uid"]]
    assert DRAIN in left["metadata"]["annotations"], "it was evicted, not drained"
    drain = json.loads(left["metadata"]["annotations"][DRAIN])
    world.await_running(1)
    others = [raw for uid, raw in world.seen.items() if uid != old["metadata"]["uid"]]
    replacement = min(others, key=created)
    assert created(replacement) <= drain["startedAt"] + 1
    assert replacement["spec"]["nodeName"] != node


def test_a_busy_replica_keeps_its_machine_and_an_idle_one_lets_it_be_consolidated(world: World):
    world.karpenter.start(sold_out=["g6.xlarge/*"])
    disruption = {"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "1s"}
    world.apply(buying(*ONE_L4, disruption={**disruption, "budgets": [{"nodes": "100%"}]}))
    world.apply(deployment())
    ((name, old),) = world.await_running(1).items()
    assert world.node_of(name)["metadata"]["labels"][TYPE] == "g6.2xlarge"
    with fake_worker("127.0.0.21", requests=1) as worker:
        address = json.dumps({"status": {"podIP": worker.ip, "podIPs": [{"ip": worker.ip}]}})
        world.api.must(
            "patch", "pod", name, "--subresource=status", "--type=merge", "-p", address, "-n", world.namespace
        )
        # a cheaper machine that would do is for sale again
        world.karpenter.start()

        def refused() -> bool:
            events = world.api.get("events")["items"]
            return any(one["reason"] == "DisruptionBlocked" and name in one["message"] for one in events)

        world.eventually(refused, "Karpenter should say that the busy replica blocks it", 60)
        assert set(world.pods()) == {name}
        assert world.pods()[name]["metadata"]["annotations"][KEEP_NODE] == "true"
        worker.requests = 0
        world.eventually(
            lambda: KEEP_NODE not in world.pods()[name]["metadata"]["annotations"],
            "the idle replica should release its machine",
            90,
        )
        world.eventually(lambda: name not in world.pods(), "Karpenter should consolidate", 90)
    # whether it was told before Karpenter's eviction came is a race that preStop settles on a real kubelet
    (replacement,) = world.await_running(1)
    assert world.node_of(replacement)["metadata"]["labels"][TYPE] == "g6.xlarge"
    drain = json.loads(world.seen[old["metadata"]["uid"]]["metadata"]["annotations"][DRAIN])
    assert drain["cause"] == "consolidation"
