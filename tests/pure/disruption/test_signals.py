"""Every string that says that a node is going: what kind, by when, and how signals merge."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferfleet.disruption import Sights, classify, signals
from inferfleet.values import (
    CapacityType,
    EngineSample,
    Interruption,
    InterruptionKind,
    Node,
    NodeClaim,
    NodeEvent,
    OfferKey,
    PodPhase,
    Taint,
    Worker,
    WorkerPod,
)

NOW = 1000.0
KIND = InterruptionKind
KARPENTER = {"karpenter.sh/nodepool": "gpu"}
SPOT = {"karpenter.sh/capacity-type": "spot", **KARPENTER}
GKE_SPOT = {"cloud.google.com/gke-spot": "true"}
AKS_SPOT = {"kubernetes.azure.com/scalesetpriority": "spot"}


def node(*taints: str, **changes: object) -> Node:
    made = Node("n", "uid-n", taints=tuple(Taint(key, "NoSchedule") for key in taints))
    return replace(made, **changes)  # type: ignore[arg-type]


def only(
    node: Node, known: tuple[Interruption, ...] = (), now: float = NOW, **more: object
) -> Interruption | None:
    found = classify(Sights((node,), known=known, **more), now)  # type: ignore[arg-type]
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
        (node("karpenter.sh/disrupted", labels=SPOT), KIND.INTERRUPTION, 120),
        (node("karpenter.sh/disruption", labels=SPOT), KIND.INTERRUPTION, 120),
        (node("karpenter.sh/disrupted", labels=AKS_SPOT), KIND.INTERRUPTION, 30),
        (node("karpenter.sh/disrupted", labels=GKE_SPOT), KIND.INTERRUPTION, 15),
        (node("karpenter.sh/disrupted", labels=KARPENTER), KIND.VOLUNTARY, None),
        (node(labels=SPOT, deleted_at=NOW), KIND.INTERRUPTION, 120),
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
        node(labels=SPOT),
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


def test_duplicates_are_one_and_the_most_urgent_rules_with_the_earliest_deadline() -> None:
    found = only(
        node(
            "ToBeDeletedByClusterAutoscaler",
            "aws-node-termination-handler/spot-itn",
            "karpenter.sh/disrupted",
            labels=SPOT,
            unschedulable=True,
        )
    )
    assert found is not None
    assert (found.kind, found.deadline) == (KIND.INTERRUPTION, NOW + 120)


def test_a_notice_counts_from_when_it_was_first_seen() -> None:
    tainted = node("aws-node-termination-handler/spot-itn")
    first = only(tainted)
    assert first is not None
    later = only(tainted, (first,), NOW + 50)
    assert later == first


def test_a_signal_that_is_gone_from_its_node_is_forgotten() -> None:
    first = only(node(unschedulable=True))
    assert first is not None
    assert only(node(), (first,), NOW + 5) is None


def test_a_message_is_believed_until_well_after_its_deadline() -> None:
    told = Interruption(KIND.INTERRUPTION, "n", NOW, NOW + 120, "event SpotInterrupted")
    assert only(node(), (told,), NOW + 60) == told
    assert only(node(), (told,), NOW + 800) is None
    assert classify(Sights((), known=(told,)), NOW) == (), "its node is gone"


def claim(**changes: object) -> NodeClaim:
    return replace(NodeClaim("gpu-1", "n"), **changes)  # type: ignore[arg-type]


def event(reason: str, at: float = NOW, **changes: object) -> NodeEvent:
    return replace(NodeEvent("n", reason, at), **changes)  # type: ignore[arg-type]


INTERRUPTED, CONSOLIDATED = (KIND.INTERRUPTION, NOW + 120), (KIND.VOLUNTARY, None)
TAINTED = "karpenter.sh/disrupted"


@pytest.mark.parametrize(
    ("seen", "told", "events", "expected"),
    [
        (node(TAINTED, labels=SPOT), None, (), INTERRUPTED),
        (node(TAINTED, labels=SPOT), claim(), (), CONSOLIDATED),
        (node(TAINTED, labels=SPOT), claim(reason="Underutilized"), (), CONSOLIDATED),
        (node(TAINTED, labels=SPOT), claim(reason="Drifted", deleted_at=NOW), (), CONSOLIDATED),
        (node(TAINTED, labels=SPOT), claim(expired=True, deleted_at=NOW), (), CONSOLIDATED),
        (node(labels=SPOT), claim(deleted_at=NOW), (), INTERRUPTED),
        (node(TAINTED, labels=SPOT), claim(deleted_at=NOW), (), INTERRUPTED),
        (node(TAINTED, labels=SPOT), claim(reason="SpotInterruption"), (), INTERRUPTED),
        (node(TAINTED, labels=SPOT), claim(), (event("SpotInterrupted"),), INTERRUPTED),
        (node(labels=SPOT), claim(), (event("SpotInterrupted", about="gpu-1", claim=True),), INTERRUPTED),
        (node(labels=KARPENTER), claim(deleted_at=NOW), (), CONSOLIDATED),
        (node(labels=KARPENTER), claim(reason="Empty"), (), CONSOLIDATED),
        (
            node(labels=KARPENTER),
            claim(deleted_at=NOW, ends_at="1970-01-01T00:26:40Z"),
            (),
            (KIND.VOLUNTARY, NOW + 600),
        ),
        (node(labels=SPOT), claim(drifted=True), (), None),
        (node(labels=SPOT), claim(), (), None),
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
    tainted = node(TAINTED, labels=SPOT)
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


def test_nodes_that_drift_are_left_one_at_a_time() -> None:
    nodes = tuple(Node(name, f"uid-{name}", labels=SPOT) for name in "abc")
    claims = tuple(NodeClaim(f"claim-{name}", name, drifted=True) for name in "abc")
    found = classify(Sights(nodes, (a_worker("b"), a_worker("c")), claims=claims), NOW)
    assert [(item.node, item.kind, item.deadline) for item in found] == [("b", KIND.VOLUNTARY, None)]


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


def a_worker(node_name: str | None = "n") -> Worker:
    pod = WorkerPod("w-0", "uid", 0, PodPhase.RUNNING, 0.0, node_name)
    return Worker("w", "rev", OfferKey("p", CapacityType.SPOT), (pod,))


def test_a_node_that_no_longer_exists_is_lost_but_an_empty_view_of_nodes_proves_nothing() -> None:
    (found,) = classify(Sights((node(),), (a_worker("other"),)), NOW)
    assert (found.kind, found.node) == (KIND.LOST, "other")
    assert classify(Sights((), (a_worker("other"),)), NOW) == ()
    assert classify(Sights((node(),), (a_worker(None),)), NOW) == ()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("interruption", KIND.INTERRUPTION),
        ("maintenance", KIND.MAINTENANCE),
        ("rebalance", KIND.REBALANCE),
        ("meteor", KIND.MAINTENANCE),
    ],
)
def test_a_worker_sees_its_own_machine_go(kind: str, expected: InterruptionKind) -> None:
    sample = EngineSample("w", NOW, 0, 0, notices=((kind, NOW + 30, "gcp metadata"),))
    (found,) = classify(Sights((node(),), (a_worker(),), {"w": sample}), NOW)
    assert (found.kind, found.node, found.deadline) == (expected, "n", NOW + 30)
    assert classify(Sights((node(),), (a_worker(),), known=(found,)), NOW + 5) == (found,), "may fall silent"


TAINTS = st.lists(
    st.sampled_from(
        [
            "aws-node-termination-handler/spot-itn",
            "aws-node-termination-handler/rebalance-recommendation",
            "ToBeDeletedByClusterAutoscaler",
            "karpenter.sh/disrupted",
            "cloud.google.com/impending-node-termination",
            "nvidia.com/gpu",
        ]
    ),
    unique=True,
)


@given(
    st.lists(st.tuples(TAINTS, st.floats(0.1, 40)), min_size=1, max_size=8),
    st.sampled_from([SPOT, GKE_SPOT, {}]),
)
def test_while_a_kind_lasts_its_deadline_never_moves_back(
    history: list[tuple[list[str], float]], labels: dict[str, str]
) -> None:
    known: tuple[Interruption, ...] = ()
    now = NOW
    for taints, pause in history:
        now += pause
        seen = classify(Sights((node(*taints, labels=labels),), known=known), now)
        if seen and known and seen[0].kind is known[0].kind and known[0].deadline is not None:
            assert seen[0].deadline is not None
            assert seen[0].deadline <= known[0].deadline
        known = seen


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


def replica(name: str, on: str, serving: bool | None = True) -> Worker:
    pod = WorkerPod(name, f"uid-{name}", 0, PodPhase.RUNNING, 0.0, node=on, serving=serving)
    return Worker(name, "r", OfferKey("pool", CapacityType.SPOT, "a"), (pod,))


@pytest.mark.parametrize(
    ("heard", "serving", "not_ready_since", "lost"),
    [
        (("b",), True, NOW - 1, True),
        (("a", "b"), True, NOW - 1, False),
        ((), True, NOW - 1, False),
        (("b",), None, NOW - 1, False),
        (("b",), True, None, False),
        (("a", "b"), True, NOW - 15, True),
    ],
    ids=[
        "silent kubelet and silent worker",
        "the worker still answers",
        "nobody is heard: it may be us",
        "it was not in service yet",
        "the kubelet still answers",
        "silent for longer than the grace",
    ],
)
def test_a_node_is_lost_at_once_when_its_kubelet_and_its_workers_fall_silent(
    heard: tuple[str, ...], serving: bool | None, not_ready_since: float | None, lost: bool
):
    nodes = (node(not_ready_since=not_ready_since), Node("m", "uid-m"))
    samples = {name: EngineSample(name, NOW - 1, 0, 0) for name in heard}
    sights = Sights(nodes, (replica("a", "n", serving), replica("b", "m")), samples)
    assert [(item.node, item.kind) for item in classify(sights, NOW)] == [("n", KIND.LOST)] * lost
