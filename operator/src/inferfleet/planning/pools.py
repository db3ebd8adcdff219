"""Form pools of like nodes from what the nodes say of themselves and what GPUPools add."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from inferfleet.planning.accelerators import find_accelerator, unknown_accelerator, with_rates
from inferfleet.planning.gpu_nodes import GpuNode, Kind, meets
from inferfleet.planning.node_labels import (
    AUTOSCALED,
    GFD_COUNT,
    GFD_PRODUCT,
    GKE_COUNT,
    GKE_GPU,
    KARPENTER_COUNT,
    KARPENTER_GPU,
    KARPENTER_MEMORY,
    machine_gpu,
    read_gpus,
    read_instance_type,
)
from inferfleet.planning.node_pools import Machines, buyable
from inferfleet.planning.offers import BUYABLE, make_offers
from inferfleet.values import Accelerator, Node, NodePool, Pool, PoolSpec, Requirement
from inferfleet.values.well_known import HOSTNAME, INSTANCE_TYPE

# answers of `discover_pools` that are kept: a few views of the nodes, and of what is taken on them
_REMEMBERED: Final = 16
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
    (HOSTNAME,),
)


def discover_pools(
    nodes: Sequence[Node],
    pool_specs: Sequence[PoolSpec],
    gpus_taken: Mapping[str, int],
    node_pools: Sequence[NodePool] = (),
) -> tuple[Pool, ...]:
    """Group nodes into pools; a GPUPool takes the nodes it selects, the rest form pools by their GPU.

    A pool's requirements select exactly its nodes. Nodes that are not ready, cordoned or going define a pool
    and its offers, but count neither as nodes nor as free GPUs, so that a pool outlives a bad hour. What
    Karpenter's NodePools can buy is a pool as well, unless a GPUPool speaks for it.

    Returns:
        GPUPools in the order of their names, then the discovered ones in the order of theirs.
    """
    taken = frozenset(gpus_taken.items())
    return _discover(tuple(nodes), tuple(pool_specs), taken, tuple(node_pools))


@lru_cache(maxsize=_REMEMBERED)
def _discover(
    nodes: tuple[Node, ...],
    pool_specs: tuple[PoolSpec, ...],
    taken: frozenset[tuple[str, int]],
    node_pools: tuple[NodePool, ...],
) -> tuple[Pool, ...]:
    """Every deployment asks in every pass, and nodes seldom change: the last answers are kept."""
    gpus_taken = dict(taken)
    gpu_nodes = [
        GpuNode(node, found.accelerator, found.count)
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
    kinds: defaultdict[Kind, list[GpuNode]] = defaultdict(list)
    for gpu_node in gpu_nodes:
        if gpu_node.node.name not in claimed:
            kinds[gpu_node.kind].append(gpu_node)
    spoken_for = {(pool.accelerator.name, pool.gpus_per_node) for pool in pools}
    sold = {one.kind: one for one in buyable(node_pools) if one.kind[:2] not in spoken_for}
    names = {pool.name for pool in pools}
    for kind in sorted(kinds.keys() | sold.keys()):
        name = _unused(_pool_name(kind), names)
        names.add(name)
        pools.append(_discovered(PoolSpec(name), kinds.get(kind, []), sold.get(kind), gpu_nodes, gpus_taken))
    return tuple(pools)


def _discovered(
    spec: PoolSpec,
    members: Sequence[GpuNode],
    sold: Machines | None,
    gpu_nodes: Sequence[GpuNode],
    gpus_taken: Mapping[str, int],
) -> Pool:
    """A pool that no GPUPool describes: of nodes, of machines that can be bought, or of both."""
    if members:
        requirements = _requirements(members, gpu_nodes)
        alike = sold and all(one.key in BUYABLE for one in requirements)
        return _pool(members, requirements, spec, gpus_taken, sold if alike else None)
    if sold is None:
        raise ValueError(f"pool {spec.name} has neither nodes nor machines for sale")
    return Pool(
        name=spec.name,
        accelerator=sold.accelerator,
        gpus_per_node=sold.gpus,
        nodes=0,
        requirements=sold.requirements,
        offers=make_offers(spec, (), sold.accelerator, gpus_taken, sold),
        max_nodes=sold.max_nodes,
        to_be_bought=True,
    )


def _pool_name(kind: Kind) -> str:
    accelerator, count, _ = kind
    slug = re.sub(r"[^a-z0-9]+", "-", accelerator.lower()).strip("-")
    return f"{slug}-x{count}"


def _unused(name: str, taken: set[str]) -> str:
    return name if name not in taken else _unused(f"{name}-discovered", taken)


def _selected(
    spec: PoolSpec, gpu_nodes: Sequence[GpuNode], labelled: Mapping[str, Node], claimed: set[str]
) -> list[GpuNode]:
    """The nodes that a GPUPool means: by its selector, or by its accelerator if it has no selector.

    A selector that catches several kinds of GPU keeps the kind with the most nodes, unless the GPUPool says
    what they all are; nodes whose GPU cannot be read count where the GPUPool says what they carry.
    """
    selector = _selector(spec)

    def matches(node: Node) -> bool:
        return meets(node, selector)

    free = [node for node in gpu_nodes if node.node.name not in claimed]
    if not selector:
        wanted = _stated_accelerator(spec, ())
        return [node for node in free if wanted and node.accelerator.name == wanted.name]
    stated = _stated_accelerator(spec, ())
    if stated and spec.gpus_per_node:
        known = {node.node.name for node in gpu_nodes}
        unread = [
            GpuNode(node, stated, spec.gpus_per_node)
            for name, node in sorted(labelled.items())
            if name not in known | claimed and node.gpus > 0
        ]
        return [node for node in (*free, *unread) if matches(node.node)]
    kinds: defaultdict[Kind, list[GpuNode]] = defaultdict(list)
    for node in free:
        if matches(node.node):
            kinds[node.kind].append(node)
    return max((kinds[kind] for kind in sorted(kinds)), key=len, default=[])


def _stated_accelerator(spec: PoolSpec, members: Sequence[GpuNode]) -> Accelerator | None:
    if spec.accelerator:
        return with_rates(spec.accelerator)
    if spec.accelerator_name is None and spec.instance_types:
        machine = read_instance_type(spec.instance_types[0])
        return machine_gpu(machine[0]) if machine and not members else None
    if spec.accelerator_name:
        reported = min((node.accelerator.memory_bytes for node in members), default=None)
        return find_accelerator(spec.accelerator_name, reported) or (
            unknown_accelerator(spec.accelerator_name, reported) if reported else None
        )
    return None


def _selector(spec: PoolSpec) -> tuple[Requirement, ...]:
    """What a GPUPool's nodes have in common; of its instance types those with the GPUs of the first."""
    stated = tuple(Requirement(key, "In", (value,)) for key, value in sorted(spec.node_labels.items()))
    if not spec.instance_types:
        return stated
    first = read_instance_type(spec.instance_types[0])
    alike = [name for name in spec.instance_types if read_instance_type(name) in {first, None}]
    return (*stated, Requirement(INSTANCE_TYPE, "In", tuple(sorted(alike))))


