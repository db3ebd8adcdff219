"""The short-lived pod that reads a model's config where only a pod can: on a claim or inside an image."""

from __future__ import annotations

import hashlib
from typing import Final

from inferfleet.api import InferenceDeployment
from inferfleet.manifests.engine import MODELS, claim_of, model_argument
from inferfleet.manifests.identity import Manifest, hashed, metadata
from inferfleet.manifests.merge import merge
from inferfleet.manifests.placement import GPU_TAINTS
from inferfleet.manifests.worker import INJECTED, NONROOT, WORKER_FILE, injection

COMPONENT: Final = "inspection"
DEADLINE_SECONDS: Final = 600
FROM_TEMPLATE: Final = ("imagePullSecrets", "nodeSelector", "tolerations", "securityContext")
SHIPPED_WORKER: Final = "/opt/inferfleet/worker.pyz"


def inspection_pod_name(deployment: InferenceDeployment) -> str:
    """Return a name that is another one for another model or image."""
    source = f"{deployment.spec.model.id} {deployment.spec.engine.image}"
    return f"{deployment.metadata.name}-inspect-{hashlib.sha256(source.encode()).hexdigest()[:8]}"


def render_inspection_pod(deployment: InferenceDeployment, *, operator_image: str) -> Manifest:
    """Return the pod that prints the model's facts as JSON: with the claim, or in the engine's image.

    Raises:
        ValueError: for a hub id, which needs no pod.
    """
    model = deployment.spec.model.id
    claim = claim_of(model)
    if claim is None and not model.startswith("/"):
        raise ValueError(f"{model} is on the hub: nothing to look into")
    directory = model_argument(model)
    container: Manifest = {
        "name": "inspect",
        "image": operator_image if claim else deployment.spec.engine.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", SHIPPED_WORKER if claim else WORKER_FILE, "inspect", directory],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec: Manifest = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": DEADLINE_SECONDS,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        # at the pod, so that a template may say who can read the files
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": NONROOT,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # a cluster may have no other nodes
        "tolerations": [{"key": taint, "operator": "Exists"} for taint in GPU_TAINTS],
        "containers": [container],
    }
    if claim:
        source = {"claimName": claim, "readOnly": True}
        spec["volumes"] = [{"name": "models", "persistentVolumeClaim": source}]
        container["volumeMounts"] = [{"name": "models", "mountPath": MODELS, "readOnly": True}]
    else:
        spec["volumes"] = [{"name": "inferfleet", "emptyDir": {"sizeLimit": "64Mi"}}]
        spec["initContainers"] = [injection(operator_image)]
        container["volumeMounts"] = [{"name": "inferfleet", "mountPath": INJECTED, "readOnly": True}]
    template = deployment.spec.pod_template.spec
    spec = merge(spec, {part: template[part] for part in FROM_TEMPLATE if part in template})
    return hashed(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata(deployment, inspection_pod_name(deployment), COMPONENT),
            "spec": spec,
        }
    )
