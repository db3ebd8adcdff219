"""Names, labels, ownership and hashes of all that is rendered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from inferfleet.api import InferenceDeployment
from inferfleet.values import labels

Manifest = dict[str, Any]

WORKER_COMPONENT: Final = "worker"
SERVING_RANK: Final = "0"


def common_labels(deployment: InferenceDeployment, component: str) -> dict[str, str]:
    """Return the labels of every object of a deployment."""
    return {
        "app.kubernetes.io/name": "inferfleet",
        labels.MANAGED_BY: "inferfleet",
        labels.COMPONENT: component,
        labels.DEPLOYMENT: deployment.metadata.name,
    }


def worker_selector(deployment: InferenceDeployment) -> dict[str, str]:
    """Return the labels that select all pods of all replicas."""
    return {labels.DEPLOYMENT: deployment.metadata.name, labels.COMPONENT: WORKER_COMPONENT}


def serving_selector(deployment: InferenceDeployment) -> dict[str, str]:
    """Return the labels that select the pods that answer requests."""
    return worker_selector(deployment) | {labels.RANK: SERVING_RANK}


def peers_service(deployment: InferenceDeployment) -> str:
    """Return the name of the headless Service by which the pods of one replica find each other."""
    return f"{deployment.metadata.name}-peers"


def pod_name(worker: str, rank: int, nodes: int) -> str:
    """Return the name of one pod: the worker's own, or with the rank where there are several."""
    return worker if nodes == 1 else f"{worker}-{rank}"


def owner(deployment: InferenceDeployment) -> Manifest:
    """Return the reference that lets the garbage collector remove what the deployment owns."""
    return {
        "apiVersion": deployment.api_version,
        "kind": deployment.kind,
        "name": deployment.metadata.name,
        "uid": deployment.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def metadata(
    deployment: InferenceDeployment,
    name: str,
    component: str,
    *,
    extra_labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """Return the metadata of an object; the deployment's own labels win."""
    rendered: Manifest = {
        "name": name,
        "namespace": deployment.metadata.namespace,
        "labels": dict(extra_labels or {}) | common_labels(deployment, component),
        "ownerReferences": [owner(deployment)],
    }
    if annotations:
        rendered["annotations"] = dict(annotations)
    return rendered


def hashed(manifest: Manifest) -> Manifest:
    """Return the manifest with a digest of itself, so that an unchanged object is not applied again."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
    annotations = manifest["metadata"].get("annotations", {}) | {labels.HASH_ANNOTATION: digest}
    return manifest | {"metadata": manifest["metadata"] | {"annotations": annotations}}
