"""The few things that are said to an API server, through kubectl."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inferfleet_local.errors import ClusterError
from inferfleet_local.processes import await_true
from inferfleet_local.run import run, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

READY_SECONDS = 90
FIELD_MANAGER = "inferfleet-local"


@dataclass(frozen=True, slots=True)
class Kubectl:
    """A kubectl program and the cluster that it talks to."""

    program: Path
    kubeconfig: Path

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run one kubectl command and return what it printed."""
        return run([self.program, "--kubeconfig", self.kubeconfig, *arguments], stdin=stdin)

    def apply(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Apply objects on the server side."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        manager = f"--field-manager={FIELD_MANAGER}"
        self("apply", "--server-side", "--force-conflicts", manager, "-f", "-", stdin=json.dumps(items))

    def get(self, *arguments: str) -> Any:
        """Return what `kubectl get -o json` printed."""
        return json.loads(self("get", *arguments, "-o", "json"))

    @property
    def ready(self) -> bool:
        """Whether the API server answers and calls itself ready."""
        try:
            return self("get", "--raw", "/readyz", "--request-timeout=5s") == "ok"
        except ClusterError:
            return False

    def await_ready(self, log: Path, *, going_on: Callable[[], bool] = lambda: True) -> None:
        """Wait for the API server.

        Args:
            log: Where the API server writes.
            going_on: Whether waiting still makes sense.

        Raises:
            ClusterError: It is not ready in time.
        """
        await_true(lambda: self.ready or not going_on(), timeout_seconds=READY_SECONDS)
        if not self.ready:
            raise ClusterError(f"the API server is not ready, log {log}:\n{tail(log)}")
