"""What a planning test says: pools by GPU, and a spec by what it asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inferfleet.planning import catalogue_facts, find_accelerator
from inferfleet.values import (
    CapacityType,
    DeploymentSpec,
    EngineSpec,
    Layout,
    ModelFacts,
    ModelSpec,
    Objectives,
    Offer,
    Planning,
    Pool,
    Workload,
)

L8, L70 = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"


def pool(gpu: str, count: int = 8, *, price: float = 1.0, name: str = "", nodes: int = 1) -> Pool:
    accelerator = find_accelerator(gpu)
    assert accelerator, gpu
    name = name or f"{gpu.lower()}-x{count}"
    offer = Offer(name, CapacityType.ON_DEMAND, "", price, "test", nodes=nodes, gpus=count * nodes)
    return Pool(name, accelerator, count, nodes, (), (offer,), max_nodes=nodes)


def spec(**changes: Any) -> DeploymentSpec:
    """Defaults of a deployment; `ttft`, `itl` and `context` are short for their places."""
    ttft, itl, context = changes.pop("ttft", None), changes.pop("itl", None), changes.pop("context", None)
    made = DeploymentSpec(
        name="test",
        namespace="default",
        uid="1",
        generation=1,
        model=ModelSpec("test", context),
        engine=EngineSpec("image"),
        objectives=Objectives(95.0, ttft, itl),
        workload=Workload(),
    )
    return replace(made, **changes)


def model(name: str) -> ModelFacts:
    facts = catalogue_facts(name)
    assert facts, name
    return facts


def chosen(planning: Planning) -> Layout:
    assert planning.layout, planning.refusal
    assert planning.refusal is None
    return planning.layout


def refused(planning: Planning) -> tuple[str, str]:
    assert planning.refusal
    assert planning.layout is None
    return planning.refusal.reason.code, planning.refusal.nearest
