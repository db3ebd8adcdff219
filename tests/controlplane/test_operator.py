"""The operator's process against a real API server, scheduler and controller manager; kwok plays kubelets.

Pretend pods have addresses that nobody answers, so there is never evidence of load: what is seen here is also
that the operator holds without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiCluster
from operator_process import OperatorProcess, operator
from waiting import until

pytestmark = pytest.mark.controlplane

NAMESPACE = "operator-test"


def deployment(name: str = "llama", **spec: Any) -> dict[str, Any]:
    """A deployment with a fixed number of replicas; a field that is None is left out."""
    whole = {
        "model": {"id": "meta-llama/Llama-3.1-8B-Instruct", "contextLength": 4096},
        "autoscaling": {"mode": "Off"},
        "replicas": 2,
        "drain": {"timeout": "3s", "settle": "1s", "margin": "1s"},
        **spec,
    }
    return {
        "apiVersion": "inferfleet.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {field: value for field, value in whole.items() if value is not None},
    }


POOL = {
    "apiVersion": "inferfleet.dev/v1alpha1",
    "kind": "GPUPool",
    "metadata": {"name": "two-nodes"},
    "spec": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}, "maxNodes": 2},
}


class World:
    """Questions about the test's namespace."""

    def __init__(self, api: ApiCluster) -> None:
        self.api = api

    def apply(self, manifest: dict[str, Any]) -> None:
        outcome = self.api.apply(manifest)
        assert outcome.ok, outcome.err

    def items(self, kind: str) -> list[Any]:
        found: list[Any] = self.api.get(kind, "-n", NAMESPACE)["items"]
        return found

    def pods(self) -> dict[str, Any]:
        return {raw["metadata"]["name"]: raw for raw in self.items("pods")}

    def staying(self) -> set[str]:
        return {name for name, raw in self.pods().items() if "deletionTimestamp" not in raw["metadata"]}

    def status(self, name: str = "llama") -> dict[str, Any]:
        found: dict[str, Any] = self.api.get("infd", name, "-n", NAMESPACE).get("status", {})
        return found

    def condition(self, kind: str, name: str = "llama") -> tuple[str, str, str]:
        for found in self.status(name).get("conditions", ()):
            if found["type"] == kind:
                return found["status"], found["reason"], found["message"]
        return "", "", ""

    def events(self) -> set[str]:
        return {event["reason"] for event in self.items("events.events.k8s.io")}

    def eventually(self, holds: Callable[[], bool], what: str, seconds: float = 30) -> None:
        assert until(holds, seconds=seconds), f"{what}; last status: {json.dumps(self.status())[:3000]}"


@pytest.fixture
def world(api_cluster: ApiCluster) -> Iterator[World]:
    api_cluster.namespace(NAMESPACE)
    found = World(api_cluster)
    yield found
    for raw in found.items("infd"):
        name = raw["metadata"]["name"]
        api_cluster.kubectl(
            "patch", "infd", name, "-n", NAMESPACE, "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
        )
        api_cluster.kubectl("delete", "infd", name, "-n", NAMESPACE, "--wait=false", "--ignore-not-found")
    api_cluster.kubectl(
        "delete", "pods,services,pdb,events,cm", "--all", "-n", NAMESPACE, "--grace-period=0", "--force"
    )
    api_cluster.kubectl("delete", "gpupools", "--all")
    api_cluster.kubectl("delete", "lease", "inferfleet-operator", "-n", "default", "--ignore-not-found")


@pytest.fixture
def running(world: World, tmp_path: Path) -> Iterator[OperatorProcess]:
    with operator(world.api.kubeconfig, tmp_path) as process:
        yield process


def ready(world: World, replicas: int) -> Callable[[], bool]:
    return lambda: world.status().get("readyReplicas") == replicas == world.status().get("desiredReplicas")


def test_a_deployment_becomes_pods_a_service_a_budget_and_a_status(world: World, running: OperatorProcess):
    world.apply(deployment())
    world.eventually(ready(world, 2), "two replicas should be ready")
    pods = world.pods()
    assert len(pods) == 2
    for raw in pods.values():
        assert raw["spec"]["nodeName"]
        assert raw["spec"]["readinessGates"] == [{"conditionType": "inferfleet.dev/serving"}]
        assert raw["metadata"]["ownerReferences"][0]["kind"] == "InferenceDeployment"
    assert [raw["metadata"]["name"] for raw in world.items("services")] == ["llama"]
    assert [raw["metadata"]["name"] for raw in world.items("pdb")] == ["llama"]
    status = world.status()
    assert status["plan"]["accelerator"] == "L4"
    assert status["observedGeneration"] == 1
    assert status["pools"][0]["gpus"] == 8
    assert world.condition("Ready")[0] == "True"
    assert {"Planned", "Creating"} <= world.events()
    assert all(line["message"] for line in running.lines())


def test_without_evidence_of_load_the_number_of_replicas_holds(world: World, running: OperatorProcess):
    world.apply(deployment(autoscaling={"minReplicas": 1, "maxReplicas": 3}, replicas=None))
    world.eventually(ready(world, 1), "one replica should be ready")
    world.eventually(lambda: running.metric("inferfleet_scrape_failures_total") > 3, "workers are looked at")
    assert world.condition("ScalingActive")[:2] == ("False", "NoEvidence")
    assert len(world.staying()) == 1


