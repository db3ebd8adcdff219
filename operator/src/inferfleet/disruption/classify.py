"""Merge all signals into one interruption per node: duplicates are one, deadlines only tighten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from inferfleet.disruption import signals
from inferfleet.values import EngineSample, Interruption, InterruptionKind, Node, Worker

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

MESSAGES = ("event", "nodeclaim", "worker")
"""Beginnings of sources that are told once; all others are read anew from the node on every pass."""


def classify(
    nodes: Sequence[Node],
    workers: Sequence[Worker],
    samples: Mapping[str, EngineSample],
    known: Sequence[Interruption],
    now: float,
) -> tuple[Interruption, ...]:
    """One interruption for each node that is going, and that carries a worker of ours or any signal.

    `known` are those of the last pass, which say since when; a signal that is gone from its node is dropped
    with it (drains under way go on: their own annotation holds them).
    """
    present = {node.name: node for node in nodes}
    told = [item for item in known if is_message(item) and _is_believed(item, present, now)]
    read = [item for node in nodes for item in signals.read(node, now)]
    calmed = {item.node for item in told if _is_explained(item)}
    read = [_calm(item) if item.node in calmed else item for item in read]
    missing = _missing(workers, present, now)
    seen = [*read, *missing, *_notices(workers, samples, now), *told]
    since = {item.node: item for item in known}
    by_node: dict[str, list[Interruption]] = {}
    for item in seen:
        by_node.setdefault(item.node, []).append(item)
    return tuple(_merge(items, since.get(name)) for name, items in sorted(by_node.items()))


def is_message(item: Interruption) -> bool:
    """True if the source tells it once, so that it must be remembered."""
    return item.source.startswith(MESSAGES)


def _is_believed(item: Interruption, present: Mapping[str, Node], now: float) -> bool:
    return item.node in present and now < max(item.seen_at, item.deadline or 0.0) + FORGET_SECONDS


def _is_explained(item: Interruption) -> bool:
    """True if a NodeClaim says that the disruption is Karpenter's own wish (consolidation, drift)."""
    return item.source.startswith("nodeclaim") and item.kind is InterruptionKind.VOLUNTARY


def _calm(item: Interruption) -> Interruption:
    if item.kind is InterruptionKind.INTERRUPTION and "arpenter" in item.source:
        return replace(item, kind=InterruptionKind.VOLUNTARY, deadline=None)
    return item


def _missing(workers: Sequence[Worker], present: Mapping[str, Node], now: float) -> Iterable[Interruption]:
    """Pods on a node that no longer exists. An empty view of nodes proves nothing."""
    if not present:
        return
    used = {pod.node for worker in workers for pod in worker.pods if pod.node is not None}
    for name in sorted(used - present.keys()):
        yield Interruption(InterruptionKind.LOST, name, now, now, "node gone")


def _notices(
    workers: Sequence[Worker], samples: Mapping[str, EngineSample], now: float
) -> Iterable[Interruption]:
    """What workers read from the cloud's metadata about the machine under them."""
    for worker in workers:
        sample, node = samples.get(worker.name), worker.leader.node
        if sample is None or node is None:
            continue
        for kind, deadline, source in sample.notices:
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
