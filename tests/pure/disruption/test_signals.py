"""Every string that says that a node is going: what kind, by when, and how signals merge."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferfleet.disruption import classify
from inferfleet.values import (
    CapacityType,
    EngineSample,
    Interruption,
    InterruptionKind,
    Node,
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


def only(node: Node, known: tuple[Interruption, ...] = (), now: float = NOW) -> Interruption | None:
    found = classify((node,), (), {}, known, now)
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
    assert classify((), (), {}, (told,), NOW) == (), "its node is gone"


def test_consolidation_that_a_nodeclaim_explains_is_no_interruption() -> None:
    told = Interruption(KIND.VOLUNTARY, "n", NOW, None, "nodeclaim gpu-1: Underutilized")
    tainted = node("karpenter.sh/disrupted", labels=SPOT)
    found = only(tainted, (told,))
    assert found is not None
    assert (found.kind, found.deadline) == (KIND.VOLUNTARY, None)
    assert only(tainted, (found,), NOW + 5) == found, "and stays one in the next pass"


def a_worker(node_name: str | None = "n") -> Worker:
    pod = WorkerPod("w-0", "uid", 0, PodPhase.RUNNING, 0.0, node_name)
    return Worker("w", "rev", OfferKey("p", CapacityType.SPOT), (pod,))


def test_a_node_that_no_longer_exists_is_lost_but_an_empty_view_of_nodes_proves_nothing() -> None:
    (found,) = classify((node(),), (a_worker("other"),), {}, (), NOW)
    assert (found.kind, found.node) == (KIND.LOST, "other")
    assert classify((), (a_worker("other"),), {}, (), NOW) == ()
    assert classify((node(),), (a_worker(None),), {}, (), NOW) == ()


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
    (found,) = classify((node(),), (a_worker(),), {"w": sample}, (), NOW)
    assert (found.kind, found.node, found.deadline) == (expected, "n", NOW + 30)
    assert classify((node(),), (a_worker(),), {}, (found,), NOW + 5) == (found,), "and may then fall silent"


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
        seen = classify((node(*taints, labels=labels),), (), {}, known, now)
        if seen and known and seen[0].kind is known[0].kind and known[0].deadline is not None:
            assert seen[0].deadline is not None
            assert seen[0].deadline <= known[0].deadline
        known = seen
