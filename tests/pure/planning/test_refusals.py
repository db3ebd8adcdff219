"""A refusal says what would do, and what it names does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from inferfleet.planning import plan_layout
from inferfleet.values import CapacitySpec, DeploymentSpec, ModelFacts, ParallelismSpec, Pool

MakePool = Callable[..., Pool]
MakeSpec = Callable[..., DeploymentSpec]
Find = Callable[[str], ModelFacts]

L8, L70 = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"
MIXTURE = "Qwen/Qwen3-30B-A3B"


@pytest.mark.parametrize(
    ("name", "asked", "code", "field", "near"),
    [
        (L8, ParallelismSpec(tensor=3), "HeadsNotDivisible", "tensor", (2, 4)),
        (L8, ParallelismSpec(tensor=16), "TooFewGpus", "tensor", (8,)),
        (L8, ParallelismSpec(data=2), "DenseDataParallel", "data", (1,)),
        (MIXTURE, ParallelismSpec(expert=True, expert_gpus=3), "ExpertGpusDiffer", "expert", (2, 4)),
        (
            MIXTURE,
            ParallelismSpec(tensor=4, expert=True, expert_gpus=6),
            "ExpertGpusDiffer",
            "expert",
            (4, 8),
        ),
    ],
)
def test_an_impossible_override_is_answered_with_the_nearest_values_that_would_do(  # noqa: PLR0917 - a table
    pool: MakePool,
    spec: MakeSpec,
    model: Find,
    name: str,
    asked: ParallelismSpec,
    code: str,
    field: str,
    near: tuple[int, ...],
):
    planning = plan_layout(model(name), [pool("H100")], spec(parallelism=asked))
    assert planning.refusal
    assert planning.refusal.reason.code == code
    offered = "; ".join(f"{field} parallelism {value}" for value in near)
    assert f"would do: {offered}" in planning.refusal.nearest
    assert [rejected.reason.code for rejected in planning.rejected][:1] == [code]
    key = "expert_gpus" if field == "expert" else field
    for value in near:
        again = spec(parallelism=replace(asked, **{key: value}))
        assert plan_layout(model(name), [pool("H100")], again).layout


@pytest.mark.parametrize(
    ("capacity", "change"),
    [
        (CapacitySpec(zones=("nowhere",)), "no capacity.zones"),
        (CapacitySpec(max_dollars_per_gpu_hour=0.5), "no capacity.maxPricePerGpuHour"),
    ],
)
def test_a_limit_that_leaves_nothing_is_named_as_what_to_drop(
    pool: MakePool, spec: MakeSpec, model: Find, capacity: CapacitySpec, change: str
):
    plain = pool("H100")
    zoned = replace(plain, offers=tuple(replace(offer, zone="zone-a") for offer in plain.offers))
    planning = plan_layout(model(L8), [zoned], spec(capacity=capacity))
    assert planning.refusal
    assert f"would do: {change}" in planning.refusal.nearest


def test_a_quantisation_that_cannot_be_is_to_be_dropped(pool: MakePool, spec: MakeSpec, model: Find):
    plain = spec()
    awq = replace(plain, engine=replace(plain.engine, quantization="awq"))
    planning = plan_layout(model(L8), [pool("H100")], awq)
    assert planning.refusal
    assert planning.refusal.nearest == "drop engine.quantization"


def test_where_no_single_change_helps_that_is_said(pool: MakePool, spec: MakeSpec, model: Find):
    asked = spec(ttft=0.00001, itl=0.00001)
    planning = plan_layout(model(L70), [pool("H100")], asked)
    assert planning.refusal
    assert "no single change would do: tried" in planning.refusal.nearest


def test_what_misses_an_objective_is_shown_without_a_speed_or_a_cost(
    pool: MakePool, spec: MakeSpec, model: Find
):
    planning = plan_layout(model(L8), [pool("L4")], spec(itl=0.001))
    missed = [each for each in planning.rejected if each.reason.code == "InterTokenLatencyMissed"]
    assert missed
    for each in missed:
        assert each.layout
        seen = each.layout.prediction
        assert seen.itl_seconds > 0.001
        assert (seen.tokens_per_second, seen.concurrency, seen.dollars_per_million_tokens) == (0, 0, 0)


@pytest.mark.parametrize(("most", "warned"), [(None, True), (4, False)])
def test_nodes_that_an_unbounded_pool_does_not_have_yet_are_said(
    pool: MakePool, spec: MakeSpec, model: Find, most: int | None, warned: bool
):
    grows = replace(pool("L4", 8, nodes=1), max_nodes=most)
    layout = plan_layout(
        model("Qwen/Qwen2.5-72B-Instruct"), [grows], spec(parallelism=ParallelismSpec(8, 2))
    ).layout
    assert layout
    assert layout.nodes_per_replica > 1
    assert ("NodesNotThere" in {warning.code for warning in layout.warnings}) is warned
