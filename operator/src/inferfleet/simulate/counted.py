"""Carry out the counts that a policy asks for, as a ReplicaSet and an autoscaled node pool would.

Generous on purpose: the endpoints follow at once, offers come from the same share of spot as the deployment
asks for, and an interrupted replica is replaced when its notice comes.
"""

from __future__ import annotations

from inferfleet.simulate.nodes import SimulatedNode
from inferfleet.simulate.policy import Policy, Seen
from inferfleet.simulate.scenario import Scenario
from inferfleet.simulate.world import Replica, World
from inferfleet.values import CapacityType, OfferKey


class Executor:
    """Asks a policy how many, and makes it so."""

    def __init__(
        self,
        world: World,
        policy: Policy,
        scenario: Scenario,
        initial: int,
    ) -> None:
        """Begin with `initial` replicas, which come up warm."""
        self._world, self._policy, self._layout = world, policy, scenario.layout
        self._capacity = scenario.spec.capacity
        self._offers = {
            kind: [offer for offer in scenario.offers if offer.capacity_type is kind] for kind in CapacityType
        }
        scaling = scenario.spec.autoscaling
        self._bounds = scaling.min_replicas, scaling.max_replicas
        self._leaving: set[str] = set()
        self._made = 0
        self.name = policy.name
        self.desired = initial
        self.changes = 0
        self.passes = 0
        world.on_change = self._changed
        world.on_notice = self._noticed
        world.warm = True
        self._settle()
        world.warm = False
        self._look()

    def _look(self) -> None:
        world = self._world
        staying = self._staying
        ready = [replica for replica in staying if replica.serving]
        now = world.clock.now
        seen = Seen(
            desired=self.desired,
            ready=len(ready),
            pending=len(staying) - len(ready),
            unschedulable=sum(not replica.nodes for replica in staying),
            samples=tuple(r.engine.sample(now, now, "serving") for r in ready if r.engine),
            gateway=world.ledger.gateway(len(world.held), now),
        )
        least, most = self._bounds
        wanted = max(least, min(most, self._policy.replicas(seen, now)))
        self.passes += 1
        self.changes += wanted != self.desired
        self.desired = wanted
        self._settle()
        world.look(ready=len(ready), pending=len(staying) - len(ready), desired=wanted)
        world.clock.call(self._policy.period_seconds, self._look)

    @property
    def _staying(self) -> list[Replica]:
        return [replica for name, replica in self._world.replicas.items() if name not in self._leaving]

    def _settle(self) -> None:
        """Create what is missing; let go of what is too many: not Ready first, then the youngest."""
        staying = self._staying
        for _ in range(self.desired - len(staying)):
            self._made += 1
            self._world.create(
                f"replica-{self._made}",
                self._offer(),
                self._layout.gpus_per_pod,
                self._layout.nodes_per_replica,
            )
        victims = sorted(staying, key=lambda replica: (replica.serving, -replica.created_at))
        for replica in victims[: max(0, len(staying) - self.desired)]:
            self._release(replica, self._policy.drain_seconds)

    def _offer(self) -> OfferKey:
        """The kind that is short of its share, in the zone that has the fewest."""
        staying = self._staying
        target = len(staying) + 1
        base = min(target, self._capacity.on_demand_base.of(target))
        wanted = self._capacity.spot_share.of(target - base)
        spot = sum(replica.offer.capacity_type is CapacityType.SPOT for replica in staying)
        order: tuple[CapacityType, ...] = (CapacityType.RESERVED, CapacityType.ON_DEMAND, CapacityType.SPOT)
        if spot < wanted:
            order = (CapacityType.SPOT, *order)
        offers = next(self._offers[kind] for kind in order if self._offers[kind])
        return min(offers, key=lambda offer: sum(replica.offer == offer for replica in staying))

    def _release(self, replica: Replica, seconds: float) -> None:
        """Take a replica out; what it runs may go on for so long."""
        self._leaving.add(replica.name)
        self._world.serve(replica, serving=False)
        self._world.remove_when_idle(replica, self._world.clock.now + seconds)

    def _changed(self, replica: Replica) -> None:
        if replica.gone:
            left = replica.name in self._leaving
            self._leaving.discard(replica.name)
            if not left:
                self._settle()
        elif replica.loaded and replica.name not in self._leaving:
            self._world.serve(replica, serving=True)

    def _noticed(self, node: SimulatedNode) -> None:
        for replica in self._world.on_node(node):
            if replica.name not in self._leaving:
                self._release(replica, self._policy.drain_seconds)
        self._settle()
