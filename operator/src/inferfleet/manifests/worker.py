"""The pods of one replica."""

from __future__ import annotations

from typing import Any, Final

from inferfleet.api import InferenceDeployment
from inferfleet.manifests.engine import MODELS, claim_of, grace_seconds, launch_plan
from inferfleet.manifests.identity import (
    WORKER_COMPONENT,
    Manifest,
    hashed,
    metadata,
    peers_service,
    pod_name,
    worker_selector,
)
from inferfleet.manifests.merge import merge
from inferfleet.manifests.placement import keep_off, node_affinity, spread, tolerations, zone_affinity
from inferfleet.values import CreateWorker, labels
from inferfleet_wire import ENGINE_PORT, ENV_LAUNCH, ENV_POD_IP, HEALTH_PATH, READY_PATH, SIDE_PORT

INJECTED: Final = "/inferfleet"
WORKER_FILE: Final = f"{INJECTED}/worker.pyz"
CACHE: Final = "/cache"
NONROOT: Final = 65532


def render_worker(
    deployment: InferenceDeployment, action: CreateWorker, *, operator_image: str
) -> list[Manifest]:
    """Return the pods of a new replica, by rank.

    The user's pod template wins over everything but what makes the pod a worker: identity, the readiness
    gate, the injected supervisor, the GPUs, and the node requirements.
    """
    return [_pod(deployment, action, rank, operator_image) for rank in range(action.layout.nodes_per_replica)]


def _pod(deployment: InferenceDeployment, action: CreateWorker, rank: int, operator_image: str) -> Manifest:
    template = deployment.spec.pod_template
    fixed = _fixed(deployment, action, rank, operator_image)
    base = merge(_defaults(deployment, action), fixed)
    wanted = merge(base, {"metadata": template.metadata, "spec": template.spec})
    pod = merge(wanted, fixed)
    pod["spec"] = keep_off(node_affinity(pod["spec"], action.requirements), action.strangers)
    return hashed(pod)


def _defaults(deployment: InferenceDeployment, action: CreateWorker) -> Manifest:
    """Return what an expert would choose, and a user may override."""
    spec: Manifest = {
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": tolerations(action),
        "topologySpreadConstraints": spread(worker_selector(deployment)),
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
            {"name": "cache", "emptyDir": {}},
        ],
        "containers": [
            {
                "name": "engine",
                "imagePullPolicy": "IfNotPresent",
                "env": _environment(deployment, action),
                # upstream engine images run as root: no runAsNonRoot here, but nothing that root could use
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [
                    {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the engine's shared memory
                    {"name": "cache", "mountPath": CACHE},
                ],
                **_probes(),
            }
        ],
    }
    if action.layout.nodes_per_replica > 1:
        spec["affinity"] = zone_affinity(action.worker)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"annotations": dict(labels.KEEP_NODE)},
        "spec": spec,
    }


def _fixed(deployment: InferenceDeployment, action: CreateWorker, rank: int, operator_image: str) -> Manifest:
    """Return what makes the pod a worker: no template may change it."""
    nodes = action.layout.nodes_per_replica
    name = pod_name(action.worker, rank, nodes)
    claim = claim_of(deployment.spec.model.id)
    volumes: list[Manifest] = [{"name": "inferfleet", "emptyDir": {"sizeLimit": "64Mi"}}]
    if claim:
        volumes.append({"name": "models", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
    spec: Manifest = {
        "readinessGates": [{"conditionType": labels.SERVING_GATE}],
        # a rank that starts again alone hangs its group, so a group is replaced as a whole
        "restartPolicy": "Always" if nodes == 1 else "Never",
        "terminationGracePeriodSeconds": grace_seconds(deployment, action),
        "volumes": volumes,
        "initContainers": [injection(operator_image)],
        "containers": [_engine(deployment, action, rank, claim)],
    }
    if nodes > 1:
        spec |= {"hostname": name, "subdomain": peers_service(deployment)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(
            deployment,
            name,
            WORKER_COMPONENT,
            extra_labels={
                labels.WORKER: action.worker,
                labels.RANK: str(rank),
                labels.REVISION: action.revision,
                labels.LAYOUT: action.layout_digest,
                labels.POOL: action.offer.pool,
                labels.CAPACITY_TYPE: action.offer.capacity_type.value,
                labels.ZONE: action.offer.zone,
            },
        ),
        "spec": spec,
    }


def injection(operator_image: str) -> Manifest:
    """Return the init container that copies the worker into the shared volume."""
    return {
        "name": "inferfleet",
        "image": operator_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["inferfleet", "inject", INJECTED],
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"memory": "128Mi"},
        },
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": NONROOT,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "inferfleet", "mountPath": INJECTED}],
    }


def _engine(deployment: InferenceDeployment, action: CreateWorker, rank: int, claim: str | None) -> Manifest:
    gpus = {action.gpu_resource: str(action.layout.gpus_per_pod)}
    mounts: list[Manifest] = [{"name": "inferfleet", "mountPath": INJECTED, "readOnly": True}]
    if claim:
        mounts.append({"name": "models", "mountPath": MODELS, "readOnly": True})
    return {
        "name": "engine",
        "image": deployment.spec.engine.image,
        "command": ["python3", WORKER_FILE, "run"],
        "env": [
            {"name": ENV_LAUNCH, "value": launch_plan(deployment, action, rank).to_json()},
            _pod_ip(ENV_POD_IP),
        ],
        "ports": [
            {"name": "http", "containerPort": ENGINE_PORT, "protocol": "TCP"},
            {"name": "side", "containerPort": SIDE_PORT, "protocol": "TCP"},
        ],
        "resources": {"requests": dict(gpus), "limits": dict(gpus)},
        "lifecycle": {"preStop": {"exec": {"command": ["python3", WORKER_FILE, "prestop"]}}},
        "volumeMounts": mounts,
    }


def _environment(deployment: InferenceDeployment, action: CreateWorker) -> list[Manifest]:
    """Return the engine's environment; the address is what several nodes of a replica need."""
    env: list[Manifest] = [
        _pod_ip("VLLM_HOST_IP"),
        {"name": "HF_HOME", "value": f"{CACHE}/huggingface"},
        {"name": "VLLM_CACHE_ROOT", "value": f"{CACHE}/vllm"},
    ]
    if action.layout.nodes_per_replica > 1:
        env.append({"name": "GLOO_SOCKET_IFNAME", "value": "eth0"})
    if secret := deployment.spec.model.token_secret:
        reference = {"name": secret.name, "key": secret.key}
        env.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    return env


def _pod_ip(name: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


def _probes() -> dict[str, Any]:
    """Return the probes, all on the side port: alive while the processes are, ready once the engine answers.

    The start of the supervisor is quick; how long the engine may load is bounded by the rollout's deadline,
    not by a probe that would kill it at 99 %.
    """
    return {
        "startupProbe": _get(HEALTH_PATH) | {"periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 60},
        "livenessProbe": _get(HEALTH_PATH)
        | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        "readinessProbe": _get(READY_PATH) | {"periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
    }


def _get(path: str) -> Manifest:
    return {"httpGet": {"path": path, "port": "side"}}
