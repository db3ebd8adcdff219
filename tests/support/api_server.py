"""A real API server for tests, and the two programs that talk to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "inferfleet"


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        return self.code == 0


def run(*command: str | Path, stdin: str | None = None) -> Outcome:
    """Run a program to its end."""
    done = subprocess.run(
        [str(word) for word in command], input=stdin, capture_output=True, text=True, check=False, timeout=180
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class ApiCluster:
    """A control plane with the project's definitions installed."""

    kubectl_program: Path
    helm_program: Path
    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> Outcome:
        return run(self.kubectl_program, "--kubeconfig", self.kubeconfig, *arguments, stdin=stdin)

    def helm(self, *arguments: str) -> Outcome:
        return run(self.helm_program, "--kubeconfig", self.kubeconfig, *arguments)

    def must(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it printed; an error is the test's failure."""
        outcome = self.kubectl(*arguments, stdin=stdin)
        assert outcome.ok, outcome.err
        return outcome.out

    def get(self, *arguments: str) -> Any:
        return json.loads(self.must("get", *arguments, "-o", "json"))

    def apply(self, *manifests: Mapping[str, Any], dry_run: bool = False) -> Outcome:
        """Apply on the server side, as the operator does; unknown fields are refused."""
        flags = ["--server-side", "--force-conflicts", "--validate=strict", "--field-manager=test"]
        documents = "\n---\n".join(json.dumps(manifest) for manifest in manifests)
        if dry_run:
            flags.append("--dry-run=server")
        return self.kubectl("apply", *flags, "-f", "-", stdin=documents)

    def namespace(self, name: str) -> str:
        """Return a namespace, made if need be; one that an earlier test left going is waited for."""
        found = self.kubectl("get", "namespace", name, "-o", "jsonpath={.status.phase}")
        if found.out == "Terminating":
            self.must("wait", "--for=delete", f"namespace/{name}", "--timeout=60s")
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        outcome = self.apply(manifest)
        assert outcome.ok, outcome.err
        return name
