"""What benchmarks do on a cluster whose nodes and pods kwok plays."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from inferfleet_local.machines import Machine, simulated_node

ROOT = Path(__file__).resolve().parents[1]
GPUS_PER_NODE = 4


def node(number: int) -> dict[str, Any]:
    """One pretend machine, on-demand, like all the others but for its name."""
    like = simulated_node(Machine(1, gpus=GPUS_PER_NODE))
    name = f"pretend-{number:04}"
    labels = {**like["metadata"]["labels"], "kubernetes.io/hostname": name}
    return {**like, "metadata": {**like["metadata"], "name": name, "labels": labels}}


def deployment(name: str, namespace: str, model: str, replicas: int) -> dict[str, Any]:
    """One deployment of one-GPU replicas."""
    return {
        "apiVersion": "inferfleet.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"id": model, "contextLength": 2048},
            "parallelism": {"tensor": 1},
            "autoscaling": {"mode": "Off"},
            "replicas": replicas,
        },
    }


def prepare(kubectl: Kubectl, namespace: str) -> None:
    """Apply our definitions, wait until they are served, and make the namespace."""
    kubectl.apply(*(path.read_text() for path in sorted((ROOT / "crds").glob("*.yaml"))))
    kubectl.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))


class Kubectl:
    """kubectl on the pretend cluster."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._program = program

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Run it and return what it printed."""
        command = [self._program, "--kubeconfig", self.kubeconfig, *words]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout

    def apply(self, *documents: str) -> None:
        """Apply manifests on the server side."""
        self.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin="\n---\n".join(documents))

    def count(self, kind: str, namespace: str) -> int:
        """Count objects in a namespace."""
        return len(self.run("get", kind, "-n", namespace, "-o", "name").split())


def table(rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first row is its heading."""
    heading, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, ["---"] * len(heading), *body))
