"""What the operator's process is told at its start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of `inferfleet run`.

    `identity` names this replica in the Lease: the pod's name, so that a restarted container takes its own
    lease back at once. `namespaces` are those served, all of them when empty.
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
