"""The objects beside the pods: Services, disruption budget, and what gateways and Prometheus need."""

from __future__ import annotations

from inferfleet.api import InferenceDeployment
from inferfleet.manifests.identity import (
    Manifest,
    hashed,
    metadata,
    peers_service,
    serving_selector,
    worker_selector,
)
from inferfleet.values import Layout
from inferfleet_wire import ENGINE_PORT, METRICS_PATH

SERVICE_PORT = 80


def render_objects(
    deployment: InferenceDeployment,
    *,
    layout: Layout | None,
    desired: int | None = None,
    leaving: bool = False,
) -> list[Manifest]:
    """Return everything but the pods, in the order in which it should be applied.

    `desired` is the number of replicas wanted, by default that of the deployment's status. `leaving` is True
    while a replica goes.
    """
    replicas = deployment.status.desired_replicas if desired is None else desired
    nodes = layout.nodes_per_replica if layout else 1
    rendered = [_service(deployment), _disruption_budget(deployment, replicas * nodes, leaving=leaving)]
    if nodes > 1:
        rendered.append(_peers(deployment))
    if deployment.spec.inference_pool.enabled:
        rendered.append(_inference_pool(deployment))
        if deployment.spec.inference_pool.gateways:
            rendered.append(_http_route(deployment))
    if deployment.spec.monitoring.pod_monitor.enabled:
        rendered.append(_pod_monitor(deployment))
    return [hashed(manifest) for manifest in rendered]


def _service(deployment: InferenceDeployment) -> Manifest:
    """Return the Service of the serving pods; what is not Ready or drains is not among its endpoints."""
    template = deployment.spec.service
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(
            deployment,
            deployment.metadata.name,
            "service",
            extra_labels=template.labels,
            annotations=template.annotations,
        ),
        "spec": {
            "type": "ClusterIP",
            "selector": serving_selector(deployment),
            "ports": [
                {"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP"},
                {"name": "engine", "port": ENGINE_PORT, "targetPort": "http", "protocol": "TCP"},
            ],
        },
    }


def _peers(deployment: InferenceDeployment) -> Manifest:
    """Return the headless Service by which the pods of a replica meet before any of them is ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(deployment, peers_service(deployment), "peers"),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": worker_selector(deployment),
            "ports": [{"name": "side", "port": 8001, "targetPort": "side", "protocol": "TCP"}],
        },
    }


def _disruption_budget(deployment: InferenceDeployment, pods: int, *, leaving: bool) -> Manifest:
    """Return the budget that lets one pod at a time be evicted, and none before who leaves is replaced.

    Written as `minAvailable`, because for `maxUnavailable` the disruption controller reads the owner's scale
    subresource, which has no answer while the operator, not `spec.replicas`, decides the number. A pod that
    does not serve may always go.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(deployment, deployment.metadata.name, "disruption-budget"),
        "spec": {
            "minAvailable": pods if leaving else max(0, pods - 1),
            "selector": {"matchLabels": worker_selector(deployment)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def _inference_pool(deployment: InferenceDeployment) -> Manifest:
    spec: Manifest = {
        "selector": {"matchLabels": serving_selector(deployment)},
        "targetPorts": [{"number": ENGINE_PORT}],
    }
    if picker := deployment.spec.inference_pool.endpoint_picker:
        spec["endpointPickerRef"] = {
            "group": "",
            "kind": "Service",
            "name": picker.name,
            "port": {"number": picker.port},
            "failureMode": picker.failure_mode.value,
        }
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": metadata(deployment, deployment.metadata.name, "inference-pool"),
        "spec": spec,
    }


def _http_route(deployment: InferenceDeployment) -> Manifest:
    pool = deployment.spec.inference_pool
    backend = {
        "group": "inference.networking.k8s.io",
        "kind": "InferencePool",
        "name": deployment.metadata.name,
    }
    spec: Manifest = {
        "parentRefs": [gateway.model_dump(by_alias=True, exclude_none=True) for gateway in pool.gateways],
        "rules": [{"backendRefs": [backend], "timeouts": {"request": pool.request_timeout}}],
    }
    if pool.hostnames:
        spec["hostnames"] = list(pool.hostnames)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(deployment, deployment.metadata.name, "route"),
        "spec": spec,
    }


def _pod_monitor(deployment: InferenceDeployment) -> Manifest:
    monitor = deployment.spec.monitoring.pod_monitor
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(
            deployment, deployment.metadata.name, "pod-monitor", extra_labels=monitor.labels
        ),
        "spec": {
            "selector": {"matchLabels": worker_selector(deployment)},
            "podMetricsEndpoints": [
                {"port": port, "path": METRICS_PATH, "interval": monitor.interval}
                for port in ("http", "side")
            ],
        },
    }
