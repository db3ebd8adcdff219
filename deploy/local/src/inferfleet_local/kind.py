"""For users who have a container engine and kind: the same nodes, made by kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferfleet_local.gpus import await_gpus
from inferfleet_local.kubectl import Kubectl
from inferfleet_local.machines import Machine, machines
from inferfleet_local.run import run, run_logged
from inferfleet_local.state import write_atomically

if TYPE_CHECKING:
    from inferfleet_local.progress import Progress
    from inferfleet_local.state import Places


def configuration(nodes: tuple[Machine, ...]) -> dict[str, Any]:
    """Render kind's configuration: workers named and labelled as our own nodes are."""
    workers = [{"role": "worker", "labels": machine.labels} for machine in nodes]
    return {
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "kind": "Cluster",
        "nodes": [{"role": "control-plane"}, *workers],
    }


def up(where: Places, count: int, progress: Progress) -> Kubectl:
    """Create the kind cluster unless it is there; return kubectl for it."""
    kubectl = Kubectl(Path("kubectl"), where.kubeconfig)
    if where.name not in run(["kind", "get", "clusters"]).split():
        settings = where.folder / "kind.json"
        write_atomically(settings, json.dumps(configuration(machines(count)), indent=1))
        with progress.step("kind create"):
            run_logged(
                [
                    *("kind", "create", "cluster", "--name", where.name, "--config", settings),
                    *("--wait", "120s", "--kubeconfig", where.kubeconfig),
                ],
                where.logs / "kind.log",
            )
    with progress.step("nodes ready"):
        workers = kubectl.get("nodes", "-l", "nvidia.com/gpu.present=true")["items"]
        await_gpus(kubectl, {one["metadata"]["name"]: Machine(1).gpus for one in workers}, {})
    return kubectl


def down(where: Places) -> None:
    """Delete the kind cluster."""
    run_logged(
        ["kind", "delete", "cluster", "--name", where.name, "--kubeconfig", where.kubeconfig],
        where.logs / "kind.log",
    )
