"""A cluster whose only nodes are those that Karpenter buys, and questions about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api_server import ApiCluster
from waiting import until

from inferfleet.values.labels import SERVING_GATE
from inferfleet_local.karpenter import NODE_CLASS, Karpenter, node_pool

NAMESPACE = "karpenter-test"
GPU, COUNT = "karpenter.k8s.aws/instance-gpu-name", "karpenter.k8s.aws/instance-gpu-count"
TYPE, ZONE = "node.kubernetes.io/instance-type", "topology.kubernetes.io/zone"
CAPACITY = "karpenter.sh/capacity-type"


def within(key: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


def deployment(**spec: Any) -> dict[str, Any]:
    """A deployment with a fixed number of replicas; drains are short, for nothing real runs in them."""
    whole = {
        "model": {"id": "meta-llama/Llama-3.1-8B-Instruct", "contextLength": 4096},
        "autoscaling": {"mode": "Off"},
        "replicas": 1,
        "drain": {"timeout": "3s", "settle": "1s", "margin": "1s"},
        **spec,
    }
    return {
        "apiVersion": "inferfleet.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": "llama", "namespace": NAMESPACE},
        "spec": whole,
    }


def gpu_pool(name: str = "l4", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "inferfleet.dev/v1alpha1",
        "kind": "GPUPool",
        "metadata": {"name": name},
        "spec": {"instanceTypes": ["g6.xlarge"], "zones": ["zone-a", "zone-b"], **spec},
    }


def buying(
    *requirements: dict[str, Any], expire: str = "Never", grace: str | None = None, **spec: Any
) -> dict[str, Any]:
    """A NodePool with these requirements, with an age limit and a bound to the drain of its machines."""
    template = {"nodeClassRef": NODE_CLASS, "requirements": list(requirements), "expireAfter": expire}
    if grace:
        template["terminationGracePeriod"] = grace
    return node_pool("gpu", template={"spec": template}, **spec)


def created(raw: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(raw["metadata"]["creationTimestamp"]).timestamp()


def serves(raw: Mapping[str, Any]) -> bool:
    """True once the operator has put it into service as well: kwok's pods are Ready without their gate."""
    true = {one["type"] for one in raw["status"].get("conditions", ()) if one["status"] == "True"}
    return {"Ready", SERVING_GATE} <= true


@dataclass
class World:
    """The cluster, its Karpenter, and everything that was ever seen of the test's pods."""

    api: ApiCluster
    karpenter: Karpenter

    namespace: str = NAMESPACE

    def __post_init__(self) -> None:
        self.seen: dict[str, Any] = {}
        """The last sight of each pod, by name and uid."""

    def apply(self, *manifests: dict[str, Any]) -> None:
        outcome = self.api.apply(*manifests)
        assert outcome.ok, outcome.err

    def pods(self) -> dict[str, Any]:
        found = {raw["metadata"]["name"]: raw for raw in self.api.get("pods", "-n", NAMESPACE)["items"]}
        self.seen |= {raw["metadata"]["uid"]: raw for raw in found.values()}
        return found

    def running(self) -> dict[str, Any]:
        """Pods in service that nobody takes away."""
        return {
            name: raw
            for name, raw in self.pods().items()
            if serves(raw) and "deletionTimestamp" not in raw["metadata"]
        }

    def nodes(self) -> dict[str, Any]:
        return {raw["metadata"]["name"]: raw for raw in self.api.get("nodes")["items"]}

    def node_of(self, pod: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get("node", self.pods()[pod]["spec"]["nodeName"])
        return found

    def claim_of(self, pod: str) -> str:
        node = self.pods()[pod]["spec"]["nodeName"]
        claims = self.api.get("nodeclaims")["items"]
        return next(raw["metadata"]["name"] for raw in claims if raw["status"].get("nodeName") == node)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get("infd", "llama", "-n", NAMESPACE).get("status", {})
        return found

    def condition(self, kind: str) -> tuple[str, str, str]:
        for found in self.status().get("conditions", ()):
            if found["type"] == kind:
                return found["status"], found["reason"], found["message"]
        return "", "", ""

    def eventually(self, holds: Callable[[], bool], what: str, seconds: float = 30) -> None:
        if not until(holds, seconds=seconds):
            told = json.dumps(self.status().get("conditions"), indent=1)
            pods = self.api.kubectl("get", "pods,nodeclaims,nodes", "-n", NAMESPACE, "-o", "wide").out
            raise AssertionError(f"{what}; conditions: {told}\n{pods}")

    def await_running(self, count: int, seconds: float = 30) -> dict[str, Any]:
        """Wait until so many pods run, and return them."""
        self.eventually(lambda: len(self.running()) == count, f"{count} pods should run", seconds)
        return self.running()
