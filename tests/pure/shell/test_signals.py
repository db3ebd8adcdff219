"""Which sources are built, and who may wake a deployment that has no replica."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from inferfleet.shell.kinds import DeploymentRecord
from inferfleet.shell.settings import MetricsSource, Settings
from inferfleet.shell.signals import WAKE_SECONDS, Signals, is_called, wake_query
from inferfleet.shell.views import Wakes
from inferfleet.telemetry.listen import Listener
from inferfleet.telemetry.metrics import Metrics
from inferfleet.telemetry.scrape import Scraper
from inferfleet.telemetry.source import Newest, Target
from inferfleet.telemetry.workers import WorkerClient

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


class Fleet:
    """A view of two workers, one of which leaves."""

    def targets(self) -> list[Target]:
        return [Target("ns/x", "stays", "1"), Target("ns/x", "leaves", "2", leaving=True)]


SETTINGS = Settings("me", "default", "image")
THROUGH = replace(SETTINGS, metrics_source=MetricsSource.PROMETHEUS, prometheus_url="http://127.0.0.1:1")


def choose(settings: Settings) -> Signals:
    return Signals.choose(settings, Fleet(), Wakes(), WorkerClient(), Metrics())


def looked_at(scraper: object) -> set[str]:
    assert isinstance(scraper, Scraper | Listener)
    return {target.worker for target in scraper._targets()}


def test_by_default_every_worker_is_looked_at_and_nobody_is_asked_to_wake():
    signals = choose(SETTINGS)
    assert looked_at(signals.source) == {"stays", "leaves"}
    assert signals.waker is None


def test_a_query_that_nobody_asks_is_told():
    asleep = record(spec={"autoscaling": {"wake": {"query": "up"}}}, status={"desiredReplicas": 0})
    assert [told.code for told in choose(SETTINGS).problems(asleep)] == ["WakeQueryIgnored"]
    assert choose(SETTINGS).problems(record(spec={}, status={"desiredReplicas": 0})) == ()
    assert choose(THROUGH).problems(asleep) == ()


def test_through_prometheus_only_workers_that_leave_are_looked_at_directly():
    signals = choose(THROUGH)
    assert isinstance(signals.source, Newest)
    assert looked_at(signals.source._sources[1]) == {"leaves"}
    assert signals.waker is not None


@pytest.mark.parametrize("settings", [SETTINGS, THROUGH], ids=["direct", "through Prometheus"])
def test_whatever_the_source_every_worker_is_listened_to(settings: Settings):
    assert looked_at(choose(settings).listener) == {"stays", "leaves"}


def test_a_prometheus_may_serve_for_waking_alone():
    signals = choose(replace(THROUGH, metrics_source=MetricsSource.DIRECT))
    assert looked_at(signals.source) == {"stays", "leaves"}
    assert signals.waker is not None
