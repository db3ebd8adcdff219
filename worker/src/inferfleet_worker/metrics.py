"""The worker's state as Prometheus metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from inferfleet_wire import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from inferfleet_wire import State

PREFIX = "inferfleet_worker_"


def exposition(state: State, *, started_at: float, metadata_failures: int) -> bytes:
    """The text format of one state."""
    registry = CollectorRegistry()
    registry.register(_StateCollector(state, started_at, metadata_failures))
    return generate_latest(registry)


class _StateCollector(Collector):
    """One state, so that all values of a scrape belong together."""

    def __init__(self, state: State, started_at: float, metadata_failures: int) -> None:
        self._state = state
        self._started_at = started_at
        self._metadata_failures = metadata_failures

    def collect(self) -> Iterator[Metric]:
        state = self._state
        yield _gauge("in_flight_requests", "Requests inside the engine", state.in_flight.requests)
        yield _gauge("in_flight_tokens", "Streamed chunks of unfinished answers", state.in_flight.tokens)
        yield _gauge("gates", "API server processes that count", state.gates)
        yield _counter("accepted", "Requests let in", state.accepted_total)
        yield _counter("finished", "Requests answered to the end", state.finished_total)
        yield _counter(
            "disconnected", "Requests that their client walked away from", state.disconnected_total
        )
        yield _counter_by_cause("refused", "Requests answered 503", state.refused_total)
        yield _counter_by_cause("lost", "Accepted requests without a whole answer", state.lost_total)
        yield _counter("metadata_failures", "Polls of metadata services that failed", self._metadata_failures)
        yield _gauge("engine_ready", "1 while the engine answers its health check", state.engine_ready)
        yield _gauge("engine_start_time_seconds", "When the engine was started", self._started_at)
        phases = GaugeMetricFamily(f"{PREFIX}phase", "1 for the phase that holds", labels=["phase"])
        info = GaugeMetricFamily(
            f"{PREFIX}info", "1; `start` tells one start of the engine from another", labels=["start"]
        )
        info.add_metric([state.instance], 1.0)
        notices = GaugeMetricFamily(
            f"{PREFIX}notice_deadline_seconds",
            "Instant that a standing notice gives, 0 where it gives none",
            labels=["kind", "source"],
        )
        for phase in Phase:
            phases.add_metric([phase.value], float(phase is state.phase))
        for notice in state.notices:
            notices.add_metric([notice.kind.value, notice.source], notice.deadline or 0.0)
        yield info
        yield phases
        yield notices
        if state.drain is not None and state.drain.deadline is not None:
            yield _gauge("drain_deadline_seconds", "Instant at which the drain ends", state.drain.deadline)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, value=value)


def _counter_by_cause(name: str, text: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=["cause"])
    for cause, value in values.items():
        family.add_metric([cause], value)
    return family
