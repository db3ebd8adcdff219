"""What reaches a pass from outside of the cluster's API: the workers' samples, and who wants one to wake."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Never, Protocol, Self

from inferfleet.shell.kinds import DeploymentRecord
from inferfleet.shell.settings import MetricsSource, Settings
from inferfleet.shell.views import Views, Wakes
from inferfleet.telemetry.listen import Listener
from inferfleet.telemetry.metrics import Metrics
from inferfleet.telemetry.scrape import Scraper
from inferfleet.telemetry.source import Newest, Source, Target
from inferfleet.telemetry.workers import WorkerClient
from inferfleet.values import EngineSample, Heard, Reason, labels

log = logging.getLogger(__name__)

# How long a call to wake counts: a standby takes over well within it.
WAKE_SECONDS: Final = 60.0


class Waker(Protocol):
    """Asks whether requests wait for the deployments that have no replica."""

    def wanted(self, deployment: str) -> bool:
        """Whether one waits for this deployment."""

    async def run(self) -> Never:
        """Keep asking."""


@dataclass(frozen=True, slots=True)
class Signals:
    """The source of samples that was chosen, and the ear at every worker; no `waker` without a Prometheus."""

    source: Source
    listener: Listener
    waker: Waker | None

    @classmethod
    def choose(
        cls, settings: Settings, views: Views, wakes: Wakes, workers: WorkerClient, metrics: Metrics
    ) -> Self:
        """Build what the settings ask for.

        Raises:
            ModuleNotFoundError: for a Prometheus without the optional dependency `inferfleet[prometheus]`.
        """
        through_prometheus = settings.metrics_source is MetricsSource.PROMETHEUS
        pace, failed = settings.scrape_interval_seconds, metrics.scrape_failures.inc

        def targets() -> list[Target]:
            """A drain ends by what the gate says within seconds, so workers that leave are always asked."""
            return [target for target in views.targets() if target.leaving or not through_prometheus]

        source: Source = Scraper(
            workers.sample, targets, wakes.wake, interval_seconds=pace, count_failure=failed
        )
        listener = Listener(workers.news, views.targets, interval_seconds=pace)
        if settings.prometheus_url is None:
            return cls(source, listener, None)
        from inferfleet.telemetry import prometheus as through  # noqa: PLC0415 - optional, and 20 MiB

        prometheus = through.Prometheus(settings.prometheus_url, settings.prometheus_token_file)
        if through_prometheus:
            seen = through.PrometheusSource(
                prometheus, views.targets, wakes.wake, interval_seconds=pace, count_failure=failed
            )
            source = Newest(seen, source)
        waker = through.Waker(prometheus, lambda: sleepers(views), wakes.wake, interval_seconds=pace)
        return cls(source, listener, waker)

    def samples(self, deployment: str) -> tuple[EngineSample, ...]:
        """The newest sample of each of a deployment's workers, by worker."""
        return self.source.samples(deployment)

    def heard(self, deployment: str) -> tuple[Heard, ...]:
        """The last word of each of a deployment's engines about what it has in flight."""
        return self.listener.heard(deployment)

    def wakes(self, record: DeploymentRecord, now: float) -> bool:
        """Whether somebody wants this deployment to have a replica."""
        asked = self.waker is not None and self.waker.wanted(record.key)
        return asked or is_called(record, now)

    def problems(self, record: DeploymentRecord) -> tuple[Reason, ...]:
        """What a deployment asks for, and nobody here can do."""
        if self.waker is None and wake_query(record):
            needs = "spec.autoscaling.wake.query is not asked: the operator runs without --prometheus-url"
            return (Reason("WakeQueryIgnored", needs),)
        return ()

    async def run(self) -> Never:
        """Keep all of it current."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.source.run())
            group.create_task(self.listener.run())
            if self.waker:
                group.create_task(self.waker.run())
        raise AssertionError("sources never end")


def is_called(record: DeploymentRecord, now: float) -> bool:
    """Whether the annotation says that a request waited just now."""
    text = record.called
    if text is None:
        return False
    try:
        called_at = datetime.fromisoformat(text)
    except ValueError:
        called_at = None
    if called_at is None or called_at.tzinfo is None:
        log.warning("%s: %s is no time with a zone: %s", record.key, labels.WAKE_ANNOTATION, text)
        return False
    return abs(now - called_at.timestamp()) <= WAKE_SECONDS


def sleepers(views: Views) -> Mapping[str, str]:
    """The queries of the deployments that have no replica and name one, by deployment."""
    records = views.deployments.view.items.values()
    return {record.key: query for record in records if (query := wake_query(record))}


def wake_query(record: DeploymentRecord) -> str | None:
    """The query of a deployment that has no replica; None for one that has some, or names none."""
    autoscaling = record.raw.get("spec", {}).get("autoscaling", {})
    asleep = record.raw.get("status", {}).get("desiredReplicas") == 0
    query: str | None = autoscaling.get("wake", {}).get("query")
    return query if asleep else None
