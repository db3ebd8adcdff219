"""Merge all signals into one interruption per node: duplicates are one, deadlines only tighten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from inferfleet.disruption import signals
from inferfleet.values import (
    EngineSample,
    Interruption,
    InterruptionKind,
    Node,
    NodeClaim,
    NodeEvent,
    Worker,
)
from inferfleet.values.remembered import remembered

URGENCY = (
    InterruptionKind.REBALANCE,
    InterruptionKind.VOLUNTARY,
    InterruptionKind.MAINTENANCE,
    InterruptionKind.INTERRUPTION,
    InterruptionKind.LOST,
)
"""Kinds from the calmest to the most urgent; of two on one node the more urgent rules."""

FORGET_SECONDS = 600.0
"""A message that cannot be read again is believed this long past its deadline, or past its arrival."""

MESSAGES = ("event", "worker")
"""Beginnings of sources that are told once; all others are read anew on every pass."""


@dataclass(frozen=True, slots=True)
class Sights:
    """Where signals are looked for. `known` are the interruptions of the last pass, which say since when."""

    nodes: tuple[Node, ...]
    workers: tuple[Worker, ...] = ()
    samples: Mapping[str, EngineSample] = field(default_factory=dict)
    known: Sequence[Interruption] = ()
    claims: Sequence[NodeClaim] = ()
    events: Sequence[NodeEvent] = ()


def classify(sights: Sights, now: float) -> tuple[Interruption, ...]:
    """One interruption for each node that is going, and that carries a worker of ours or any signal.

    A signal that is gone from its node is dropped with it (drains under way go on: their own annotation
    holds them).
    """
    present = frozenset(node.name for node in sights.nodes)
    seen = [
        *(item for sight in _by_node(sights) for item in signals.read(sight, now)),
        *_drifted(sights, now),
        *_missing(sights.workers, present, now),
        *_silent(sights, now),
        *_notices(sights.workers, sights.samples, now),
        *(item for item in sights.known if is_message(item) and _is_believed(item, present, now)),
    ]
    since = {item.node: item for item in sights.known}
    found: dict[str, list[Interruption]] = {}
    for item in seen:
        found.setdefault(item.node, []).append(item)
    return tuple(_merge(items, since.get(name)) for name, items in sorted(found.items()))


def is_message(item: Interruption) -> bool:
    """True if the source tells it once, so that it must be remembered."""
    return item.source.startswith(MESSAGES)


def _by_node(sights: Sights) -> Iterable[signals.Sight]:
    """Each node that is not calm with its NodeClaim, or that has Events about either.

    A name that is used again is another node.
    """
    claims = {claim.node: claim for claim in sights.claims if claim.node}
    owners = {claim.name: claim.node for claim in sights.claims}
    events: dict[str, list[NodeEvent]] = {}
    for event in sights.events:
        events.setdefault(owners.get(event.about, "") if event.claim else event.about, []).append(event)
    for node in sights.nodes if claims or events else _uneasy(sights.nodes):
        claim, told = claims.get(node.name), events.get(node.name)
        if told or not signals.is_calm(node, claim):
            about = [event for event in told or () if event.claim or event.uid in {"", node.name, node.uid}]
            yield signals.Sight(node, claim, tuple(about))


@remembered
def _uneasy(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    return tuple(node for node in nodes if not signals.is_calm(node, None))


@remembered
def _used(workers: tuple[Worker, ...]) -> frozenset[str]:
    """The nodes under workers."""
    return frozenset(pod.node for worker in workers for pod in worker.pods if pod.node is not None)


def _drifted(sights: Sights, now: float) -> Iterable[Interruption]:
    """The first node with workers of ours that Karpenter would replace, and cannot while they are busy.

    One at a time: a changed node template makes all nodes drift at once.
    """
    drifted = [claim for claim in sights.claims if claim.drifted]
    used = _used(sights.workers)
    waiting = sorted((claim.node, claim.name) for claim in drifted if claim.node in used)
    for node, claim in waiting[:1]:
        yield Interruption(
            InterruptionKind.VOLUNTARY, node, now, None, f"Karpenter, NodeClaim {claim}: Drifted"
        )


def _is_believed(item: Interruption, present: frozenset[str], now: float) -> bool:
    return item.node in present and now < max(item.seen_at, item.deadline or 0.0) + FORGET_SECONDS


def _missing(workers: tuple[Worker, ...], present: frozenset[str], now: float) -> Iterable[Interruption]:
    """Pods on a node that no longer exists. An empty view of nodes proves nothing."""
    if not present:
        return
    for name in sorted(_used(workers) - present):
        yield Interruption(InterruptionKind.LOST, name, now, now, "node gone")


def _silent(sights: Sights, now: float) -> Iterable[Interruption]:
    """A node that is not ready, with workers in service of which none is heard: two witnesses need no grace.

    Where nobody is heard at all it may be we who are cut off.
    """
    dark = [n for n in sights.nodes if n.not_ready_since is not None and not n.shutting_down]
    if not dark:
        return
    heard = {pod.node for worker in sights.workers if worker.name in sights.samples for pod in worker.pods}
    silent = {
        pod.node for worker in sights.workers if worker.leader.serving is not None for pod in worker.pods
    } - heard
    for node in dark if heard else ():
        if node.name in silent:
            yield Interruption(
                InterruptionKind.LOST, node.name, now, now, "NotReady, and its workers are silent"
            )


def _notices(
    workers: Sequence[Worker], samples: Mapping[str, EngineSample], now: float
) -> Iterable[Interruption]:
    """What workers read from the cloud's metadata about the machine under them."""
    told = {name: sample.notices for name, sample in samples.items() if sample.notices}
    for worker in workers if told else ():
        if (node := worker.leader.node) is not None:
            for kind, deadline, source in told.get(worker.name, ()):
                yield Interruption(_kind(kind), node, now, deadline, f"worker {worker.name}: {source}")


def _kind(text: str) -> InterruptionKind:
    """The kind a worker names; one that this version does not know is taken for maintenance."""
    try:
        return InterruptionKind(text)
    except ValueError:
        return InterruptionKind.MAINTENANCE


def _merge(items: Sequence[Interruption], before: Interruption | None) -> Interruption:
    """The most urgent of a node's signals, with the earliest deadline that it, or the last pass, knew.

    A deadline counts from when the same kind was first seen, so that it does not move with every pass; one
    that a calmer signal gives (an autoscaler's ten minutes) bounds a more urgent one as well.
    """
    top = max(items, key=_urgency)
    known = before if before is not None and before.kind is top.kind else None
    deadlines = [item.deadline for item in (*items, *([known] if known else [])) if item.deadline is not None]
    return replace(
        top,
        seen_at=known.seen_at if known else top.seen_at,
        deadline=min(deadlines, default=None),
    )


def _urgency(item: Interruption) -> tuple[int, float, bool]:
    """Kind, then time left, then what cannot be read again: it must be what the next pass is told."""
    left = float("inf") if item.deadline is None else item.deadline
    return URGENCY.index(item.kind), -left, is_message(item)
