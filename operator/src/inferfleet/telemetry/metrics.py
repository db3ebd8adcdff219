"""The operator's own metrics, in the form that Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from inferfleet.telemetry.decision_metrics import DecisionMetrics
from inferfleet.values import LossCause, Plan

PASS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
DEPLOYMENT = ("namespace", "deployment")


@dataclass(frozen=True, slots=True)
class Metrics:
    """All series; labels are few and bounded by the number of deployments."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    passes: Counter = field(init=False)
    pass_seconds: Histogram = field(init=False)
    pass_failures: Counter = field(init=False)
    actions: Counter = field(init=False)
    action_failures: Counter = field(init=False)
    scrape_failures: Counter = field(init=False)
    view_age_seconds: Gauge = field(init=False)
    lease_held: Gauge = field(init=False)
    replicas_desired: Gauge = field(init=False)
    replicas_ready: Gauge = field(init=False)
    queue: Gauge = field(init=False)
    tokens_per_second: Gauge = field(init=False)
    dollars_per_hour: Gauge = field(init=False)
    dollars_per_million_tokens: Gauge = field(init=False)
    replicas_spot_ready: Gauge = field(init=False)
    lost_requests: Gauge = field(init=False)
    decisions: DecisionMetrics = field(init=False)

    def __post_init__(self) -> None:
        def make(kind: type, name: str, text: str, labels: Iterable[str] = (), **options: object) -> None:
            series = kind(f"inferfleet_{name}", text, tuple(labels), registry=self.registry, **options)
            object.__setattr__(self, name, series)

        make(Counter, "passes", "Passes over a deployment.")
        make(
            Histogram, "pass_seconds", "Seconds that a pass takes, without its writes.", buckets=PASS_BUCKETS
        )
        make(Counter, "pass_failures", "Passes that ended in an unexpected error.")
        make(Counter, "actions", "Actions carried out.", ("kind",))
        make(Counter, "action_failures", "Actions that failed.", ("kind",))
        make(Counter, "scrape_failures", "Looks at a worker that brought nothing.")
        make(Gauge, "view_age_seconds", "Seconds since a view was last known to be current.", ("view",))
        make(Gauge, "lease_held", "1 while this replica is the active one.")
        make(Gauge, "replicas_desired", "Replicas wanted.", DEPLOYMENT)
        make(Gauge, "replicas_ready", "Replicas in service.", DEPLOYMENT)
        make(Gauge, "queue", "Waiting requests.", DEPLOYMENT)
        make(Gauge, "tokens_per_second", "Generated tokens per second.", DEPLOYMENT)
        make(Gauge, "dollars_per_hour", "Cost of all replicas per hour.", DEPLOYMENT)
        make(Gauge, "dollars_per_million_tokens", "Cost of a million tokens.", DEPLOYMENT)
        make(Gauge, "replicas_spot_ready", "Replicas in service on spot.", DEPLOYMENT)
        make(Gauge, "lost_requests", "Requests that were cut off, so far.", (*DEPLOYMENT, "cause"))
        object.__setattr__(self, "decisions", DecisionMetrics(self.registry))

    def observe_plan(self, namespace: str, name: str, plan: Plan) -> None:
        """Show what a pass found and wants."""
        self.replicas_desired.labels(namespace, name).set(plan.desired)
        self.replicas_ready.labels(namespace, name).set(plan.ready)
        self.replicas_spot_ready.labels(namespace, name).set(plan.spot_ready)
        lost = dict(plan.lost)
        for cause in LossCause:
            self.lost_requests.labels(namespace, name, cause.value).set(lost.get(cause, 0))
        self.dollars_per_hour.labels(namespace, name).set(plan.dollars_per_hour)
        if plan.dollars_per_million_tokens is not None:
            self.dollars_per_million_tokens.labels(namespace, name).set(plan.dollars_per_million_tokens)
        if plan.decision:
            self.queue.labels(namespace, name).set(plan.decision.queue)
            self.tokens_per_second.labels(namespace, name).set(plan.decision.tokens_per_second)
            self.decisions.observe(namespace, name, plan.decision)

    def forget(self, namespace: str, name: str) -> None:
        """Drop the series of a deployment that is gone."""
        for series in (
            self.replicas_desired,
            self.replicas_ready,
            self.replicas_spot_ready,
            self.dollars_per_hour,
            self.dollars_per_million_tokens,
            self.queue,
            self.tokens_per_second,
        ):
            if (namespace, name) in series._metrics:  # noqa: SLF001 - `remove` raises for an unknown one
                series.remove(namespace, name)
        self.decisions.forget(namespace, name)
        self.lost_requests.remove_by_labels({"namespace": namespace, "deployment": name})

    def exposition(self) -> bytes:
        """The text that a scrape gets."""
        return generate_latest(self.registry)
