"""What a worker's pods must be, whatever a user's template says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rendered import (
    H100_TP4,
    ON_AWS_SPOT,
    ON_GKE_SPOT,
    OPERATOR_IMAGE,
    PRODUCT,
    TEMPLATE,
    TWO_NODES,
    create,
    deployment,
)

from inferfleet.api import InferenceDeployment, SpecError
from inferfleet.manifests import render_worker
from inferfleet.values import CapacityType, CreateWorker, Requirement, labels
from inferfleet_wire import LaunchPlan, MetadataProvider


def pods(action: CreateWorker | None = None, **spec: Any) -> list[dict[str, Any]]:
    return render_worker(deployment(**spec), action or create(), operator_image=OPERATOR_IMAGE)


def engine(pod: dict[str, Any]) -> dict[str, Any]:
    return next(container for container in pod["spec"]["containers"] if container["name"] == "engine")


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in engine(pod)["env"]}


def launch(pod: dict[str, Any]) -> LaunchPlan:
    return LaunchPlan.from_json(environment(pod)["INFERFLEET_LAUNCH"])


def option(plan: LaunchPlan, name: str) -> str:
    return plan.command[plan.command.index(name) + 1]


def test_the_engine_gets_the_plan_and_nothing_that_the_plan_leaves_open() -> None:
    plan = launch(pods()[0])
    assert plan.command[:3] == ("vllm", "serve", "meta-llama/Llama-3.1-70B-Instruct")
    assert option(plan, "--tensor-parallel-size") == "4"
    assert option(plan, "--max-model-len") == "8192"
    assert option(plan, "--max-num-seqs") == "48"
    assert option(plan, "--gpu-memory-utilization") == "0.9"
    for absent in ("--quantization", "--kv-cache-dtype", "--revision", "--nnodes", "--headless"):
        assert absent not in plan.command
    assert plan.serves
    assert plan.leader_url == ""


def test_the_users_arguments_come_last_so_they_win() -> None:
    plan = launch(pods(engine={"args": ["--max-num-seqs", "8"]})[0])
    assert plan.command[-2:] == ("--max-num-seqs", "8")


@pytest.mark.parametrize(
    ("model", "served", "argument"),
    [
        ({"id": "org/name"}, "org/name", "org/name"),
        ({"id": "pvc://claim/a/b/"}, "b", "/models/a/b"),
        ({"id": "pvc://claim"}, "claim", "/models"),
        ({"id": "/opt/model"}, "model", "/opt/model"),
        ({"id": "/opt/model", "servedName": "mine"}, "mine", "/opt/model"),
    ],
)
def test_a_model_is_found_where_it_is_and_served_under_a_name_that_clients_know(
    model: dict[str, str], served: str, argument: str
) -> None:
    plan = launch(pods(model=model)[0])
    assert plan.command[2] == argument
    assert option(plan, "--served-model-name") == served


def test_a_replica_on_two_nodes_is_two_pods_of_one_engine() -> None:
    leader, follower = pods(create(TWO_NODES))
    first, second = launch(leader), launch(follower)
    assert (leader["metadata"]["name"], follower["metadata"]["name"]) == (
        "llama-70b-5d8f-0-0",
        "llama-70b-5d8f-0-1",
    )
    host = "llama-70b-5d8f-0-0.llama-70b-peers.chat.svc"
    for rank, plan in enumerate((first, second)):
        assert option(plan, "--nnodes") == "2"
        assert option(plan, "--node-rank") == str(rank)
        assert option(plan, "--master-addr") == host
    assert "--headless" not in first.command
    assert "--headless" in second.command
    assert (first.serves, second.serves) == (True, False)
    assert second.leader_url == f"http://{host}:8001"
    for pod in (leader, follower):
        assert engine(pod)["resources"]["limits"] == {"nvidia.com/gpu": "8"}
        # one rank alone must not start again: its group would hang
        assert pod["spec"]["restartPolicy"] == "Never"
        assert pod["spec"]["hostname"] == pod["metadata"]["name"]
        assert pod["spec"]["subdomain"] == "llama-70b-peers"


@pytest.mark.parametrize(
    ("action", "drain", "grace"),
    [
        (create(), {}, 312),
        (create(), {"timeout": "30s"}, 42),
        (ON_AWS_SPOT, {}, 120),
        (ON_AWS_SPOT, {"timeout": "30s"}, 42),
        (ON_GKE_SPOT, {}, 15),
        (
            create(
                capacity_type=CapacityType.SPOT,
                requirements=(Requirement("kubernetes.azure.com/scalesetpriority", "In", ("spot",)),),
            ),
            {},
            30,
        ),
        (create(capacity_type=CapacityType.SPOT, zone="eastus2-1"), {}, 30),
        (create(capacity_type=CapacityType.SPOT, zone="europe-west4-b"), {}, 15),
        (create(capacity_type=CapacityType.SPOT, zone="rack-7"), {}, 120),
    ],
)
def test_a_pod_gets_a_whole_drain_but_on_spot_never_more_than_the_notice(
    action: CreateWorker, drain: dict[str, str], grace: int
) -> None:
    pod = pods(action, drain=drain)[0]
    plan = launch(pod)
    assert pod["spec"]["terminationGracePeriodSeconds"] == grace
    assert plan.grace_seconds == grace
    # what is kept back for the engine's own end leaves at least half for the drain
    assert plan.margin_seconds + plan.shutdown_seconds <= grace / 2


def test_the_worker_watches_the_cloud_that_it_runs_in_and_what_the_user_names() -> None:
    providers = [source.provider for source in launch(pods(ON_GKE_SPOT)[0]).metadata]
    assert providers == [MetadataProvider.GCP]
    sources = launch(pods(ON_AWS_SPOT, drain={"noticeUrl": "http://notices/x"})[0]).metadata
    assert [(source.provider, source.url) for source in sources] == [
        (MetadataProvider.URL, "http://notices/x"),
        (MetadataProvider.AWS, ""),
    ]
    assert launch(pods()[0]).metadata == ()


def test_spot_nodes_are_tolerated_only_by_spot_workers_and_going_nodes_by_nobody() -> None:
    def tolerated(action: CreateWorker) -> set[str]:
        return {toleration["key"] for toleration in pods(action)[0]["spec"]["tolerations"]}

    assert tolerated(create()) == {"nvidia.com/gpu", "amd.com/gpu"}
    assert tolerated(ON_GKE_SPOT) == tolerated(create()) | {
        "kubernetes.azure.com/scalesetpriority",
        "cloud.google.com/gke-spot",
    }
    assert "tpu.example.com/chip" in tolerated(replace(create(), gpu_resource="tpu.example.com/chip"))


def test_a_template_adds_but_cannot_unmake_the_worker() -> None:
    pod = pods(podTemplate=TEMPLATE)[0]
    container, spec = engine(pod), pod["spec"]
    # the user's
    assert pod["metadata"]["labels"]["team"] == "chat"
    assert pod["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "false"
    assert environment(pod)["HF_HOME"] == "/cache/elsewhere"
    assert container["resources"]["requests"]["cpu"] == "8"
    assert container["readinessProbe"]["failureThreshold"] == 5
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {volume["name"]: volume for volume in spec["volumes"]}["cache"] == {
        "name": "cache",
        "persistentVolumeClaim": {"claimName": "hub-cache"},
    }
    assert [container["name"] for container in spec["containers"]] == ["engine", "sidecar"]
    assert {"key": "team", "operator": "Equal", "value": "chat", "effect": "NoSchedule"} in spec[
        "tolerations"
    ]
    # ours
    assert pod["metadata"]["labels"][labels.DEPLOYMENT] == "llama-70b"
    assert launch(pod).command[0] == "vllm"
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "4"}
    assert {gate["conditionType"] for gate in spec["readinessGates"]} == {
        labels.SERVING_GATE,
        "example.com/checked",
    }


def test_requirements_hold_in_every_alternative_of_the_users_affinity() -> None:
    affinity = pods(podTemplate=TEMPLATE)[0]["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    ours = {"key": PRODUCT.key, "operator": "In", "values": list(PRODUCT.values)}
    assert [term["matchExpressions"][0]["values"] for term in terms] == [["a"], ["b"]]
    assert all(term["matchExpressions"][1:] == [ours] for term in terms)


@pytest.mark.parametrize("field", ["image", "command", "args"])
def test_what_the_plan_sets_is_refused_in_a_template(field: str) -> None:
    value = "x" if field == "image" else ["x"]
    with pytest.raises(SpecError, match=rf"spec\.podTemplate: the engine's {field} cannot be set here"):
        deployment(podTemplate={"spec": {"containers": [{"name": "engine", field: value}]}})


def template_hash(**spec: Any) -> str:
    return InferenceDeployment.to_values(deployment(**spec)).template_hash


@pytest.mark.parametrize(
    "change",
    [
        {"podTemplate": {"spec": {"priorityClassName": "high"}}},
        {"podTemplate": {"metadata": {"labels": {"a": "b"}}}},
        {"model": {"id": "meta-llama/Llama-3.1-70B-Instruct", "servedName": "other"}},
        {"model": {"id": "meta-llama/Llama-3.1-70B-Instruct", "tokenSecret": {"name": "hub"}}},
        {"drain": {"noticeUrl": "http://x/y"}},
    ],
)
def test_a_change_that_is_rendered_changes_the_template_hash(change: dict[str, Any]) -> None:
    assert template_hash(**change) != template_hash()


def test_what_is_decided_elsewhere_does_not_change_the_template_hash() -> None:
    assert template_hash(autoscaling={"maxReplicas": 5}) == template_hash()


def test_no_pod_gets_service_links_a_token_or_privileges() -> None:
    for pod in pods(create(replace(H100_TP4, nodes_per_replica=2))):
        assert pod["spec"]["enableServiceLinks"] is False
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_replacement_keeps_off_nodes_by_who_is_there_as_karpenter_wants_no_host_names() -> None:
    asked = replace(create(H100_TP4), strangers=("llama-70b-abc-0",))
    (pod,) = render_worker(deployment(), asked, operator_image=OPERATOR_IMAGE)
    (term,) = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term == {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {
            "matchExpressions": [{"key": labels.WORKER, "operator": "In", "values": ["llama-70b-abc-0"]}]
        },
    }
