"""Samples by way of a Prometheus that scrapes the workers: one aggregated query per signal for all of them.

Pods are told apart by the labels `namespace` and `pod`, as every Kubernetes service discovery sets them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Never

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests import RequestException
from urllib3.util.retry import Retry

from inferfleet.telemetry.engine_metrics import (
    CACHE_CONFIG,
    CACHE_LABELS,
    ENGINE_SERIES,
    FIRST_TOKEN,
    INTER_TOKEN,
    KV_USAGE,
    REQUEST_INTER_TOKEN,
    RUNNING,
    Labels,
    Names,
    Point,
    assemble,
)
from inferfleet.telemetry.source import JITTER, Target, samples_of
from inferfleet.telemetry.workers import GateMetrics, combine
from inferfleet.values import EngineSample

log = logging.getLogger(__name__)

QUERY_SECONDS: Final = 5.0
ROUND_SECONDS: Final = 10.0

IN_FLIGHT: Final = ("inferfleet_worker_in_flight_requests",)
ACCEPTED: Final = ("inferfleet_worker_accepted_total",)
LOST: Final = ("inferfleet_worker_lost_total",)
PHASE: Final = ("inferfleet_worker_phase",)
NOTICES: Final = ("inferfleet_worker_notice_deadline_seconds",)
INFO: Final = ("inferfleet_worker_info",)
GATE_SERIES: Final = (IN_FLIGHT, ACCEPTED, LOST, PHASE, NOTICES, INFO)

POD_LABELS: Final = ("namespace", "pod")
# What is kept apart within a pod; all else (ranks, models) is summed, as direct scraping does.
KEPT_LABELS: Final[Mapping[Names, Names]] = {
    FIRST_TOKEN: ("le",),
    INTER_TOKEN: ("le",),
    REQUEST_INTER_TOKEN: ("le",),
    CACHE_CONFIG: ("engine", *CACHE_LABELS),
    LOST: ("cause",),
    PHASE: ("phase",),
    INFO: ("start",),
    NOTICES: ("kind", "source"),
}
AVERAGED: Final = (KV_USAGE,)
# When the pod was last scraped: of its engine and its gate, the earlier.
SCRAPED: Final = f'min by ({", ".join(POD_LABELS)}) (timestamp({{__name__=~"{RUNNING[0]}|{IN_FLIGHT[0]}"}}))'

Pod = tuple[str, str]
Points = Mapping[Pod, Sequence[Point]]
Failures = (PrometheusApiClientException, RequestException, ValueError, KeyError, TypeError, OSError)


def expression(names: Names) -> str:
    """The query of one signal for all pods; an older name counts only for pods that have no newer one."""
    by = ", ".join((*POD_LABELS, *KEPT_LABELS.get(names, ())))
    fold = "avg" if names in AVERAGED else "sum"
    first, *older = (f"{fold} by ({by}) ({name})" for name in names)
    whole = first
    for one in older:
        whole = f"{whole} or ({one} unless on ({', '.join(POD_LABELS)}) {first})"
    return whole


QUERIES: Final = {names: expression(names) for names in (*ENGINE_SERIES, *GATE_SERIES)}


class Prometheus:
    """A Prometheus, asked in a thread of its own, one question after the other: its client blocks."""

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        self._client = PrometheusConnect(url=url, retry=Retry(0), timeout=QUERY_SECONDS, method="POST")
        self._token_file = token_file
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prometheus")
        self._problem = ""

    async def ask(self, queries: Iterable[str]) -> list[list[dict[str, Any]]] | None:
        """Answer all queries as of one instant; None where any fails, for half an answer misleads."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                answers = await loop.run_in_executor(self._thread, self._ask, tuple(queries))
        except Failures as error:
            if self._problem != type(error).__name__:  # one that lasts is told once
                log.warning("Prometheus: %s: %s", type(error).__name__, error)
            self._problem = type(error).__name__
            return None
        self._problem = ""
        return answers

    def _ask(self, queries: Sequence[str]) -> list[list[dict[str, Any]]]:
        if self._token_file:  # read anew: tokens of service accounts rotate
            self._client.headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        answers: list[list[dict[str, Any]]] = []
        instant: dict[str, Any] = {}
        for query in queries:
            answer = self._client.custom_query(query, params=dict(instant))
            if not instant and answer and isinstance(answer[0], dict):
                instant["time"] = answer[0]["value"][0]
            answers.append(answer)
        return answers


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a round of queries brought: every signal's points by pod, and when each pod was scraped."""

    scraped: Mapping[Pod, float]
    points: Mapping[Names, Points]

    def sample(self, target: Target) -> EngineSample | None:
        """One worker's sample, dated by the scrape it came from; None where its pod was not scraped."""
        pod = (target.namespace, target.pod)

        def pick(names: Names) -> Sequence[Point]:
            return self.points[names].get(pod, ())

        at = self.scraped.get(pod)
        return None if at is None else combine(target.worker, at, assemble(pick), self._gate(pod))

    def _gate(self, pod: Pod) -> GateMetrics | None:
        def total(names: Names) -> float:
            return sum(value for _, value in self.points[names].get(pod, ()))

        if pod not in self.points[IN_FLIGHT]:
            return None
        phases = [said["phase"] for said, value in self.points[PHASE].get(pod, ()) if value == 1]
        starts = [said["start"] for said, _ in self.points[INFO].get(pod, ())]
        causes = sorted((said["cause"], value) for said, value in self.points[LOST].get(pod, ()))
        standing = self.points[NOTICES].get(pod, ())
        notices = ((said["kind"], value or None, said["source"]) for said, value in standing)
        return GateMetrics(
            in_flight=round(total(IN_FLIGHT)),
            arrivals_total=total(ACCEPTED),
            lost=tuple(causes),
            instance=starts[0] if starts else "",
            phase=phases[0] if phases else "serving",
            notices=tuple(sorted(notices, key=lambda notice: (not notice[1], notice[1] or 0.0, notice[2]))),
        )


