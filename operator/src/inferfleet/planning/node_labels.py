"""Read a node's GPU from the labels that clouds and device plugins put on it.

Label names: GPU Feature Discovery (`nvidia.com/gpu.*`), AMD's node labeller (`amd.com/gpu.*`), Karpenter's
AWS provider (`karpenter.k8s.aws/instance-gpu-*`), GKE (`cloud.google.com/gke-*`), EKS and AKS node groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from inferfleet.planning.accelerators import (
    GIB,
    MIB,
    find_accelerator,
    unknown_accelerator,
)
from inferfleet.values import Accelerator, Node
from inferfleet.values.well_known import INSTANCE_TYPE, KARPENTER_NODE_POOL

GFD_PRODUCT: Final = "nvidia.com/gpu.product"
GFD_COUNT: Final = "nvidia.com/gpu.count"
GFD_MEMORY: Final = "nvidia.com/gpu.memory"
KARPENTER_GPU: Final = "karpenter.k8s.aws/instance-gpu-name"
KARPENTER_COUNT: Final = "karpenter.k8s.aws/instance-gpu-count"
KARPENTER_MEMORY: Final = "karpenter.k8s.aws/instance-gpu-memory"
GKE_GPU: Final = "cloud.google.com/gke-accelerator"
GKE_COUNT: Final = "cloud.google.com/gke-accelerator-count"

# labels that only a group of nodes which something can enlarge carries
AUTOSCALED: Final = (
    KARPENTER_NODE_POOL,
    "eks.amazonaws.com/nodegroup",
    "cloud.google.com/gke-nodepool",
    "kubernetes.azure.com/agentpool",
)

_AMD_PRODUCT: Final = ("amd.com/gpu.product-name", "beta.amd.com/gpu.product-name")
_AMD_MEMORY: Final = ("amd.com/gpu.vram", "beta.amd.com/gpu.vram")

# instance type -> (accelerator, GPUs), for nodes that carry no GPU label (plain EKS, AKS); sources: the
# instance-type reference of aws/karpenter-provider-aws, and Azure's GPU size names, which state the GPU
_AWS: Final = {
    "g4dn": ("T4", {"12xlarge": 4, "metal": 8}),
    "g5": ("A10G", {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}),
    "g6": ("L4", {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}),
    "gr6": ("L4", {}),
    "g6e": ("L40S", {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}),
    "g7e": ("RTX-PRO-6000", {"12xlarge": 2, "24xlarge": 4, "48xlarge": 8}),
    "p3": ("V100", {"8xlarge": 4, "16xlarge": 8}),
    "p3dn": ("V100-32GB", {"24xlarge": 8}),
    "p4d": ("A100-40GB", {"24xlarge": 8}),
    "p4de": ("A100-80GB", {"24xlarge": 8}),
    "p5": ("H100", {"48xlarge": 8}),
    "p5e": ("H200", {"48xlarge": 8}),
    "p5en": ("H200", {"48xlarge": 8}),
    "p6-b200": ("B200", {"48xlarge": 8}),
    "p6-b300": ("B300", {"48xlarge": 8}),
    "p6e-gb200": ("GB200", {"36xlarge": 4}),
}
# accelerator -> (Karpenter's name for it, MiB that Karpenter's label states, 0 where not known here)
_KARPENTER_NAMES: Final = {
    "T4": ("t4", 0),
    "A10G": ("a10g", 22888),
    "L4": ("l4", 22888),
    "L40S": ("l40s", 45776),
    "RTX-PRO-6000": ("rtx-pro-server-6000", 0),
    "V100": ("v100", 0),
    "A100-40GB": ("a100", 40960),
    "A100-80GB": ("a100", 81920),
    "H100": ("h100", 81920),
    "H200": ("h200", 144384),
    "B200": ("b200", 183359),
    "B300": ("b300", 0),
}
_AZURE: Final = (
    (re.compile(r"^standard_nc(4|8|16)as_t4_v3$"), "T4", 1),
    (re.compile(r"^standard_nc64as_t4_v3$"), "T4", 4),
    (re.compile(r"^standard_nc24ads_a100_v4$"), "A100-80GB-PCIe", 1),
    (re.compile(r"^standard_nc48ads_a100_v4$"), "A100-80GB-PCIe", 2),
    (re.compile(r"^standard_nc96ads_a100_v4$"), "A100-80GB-PCIe", 4),
    (re.compile(r"^standard_nd96asr_v4$"), "A100-40GB", 8),
    (re.compile(r"^standard_nd96amsr_a100_v4$"), "A100-80GB", 8),
    (re.compile(r"^standard_nc40ads_h100_v5$"), "H100-NVL", 1),
    (re.compile(r"^standard_nc80adis_h100_v5$"), "H100-NVL", 2),
    (re.compile(r"^standard_nd96isr_h100_v5$"), "H100", 8),
    (re.compile(r"^standard_nd96isr_h200_v5$"), "H200", 8),
    (re.compile(r"^standard_nd96isr_mi300x_v5$"), "MI300X", 8),
)


@dataclass(frozen=True, slots=True)
class GpuLabels:
    """What a node says of its GPUs; `count` is per node, as the hardware has them."""

    accelerator: Accelerator
    count: int


def read_gpus(node: Node) -> GpuLabels | None:
    """Return the node's GPU and how many it has, None for a node without one that can be told."""
    labels = node.labels
    product, memory, labelled = _product(node)
    instance = read_instance_type(labels.get(INSTANCE_TYPE, ""))
    found = find_accelerator(product, memory) if product else None
    if found is None and instance:
        found = find_accelerator(instance[0], memory)
    if found is None and memory:
        found = unknown_accelerator(product or node.gpu_resource, memory, node.gpu_resource.partition(".")[0])
    count = node.gpus or labelled or (instance[1] if instance else 0)
    return GpuLabels(found, count) if found and count else None


