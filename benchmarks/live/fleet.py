"""The deployment under test, what is seen of its replicas, and what its engines say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Never

import yaml
from policies import WAITING, Policy

from inferfleet.cluster.client import NOT_FOUND, TRANSIENT, ApiFailure, ApiServer
from inferfleet.telemetry.workers import WorkerClient
from inferfleet_demo.scene import NAME, NAMESPACE, WORKER_LABELS

LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Fitting:
    """How the deployment is cut for the machine: every replica is held to `cpu` cores."""

    most: int = 3
    cpu: str = "500m"
    batch: int = 4
    ttft: str = "2s"
    itl: str = "40ms"
    percentile: float = 95
    down_seconds: int = 60

    def manifests(self, example: Path, policy: Policy | None) -> list[dict[str, Any]]:
        """Render the quickstart as this benchmark needs it; without a policy, one replica stays."""
        documents = list(yaml.safe_load_all(example.read_text()))
        spec = documents[-1]["spec"]
        spec["engine"]["maxNumSeqs"] = self.batch
        spec["objectives"] = {
            "percentile": self.percentile,
            "timeToFirstToken": self.ttft,
            "interTokenLatency": self.itl,
        }
        spec["capacity"] = {}
        engine = {"name": "engine", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": self.cpu}}}
        spec["podTemplate"] = {"spec": {"containers": [engine]}}
        if policy is None or policy.mode == "External":
            spec["autoscaling"] = {"mode": "External" if policy else "Off"}
            spec["replicas"] = 1
        else:
            window = f"{self.down_seconds}s"
            spec["autoscaling"] = {"minReplicas": 1, "maxReplicas": self.most, "scaleDownWindow": window}
        return documents


@dataclass(frozen=True)
class Look:
    """The replicas at an instant: wanted, existing (leaving ones too), staying, Ready."""

    at: float
    desired: int
    existing: int
    staying: int
    ready: int


@dataclass
class Watch:
    """Looks at the replicas twice a second."""

    api: ApiServer
    looks: list[Look] = field(default_factory=list)

    async def run(self) -> Never:
        """Look until cancelled."""
        selector = {"labelSelector": WORKER_LABELS}
        while True:
            try:
                pods = (await self.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods", selector))["items"]
                path = f"/apis/inferfleet.dev/v1alpha1/namespaces/{NAMESPACE}/inferencedeployments/{NAME}"
                status = (await self.api.get(path)).get("status", {})
                self.looks.append(_look(pods, status.get("desiredReplicas", 0)))
            except ApiFailure as failure:
                if failure.status != NOT_FOUND:  # not made yet
                    raise
            except TRANSIENT as error:
                print(f"    not seen: {error}", flush=True)
            await asyncio.sleep(LOOK_SECONDS)


def _look(pods: Sequence[dict[str, Any]], desired: int) -> Look:
    staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    ready = [pod for pod in staying if _is_ready(pod)]
    return Look(time.time(), desired, len(pods), len(staying), len(ready))


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def replica_seconds(looks: Sequence[Look], begin: float, end: float) -> float:
    """Seconds of replicas that exist, starting and leaving ones too: what would be paid."""
    within = [look for look in looks if begin <= look.at <= end]
    return sum(one.existing * (two.at - one.at) for one, two in pairwise(within))


def reaction(looks: Sequence[Look], begin: float, end: float) -> tuple[float | None, float | None]:
    """Seconds from `begin` until a replica more is asked for, and is Ready; None: not by `end`."""
    pairs = [(one, two) for one, two in pairwise(looks) if begin < two.at <= end]
    asked = next((two.at - begin for one, two in pairs if two.staying > one.staying), None)
    ready = next((two.at - begin for one, two in pairs if two.ready > one.ready), None)
    return asked, ready


class Engines:
    """What the engines hold now, asked from them directly. `asked` counts the questions."""

    def __init__(self, api: ApiServer, client: WorkerClient) -> None:
        self._api = api
        self._client = client
        self.asked = 0

    def reader(self) -> Callable[[str, str], float | None]:
        """The same for other threads: the questions are answered on the loop that is running now."""
        loop = asyncio.get_running_loop()

        def read(namespace: str, metric: str) -> float | None:
            self.asked += 1
            return asyncio.run_coroutine_threadsafe(self.read(namespace, metric), loop).result(10)

        return read

    async def read(self, namespace: str, metric: str) -> float | None:
        """The sum of a gauge over all Ready replicas; None where none of them answers."""
        selector = {"labelSelector": WORKER_LABELS}
        pods = (await self._api.get(f"/api/v1/namespaces/{namespace}/pods", selector))["items"]
        ready = [pod for pod in pods if _is_ready(pod)]
        samples = await asyncio.gather(
            *(self._client.sample(pod["metadata"]["name"], pod["status"]["podIP"], 0.0) for pod in ready)
        )
        known = [sample.waiting if metric == WAITING else sample.running for sample in samples if sample]
        return sum(known) if known else None
