"""The objects beside the pods."""

from __future__ import annotations

from typing import Any

import pytest
from rendered import FULL, H100_TP4, OPERATOR_IMAGE, TWO_NODES, create, deployment

from inferfleet.api import InferenceDeployment
from inferfleet.manifests import render_inspection_pod, render_objects, render_worker
from inferfleet.values import Layout, labels


def objects(
    layout: Layout | None = H100_TP4, desired: int | None = 3, **spec: Any
) -> dict[str, dict[str, Any]]:
    rendered = render_objects(deployment(**spec), layout=layout, desired=desired)
    return {f"{manifest['kind']}/{manifest['metadata']['name']}": manifest for manifest in rendered}


def selected(selector: dict[str, str], pod: dict[str, Any]) -> bool:
    return selector.items() <= pod["metadata"]["labels"].items()


def test_only_what_is_needed_is_made() -> None:
    assert list(objects()) == ["Service/llama-70b", "PodDisruptionBudget/llama-70b"]
    assert list(objects(TWO_NODES, **FULL)) == [
        "Service/llama-70b",
        "PodDisruptionBudget/llama-70b",
        "Service/llama-70b-peers",
        "InferencePool/llama-70b",
        "HTTPRoute/llama-70b",
        "PodMonitor/llama-70b",
    ]


def test_requests_reach_rank_0_only_and_peers_reach_each_other() -> None:
    made = objects(TWO_NODES, **FULL)
    leader, follower = render_worker(deployment(), create(TWO_NODES), operator_image=OPERATOR_IMAGE)
    for selector in (
        made["Service/llama-70b"]["spec"]["selector"],
        made["InferencePool/llama-70b"]["spec"]["selector"]["matchLabels"],
    ):
        assert selected(selector, leader)
        assert not selected(selector, follower)
    for selector in (
        made["Service/llama-70b-peers"]["spec"]["selector"],
        made["PodDisruptionBudget/llama-70b"]["spec"]["selector"]["matchLabels"],
    ):
        assert selected(selector, leader)
        assert selected(selector, follower)


def test_an_inspection_pod_is_nobodys_worker() -> None:
    pod = render_inspection_pod(deployment(model={"id": "pvc://models"}), operator_image=OPERATOR_IMAGE)
    made = objects(TWO_NODES)
    assert not selected(made["Service/llama-70b"]["spec"]["selector"], pod)
    assert not selected(made["PodDisruptionBudget/llama-70b"]["spec"]["selector"]["matchLabels"], pod)
    assert labels.WORKER not in pod["metadata"]["labels"]


def test_a_hub_model_needs_no_inspection() -> None:
    with pytest.raises(ValueError, match="on the hub"):
        render_inspection_pod(deployment(), operator_image=OPERATOR_IMAGE)


@pytest.mark.parametrize(
    ("layout", "desired", "kept"),
    [(H100_TP4, 3, 2), (H100_TP4, 1, 0), (H100_TP4, 0, 0), (None, 2, 1), (TWO_NODES, 3, 5)],
)
def test_one_pod_at_a_time_may_be_evicted(layout: Layout | None, desired: int, kept: int) -> None:
    assert objects(layout, desired)["PodDisruptionBudget/llama-70b"]["spec"]["minAvailable"] == kept


@pytest.mark.parametrize(
    ("layout", "desired", "kept"), [(H100_TP4, 1, 1), (H100_TP4, 3, 3), (TWO_NODES, 2, 4)]
)
def test_none_may_be_evicted_before_who_leaves_is_replaced(layout: Layout, desired: int, kept: int) -> None:
    made = render_objects(deployment(), layout=layout, desired=desired, leaving=True)
    assert made[1]["spec"]["minAvailable"] == kept


def test_the_number_of_replicas_comes_from_status_unless_given() -> None:
    raw = deployment().model_dump(by_alias=True) | {"status": {"desiredReplicas": 5}}
    made = render_objects(InferenceDeployment.model_validate(raw), layout=H100_TP4)
    assert made[1]["spec"]["minAvailable"] == 4


def test_everything_belongs_to_the_deployment_and_carries_its_hash() -> None:
    hashes = set()
    for manifest in objects(TWO_NODES, **FULL).values():
        (owner,) = manifest["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["controller"]) == ("InferenceDeployment", True)
        assert manifest["metadata"]["labels"][labels.DEPLOYMENT] == "llama-70b"
        hashes.add(manifest["metadata"]["annotations"][labels.HASH_ANNOTATION])
    assert len(hashes) == 6


def test_a_change_changes_the_hash_of_what_it_changes() -> None:
    def digest(kind: str, desired: int) -> str:
        return str(objects(desired=desired)[kind]["metadata"]["annotations"][labels.HASH_ANNOTATION])

    assert digest("Service/llama-70b", 2) == digest("Service/llama-70b", 3)
    assert digest("PodDisruptionBudget/llama-70b", 2) != digest("PodDisruptionBudget/llama-70b", 3)


def test_users_labels_cannot_take_an_object_away() -> None:
    made = objects(service={"labels": {labels.DEPLOYMENT: "other", "team": "x"}})
    assert made["Service/llama-70b"]["metadata"]["labels"][labels.DEPLOYMENT] == "llama-70b"
    assert made["Service/llama-70b"]["metadata"]["labels"]["team"] == "x"
