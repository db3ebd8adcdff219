"""Correct a layout by what the running engine reports, and judge whether a layout still holds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import inf, log
from typing import Final

from inferfleet.planning.candidates import Candidate
from inferfleet.planning.checks import first_miss
from inferfleet.planning.operate import operate
from inferfleet.planning.quantization import requantise
from inferfleet.planning.search import ask
from inferfleet.planning.speed import step_model
from inferfleet.planning.split import Split
from inferfleet.values import (
    Accelerator,
    DeploymentSpec,
    Layout,
    ModelFacts,
    Objectives,
    Pool,
    Reason,
    Workload,
)
from inferfleet.values.frozen import replace

# a prediction further off than this is worth a condition
DRIFT: Final = 0.15
# sizes of requests are told apart by this factor
_STEP: Final = 1.02


@lru_cache(maxsize=256)
def correct(
    layout: Layout, workload: Workload, kv_cache_tokens: int | None, tokens_per_second: float | None
) -> tuple[Layout, tuple[Reason, ...]]:
    """Replace estimates by measurements; say so, with both numbers, where they differ by more than 15 %.

    Args:
        layout: As planned (or as corrected before: correcting twice by the same figures changes nothing).
        workload: The requests that it was planned for.
        kv_cache_tokens: What all engines of one replica report, None where nothing is reported.
        tokens_per_second: Generation rate of one replica, measured while it was as busy as planned.
    """
    reasons = []
    prediction = layout.prediction
    if kv_cache_tokens:
        if _drifts(kv_cache_tokens, layout.kv_cache_tokens):
            reasons.append(
                Reason(
                    "KvCacheDrift",
                    f"the engine holds {kv_cache_tokens} tokens of KV cache, "
                    f"planned were {layout.kv_cache_tokens}",
                )
            )
        prediction = replace(prediction, concurrency=_concurrency(layout, workload, kv_cache_tokens))
    if tokens_per_second:
        predicted = prediction.tokens_per_second
        if _drifts(tokens_per_second, predicted):
            reasons.append(
                Reason(
                    "ThroughputDrift",
                    f"a replica makes {tokens_per_second:.0f} tokens/s, predicted were {predicted:.0f}",
                )
            )
        prediction = replace(
            prediction,
            tokens_per_second=tokens_per_second,
            prompt_tokens_per_second=prediction.prompt_tokens_per_second * tokens_per_second / predicted
            if predicted
            else 0.0,
            dollars_per_million_tokens=prediction.dollars_per_million_tokens * predicted / tokens_per_second,
        )
    holds = kv_cache_tokens or layout.kv_cache_tokens
    return replace(layout, prediction=prediction, kv_cache_tokens=holds), tuple(reasons)


def repredict(
    layout: Layout, model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec, request: Workload
) -> Layout:
    """Predict the pace of a layout for other requests than it was planned for, its limits as they are.

    Sizes are rounded to 2 %, so that a mean that drifts is not predicted anew in every pass. Where even an
    idle replica misses the objectives with such requests, or the pool is gone, the prediction stays. A
    draft counts for as much as it did with the requests of the plan.
    """
    pool = next((pool for pool in pools if pool.name == layout.pool), None)
    if pool is None:
        return layout
    return _repredicted(layout, model, (pool.accelerator, pool.gpus_per_node), spec, _rounded(request))


@lru_cache(maxsize=4096)
def _repredicted(
    layout: Layout,
    model: ModelFacts,
    place: tuple[Accelerator, int],
    spec: DeploymentSpec,
    request: Workload,
) -> Layout:
    served = requantise(model, spec.engine.quantization) if spec.engine.quantization else model
    if isinstance(served, Reason):
        return layout
    before = _pace(layout, served, place, spec.objectives, _rounded(spec.workload))
    now = _pace(layout, served, place, spec.objectives, request)
    if not before or not now:
        return layout
    pace = layout.prediction.tokens_per_second * now / before
    return replace(layout, prediction=replace(layout.prediction, tokens_per_second=pace))


def _rounded(request: Workload) -> Workload:
    return Workload(_to_step(request.prompt_tokens), _to_step(request.output_tokens))


def _to_step(tokens: int) -> int:
    return max(1, round(_STEP ** round(log(max(1, tokens), _STEP))))


def _pace(
    layout: Layout,
    served: ModelFacts,
    place: tuple[Accelerator, int],
    objectives: Objectives,
    request: Workload,
) -> float:
    """Tokens per second of one replica at the objectives, 0 where they cannot be met."""
    accelerator, gpus_per_node = place
    step = step_model(
        served,
        accelerator,
        split_of(layout),
        gpus_per_node=gpus_per_node,
        kv_cache_dtype=layout.kv_cache_dtype,
    )
    each = min(request.prompt_tokens + request.output_tokens, layout.max_model_len)
    slots = max(1, min(layout.max_num_seqs, layout.kv_cache_tokens // layout.data_parallel // each))
    point = operate(step, request, objectives, slots=slots, batched_tokens=layout.max_num_batched_tokens)
    late = point.ttft_seconds > (objectives.ttft_seconds or inf)
    slow = point.itl_seconds > (objectives.itl_seconds or inf)
    return 0.0 if late or slow else point.tokens_per_second


def split_of(layout: Layout) -> Split:
    """The split that a layout runs."""
    return Split(
        layout.tensor_parallel, layout.pipeline_parallel, layout.data_parallel, layout.expert_parallel
    )


def _concurrency(layout: Layout, workload: Workload, kv_cache_tokens: int) -> int:
    """Requests of full length that run at once: by the cache that there is, or by the limit on sequences.

    A cache smaller than planned costs concurrency only once it holds fewer requests than the limit lets in.
    An upper bound for models whose short sequences take more per token (sliding windows, recurrent state).
    """
    each = min(workload.prompt_tokens + workload.output_tokens, layout.max_model_len)
    most = max(layout.prediction.concurrency, layout.max_num_seqs * layout.data_parallel)
    return max(1, min(most, kv_cache_tokens // max(1, each)))


def _drifts(measured: float, predicted: float) -> bool:
    return abs(measured - predicted) > DRIFT * predicted


def still_valid(
    layout: Layout, model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec
) -> Reason | None:
    """Say why a layout that is in use can no longer be asked for, None while it can.

    A better one elsewhere, or a pool without free nodes, is no reason: a layout changes only when the spec,
    the model or the existence of its pool says so. A pool that vanished altogether may come back, and is no
    reason while the spec does not exclude it.
    """
    pool = next((pool for pool in pools if pool.name == layout.pool), None)
    return _find_fault(layout, model, pool, spec)


@lru_cache(maxsize=256)
def _find_fault(layout: Layout, model: ModelFacts, pool: Pool | None, spec: DeploymentSpec) -> Reason | None:
    """Every deployment asks in every pass, and none of these changes often: the last answers are kept."""
    if spec.capacity.pools and layout.pool not in spec.capacity.pools:
        return Reason("PoolNotAllowed", f"capacity.pools no longer names {layout.pool}")
    for name, asked, have in (
        ("tensor", spec.parallelism.tensor, layout.tensor_parallel),
        ("pipeline", spec.parallelism.pipeline, layout.pipeline_parallel),
        ("data", spec.parallelism.data, layout.data_parallel),
        ("expert", spec.parallelism.expert, layout.expert_parallel),
        ("maxNumSeqs", spec.engine.max_num_seqs, layout.max_num_seqs),
        ("maxNumBatchedTokens", spec.engine.max_num_batched_tokens, layout.max_num_batched_tokens),
        ("contextLength", spec.model.context_length, layout.max_model_len),
        ("kvCacheDtype", spec.engine.kv_cache_dtype, layout.kv_cache_dtype),
        ("quantization", spec.engine.quantization, layout.quantization),
        ("gpuMemoryUtilization", spec.engine.gpu_memory_utilization, layout.gpu_memory_utilization),
    ):
        if asked is not None and asked != have:
            return Reason("SpecChanged", f"{name} is {asked} in the spec, {have} in the running layout")
    if pool is None:
        return None
    if pool.accelerator.name != layout.accelerator:
        return Reason("PoolChanged", f"{pool.name} has {pool.accelerator.name} now, not {layout.accelerator}")
    served = requantise(model, spec.engine.quantization) if spec.engine.quantization else model
    if isinstance(served, Reason):
        return served
    question, _ = ask(served, spec)
    # how many nodes exist right now is no reason to change plans
    miss = first_miss(Candidate(replace(pool, max_nodes=None), split_of(layout)), question)
    return miss[1].reason if miss else None
