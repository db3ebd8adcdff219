"""The operator's own metrics, in the form that Prometheus scrapes."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from inferfleet.telemetry.deployment_metrics import DeploymentMetrics

PASS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """All series; labels are few and bounded by the number of deployments."""

    def __init__(self) -> None:
        self.registry = made = CollectorRegistry()
        self.passes = Counter("inferfleet_passes", "Passes over a deployment.", registry=made)
        self.pass_seconds = Histogram(
            "inferfleet_pass_seconds",
            "Seconds that a pass takes, without its writes.",
            registry=made,
            buckets=PASS_BUCKETS,
        )
        self.pass_failures = Counter(
            "inferfleet_pass_failures", "Passes that ended in an unexpected error.", registry=made
        )
        self.actions = Counter("inferfleet_actions", "Actions carried out.", ("kind",), registry=made)
        self.action_failures = Counter(
            "inferfleet_action_failures", "Actions that failed.", ("kind",), registry=made
        )
        self.scrape_failures = Counter(
            "inferfleet_scrape_failures", "Looks at a worker that brought nothing.", registry=made
        )
        self.view_age_seconds = Gauge(
            "inferfleet_view_age_seconds",
            "Seconds since a view was last known to be current.",
            ("view",),
            registry=made,
        )
        self.lease_held = Gauge(
            "inferfleet_lease_held", "1 while this replica is the active one.", registry=made
        )
        self.deployments = DeploymentMetrics(made)

    def exposition(self) -> bytes:
        """The text that a scrape gets."""
        return generate_latest(self.registry)
