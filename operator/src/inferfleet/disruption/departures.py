"""Which workers must leave, why, and by when. What is only wished for is decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from inferfleet.disruption.signals import AZURE_NOTICE_SECONDS
from inferfleet.values import (
    DeploymentSpec,
    Drain,
    DrainCause,
    EngineSample,
    Interruption,
    InterruptionKind,
    Layout,
    Reason,
    Worker,
)
from inferfleet.values.remembered import remembered

Workers = tuple[Worker, ...]

CAUSES = tuple(DrainCause)
"""Causes from the weakest to the strongest, as they are declared."""

BY_KUBELET = "TerminationByKubelet"
"""The reason of DisruptionTarget when the kubelet itself ends a pod."""

PARTIAL_GROUP_SECONDS = 60.0
"""How long the pods of one replica may take to appear all; what is still missing then was lost in a crash."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the drain machine may look at. `samples` are fresh ones by worker."""

    spec: DeploymentSpec
    layout: Layout | None
    revision: str | None
    samples: Mapping[str, EngineSample]
    now: float
    interruptions: Mapping[str, Interruption] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Departure:
    """A worker that leaves. `over` is set when it cannot serve any more: there is nothing to wait for."""

    worker: Worker
    drain: Drain
    reason: Reason
    over: Reason | None = None

    @property
    def ending(self) -> bool:
        """True if it cannot serve, or the endpoints have dropped it since its leader is being deleted."""
        return self.over is not None or self.worker.leader.deleted_at is not None

    @property
    def torn(self) -> bool:
        """True if another pod of it is being deleted: all of it drains by itself, and the endpoints lag."""
        return not self.ending and any(pod.deleted_at is not None for pod in self.worker.pods)

    @property
    def forced(self) -> bool:
        """True if the machine or its owner decides, not we: the time is not ours to choose."""
        return self.drain.cause is DrainCause.INTERRUPTION


@remembered
def _told_of(workers: tuple[Worker, ...]) -> tuple[Worker, ...]:
    """Those of whose pods anything is told that makes them leave."""
    return tuple(w for w in workers if w.drain or w.disruption or w.deleted_at is not None or w.finished)


def _under_way(workers: Workers, _scene: Scene) -> Iterable[Departure]:
    """A drain that was begun goes on, whatever became of its cause."""
    for worker in _told_of(workers):
        if drain := worker.drain:
            yield Departure(worker, drain, Reason("Draining", f"drain for {drain.cause} under way"))


def _deployment_deleted(workers: Workers, scene: Scene) -> Iterable[Departure]:
    """The deployment goes, and every worker with it."""
    at = scene.spec.deleted_at
    if at is not None:
        drain = Drain(DrainCause.DELETION, at, at + scene.spec.drain.timeout_seconds)
        reason = Reason("Deleted", "the deployment is being deleted")
        yield from (Departure(worker, drain, reason) for worker in workers)


def _interrupted(workers: Workers, scene: Scene) -> Iterable[Departure]:
    """A node under the worker is going."""
    for worker in workers if scene.interruptions else ():
        for pod in worker.pods:
            if item := scene.interruptions.get(pod.node or ""):
                yield _from_interruption(worker, item, scene)


def _pod_disrupted(workers: Workers, scene: Scene) -> Iterable[Departure]:
    """A pod is about to be ended (condition DisruptionTarget).

    By the kubelet when its machine shuts down or runs short; by everybody else with a deletion that follows
    and says by when.
    """
    deadline = scene.now + AZURE_NOTICE_SECONDS - scene.spec.drain.margin_seconds
    by_kubelet = Drain(DrainCause.INTERRUPTION, scene.now, deadline)
    by_others = Drain(DrainCause.NODE_DRAIN, scene.now, None)
    for worker in _told_of(workers):
        if said := worker.disruption:
            yield Departure(worker, by_kubelet if said.code == BY_KUBELET else by_others, said)


def _pod_deleted(workers: Workers, scene: Scene) -> Iterable[Departure]:
    """Someone deleted a pod; its deletion timestamp is when the kubelet ends it, drained or not."""
    for worker in _told_of(workers):
        if worker.deleted_at is not None:
            drain = Drain(DrainCause.NODE_DRAIN, scene.now, max(worker.deleted_at, scene.now))
            yield Departure(worker, drain, Reason("PodDeleted", f"a pod of {worker.name} is being deleted"))


