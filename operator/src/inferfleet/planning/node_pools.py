"""What Karpenter could buy: machines that need not exist yet, read from the requirements of its NodePools."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inferfleet.planning.gpu_nodes import Kind
from inferfleet.planning.node_labels import (
    KARPENTER_COUNT,
    KARPENTER_GPU,
    KARPENTER_MEMORY,
    aws_machines,
    machine_gpu,
    read_instance_type,
)
from inferfleet.values import Accelerator, CapacityType, NodePool, Requirement
from inferfleet.values.well_known import INSTANCE_TYPE, KARPENTER_CAPACITY_TYPE, ZONE

FAMILY: Final = "karpenter.k8s.aws/instance-family"
CATEGORY: Final = "karpenter.k8s.aws/instance-category"
GENERATION: Final = "karpenter.k8s.aws/instance-generation"
MANUFACTURER: Final = "karpenter.k8s.aws/instance-gpu-manufacturer"

_SHAPE: Final = frozenset({FAMILY, CATEGORY, KARPENTER_GPU, KARPENTER_COUNT, MANUFACTURER})
# a GPU pod tolerates these; any other taint says that the machines are meant for somebody else
_TOLERATED: Final = re.compile(r"^(nvidia\.com|amd\.com)/gpu$")


@dataclass(frozen=True, slots=True)
class Machines:
    """Machines that are alike for planning: what they carry, what selects them, where and how they are sold.

    A place without a zone stands for any zone.
    """

    accelerator: Accelerator
    gpus: int
    requirements: tuple[Requirement, ...]
    places: frozenset[tuple[CapacityType, str]]
    max_nodes: int | None

    @property
    def kind(self) -> Kind:
        """What nodes of one pool have in common."""
        return self.accelerator.name, self.gpus, "nvidia.com/gpu"


def buyable(node_pools: Iterable[NodePool]) -> tuple[Machines, ...]:
    """Return the kinds of GPU machines that the NodePools allow, by name and count of their GPUs.

    A NodePool counts only if it speaks of GPUs: it lists instance types, or bounds their family or GPU. One
    that any pod may make buy anything says nothing.
    """
    found: defaultdict[Kind, list[Machines]] = defaultdict(list)
    for node_pool in node_pools:
        if all(_TOLERATED.match(taint.key) for taint in node_pool.taints):
            for machines in _machines(node_pool):
                found[machines.kind].append(machines)
    return tuple(_together(found[kind]) for kind in sorted(found))


def can_buy(node_pool: NodePool, wanted: Sequence[Requirement]) -> bool:
    """Tell whether a NodePool could buy a node that a pod with these requirements accepts."""
    return all(
        _overlap(own, other)
        for own in node_pool.requirements
        for other in wanted
        if own.key == other.key and other.operator == "In"
    )


def _overlap(own: Requirement, wanted: Requirement) -> bool:
    return any(_allows(own, {own.key: value}) for value in wanted.values)


def _machines(node_pool: NodePool) -> Iterator[Machines]:
    places = frozenset(_places(node_pool.requirements))
    for accelerator, gpus, selector in _shapes(node_pool.requirements):
        limit = None if node_pool.gpu_limit is None else node_pool.gpu_limit // gpus
        yield Machines(accelerator, gpus, selector, places, limit)


def _shapes(
    requirements: Sequence[Requirement],
) -> Iterator[tuple[Accelerator, int, tuple[Requirement, ...]]]:
    """GPU, how many, and the selector: instance types where those are listed, else Karpenter's labels."""
    listed = [set(one.values) for one in requirements if one.key == INSTANCE_TYPE and one.operator == "In"]
    if listed:
        kinds: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        for name in sorted(set.intersection(*listed)):
            if read := read_instance_type(name):
                kinds[read].append(name)
        for (gpu, count), names in sorted(kinds.items()):
            if accelerator := machine_gpu(gpu):
                yield accelerator, count, (Requirement(INSTANCE_TYPE, "In", tuple(names)),)
    elif any(one.key in _SHAPE for one in requirements):
        yield from _shapes_by_label(requirements)


def _shapes_by_label(
    requirements: Sequence[Requirement],
) -> Iterator[tuple[Accelerator, int, tuple[Requirement, ...]]]:
    seen = set()
    for machine in aws_machines():
        labels = {
            FAMILY: machine.family,
            CATEGORY: re.sub(r"[^a-z].*", "", machine.family),
            GENERATION: re.sub(r"^[a-z]+(\d+).*", r"\1", machine.family),
            MANUFACTURER: "nvidia",
            KARPENTER_GPU: machine.label,
            KARPENTER_COUNT: str(machine.gpus),
            **({KARPENTER_MEMORY: str(machine.memory_mib)} if machine.memory_mib else {}),
        }
        accelerator = machine_gpu(machine.accelerator)
        shape = (machine.accelerator, machine.gpus)
        if accelerator is None or shape in seen or not all(_allows(one, labels) for one in requirements):
            continue
        seen.add(shape)
        keys = [KARPENTER_GPU, KARPENTER_COUNT]
        if machine.label == "a100":
            keys.append(KARPENTER_MEMORY)
        yield accelerator, machine.gpus, tuple(Requirement(key, "In", (labels[key],)) for key in keys)


def _places(requirements: Sequence[Requirement]) -> Iterator[tuple[CapacityType, str]]:
    """Capacity types and zones; on-demand where nothing is said, so that no one gets spot unasked."""
    stated = [one for one in requirements if one.key == KARPENTER_CAPACITY_TYPE]
    types = [
        kind
        for kind in CapacityType
        if all(_allows(one, {KARPENTER_CAPACITY_TYPE: kind.value}) for one in stated)
    ]
    zones = [set(one.values) for one in requirements if one.key == ZONE and one.operator == "In"]
    for capacity_type in types if stated else [CapacityType.ON_DEMAND]:
        for zone in sorted(set.intersection(*zones)) if zones else [""]:
            yield capacity_type, zone


def _allows(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """Whether a machine with these labels meets the requirement; what is not known of it is no obstacle."""
    value, values = labels.get(requirement.key), requirement.values
    if value is None or requirement.operator == "Exists":
        return True
    if requirement.operator in {"In", "NotIn"}:
        return (value in values) == (requirement.operator == "In")
    if requirement.operator in {"Gt", "Lt"}:
        less, more = sorted((float(value), float(values[0])))
        return less < more and (float(value) == more) == (requirement.operator == "Gt")
    return requirement.operator != "DoesNotExist"


def _together(machines: Sequence[Machines]) -> Machines:
    """One offer of several NodePools that sell the same kind."""
    first = machines[0]
    if len(machines) == 1:
        return first
    by_type = [one for one in machines if one.requirements[0].key == INSTANCE_TYPE]
    names = sorted({name for one in by_type for name in one.requirements[0].values})
    by_label = next((one.requirements for one in machines if one not in by_type), None)
    limits = [one.max_nodes for one in machines]
    return Machines(
        first.accelerator,
        first.gpus,
        by_label or (Requirement(INSTANCE_TYPE, "In", tuple(names)),),
        frozenset(place for one in machines for place in one.places),
        None if None in limits else sum(limit for limit in limits if limit is not None),
    )
