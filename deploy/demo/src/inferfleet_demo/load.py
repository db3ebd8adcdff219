"""Traffic pods: start one, read its tally, stop it, and get what it saw."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferfleet_demo.kube import Kube, StepFailedError, eventually

IMAGE = "inferfleet/operator:dev"  # has Python and aiohttp
SCRIPT = Path(__file__).with_name("traffic.py")


@dataclass(frozen=True)
class Load:
    """One traffic pod."""

    kube: Kube
    name: str

    @classmethod
    def start(
        cls,
        kube: Kube,
        name: str,
        *,
        node_labels: dict[str, str],
        arguments: tuple[str, ...],
        scripts: tuple[Path, ...] = (SCRIPT,),
    ) -> Load:
        """Start a pod that runs the last of these modules, away from nodes about to be lost."""
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {script.name: script.read_text() for script in scripts},
        }
        kube.kubectl("apply", "-f", "-", stdin=json.dumps(config))
        places = [{"key": script.name, "path": f"{script.parent.name}/{script.name}"} for script in scripts]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "traffic"}},
            "spec": {
                "restartPolicy": "Never",
                "nodeSelector": node_labels,
                "tolerations": [{"operator": "Exists"}],
                "enableServiceLinks": False,
                "automountServiceAccountToken": False,
                "containers": [
                    {
                        "name": "traffic",
                        "image": IMAGE,
                        "command": [
                            "python3",
                            "-m",
                            f"{scripts[-1].parent.name}.{scripts[-1].stem}",
                            *arguments,
                        ],
                        "workingDir": "/traffic",
                        "volumeMounts": [{"name": "script", "mountPath": "/traffic"}],
                        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                    }
                ],
                "volumes": [{"name": "script", "configMap": {"name": name, "items": places}}],
            },
        }
        kube.kubectl("delete", "pod", name, "--ignore-not-found", "--wait")
        kube.kubectl("create", "-f", "-", stdin=json.dumps(pod))
        load = cls(kube, name)
        eventually(f"first tally of {name}", lambda: load.tally() or None, seconds=60, saw=load.phase)
        return load

    def phase(self) -> str:
        """Return the pod's phase."""
        return str(self.kube.get("pod", self.name)["status"].get("phase"))

    def tally(self) -> dict[str, Any]:
        """Return the latest tally, or the summary; empty before the first."""
        if self.phase() == "Pending":
            return {}
        lines = self.kube.kubectl("logs", self.name, "--tail=1").strip().splitlines()
        if not lines:
            return {}
        try:
            last = json.loads(lines[-1])
        except ValueError:
            raise StepFailedError(
                f"{self.name} printed: {self.kube.kubectl('logs', self.name)[-2000:]}"
            ) from None
        tally: dict[str, Any] = last.get("summary", last)
        return tally

    def finish(self, seconds: float) -> dict[str, Any]:
        """Wait until every request has been answered, and return the summary."""
        ended = ("Succeeded", "Failed")
        eventually(
            f"{self.name} finished", lambda: self.phase() in ended or None, seconds=seconds, saw=self.phase
        )
        summary = self.tally()
        self.kube.kubectl("delete", "pod", self.name, "--wait=false")
        return summary

    def stop(self, seconds: float = 180) -> dict[str, Any]:
        """Send no further request, wait for those in flight, and return the summary."""
        self.kube.kubectl("exec", self.name, "--", "sh", "-c", "kill -TERM 1")
        return self.finish(seconds)