def read_fleet(answers: Sequence[Sequence[Mapping[str, Any]]]) -> Fleet:
    """Read the answers to `SCRAPED` and `QUERIES`, in that order."""
    scraped, *signals = map(_by_pod, answers)
    return Fleet(
        scraped={pod: value for pod, ((_, value),) in scraped.items()},
        points=dict(zip(QUERIES, signals, strict=True)),
    )


def _by_pod(answer: Sequence[Mapping[str, Any]]) -> dict[Pod, list[tuple[Labels, float]]]:
    found: dict[Pod, list[tuple[Labels, float]]] = defaultdict(list)
    for series in answer:
        said = series["metric"]
        found[said.get("namespace", ""), said.get("pod", "")].append((said, float(series["value"][1])))
    return found


class PrometheusSource:
    """Keeps the newest sample of every worker as Prometheus has them; none while it cannot be asked."""

    def __init__(
        self,
        prometheus: Prometheus,
        targets: Callable[[], Iterable[Target]],
        wake: Callable[[str], None],
        *,
        interval_seconds: float = 2.0,
        count_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._prometheus = prometheus
        self._targets = targets
        self._wake = wake
        self._interval = interval_seconds
        self._count_failure = count_failure
        self._latest: dict[Target, EngineSample] = {}

    def samples(self, deployment: str) -> tuple[EngineSample, ...]:
        """The newest sample of each of a deployment's workers, by worker."""
        return samples_of(deployment, self._latest)

    async def run(self) -> Never:
        """Ask once per interval."""
        while True:
            await self.round()
            await asyncio.sleep(self._interval * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - not a secret

    async def round(self) -> None:
        """Ask once, and wake the deployments of which something new is known."""
        targets = tuple(self._targets())
        if not targets:
            self._latest = {}
            return
        before, answers = self._latest, await self._prometheus.ask((SCRAPED, *QUERIES.values()))
        if answers is None:
            self._latest = {}
            self._count_failure()
            return
        fleet = read_fleet(answers)
        found = ((target, fleet.sample(target)) for target in targets)
        self._latest = {target: sample for target, sample in found if sample is not None}
        news = {target.deployment for target, sample in self._latest.items() if before.get(target) != sample}
        for deployment in sorted(news):
            self._wake(deployment)


class Waker:
    """Asks whether requests wait for deployments that have no replica: by a query that each names itself.

    Only a number above zero is a request; no answer, no series and an error are none.
    """

    def __init__(
        self,
        prometheus: Prometheus,
        queries: Callable[[], Mapping[str, str]],
        wake: Callable[[str], None],
        *,
        interval_seconds: float = 2.0,
    ) -> None:
        self._prometheus = prometheus
        self._queries = queries
        self._wake = wake
        self._interval = interval_seconds
        self._wanted: frozenset[str] = frozenset()

    def wanted(self, deployment: str) -> bool:
        """Whether a request waited for the deployment when it was last asked."""
        return deployment in self._wanted

    async def run(self) -> Never:
        """Ask once per interval."""
        while True:
            await self.round()
            await asyncio.sleep(self._interval)

    async def round(self) -> None:
        """Ask for every deployment that sleeps; each alone, for one's broken query is not another's."""
        wanted = set()
        for deployment, query in self._queries().items():
            answers = await self._prometheus.ask((query,))
            if answers and any(value > 0 for value in _values(answers[0])):
                wanted.add(deployment)
        self._wanted = frozenset(wanted)
        for deployment in sorted(wanted):
            self._wake(deployment)


def _values(answer: Sequence[Any]) -> list[float]:
    """The numbers of a user's own query: a scalar is one (instant, number) pair, anything else has series."""
    try:
        return [float(series["value"][1]) for series in answer]
    except TypeError:
        return [float(answer[1])]
    except (KeyError, ValueError):
        return []  # a range, a string or a native histogram: no number