def _product(node: Node) -> tuple[str, int | None, int]:
    """Product name, memory in bytes and GPU count as labelled; the first source that names a product wins."""
    labels = node.labels
    if "mig-" in node.gpu_resource:
        # the mixed MIG strategy has one resource, and one set of labels, per profile
        return (
            labels.get(f"{node.gpu_resource}.product", ""),
            _mebibytes(labels.get(f"{node.gpu_resource}.memory")),
            _count(labels.get(f"{node.gpu_resource}.count")),
        )
    memory = _mebibytes(labels.get(GFD_MEMORY)) or _mebibytes(labels.get(KARPENTER_MEMORY))
    if GFD_PRODUCT in labels:
        shared = labels[GFD_PRODUCT].removesuffix("-SHARED")
        return shared, memory, _count(labels.get(GFD_COUNT))
    if KARPENTER_GPU in labels:
        return labels[KARPENTER_GPU], memory, _count(labels.get(KARPENTER_COUNT))
    if GKE_GPU in labels:
        return labels[GKE_GPU], memory, _count(labels.get(GKE_COUNT))
    amd = next((labels[key] for key in _AMD_PRODUCT if key in labels), "")
    vram = next((_gigabytes(labels[key]) for key in _AMD_MEMORY if key in labels), None)
    return amd.replace("_", "-"), memory or vram, 0


@dataclass(frozen=True, slots=True)
class AwsMachine:
    """The machines of one family that carry so many GPUs; `label` is Karpenter's name for the GPU."""

    family: str
    accelerator: str
    gpus: int
    label: str
    memory_mib: int


def aws_machines() -> Iterator[AwsMachine]:
    """Every kind of GPU machine of AWS that is known here and that Karpenter has a name for."""
    for family, (accelerator, counts) in _AWS.items():
        if accelerator in _KARPENTER_NAMES:
            smallest = {1} if len(counts) != 1 else set()
            for gpus in sorted(smallest | set(counts.values())):
                yield AwsMachine(family, accelerator, gpus, *_KARPENTER_NAMES[accelerator])


def read_instance_type(name: str) -> tuple[str, int] | None:
    """Return the accelerator's name and how many GPUs an instance type has; None for one not known here."""
    family, _, size = name.lower().partition(".")
    if family in _AWS:
        accelerator, counts = _AWS[family]
        return accelerator, counts.get(size, 1)
    return next(((gpu, count) for pattern, gpu, count in _AZURE if pattern.match(name.lower())), None)


def machine_gpu(name: str) -> Accelerator | None:
    """Return a GPU with the memory that its machines will report, so that the first node changes no plan."""
    memory = _KARPENTER_NAMES.get(name, ("", 0))[1]
    return find_accelerator(name, memory * MIB if memory else None)


def _mebibytes(text: str | None) -> int | None:
    return int(text) * MIB if text and text.isdigit() else None


def _gigabytes(text: str) -> int | None:
    match = re.fullmatch(r"(\d+)([GM])i?B?", text)
    return int(match[1]) * (GIB if match[2] == "G" else MIB) if match else None


def _count(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
