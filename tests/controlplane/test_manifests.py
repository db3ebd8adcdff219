"""What is rendered, on a real API server: taken as it is, and doing what it is for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from api_server import ApiCluster
from rendered import NAMESPACE, create, deployment, everything
from waiting import until

from inferfleet.manifests import render_objects, render_worker

pytestmark = pytest.mark.controlplane

BUILT_IN = {"v1", "policy/v1"}


@pytest.fixture(scope="module")
def api(api_cluster: ApiCluster) -> Iterator[ApiCluster]:
    api_cluster.namespace(NAMESPACE)
    yield api_cluster
    api_cluster.must("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize("name", everything())
def test_the_api_server_takes_what_is_rendered(api: ApiCluster, name: str) -> None:
    manifests = [manifest for manifest in everything()[name] if manifest["apiVersion"] in BUILT_IN]
    assert manifests
    for manifest in manifests:
        outcome = api.apply(manifest, dry_run=True)
        assert outcome.ok, outcome.err


def test_the_budget_counts_without_spec_replicas_and_lets_one_pod_go(api: ApiCluster) -> None:
    raw = json.loads(deployment("budget").model_dump_json(by_alias=True, exclude_none=True))
    raw["metadata"] = {"name": "budget", "namespace": NAMESPACE}
    raw.pop("status")
    outcome = api.apply(raw)
    assert outcome.ok, outcome.err
    uid = api.get("infd", "budget", "-n", NAMESPACE)["metadata"]["uid"]
    owned = deployment("budget").model_copy(
        update={"metadata": deployment("budget").metadata.model_copy(update={"uid": uid})}
    )
    pods = [render_worker(owned, _named(f"budget-{index}"), operator_image="x:1")[0] for index in range(2)]
    budget = render_objects(owned, layout=None, desired=2)[1]
    outcome = api.apply(budget, *pods)
    assert outcome.ok, outcome.err
    for pod in pods:
        _make_ready(api, pod["metadata"]["name"])

    def allowed() -> tuple[int, int, int]:
        status = api.get("pdb", "budget", "-n", NAMESPACE).get("status", {})
        return (
            status.get("expectedPods", 0),
            status.get("currentHealthy", 0),
            status.get("disruptionsAllowed", 0),
        )

    assert until(lambda: allowed() == (2, 2, 1), seconds=15), allowed()


def _named(worker: str) -> Any:

    return replace(create(requirements=()), worker=worker)


def _make_ready(api: ApiCluster, pod: str) -> None:
    ready = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
    patch = json.dumps({"status": {"phase": "Running", "conditions": ready}})
    api.must("patch", "pod", pod, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch)