def test_fewer_replicas_are_drained_and_then_deleted(world: World, running: OperatorProcess):
    world.apply(deployment())
    world.eventually(ready(world, 2), "two replicas should be ready")
    seen: dict[str, Any] = {}
    world.apply(deployment(replicas=1))

    def drained() -> bool:
        seen.update(
            (name, raw)
            for name, raw in world.pods().items()
            if "inferfleet.dev/drain" in raw["metadata"].get("annotations", {})
        )
        return len(world.staying()) == 1

    world.eventually(drained, "one of two replicas should go")
    (leaving,) = seen.values()
    drain = json.loads(leaving["metadata"]["annotations"]["inferfleet.dev/drain"])
    assert drain["cause"] == "scale-down"
    assert drain["deadline"] == pytest.approx(drain["startedAt"] + 3, abs=1)
    world.eventually(ready(world, 1), "one replica should be left")
    assert running.process.poll() is None


@pytest.mark.parametrize(
    ("spec", "kind", "told"),
    [
        ({"model": {"id": "meta-llama/Llama-3.1-405B-Instruct"}}, "Planned", "GPU"),
        ({"model": {"id": "nobody/knows-this"}}, "ModelResolved", "HF_ENDPOINT"),
        ({"capacity": {"pools": ["no-such-pool"]}}, "Planned", "no-such-pool"),
    ],
    ids=["a model that is too large", "a hub that does not answer", "a pool that does not exist"],
)
def test_what_cannot_be_served_is_told_with_what_to_change(
    world: World, running: OperatorProcess, spec: dict[str, Any], kind: str, told: str
):
    world.apply(POOL)
    world.apply(deployment(**spec))

    def refused() -> bool:
        status, _, message = world.condition(kind)
        return status == "False" and told in message

    world.eventually(refused, f"{kind} should be False", seconds=40)
    reason = world.condition(kind)[1]
    world.eventually(lambda: reason in world.events(), "an Event should say so too")
    assert world.pods() == {}
    assert running.process.poll() is None


def test_a_pool_says_what_was_found_of_it(world: World, running: OperatorProcess):
    def status() -> dict[str, Any]:
        return next((raw.get("status", {}) for raw in world.api.get("gpupools")["items"]), {})

    world.apply(POOL)
    world.eventually(lambda: status().get("free") == 8, "all GPUs should be free")
    assert (status()["accelerator"], status()["nodes"], status()["gpus"]) == ("L4", 2, 8)
    world.apply(deployment())
    world.eventually(lambda: status().get("free") == 4, "half of the GPUs should be taken")
    assert running.process.poll() is None


def test_a_spec_that_becomes_impossible_leaves_what_runs_alone(world: World, running: OperatorProcess):
    world.apply(deployment())
    world.eventually(ready(world, 2), "two replicas should be ready")
    before = world.staying()
    world.apply(deployment(capacity={"pools": ["no-such-pool"]}))
    world.eventually(lambda: world.status()["observedGeneration"] == 2, "the new spec should be answered")
    world.eventually(lambda: world.condition("Planned")[0] == "False", "the plan should be refused")
    assert world.staying() == before
    assert running.process.poll() is None


def test_a_killed_operator_goes_on_where_it_was_and_changes_nothing(world: World, tmp_path: Path):
    with operator(world.api.kubeconfig, tmp_path, name="first") as first:
        world.apply(deployment())
        world.eventually(ready(world, 2), "two replicas should be ready")
        first.kill()
    before = {name: raw["metadata"]["uid"] for name, raw in world.pods().items()}
    plan = world.status()["plan"]
    with operator(world.api.kubeconfig, tmp_path, name="first") as second:
        world.eventually(lambda: second.metric("inferfleet_passes_total") > 1, "passes should go on")
        assert {name: raw["metadata"]["uid"] for name, raw in world.pods().items()} == before
        assert world.status()["plan"] == plan
        assert not any("action" in line for line in second.lines())


def test_a_deleted_deployment_takes_everything_with_it(world: World, running: OperatorProcess):
    world.apply(deployment())
    world.eventually(ready(world, 2), "two replicas should be ready")
    world.api.must("delete", "infd", "llama", "-n", NAMESPACE, "--wait=false")
    world.eventually(lambda: not world.items("infd"), "the deployment should be gone", seconds=40)
    for kind in ("pods", "services", "pdb"):
        world.eventually(lambda kind=kind: not world.items(kind), f"{kind} should be gone")
    assert "inferfleet_replicas_desired{" not in running.http("/metrics")[1]


def test_of_two_operators_one_leads_and_the_other_follows_at_once(world: World, tmp_path: Path):
    with operator(world.api.kubeconfig, tmp_path, name="first") as first:
        world.eventually(lambda: first.leads, "the first one should lead")
        with operator(world.api.kubeconfig, tmp_path, name="second") as second:
            assert second.http("/readyz")[0] == 200
            world.apply(deployment())
            world.eventually(ready(world, 2), "two replicas should be ready")
            assert not second.leads
            assert second.metric("inferfleet_passes_total") == 0
            assert first.terminate() == 0
            world.eventually(lambda: second.leads, "the second one should lead", seconds=10)
            world.apply(deployment(replicas=1))
            world.eventually(ready(world, 1), "the second one should work")


def test_a_leader_whose_lease_was_taken_ends_at_once(world: World, running: OperatorProcess):
    world.eventually(lambda: running.leads, "it should lead")
    stolen = '{"spec":{"holderIdentity":"thief"}}'
    world.api.must("patch", "lease", "inferfleet-operator", "-n", "default", "--type=merge", "-p", stolen)
    assert running.process.wait(15) == 1
