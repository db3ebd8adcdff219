"""The definitions on a real API server: what it takes, refuses, fills in, prints and scales."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from api_server import ROOT, ApiCluster

from inferfleet.api import InferenceDeployment
from inferfleet.values import AutoscalingMode, IntOrPercent

pytestmark = pytest.mark.controlplane

NAMESPACE = "crd-tests"


@pytest.fixture(scope="module")
def api(api_cluster: ApiCluster) -> Iterator[ApiCluster]:
    api_cluster.namespace(NAMESPACE)
    yield api_cluster
    api_cluster.must("delete", "namespace", NAMESPACE, "--wait=false")
    api_cluster.must("delete", "gpupools", "--all", "--wait=false")


def deployment(name: str = "llama", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "inferfleet.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"model": {"id": "org/model"}} | spec,
    }


def pool(name: str = "pool", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "inferfleet.dev/v1alpha1",
        "kind": "GPUPool",
        "metadata": {"name": name},
        "spec": {"nodeSelector": {"a": "b"}} | spec,
    }


@pytest.mark.parametrize("name", ["inferencedeployments.inferfleet.dev", "gpupools.inferfleet.dev"])
def test_the_definitions_are_established_and_structural(api: ApiCluster, name: str) -> None:
    conditions = {c["type"]: c["status"] for c in api.get("crd", name)["status"]["conditions"]}
    assert conditions.get("Established") == "True"
    assert conditions.get("NamesAccepted") == "True"
    assert "NonStructuralSchema" not in conditions
    assert "KubernetesAPIApprovalPolicyConformant" not in conditions


BAD = {
    "no model": ({"model": {}}, "spec.model.id: Required"),
    "a model that is a sentence": ({"model": {"id": "the llama one"}}, "spec.model.id"),
    "a model on a bucket": ({"model": {"id": "s3://bucket/model"}}, "spec.model.id"),
    "a model path that climbs": ({"model": {"id": "pvc://claim/../etc"}}, "spec.model.id"),
    "an empty model": ({"model": {"id": ""}}, "spec.model.id"),
    "a context of nothing": ({"model": {"id": "a/b", "contextLength": 0}}, "spec.model.contextLength"),
    "min above max": ({"autoscaling": {"minReplicas": 5, "maxReplicas": 2}}, "spec.autoscaling.minReplicas"),
    "min above max by omission": ({"autoscaling": {"minReplicas": -1}}, "spec.autoscaling.minReplicas"),
    "an unknown mode": ({"autoscaling": {"mode": "Sometimes"}}, "spec.autoscaling.mode"),
    "replicas of our own autoscaling": ({"replicas": 3}, "spec.replicas"),
    "negative replicas": ({"replicas": -1, "autoscaling": {"mode": "Off"}}, "spec.replicas"),
    "a duration without unit": ({"drain": {"timeout": "30"}}, "spec.drain.timeout"),
    "a duration as a number": ({"drain": {"timeout": 30}}, "spec.drain.timeout"),
    "a duration with a space": (
        {"autoscaling": {"scaleDownWindow": "5 m"}},
        "spec.autoscaling.scaleDownWindow",
    ),
    "an objective of no time": (
        {"objectives": {"timeToFirstToken": "0s"}},
        "spec.objectives.timeToFirstToken",
    ),
    "the percentile 100": ({"objectives": {"percentile": 100}}, "spec.objectives.percentile"),
    "a share above all": ({"capacity": {"spot": {"share": "120%"}}}, "spec.capacity.spot.share"),
    "a share that is a word": ({"capacity": {"spot": {"share": "most"}}}, "spec.capacity.spot.share"),
    "a negative base": ({"capacity": {"onDemand": {"base": -1}}}, "spec.capacity.onDemand.base"),
    "a base above max": (
        {"autoscaling": {"maxReplicas": 2}, "capacity": {"onDemand": {"base": 3}}},
        "spec.capacity.onDemand.base",
    ),
    "spare spot without spot": (
        {"capacity": {"spot": {"overprovision": 1}}},
        "spec.capacity.spot.overprovision",
    ),
    "a pool twice": ({"capacity": {"pools": ["a", "a"]}}, "spec.capacity.pools"),
    "a price of nothing": ({"capacity": {"maxPricePerGpuHour": 0}}, "spec.capacity.maxPricePerGpuHour"),
    "a rollout that cannot move": (
        {"rollout": {"maxSurge": 0, "maxUnavailable": "0%"}},
        "spec.rollout.maxSurge",
    ),
    "all memory and more": ({"engine": {"gpuMemoryUtilization": 1.2}}, "spec.engine.gpuMemoryUtilization"),
    "arguments as a sentence": ({"engine": {"args": "--enforce-eager"}}, "spec.engine.args"),
    "no tensor parallelism": ({"parallelism": {"tensor": 0}}, "spec.parallelism.tensor"),
    "gateways without a pool": (
        {"inferencePool": {"gateways": [{"name": "public"}]}},
        "spec.inferencePool.gateways",
    ),
    "an unknown field": ({"autoscalling": {"maxReplicas": 2}}, "spec.autoscalling"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(api: ApiCluster, case: str) -> None:
    spec, field = BAD[case]
    outcome = api.apply(deployment(**copy.deepcopy(spec)))
    assert not outcome.ok
    assert field.removesuffix(": Required") in outcome.err
    if field.endswith("Required"):
        assert "Required value" in outcome.err


@pytest.mark.parametrize("name", ["7b-llama", "a.b", "n" * 41])
def test_a_name_that_no_service_could_have_is_refused(api: ApiCluster, name: str) -> None:
    outcome = api.apply(deployment(name))
    assert not outcome.ok
    assert "metadata.name" in outcome.err


BAD_POOLS = {
    "nothing that says which nodes": ({"nodeSelector": {}}, "spec.nodeSelector"),
    "a capacity type that nobody sells": ({"capacityTypes": ["cheap"]}, "spec.capacityTypes[0]"),
    "a negative price": ({"pricePerGpuHour": {"spot": -1}}, "spec.pricePerGpuHour.spot"),
    "memory that is no quantity": (
        {
            "accelerator": {
                "name": "x",
                "facts": {"memory": "80GB", "memoryBandwidth": "1T", "bf16Teraflops": 1},
            }
        },
        "spec.accelerator.facts.memory",
    ),
    "facts without memory": (
        {"accelerator": {"name": "x", "facts": {"memoryBandwidth": "1T", "bf16Teraflops": 1}}},
        "spec.accelerator.facts.memory",
    ),
    "no GPUs": ({"gpusPerNode": 0}, "spec.gpusPerNode"),
    "a zone twice": ({"zones": ["a", "a"]}, "spec.zones"),
}


@pytest.mark.parametrize("case", BAD_POOLS)
def test_bad_pools_are_refused_by_name(api: ApiCluster, case: str) -> None:
    spec, field = BAD_POOLS[case]
    outcome = api.apply(pool(**copy.deepcopy(spec)))
    assert not outcome.ok
    assert field in outcome.err


GOOD: dict[str, dict[str, Any]] = {
    "only a model": {},
    "a model on a claim": {"model": {"id": "pvc://models/llama/8b"}},
    "a whole claim": {"model": {"id": "pvc://models"}},
    "a model in the image": {"model": {"id": "/models/llama"}},
    "a model without organisation": {"model": {"id": "gpt2"}},
    "scale to zero": {"autoscaling": {"minReplicas": 0, "maxReplicas": 3}},
    "min without max": {"autoscaling": {"minReplicas": 3}, "capacity": {"onDemand": {"base": 3}}},
    "replicas set by another": {"replicas": 4, "autoscaling": {"mode": "External"}},
    "a count on spot": {"capacity": {"spot": {"share": 2, "overprovision": "50%"}}},
    "long durations": {"drain": {"timeout": "1h30m", "settle": "0s", "margin": "2.5s"}},
    "a pod template": {
        "podTemplate": {
            "metadata": {"labels": {"team": "a"}},
            "spec": {"nodeSelector": {"a": "b"}, "containers": [{"name": "engine", "env": []}]},
        }
    },
}


@pytest.mark.parametrize("case", GOOD)
def test_good_input_is_accepted_and_understood_by_the_operator(api: ApiCluster, case: str) -> None:
    name = case.replace(" ", "-")[:40].strip("-")
    outcome = api.apply(deployment(name, **copy.deepcopy(GOOD[case])))
    assert outcome.ok, outcome.err
    values = InferenceDeployment.parse(api.get("infd", "-n", NAMESPACE, name)).to_values()
    assert (values.name, values.namespace, values.generation) == (name, NAMESPACE, 1)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_accepted(api: ApiCluster, path: Any) -> None:
    documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
    for document in documents:
        if "namespace" in document["metadata"]:
            api.namespace(document["metadata"]["namespace"])
    outcome = api.apply(*documents, dry_run=True) if path.stem != "quickstart" else None
    if outcome is None:  # without a namespace of its own
        outcome = api.kubectl("apply", "--dry-run=server", "-n", NAMESPACE, "-f", str(path))
    assert outcome.ok, outcome.err


def test_defaults_are_filled_in_as_the_models_have_them(api: ApiCluster) -> None:
    assert api.apply(deployment("defaults")).ok
    served = api.get("infd", "-n", NAMESPACE, "defaults")
    assert served["spec"]["drain"]["timeout"] == "5m"
    assert served["spec"]["rollout"] == {
        "maxSurge": 1,
        "maxUnavailable": 0,
        "progressDeadline": "30m",
        "undo": False,
    }
    bare = copy.deepcopy(served) | {"spec": {"model": {"id": "org/model"}}}
    assert InferenceDeployment.parse(served).to_values() == InferenceDeployment.parse(bare).to_values()
    # a part that is given in part gets the rest
    assert api.apply(deployment("partly", capacity={"spot": {"share": "50%"}})).ok
    values = InferenceDeployment.parse(api.get("infd", "-n", NAMESPACE, "partly")).to_values()
    assert values.capacity.spot_share == IntOrPercent(share=0.5)
    assert values.capacity.spot_overprovision == IntOrPercent(count=0)
    assert values.autoscaling.mode is AutoscalingMode.INTERNAL


def test_a_new_model_is_an_update_of_the_same_object(api: ApiCluster) -> None:
    assert api.apply(deployment("changing")).ok
    outcome = api.apply(deployment("changing", model={"id": "org/other"}))
    assert outcome.ok, outcome.err
    assert api.get("infd", "-n", NAMESPACE, "changing")["metadata"]["generation"] == 2


STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "state": "Ready",
    "model": "Llama-3.1-70B…",
    "replicas": 6,
    "readyReplicas": 5,
    "desiredReplicas": 6,
    "spotReadyReplicas": 4,
    "queue": 12,
    "tokensPerSecond": 6810,
    "selector": "inferfleet.dev/deployment=columns,inferfleet.dev/rank=0",
    "cost": {"dollarsPerHour": 176.1, "dollarsPerMillionTokens": 7.18},
    "plan": {"summary": "H100 TP4"},
}


def test_kubectl_get_prints_the_columns_of_the_design(api: ApiCluster) -> None:
    assert api.apply(deployment("columns")).ok
    patch = json.dumps({"status": STATUS})
    api.must("patch", "infd", "columns", "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch)
    header, row = api.must("get", "infd", "columns", "-n", NAMESPACE).splitlines()
    assert header.split() == (
        [
            "NAME",
            "MODEL",
            "PLAN",
            "READY",
            "DESIRED",
            "SPOT",
            "QUEUE",
            "TOK/S",
            "$/H",
            "$/MTOK",
            "STATUS",
            "AGE",
        ]
    )
    printed = row.split()
    assert printed[:-1] == (
        ["columns", "Llama-3.1-70B…", "H100", "TP4", "5", "6", "4", "12", "6810", "176.1", "7.18", "Ready"]
    )


def test_the_scale_subresource_is_for_others_and_refused_while_the_operator_scales(api: ApiCluster) -> None:
    assert api.apply(deployment("scaled", replicas=1, autoscaling={"mode": "External"})).ok
    api.must("scale", "infd/scaled", "-n", NAMESPACE, "--replicas=3")
    assert api.get("infd", "-n", NAMESPACE, "scaled")["spec"]["replicas"] == 3
    patch = json.dumps({"status": STATUS})
    api.must("patch", "infd", "scaled", "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch)
    scale = json.loads(
        api.must(
            "get",
            "--raw",
            f"/apis/inferfleet.dev/v1alpha1/namespaces/{NAMESPACE}/inferencedeployments/scaled/scale",
        )
    )
    assert scale["status"] == {"replicas": 6, "selector": STATUS["selector"]}

    assert api.apply(deployment("ours")).ok
    outcome = api.kubectl("scale", "infd/ours", "-n", NAMESPACE, "--replicas=3")
    assert not outcome.ok
    assert "replicas" in outcome.err


def test_status_and_spec_have_separate_writers(api: ApiCluster) -> None:
    assert api.apply(deployment("split")).ok
    patch = json.dumps({"spec": {"paused": True}, "status": {"state": "Ready"}})
    api.must("patch", "infd", "split", "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch)
    served = api.get("infd", "-n", NAMESPACE, "split")
    assert (served["spec"]["paused"], served["status"]["state"]) == (False, "Ready")
    assert served["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, "must say which nodes form the pool"),
        ({"accelerator": {"name": "L4"}, "provision": {}}, "instanceTypes must say what provision may buy"),
        ({"instanceTypes": ["g6.xlarge"], "provision": {"consolidation": {"after": "1d"}}}, "after"),
    ],
)
def test_a_pool_for_which_nothing_could_be_bought_is_refused(
    api: ApiCluster, spec: dict[str, Any], told: str
) -> None:
    pool = {"apiVersion": "inferfleet.dev/v1alpha1", "kind": "GPUPool", "metadata": {"name": "refused"}}
    outcome = api.apply({**pool, "spec": spec}, dry_run=True)
    assert not outcome.ok
    assert told in outcome.err
