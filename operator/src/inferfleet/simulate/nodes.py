"""Nodes that exist, are asked for, run short, and are taken back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from math import exp
from random import Random
from typing import Final

from inferfleet.simulate.clock import Clock
from inferfleet.simulate.market import SpotMarket
from inferfleet.values import CapacityType, Node, OfferKey, PoolSpec, Taint
from inferfleet.values.well_known import AWS, AZURE, GCP, HOSTNAME, KARPENTER_CAPACITY_TYPE, ZONE

_EMPTY_SECONDS: Final = 30.0
"""How long an autoscaled node may stand empty (Karpenter's consolidateAfter, for GPU pools)."""


class Provider(StrEnum):
    """Whose spot nodes: it decides how a loss is announced, and how long before."""

    AWS = "aws"
    AZURE = "azure"
    GKE = "gke"


_NOTICES: Final = {
    Provider.AWS: ("aws-node-termination-handler/spot-itn", AWS.spot_notice_seconds),
    Provider.AZURE: ("remediator.kubernetes.azure.com/unschedulable", AZURE.spot_notice_seconds),
    Provider.GKE: ("cloud.google.com/impending-node-termination", GCP.spot_notice_seconds),
}
"""The taint that tells, and the seconds that ordinary pods have from then on."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Medians of what stands between asked for and Ready; each is drawn lognormally with `sigma`.

    `provision_seconds` is a node's, where none is free; the image is pulled once on each node.
    """

    provision_seconds: float = 90.0
    schedule_seconds: float = 2.0
    pull_seconds: float = 60.0
    load_seconds: float = 60.0
    sigma: float = 0.25

    def draw(self, median_seconds: float, rng: Random) -> float:
        """One draw around a median."""
        return median_seconds * exp(rng.gauss(0, self.sigma))


@dataclass(frozen=True, slots=True)
class SimulatedPool:
    """Nodes that can be had. `standing` exist from the start; `grows` where an autoscaler adds more.

    `spec` selects its nodes by `spec.node_labels` and states accelerator, size, zones, types and prices.
    """

    spec: PoolSpec
    standing: int = 0
    grows: bool = True


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where nodes come from. `availability` is the share of time that a zone has spot; others always have."""

    pools: tuple[SimulatedPool, ...]
    cold_start: ColdStart
    availability: Mapping[str, float]
    provider: Provider


class SimulatedNode:
    """A node from when it is asked for. `free` counts GPUs that no replica was promised."""

    __slots__ = ("condemned", "emptied_at", "free", "gone", "offer", "pulled", "ready", "standing", "value")

    def __init__(self, value: Node, offer: OfferKey, *, standing: bool) -> None:
        """A node that is not there yet."""
        self.value, self.offer, self.standing = value, offer, standing
        self.free = value.gpus
        self.ready = self.condemned = self.gone = self.pulled = False
        self.emptied_at: float | None = None


class Nodes:
    """All nodes of a run. The three callbacks tell the world what became of one."""

    def __init__(self, cloud: Cloud, clock: Clock, rng: Random) -> None:
        """Set the standing nodes up."""
        self._pools = {pool.spec.name: pool for pool in cloud.pools}
        self.clock, self._rng, self._cold, self._provider = clock, rng, cloud.cold_start, cloud.provider
        self.market = SpotMarket(cloud.availability, clock, Random(rng.random()), self._outage)
        self.all: dict[str, SimulatedNode] = {}
        self._made = 0
        self.on_ready: Callable[[SimulatedNode], None] = lambda _node: None
        self.on_notice: Callable[[SimulatedNode], None] = lambda _node: None
        self.on_gone: Callable[[SimulatedNode], None] = lambda _node: None
        self._seen: tuple[Node, ...] | None = None
        for pool in cloud.pools:
            zones = pool.spec.zones or ("",)
            types = pool.spec.capacity_types or (CapacityType.ON_DEMAND,)
            for index in range(pool.standing):
                offer = OfferKey(pool.spec.name, types[0], zones[index % len(zones)])
                self._make(offer, standing=True).ready = True

    def place(self, offer: OfferKey, gpus: int, count: int) -> list[SimulatedNode] | None:
        """Promise `gpus` on each of `count` nodes of the offer, new ones if need be; None if none can be had.

        A node serves one pod of a replica that spans nodes.
        """
        found = [node for node in self.all.values() if self._fits(node, offer, gpus)][:count]
        missing = count - len(found)
        if missing and not self._can_grow(offer, missing, gpus):
            return None
        found += [self._make(offer, standing=False) for _ in range(missing)]
        for node in found:
            node.free -= gpus
            node.emptied_at = None
        return found

    def release(self, node: SimulatedNode, gpus: int) -> None:
        """Give GPUs back; an autoscaled node that is empty goes after a while."""
        node.free += gpus
        if node.free < node.value.gpus or node.standing or node.gone:
            return
        node.emptied_at = emptied = self.clock.now
        self.clock.call(_EMPTY_SECONDS, lambda: self._remove(node) if node.emptied_at == emptied else None)

    def seen(self) -> tuple[Node, ...]:
        """The nodes that the API server shows."""
        if self._seen is None:
            self._seen = tuple(node.value for node in self.all.values() if node.ready)
        return self._seen

    def _fits(self, node: SimulatedNode, offer: OfferKey, gpus: int) -> bool:
        here = node.offer
        same = here.pool == offer.pool and here.capacity_type is offer.capacity_type
        return same and node.free >= gpus and not node.condemned and offer.zone in {"", here.zone}

    def _can_grow(self, offer: OfferKey, count: int, gpus: int) -> bool:
        pool = self._pools[offer.pool]
        if not pool.grows or (pool.spec.gpus_per_node or 1) < gpus:
            return False
        if offer.capacity_type is CapacityType.SPOT and not self.market.is_available(offer.zone):
            return False
        have = sum(node.offer.pool == offer.pool for node in self.all.values())
        return pool.spec.max_nodes is None or have + count <= pool.spec.max_nodes

    def _make(self, offer: OfferKey, *, standing: bool) -> SimulatedNode:
        self._made += 1
        node = SimulatedNode(self._node(f"node-{self._made}", offer), offer, standing=standing)
        self.all[node.value.name] = node
        self._seen = None
        if not standing:
            self.clock.call(self._cold.draw(self._cold.provision_seconds, self._rng), lambda: self.join(node))
        return node

    def _node(self, name: str, offer: OfferKey) -> Node:
        spec = self._pools[offer.pool].spec
        gpu, count = spec.accelerator, spec.gpus_per_node or 1
        labels = {
            **spec.node_labels,
            HOSTNAME: name,
            KARPENTER_CAPACITY_TYPE: offer.capacity_type.value,
            "nvidia.com/gpu.count": str(count),
        }
        if gpu is not None:
            labels["nvidia.com/gpu.product"] = gpu.name
            labels["nvidia.com/gpu.memory"] = str(gpu.memory_bytes >> 20)
        if offer.zone:
            labels[ZONE] = offer.zone
        if self._provider is Provider.GKE and offer.capacity_type is CapacityType.SPOT:
            labels["cloud.google.com/gke-spot"] = "true"
        return Node(name=name, uid=f"uid-{name}", gpus=count, labels=labels)

    def join(self, node: SimulatedNode) -> None:
        """The node is there; pods that were promised its GPUs can start."""
        if not node.gone and not node.ready:
            node.ready = True
            self._seen = None
            self.on_ready(node)

    def _outage(self, zone: str) -> None:
        """Every spot node of the zone is going, unless the zone is back before its turn."""
        for node in list(self.all.values()):
            if node.offer.zone == zone and node.offer.capacity_type is CapacityType.SPOT:
                self.clock.call(self.market.seconds_to_loss(zone, self._rng), partial(self._warn, node))

    def _warn(self, node: SimulatedNode) -> None:
        if node.gone or node.condemned or self.market.is_available(node.offer.zone):
            return
        key, notice_seconds = _NOTICES[self._provider]
        node.condemned = True
        node.value = replace(node.value, taints=(Taint(key, "NoSchedule"),))
        self._seen = None
        self.on_notice(node)
        self.clock.call(notice_seconds, lambda: self._remove(node))

    def _remove(self, node: SimulatedNode) -> None:
        if node.gone:
            return
        node.gone = True
        del self.all[node.value.name]
        self._seen = None
        self.on_gone(node)
