"""What a pass found and decided about one deployment, as metrics with the numbers that led to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from inferfleet.values import LossCause, Plan, ScalingDecision

SERIES: Final[Mapping[str, str]] = {
    "replicas_desired": "Replicas wanted.",
    "replicas_ready": "Replicas in service.",
    "replicas_spot_ready": "Replicas in service on spot.",
    "queue": "Waiting requests.",
    "tokens_per_second": "Generated tokens per second.",
    "dollars_per_hour": "Cost of all replicas per hour.",
    "dollars_per_million_tokens": "Cost of a million tokens.",
    "lost_requests": "Requests that were cut off, so far.",
    "scaling_demand_tokens_per_second": "Generated tokens per second that the arrivals ask for.",
    "scaling_forecast_tokens_per_second": "Demand a cold start ahead, as it is where no forecast is trusted.",
    "scaling_forecast_error_tokens_per_second": "How far off that was of late, on average.",
    "scaling_capacity_tokens_per_second": "Generated tokens per second of one replica at the objectives.",
    "scaling_arrivals_per_second": "Requests that came per second, over the last minute.",
    "scaling_utilization": "Share of the capacity that is planned for.",
    "scaling_output_tokens": "Output tokens of the mean request.",
    "scaling_running": "Running requests.",
    "scaling_cold_start_seconds": "Seconds from creation to Ready to reckon with.",
    "scaling_time_to_first_token_seconds": "TTFT at the objectives' percentile, over the last minute.",
    "scaling_inter_token_latency_seconds": "ITL at the objectives' percentile, over the last minute.",
    "scaling_panic": "1 during a burst, in which nothing is scaled down.",
    "scaling_law_replicas": "Replicas that a law asks for; the largest wins.",
    "scaling_limited": "1 for what changed the laws' answer.",
    "scaling_evidence": "1 for how much of the fleet was heard.",
    "scaling_forecast_trusted": "1 for each forecast that is trusted.",
}
LABELS: Final[Mapping[str, str]] = {
    "lost_requests": "cause",
    "scaling_law_replicas": "law",
    "scaling_limited": "limit",
    "scaling_evidence": "evidence",
    "scaling_forecast_trusted": "forecast",
}
"""The label of a series beside those of the deployment; all are bounded by deployments, laws and limits."""

Numbers = dict[tuple[str, ...], float]
"""By series, and by the value of its label where it has one."""


def numbers_of(plan: Plan) -> Numbers:
    """What a pass shows; what is not known has no number."""
    lost = dict(plan.memory.lost)
    shown: dict[tuple[str, ...], float | None] = {
        ("replicas_desired",): plan.desired,
        ("replicas_ready",): plan.ready,
        ("replicas_spot_ready",): plan.spot_ready,
        ("dollars_per_hour",): plan.dollars_per_hour,
        ("dollars_per_million_tokens",): plan.dollars_per_million_tokens,
        **{("lost_requests", cause.value): lost.get(cause, 0) for cause in LossCause},
    }
    return _known(shown) | (decision_numbers(plan.decision) if plan.decision else {})


def decision_numbers(decision: ScalingDecision) -> Numbers:
    """A scaling decision: what it saw, what each law asked for, and what limited the answer."""
    seen: dict[tuple[str, ...], float | None] = {
        ("queue",): decision.queue,
        ("tokens_per_second",): decision.tokens_per_second,
        ("scaling_demand_tokens_per_second",): decision.demand_tokens_per_second,
        ("scaling_forecast_tokens_per_second",): decision.forecast_tokens_per_second,
        ("scaling_forecast_error_tokens_per_second",): decision.forecast_error_tokens_per_second,
        ("scaling_capacity_tokens_per_second",): decision.capacity_tokens_per_second,
        ("scaling_arrivals_per_second",): decision.arrivals_per_second,
        ("scaling_utilization",): decision.utilization,
        ("scaling_output_tokens",): decision.output_tokens,
        ("scaling_running",): decision.running,
        ("scaling_cold_start_seconds",): decision.cold_start_seconds,
        ("scaling_time_to_first_token_seconds",): decision.ttft_seconds,
        ("scaling_inter_token_latency_seconds",): decision.itl_seconds,
        ("scaling_panic",): decision.panic,
        **{("scaling_law_replicas", law): replicas for law, replicas in decision.laws},
        **{("scaling_limited", limit): 1 for limit in _words(decision.limited_by)},
        **{("scaling_evidence", evidence): 1 for evidence in _words(decision.evidence)},
        **{("scaling_forecast_trusted", forecast): 1 for forecast in _words(decision.foreseen_by)},
    }
    return _known(seen)


def _known(found: Mapping[tuple[str, ...], float | None]) -> Numbers:
    return {series: float(number) for series, number in found.items() if number is not None}


def _words(text: str) -> Iterator[str]:
    return filter(None, text.split(", "))


class DeploymentMetrics:
    """The newest numbers of each deployment; those that a pass does not show again are gone."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._series = {
            name: Gauge(
                f"inferfleet_{name}",
                text,
                ("namespace", "deployment", *([LABELS[name]] if name in LABELS else [])),
                registry=registry,
            )
            for name, text in SERIES.items()
        }
        self._shown: dict[tuple[str, str], Numbers] = {}

    def show(self, namespace: str, deployment: str, numbers: Numbers) -> None:
        """Show these numbers in place of the last ones."""
        before = self._shown.get((namespace, deployment), {})
        for series, *label in before.keys() - numbers.keys():
            self._series[series].remove(namespace, deployment, *label)
        for (series, *label), number in numbers.items():
            self._series[series].labels(namespace, deployment, *label).set(number)
        self._shown[namespace, deployment] = numbers

    def forget(self, namespace: str, deployment: str) -> None:
        """Drop the series of a deployment that is gone."""
        self.show(namespace, deployment, {})
        del self._shown[namespace, deployment]
