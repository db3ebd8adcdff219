"""A deployment, its replicas and what is known of them, as the rules of disruption see them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inferfleet.disruption import Scene
from inferfleet.values import (
    CapacityType,
    DeploymentSpec,
    EngineSample,
    EngineSpec,
    Interruption,
    InterruptionKind,
    Layout,
    ModelSpec,
    Node,
    Objectives,
    OfferKey,
    PodPhase,
    Prediction,
    Reason,
    Taint,
    Worker,
    WorkerPod,
    Workload,
)

NOW = 1000.0
SPEC = DeploymentSpec(
    "chat",
    "default",
    "uid",
    1,
    ModelSpec("m"),
    EngineSpec("image"),
    objectives=Objectives(ttft_seconds=1.0, itl_seconds=0.05),
    workload=Workload(1000, 200),
)
LAYOUT = Layout("pool", "L4", 1, 1, 4096, 8, 2048, 0.9, 1, 1, Prediction(1, 0.05, 100, 400, 8, 1.0))
WHY = Reason("Test", "because")
KARPENTER = {"karpenter.sh/nodepool": "gpu"}
KARPENTER_SPOT = {"karpenter.sh/capacity-type": "spot", **KARPENTER}
GKE_SPOT = {"cloud.google.com/gke-spot": "true"}
AKS_SPOT = {"kubernetes.azure.com/scalesetpriority": "spot"}


def pod(name: str = "w", rank: int = 0, **changes: Any) -> WorkerPod:
    made = WorkerPod(
        name=f"{name}-{rank}",
        uid=f"uid-{name}-{rank}",
        rank=rank,
        phase=PodPhase.RUNNING,
        created_at=0.0,
        node=f"node-{name}",
        ip="10.0.0.1",
        serving=True,
        containers_ready=True,
        ready=True,
        ready_since=10.0,
    )
    return replace(made, **changes)


def worker(
    name: str = "w", kind: CapacityType = CapacityType.ON_DEMAND, revision: str = "new", **changes: Any
) -> Worker:
    return Worker(name, revision, OfferKey("pool", kind), (pod(name, **changes),))


def scene(now: float = NOW, **changes: Any) -> Scene:
    return replace(Scene(SPEC, LAYOUT, "new", {}, now), **changes)


def heard(name: str = "w", phase: str = "serving", in_flight: int = 0) -> dict[str, EngineSample]:
    return {name: EngineSample(name, NOW, in_flight, 0, in_flight=in_flight, gate_phase=phase)}


def going(
    kind: InterruptionKind, deadline: float | None, name: str = "w", source: str = "taint"
) -> dict[str, Interruption]:
    return {f"node-{name}": Interruption(kind, f"node-{name}", NOW, deadline, source)}


def node(*taints: str, **changes: Any) -> Node:
    made = Node("n", "uid-n", taints=tuple(Taint(key, "NoSchedule") for key in taints))
    return replace(made, **changes)
