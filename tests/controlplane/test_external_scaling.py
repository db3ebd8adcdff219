"""`autoscaling.mode: External`: a real HorizontalPodAutoscaler scales by an external metric."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiCluster
from operator_process import operator
from waiting import until

from inferfleet_local.external_metrics import serve
from inferfleet_local.kubectl import Kubectl

pytestmark = pytest.mark.controlplane

NAMESPACE = "external-test"
AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "llama", "namespace": NAMESPACE},
    "spec": {
        "scaleTargetRef": {
            "apiVersion": "inferfleet.dev/v1alpha1",
            "kind": "InferenceDeployment",
            "name": "llama",
        },
        "minReplicas": 1,
        "maxReplicas": 4,
        "metrics": [
            {
                "type": "External",
                "external": {
                    "metric": {"name": "vllm_num_requests_waiting"},
                    "target": {"type": "AverageValue", "averageValue": "5"},
                },
            }
        ],
    },
}
DEPLOYMENT = {
    "apiVersion": "inferfleet.dev/v1alpha1",
    "kind": "InferenceDeployment",
    "metadata": {"name": "llama", "namespace": NAMESPACE},
    "spec": {
        "model": {"id": "Qwen/Qwen2.5-0.5B-Instruct", "contextLength": 2048},
        "parallelism": {"tensor": 1},
        "autoscaling": {"mode": "External"},
        "replicas": 1,
        "drain": {"timeout": "3s", "settle": "1s", "margin": "1s"},
    },
}


@pytest.fixture
def address() -> str:
    """An address of this machine besides the loopback ones, which are no endpoints; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("not run: this machine has no address but the loopback one")
        found = str(probe.getsockname()[0])
    if found.startswith("127."):
        pytest.skip("not run: this machine has no address but the loopback one")
    return found


@pytest.fixture
def queue(api_cluster: ApiCluster, address: str, tmp_path: Path) -> Iterator[dict[str, float]]:
    """Waiting requests, by metric, as the cluster's external metrics API tells them."""
    values = {"vllm_num_requests_waiting": 12.0}
    kubectl = Kubectl(api_cluster.kubectl_program, api_cluster.kubeconfig)
    with serve(kubectl, address, tmp_path, lambda _namespace, metric: values.get(metric)):
        yield values


def test_a_horizontal_pod_autoscaler_scales_by_the_queue(
    api_cluster: ApiCluster, queue: dict[str, float], tmp_path: Path
):
    def got(kind: str) -> dict[str, Any]:
        found: dict[str, Any] = api_cluster.get(kind, "llama", "-n", NAMESPACE)
        return found

    api_cluster.namespace(NAMESPACE)
    with operator(api_cluster.kubeconfig, tmp_path) as running:
        assert api_cluster.apply(DEPLOYMENT, AUTOSCALER).ok
        ready = until(lambda: got("infd").get("status", {}).get("readyReplicas") == 3, seconds=90)
        assert ready, (got("infd").get("status"), got("hpa").get("status"), running.lines()[-3:])
        assert queue == {"vllm_num_requests_waiting": 12.0}
        assert got("hpa")["status"]["desiredReplicas"] == 3
        told = {one["type"]: one["reason"] for one in got("infd")["status"]["conditions"]}
        assert told["ScalingActive"] == "ExternalScaling"
        api_cluster.must("delete", "infd", "llama", "-n", NAMESPACE, "--wait=false")
        assert until(lambda: not api_cluster.get("infd", "-n", NAMESPACE)["items"], seconds=60)
