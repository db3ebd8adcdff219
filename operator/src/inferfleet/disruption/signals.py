"""What on a node, or in a worker's own report, says that the node is going: one table of exact strings.

Strings from Karpenter's and the AWS Node Termination Handler's source and the clouds' documentation. A soft
mark such as `DeletionCandidateOfClusterAutoscaler` is left out: it is withdrawn as often as it is acted upon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from inferfleet.values import Interruption, InterruptionKind, Node

INTERRUPTION, MAINTENANCE, REBALANCE, VOLUNTARY, LOST = (
    InterruptionKind.INTERRUPTION,
    InterruptionKind.MAINTENANCE,
    InterruptionKind.REBALANCE,
    InterruptionKind.VOLUNTARY,
    InterruptionKind.LOST,
)

NOT_READY_GRACE_SECONDS = 15.0
"""A node becomes NotReady only after most of a minute without a heartbeat; then it gets this long."""

AWS_NOTICE_SECONDS, AZURE_NOTICE_SECONDS, GKE_NOTICE_SECONDS = 120.0, 30.0, 15.0
"""What ordinary pods get of a spot notice; GKE keeps the other half of its 30 s for system pods."""

GKE_MAINTENANCE_SECONDS = 3600.0
CLUSTER_AUTOSCALER_SECONDS = 600.0

KARPENTER_TAINTS = frozenset({"karpenter.sh/disrupted", "karpenter.sh/disruption"})
KARPENTER_DEADLINE = "karpenter.sh/nodeclaim-termination-timestamp"
NTH_EVENT_LABEL = "aws-node-termination-handler/event-id"

SPOT_LABELS = frozenset(
    {
        ("karpenter.sh/capacity-type", "spot"),
        ("eks.amazonaws.com/capacityType", "SPOT"),
        ("cloud.google.com/gke-spot", "true"),
        ("cloud.google.com/gke-provisioning", "spot"),
        ("cloud.google.com/gke-preemptible", "true"),
        ("kubernetes.azure.com/scalesetpriority", "spot"),
    }
)


@dataclass(frozen=True, slots=True)
class Signal:
    """What a string means: its kind, and the notice it gives. None means that no time is set."""

    kind: InterruptionKind
    notice_seconds: float | None = None


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
    "rebalance-recommendation-": Signal(REBALANCE),
}
"""Prefixes of the event id that the Node Termination Handler labels a node with when it adds no taint."""


def is_spot(node: Node) -> bool:
    """True if any cloud's label says that the node may be taken back at any time."""
    return any(node.labels.get(key) == value for key, value in SPOT_LABELS)


def spot_notice_seconds(node: Node) -> float:
    """The notice that the node's provider gives ordinary pods before it takes a spot node back."""
    if any(key.startswith("cloud.google.com/") for key in node.labels):
        return GKE_NOTICE_SECONDS
    if any(key.startswith("kubernetes.azure.com/") for key in node.labels):
        return AZURE_NOTICE_SECONDS
    return AWS_NOTICE_SECONDS


Found = tuple[str, Signal]
"""A signal with its source as shown to people."""


def _taints(node: Node, _now: float) -> Iterable[Found]:
    """Taints that mean the same everywhere."""
    for taint in node.taints:
        if taint.key in TAINTS:
            yield f"taint {taint.key}", TAINTS[taint.key]


def _gke_termination(node: Node, _now: float) -> Iterable[Found]:
    """GKE puts one taint for the end of a spot node and, up to an hour ahead, for host maintenance."""
    key = "cloud.google.com/impending-node-termination"
    if any(taint.key == key for taint in node.taints):
        spot = is_spot(node)
        yield (
            f"taint {key}",
            (
                Signal(INTERRUPTION, GKE_NOTICE_SECONDS)
                if spot
                else Signal(MAINTENANCE, GKE_MAINTENANCE_SECONDS)
            ),
        )


def _karpenter(node: Node, now: float) -> Iterable[Found]:
    """Karpenter taints before an interruption and before consolidation alike.

    Only on a spot node may it be an interruption, and then the short notice must be assumed: taken for too
    urgent costs a replacement, taken for too calm costs requests. `classify` lets a NodeClaim that names the
    reason speak first.
    """
    tainted = next((taint.key for taint in node.taints if taint.key in KARPENTER_TAINTS), None)
    if tainted is None and not (node.deleted_at is not None and "karpenter.sh/nodepool" in node.labels):
        return
    source = f"taint {tainted}" if tainted else "deletion of the Karpenter node"
    if is_spot(node):
        yield source, Signal(INTERRUPTION, spot_notice_seconds(node))
    else:
        yield source, Signal(VOLUNTARY, _annotated_notice(node, now))


def _annotated_notice(node: Node, now: float) -> float | None:
    """Seconds until Karpenter's grace period for the node ends, if it has one."""
    text = node.annotations.get(KARPENTER_DEADLINE)
    if text is None:
        return None
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - now)
    except ValueError:
        return None


def _node_termination_handler(node: Node, _now: float) -> Iterable[Found]:
    """Without its opt-in taint the handler leaves a label with the event's id."""
    event = node.labels.get(NTH_EVENT_LABEL, "")
    for prefix, signal in NTH_EVENTS.items():
        if event.startswith(prefix):
            yield f"label {NTH_EVENT_LABEL}", signal


def _cordon(node: Node, _now: float) -> Iterable[Found]:
    """Somebody wants the node empty; EKS managed node groups say no more than this before they drain."""
    if node.unschedulable or any(taint.key == "node.kubernetes.io/unschedulable" for taint in node.taints):
        yield "cordon", Signal(VOLUNTARY)


def _deletion(node: Node, _now: float) -> Iterable[Found]:
    """A finalizer holds the node for a while."""
    if node.deleted_at is not None:
        yield "deletion of the node", Signal(VOLUNTARY)


def _not_ready(node: Node, now: float) -> Iterable[Found]:
    """The kubelet is silent for too long to come back in time."""
    if node.not_ready_since is not None and now - node.not_ready_since >= NOT_READY_GRACE_SECONDS:
        yield f"NotReady for over {NOT_READY_GRACE_SECONDS:g} s", Signal(LOST, 0.0)


READERS: tuple[Callable[[Node, float], Iterable[Found]], ...] = (
    _taints,
    _gke_termination,
    _karpenter,
    _node_termination_handler,
    _cordon,
    _deletion,
    _not_ready,
)


def read(node: Node, now: float) -> list[Interruption]:
    """All signals on a node, as of now."""
    return [
        Interruption(
            kind=signal.kind,
            node=node.name,
            seen_at=now,
            deadline=None if signal.notice_seconds is None else now + signal.notice_seconds,
            source=source,
        )
        for reader in READERS
        for source, signal in reader(node, now)
    ]
