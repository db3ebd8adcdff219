"""GPUs, the nodes that carry them, and the pools and offers that they form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from inferfleet.values.frozen import dataclass
from inferfleet.values.reason import Reason


class CapacityType(StrEnum):
    """How a node is bought, cheapest commitment first."""

    RESERVED = "reserved"
    SPOT = "spot"
    ON_DEMAND = "on-demand"

    # offers are counted for every worker in every pass, and Enum's own hash is a call of Python's
    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One GPU model. Rates are per GPU, dense, without sparsity; 0 where the format is not supported.

    `interconnect_bytes_per_second` is one direction, per GPU, inside one node: NVLink where
    `nvlink` is true, PCIe otherwise. `known` is False when only the memory that the node reports is certain.
    """

    name: str
    memory_bytes: int
    memory_bytes_per_second: float
    bf16_flops: float
    fp8_flops: float = 0.0
    int8_ops: float = 0.0
    fp4_flops: float = 0.0
    fp16_flops: float = 0.0
    compute_capability: tuple[int, int] = (0, 0)
    nvlink: bool = False
    interconnect_bytes_per_second: float = 0.0
    nvlink_domain_gpus: int = 1
    vendor: str = "nvidia"
    known: bool = True


@dataclass(frozen=True, slots=True)
class Taint:
    """A node taint."""

    key: str
    effect: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One node affinity expression: `operator` is In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """What the operator keeps of a Node: identity, health, GPUs, and every label (pools match on them).

    `gpus` is allocatable `gpu_resource`; `deleted_at` is the deletion timestamp;
    `not_ready_since` is None while the Ready condition is True; `shutting_down` is True while the kubelet
    says that it ends its pods because the machine shuts down.
    """

    name: str
    uid: str
    gpus: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    not_ready_since: float | None = None
    shutting_down: bool = False
    unschedulable: bool = False
    deleted_at: float | None = None
    taints: tuple[Taint, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        # what was found of all nodes is kept by them, so that each is hashed in every pass
        return hash((self.name, self.uid))

    @property
    def ready(self) -> bool:
        """True while the kubelet reports Ready."""
        return self.not_ready_since is None


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """A GPUPool custom resource: what labels cannot say, or say wrongly.

    Every field but the name and the selector is optional and overrides what was read from labels.
    Prices are dollars per GPU and hour. `instance_types` select nodes as labels do, and say what may be
    bought. `taints` are those that the pool's nodes come with, to be tolerated by whoever is placed there.
    """

    name: str
    node_labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    accelerator: Accelerator | None = None
    accelerator_name: str | None = None
    gpus_per_node: int | None = None
    max_nodes: int | None = None
    zones: tuple[str, ...] = ()
    capacity_types: tuple[CapacityType, ...] = ()
    price_dollars_per_gpu_hour: Mapping[CapacityType, float] = field(default_factory=dict, hash=False)
    instance_types: tuple[str, ...] = ()
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True, slots=True)
class NodePool:
    """A NodePool of Karpenter: machines that can be bought, whether or not one of them exists yet.

    `requirements` bound what it buys; the labels that it gives its nodes are among them. `gpu_limit` is how
    many GPUs it may have in all, None for any number; `gpus` is how many it has. `problem` is why it buys
    nothing now.
    """

    name: str
    requirements: tuple[Requirement, ...] = ()
    taints: tuple[Taint, ...] = ()
    gpu_limit: int | None = None
    gpus: int = 0
    problem: Reason | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """A price that the cluster states: of one GPU model, bought so, in one zone (any, where it is empty)."""

    accelerator: str
    capacity_type: CapacityType
    dollars_per_gpu_hour: float
    zone: str = ""
    as_of: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """A way to buy one more node of a pool. `nodes` counts those that exist, `free_gpus` what they have left.

    `price_source` names where the price comes from: the GPUPool, the price list, or the dated default table.
    `requirements` select exactly this offer's nodes (capacity type and zone; the pool's come on top).
    """

    pool: str
    capacity_type: CapacityType
    zone: str
    price_dollars_per_gpu_hour: float
    price_source: str
    nodes: int = 0
    gpus: int = 0
    free_gpus: int = 0
    requirements: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """Nodes that are alike for planning: same accelerator, same number of GPUs per node.

    `requirements` select the pool's nodes in a pod's affinity. `nodes` counts schedulable ones that exist;
    `max_nodes` is how many there may be (None where an autoscaler sets no known bound, so any number).
    `taints` are tolerated by whoever is placed here. `to_be_bought` is True where no node exists, in whatever
    state: each replica needs a machine of its own.
    """

    name: str
    accelerator: Accelerator
    gpus_per_node: int
    nodes: int
    requirements: tuple[Requirement, ...]
    offers: tuple[Offer, ...] = ()
    max_nodes: int | None = None
    gpu_resource: str = "nvidia.com/gpu"
    taints: tuple[Taint, ...] = ()
    to_be_bought: bool = False

    @property
    def cheapest_dollars_per_gpu_hour(self) -> float:
        """The lowest price among the offers, 0.0 where none has one."""
        return min((offer.price_dollars_per_gpu_hour for offer in self.offers), default=0.0)
