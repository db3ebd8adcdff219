"""How the engine of one pod is started: its arguments, its launch plan, and how long it may take to leave."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from inferfleet.api import InferenceDeployment
from inferfleet.api.resource import seconds
from inferfleet.manifests.identity import peers_service, pod_name
from inferfleet.values import CapacityType, CreateWorker, Layout, Requirement
from inferfleet_wire import ENGINE_PORT, SIDE_PORT, LaunchPlan, MetadataProvider, MetadataSource, drain_token

MODELS: Final = "/models"
MASTER_PORT: Final = 29501
ENGINE_DRAIN_SECONDS: Final = 10.0


class Provider(NamedTuple):
    """A cloud: how its nodes are recognised, where it announces a loss, and how long a spot pod then has."""

    metadata: MetadataProvider
    label_prefixes: tuple[str, ...]
    zone: re.Pattern[str]
    notice_seconds: float


AZURE_GEOGRAPHIES: Final = (
    "us|europe|asia|india|uk|canada|mexico|brazil|chile|japan|korea|australia|zealand|france|germany|italy|spain|"
    "austria|norway|sweden|denmark|switzerland|poland|uae|israel|qatar|africa|malaysia|indonesia|taiwan"
)

# Notices: AWS two minutes; GKE 30 s of which ordinary pods get the first 15; Azure at least 30 s.
PROVIDERS: Final = (
    Provider(
        MetadataProvider.AWS,
        ("eks.amazonaws.com/", "karpenter.k8s.aws/", "topology.k8s.aws/"),
        re.compile(r"[a-z]{2}(-[a-z]+)+-\d[a-z]"),
        120.0,
    ),
    Provider(MetadataProvider.GCP, ("cloud.google.com/",), re.compile(r"[a-z]+-[a-z]+\d-[a-z]"), 15.0),
    Provider(
        MetadataProvider.AZURE,
        ("kubernetes.azure.com/", "karpenter.azure.com/"),
        re.compile(rf"[a-z]*({AZURE_GEOGRAPHIES})[a-z]*\d?-\d"),
        30.0,
    ),
)
UNKNOWN_NOTICE_SECONDS: Final = 120.0


def provider_of(requirements: Sequence[Requirement], zone: str) -> Provider | None:
    """Return the cloud that a worker's node belongs to, by the node's labels, else by its zone."""
    keys = [requirement.key for requirement in requirements]
    by_label = (
        provider for provider in PROVIDERS if any(key.startswith(provider.label_prefixes) for key in keys)
    )
    by_zone = (provider for provider in PROVIDERS if provider.zone.fullmatch(zone))
    return next(by_label, None) or next(by_zone, None)


def grace_seconds(deployment: InferenceDeployment, action: CreateWorker) -> int:
    """Return terminationGracePeriodSeconds: a whole voluntary drain, on spot never more than the notice."""
    drain = deployment.spec.drain
    voluntary = seconds(drain.timeout) + seconds(drain.settle) + seconds(drain.margin)
    if action.offer.capacity_type is CapacityType.SPOT:
        provider = provider_of(action.requirements, action.offer.zone)
        notice = provider.notice_seconds if provider else UNKNOWN_NOTICE_SECONDS
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
    if provider := provider_of(action.requirements, action.offer.zone):
        sources.append(MetadataSource(provider.metadata))
    return tuple(sources)
