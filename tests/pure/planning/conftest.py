"""What a planning test says: pools by GPU, and a spec by what it asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from inferfleet.planning import catalogue_facts, find_accelerator
from inferfleet.values import (
    CapacityType,
    DeploymentSpec,
    EngineSpec,
    ModelFacts,
    ModelSpec,
    Objectives,
    Offer,
    Pool,
    Workload,
)


def make_pool(gpu: str, count: int = 8, *, price: float = 1.0, name: str = "", nodes: int = 1) -> Pool:
    accelerator = find_accelerator(gpu)
    assert accelerator, gpu
    name = name or f"{gpu.lower()}-x{count}"
    offer = Offer(name, CapacityType.ON_DEMAND, "", price, "test", nodes=nodes, gpus=count * nodes)
    return Pool(name, accelerator, count, nodes, (), (offer,), max_nodes=nodes)


def make_spec(**changes: Any) -> DeploymentSpec:
    """Defaults of a deployment; `ttft`, `itl` and `context` are short for their places."""
    ttft, itl, context = changes.pop("ttft", None), changes.pop("itl", None), changes.pop("context", None)
    spec = DeploymentSpec(
        name="test",
        namespace="default",
        uid="1",
        generation=1,
        model=ModelSpec("test", context),
        engine=EngineSpec("image"),
        objectives=Objectives(95.0, ttft, itl),
        workload=Workload(),
    )
    return replace(spec, **changes)


def make_model(name: str) -> ModelFacts:
    facts = catalogue_facts(name)
    assert facts, name
    return facts


@pytest.fixture
def pool() -> Callable[..., Pool]:
    return make_pool


@pytest.fixture
def spec() -> Callable[..., DeploymentSpec]:
    return make_spec


@pytest.fixture
def model() -> Callable[[str], ModelFacts]:
    return make_model
