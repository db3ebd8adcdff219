"""Who is to come and who is to go: capacity says where, the rollout how many at once, the victims who."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from inferfleet import capacity, disruption
from inferfleet.capacity import Allocation
from inferfleet.disruption import Departure, Rollout, Scene
from inferfleet.layouts import Choice, digest_of
from inferfleet.values import (
    CapacityMemory,
    CapacityType,
    CreateWorker,
    DrainCause,
    Interruption,
    Layout,
    Node,
    Observed,
    OfferKey,
    Pool,
    Reason,
    Requirement,
    ScalingDecision,
    Worker,
)
from inferfleet.values.frozen import replace
from inferfleet.values.remembered import remembered
from inferfleet.values.well_known import HOSTNAME, KARPENTER_NODE_POOL


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers, divided: those who must leave, and those who stay, of the newest revision and older."""

    departures: tuple[Departure, ...]
    new: tuple[Worker, ...]
    old: tuple[Worker, ...]

    @property
    def staying(self) -> tuple[Worker, ...]:
        """All who stay."""
        return (*self.new, *self.old) if self.old else self.new

    @property
    def leaving(self) -> tuple[Worker, ...]:
        """All who leave."""
        return tuple(departure.worker for departure in self.departures)

    def without(self, departures: Sequence[Departure]) -> Fleet:
        """The fleet after these leave as well."""
        if not departures:
            return self
        gone = {departure.worker.name for departure in departures}
        return Fleet(
            (*self.departures, *departures),
            without(self.new, gone),
            without(self.old, gone),
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """What supply answers to: how many replicas of which layout, and what there is."""

    observed: Observed
    choice: Choice
    pools: tuple[Pool, ...]
    fleet: Fleet
    decision: ScalingDecision
    scene: Scene


@dataclass(frozen=True, slots=True)
class Supply:
    """The replicas to create, the fleet with those who are asked to leave, and what to say about it."""

    creations: tuple[CreateWorker, ...]
    fleet: Fleet
    memory: CapacityMemory
    rollout: Rollout
    problem: Reason | None = None
    note: str = ""
    pause_seconds: float = 0.0


def divide(workers: tuple[Worker, ...], scene: Scene) -> Fleet:
    """Tell those who must leave from those who stay."""
    departures = disruption.find_departures(workers, scene)
    staying = without(workers, {departure.worker.name for departure in departures})
    return Fleet(departures, *_by_revision(staying, scene.revision))


def without(workers: tuple[Worker, ...], gone: set[str]) -> tuple[Worker, ...]:
    """The workers but those; where none goes the very same, of which much is known already."""
    return tuple(worker for worker in workers if worker.name not in gone) if gone else workers


@remembered
def _by_revision(
    workers: tuple[Worker, ...], revision: str | None
) -> tuple[tuple[Worker, ...], tuple[Worker, ...]]:
    """Those of a revision, and all others."""
    return (
        tuple(worker for worker in workers if worker.revision == revision),
        tuple(worker for worker in workers if worker.revision != revision),
    )


def supply(demand: Demand) -> Supply:
    """Allocate the wanted replicas, then let the rollout say how many may come and who may go."""
    observed, choice, fleet = demand.observed, demand.choice, demand.fleet
    spec, now = observed.spec, demand.scene.now
    failed = [w for w in observed.workers if w.finished and not _was_ended(w, demand.scene.interruptions)]
    failures = disruption.record_failures(observed.memory.capacity.failures, failed, now)
    memory = replace(observed.memory.capacity, failures=failures)
    digest = digest_of(choice.layout) if choice.layout else ""
    staged = any(worker.layout not in {"", digest} for worker in fleet.old)
    rollout = Rollout(spec.rollout, demand.decision.desired, fleet.new, fleet.old, failures, now, staged)
    if spec.deleted_at is not None or choice.layout is None or not observed.spec_known:
        return Supply((), fleet, memory, rollout)
    pool = next((pool for pool in demand.pools if pool.name == choice.layout.pool), None)
    if pool is None:
        message = f"no node of pool {choice.layout.pool} exists, and no GPUPool or NodePool describes it"
        return Supply((), fleet, memory, rollout, problem=Reason("PoolGone", message))
    allocation = capacity.allocate(_need(demand, pool, choice.layout), memory, now)
    wanted = sum(allocation.mix.wanted(kind) for kind in CapacityType)
    rollout = replace(rollout, target=max(demand.decision.desired, wanted))
    pause = disruption.backoff_seconds(failures, now)
    room = min(rollout.room, _replacements(fleet)) if pause else rollout.room
    return Supply(
        creations=_create(demand, allocation, room, pool),
        fleet=fleet.without(_wished(demand, allocation, rollout)),
        memory=allocation.memory,
        rollout=rollout,
        problem=allocation.problem,
        note=allocation.mix.note,
        pause_seconds=pause,
    )


def _was_ended(worker: Worker, interruptions: Mapping[str, Interruption]) -> bool:
    """True if it was told to end, or its node did: that says nothing against the replica."""
    taken = any(pod.disruption or pod.node in interruptions for pod in worker.pods)
    return taken or worker.leaving


def _replacements(fleet: Fleet) -> int:
    """Creations that no backoff may delay: for those whom something else than their own failure takes."""
    return sum(not departure.worker.finished for departure in fleet.departures)


def _need(demand: Demand, pool: Pool, layout: Layout) -> capacity.Need:
    fleet = demand.fleet
    lost = tuple(
        (departure.worker.offer, departure.drain.started_at)
        for departure in fleet.departures
        if departure.forced and departure.worker.offer.capacity_type is CapacityType.SPOT
    )
    return capacity.Need(
        target=demand.decision.desired,
        spec=demand.observed.spec.capacity,
        pool=pool,
        gpus_per_replica=layout.gpus_per_replica,
        staying=fleet.new,
        others=(*fleet.old, *fleet.leaving),
        lost=lost,
    )


def _create(demand: Demand, allocation: Allocation, room: int, pool: Pool) -> tuple[CreateWorker, ...]:
    """The replicas that may be created now, each under the smallest number that is free."""
    layout, revision = demand.choice.layout, demand.choice.revision
    placements = allocation.placements[: max(0, room)]
    if layout is None or revision is None or not placements:
        return ()
    taken = {worker.name for worker in demand.observed.workers}
    elsewhere, strangers = _elsewhere(demand), _strangers(demand)
    creations: list[CreateWorker] = []
    for placement in placements:
        name = _free_name(f"{demand.observed.spec.name}-{revision[:6]}", taken)
        taken.add(name)
        creations.append(
            CreateWorker(
                worker=name,
                revision=revision,
                offer=capacity.key_of(placement.offer),
                layout=layout,
                requirements=(*pool.requirements, *placement.offer.requirements, *elsewhere),
                gpu_resource=pool.gpu_resource,
                reason=placement.reason,
                layout_digest=digest_of(layout),
                taints=pool.taints,
                strangers=strangers,
            )
        )
    return tuple(creations)


def _elsewhere(demand: Demand) -> tuple[Requirement, ...]:
    """Keep replacements off nodes that are going: a notice that only the worker saw put no taint there.

    The scheduler keeps off by itself what is cordoned or not ready. Karpenter's nodes are not named, because
    it buys nothing for a pod that speaks of host names: `_strangers` keeps off those.
    """
    going = [node for node in demand.observed.nodes if node.name in demand.scene.interruptions]
    open_nodes = [node for node in going if node.ready and not node.unschedulable]
    names = sorted(node.labels.get(HOSTNAME, node.name) for node in open_nodes if not _is_karpenters(node))
    return (Requirement(HOSTNAME, "NotIn", tuple(names)),) if names else ()


def _strangers(demand: Demand) -> tuple[str, ...]:
    """The workers on nodes of Karpenter's that are going: a replacement must not join them."""
    going = demand.scene.interruptions.keys()
    nodes = {node.name for node in demand.observed.nodes if node.name in going and _is_karpenters(node)}
    return tuple(w.name for w in demand.observed.workers if any(pod.node in nodes for pod in w.pods))


def _is_karpenters(node: Node) -> bool:
    return KARPENTER_NODE_POOL in node.labels


def _free_name(prefix: str, taken: set[str]) -> str:
    return next(name for n in range(len(taken) + 1) if (name := f"{prefix}-{n}") not in taken)


def _wished(demand: Demand, allocation: Allocation, rollout: Rollout) -> tuple[Departure, ...]:
    """Who goes by our own wish: what found no node, what is old, what is too many."""
    now = demand.scene.now
    departures = [
        disruption.ask_to_leave(worker, DrainCause.REBALANCE, reason, now)
        for worker, reason in allocation.given_up
    ]
    if not demand.observed.spec.paused:
        replaced = Reason("RollingOut", f"revision {demand.choice.revision} replaces it")
        retired = rollout.retire(demand.decision.desired)
        departures += [disruption.ask_to_leave(w, DrainCause.ROLLOUT, replaced, now) for w in retired]
    gone = {departure.worker.name for departure in departures}
    staying = without(demand.fleet.staying, gone)
    wanted = demand.decision.desired
    fewer = Reason("ScalingDown", f"{wanted} replicas are wanted: {demand.decision.reason.message}")
    surplus = _surplus(demand, allocation, staying)
    departures += [disruption.ask_to_leave(w, DrainCause.SCALE_DOWN, fewer, now) for w in surplus]
    return tuple(departures)


def _surplus(demand: Demand, allocation: Allocation, staying: Sequence[Worker]) -> tuple[Worker, ...]:
    """Whom a scale-down or a changed mix takes: what does not serve at once, the rest while enough serve."""
    if not allocation.surplus:
        return ()
    victims = disruption.choose_victims(
        [worker for worker in staying if worker.revision == demand.choice.revision],
        disruption.Victims(
            surplus=dict(allocation.surplus),
            samples=demand.scene.samples,
            price=partial(capacity.price_of, pools=demand.pools),
            risk=partial(_losses, allocation.memory),
            revision=demand.choice.revision,
        ),
    )
    spare = max(0, sum(worker.ready for worker in staying) - demand.decision.desired)
    idle = [worker for worker in victims if not worker.ready]
    return (*idle, *[worker for worker in victims if worker.ready][:spare])


def _losses(memory: CapacityMemory, offer: OfferKey) -> float:
    return float(sum(key == offer for key, _ in memory.losses))
