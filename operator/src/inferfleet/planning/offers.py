"""How and where nodes of a pool can be had: what exists, what a GPUPool says, what Karpenter sells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import product
from typing import Final

from inferfleet.planning.gpu_nodes import GpuNode, meets
from inferfleet.planning.node_labels import (
    KARPENTER_COUNT,
    KARPENTER_GPU,
    KARPENTER_MEMORY,
)
from inferfleet.planning.node_pools import Machines
from inferfleet.planning.prices import SOURCE, default_price
from inferfleet.values import Accelerator, CapacityType, Offer, PoolSpec, Requirement
from inferfleet.values.well_known import (
    CAPACITY_LABELS,
    INSTANCE_TYPE,
    KARPENTER_CAPACITY_TYPE,
    ZONE,
    read_capacity_type,
)

# labels that Karpenter knows of a machine before it buys it
BUYABLE: Final = frozenset({KARPENTER_GPU, KARPENTER_COUNT, KARPENTER_MEMORY, INSTANCE_TYPE})
KARPENTER: Final = "karpenter.sh"


def make_offers(
    spec: PoolSpec,
    members: Sequence[GpuNode],
    accelerator: Accelerator,
    gpus_taken: Mapping[str, int],
    sold: Machines | None = None,
) -> tuple[Offer, ...]:
    """One offer per capacity type and zone: of nodes that exist, of what the GPUPool names, of what is sold.

    A GPUPool's zones and capacity types come on top of the places where its nodes are.
    """
    places: defaultdict[tuple[CapacityType, str], list[GpuNode]] = defaultdict(list)
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
    stated = (
        set(product(types, zones)) if spec.zones or spec.capacity_types or not (members or sold) else set()
    )
    if sold:
        stated |= sold.places
    per_node = spec.gpus_per_node or (members[0].count if members else sold.gpus if sold else 1)
    clouds = {_domain(key) for key in spec.node_labels} | (
        {KARPENTER} if sold or spec.instance_types else set()
    )
    offers = []
    for capacity_type, zone in sorted(stated | set(places)):
        here = [member for member in places.get((capacity_type, zone), ()) if member.usable]
        price = spec.price_dollars_per_gpu_hour.get(capacity_type)
        offers.append(
            Offer(
                pool=spec.name,
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
                requirements=_capacity_requirements(capacity_type, members, clouds)
                + ((Requirement(ZONE, "In", (zone,)),) if zone else ()),
            )
        )
    return tuple(offers)


def _capacity_requirements(
    capacity_type: CapacityType, members: Sequence[GpuNode], clouds: AbstractSet[str]
) -> tuple[Requirement, ...]:
    """Select one capacity type in the words of the cloud that the pool's nodes are from, or will be from.

    Where every node is of that type and no label says so, nothing is required.
    """

    def speaks(key: str) -> bool:
        return any(key in node.node.labels for node in members) if members else _domain(key) in clouds

    used = [label for label in CAPACITY_LABELS if speaks(label.key)]
    named = [label for label in used if label.capacity_type is capacity_type]
    alike = [node for node in members if read_capacity_type(node.node.labels) is capacity_type]
    for label in named:
        requirement = Requirement(label.key, "In", label.values)
        if all(meets(node.node, (requirement,)) for node in alike):
            return (requirement,)
    if capacity_type is CapacityType.ON_DEMAND:
        other = {label.key: label.values for label in used if label.capacity_type is CapacityType.SPOT}
        return tuple(Requirement(key, "NotIn", values) for key, values in sorted(other.items()))
    return (Requirement(KARPENTER_CAPACITY_TYPE, "In", (capacity_type.value,)),)


def _domain(key: str) -> str:
    """Whose label it is; all of Karpenter's providers speak of capacity alike."""
    domain = key.partition("/")[0]
    return KARPENTER if domain.startswith("karpenter.") else domain
