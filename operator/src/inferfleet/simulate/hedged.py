"""SkyServe's way with spot (SpotHedge, EuroSys'25), carried out as SkyPilot 0.14 ships it.

Read: target plus over-provision, less the base, is wanted as spot; on-demand covers the base and whatever of
the spot is not READY, but never the over-provisioned part; a zone with a preemption or a failed launch is
PREEMPTED until a launch there succeeds, and when fewer than two zones are left all are ACTIVE again; the next
replica goes to an ACTIVE zone that has none yet, the cheapest first. It does not act on interruption notices,
its users retry; what a node takes along is lost. Inferred: a launch counts as failed when it found no node by
the next decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from inferfleet.simulate.counted import Executor
from inferfleet.simulate.nodes import SimulatedNode
from inferfleet.simulate.policy import Policy, Seen
from inferfleet.simulate.scenario import Scenario
from inferfleet.simulate.world import Replica, World
from inferfleet.values import CapacityType, OfferKey

LEAST_ACTIVE_ZONES = 2


@dataclass(slots=True)
class Hedge:
    """A law for the number, and how it is hedged. SkyPilot's `num_overprovision` is 0 unless set.

    Without `fallback` only the base is on demand: all of spot, or a fixed share, for the rest. With `notices`
    an interruption handler drains what a notice names, which SkyServe has not.
    """

    law: Policy
    overprovision: int = 0
    base: int = 0
    fallback: bool = True
    notices: bool = False
    drain_seconds: float = 0.0
    name: str = "skyserve"
    period_seconds: float = 20.0

    def replicas(self, seen: Seen, now: float) -> int:
        """What the law says."""
        return self.law.replicas(seen, now)


class Hedged(Executor):
    """Carries out a `Hedge`."""

    def __init__(self, world: World, hedge: Hedge, scenario: Scenario, initial: int) -> None:
        """All zones are active to begin with."""
        self._hedge = hedge
        self._preempted: set[str] = set()
        super().__init__(world, hedge, scenario, initial)

    def _settle(self) -> None:
        """Spot first, then on-demand for what of it is not ready."""
        self._give_up_failed_launches()
        wanted = self.desired + self._hedge.overprovision - self._hedge.base
        self._scale(CapacityType.SPOT, wanted)
        ready = sum(replica.serving for replica in self._of(CapacityType.SPOT))
        gap = max(0, wanted - ready) if self._hedge.fallback else 0
        self._scale(CapacityType.ON_DEMAND, min(self._hedge.base + gap, self.desired))

    def _of(self, kind: CapacityType) -> list[Replica]:
        return [replica for replica in self._staying if replica.offer.capacity_type is kind]

    def _scale(self, kind: CapacityType, wanted: int) -> None:
        """Launch what is missing; let go of the least advanced, the least busy, the newest."""
        have = self._of(kind)
        for _ in range(wanted - len(have)):
            self._made += 1
            layout = self._layout
            self._world.create(
                f"replica-{self._made}", self._zone(kind), layout.gpus_per_pod, layout.nodes_per_replica
            )
        victims = sorted(have, key=lambda each: (each.serving, each.in_flight, -each.created_at))
        for replica in victims[: max(0, len(have) - wanted)]:
            self._release(replica, self._hedge.drain_seconds)

    def _zone(self, kind: CapacityType) -> OfferKey:
        """An active zone without a replica of ours, else the active one with the fewest."""
        offers = self._offers[kind]
        if kind is CapacityType.SPOT:
            active = [offer for offer in offers if offer.zone not in self._preempted]
            if len(active) < min(LEAST_ACTIVE_ZONES, len(offers)):
                self._preempted.clear()
                active = offers
            offers = active
        return min(offers, key=lambda offer: sum(replica.offer == offer for replica in self._staying))

    def _give_up_failed_launches(self) -> None:
        for replica in self._of(CapacityType.SPOT):
            if not replica.nodes and self._world.clock.now > replica.created_at:
                self._preempted.add(replica.offer.zone)
                self._leaving.add(replica.name)
                self._world.remove(replica)

    def _changed(self, replica: Replica) -> None:
        if replica.offer.capacity_type is CapacityType.SPOT:
            if replica.gone and replica.name not in self._leaving:
                self._preempted.add(replica.offer.zone)
            elif replica.loaded:
                self._preempted.discard(replica.offer.zone)
        super()._changed(replica)

    def _noticed(self, node: SimulatedNode) -> None:
        if self._hedge.notices:
            super()._noticed(node)
