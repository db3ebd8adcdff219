"""Who may wake a deployment that has no replica."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from inferfleet.shell.signals import WAKE_SECONDS, is_called, wake_query
from inferfleet.shell.views import DeploymentRecord

NOW = 1_700_000_000.0


def record(annotation: str | None = None, **raw: Any) -> DeploymentRecord:
    metadata = {"annotations": {"inferfleet.dev/wake": annotation}} if annotation else {}
    return DeploymentRecord("ns/x", "uid", 1, deleting=False, raw={"metadata": metadata, **raw})


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


@pytest.mark.parametrize(
    ("annotation", "called"),
    [
        (at(0), True),
        (at(1 - WAKE_SECONDS), True),
        (at(-WAKE_SECONDS - 1), False),
        (at(WAKE_SECONDS + 1), False),
        ("2023-11-14T22:13:20Z", True),
        ("2023-11-14T22:13:20", False),
        ("true", False),
        (None, False),
    ],
    ids=["now", "just now", "too long ago", "ahead", "in zulu time", "without a zone", "no time", "nobody"],
)
def test_the_annotation_calls_for_a_replica_for_a_minute(annotation: str | None, called: bool):
    assert is_called(record(annotation), NOW) is called


@pytest.mark.parametrize(
    ("spec", "status", "query"),
    [
        ({"autoscaling": {"wake": {"query": "up"}}}, {"desiredReplicas": 0}, "up"),
        ({"autoscaling": {"wake": {"query": "up"}}}, {"desiredReplicas": 1}, None),
        ({"autoscaling": {"wake": {"query": "up"}}}, {}, None),
        ({"autoscaling": {}}, {"desiredReplicas": 0}, None),
        ({}, {"desiredReplicas": 0}, None),
    ],
    ids=["asleep", "awake", "new", "without a query", "without scaling"],
)
def test_a_query_is_asked_only_while_there_is_no_replica(
    spec: dict[str, Any], status: dict[str, Any], query: str | None
):
    assert wake_query(record(spec=spec, status=status)) == query
