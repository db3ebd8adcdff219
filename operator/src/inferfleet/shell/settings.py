"""What the operator's process is told at its start."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class MetricsSource(StrEnum):
    """Who looks at the workers."""

    DIRECT = "direct"
    PROMETHEUS = "prometheus"


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of `inferfleet run`.

    `identity` names this replica in the Lease: the pod's name, so that a restarted container takes its own
    lease back at once. `namespaces` are those served, all of them when empty. `prometheus_url` is needed for
    that source of metrics, and for the deployments that name a query to be woken by.
    """

    identity: str
    lease_namespace: str
    operator_image: str
    namespaces: frozenset[str] = frozenset()
    kubeconfig: str | None = None
    context: str | None = None
    lease_name: str = "inferfleet-operator"
    port: int = 8080
    scrape_interval_seconds: float = 2.0
    metrics_source: MetricsSource = MetricsSource.DIRECT
    prometheus_url: str | None = None
    prometheus_token_file: Path | None = None
