"""Who decides on the number of replicas: the operator, or a HorizontalPodAutoscaler by a peer's law."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WAITING, RUNNING = "vllm_num_requests_waiting", "vllm_num_requests_running"


@dataclass(frozen=True)
class Policy:
    """A way to scale. `targets` are a HorizontalPodAutoscaler's values per replica, none for our own."""

    name: str
    law: str
    targets: Mapping[str, str]
    scale_up: Mapping[str, Any] | None = None

    @property
    def mode(self) -> str:
        """The deployment's `autoscaling.mode`."""
        return "External" if self.targets else "Internal"


POLICIES = (
    Policy("ours", "the operator's own scaling, its defaults", {}),
    Policy(
        "hpa-queue",
        "HPA on waiting requests, 5 per replica, HPA's defaults (production-stack's chart)",
        {WAITING: "5"},
    ),
    Policy(
        "hpa-keda",
        "HPA on 1 waiting and 16 running per replica, up to twice per 15 s (llm-d's KEDA guide)",
        {WAITING: "1", RUNNING: "16"},
        {
            "stabilizationWindowSeconds": 0,
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        },
    ),
)


def autoscaler(policy: Policy, deployment: str, most: int, down_seconds: int) -> dict[str, Any]:
    """Render the HorizontalPodAutoscaler of a policy."""
    metrics = [
        {
            "type": "External",
            "external": {"metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": value}},
        }
        for name, value in policy.targets.items()
    ]
    behavior: dict[str, Any] = {"scaleDown": {"stabilizationWindowSeconds": down_seconds}}
    if policy.scale_up:
        behavior["scaleUp"] = policy.scale_up
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": deployment},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "inferfleet.dev/v1alpha1",
                "kind": "InferenceDeployment",
                "name": deployment,
            },
            "minReplicas": 1,
            "maxReplicas": most,
            "metrics": metrics,
            "behavior": behavior,
        },
    }
