"""A GPUPool with `spec.provision` has its NodePool written, and takes it along when it goes."""

from __future__ import annotations

from typing import Any

import pytest
from karpenter_world import TYPE, ZONE, World, buying, deployment, gpu_pool, within

from inferfleet_local.karpenter import NODE_CLASS

pytestmark = pytest.mark.controlplane

PROVISION: dict[str, Any] = {
    "nodeClassRef": NODE_CLASS,
    "limits": {"nvidia.com/gpu": "2"},
    "taints": [{"key": "nvidia.com/gpu", "value": "true"}, {"key": "team", "value": "chat"}],
}


def node_pools(world: World) -> dict[str, Any]:
    return {raw["metadata"]["name"]: raw for raw in world.api.get("nodepools")["items"]}


def condition(world: World) -> tuple[str, str]:
    for found in world.api.get("gpupool", "l4").get("status", {}).get("conditions", ()):
        return found["status"], found["reason"]
    return "", ""


def test_a_pool_that_provisions_gets_its_machines_and_takes_its_nodepool_along(world: World):
    world.apply(gpu_pool(provision=PROVISION, zones=["zone-b"]))
    world.eventually(lambda: condition(world) == ("True", "Applied"), "the NodePool should be written")
    world.apply(deployment())
    (name,) = world.await_running(1)
    node = world.node_of(name)
    assert (node["metadata"]["labels"][TYPE], node["metadata"]["labels"][ZONE]) == ("g6.xlarge", "zone-b")
    assert {"nvidia.com/gpu", "team"} <= {taint["key"] for taint in node["spec"]["taints"]}
    before = node_pools(world)["l4"]
    world.apply(gpu_pool(provision={**PROVISION, "limits": {"nvidia.com/gpu": "3"}}, zones=["zone-b"]))
    world.eventually(
        lambda: node_pools(world)["l4"]["spec"]["limits"] == {"nvidia.com/gpu": "3"}, "it should be renewed"
    )
    assert node_pools(world)["l4"]["metadata"]["uid"] == before["metadata"]["uid"]
    world.api.must("delete", "gpupool", "l4", "--wait=false")
    world.eventually(
        lambda: (
            "deletionTimestamp" in node_pools(world).get("l4", before)["metadata"]
            or "l4" not in node_pools(world)
        ),
        "the NodePool should go with its GPUPool",
        60,
    )


def test_without_provision_nothing_is_written_and_what_was_is_taken_back(world: World):
    world.apply(gpu_pool(provision=PROVISION))
    world.eventually(lambda: "l4" in node_pools(world), "the NodePool should be written")
    outcome = world.api.kubectl(
        "patch", "gpupool", "l4", "--type=json", "-p", '[{"op":"remove","path":"/spec/provision"}]'
    )
    assert outcome.ok, outcome.err
    world.eventually(lambda: "l4" not in node_pools(world), "the NodePool should be taken back")
    world.eventually(lambda: condition(world) == ("", ""), "nothing should be said of it any more")


def test_a_nodepool_of_somebody_else_is_left_alone(world: World):
    theirs = buying(within(TYPE, "g6.xlarge"))
    theirs["metadata"]["name"] = "l4"
    world.apply(theirs)
    before = node_pools(world)["l4"]["spec"]
    world.apply(gpu_pool(provision=PROVISION))
    world.eventually(lambda: condition(world) == ("False", "NameTaken"), "the conflict should be told")
    assert node_pools(world)["l4"]["spec"] == before
