"""The demo's steps, one test each, in their order: real nodes, real vLLM on CPU, the chart, real traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from inferfleet_demo.scene import Scene
from inferfleet_demo.stage import prepare
from inferfleet_demo.steps import STEPS
from inferfleet_local.cluster import Cluster

pytestmark = pytest.mark.nodes


@pytest.fixture(scope="module")
def scene(nodes_cluster: Cluster, measured: dict[str, float]) -> Iterator[Scene]:
    assert nodes_cluster.kubeconfig.exists()
    scene = prepare()
    yield scene
    measured |= scene.measured


@pytest.fixture(scope="module")
def failed() -> list[str]:
    return []


@pytest.mark.parametrize(("title", "step"), STEPS, ids=[step.__name__ for _, step in STEPS])
def test_the_demo_keeps_its_promises(
    scene: Scene, failed: list[str], title: str, step: Callable[[Scene], None]
) -> None:
    if failed:
        pytest.fail(f"the steps build on each other, and this one failed: {failed[0]}", pytrace=False)
    failed.append(title)
    step(scene)
    failed.remove(title)
