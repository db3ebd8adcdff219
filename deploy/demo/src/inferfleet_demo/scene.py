"""What every step of the demo shares: the cluster, what was said, what was measured, what to look at."""

from __future__ import annotations

import calendar
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inferfleet_demo.kube import Kube, StepFailedError, eventually
from inferfleet_demo.load import Load

NAME = "quickstart"
NAMESPACE = "demo"
OPERATOR_NAMESPACE = "inferfleet-system"
SERVICE_URL = f"http://{NAME}.{NAMESPACE}"
INTERRUPTED = "karpenter.sh/disrupted"  # the taint by which Karpenter announces that a node goes
CAPACITY_LABEL = "inferfleet.dev/capacity-type"
STAYING_NODES = {"karpenter.sh/capacity-type": "on-demand"}
WORKER_LABELS = f"inferfleet.dev/deployment={NAME},inferfleet.dev/worker"


def instant(timestamp: str) -> float:
    """Return seconds since the epoch of a Kubernetes timestamp (whole seconds)."""
    return float(calendar.timegm(time.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ")))


@dataclass
class Scene:
    """The running demo.

    `measured` holds seconds by what they are of; `may_kill` is for machines of our own.
    """

    checkout: Path
    kube: Kube
    may_kill: bool = True
    measured: dict[str, float] = field(default_factory=dict)
    applied_at: float = 0.0

    def did(self, text: str) -> None:
        """Print what was done."""
        print(f"  $ {text}", flush=True)

    def saw(self, text: str) -> None:
        """Print what was seen."""
        print("\n".join(f"    {line}" for line in text.rstrip().splitlines()), flush=True)

    def expect(self, true: bool, what: str, saw: object) -> None:
        """Fail the step unless this is true."""
        if not true:
            raise StepFailedError(f"expected {what}; saw: {saw}")

    def show(self, *arguments: str) -> None:
        """Run kubectl as a user would and print command and answer."""
        self.did(f"kubectl -n {NAMESPACE} {' '.join(arguments)}")
        self.saw(self.kube.kubectl(*arguments))

    def deployment(self) -> dict[str, Any]:
        """Return the InferenceDeployment."""
        found: dict[str, Any] = self.kube.get("infd", NAME)
        return found

    def status(self) -> dict[str, Any]:
        """Return its status, empty before the first."""
        status: dict[str, Any] = self.deployment().get("status", {})
        return status

    def summary(self) -> str:
        """Return what matters in one line, for a step that waits in vain."""
        status = self.status()
        false = [
            f"{c['type']}={c['status']} {c['reason']}: {c.get('message', '')}"
            for c in status.get("conditions", ())
            if c["status"] != "True"
        ]
        counts = {
            key: status.get(key) for key in ("readyReplicas", "desiredReplicas", "spotReadyReplicas", "queue")
        }
        return f"{counts}; {'; '.join(false)}"

    def workers(self) -> list[dict[str, Any]]:
        """Return the workers' pods that are not on their way out."""
        pods: list[dict[str, Any]] = self.kube.get("pods", "-l", WORKER_LABELS)["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def ready_workers(self) -> list[dict[str, Any]]:
        """Return those that are Ready."""
        return [pod for pod in self.workers() if is_ready(pod)]

    def endpoints(self) -> set[str]:
        """Return the names of the pods that the Service sends requests to."""
        slices = self.kube.get("endpointslices", "-l", f"kubernetes.io/service-name={NAME}")["items"]
        return {
            endpoint["targetRef"]["name"]
            for one in slices
            for endpoint in one.get("endpoints") or ()
            if endpoint["conditions"].get("ready")
        }

    def await_workers(self, count: int, seconds: float) -> list[dict[str, Any]]:
        """Wait until exactly this many workers exist, all Ready."""

        def look() -> list[dict[str, Any]] | None:
            workers = self.workers()
            return workers if len(workers) == count and all(map(is_ready, workers)) else None

        return eventually(f"{count} workers Ready", look, seconds=seconds, saw=self.summary)

    def traffic(self, name: str, **arguments: object) -> Load:
        """Start a traffic pod on the on-demand node; keyword arguments are the script's options."""
        options = {"url": SERVICE_URL, "model": self.model_name(), **arguments}
        flags = [
            part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", str(value))
        ]
        self.did(f"traffic pod {name}: {' '.join(f'{key}={value}' for key, value in arguments.items())}")
        return Load.start(self.kube, name, node_labels=STAYING_NODES, arguments=tuple(flags))

    def model_name(self) -> str:
        """Return the model's name for clients."""
        return str(self.deployment()["spec"]["model"]["id"]).rstrip("/").rsplit("/", 1)[-1]


def is_ready(pod: dict[str, Any]) -> bool:
    """Return whether the pod's Ready condition is True."""
    conditions = pod["status"].get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
