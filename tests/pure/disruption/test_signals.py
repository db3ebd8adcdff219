"""Every string that says that a node is going: what kind, and by when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import AKS_SPOT, GKE_SPOT, KARPENTER, KARPENTER_SPOT, NOW, node

from inferfleet.disruption import Sights, classify, signals
from inferfleet.values import Interruption, InterruptionKind, Node, NodeClaim, NodeEvent, Taint

KIND = InterruptionKind


def only(
    node: Node, known: tuple[Interruption, ...] = (), now: float = NOW, **more: Any
) -> Interruption | None:
    found = classify(Sights((node,), known=known, **more), now)
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize(
    ("seen", "kind", "notice"),
    [
        (node("aws-node-termination-handler/spot-itn"), KIND.INTERRUPTION, 120),
        (node("aws-node-termination-handler/asg-lifecycle-termination"), KIND.INTERRUPTION, 120),
        (node("aws-node-termination-handler/rebalance-recommendation"), KIND.REBALANCE, None),
        (node("aws-node-termination-handler/scheduled-maintenance"), KIND.MAINTENANCE, None),
        (node(labels={"aws-node-termination-handler/event-id": "spot-itn-1f"}), KIND.INTERRUPTION, 120),
        (
            node(labels={"aws-node-termination-handler/event-id": "asg-lifecycle-term-1f"}),
            KIND.INTERRUPTION,
            120,
        ),
        (
            node(labels={"aws-node-termination-handler/event-id": "target-lifecycle-state-terminated-1f"}),
            KIND.INTERRUPTION,
            120,
        ),
        (
            node(labels={"aws-node-termination-handler/event-id": "instance-event-0d5993"}),
            KIND.MAINTENANCE,
            None,
        ),
        (
            node(labels={"aws-node-termination-handler/action": "UncordonAfterReboot"}),
            KIND.MAINTENANCE,
            None,
        ),
        (
            node(labels=GKE_SPOT, shutting_down=True, not_ready_since=NOW - 3),
            KIND.INTERRUPTION,
            12,
        ),
        (node(shutting_down=True, not_ready_since=NOW - 3), KIND.INTERRUPTION, 27),
        (
            node(labels={"aws-node-termination-handler/event-id": "rebalance-recommendation-2"}),
            KIND.REBALANCE,
            None,
        ),
        (node("remediator.kubernetes.azure.com/unschedulable", labels=AKS_SPOT), KIND.INTERRUPTION, 30),
        (node("cloud.google.com/impending-node-termination", labels=GKE_SPOT), KIND.INTERRUPTION, 15),
        (node("cloud.google.com/impending-node-termination"), KIND.MAINTENANCE, 3600),
        (node("ToBeDeletedByClusterAutoscaler"), KIND.VOLUNTARY, 600),
        (node("node.kubernetes.io/out-of-service"), KIND.LOST, 0),
        (node("node.cloudprovider.kubernetes.io/shutdown"), KIND.LOST, 0),
        (node("karpenter.sh/disrupted", labels=KARPENTER_SPOT), KIND.INTERRUPTION, 120),
        (node("karpenter.sh/disruption", labels=KARPENTER_SPOT), KIND.INTERRUPTION, 120),
        (node("karpenter.sh/disrupted", labels=AKS_SPOT), KIND.INTERRUPTION, 30),
        (node("karpenter.sh/disrupted", labels=GKE_SPOT), KIND.INTERRUPTION, 15),
        (node("karpenter.sh/disrupted", labels=KARPENTER), KIND.VOLUNTARY, None),
        (node(labels=KARPENTER_SPOT, deleted_at=NOW), KIND.INTERRUPTION, 120),
        (node(labels=KARPENTER, deleted_at=NOW), KIND.VOLUNTARY, None),
        (
            node(
                "karpenter.sh/disrupted",
                labels=KARPENTER,
                annotations={"karpenter.sh/nodeclaim-termination-timestamp": "1970-01-01T00:26:40Z"},
            ),
            KIND.VOLUNTARY,
            600,
        ),
        (
            node(
                "karpenter.sh/disrupted",
                labels=KARPENTER,
                annotations={"karpenter.sh/nodeclaim-termination-timestamp": "soon"},
            ),
            KIND.VOLUNTARY,
            None,
        ),
        (node(deleted_at=NOW), KIND.VOLUNTARY, None),
        (node(unschedulable=True), KIND.VOLUNTARY, None),
        (node("node.kubernetes.io/unschedulable"), KIND.VOLUNTARY, None),
        (node(not_ready_since=NOW - 15), KIND.LOST, 0),
    ],
    ids=lambda value: (
        " ".join([*(t.key for t in value.taints), *value.labels.values()])
        if isinstance(value, Node)
        else None
    ),
)
def test_a_signal_has_its_kind_and_its_notice(
    seen: Node, kind: InterruptionKind, notice: float | None
) -> None:
    found = only(seen)
    assert found is not None
    assert found.kind is kind
    assert found.deadline == (None if notice is None else NOW + notice)


@pytest.mark.parametrize(
    "seen",
    [
        node(),
        node("nvidia.com/gpu"),
        node("DeletionCandidateOfClusterAutoscaler"),
        node("kubernetes.azure.com/scalesetpriority", labels=AKS_SPOT),
        node(not_ready_since=NOW - 14),
        node(labels=KARPENTER_SPOT),
    ],
    ids=["nothing", "a GPU taint", "a mere candidate", "a spot taint", "a blink of the kubelet", "spot"],
)
def test_what_is_no_signal_is_none(seen: Node) -> None:
    assert only(seen) is None


def test_a_node_that_shuts_down_is_not_lost_before_it_falls_silent() -> None:
    going = node(labels=GKE_SPOT, shutting_down=True, not_ready_since=NOW - 20)
    found = only(going)
    assert found is not None
    assert (found.kind, found.deadline) == (KIND.INTERRUPTION, NOW - 5)
    silent = only(replace(going, shutting_down=False))
    assert silent is not None
    assert silent.kind is KIND.LOST


def claim(**changes: Any) -> NodeClaim:
    return replace(NodeClaim("gpu-1", "n"), **changes)


def event(reason: str, at: float = NOW, **changes: Any) -> NodeEvent:
    return replace(NodeEvent("n", reason, at), **changes)


INTERRUPTED, CONSOLIDATED = (KIND.INTERRUPTION, NOW + 120), (KIND.VOLUNTARY, None)


TAINTED = "karpenter.sh/disrupted"


@pytest.mark.parametrize(
    ("seen", "told", "events", "expected"),
    [
        (node(TAINTED, labels=KARPENTER_SPOT), None, (), INTERRUPTED),
        (node(TAINTED, labels=KARPENTER_SPOT), claim(), (), CONSOLIDATED),
        (node(TAINTED, labels=KARPENTER_SPOT), claim(reason="Underutilized"), (), CONSOLIDATED),
        (node(TAINTED, labels=KARPENTER_SPOT), claim(reason="Drifted", deleted_at=NOW), (), CONSOLIDATED),
        (node(TAINTED, labels=KARPENTER_SPOT), claim(expired=True, deleted_at=NOW), (), CONSOLIDATED),
        (node(labels=KARPENTER_SPOT), claim(deleted_at=NOW), (), INTERRUPTED),
        (node(TAINTED, labels=KARPENTER_SPOT), claim(deleted_at=NOW), (), INTERRUPTED),
        (node(TAINTED, labels=KARPENTER_SPOT), claim(reason="SpotInterruption"), (), INTERRUPTED),
        (node(TAINTED, labels=KARPENTER_SPOT), claim(), (event("SpotInterrupted"),), INTERRUPTED),
        (
            node(labels=KARPENTER_SPOT),
            claim(),
            (event("SpotInterrupted", about="gpu-1", claim=True),),
            INTERRUPTED,
        ),
        (node(labels=KARPENTER), claim(deleted_at=NOW), (), CONSOLIDATED),
        (node(labels=KARPENTER), claim(reason="Empty"), (), CONSOLIDATED),
        (
            node(labels=KARPENTER),
            claim(deleted_at=NOW, ends_at="1970-01-01T00:26:40Z"),
            (),
            (KIND.VOLUNTARY, NOW + 600),
        ),
        (node(labels=KARPENTER_SPOT), claim(drifted=True), (), None),
        (node(labels=KARPENTER_SPOT), claim(), (), None),
    ],
    ids=[
        "a taint that no NodeClaim explains",
        "a taint alone is Karpenter's own wish",
        "consolidation",
        "drift, up to the deletion",
        "the end of its age",
        "a NodeClaim deleted without a reason, before any taint",
        "and after the taint",
        "a reason that names the interruption",
        "an Event about the node",
        "an Event about the NodeClaim",
        "deletion on on-demand",
        "emptiness on on-demand",
        "the end of the grace period binds",
        "drift of a node without workers of ours",
        "a NodeClaim in peace",
    ],
)
def test_karpenter_interrupts_only_where_nobody_there_wished_it(
    seen: Node,
    told: NodeClaim | None,
    events: tuple[NodeEvent, ...],
    expected: tuple[InterruptionKind, float | None] | None,
) -> None:
    found = only(seen, claims=(told,) if told else (), events=events)
    assert (found and (found.kind, found.deadline)) == expected


def test_a_consolidation_becomes_an_interruption_when_the_cloud_wants_the_node_as_well() -> None:
    tainted = node(TAINTED, labels=KARPENTER_SPOT)
    calm = only(tainted, claims=(claim(reason="Underutilized"),))
    assert calm is not None
    urgent = only(
        tainted,
        (calm,),
        NOW + 5,
        claims=(claim(reason="Underutilized"),),
        events=(event("SpotInterrupted", NOW + 4),),
    )
    assert urgent is not None
    assert (urgent.kind, urgent.deadline) == (KIND.INTERRUPTION, NOW + 124)


@pytest.mark.parametrize(
    ("reason", "kind", "notice"),
    [
        ("SpotInterrupted", KIND.INTERRUPTION, 120),
        ("TerminatingOnInterruption", KIND.INTERRUPTION, 120),
        ("CapacityReservationInstanceInterrupted", KIND.INTERRUPTION, 120),
        ("InstanceStopping", KIND.INTERRUPTION, 30),
        ("InstanceTerminating", KIND.INTERRUPTION, 30),
        ("InstanceUnhealthy", KIND.INTERRUPTION, 30),
        ("SpotRebalanceRecommendation", KIND.REBALANCE, None),
        ("SpotInterruption", KIND.INTERRUPTION, 120),
        ("ASGLifecycle", KIND.INTERRUPTION, 120),
        ("StateChange", KIND.INTERRUPTION, 30),
        ("ScheduledEvent", KIND.MAINTENANCE, None),
        ("RebalanceRecommendation", KIND.REBALANCE, None),
        ("PreemptScheduled", KIND.INTERRUPTION, 30),
        ("TerminateScheduled", KIND.INTERRUPTION, 30),
        ("RedeployScheduled", KIND.MAINTENANCE, None),
        ("RebootScheduled", KIND.MAINTENANCE, None),
    ],
)
def test_an_event_about_a_node_counts_from_when_it_was_told(
    reason: str, kind: InterruptionKind, notice: float | None
) -> None:
    found = only(node(), events=(event(reason, NOW - 20),))
    assert found is not None
    assert (found.kind, found.deadline) == (kind, None if notice is None else NOW - 20 + notice)
    assert only(node(), (found,), NOW + 5) == found, "and is remembered when it can no longer be read"


@pytest.mark.parametrize(
    "told",
    [
        event("NodeHasSufficientMemory"),
        event("SpotInterrupted", NOW - 721),
        event("SpotInterrupted", uid="of-the-node-before"),
        event("SpotInterrupted", about="gpu-9", claim=True),
    ],
    ids=["of no interest", "long over", "of an earlier node of that name", "of somebody else's NodeClaim"],
)
def test_an_event_that_says_nothing_of_this_node_now_is_no_signal(told: NodeEvent) -> None:
    assert only(node(), claims=(claim(),), events=(told,)) is None


NODES = st.builds(
    node,
    taints=st.just(()) | st.just((Taint("karpenter.sh/disrupted", "NoSchedule"),)),
    unschedulable=st.booleans(),
    shutting_down=st.booleans(),
    deleted_at=st.none() | st.just(NOW),
    not_ready_since=st.none() | st.just(NOW - 60),
    labels=st.dictionaries(
        st.sampled_from([signals.NTH_EVENT_LABEL, signals.NTH_ACTION_LABEL, "karpenter.sh/nodepool"]),
        st.sampled_from(["spot-itn-1", "other"]),
    ),
)


CLAIMS = st.builds(
    NodeClaim,
    st.just("claim"),
    deleted_at=st.none() | st.just(NOW),
    reason=st.sampled_from(["", "Drifted"]),
    drifted=st.booleans(),
    expired=st.booleans(),
    ends_at=st.sampled_from(["", "2026-01-01T00:00:00Z"]),
)


@given(NODES, st.none() | CLAIMS)
def test_nothing_is_found_on_a_calm_node(seen: Node, claim: NodeClaim | None) -> None:
    if signals.is_calm(seen, claim):
        assert not signals.read(signals.Sight(seen, claim), NOW)
