"""The layout that is chosen, why the others were not, and what a refusal says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from inferfleet.planning import (
    catalogue_facts,
    correct,
    model_facts,
    plan_layout,
    still_valid,
    unknown_accelerator,
)
from inferfleet.planning.drafting import Draft
from inferfleet.values import (
    CapacitySpec,
    CapacityType,
    DeploymentSpec,
    EngineSpec,
    IntOrPercent,
    Layout,
    ModelFacts,
    ModelSpec,
    Offer,
    ParallelismSpec,
    Planning,
    Pool,
    SpeculativeSpec,
    Workload,
)

GIB = 1 << 30
MakePool = Callable[..., Pool]
MakeSpec = Callable[..., DeploymentSpec]
Find = Callable[[str], ModelFacts]

L8, L70 = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"
TINY: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 512,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
}


def chosen(planning: Planning) -> Layout:
    assert planning.layout, planning.refusal
    assert planning.refusal is None
    return planning.layout


def refused(planning: Planning) -> tuple[str, str]:
    assert planning.refusal
    assert planning.layout is None
    return planning.refusal.reason.code, planning.refusal.nearest


def test_a_model_of_a_million_parameters_takes_one_gpu(pool: MakePool, spec: MakeSpec):
    layout = chosen(plan_layout(model_facts(TINY, None, model_id="tiny"), [pool("L4", 4)], spec()))
    assert (layout.gpus_per_replica, layout.tensor_parallel, layout.nodes_per_replica) == (1, 1, 1)
    assert layout.max_model_len == 4096
    assert layout.kv_cache_tokens > 1_000_000


@pytest.mark.parametrize(
    ("name", "gpu", "ttft", "itl", "load", "tensors"),
    [
        # known bests at the mean (50th percentile), within 5 % of each other; see benchmarks/planner
        (L8, "H100", 1.0, 0.040, (4000, 1000), {1, 2}),
        (L8, "H100", 5.0, 0.100, (1024, 1024), {1, 2}),
        (L70, "H100", 1.0, 0.040, (4000, 1000), {4, 8}),
        (L70, "H100", 5.0, 0.100, (1024, 1024), {4}),
        ("Qwen/Qwen3-32B", "H100", 1.0, 0.040, (4000, 1000), {4}),
        (L8, "L40S", 1.0, 0.040, (4000, 1000), {2}),
        (L70, "A100-80GB", 1.0, 0.040, (4000, 1000), {8}),
        (L70, "A100-80GB", 5.0, 0.100, (1024, 1024), {4}),
    ],
)
def test_known_best_layouts_are_found(  # noqa: PLR0917 - a table
    pool: MakePool,
    spec: MakeSpec,
    model: Find,
    name: str,
    gpu: str,
    ttft: float,
    itl: float,
    load: tuple[int, int],
    tensors: set[int],
):
    asked = spec(ttft=ttft, itl=itl, workload=Workload(*load))
    asked = replace(asked, objectives=replace(asked.objectives, percentile=50))
    layout = chosen(plan_layout(model(name), [pool(gpu)], asked))
    assert (layout.tensor_parallel in tensors, layout.pipeline_parallel) == (True, 1)


def test_a_pipeline_spans_nodes_only_when_no_node_holds_the_model(
    pool: MakePool, spec: MakeSpec, model: Find
):
    big = chosen(plan_layout(model("meta-llama/Llama-3.1-405B-Instruct"), [pool("H100", nodes=2)], spec()))
    assert (big.tensor_parallel, big.pipeline_parallel, big.nodes_per_replica, big.gpus_per_pod) == (
        8,
        2,
        2,
        8,
    )
    small = plan_layout(model(L70), [pool("H100", nodes=2)], spec())
    assert chosen(small).nodes_per_replica == 1
    assert all(each.layout is None or each.layout.nodes_per_replica == 1 for each in small.rejected)


def test_every_prediction_meets_the_objectives(pool: MakePool, spec: MakeSpec, model: Find):
    asked = spec(ttft=1.0, itl=0.040, workload=Workload(4000, 1000))
    for gpu in ("A100-80GB", "H100", "H200", "B200", "MI300X"):
        seen = chosen(plan_layout(model(L70), [pool(gpu)], asked)).prediction
        assert seen.ttft_seconds <= 1.0
        assert seen.itl_seconds <= 0.040


def test_the_cheapest_token_wins_whatever_the_gpu_costs(pool: MakePool, spec: MakeSpec, model: Find):
    pools = [pool("H100", price=7.0), pool("L40S", price=2.6), pool("L4", price=1.1)]
    planning = plan_layout(model(L8), pools, spec())
    best = chosen(planning).prediction.dollars_per_million_tokens
    costs = [
        each.layout.prediction.dollars_per_million_tokens
        for each in planning.rejected
        if each.layout and each.reason.code in {"CostsMore", "NoBetter", "MoreGpusPerReplica"}
    ]
    assert costs
    assert all(cost >= best * 0.99 for cost in costs)
    assert len(planning.rejected) <= 5
    cheap = plan_layout(model(L8), [pool("H100", price=0.5), *pools[1:]], spec())
    assert chosen(cheap).accelerator == "H100"


def test_spot_prices_count_by_the_share_that_is_asked_for(pool: MakePool, spec: MakeSpec, model: Find):
    plain = pool("H100", price=7.0)
    offers = (*plain.offers, Offer(plain.name, CapacityType.SPOT, "", 1.0, "test"))
    mixed = replace(plain, offers=offers)
    asked = spec(capacity=CapacitySpec(spot_share=IntOrPercent(share=0.5)))
    asked = replace(asked, autoscaling=replace(asked.autoscaling, max_replicas=10))
    half = chosen(plan_layout(model(L8), [mixed], asked)).prediction.dollars_per_million_tokens
    full = chosen(plan_layout(model(L8), [plain], asked)).prediction.dollars_per_million_tokens
    assert half / full == pytest.approx(4.0 / 7.0)


def test_a_pool_without_a_price_loses_to_one_with(pool: MakePool, spec: MakeSpec, model: Find):
    planning = plan_layout(model(L8), [pool("H100", price=0.0), pool("L4", price=9.0)], spec())
    assert chosen(planning).accelerator == "L4"


def test_an_unknown_gpu_works_with_a_warning(pool: MakePool, spec: MakeSpec, model: Find):
    unknown = replace(pool("H100"), accelerator=unknown_accelerator("Z9", 64 * GIB))
    layout = chosen(plan_layout(model(L8), [unknown], spec()))
    assert "UnknownAccelerator" in {warning.code for warning in layout.warnings}


def test_a_context_that_does_not_fit_is_cut_unless_it_was_stated(pool: MakePool, spec: MakeSpec, model: Find):
    one = [pool("L4", 1)]
    layout = chosen(plan_layout(model(L8), one, spec()))
    assert 1280 <= layout.max_model_len <= layout.kv_cache_tokens < 131072
    assert "ContextReduced" in {warning.code for warning in layout.warnings}
    code, nearest = refused(plan_layout(model(L8), one, spec(context=131072)))
    assert code == "ContextDoesNotFit"
    assert "would do" in nearest


def test_dense_models_are_not_run_data_parallel_and_mixtures_may_be(
    pool: MakePool, spec: MakeSpec, model: Find
):
    asked = spec(parallelism=ParallelismSpec(data=2))
    assert refused(plan_layout(model(L8), [pool("H100")], asked))[0] == "DenseDataParallel"
    layout = chosen(plan_layout(model("Qwen/Qwen3-30B-A3B"), [pool("H100")], asked))
    assert layout.data_parallel == 2


def test_blocks_of_scales_are_not_cut_by_tensor_parallelism(pool: MakePool, spec: MakeSpec, model: Find):
    # 768 / 8 = 96 is no multiple of 128: expert parallelism is the way
    asked = spec(parallelism=ParallelismSpec(tensor=8, data=1))
    layout = chosen(plan_layout(model("Qwen/Qwen3-30B-A3B-FP8"), [pool("H100")], asked))
    assert layout.expert_parallel
    asked = spec(parallelism=ParallelismSpec(tensor=8, data=1, expert=False))
    code, _ = refused(plan_layout(model("Qwen/Qwen3-30B-A3B-FP8"), [pool("H100")], asked))
    assert code == "WidthNotDivisible"


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
def test_an_override_that_cannot_be_is_refused_with_the_reason(
    pool: MakePool, spec: MakeSpec, model: Find, asked: ParallelismSpec, code: str
):
    assert refused(plan_layout(model(L70), [pool("H100")], spec(parallelism=asked)))[0] == code


def test_an_override_that_can_be_is_honoured(pool: MakePool, spec: MakeSpec, model: Find):
    asked = spec(parallelism=ParallelismSpec(tensor=2, pipeline=4))
    asked = replace(asked, engine=replace(asked.engine, max_num_seqs=7, max_num_batched_tokens=1536))
    layout = chosen(plan_layout(model(L70), [pool("H100")], asked))
    assert (layout.tensor_parallel, layout.pipeline_parallel) == (2, 4)
    assert (layout.max_num_seqs, layout.max_num_batched_tokens) == (7, 1536)


def test_quantisation_is_only_what_the_checkpoint_or_the_user_allows(
    pool: MakePool, spec: MakeSpec, model: Find
):
    plain = spec()
    fp8 = replace(plain, engine=replace(plain.engine, quantization="fp8"))
    small = chosen(plan_layout(model(L70), [pool("H100")], fp8))
    large = chosen(
        plan_layout(model(L70), [pool("H100")], replace(plain, parallelism=ParallelismSpec(tensor=4)))
    )
    assert (small.quantization, large.quantization) == ("fp8", None)
    awq = replace(plain, engine=replace(plain.engine, quantization="awq"))
    assert refused(plan_layout(model(L70), [pool("H100")], awq))[0] == "QuantizationNeedsCheckpoint"
    assert refused(plan_layout(model("openai/gpt-oss-20b"), [pool("H100")], fp8))[0] == "QuantizationMismatch"
    assert refused(plan_layout(model("openai/gpt-oss-20b"), [pool("T4")], spec()))[0] == "FormatUnsupported"


def test_a_refusal_names_the_nearest_miss_and_what_would_do(pool: MakePool, spec: MakeSpec, model: Find):
    code, nearest = refused(plan_layout(model(L70), [pool("L4", 4)], spec()))
    assert code == "OutOfMemory"
    assert "GiB more per GPU" in nearest
    assert "would do: engine.quantization fp8" in nearest


def test_an_objective_out_of_reach_is_refused_with_the_one_within(
    pool: MakePool, spec: MakeSpec, model: Find
):
    asked = spec(itl=0.002)
    planning = plan_layout(model(L70), [pool("H100")], asked)
    code, nearest = refused(planning)
    assert code == "InterTokenLatencyMissed"
    bound = float(nearest.split("interTokenLatency ")[1].split("ms")[0]) / 1e3
    assert chosen(plan_layout(model(L70), [pool("H100")], spec(itl=bound)))


def test_a_pool_that_does_not_exist_is_refused_with_those_that_do(
    pool: MakePool, spec: MakeSpec, model: Find
):
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
def test_limits_on_zones_and_prices_are_kept(
    pool: MakePool, spec: MakeSpec, model: Find, capacity: CapacitySpec, code: str
):
    plain = pool("H100")
    zoned = replace(plain, offers=tuple(replace(offer, zone="zone-a") for offer in plain.offers))
    assert refused(plan_layout(model(L8), [zoned], spec(capacity=capacity)))[0] == code


def test_no_pools_is_a_refusal(spec: MakeSpec, model: Find):
    assert refused(plan_layout(model(L8), [], spec()))[0] == "NoPools"


def test_what_is_free_changes_no_plan(pool: MakePool, spec: MakeSpec, model: Find):
    full, empty = pool("H100"), replace(pool("H100"), nodes=0)
    empty = replace(
        empty, offers=tuple(replace(offer, nodes=0, gpus=0, free_gpus=0) for offer in empty.offers)
    )
    assert plan_layout(model(L8), [full, pool("L4")], spec()) == plan_layout(
        model(L8), [empty, pool("L4")], spec()
    )


def test_a_layout_in_use_stays_valid_while_its_pool_is_away_or_empty(
    pool: MakePool, spec: MakeSpec, model: Find
):
    layout = chosen(plan_layout(model(L8), [pool("H100")], spec()))
    for pools in ([], [replace(pool("H100"), nodes=0, max_nodes=0)], [pool("L4")]):
        assert still_valid(layout, model(L8), pools, spec()) is None


def test_a_layout_in_use_ends_when_the_spec_or_the_pool_says_so(pool: MakePool, spec: MakeSpec, model: Find):
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


def test_measurements_replace_estimates_and_a_large_drift_is_said_with_both_numbers(
    pool: MakePool, spec: MakeSpec, model: Find
):
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
def test_a_smaller_cache_costs_concurrency_only_where_it_is_the_limit(  # noqa: PLR0917 - a table
    pool: MakePool, spec: MakeSpec, model: Find, max_num_seqs: int, kv_cache_tokens: int, concurrency: int
):
    asked = spec(engine=EngineSpec("image", max_num_seqs=max_num_seqs))
    layout = chosen(plan_layout(model(L8), [pool("H100", 1)], asked))
    corrected, _ = correct(layout, Workload(1024, 256), kv_cache_tokens, None)
    assert corrected.prediction.concurrency == concurrency


@pytest.mark.parametrize("name", [L8, "google/gemma-3-27b-it", "Qwen/Qwen3-30B-A3B"])
def test_an_engine_as_planned_changes_nothing(pool: MakePool, spec: MakeSpec, model: Find, name: str):
    layout = chosen(plan_layout(model(name), [pool("H100")], spec(itl=0.02)))
    assert correct(layout, Workload(), layout.kv_cache_tokens, None) == (layout, ())


def test_a_draft_that_is_not_modelled_is_said(pool: MakePool, spec: MakeSpec, model: Find):
    draft = '{"model": "meta-llama/Llama-3.2-1B-Instruct", "num_speculative_tokens": 3}'
    for arguments, codes in (
        (("--speculative-config", draft), ["SpeculativeDecodingIgnored"]),
        ((f"--speculative-config={draft}",), ["SpeculativeDecodingIgnored"]),
        (("--enforce-eager",), []),
    ):
        asked = spec(engine=EngineSpec("image", args=arguments))
        layout = chosen(plan_layout(model(L8), [pool("H100")], asked))
        assert [warning.code for warning in layout.warnings] == codes


DRAFT = SpeculativeSpec("meta-llama/Llama-3.2-1B-Instruct", tokens=4, acceptance=0.85)


@pytest.mark.parametrize(
    ("max_num_seqs", "draft", "used", "codes"),
    [
        # few sequences leave arithmetic to spare for checking guesses; a full batch does not
        (8, DRAFT, True, set()),
        (None, DRAFT, False, {"DraftNotUsed"}),
        (8, replace(DRAFT, acceptance=0.05), False, {"DraftNotUsed"}),
        (8, replace(DRAFT, model="nobody/recorded-this"), False, {"DraftNotRecorded"}),
    ],
)
def test_a_draft_is_used_only_where_it_is_cheaper_and_said_otherwise(  # noqa: PLR0917 - a table
    pool: MakePool,
    spec: MakeSpec,
    model: Find,
    max_num_seqs: int | None,
    draft: SpeculativeSpec,
    used: bool,
    codes: set[str],
):
    def layout(speculative: SpeculativeSpec | None) -> Layout:
        engine = EngineSpec("image", max_num_seqs=max_num_seqs, speculative=speculative)
        asked = spec(engine=engine, ttft=1.0, itl=0.06, context=8192)
        return chosen(plan_layout(model(L70), [pool("H100")], asked))

    plain, drafted = layout(None), layout(draft)
    assert (drafted.draft, drafted.draft_tokens) == ((DRAFT.model, 4) if used else (None, 0))
    assert {warning.code for warning in drafted.warnings} == codes
    gain = drafted.prediction.tokens_per_second / drafted.gpus_per_replica
    gain /= plain.prediction.tokens_per_second / plain.gpus_per_replica
    assert gain > 1.5 if used else gain == 1


def test_a_draft_takes_memory_of_the_cache(pool: MakePool, spec: MakeSpec, model: Find):
    parallelism = ParallelismSpec(tensor=4)
    engine = EngineSpec("image", max_num_seqs=8, max_num_batched_tokens=2048)
    plain = chosen(plan_layout(model(L70), [pool("H100")], spec(engine=engine, parallelism=parallelism)))
    engine = replace(engine, speculative=DRAFT)
    drafted = chosen(plan_layout(model(L70), [pool("H100")], spec(engine=engine, parallelism=parallelism)))
    # 16 layers of 8 heads of 64 beside 80 of 8 of 128: a tenth more per token
    assert drafted.kv_cache_tokens < plain.kv_cache_tokens / 1.1


def test_the_tokens_of_a_step_are_those_of_the_paper():
    model = catalogue_facts("meta-llama/Llama-3.2-1B-Instruct")
    assert model
    # Leviathan et al. 2023, figure 2: 3 guesses right in 8 of 10 give 2.95 tokens a step
    assert Draft(model, 3, 0.8).expected_tokens == pytest.approx(2.952)


def test_a_gpu_without_bfloat16_is_told_to_serve_in_half(pool: MakePool, spec: MakeSpec, model: Find):
    asked = spec(parallelism=ParallelismSpec(tensor=2))
    old = chosen(plan_layout(model(L8), [pool("T4")], asked))
    assert (old.dtype, chosen(plan_layout(model(L8), [pool("L4")], asked)).dtype) == ("half", "auto")
    assert "HalfPrecision" in {warning.code for warning in old.warnings}


def test_mig_instances_do_not_work_together(pool: MakePool, spec: MakeSpec, model: Find):
    slices = [pool("A100-SXM4-80GB-MIG-3g.40gb", 2)]
    assert chosen(plan_layout(model(L8), slices, spec())).gpus_per_replica == 1
    asked = spec(parallelism=ParallelismSpec(tensor=2))
    assert refused(plan_layout(model(L8), slices, asked))[0] == "NoInterconnect"


@pytest.mark.parametrize(("load", "codes"), [(Workload(), set()), (Workload(5000, 100), {"WorkloadCut"})])
def test_a_workload_longer_than_the_context_is_cut_and_said_if_it_was_stated(
    pool: MakePool, spec: MakeSpec, model: Find, load: Workload, codes: set[str]
):
    layout = chosen(plan_layout(model(L8), [pool("H100")], spec(workload=load, context=1024)))
    assert {warning.code for warning in layout.warnings} == codes
    assert layout.max_model_len == 1024


def test_where_machines_have_to_be_bought_a_replica_pays_for_the_whole_of_its_own(
    pool: MakePool, spec: MakeSpec, model: Find
):
    there, sold = pool("H100"), replace(pool("H100"), nodes=0, to_be_bought=True)
    cost = [
        plan_layout(model(L8), [one], spec(parallelism=ParallelismSpec(tensor=2, pipeline=1, data=1))).layout
        for one in (there, sold)
    ]
    shared, whole = (layout.prediction.dollars_per_million_tokens for layout in cost if layout)
    assert whole == pytest.approx(4 * shared)
