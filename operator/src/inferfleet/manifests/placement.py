"""Where a worker's pods may be scheduled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from inferfleet.values import CapacityType, CreateWorker, Requirement, Taint, labels
from inferfleet.values.well_known import HOSTNAME, ZONE

REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"

# Taints that mark what a node is. Those that announce that it goes are not tolerated, on purpose.
GPU_TAINTS: Final = ("nvidia.com/gpu", "amd.com/gpu")
SPOT_TOLERATIONS: Final = (
    {
        "key": "kubernetes.azure.com/scalesetpriority",
        "operator": "Equal",
        "value": "spot",
        "effect": "NoSchedule",
    },
    {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"},
)


def tolerations(action: CreateWorker) -> list[dict[str, Any]]:
    """Return the tolerations for GPU nodes, the pool's own taints and, for a spot offer, spot nodes."""
    keys = dict.fromkeys((*GPU_TAINTS, action.gpu_resource))
    spot = action.offer.capacity_type is CapacityType.SPOT
    return [
        *({"key": key, "operator": "Exists"} for key in keys),
        *(_toleration(taint) for taint in action.taints if taint.key not in keys),
        *(dict(toleration) for toleration in SPOT_TOLERATIONS if spot),
    ]


def _toleration(taint: Taint) -> dict[str, Any]:
    return {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}


def spread(selector: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the wish to spread over zones and hosts: losses come in lumps."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": topology,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(selector)},
        }
        for topology in (ZONE, HOSTNAME)
    ]


def zone_affinity(worker: str) -> dict[str, Any]:
    """Return the demand that all pods of one replica share a zone: their traffic is per token."""
    term = {"topologyKey": ZONE, "labelSelector": {"matchLabels": {labels.WORKER: worker}}}
    return {"podAffinity": {REQUIRED: [term]}}


def node_affinity(spec: dict[str, Any], requirements: Sequence[Requirement]) -> dict[str, Any]:
    """Return the pod spec with the requirements in each (alternative) term of its node affinity."""
    if not requirements:
        return spec
    expressions = [_expression(requirement) for requirement in requirements]
    affinity = spec.get("affinity") or {}
    node = affinity.get("nodeAffinity") or {}
    terms = (node.get(REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    required = [
        term | {"matchExpressions": [*term.get("matchExpressions", []), *expressions]} for term in terms
    ]
    return spec | {
        "affinity": affinity | {"nodeAffinity": node | {REQUIRED: {"nodeSelectorTerms": required}}}
    }


def keep_off(spec: dict[str, Any], workers: Sequence[str]) -> dict[str, Any]:
    """Return the pod spec with the demand to be on no node with a pod of these workers."""
    if not workers:
        return spec
    among = {"key": labels.WORKER, "operator": "In", "values": list(workers)}
    term = {"topologyKey": HOSTNAME, "labelSelector": {"matchExpressions": [among]}}
    affinity = spec.get("affinity") or {}
    others = affinity.get("podAntiAffinity") or {}
    return spec | {
        "affinity": affinity | {"podAntiAffinity": others | {REQUIRED: [*(others.get(REQUIRED) or []), term]}}
    }


def _expression(requirement: Requirement) -> dict[str, Any]:
    expression: dict[str, Any] = {"key": requirement.key, "operator": requirement.operator}
    return expression | ({"values": list(requirement.values)} if requirement.values else {})
