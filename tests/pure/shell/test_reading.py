"""Which spec a deployment runs on: what is written, what could be run last, or what worked last."""

from __future__ import annotations

from typing import Any

import pytest

from inferfleet.shell.kinds import DeploymentRecord
from inferfleet.shell.reading import Reading, parts_of, read

MODEL = {"id": "qwen/qwen2.5-0.5b-instruct"}


def spec(image: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "engine": {"image": image}, **more}


def reading(written: dict[str, Any], *good: dict[str, Any]) -> Reading:
    raw = {
        "apiVersion": "inferfleet.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": "chat", "namespace": "ns", "uid": "u", "generation": 2},
        "spec": written,
    }
    return read(DeploymentRecord("ns/chat", "u", 2, deleting=False, raw=raw), None, good)


UNDO = {"rollout": {"undo": True}}


@pytest.mark.parametrize(
    ("written", "good", "image", "told"),
    [
        (spec("vllm:2"), (spec("vllm:1"),), "vllm:2", None),
        (spec("vllm:2", **UNDO), (spec("vllm:1"),), "vllm:1", "Undone"),
        (spec("vllm:2", **UNDO), (spec("vllm:2"), spec("vllm:1")), "vllm:1", "Undone"),
        (spec("vllm:2", **UNDO), (spec("vllm:2"),), "vllm:2", "NothingToUndo"),
        (spec("vllm:2", **UNDO), (), "vllm:2", "NothingToUndo"),
    ],
    ids=[
        "nobody asks",
        "back to what worked",
        "back behind what works as well",
        "only what is written ever worked",
        "nothing ever worked",
    ],
)
def test_a_rollout_is_undone_on_request(
    written: dict[str, Any], good: tuple[dict[str, Any], ...], image: str, told: str | None
) -> None:
    found = reading(written, *good)
    assert found.spec.engine.image == image
    assert (found.undone and found.undone.code) == told


def test_what_is_undone_is_what_runs_not_how_many_and_where() -> None:
    before = spec("vllm:1", podTemplate={"metadata": {"labels": {"tier": "gold"}}})
    written = spec("vllm:2", autoscaling={"minReplicas": 5, "maxReplicas": 9}, **UNDO)
    found = reading(written, before)
    assert found.spec.autoscaling.min_replicas == 5
    assert found.resource is not None
    assert parts_of(found.resource) == before
    assert found.spec.template_hash == reading(before).spec.template_hash
