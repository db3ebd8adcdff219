"""Form pools of like nodes from what the nodes say of themselves and what GPUPools add."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from inferfleet.planning.accelerators import find_accelerator, unknown_accelerator, with_rates
from inferfleet.planning.node_labels import (
    AUTOSCALED,
    CAPACITY_LABELS,
    GFD_COUNT,
    GFD_PRODUCT,
    GKE_COUNT,
    GKE_GPU,
    INSTANCE_TYPE,
    KARPENTER_COUNT,
    KARPENTER_GPU,
    KARPENTER_MEMORY,
    ZONE,
    read_capacity_type,
    read_gpus,
)
from inferfleet.planning.prices import SOURCE, default_price
from inferfleet.values import Accelerator, CapacityType, Node, Offer, Pool, PoolSpec, Requirement

# labels that may tell one pool's nodes from all others, the first that does wins: those first that an
# autoscaler knows of a node it has yet to create, those last that only a running node carries
_SELECTORS: Final = (
    (KARPENTER_GPU, KARPENTER_COUNT),
    (KARPENTER_GPU, KARPENTER_COUNT, KARPENTER_MEMORY),
    (GKE_GPU, GKE_COUNT),
    (INSTANCE_TYPE,),
    (GKE_GPU,),
    (GFD_PRODUCT,),
    (GFD_PRODUCT, GFD_COUNT),
    (INSTANCE_TYPE, GFD_PRODUCT, GFD_COUNT),
    ("amd.com/gpu.product-name",),
    ("kubernetes.io/hostname",),
)
# a node with one of these will be gone soon: what is free on it is no capacity
_GOING: Final = re.compile(
    r"^(karpenter\.sh/disrupted|ToBeDeletedByClusterAutoscaler|DeletionCandidateOfClusterAutoscaler"
    r"|cloud\.google\.com/impending-node-termination|aws-node-termination-handler/.*"
    r"|remediator\.kubernetes\.azure\.com/unschedulable|node\.cloudprovider\.kubernetes\.io/shutdown"
    r"|node\.kubernetes\.io/(not-ready|unreachable|unschedulable|out-of-service))$"
)


@dataclass(frozen=True, slots=True)
class _GpuNode:
    """A node with GPUs, as read."""

    node: Node
    accelerator: Accelerator
    count: int

    @property
    def kind(self) -> tuple[str, int, str]:
        """What nodes of one pool have in common."""
        return self.accelerator.name, self.count, self.node.gpu_resource

    @property
    def usable(self) -> bool:
        """True while a pod could start here."""
        if not self.node.ready or self.node.unschedulable or self.node.deleted_at is not None:
            return False
        return not any(_GOING.match(taint.key) for taint in self.node.taints)


def discover_pools(
    nodes: Sequence[Node], pool_specs: Sequence[PoolSpec], gpus_taken: Mapping[str, int]
) -> tuple[Pool, ...]:
    """Group nodes into pools; a GPUPool takes the nodes it selects, the rest form pools by their GPU.

    A pool's requirements select exactly its nodes. Nodes that are not ready, cordoned or going define a pool
    and its offers, but count neither as nodes nor as free GPUs, so that a pool outlives a bad hour.

    Returns:
        GPUPools in the order of their names, then the discovered ones in the order of theirs.
    """
    gpu_nodes = [
        _GpuNode(node, found.accelerator, found.count)
        for node in sorted(nodes, key=lambda node: node.name)
        if (found := read_gpus(node))
    ]
    labelled = {node.name: node for node in nodes}
    pools: list[Pool] = []
    claimed: set[str] = set()
    for spec in sorted(pool_specs, key=lambda spec: spec.name):
        members = _selected(spec, gpu_nodes, labelled, claimed)
        pool = _stated_pool(spec, members, gpu_nodes, gpus_taken)
        if pool:
            pools.append(pool)
            claimed.update(member.node.name for member in members)
    kinds: defaultdict[tuple[str, int, str], list[_GpuNode]] = defaultdict(list)
    for gpu_node in gpu_nodes:
        if gpu_node.node.name not in claimed:
            kinds[gpu_node.kind].append(gpu_node)
    names = {pool.name for pool in pools}
    for kind, members in sorted(kinds.items()):
        name = _unused(_pool_name(kind), names)
        names.add(name)
        requirements = _requirements(members, gpu_nodes)
        pools.append(_pool(name, members, requirements, PoolSpec(name), gpus_taken))
    return tuple(pools)


def _pool_name(kind: tuple[str, int, str]) -> str:
    accelerator, count, _ = kind
    slug = re.sub(r"[^a-z0-9]+", "-", accelerator.lower()).strip("-")
    return f"{slug}-x{count}"


def _unused(name: str, taken: set[str]) -> str:
    return name if name not in taken else _unused(f"{name}-discovered", taken)


def _selected(
    spec: PoolSpec, gpu_nodes: Sequence[_GpuNode], labelled: Mapping[str, Node], claimed: set[str]
) -> list[_GpuNode]:
    """The nodes that a GPUPool means: by its selector, or by its accelerator if it has no selector.

    A selector that catches several kinds of GPU keeps the kind with the most nodes, unless the GPUPool says
    what they all are; nodes whose GPU cannot be read count where the GPUPool says what they carry.
    """

    def matches(node: Node) -> bool:
        return all(node.labels.get(key) == value for key, value in spec.node_labels.items())

    free = [node for node in gpu_nodes if node.node.name not in claimed]
    if not spec.node_labels:
        wanted = _stated_accelerator(spec, ())
        return [node for node in free if wanted and node.accelerator.name == wanted.name]
    stated = _stated_accelerator(spec, ())
    if stated and spec.gpus_per_node:
        known = {node.node.name for node in gpu_nodes}
        unread = [
            _GpuNode(node, stated, spec.gpus_per_node)
            for name, node in sorted(labelled.items())
            if name not in known | claimed and node.gpus > 0
        ]
        return [node for node in (*free, *unread) if matches(node.node)]
    kinds: defaultdict[tuple[str, int, str], list[_GpuNode]] = defaultdict(list)
    for node in free:
        if matches(node.node):
            kinds[node.kind].append(node)
    return max((kinds[kind] for kind in sorted(kinds)), key=len, default=[])


def _stated_accelerator(spec: PoolSpec, members: Sequence[_GpuNode]) -> Accelerator | None:
    if spec.accelerator:
        return with_rates(spec.accelerator)
    if spec.accelerator_name:
        reported = min((node.accelerator.memory_bytes for node in members), default=None)
        return find_accelerator(spec.accelerator_name, reported) or (
            unknown_accelerator(spec.accelerator_name, reported) if reported else None
        )
    return None


def _stated_pool(
    spec: PoolSpec,
    members: Sequence[_GpuNode],
    gpu_nodes: Sequence[_GpuNode],
    gpus_taken: Mapping[str, int],
) -> Pool | None:
    """The pool of a GPUPool, with or without nodes; None where neither says what GPU it has."""
    selector = tuple(Requirement(key, "In", (value,)) for key, value in sorted(spec.node_labels.items()))
    if members:
        chosen = {member.node.name for member in members}
        others = [node for node in gpu_nodes if node.node.name not in chosen]
        exact = selector and not any(_meets(node.node, selector) for node in others)
        requirements = selector if exact else _merge(selector, _requirements(members, gpu_nodes))
        return _pool(spec.name, members, requirements, spec, gpus_taken)
    accelerator = _stated_accelerator(spec, ())
    if accelerator is None or not selector:
        return None
    return Pool(
        name=spec.name,
        accelerator=accelerator,
        gpus_per_node=spec.gpus_per_node or 1,
        nodes=0,
        requirements=selector,
        offers=_offers(spec.name, (), accelerator, spec, gpus_taken),
        max_nodes=spec.max_nodes,
        gpu_resource="amd.com/gpu" if accelerator.vendor == "amd" else "nvidia.com/gpu",
    )


def _pool(
    name: str,
    members: Sequence[_GpuNode],
    requirements: tuple[Requirement, ...],
    spec: PoolSpec,
    gpus_taken: Mapping[str, int],
) -> Pool:
    memory = min(member.accelerator.memory_bytes for member in members)
    accelerator = _stated_accelerator(spec, members) or replace(members[0].accelerator, memory_bytes=memory)
    first = members[0]
    types = {member.node.labels.get(INSTANCE_TYPE, "") for member in members}
    autoscaled = any(key in member.node.labels for member in members for key in AUTOSCALED)
    usable = sum(member.usable for member in members)
    return Pool(
        name=name,
        accelerator=accelerator,
        gpus_per_node=spec.gpus_per_node or first.count,
        nodes=usable,
        requirements=requirements,
        offers=_offers(name, members, accelerator, spec, gpus_taken),
        max_nodes=spec.max_nodes if spec.max_nodes is not None or autoscaled else len(members),
        gpu_resource=first.node.gpu_resource,
        instance_type=types.pop() if len(types) == 1 else "",
    )


def _offers(
    pool: str,
    members: Sequence[_GpuNode],
    accelerator: Accelerator,
    spec: PoolSpec,
    gpus_taken: Mapping[str, int],
) -> tuple[Offer, ...]:
    """One offer per capacity type and zone, of the nodes that exist and of what the GPUPool names."""
    places: defaultdict[tuple[CapacityType, str], list[_GpuNode]] = defaultdict(list)
    for member in members:
        labels = member.node.labels
        places[read_capacity_type(labels), labels.get(ZONE, "")].append(member)
    zones = spec.zones or tuple(sorted({zone for _, zone in places})) or ("",)
    types = (
        spec.capacity_types
        or tuple(
            sorted({capacity_type for capacity_type, _ in places} | set(spec.price_dollars_per_gpu_hour))
        )
        or (CapacityType.ON_DEMAND,)
    )
    stated = set(product(types, zones)) if spec.zones or spec.capacity_types or not members else set()
    per_node = spec.gpus_per_node or (members[0].count if members else 1)
    offers = []
    for capacity_type, zone in sorted(stated | set(places)):
        here = [member for member in places.get((capacity_type, zone), ()) if member.usable]
        price = spec.price_dollars_per_gpu_hour.get(capacity_type)
        offers.append(
            Offer(
                pool=pool,
                capacity_type=capacity_type,
                zone=zone,
                price_dollars_per_gpu_hour=(
                    default_price(accelerator.name, per_node, capacity_type) if price is None else price
                ),
                price_source=SOURCE if price is None else f"GPUPool {spec.name}",
                nodes=len(here),
                gpus=sum(member.node.gpus for member in here),
                free_gpus=sum(
                    max(0, member.node.gpus - gpus_taken.get(member.node.name, 0)) for member in here
                ),
                requirements=_capacity_requirements(capacity_type, members)
                + ((Requirement(ZONE, "In", (zone,)),) if zone else ()),
            )
        )
    return tuple(offers)


def _capacity_requirements(
    capacity_type: CapacityType, members: Sequence[_GpuNode]
) -> tuple[Requirement, ...]:
    """Select one capacity type in the words of the cloud that the pool's nodes are from.

    Where every node is of that type and no label says so, nothing is required.
    """
    used = [label for label in CAPACITY_LABELS if any(label.key in node.node.labels for node in members)]
    named = [label for label in used if label.capacity_type is capacity_type]
    alike = [node for node in members if read_capacity_type(node.node.labels) is capacity_type]
    for label in named:
        requirement = Requirement(label.key, "In", label.values)
        if all(_meets(node.node, (requirement,)) for node in alike):
            return (requirement,)
    if capacity_type is CapacityType.ON_DEMAND:
        other = {label.key: label.values for label in used if label.capacity_type is CapacityType.SPOT}
        return tuple(Requirement(key, "NotIn", values) for key, values in sorted(other.items()))
    return (Requirement("karpenter.sh/capacity-type", "In", (capacity_type.value,)),)


def _requirements(members: Sequence[_GpuNode], everyone: Sequence[_GpuNode]) -> tuple[Requirement, ...]:
    """The first selector that takes all members and nobody else; the members' names if none does."""
    chosen = {member.node.name for member in members}
    others = [node.node for node in everyone if node.node.name not in chosen]
    for keys in _SELECTORS:
        if all(key in member.node.labels for key in keys for member in members):
            found = tuple(
                Requirement(key, "In", tuple(sorted({member.node.labels[key] for member in members})))
                for key in keys
            )
            if not any(_meets(node, found) for node in others):
                return found
    return (Requirement("kubernetes.io/hostname", "In", tuple(sorted(chosen))),)


def _merge(*groups: Iterable[Requirement]) -> tuple[Requirement, ...]:
    return tuple(dict.fromkeys(requirement for group in groups for requirement in group))


def _meets(node: Node, requirements: Iterable[Requirement]) -> bool:
    """True where the scheduler would find that the node's labels meet every expression."""
    for requirement in requirements:
        value = node.labels.get(requirement.key)
        inside = value in requirement.values
        met = {
            "In": inside,
            "NotIn": not inside,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[requirement.operator]
        if not met:
            return False
    return True
