"""The layout that is chosen, and why the others were not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from planning_cases import L8, L70, chosen, model, pool, refused, spec

from inferfleet.planning import model_facts, plan_layout, unknown_accelerator
from inferfleet.values import CapacitySpec, CapacityType, IntOrPercent, Offer, ParallelismSpec, Workload

GIB = 1 << 30

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


def test_a_model_of_a_million_parameters_takes_one_gpu():
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


def test_a_pipeline_spans_nodes_only_when_no_node_holds_the_model():
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


def test_every_prediction_meets_the_objectives():
    asked = spec(ttft=1.0, itl=0.040, workload=Workload(4000, 1000))
    for gpu in ("A100-80GB", "H100", "H200", "B200", "MI300X"):
        seen = chosen(plan_layout(model(L70), [pool(gpu)], asked)).prediction
        assert seen.ttft_seconds <= 1.0
        assert seen.itl_seconds <= 0.040


def test_the_cheapest_token_wins_whatever_the_gpu_costs():
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


def test_spot_prices_count_by_the_share_that_is_asked_for():
    plain = pool("H100", price=7.0)
    offers = (*plain.offers, Offer(plain.name, CapacityType.SPOT, "", 1.0, "test"))
    mixed = replace(plain, offers=offers)
    asked = spec(capacity=CapacitySpec(spot_share=IntOrPercent(share=0.5)))
    asked = replace(asked, autoscaling=replace(asked.autoscaling, max_replicas=10))
    half = chosen(plan_layout(model(L8), [mixed], asked)).prediction.dollars_per_million_tokens
    full = chosen(plan_layout(model(L8), [plain], asked)).prediction.dollars_per_million_tokens
    assert half / full == pytest.approx(4.0 / 7.0)


def test_a_pool_without_a_price_loses_to_one_with():
    planning = plan_layout(model(L8), [pool("H100", price=0.0), pool("L4", price=9.0)], spec())
    assert chosen(planning).accelerator == "L4"


def test_an_unknown_gpu_works_with_a_warning():
    unknown = replace(pool("H100"), accelerator=unknown_accelerator("Z9", 64 * GIB))
    layout = chosen(plan_layout(model(L8), [unknown], spec()))
    assert "UnknownAccelerator" in {warning.code for warning in layout.warnings}


def test_a_context_that_does_not_fit_is_cut_unless_it_was_stated():
    one = [pool("L4", 1)]
    layout = chosen(plan_layout(model(L8), one, spec()))
    assert 1280 <= layout.max_model_len <= layout.kv_cache_tokens < 131072
    assert "ContextReduced" in {warning.code for warning in layout.warnings}
    code, nearest = refused(plan_layout(model(L8), one, spec(context=131072)))
    assert code == "ContextDoesNotFit"
    assert "would do" in nearest


def test_dense_models_are_not_run_data_parallel_and_mixtures_may_be():
    asked = spec(parallelism=ParallelismSpec(data=2))
    assert refused(plan_layout(model(L8), [pool("H100")], asked))[0] == "DenseDataParallel"
    layout = chosen(plan_layout(model("Qwen/Qwen3-30B-A3B"), [pool("H100")], asked))
    assert layout.data_parallel == 2


def test_blocks_of_scales_are_not_cut_by_tensor_parallelism():
    # 768 / 8 = 96 is no multiple of 128: expert parallelism is the way
    asked = spec(parallelism=ParallelismSpec(tensor=8, data=1))
    layout = chosen(plan_layout(model("Qwen/Qwen3-30B-A3B-FP8"), [pool("H100")], asked))
    assert layout.expert_parallel
    asked = spec(parallelism=ParallelismSpec(tensor=8, data=1, expert=False))
    code, _ = refused(plan_layout(model("Qwen/Qwen3-30B-A3B-FP8"), [pool("H100")], asked))
    assert code == "WidthNotDivisible"


def test_an_override_that_can_be_is_honoured():
    asked = spec(parallelism=ParallelismSpec(tensor=2, pipeline=4))
    asked = replace(asked, engine=replace(asked.engine, max_num_seqs=7, max_num_batched_tokens=1536))
    layout = chosen(plan_layout(model(L70), [pool("H100")], asked))
    assert (layout.tensor_parallel, layout.pipeline_parallel) == (2, 4)
    assert (layout.max_num_seqs, layout.max_num_batched_tokens) == (7, 1536)


def test_quantisation_is_only_what_the_checkpoint_or_the_user_allows():
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


def test_a_gpu_without_bfloat16_is_told_to_serve_in_half():
    asked = spec(parallelism=ParallelismSpec(tensor=2))
    old = chosen(plan_layout(model(L8), [pool("T4")], asked))
    assert (old.dtype, chosen(plan_layout(model(L8), [pool("L4")], asked)).dtype) == ("half", "auto")
    assert "HalfPrecision" in {warning.code for warning in old.warnings}


def test_mig_instances_do_not_work_together():
    slices = [pool("A100-SXM4-80GB-MIG-3g.40gb", 2)]
    assert chosen(plan_layout(model(L8), slices, spec())).gpus_per_replica == 1
    asked = spec(parallelism=ParallelismSpec(tensor=2))
    assert refused(plan_layout(model(L8), slices, asked))[0] == "NoInterconnect"


@pytest.mark.parametrize(("load", "codes"), [(Workload(), set()), (Workload(5000, 100), {"WorkloadCut"})])
def test_a_workload_longer_than_the_context_is_cut_and_said_if_it_was_stated(load: Workload, codes: set[str]):
    layout = chosen(plan_layout(model(L8), [pool("H100")], spec(workload=load, context=1024)))
    assert {warning.code for warning in layout.warnings} == codes
    assert layout.max_model_len == 1024


def test_where_machines_have_to_be_bought_a_replica_pays_for_the_whole_of_its_own():
    there, sold = pool("H100"), replace(pool("H100"), nodes=0, to_be_bought=True)
    cost = [
        plan_layout(model(L8), [one], spec(parallelism=ParallelismSpec(tensor=2, pipeline=1, data=1))).layout
        for one in (there, sold)
    ]
    shared, whole = (layout.prediction.dollars_per_million_tokens for layout in cost if layout)
    assert whole == pytest.approx(4 * shared)
