"""What on a node says that it is going: one table of exact strings for each place where it may stand.

Strings from Karpenter's and the AWS Node Termination Handler's source and the clouds' documentation. A soft
mark such as `DeletionCandidateOfClusterAutoscaler` or a NodeClaim's `Consolidatable` is left out: it is
withdrawn as often as it is acted upon. GKE's MaintenanceEvent, PreemptionEvent and TerminationEvent stand on
no object: they are the kinds of its count of interruptions in Cloud Monitoring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from inferfleet.values import CapacityType, Interruption, InterruptionKind, Node, NodeClaim, NodeEvent
from inferfleet.values.well_known import (
    AWS,
    AZURE,
    GCP,
    KARPENTER_GRACE_ENDS,
    KARPENTER_NODE_POOL,
    read_capacity_type,
    spot_notice_seconds,
)

INTERRUPTION, MAINTENANCE, REBALANCE, VOLUNTARY, LOST = (
    InterruptionKind.INTERRUPTION,
    InterruptionKind.MAINTENANCE,
    InterruptionKind.REBALANCE,
    InterruptionKind.VOLUNTARY,
    InterruptionKind.LOST,
)

NOT_READY_GRACE_SECONDS = 15.0
"""A node becomes NotReady only after most of a minute without a heartbeat; then it gets this long."""

AWS_NOTICE_SECONDS, AZURE_NOTICE_SECONDS = AWS.spot_notice_seconds, AZURE.spot_notice_seconds

GKE_MAINTENANCE_SECONDS = 3600.0
CLUSTER_AUTOSCALER_SECONDS = 600.0

EVENT_BELIEVED_SECONDS = 600.0
"""An Event says nothing any more so long after the end that it announced: the API server keeps it an hour."""

KARPENTER_TAINTS = frozenset({"karpenter.sh/disrupted", "karpenter.sh/disruption"})
NTH_EVENT_LABEL = "aws-node-termination-handler/event-id"
NTH_ACTION_LABEL = "aws-node-termination-handler/action"


@dataclass(frozen=True, slots=True)
class Signal:
    """What a string means: its kind, and the notice it gives. None means that no time is set.

    The notice counts from `since`, or where that is None from when the signal is first seen.
    """

    kind: InterruptionKind
    notice_seconds: float | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """All that is known of one node: itself, Karpenter's claim on its machine, and Events about either."""

    node: Node
    claim: NodeClaim | None = None
    events: tuple[NodeEvent, ...] = ()


TAINTS: dict[str, Signal] = {
    "aws-node-termination-handler/spot-itn": Signal(INTERRUPTION, AWS_NOTICE_SECONDS),
    "aws-node-termination-handler/asg-lifecycle-termination": Signal(INTERRUPTION, AWS_NOTICE_SECONDS),
    "aws-node-termination-handler/rebalance-recommendation": Signal(REBALANCE),
    "aws-node-termination-handler/scheduled-maintenance": Signal(MAINTENANCE),
    "remediator.kubernetes.azure.com/unschedulable": Signal(INTERRUPTION, AZURE_NOTICE_SECONDS),
    "ToBeDeletedByClusterAutoscaler": Signal(VOLUNTARY, CLUSTER_AUTOSCALER_SECONDS),
    "node.kubernetes.io/out-of-service": Signal(LOST, 0.0),
    "node.cloudprovider.kubernetes.io/shutdown": Signal(LOST, 0.0),
}
"""Taint keys that mean the same on every node."""

NTH_EVENTS: dict[str, Signal] = {
    "spot-itn-": Signal(INTERRUPTION, AWS_NOTICE_SECONDS),
    "asg-lifecycle-term-": Signal(INTERRUPTION, AWS_NOTICE_SECONDS),
    "target-lifecycle-state-terminated-": Signal(INTERRUPTION, AWS_NOTICE_SECONDS),
    "rebalance-recommendation-": Signal(REBALANCE),
    "instance-event-": Signal(MAINTENANCE),
}
"""Prefixes of the event id that the Node Termination Handler labels a node with when it adds no taint."""

