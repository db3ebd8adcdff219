"""How the engine of one pod is started: its arguments, its launch plan, and how long it may take to leave."""

from __future__ import annotations

import json
import math
from typing import Final

from inferfleet.api import InferenceDeployment
from inferfleet.api.resource import seconds
from inferfleet.manifests.identity import peers_service, pod_name
from inferfleet.values import CapacityType, CreateWorker, Layout
from inferfleet.values.well_known import cloud_of, spot_notice_seconds
from inferfleet_wire import ENGINE_PORT, SIDE_PORT, LaunchPlan, MetadataProvider, MetadataSource, drain_token

MODELS: Final = "/models"
MASTER_PORT: Final = 29501
ENGINE_DRAIN_SECONDS: Final = 10.0


def grace_seconds(deployment: InferenceDeployment, action: CreateWorker) -> int:
    """Return terminationGracePeriodSeconds: a whole voluntary drain, on spot never more than the notice."""
    drain = deployment.spec.drain
    voluntary = seconds(drain.timeout) + seconds(drain.settle) + seconds(drain.margin)
    if action.offer.capacity_type is CapacityType.SPOT:
        notice = spot_notice_seconds(_label_keys(action), action.offer.zone)
        return math.ceil(min(voluntary, notice))
    return math.ceil(voluntary)


def launch_plan(deployment: InferenceDeployment, action: CreateWorker, rank: int) -> LaunchPlan:
    """Return what the worker in one pod is told."""
    drain = deployment.spec.drain
    grace = grace_seconds(deployment, action)
    return LaunchPlan(
        command=("vllm", "serve", *engine_arguments(deployment, action, rank)),
        serves=rank == 0,
        leader_url="" if rank == 0 else f"http://{leader_host(deployment, action)}:{SIDE_PORT}",
        drain_token=drain_token(deployment.metadata.uid),
        spread_above=action.layout.max_num_seqs,
        grace_seconds=grace,
        settle_seconds=seconds(drain.settle),
        margin_seconds=min(seconds(drain.margin), grace / 4),
        shutdown_seconds=min(ENGINE_DRAIN_SECONDS, grace / 4),
        metadata=_metadata(deployment, action),
    )


def engine_arguments(deployment: InferenceDeployment, action: CreateWorker, rank: int) -> list[str]:
    """Return the arguments of `vllm serve`: the plan's, then the user's, which win."""
    spec, layout = deployment.spec, action.layout
    arguments = [
        model_argument(spec.model.id),
        *("--served-model-name", spec.model.name_for_clients),
        *("--port", str(ENGINE_PORT)),
        *("--tensor-parallel-size", str(layout.tensor_parallel)),
        *("--pipeline-parallel-size", str(layout.pipeline_parallel)),
        *("--max-model-len", str(layout.max_model_len)),
        *("--gpu-memory-utilization", f"{layout.gpu_memory_utilization:g}"),
        *("--max-num-seqs", str(layout.max_num_seqs)),
        *("--max-num-batched-tokens", str(layout.max_num_batched_tokens)),
    ]
    optional = (
        ("--revision", spec.model.revision),
        # a quantised checkpoint says so itself, and the engine then picks its fastest kernels
        ("--quantization", spec.engine.quantization),
        ("--kv-cache-dtype", None if layout.kv_cache_dtype == "auto" else layout.kv_cache_dtype),
        ("--dtype", None if layout.dtype == "auto" else layout.dtype),
        ("--data-parallel-size", str(layout.data_parallel) if layout.data_parallel > 1 else None),
        ("--speculative-config", _speculative_config(layout)),
    )
    for flag, value in optional:
        if value is not None:
            arguments += [flag, value]
    if layout.expert_parallel:
        arguments.append("--enable-expert-parallel")
    if layout.nodes_per_replica > 1:
        arguments += _group_arguments(deployment, action, rank)
    return [*arguments, *spec.engine.args]


def _speculative_config(layout: Layout) -> str | None:
    if layout.draft is None:
        return None
    return json.dumps({"model": layout.draft, "num_speculative_tokens": layout.draft_tokens})


def model_argument(model_id: str) -> str:
    """Return where the engine finds the model: its hub id, or a path in the pod."""
    if not model_id.startswith("pvc://"):
        return model_id
    path = model_id.removeprefix("pvc://").partition("/")[2].strip("/")
    return f"{MODELS}/{path}" if path else MODELS


def claim_of(model_id: str) -> str | None:
    """Return the PersistentVolumeClaim that holds the model, if one does."""
    return model_id.removeprefix("pvc://").partition("/")[0] if model_id.startswith("pvc://") else None


def leader_host(deployment: InferenceDeployment, action: CreateWorker) -> str:
    """Return the name under which the other pods of a replica reach its rank 0."""
    leader = pod_name(action.worker, 0, action.layout.nodes_per_replica)
    return f"{leader}.{peers_service(deployment)}.{deployment.metadata.namespace}.svc"


def _group_arguments(deployment: InferenceDeployment, action: CreateWorker, rank: int) -> list[str]:
    """Return how the pods of one replica form one engine, without Ray."""
    return [
        *("--distributed-executor-backend", "mp"),
        *("--nnodes", str(action.layout.nodes_per_replica)),
        *("--node-rank", str(rank)),
        *("--master-addr", leader_host(deployment, action)),
        *("--master-port", str(MASTER_PORT)),
        *(["--headless"] if rank > 0 else []),
    ]


def _metadata(deployment: InferenceDeployment, action: CreateWorker) -> tuple[MetadataSource, ...]:
    """Return where the worker looks for notices about its own machine."""
    sources = []
    if url := deployment.spec.drain.notice_url:
        sources.append(MetadataSource(MetadataProvider.URL, url))
    if cloud := cloud_of(_label_keys(action), action.offer.zone):
        sources.append(MetadataSource(MetadataProvider(cloud.name)))
    return tuple(sources)


def _label_keys(action: CreateWorker) -> list[str]:
    return [requirement.key for requirement in action.requirements]
