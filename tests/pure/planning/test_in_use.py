"""A layout that runs: kept while it holds, corrected by what engines report."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning_cases import L8, chosen, model, pool, spec

from inferfleet.planning import correct, plan_layout, still_valid
from inferfleet.values import CapacitySpec, EngineSpec, ModelSpec, ParallelismSpec, Workload


def test_what_is_free_changes_no_plan():
    full, empty = pool("H100"), replace(pool("H100"), nodes=0)
    empty = replace(
        empty, offers=tuple(replace(offer, nodes=0, gpus=0, free_gpus=0) for offer in empty.offers)
    )
    assert plan_layout(model(L8), [full, pool("L4")], spec()) == plan_layout(
        model(L8), [empty, pool("L4")], spec()
    )


def test_a_layout_in_use_stays_valid_while_its_pool_is_away_or_empty():
    layout = chosen(plan_layout(model(L8), [pool("H100")], spec()))
    for pools in ([], [replace(pool("H100"), nodes=0, max_nodes=0)], [pool("L4")]):
        assert still_valid(layout, model(L8), pools, spec()) is None


def test_a_layout_in_use_ends_when_the_spec_or_the_pool_says_so():
    layout = chosen(plan_layout(model(L8), [pool("H100")], spec()))
    plain = spec()
    cases = [
        (spec(parallelism=ParallelismSpec(tensor=8)), [pool("H100")], "SpecChanged"),
        (replace(plain, model=ModelSpec("test", 4096)), [pool("H100")], "SpecChanged"),
        (spec(capacity=CapacitySpec(pools=("other",))), [pool("H100")], "PoolNotAllowed"),
        (plain, [pool("L4", name="h100-x8")], "PoolChanged"),
    ]
    for changed, pools, code in cases:
        reason = still_valid(layout, model(L8), pools, changed)
        assert reason
        assert reason.code == code


def test_measurements_replace_estimates_and_a_large_drift_is_said_with_both_numbers():
    layout = chosen(plan_layout(model(L8), [pool("H100")], spec()))
    near = int(layout.kv_cache_tokens * 0.9)
    corrected, reasons = correct(layout, Workload(), near, layout.prediction.tokens_per_second * 1.1)
    assert (corrected.kv_cache_tokens, reasons) == (near, ())
    far = layout.kv_cache_tokens // 3
    corrected, reasons = correct(layout, Workload(), far, layout.prediction.tokens_per_second / 2)
    assert [reason.code for reason in reasons] == ["KvCacheDrift", "ThroughputDrift"]
    assert str(far) in reasons[0].message
    assert str(layout.kv_cache_tokens) in reasons[0].message
    assert corrected.prediction.dollars_per_million_tokens == pytest.approx(
        2 * layout.prediction.dollars_per_million_tokens
    )
    assert corrected.prediction.concurrency <= layout.prediction.concurrency
    assert correct(layout, Workload(), None, None) == (layout, ())


@pytest.mark.parametrize(
    ("max_num_seqs", "kv_cache_tokens", "concurrency"),
    [
        # planned for requests of 1,024 + 256 tokens on a cache of some 400,000
        (8, 40_000, 8),
        (8, 6_400, 5),
        (8, 100, 1),
        (1_000, 128_000, 100),
    ],
)
def test_a_smaller_cache_costs_concurrency_only_where_it_is_the_limit(
    max_num_seqs: int, kv_cache_tokens: int, concurrency: int
):
    asked = spec(engine=EngineSpec("image", max_num_seqs=max_num_seqs))
    layout = chosen(plan_layout(model(L8), [pool("H100", 1)], asked))
    corrected, _ = correct(layout, Workload(1024, 256), kv_cache_tokens, None)
    assert corrected.prediction.concurrency == concurrency


@pytest.mark.parametrize("name", [L8, "google/gemma-3-27b-it", "Qwen/Qwen3-30B-A3B"])
def test_an_engine_as_planned_changes_nothing(name: str):
    layout = chosen(plan_layout(model(name), [pool("H100")], spec(itl=0.02)))
    assert correct(layout, Workload(), layout.kv_cache_tokens, None) == (layout, ())
