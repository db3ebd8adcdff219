"""Nodes of every cloud form the right pools, and requirements select exactly their nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from inferfleet.planning import discover_pools
from inferfleet.planning.gpu_nodes import meets
from inferfleet.values import CapacityType, Node, PoolSpec, Taint

MIB = 1 << 20


def node(name: str, gpus: int = 8, labels: Mapping[str, str] | None = None, **fields: Any) -> Node:
    every = {"kubernetes.io/hostname": name, **(labels or {})}
    return Node(name=name, uid=name, gpus=gpus, labels=every, **fields)


def gfd(product: str, memory_mib: int, count: int = 8, **more: str) -> dict[str, str]:
    return {
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.memory": str(memory_mib),
        "nvidia.com/gpu.count": str(count),
        **{key.replace("__", "/"): value for key, value in more.items()},
    }


KARPENTER = {
    "karpenter.sh/nodepool": "gpu",
    "karpenter.sh/capacity-type": "spot",
    "karpenter.k8s.aws/instance-gpu-name": "a100",
    "karpenter.k8s.aws/instance-gpu-count": "8",
    "karpenter.k8s.aws/instance-gpu-memory": "81920",
    "node.kubernetes.io/instance-type": "p4de.24xlarge",
    "topology.kubernetes.io/zone": "us-east-1a",
}


@pytest.mark.parametrize(
    ("labels", "fields", "accelerator", "memory_mib", "capacity_type"),
    [
        (gfd("NVIDIA-H100-80GB-HBM3", 81559), {}, "H100", 81559, CapacityType.ON_DEMAND),
        (gfd("NVIDIA-H100-PCIe", 81559), {}, "H100-PCIe", 81559, CapacityType.ON_DEMAND),
        (gfd("NVIDIA-H100-NVL", 95830), {}, "H100-NVL", 95830, CapacityType.ON_DEMAND),
        (gfd("Tesla-T4", 15360), {}, "T4", 15360, CapacityType.ON_DEMAND),
        (gfd("Tesla-V100-SXM2-32GB", 32768), {}, "V100-32GB", 32768, CapacityType.ON_DEMAND),
        (gfd("NVIDIA-A100-SXM4-40GB", 40960), {}, "A100-40GB", 40960, CapacityType.ON_DEMAND),
        (gfd("NVIDIA-A100-80GB-PCIe", 81920), {}, "A100-80GB-PCIe", 81920, CapacityType.ON_DEMAND),
        (gfd("NVIDIA-L4-SHARED", 23034), {}, "L4", 23034, CapacityType.ON_DEMAND),
        (gfd("NVIDIA-B200", 183359), {}, "B200", 183359, CapacityType.ON_DEMAND),
        (
            gfd("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", 97887),
            {},
            "RTX-PRO-6000",
            97887,
            CapacityType.ON_DEMAND,
        ),
        (KARPENTER, {}, "A100-80GB", 81920, CapacityType.SPOT),
        (
            {
                **KARPENTER,
                "karpenter.k8s.aws/instance-gpu-memory": "40960",
                "karpenter.sh/capacity-type": "reserved",
            },
            {},
            "A100-40GB",
            40960,
            CapacityType.RESERVED,
        ),
        (
            {
                "cloud.google.com/gke-accelerator": "nvidia-h100-mega-80gb",
                "cloud.google.com/gke-spot": "true",
            },
            {},
            "H100",
            81559,
            CapacityType.SPOT,
        ),
        (
            {
                "cloud.google.com/gke-accelerator": "nvidia-tesla-a100",
                "cloud.google.com/gke-provisioning": "standard",
            },
            {},
            "A100-40GB",
            40960,
            CapacityType.ON_DEMAND,
        ),
        (
            {"node.kubernetes.io/instance-type": "p5en.48xlarge", "eks.amazonaws.com/capacityType": "SPOT"},
            {},
            "H200",
            143771,
            CapacityType.SPOT,
        ),
        (
            {
                "node.kubernetes.io/instance-type": "Standard_ND96isr_H100_v5",
                "kubernetes.azure.com/scalesetpriority": "spot",
            },
            {},
            "H100",
            81559,
            CapacityType.SPOT,
        ),
        (
            {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G"},
            {"gpu_resource": "amd.com/gpu"},
            "MI300X",
            192 * 1024,
            CapacityType.ON_DEMAND,
        ),
        (
            gfd("NVIDIA-A100-SXM4-80GB-MIG-3g.40gb", 40192),
            {},
            "A100-80GB-MIG-3g.40gb",
            40192,
            CapacityType.ON_DEMAND,
        ),
        (
            {
                "nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
                "nvidia.com/mig-1g.10gb.memory": "9984",
                "nvidia.com/mig-1g.10gb.count": "7",
            },
            {"gpu_resource": "nvidia.com/mig-1g.10gb"},
            "H100-MIG-1g.10gb",
            9984,
            CapacityType.ON_DEMAND,
        ),
    ],
)
def test_the_labels_of_every_cloud_are_understood(
    labels: dict[str, str],
    fields: dict[str, Any],
    accelerator: str,
    memory_mib: int,
    capacity_type: CapacityType,
):
    (pool,) = discover_pools([node("a", labels=labels, **fields)], (), {})
    assert pool.accelerator.name == accelerator
    assert pool.accelerator.memory_bytes == memory_mib * MIB
    assert [offer.capacity_type for offer in pool.offers] == [capacity_type]


def test_a_mig_instance_is_a_gpu_of_its_own():
    (pool,) = discover_pools([node("a", labels=gfd("NVIDIA-A100-SXM4-80GB-MIG-3g.40gb", 40192))], (), {})
    gpu = pool.accelerator
    assert gpu.bf16_flops == pytest.approx(312e12 * 3 / 7)
    assert gpu.memory_bytes_per_second == pytest.approx(2039e9 / 2)
    assert (gpu.nvlink, gpu.interconnect_bytes_per_second) == (False, 0.0)


def test_an_unknown_gpu_counts_by_its_memory():
    (pool,) = discover_pools([node("a", 4, gfd("NVIDIA-Z9-64GB", 65536, 4))], (), {})
    assert (pool.accelerator.known, pool.accelerator.memory_bytes) == (False, 65536 * MIB)


def test_nodes_without_gpus_form_no_pool():
    assert discover_pools([node("a", 0), node("b", 0, {"zone": "z"})], (), {}) == ()


def mixed() -> list[Node]:
    def labels(product: str, memory: int, kind: str, zone: str, instance: str) -> dict[str, str]:
        return {
            **gfd(product, memory, 4),
            "karpenter.sh/capacity-type": kind,
            "karpenter.sh/nodepool": "gpu",
            "topology.kubernetes.io/zone": zone,
            "node.kubernetes.io/instance-type": instance,
        }

    return [
        node("l4-a", 4, labels("NVIDIA-L4", 23034, "on-demand", "zone-a", "g6.12xlarge")),
        node("l4-b", 4, labels("NVIDIA-L4", 23034, "spot", "zone-b", "g6.12xlarge")),
        node("l4-c", 4, labels("NVIDIA-L4", 23034, "spot", "zone-b", "g6.24xlarge"), not_ready_since=1.0),
        node("l40s", 4, labels("NVIDIA-L40S", 46068, "spot", "zone-a", "g6e.12xlarge")),
        node("plain", 0),
    ]


def test_pools_are_stable_whatever_the_order_of_nodes():
    assert discover_pools(mixed(), (), {}) == discover_pools(mixed()[::-1], (), {})


def test_requirements_select_exactly_a_pools_nodes_and_an_offers_select_exactly_its_own():
    nodes = mixed()
    pools = {pool.name: pool for pool in discover_pools(nodes, (), {})}
    assert sorted(pools) == ["l4-x4", "l40s-x4"]
    l4 = pools["l4-x4"]
    assert [each.name for each in nodes if meets(each, l4.requirements)] == ["l4-a", "l4-b", "l4-c"]
    spot = next(offer for offer in l4.offers if offer.capacity_type is CapacityType.SPOT)
    chosen = [each.name for each in nodes if meets(each, l4.requirements + spot.requirements)]
    assert chosen == ["l4-b", "l4-c"]


def test_gpus_that_are_taken_and_nodes_that_are_out_are_no_free_capacity():
    l4 = next(pool for pool in discover_pools(mixed(), (), {"l4-a": 3}) if pool.name == "l4-x4")
    free = {offer.capacity_type: (offer.nodes, offer.free_gpus) for offer in l4.offers}
    assert free == {CapacityType.ON_DEMAND: (1, 1), CapacityType.SPOT: (1, 4)}
    assert l4.nodes == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"not_ready_since": 1.0},
        {"unschedulable": True},
        {"deleted_at": 1.0},
        {"taints": (Taint("karpenter.sh/disrupted", "NoSchedule"),)},
    ],
)
def test_a_pool_outlives_its_last_good_node(fields: dict[str, Any]):
    (pool,) = discover_pools([node("a", 8, gfd("NVIDIA-H100-80GB-HBM3", 81559), **fields)], (), {})
    assert (pool.name, pool.nodes, pool.offers[0].free_gpus) == ("h100-x8", 0, 0)


def test_the_taint_of_the_gpu_itself_takes_nothing_out():
    taints = (Taint("nvidia.com/gpu", "NoSchedule", "present"),)
    (pool,) = discover_pools([node("a", 8, gfd("NVIDIA-H100-80GB-HBM3", 81559), taints=taints)], (), {})
    assert pool.nodes == 1


def test_a_gpupool_names_prices_and_limits_its_nodes():
    spec = PoolSpec(
        name="mine",
        node_labels={"team": "chat"},
        max_nodes=3,
        price_dollars_per_gpu_hour={CapacityType.ON_DEMAND: 2.5},
    )
    h100 = gfd("NVIDIA-H100-80GB-HBM3", 81559)
    pools = discover_pools([node("a", 8, {**h100, "team": "chat"}), node("b", 8, h100)], [spec], {})
    mine, rest = pools
    assert (mine.name, mine.max_nodes, mine.cheapest_dollars_per_gpu_hour) == ("mine", 3, 2.5)
    assert mine.offers[0].price_source == "GPUPool mine"
    assert (rest.name, rest.nodes) == ("h100-x8", 1)


def test_a_gpupool_describes_nodes_that_do_not_exist_yet():
    spec = PoolSpec(
        name="later",
        node_labels={"karpenter.sh/nodepool": "gpu"},
        accelerator_name="L40S",
        gpus_per_node=4,
        zones=("zone-a", "zone-b"),
        capacity_types=(CapacityType.SPOT, CapacityType.ON_DEMAND),
    )
    (pool,) = discover_pools((), [spec], {})
    assert (pool.accelerator.name, pool.gpus_per_node, pool.nodes, pool.max_nodes) == ("L40S", 4, 0, None)
    assert len(pool.offers) == 4


def test_fixed_machines_bound_a_pool_and_an_autoscaled_group_does_not():
    h100 = gfd("NVIDIA-H100-80GB-HBM3", 81559)
    (fixed,) = discover_pools([node("a", 8, h100), node("b", 8, h100)], (), {})
    (grows,) = discover_pools([node("a", 8, {**h100, "karpenter.sh/nodepool": "x"})], (), {})
    assert (fixed.max_nodes, grows.max_nodes) == (2, None)