def _gate_closed(workers: Workers, scene: Scene) -> Iterable[Departure]:
    """The worker drains of its own accord (its preStop ran): it has no way back."""
    for worker in workers:
        sample = scene.samples.get(worker.name)
        if sample is not None and sample.gate_phase != "serving" and worker.drain is None:
            reason = Reason("GateClosed", f"{worker.name} itself reports {sample.gate_phase}")
            yield Departure(worker, Drain(DrainCause.NODE_DRAIN, scene.now, None), reason)


def _finished(workers: Workers, scene: Scene) -> Iterable[Departure]:
    """A pod has ended for good."""
    for worker in _told_of(workers):
        if worker.finished:
            said = worker.failure.message if worker.failure else "the pod has ended"
            yield _over(worker, scene, Reason("Finished", f"{worker.name} cannot serve any more: {said}"))


def _broken_group(workers: Workers, scene: Scene) -> Iterable[Departure]:
    """A replica that spans nodes lives or dies as one: its pods share one collective."""
    expected = scene.layout.nodes_per_replica if scene.layout else 1
    for worker in workers if expected > 1 else ():
        if worker.revision != scene.revision:
            continue
        have = len(worker.pods)
        if len({pod.restarts for pod in worker.pods}) > 1:
            yield _over(worker, scene, Reason("GroupBroken", f"one pod of {worker.name} restarted alone"))
        elif have < expected and scene.now - worker.created_at > PARTIAL_GROUP_SECONDS:
            message = f"{have} of {expected} pods of {worker.name} exist"
            yield _over(worker, scene, Reason("GroupBroken", message))


POLICIES: tuple[Callable[[Workers, Scene], Iterable[Departure]], ...] = (
    _under_way,
    _deployment_deleted,
    _interrupted,
    _pod_disrupted,
    _pod_deleted,
    _gate_closed,
    _finished,
    _broken_group,
)


def find_departures(workers: Workers, scene: Scene) -> tuple[Departure, ...]:
    """Everyone who must leave: the strongest cause rules, the earliest deadline binds."""
    found: dict[str, list[Departure]] = {}
    for policy in POLICIES:
        for departure in policy(workers, scene):
            found.setdefault(departure.worker.name, []).append(departure)
    return (
        tuple(_strongest(found[worker.name]) for worker in workers if worker.name in found) if found else ()
    )


def ask_to_leave(worker: Worker, cause: DrainCause, reason: Reason, now: float) -> Departure:
    """A departure by our own wish; its deadline is set when it leaves the service."""
    return Departure(worker, Drain(cause, now, None), reason)


def _over(worker: Worker, scene: Scene, reason: Reason) -> Departure:
    return Departure(worker, Drain(DrainCause.NODE_DRAIN, scene.now, scene.now), reason, over=reason)


def _from_interruption(worker: Worker, item: Interruption, scene: Scene) -> Departure:
    """Translate a node's fate into a drain: the notice less a margin, at most a quarter of it."""
    reason = Reason("NodeGoing", f"{item.kind} of {item.node} ({item.source})")
    deadline = item.deadline
    if deadline is None and item.kind is InterruptionKind.INTERRUPTION:
        deadline = item.seen_at + AZURE_NOTICE_SECONDS
    if deadline is not None:
        notice = max(0.0, deadline - item.seen_at)
        deadline -= min(scene.spec.drain.margin_seconds, notice / 4.0)
        reason = Reason(reason.code, f"{reason.message}, {max(0.0, deadline - scene.now):.0f} s left")
    drain = Drain(_cause(item), item.seen_at, deadline)
    over = reason if item.kind is InterruptionKind.LOST else None
    return Departure(worker, drain, reason, over)


def _cause(item: Interruption) -> DrainCause:
    match item.kind:
        case InterruptionKind.INTERRUPTION | InterruptionKind.LOST:
            return DrainCause.INTERRUPTION
        case InterruptionKind.REBALANCE:
            return DrainCause.REBALANCE
        case InterruptionKind.MAINTENANCE:
            return DrainCause.NODE_DRAIN
        case InterruptionKind.VOLUNTARY:
            return DrainCause.CONSOLIDATION if "arpenter" in item.source else DrainCause.NODE_DRAIN


def _strongest(departures: Sequence[Departure]) -> Departure:
    # the first of equals: a drain under way stands first and keeps its start
    top = max(departures, key=lambda departure: CAUSES.index(departure.drain.cause))
    begun = departures[0].worker.drain
    deadlines = [d.drain.deadline for d in departures if d.drain.deadline is not None]
    drain = Drain(
        top.drain.cause,
        begun.started_at if begun else top.drain.started_at,
        min(deadlines, default=None),
    )
    over = next((d.over for d in departures if d.over), None)
    return Departure(top.worker, drain, over or top.reason, over)