EVENTS: dict[str, Signal] = {
    # Karpenter, on the Node and on its NodeClaim
    "SpotInterrupted": Signal(INTERRUPTION, AWS_NOTICE_SECONDS),
    "CapacityReservationInstanceInterrupted": Signal(INTERRUPTION, AWS_NOTICE_SECONDS),
    "TerminatingOnInterruption": Signal(INTERRUPTION, AWS_NOTICE_SECONDS),
    "InstanceStopping": Signal(INTERRUPTION, AZURE_NOTICE_SECONDS),
    "InstanceTerminating": Signal(INTERRUPTION, AZURE_NOTICE_SECONDS),
    "InstanceUnhealthy": Signal(INTERRUPTION, AZURE_NOTICE_SECONDS),
    "SpotRebalanceRecommendation": Signal(REBALANCE),
    # the Node Termination Handler, on the Node
    "SpotInterruption": Signal(INTERRUPTION, AWS_NOTICE_SECONDS),
    "ASGLifecycle": Signal(INTERRUPTION, AWS_NOTICE_SECONDS),
    "StateChange": Signal(INTERRUPTION, AZURE_NOTICE_SECONDS),
    "ScheduledEvent": Signal(MAINTENANCE),
    "RebalanceRecommendation": Signal(REBALANCE),
    # AKS, on the Node, from Azure's scheduled events
    "PreemptScheduled": Signal(INTERRUPTION, AZURE_NOTICE_SECONDS),
    "TerminateScheduled": Signal(INTERRUPTION, AZURE_NOTICE_SECONDS),
    "RedeployScheduled": Signal(MAINTENANCE),
    "RebootScheduled": Signal(MAINTENANCE),
}
"""Reasons of Events. A machine that stops has no promised time any more: it gets the least of others."""

EVENT_REASONS = frozenset(EVENTS)


Found = tuple[str, Signal]
"""A signal with its source as shown to people."""


def _is_spot(node: Node) -> bool:
    return read_capacity_type(node.labels) is CapacityType.SPOT


def _taints(sight: Sight, _now: float) -> Iterable[Found]:
    """Taints that mean the same everywhere."""
    for taint in sight.node.taints:
        if taint.key in TAINTS:
            yield f"taint {taint.key}", TAINTS[taint.key]


def _gke_termination(sight: Sight, _now: float) -> Iterable[Found]:
    """GKE puts one taint for the end of a spot node and, up to an hour ahead, for host maintenance."""
    key = "cloud.google.com/impending-node-termination"
    if any(taint.key == key for taint in sight.node.taints):
        spot = _is_spot(sight.node)
        yield (
            f"taint {key}",
            (
                Signal(INTERRUPTION, GCP.spot_notice_seconds)
                if spot
                else Signal(MAINTENANCE, GKE_MAINTENANCE_SECONDS)
            ),
        )


def _shutting_down(sight: Sight, _now: float) -> Iterable[Found]:
    """The kubelet ends its pods because the machine shuts down: all that GKE shows of a spot notice."""
    node = sight.node
    if node.shutting_down:
        notice = min(AZURE_NOTICE_SECONDS, spot_notice_seconds(node.labels))
        yield "graceful node shutdown", Signal(INTERRUPTION, notice, node.not_ready_since)


def _karpenter(sight: Sight, now: float) -> Iterable[Found]:
    """Karpenter taints before an interruption and before consolidation alike; its NodeClaim knows which.

    Where no NodeClaim can be read, a taint on a spot node must be taken for an interruption: taken for too
    urgent costs a replacement, taken for too calm costs requests.
    """
    node, claim = sight.node, sight.claim
    taint = next((taint.key for taint in node.taints if taint.key in KARPENTER_TAINTS), None)
    deleted = node.deleted_at is not None and (KARPENTER_NODE_POOL in node.labels or claim is not None)
    claimed = claim is not None and (claim.deleted_at is not None or bool(claim.reason))
    if not (taint or deleted or claimed):
        return
    source = f"taint {taint}" if taint else "deletion of the Karpenter node"
    if claim is not None and claimed:
        source = f"NodeClaim {claim.name}: {claim.reason or ('expired' if claim.expired else 'deleted')}"
    if _is_spot(node) and (claim is None or _is_taken(claim)):
        since = claim.deleted_at if claim else None
        yield source, Signal(INTERRUPTION, spot_notice_seconds(node.labels), since)
    else:
        yield f"Karpenter, {source}", Signal(VOLUNTARY, _annotated_notice(sight, now))


