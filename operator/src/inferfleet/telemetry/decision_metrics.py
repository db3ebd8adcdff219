"""Every scaling decision as metrics, with the numbers that led to it."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from inferfleet.values import ScalingDecision

DEPLOYMENT: Final = ("namespace", "deployment")

NUMBERS: Final = (
    ("demand_tokens_per_second", "Generated tokens per second that the arrivals ask for."),
    ("forecast_tokens_per_second", "Demand a cold start ahead by the forecasts that are trusted, else 0."),
    ("capacity_tokens_per_second", "Generated tokens per second of one replica at the objectives."),
    ("arrivals_per_second", "Requests that came per second, over the last minute."),
    ("utilization", "Share of the capacity that is planned for."),
    ("output_tokens", "Output tokens of the mean request."),
    ("running", "Running requests."),
    ("cold_start_seconds", "Seconds from creation to Ready to reckon with."),
    ("ttft_seconds", "Time to first token at the objectives' percentile, over the last minute."),
    ("itl_seconds", "Inter-token latency at the objectives' percentile, over the last minute."),
    ("panic", "1 during a burst, in which nothing is scaled down."),
)
"""Fields of a decision; one that is None has no series."""


class DecisionMetrics:
    """The series of scaling decisions; labels are bounded by deployments, laws and limits."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *more: str) -> Gauge:
            return Gauge(f"inferfleet_scaling_{name}", text, (*DEPLOYMENT, *more), registry=registry)

        self._numbers = {name: gauge(name, text) for name, text in NUMBERS}
        self._laws = gauge("law_replicas", "Replicas that a law asks for; the largest wins.", "law")
        self._limits = gauge("limited", "1 for what changed the laws' answer.", "limit")
        self._evidence = gauge("evidence", "1 for how much of the fleet was heard.", "evidence")
        self._foreseen = gauge("forecast_trusted", "1 for each forecast that is trusted.", "forecast")

    def observe(self, namespace: str, name: str, decision: ScalingDecision) -> None:
        """Show one decision in place of the last one."""
        self.forget(namespace, name)
        for number, series in self._numbers.items():
            value = getattr(decision, number)
            if value is not None:
                series.labels(namespace, name).set(float(value))
        for law, replicas in decision.laws:
            self._laws.labels(namespace, name, law).set(replicas)
        for series, words in (
            (self._limits, decision.limited_by),
            (self._evidence, decision.evidence),
            (self._foreseen, decision.foreseen_by),
        ):
            for word in filter(None, words.split(", ")):
                series.labels(namespace, name, word).set(1)

    def forget(self, namespace: str, name: str) -> None:
        """Drop the series of a deployment."""
        for series in (*self._numbers.values(), self._laws, self._limits, self._evidence, self._foreseen):
            series.remove_by_labels({"namespace": namespace, "deployment": name})
