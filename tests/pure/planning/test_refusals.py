"""A refusal says why and what would do, and what it names does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning_cases import L8, L70, chosen, model, pool, refused, spec

from inferfleet.planning import plan_layout
from inferfleet.values import CapacitySpec, ParallelismSpec

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
def test_an_impossible_override_is_answered_with_the_nearest_values_that_would_do(
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
def test_a_limit_that_leaves_nothing_is_named_as_what_to_drop(capacity: CapacitySpec, change: str):
    plain = pool("H100")
    zoned = replace(plain, offers=tuple(replace(offer, zone="zone-a") for offer in plain.offers))
    planning = plan_layout(model(L8), [zoned], spec(capacity=capacity))
    assert planning.refusal
    assert f"would do: {change}" in planning.refusal.nearest


def test_a_quantisation_that_cannot_be_is_to_be_dropped():
    plain = spec()
    awq = replace(plain, engine=replace(plain.engine, quantization="awq"))
    planning = plan_layout(model(L8), [pool("H100")], awq)
    assert planning.refusal
    assert planning.refusal.nearest == "drop engine.quantization"


def test_where_no_single_change_helps_that_is_said():
    asked = spec(ttft=0.00001, itl=0.00001)
    planning = plan_layout(model(L70), [pool("H100")], asked)
    assert planning.refusal
    assert "no single change would do: tried" in planning.refusal.nearest


def test_what_misses_an_objective_is_shown_without_a_speed_or_a_cost():
    planning = plan_layout(model(L8), [pool("L4")], spec(itl=0.001))
    missed = [each for each in planning.rejected if each.reason.code == "InterTokenLatencyMissed"]
    assert missed
    for each in missed:
        assert each.layout
        seen = each.layout.prediction
        assert seen.itl_seconds > 0.001
        assert (seen.tokens_per_second, seen.concurrency, seen.dollars_per_million_tokens) == (0, 0, 0)


@pytest.mark.parametrize(("most", "warned"), [(None, True), (4, False)])
def test_nodes_that_an_unbounded_pool_does_not_have_yet_are_said(most: int | None, warned: bool):
    grows = replace(pool("L4", 8, nodes=1), max_nodes=most)
    layout = plan_layout(
        model("Qwen/Qwen2.5-72B-Instruct"), [grows], spec(parallelism=ParallelismSpec(8, 2))
    ).layout
    assert layout
    assert layout.nodes_per_replica > 1
    assert ("NodesNotThere" in {warning.code for warning in layout.warnings}) is warned


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (ParallelismSpec(tensor=3), "HeadsNotDivisible"),
        (ParallelismSpec(tensor=16), "TooFewGpus"),
        (ParallelismSpec(tensor=1, pipeline=1), "OutOfMemory"),
        (ParallelismSpec(tensor=8, pipeline=2), "TooFewGpus"),
        (ParallelismSpec(expert=True), "NoExperts"),
    ],
)
def test_an_override_that_cannot_be_is_refused_with_the_reason(asked: ParallelismSpec, code: str):
    assert refused(plan_layout(model(L70), [pool("H100")], spec(parallelism=asked)))[0] == code


def test_a_refusal_names_the_nearest_miss_and_what_would_do():
    code, nearest = refused(plan_layout(model(L70), [pool("L4", 4)], spec()))
    assert code == "OutOfMemory"
    assert "GiB more per GPU" in nearest
    assert "would do: engine.quantization fp8" in nearest


def test_an_objective_out_of_reach_is_refused_with_the_one_within():
    asked = spec(itl=0.002)
    planning = plan_layout(model(L70), [pool("H100")], asked)
    code, nearest = refused(planning)
    assert code == "InterTokenLatencyMissed"
    bound = float(nearest.split("interTokenLatency ")[1].split("ms")[0]) / 1e3
    assert chosen(plan_layout(model(L70), [pool("H100")], spec(itl=bound)))


def test_a_pool_that_does_not_exist_is_refused_with_those_that_do():
    planning = plan_layout(
        model(L8), [pool("H100"), pool("L4")], spec(capacity=CapacitySpec(pools=("a100",)))
    )
    assert planning.refusal
    assert planning.refusal.reason.code == "PoolNotFound"
    assert "h100-x8, l4-x8" in planning.refusal.reason.message


@pytest.mark.parametrize(
    ("capacity", "code"),
    [
        (CapacitySpec(zones=("nowhere",)), "ZoneNotOffered"),
        (CapacitySpec(max_dollars_per_gpu_hour=0.5), "TooExpensive"),
    ],
)
def test_limits_on_zones_and_prices_are_kept(capacity: CapacitySpec, code: str):
    plain = pool("H100")
    zoned = replace(plain, offers=tuple(replace(offer, zone="zone-a") for offer in plain.offers))
    assert refused(plan_layout(model(L8), [zoned], spec(capacity=capacity)))[0] == code


def test_no_pools_is_a_refusal():
    assert refused(plan_layout(model(L8), [], spec()))[0] == "NoPools"
