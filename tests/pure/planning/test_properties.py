"""What holds for any model, pool and objective."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

from hypothesis import given, settings
from hypothesis import strategies as st

from inferfleet.planning import (
    ACCELERATORS,
    ModelFactsError,
    catalogue_facts,
    catalogue_ids,
    model_facts,
    plan_layout,
)
from inferfleet.planning.search import search
from inferfleet.values import (
    CapacityType,
    DeploymentSpec,
    EngineSpec,
    Layout,
    ModelFacts,
    ModelSpec,
    Objectives,
    Offer,
    Pool,
    Workload,
)

# what a tie costs at most: the winner may be this much dearer than the cheapest
TIE = 1.01


def facts(name: str) -> ModelFacts:
    found = catalogue_facts(name)
    assert found
    return found


models = st.sampled_from(catalogue_ids()).map(facts)
latencies = st.none() | st.floats(0.005, 5.0)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    gpu = draw(st.sampled_from(sorted(ACCELERATORS.values(), key=lambda each: each.name)))
    count, nodes = draw(st.sampled_from([1, 2, 3, 4, 6, 8])), draw(st.integers(1, 4))
    price = draw(st.floats(0.1, 20.0))
    name = f"{gpu.name}-{count}x{nodes}"
    offer = Offer(name, CapacityType.ON_DEMAND, "", price, "test", nodes=nodes)
    return Pool(name, gpu, count, nodes, (), (offer,), max_nodes=nodes)


@st.composite
def specs(draw: st.DrawFn) -> DeploymentSpec:
    return DeploymentSpec(
        name="test",
        namespace="default",
        uid="1",
        generation=1,
        model=ModelSpec("test"),
        engine=EngineSpec("image"),
        objectives=Objectives(
            draw(st.sampled_from([50.0, 90.0, 95.0, 99.0])), draw(latencies), draw(latencies)
        ),
        workload=Workload(draw(st.integers(1, 8000)), draw(st.integers(1, 2000))),
    )


many = settings(max_examples=60)


def check_split(model: ModelFacts, pool: Pool, layout: Layout) -> None:
    assert layout.gpus_per_replica == (
        layout.tensor_parallel * layout.pipeline_parallel * layout.data_parallel
    )
    assert layout.gpus_per_replica <= pool.gpus_per_node * (pool.max_nodes or 1)
    assert layout.gpus_per_pod * layout.nodes_per_replica == layout.gpus_per_replica
    assert layout.tensor_parallel * layout.data_parallel <= pool.gpus_per_node
    assert model.attention_heads % layout.tensor_parallel == 0
    for group in model.layer_groups:
        if group.kv_heads:
            low, high = sorted((group.kv_heads, layout.tensor_parallel))
            assert high % low == 0
    assert layout.pipeline_parallel <= model.layers


@many
@given(models, pools(), specs())
def test_whatever_is_chosen_divides_fits_and_meets_the_objectives(
    model: ModelFacts, pool: Pool, spec: DeploymentSpec
):
    planning = plan_layout(model, [pool], spec)
    assert (planning.layout is None) != (planning.refusal is None)
    for rejected in planning.rejected:
        assert rejected.reason.code
        assert rejected.reason.message
    if planning.refusal:
        assert planning.refusal.nearest
        return
    layout = planning.layout
    assert layout
    check_split(model, pool, layout)
    seen = layout.prediction
    assert layout.kv_cache_tokens >= 1
    assert seen.concurrency >= 1
    assert 0 < seen.tokens_per_second < float("inf")
    assert seen.ttft_seconds <= (spec.objectives.ttft_seconds or 1e9)
    assert seen.itl_seconds <= (spec.objectives.itl_seconds or 1e9)
    assert 1 <= layout.max_num_seqs <= layout.max_num_batched_tokens
    assert layout.max_model_len <= model.max_context_tokens


@many
@given(models, pools(), specs(), st.floats(1.0, 4.0))
def test_more_memory_never_makes_a_plan_infeasible(
    model: ModelFacts, pool: Pool, spec: DeploymentSpec, more: float
):
    if not search(model, [pool], spec).outcomes:
        return
    gpu = replace(pool.accelerator, memory_bytes=int(pool.accelerator.memory_bytes * more))
    assert search(model, [replace(pool, accelerator=gpu)], spec).outcomes


@many
@given(models, pools(), specs(), st.floats(0.2, 1.0), st.floats(0.2, 1.0))
def test_a_tighter_objective_never_lowers_the_cost_unless_it_takes_a_replica_over_nodes(
    model: ModelFacts, pool: Pool, spec: DeploymentSpec, ttft: float, itl: float
):
    wanted = spec.objectives
    tighter = replace(
        spec,
        objectives=replace(
            wanted,
            ttft_seconds=(wanted.ttft_seconds or 5.0) * ttft,
            itl_seconds=(wanted.itl_seconds or 5.0) * itl,
        ),
    )
    loose, tight = search(model, [pool], spec).outcomes, search(model, [pool], tighter).outcomes
    if tight:
        assert loose
    if tight and tight[0].layout.nodes_per_replica <= loose[0].layout.nodes_per_replica:
        cheapest = min(each.dollars_per_token for each in loose)
        assert tight[0].dollars_per_token * TIE >= cheapest


@many
@given(models, st.lists(pools(), min_size=2, max_size=4, unique_by=lambda pool: pool.name), specs())
def test_the_order_of_pools_changes_nothing(model: ModelFacts, several: list[Pool], spec: DeploymentSpec):
    assert plan_layout(model, several, spec).layout == plan_layout(model, several[::-1], spec).layout


@many
@given(models, pools(), pools(), specs())
def test_another_pool_never_makes_it_dearer(model: ModelFacts, pool: Pool, other: Pool, spec: DeploymentSpec):
    one = search(model, [pool], spec).outcomes
    if one and pool.name != other.name:
        two = search(model, [pool, other], spec).outcomes
        assert two[0].dollars_per_token <= one[0].dollars_per_token * TIE


junk = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**6), st.floats(allow_nan=True), st.text(max_size=5),
    st.lists(st.integers(0, 3), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=150)
@given(st.data())
def test_no_config_crashes_the_planner(data: st.DataObject):
    recorded = json.loads(files("inferfleet.planning").joinpath("catalogue.json").read_text(encoding="utf-8"))
    config = dict(recorded["models"][data.draw(st.sampled_from(sorted(recorded["models"])))]["config"])
    for key in data.draw(st.lists(st.sampled_from(sorted(config)), min_size=1, max_size=3)):
        config[key] = data.draw(junk)
    try:
        model = model_facts(config, data.draw(st.none() | st.integers(1, 10**12)), model_id="junk")
    except ModelFactsError:
        return  # a reason, not a crash
    plan_layout(model, [data.draw(pools())], data.draw(specs()))
