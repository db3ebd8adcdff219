"""Signals about one node merge; some are remembered; some are seen from the workers alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import GKE_SPOT, KARPENTER_SPOT, NOW, node, worker

from inferfleet.disruption import Sights, classify
from inferfleet.values import EngineSample, Interruption, InterruptionKind, Node, NodeClaim

KIND = InterruptionKind


def only(
    node: Node, known: tuple[Interruption, ...] = (), now: float = NOW, **more: Any
) -> Interruption | None:
    found = classify(Sights((node,), known=known, **more), now)
    assert len(found) <= 1
    return found[0] if found else None


def test_duplicates_are_one_and_the_most_urgent_rules_with_the_earliest_deadline() -> None:
    found = only(
        node(
            "ToBeDeletedByClusterAutoscaler",
            "aws-node-termination-handler/spot-itn",
            "karpenter.sh/disrupted",
            labels=KARPENTER_SPOT,
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


def test_nodes_that_drift_are_left_one_at_a_time() -> None:
    nodes = tuple(Node(name, f"uid-{name}", labels=KARPENTER_SPOT) for name in "abc")
    claims = tuple(NodeClaim(f"claim-{name}", name, drifted=True) for name in "abc")
    found = classify(Sights(nodes, (worker(node="b"), worker(node="c")), claims=claims), NOW)
    assert [(item.node, item.kind, item.deadline) for item in found] == [("b", KIND.VOLUNTARY, None)]


def test_a_node_that_no_longer_exists_is_lost_but_an_empty_view_of_nodes_proves_nothing() -> None:
    (found,) = classify(Sights((node(),), (worker(node="other"),)), NOW)
    assert (found.kind, found.node) == (KIND.LOST, "other")
    assert classify(Sights((), (worker(node="other"),)), NOW) == ()
    assert classify(Sights((node(),), (worker(node=None),)), NOW) == ()


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
    (found,) = classify(Sights((node(),), (worker(node="n"),), {"w": sample}), NOW)
    assert (found.kind, found.node, found.deadline) == (expected, "n", NOW + 30)
    assert classify(Sights((node(),), (worker(node="n"),), known=(found,)), NOW + 5) == (found,), (
        "may fall silent"
    )


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
    sights = Sights(nodes, (worker("a", node="n", serving=serving), worker("b", node="m")), samples)
    assert [(item.node, item.kind) for item in classify(sights, NOW)] == [("n", KIND.LOST)] * lost


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
    st.sampled_from([KARPENTER_SPOT, GKE_SPOT, {}]),
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
