"""Replicas from asked for to gone, the endpoints that carry requests to them, and what they cost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from inferfleet.simulate.engine import Engine, Job, Limits
from inferfleet.simulate.ledger import Ledger
from inferfleet.simulate.nodes import ColdStart, Nodes, SimulatedNode
from inferfleet.simulate.policy import Request
from inferfleet.simulate.step_times import StepTimes
from inferfleet.values import OfferKey

IDLE_EXIT_SECONDS = 1.0
"""How often a replica that is to go is looked at: what an idle engine needs to exit."""

RETRY_SECONDS = 10.0
"""How often what found no node is tried again."""


class Routing(StrEnum):
    """How requests are spread: a plain Service picks at random, an inference gateway the least loaded."""

    RANDOM = "random"
    ROUND_ROBIN = "round-robin"
    LEAST_REQUESTS = "least-requests"


@dataclass(frozen=True, slots=True)
class ReplicaKind:
    """What all replicas have in common; `price_of` is dollars per GPU and hour of an offer."""

    times: StepTimes
    limits: Limits
    cold_start: ColdStart
    price_of: Callable[[OfferKey], float]


class Replica:
    """One replica. `engine` is set once it answers; `serving` while the endpoints carry it."""

    __slots__ = (
        *("count", "created_at", "engine", "gone", "gpus", "loaded", "name", "nodes", "offer", "price"),
        *("ready_at", "serving"),
    )

    def __init__(self, name: str, offer: OfferKey, gpus: int, count: int, now: float) -> None:
        """A replica that has no node yet: `gpus` on each of `count` nodes."""
        self.name, self.offer, self.gpus, self.count, self.created_at = name, offer, gpus, count, now
        self.nodes: list[SimulatedNode] = []
        self.engine: Engine | None = None
        self.loaded = self.serving = self.gone = False
        self.ready_at: float | None = None
        self.price = 0.0

    @property
    def started(self) -> bool:
        """True once all its nodes are there."""
        return bool(self.nodes) and all(node.ready for node in self.nodes)

    @property
    def in_flight(self) -> int:
        """Requests inside."""
        return self.engine.in_flight if self.engine else 0


class World:
    """The cluster of one run; `on_change` is told who changed, `on_notice` which node is going.

    While `warm`, what is created is up at once: a run begins with a fleet, not with an empty cluster.
    `by_token` has engines count the latencies of single tokens, for whoever reads them.
    """

    def __init__(
        self, nodes: Nodes, ledger: Ledger, kind: ReplicaKind, routing: Routing, rng: Random
    ) -> None:
        """No replica runs yet."""
        self.clock, self.nodes, self.ledger = nodes.clock, nodes, ledger
        self._kind, self._rng = kind, rng
        self.replicas: dict[str, Replica] = {}
        self.endpoints: list[Engine] = []
        self.held: deque[Job] = deque()
        self.on_change: Callable[[Replica], None] = lambda _replica: None
        self.on_notice: Callable[[SimulatedNode], None] = lambda _node: None
        self.created = self.removed = 0
        self.dollars = self.gpu_seconds = 0.0
        self.rate = 0.0
        self._gpus = 0
        self._billed_at = 0.0
        self.warm, self.by_token = False, True
        self._retrying = False
        self._turn = 0
        self._pick = {
            Routing.RANDOM: self._pick_any,
            Routing.ROUND_ROBIN: self._pick_next,
            Routing.LEAST_REQUESTS: self._pick_least,
        }[routing]
        nodes.on_ready = self._node_ready
        nodes.on_notice = self._node_going
        nodes.on_gone = self._node_gone

    # -- requests -------------------------------------------------------------------------------------------

    def send(self, request: Request, now: float) -> None:
        """Bring a request to an endpoint; without any it is held until there is one."""
        self.ledger.arrive(request.prompt_tokens, now)
        job = Job(now, request.prompt_tokens, request.output_tokens)
        if self.endpoints:
            self._pick().accept(job, now)
        else:
            self.held.append(job)

    def _pick_any(self) -> Engine:
        return self.endpoints[int(self._rng.random() * len(self.endpoints))]

    def _pick_next(self) -> Engine:
        self._turn += 1
        return self.endpoints[self._turn % len(self.endpoints)]

    def _pick_least(self) -> Engine:
        return min(self.endpoints, key=lambda engine: engine.in_flight)

    # -- replicas -------------------------------------------------------------------------------------------

    def create(self, name: str, offer: OfferKey, gpus: int, count: int = 1) -> Replica:
        """Ask for a replica with `gpus` on each of `count` nodes."""
        replica = Replica(name, offer, gpus, count, self.clock.now)
        self.replicas[name] = replica
        self.created += 1
        self._schedule(replica)
        return replica

    def serve(self, replica: Replica, *, serving: bool) -> None:
        """Put a replica that answers into the endpoints, or take it out."""
        engine = replica.engine
        if engine is None or replica.gone or serving is replica.serving:
            return
        replica.serving = serving
        if not serving:
            self.endpoints.remove(engine)
            return
        self.endpoints.append(engine)
        replica.ready_at = self.clock.now
        while self.held:
            self._pick().accept(self.held.popleft(), self.clock.now)

    def remove(self, replica: Replica) -> None:
        """End a replica now; what it has in flight is lost."""
        if replica.gone:
            return
        self.serve(replica, serving=False)
        replica.gone = True
        del self.replicas[replica.name]
        self.removed += 1
        if replica.engine:
            lost = replica.engine.abort()
            if lost:
                self.ledger.lose(lost, self.clock.now)
        self._bill(-1, replica)
        for node in replica.nodes:
            self.nodes.release(node, replica.gpus)
        self.on_change(replica)

    def remove_when_idle(self, replica: Replica, ends: float) -> None:
        """End a replica once it has nothing in flight, or at `ends` whatever it has."""
        now = self.clock.now
        if replica.gone:
            return
        if not replica.in_flight or now >= ends:
            self.remove(replica)
            return
        self.clock.call(min(IDLE_EXIT_SECONDS, ends - now), lambda: self.remove_when_idle(replica, ends))

    def look(self, *, ready: int, pending: int, desired: int) -> None:
        """Note the fleet as it is, for the plots."""
        queue = len(self.held) + sum([len(engine.queue) for engine in self.endpoints])
        self.ledger.look(
            self.clock.now, ready=ready, pending=pending, desired=desired, queue=queue, rate=self.rate
        )

    def accrue(self) -> None:
        """Add up what is paid until now."""
        seconds = self.clock.now - self._billed_at
        self.dollars += self.rate * seconds / 3600
        self.gpu_seconds += self._gpus * seconds
        self._billed_at = self.clock.now

    def _bill(self, sign: int, replica: Replica) -> None:
        """A replica is paid from when its node is asked for, or promised, until it is gone."""
        if replica.nodes:
            self.accrue()
            gpus = replica.gpus * replica.count
            self._gpus += sign * gpus
            self.rate += sign * gpus * replica.price

    def _schedule(self, replica: Replica) -> None:
        found = self.nodes.place(replica.offer, replica.gpus, replica.count)
        if found is None:
            if not self._retrying:
                self._retrying = True
                self.clock.call(RETRY_SECONDS, self._retry)
            return
        replica.nodes = found
        replica.price = self._kind.price_of(replica.offer)
        self._bill(1, replica)
        if replica.started:
            self._start(replica)
        elif self.warm:
            for node in found:
                self.nodes.join(node)

    def _retry(self) -> None:
        self._retrying = False
        for replica in [replica for replica in self.replicas.values() if not replica.nodes]:
            self._schedule(replica)

    def _start(self, replica: Replica) -> None:
        """Schedule, pull where the image is not there yet, and load; none of it takes time while `warm`."""
        if self.warm:
            self._loaded(replica)
            return
        cold, rng = self._kind.cold_start, self._rng
        seconds = cold.draw(cold.schedule_seconds, rng) + cold.draw(cold.load_seconds, rng)
        if not all(node.pulled for node in replica.nodes):
            seconds += cold.draw(cold.pull_seconds, rng)
        self.on_change(replica)
        self.clock.call(seconds, lambda: self._loaded(replica))

    def _loaded(self, replica: Replica) -> None:
        if replica.gone:
            return
        for node in replica.nodes:
            node.pulled = True
        replica.loaded = True
        kind = self._kind
        replica.engine = Engine(
            replica.name, kind.times, kind.limits, self.ledger, self.clock.post, by_token=self.by_token
        )
        self.on_change(replica)

    def on_node(self, node: SimulatedNode) -> list[Replica]:
        """The replicas with a part on a node."""
        return [replica for replica in self.replicas.values() if node in replica.nodes]

    def _node_ready(self, node: SimulatedNode) -> None:
        for replica in self.on_node(node):
            if replica.started:
                self._start(replica)

    def _node_going(self, node: SimulatedNode) -> None:
        self.on_notice(node)

    def _node_gone(self, node: SimulatedNode) -> None:
        for replica in self.on_node(node):
            self.remove(replica)
