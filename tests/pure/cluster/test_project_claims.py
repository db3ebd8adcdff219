"""NodeClaims and Events about nodes, as Karpenter, node agents and clouds write them."""

from __future__ import annotations

from typing import Any

import pytest

from inferfleet.cluster.project import project_node
from inferfleet.cluster.project_claims import project_claim, project_node_event
from inferfleet.values import NodeClaim, NodeEvent

CREATED, DELETED = "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"
DELETED_AT = 1795258800.0
REASONS = frozenset({"SpotInterrupted"})


def claim(*conditions: tuple[str, str, str], expire_after: str = "720h", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "gpu-x7k2p", "creationTimestamp": CREATED, **metadata},
        "spec": {"expireAfter": expire_after},
        "status": {
            "nodeName": "ip-10-0-0-7",
            "conditions": [{"type": t, "status": status, "reason": r} for t, status, r in conditions],
        },
    }


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (claim(), NodeClaim("gpu-x7k2p", "ip-10-0-0-7")),
        (
            claim(("Consolidatable", "True", "Consolidatable"), ("Drifted", "True", "NodePoolDrifted")),
            NodeClaim("gpu-x7k2p", "ip-10-0-0-7", drifted=True),
        ),
        (
            claim(("DisruptionReason", "True", "Underutilized")),
            NodeClaim("gpu-x7k2p", "ip-10-0-0-7", reason="Underutilized"),
        ),
        (claim(("DisruptionReason", "False", "Underutilized")), NodeClaim("gpu-x7k2p", "ip-10-0-0-7")),
        (
            claim(deletionTimestamp=DELETED),
            NodeClaim("gpu-x7k2p", "ip-10-0-0-7", deleted_at=DELETED_AT),
        ),
        (
            claim(deletionTimestamp=DELETED, expire_after="1h"),
            NodeClaim("gpu-x7k2p", "ip-10-0-0-7", deleted_at=DELETED_AT, expired=True),
        ),
        (
            claim(deletionTimestamp=DELETED, expire_after="Never"),
            NodeClaim("gpu-x7k2p", "ip-10-0-0-7", deleted_at=DELETED_AT),
        ),
        (
            claim(annotations={"karpenter.sh/nodeclaim-termination-timestamp": DELETED}),
            NodeClaim("gpu-x7k2p", "ip-10-0-0-7", ends_at=DELETED),
        ),
        ({"metadata": {"name": "new", "creationTimestamp": CREATED}}, NodeClaim("new")),
    ],
    ids=[
        "in peace",
        "drifted",
        "disrupted by Karpenter",
        "disruption taken back",
        "deleted",
        "deleted at the end of its age",
        "deleted, and of no age",
        "with a grace period",
        "not launched yet",
    ],
)
def test_a_nodeclaim_says_why_its_machine_goes(raw: dict[str, Any], expected: NodeClaim) -> None:
    assert project_claim(raw) == expected


def event(reason: str = "SpotInterrupted", kind: str = "Node", **fields: Any) -> dict[str, Any]:
    about = {"kind": kind, "name": "ip-10-0-0-7", "uid": "u-1"}
    return {
        "metadata": {"name": "e", "creationTimestamp": CREATED},
        "reason": reason,
        "involvedObject": about,
        **fields,
    }


@pytest.mark.parametrize(
    ("raw", "at"),
    [
        (event(), DELETED_AT - 3600),
        (event(lastTimestamp=DELETED), DELETED_AT),
        (event(lastTimestamp=None, eventTime="2026-11-21T11:00:00.250000Z"), DELETED_AT + 0.25),
        (event(eventTime=CREATED, series={"count": 2, "lastObservedTime": DELETED}), DELETED_AT),
    ],
    ids=["only made", "with a last time", "of the newer kind", "repeated"],
)
def test_an_event_counts_from_when_it_was_last_told(raw: dict[str, Any], at: float) -> None:
    assert project_node_event(raw, REASONS) == NodeEvent("ip-10-0-0-7", "SpotInterrupted", at, "u-1")


def test_an_event_about_a_nodeclaim_is_marked_and_others_are_not_kept() -> None:
    found = project_node_event(event(kind="NodeClaim"), REASONS)
    assert found is not None
    assert found.claim
    assert project_node_event(event("NodeHasSufficientMemory"), REASONS) is None
    assert project_node_event({"metadata": {}, "reason": "SpotInterrupted"}, REASONS) is None


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("False", "node is shutting down", True),
        ("False", "container runtime network not ready", False),
        ("True", "kubelet is posting ready status", False),
    ],
)
def test_a_node_that_shuts_down_says_so_in_its_ready_condition(
    status: str, message: str, expected: bool
) -> None:
    ready = {"type": "Ready", "status": status, "message": message, "lastTransitionTime": DELETED}
    raw = {
        "metadata": {"name": "n", "uid": "u", "creationTimestamp": CREATED},
        "status": {"conditions": [ready]},
    }
    assert project_node(raw).shutting_down is expected
