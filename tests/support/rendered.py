"""Deployments and layouts that cover what can be rendered: goldens and the real API server share them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from inferfleet.api import InferenceDeployment
from inferfleet.manifests import render_inspection_pod, render_objects, render_worker
from inferfleet.values import CapacityType, CreateWorker, Layout, OfferKey, Prediction, Reason, Requirement

OPERATOR_IMAGE: Final = "inferfleet/operator:1.2.3"
NAMESPACE: Final = "chat"

PREDICTION: Final = Prediction(
    ttft_seconds=0.41,
    itl_seconds=0.031,
    tokens_per_second=1362.5,
    prompt_tokens_per_second=9083.0,
    concurrency=48,
    dollars_per_million_tokens=7.18,
)
H100_TP4: Final = Layout(
    pool="h100-x8",
    accelerator="H100-SXM",
    tensor_parallel=4,
    pipeline_parallel=1,
    max_model_len=8192,
    max_num_seqs=48,
    max_num_batched_tokens=8192,
    gpu_memory_utilization=0.9,
    weights_bytes_per_gpu=35_280_000_000,
    kv_cache_tokens=412_000,
    prediction=PREDICTION,
)
TWO_NODES: Final = replace(
    H100_TP4,
    tensor_parallel=8,
    pipeline_parallel=2,
    nodes_per_replica=2,
    quantization="fp8",
    kv_cache_dtype="fp8",
)
PRODUCT: Final = Requirement("nvidia.com/gpu.product", "In", ("NVIDIA-H100-80GB-HBM3",))


def deployment(name: str = "llama-70b", **spec: Any) -> InferenceDeployment:
    return InferenceDeployment.parse(
        {
            "apiVersion": "inferfleet.dev/v1alpha1",
            "kind": "InferenceDeployment",
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": "9a3e6d0e-0000-4000-8000-000000000001"},
            "spec": {"model": {"id": "meta-llama/Llama-3.1-70B-Instruct"}} | spec,
        }
    )


def create(
    layout: Layout = H100_TP4,
    *,
    capacity_type: CapacityType = CapacityType.ON_DEMAND,
    zone: str = "",
    requirements: tuple[Requirement, ...] = (PRODUCT,),
) -> CreateWorker:
    return CreateWorker(
        worker="llama-70b-5d8f-0",
        revision="5d8f",
        offer=OfferKey(layout.pool, capacity_type, zone),
        layout=layout,
        requirements=requirements,
        gpu_resource="nvidia.com/gpu",
        reason=Reason("ScaleUp", "one more"),
    )


ON_AWS_SPOT: Final = create(
    capacity_type=CapacityType.SPOT,
    zone="us-east-1a",
    requirements=(
        PRODUCT,
        Requirement("karpenter.sh/capacity-type", "In", ("spot",)),
        Requirement("topology.kubernetes.io/zone", "In", ("us-east-1a",)),
    ),
)
ON_GKE_SPOT: Final = create(
    capacity_type=CapacityType.SPOT, requirements=(Requirement("cloud.google.com/gke-spot", "In", ("true",)),)
)

TEMPLATE: Final[dict[str, Any]] = {
    "metadata": {
        "labels": {"team": "chat", "inferfleet.dev/deployment": "stolen"},
        "annotations": {"karpenter.sh/do-not-disrupt": "false"},
    },
    "spec": {
        "priorityClassName": "system-cluster-critical",
        "serviceAccountName": "default",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 2000, "fsGroup": 2000},
        "tolerations": [{"key": "team", "operator": "Equal", "value": "chat", "effect": "NoSchedule"}],
        "volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "hub-cache"}}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "rack", "operator": "In", "values": ["a"]}]},
                        {"matchExpressions": [{"key": "rack", "operator": "In", "values": ["b"]}]},
                    ]
                }
            }
        },
        "readinessGates": [{"conditionType": "example.com/checked"}],
        "containers": [
            {
                "name": "engine",
                "env": [
                    {"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"},
                    {"name": "HF_HOME", "value": "/cache/elsewhere"},
                    {"name": "INFERFLEET_LAUNCH", "value": "{}"},
                ],
                "resources": {"requests": {"cpu": "8", "memory": "64Gi"}, "limits": {"nvidia.com/gpu": "99"}},
                "readinessProbe": {"failureThreshold": 5},
            },
            {"name": "sidecar", "image": "example.com/sidecar:1"},
        ],
    },
}

FULL: Final[dict[str, Any]] = {
    "service": {"annotations": {"example.com/expose": "yes"}, "labels": {"team": "chat"}},
    "inferencePool": {
        "enabled": True,
        "endpointPicker": {"name": "picker"},
        "gateways": [{"name": "public", "namespace": "gateways"}],
        "hostnames": ["llm.example.com"],
    },
    "monitoring": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
}

WORKERS: Final[dict[str, tuple[InferenceDeployment, CreateWorker]]] = {
    "worker_on_demand": (deployment(), create()),
    "worker_on_aws_spot": (deployment(), ON_AWS_SPOT),
    "worker_on_gke_spot": (deployment(), ON_GKE_SPOT),
    "worker_of_two_nodes": (deployment(), create(TWO_NODES)),
    "worker_with_a_claim": (
        deployment(
            model={"id": "pvc://models/llama-70b"},
            drain={"timeout": "60s", "noticeUrl": "http://notices.local/me"},
        ),
        create(),
    ),
    "worker_with_a_template": (
        deployment(
            model={
                "id": "meta-llama/Llama-3.1-70B-Instruct",
                "tokenSecret": {"name": "hub"},
                "servedName": "chat",
            },
            engine={"args": ["--max-num-seqs", "8"]},
            podTemplate=TEMPLATE,
        ),
        create(),
    ),
}

OBJECTS: Final = {
    "objects_of_a_deployment": (deployment(), H100_TP4, 3),
    "objects_before_a_plan": (deployment(), None, 0),
    "objects_of_two_nodes_with_everything": (deployment(**FULL), TWO_NODES, 3),
}

INSPECTIONS: Final = {
    "inspection_of_a_claim": deployment(model={"id": "pvc://models/llama-70b"}),
    "inspection_of_an_image": deployment(
        model={"id": "/models/llama"}, podTemplate={"spec": {"imagePullSecrets": [{"name": "registry"}]}}
    ),
}


def everything() -> dict[str, list[dict[str, Any]]]:
    """Return all goldens' manifests by name."""
    return {
        **{
            name: render_worker(spec, action, operator_image=OPERATOR_IMAGE)
            for name, (spec, action) in WORKERS.items()
        },
        **{
            name: render_objects(spec, layout=layout, desired=desired)
            for name, (spec, layout, desired) in OBJECTS.items()
        },
        **{
            name: [render_inspection_pod(spec, operator_image=OPERATOR_IMAGE)]
            for name, spec in INSPECTIONS.items()
        },
    }