def _is_taken(claim: NodeClaim) -> bool:
    """True if nobody but the cloud can have wanted the end: Karpenter gives a reason for its own wishes.

    Newer releases may name an interruption as the reason itself. An expired claim is deleted without one.
    """
    if claim.reason:
        return "interrupt" in claim.reason.lower()
    return claim.deleted_at is not None and not claim.expired


def _annotated_notice(sight: Sight, now: float) -> float | None:
    """Seconds until Karpenter's grace period for the node ends, if it has one."""
    text = sight.node.annotations.get(KARPENTER_GRACE_ENDS) or (sight.claim.ends_at if sight.claim else "")
    if not text:
        return None
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - now)
    except ValueError:
        return None


def _events(sight: Sight, now: float) -> Iterable[Found]:
    """Events about the node or its NodeClaim, while what they announce can still be under way."""
    for event in sight.events:
        signal = EVENTS.get(event.reason)
        if signal and now < event.at + (signal.notice_seconds or 0.0) + EVENT_BELIEVED_SECONDS:
            yield f"event {event.reason}", Signal(signal.kind, signal.notice_seconds, event.at)


def _node_termination_handler(sight: Sight, _now: float) -> Iterable[Found]:
    """Without its opt-in taint the handler leaves a label with the event's id, or what is to follow it."""
    event = sight.node.labels.get(NTH_EVENT_LABEL, "")
    for prefix, signal in NTH_EVENTS.items():
        if event.startswith(prefix):
            yield f"label {NTH_EVENT_LABEL}", signal
    if NTH_ACTION_LABEL in sight.node.labels:
        yield f"label {NTH_ACTION_LABEL}", Signal(MAINTENANCE)


def _cordon(sight: Sight, _now: float) -> Iterable[Found]:
    """Somebody wants the node empty; EKS managed node groups say no more than this before they drain."""
    node = sight.node
    if node.unschedulable or any(taint.key == "node.kubernetes.io/unschedulable" for taint in node.taints):
        yield "cordon", Signal(VOLUNTARY)


def _deletion(sight: Sight, _now: float) -> Iterable[Found]:
    """A finalizer holds the node for a while."""
    if sight.node.deleted_at is not None:
        yield "deletion of the node", Signal(VOLUNTARY)


def _not_ready(sight: Sight, now: float) -> Iterable[Found]:
    """The kubelet is silent for too long to come back in time. One that shuts down still serves its pods."""
    node, since = sight.node, sight.node.not_ready_since
    if since is not None and not node.shutting_down and now - since >= NOT_READY_GRACE_SECONDS:
        yield f"NotReady for over {NOT_READY_GRACE_SECONDS:g} s", Signal(LOST, 0.0)


READERS: tuple[Callable[[Sight, float], Iterable[Found]], ...] = (
    _taints,
    _gke_termination,
    _shutting_down,
    _karpenter,
    _events,
    _node_termination_handler,
    _cordon,
    _deletion,
    _not_ready,
)


def is_calm(node: Node, claim: NodeClaim | None) -> bool:
    """True where no reader finds anything but Events: nearly every node in nearly every pass."""
    claimed = claim is not None and (claim.deleted_at is not None or bool(claim.reason))
    return not (
        claimed
        or node.taints
        or node.unschedulable
        or node.shutting_down
        or node.deleted_at is not None
        or node.not_ready_since is not None
        or NTH_EVENT_LABEL in node.labels
        or NTH_ACTION_LABEL in node.labels
    )


def read(sight: Sight, now: float) -> list[Interruption]:
    """All signals about a node, as of now."""
    return [
        Interruption(
            kind=signal.kind,
            node=sight.node.name,
            seen_at=now,
            deadline=_deadline(signal, now),
            source=source,
        )
        for reader in READERS
        for source, signal in reader(sight, now)
    ]


def _deadline(signal: Signal, now: float) -> float | None:
    if signal.notice_seconds is None:
        return None
    return (now if signal.since is None else signal.since) + signal.notice_seconds
