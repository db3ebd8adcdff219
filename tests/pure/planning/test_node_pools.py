"""Machines that Karpenter could buy are pools before the first of them exists."""

from __future__ import annotations

from typing import Any

import pytest

from inferfleet.planning import discover_pools
from inferfleet.planning.node_pools import can_buy
from inferfleet.values import CapacityType, Node, NodePool, Offer, PoolSpec, Requirement, Taint

GPU, COUNT = "karpenter.k8s.aws/instance-gpu-name", "karpenter.k8s.aws/instance-gpu-count"
TYPE, ZONE = "node.kubernetes.io/instance-type", "topology.kubernetes.io/zone"
CAPACITY = "karpenter.sh/capacity-type"
SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND


def within(key: str, *values: str) -> Requirement:
    return Requirement(key, "In", values)


def node_pool(*requirements: Requirement, **fields: Any) -> NodePool:
    return NodePool(fields.pop("name", "gpu"), requirements, **fields)


def buying(*requirements: Requirement, **fields: Any) -> dict[str, Any]:
    """The pools, by name, of a cluster without nodes and with one NodePool."""
    return {pool.name: pool for pool in discover_pools((), (), {}, [node_pool(*requirements, **fields)])}


@pytest.mark.parametrize(
    ("requirements", "pools"),
    [
        ((within(TYPE, "g6.xlarge", "g6.2xlarge"),), {"l4-x1"}),
        ((within(TYPE, "g6.xlarge", "g6.12xlarge", "p5.48xlarge"),), {"l4-x1", "l4-x4", "h100-x8"}),
        ((within(GPU, "l4"),), {"l4-x1", "l4-x4", "l4-x8"}),
        ((within(GPU, "l4"), within(COUNT, "4")), {"l4-x4"}),
        ((within(GPU, "l4", "l40s"), Requirement(COUNT, "Gt", ("4",))), {"l4-x8", "l40s-x8"}),
        ((within("karpenter.k8s.aws/instance-family", "p4d", "p4de"),), {"a100-40gb-x8", "a100-80gb-x8"}),
        (
            (
                within("karpenter.k8s.aws/instance-category", "g"),
                Requirement("karpenter.k8s.aws/instance-generation", "Lt", ("5",)),
            ),
            {"t4-x1", "t4-x4", "t4-x8"},
        ),
        ((within("karpenter.k8s.aws/instance-category", "c", "m", "r"),), set()),
        ((within("kubernetes.io/arch", "amd64"),), set()),
        ((within(TYPE, "m5.large"),), set()),
    ],
    ids=[
        "types of one kind",
        "types of several kinds",
        "a GPU",
        "a GPU and a count",
        "more GPUs than",
        "families, told apart by memory",
        "a category and a generation",
        "machines without GPUs",
        "a NodePool that does not speak of GPUs",
        "types that carry no GPU",
    ],
)
def test_the_requirements_of_a_nodepool_say_what_it_can_buy(
    requirements: tuple[Requirement, ...], pools: set[str]
):
    assert set(buying(*requirements)) == pools


def places(offers: tuple[Offer, ...]) -> set[tuple[CapacityType, str]]:
    return {(offer.capacity_type, offer.zone) for offer in offers}


def test_zones_and_capacity_types_become_offers_that_ask_for_exactly_that():
    pool = buying(
        within(GPU, "l4"), within(COUNT, "1"), within(CAPACITY, "spot", "on-demand"), within(ZONE, "a", "b")
    )["l4-x1"]
    assert places(pool.offers) == {(SPOT, "a"), (SPOT, "b"), (ON_DEMAND, "a"), (ON_DEMAND, "b")}
    assert pool.requirements == (within(GPU, "l4"), within(COUNT, "1"))
    for offer in pool.offers:
        assert offer.requirements == (within(CAPACITY, offer.capacity_type.value), within(ZONE, offer.zone))
        assert offer.price_dollars_per_gpu_hour > 0
    assert (pool.nodes, pool.max_nodes) == (0, None)


def test_a_nodepool_that_names_no_capacity_type_and_no_zone_sells_on_demand_anywhere():
    pool = buying(within(TYPE, "g6.xlarge"))["l4-x1"]
    assert places(pool.offers) == {(ON_DEMAND, "")}
    assert pool.offers[0].requirements == (within(CAPACITY, "on-demand"),)


def test_limits_bound_the_pool():
    assert buying(within(TYPE, "g6.12xlarge"), gpu_limit=10)["l4-x4"].max_nodes == 2


def test_a_nodepool_with_a_taint_for_others_is_not_ours():
    mine = Taint("nvidia.com/gpu", "NoSchedule")
    theirs = Taint("team", "NoSchedule", "vision")
    assert buying(within(TYPE, "g6.xlarge"), taints=(mine,))
    assert not buying(within(TYPE, "g6.xlarge"), taints=(mine, theirs))


def karpenter_node(name: str, zone: str, bought: str = "on-demand") -> Node:
    labels = {
        "karpenter.sh/nodepool": "gpu",
        "kubernetes.io/hostname": name,
        CAPACITY: bought,
        GPU: "l4",
        COUNT: "1",
        "karpenter.k8s.aws/instance-gpu-memory": "22888",
        TYPE: "g6.xlarge",
        ZONE: zone,
    }
    return Node(name, name, gpus=1, labels=labels)