def _stated_pool(
    spec: PoolSpec,
    members: Sequence[GpuNode],
    gpu_nodes: Sequence[GpuNode],
    gpus_taken: Mapping[str, int],
) -> Pool | None:
    """The pool of a GPUPool, with or without nodes; None where neither says what GPU it has."""
    selector = _selector(spec)
    if members:
        chosen = {member.node.name for member in members}
        others = [node for node in gpu_nodes if node.node.name not in chosen]
        exact = selector and not any(meets(node.node, selector) for node in others)
        requirements = selector if exact else _merge(selector, _requirements(members, gpu_nodes))
        return _pool(members, requirements, spec, gpus_taken)
    accelerator = _stated_accelerator(spec, ())
    if accelerator is None or not selector:
        return None
    machine = read_instance_type(spec.instance_types[0]) if spec.instance_types else None
    return Pool(
        name=spec.name,
        accelerator=accelerator,
        gpus_per_node=spec.gpus_per_node or (machine[1] if machine else 1),
        nodes=0,
        requirements=selector,
        offers=make_offers(spec, (), accelerator, gpus_taken),
        max_nodes=spec.max_nodes,
        gpu_resource="amd.com/gpu" if accelerator.vendor == "amd" else "nvidia.com/gpu",
        taints=spec.taints,
        to_be_bought=True,
    )


def _pool(
    members: Sequence[GpuNode],
    requirements: tuple[Requirement, ...],
    spec: PoolSpec,
    gpus_taken: Mapping[str, int],
    sold: Machines | None = None,
) -> Pool:
    memory = min(member.accelerator.memory_bytes for member in members)
    accelerator = _stated_accelerator(spec, members) or replace(members[0].accelerator, memory_bytes=memory)
    first = members[0]
    autoscaled = any(key in member.node.labels for member in members for key in AUTOSCALED)
    usable = sum(member.usable for member in members)
    bought = len(members) if not autoscaled else sold.max_nodes if sold else None
    return Pool(
        name=spec.name,
        accelerator=accelerator,
        gpus_per_node=spec.gpus_per_node or first.count,
        nodes=usable,
        requirements=requirements,
        offers=make_offers(spec, members, accelerator, gpus_taken, sold),
        max_nodes=bought if spec.max_nodes is None else spec.max_nodes,
        gpu_resource=first.node.gpu_resource,
        taints=spec.taints,
    )


def _requirements(members: Sequence[GpuNode], everyone: Sequence[GpuNode]) -> tuple[Requirement, ...]:
    """The first selector that takes all members and nobody else; the members' names if none does."""
    chosen = {member.node.name for member in members}
    others = [node.node for node in everyone if node.node.name not in chosen]
    for keys in _SELECTORS:
        if all(key in member.node.labels for key in keys for member in members):
            found = tuple(
                Requirement(key, "In", tuple(sorted({member.node.labels[key] for member in members})))
                for key in keys
            )
            if not any(meets(node, found) for node in others):
                return found
    return (Requirement(HOSTNAME, "In", tuple(sorted(chosen))),)


def _merge(*groups: Iterable[Requirement]) -> tuple[Requirement, ...]:
    return tuple(dict.fromkeys(requirement for group in groups for requirement in group))