def test_what_can_be_bought_is_offered_besides_what_exists():
    can = node_pool(
        within(GPU, "l4"), within(COUNT, "1"), within(CAPACITY, "spot", "on-demand"), within(ZONE, "a", "b")
    )
    (before,) = discover_pools((), (), {}, [can])
    (pool,) = discover_pools([karpenter_node("n", "a")], (), {}, [can])
    assert (pool.nodes, pool.offers[0].free_gpus + pool.offers[1].free_gpus) == (1, 1)
    assert places(pool.offers) == places(before.offers)
    assert pool.requirements == before.requirements
    assert pool.accelerator == before.accelerator, "the first node must not change the plan"


def test_two_nodepools_for_the_same_machines_are_one_pool():
    spot = node_pool(within(TYPE, "g6.xlarge"), within(CAPACITY, "spot"), within(ZONE, "a"), gpu_limit=2)
    steady = node_pool(
        within(TYPE, "g6.2xlarge"), within(CAPACITY, "on-demand"), within(ZONE, "b"), gpu_limit=3
    )
    (pool,) = discover_pools((), (), {}, [spot, steady])
    assert places(pool.offers) == {(SPOT, "a"), (ON_DEMAND, "b")}
    assert pool.requirements == (within(TYPE, "g6.2xlarge", "g6.xlarge"),)
    assert pool.max_nodes == 5


def test_a_gpupool_speaks_for_the_machines_that_it_describes():
    spec = PoolSpec("mine", instance_types=("g6.xlarge",), zones=("a",), capacity_types=(SPOT,))
    (pool,) = discover_pools((), [spec], {}, [node_pool(within(GPU, "l4"), within(COUNT, "1"))])
    assert pool.name == "mine"


def test_a_gpupool_may_name_instance_types_of_which_no_node_exists():
    spec = PoolSpec(
        "mine",
        instance_types=("g6.12xlarge", "g6.24xlarge", "p5.48xlarge"),
        zones=("a",),
        capacity_types=(SPOT, ON_DEMAND),
        taints=(Taint("team", "NoSchedule", "chat"),),
    )
    (pool,) = discover_pools((), [spec], {})
    assert (pool.accelerator.name, pool.gpus_per_node, pool.taints) == ("L4", 4, spec.taints)
    assert pool.requirements == (within(TYPE, "g6.12xlarge", "g6.24xlarge"),)
    assert [offer.requirements[0] for offer in pool.offers] == [
        within(CAPACITY, "on-demand"),
        within(CAPACITY, "spot"),
    ]


def test_a_gpupool_with_instance_types_takes_the_nodes_of_those_types():
    spec = PoolSpec("mine", instance_types=("g6.xlarge",))
    (pool,) = discover_pools([karpenter_node("n", "a")], [spec], {})
    assert (pool.name, pool.nodes) == ("mine", 1)


@pytest.mark.parametrize(
    ("requirements", "wanted", "can"),
    [
        ((within(GPU, "l4", "l40s"),), (within(GPU, "l4"),), True),
        ((within(GPU, "l40s"),), (within(GPU, "l4"),), False),
        ((within(CAPACITY, "spot"),), (within(GPU, "l4"), within(CAPACITY, "on-demand")), False),
        ((Requirement(ZONE, "NotIn", ("a",)),), (within(ZONE, "a"),), False),
        ((Requirement(COUNT, "Gt", ("0",)),), (within(COUNT, "1"),), True),
        ((Requirement(GPU, "Exists"),), (within(GPU, "l4"),), True),
        ((), (within(GPU, "l4"),), True),
    ],
)
def test_a_nodepool_can_buy_what_its_requirements_leave_open(
    requirements: tuple[Requirement, ...], wanted: tuple[Requirement, ...], *, can: bool
):
    assert can_buy(node_pool(*requirements), wanted) is can


@pytest.mark.parametrize(
    ("label", "asked"),
    [
        ("karpenter.sh/nodepool", {SPOT: within(CAPACITY, "spot"), ON_DEMAND: within(CAPACITY, "on-demand")}),
        (
            "cloud.google.com/gke-nodepool",
            {
                SPOT: within("cloud.google.com/gke-provisioning", "spot", "preemptible"),
                ON_DEMAND: within("cloud.google.com/gke-provisioning", "standard"),
            },
        ),
        (
            "eks.amazonaws.com/nodegroup",
            {
                SPOT: within("eks.amazonaws.com/capacityType", "SPOT"),
                ON_DEMAND: within("eks.amazonaws.com/capacityType", "ON_DEMAND"),
            },
        ),
        (
            "kubernetes.azure.com/agentpool",
            {
                SPOT: within("kubernetes.azure.com/scalesetpriority", "spot"),
                ON_DEMAND: Requirement("kubernetes.azure.com/scalesetpriority", "NotIn", ("spot",)),
            },
        ),
    ],
)
def test_a_capacity_type_is_asked_for_in_the_words_of_the_cloud_before_a_node_exists(
    label: str, asked: dict[CapacityType, Requirement]
):
    spec = PoolSpec(
        "mine", node_labels={label: "gpu"}, accelerator_name="L4", capacity_types=(SPOT, ON_DEMAND)
    )
    (pool,) = discover_pools((), [spec], {})
    assert {offer.capacity_type: offer.requirements for offer in pool.offers} == {
        kind: (requirement,) for kind, requirement in asked.items()
    }
