"""What must survive a restart of the operator lives in the status: how it is written, and read back.

Samples of the engines are not kept: after a restart the next scrape brings new ones, and until then
missing evidence holds the number of replicas.
"""

from __future__ import annotations

from typing import Final

from inferfleet.api import status as written
from inferfleet.api.resource import instant, timestamp
from inferfleet.values import (
    CapacityMemory,
    Layout,
    OfferKey,
    Prediction,
    Reason,
    ScalingDecision,
    ScalingMemory,
)

LOSSES_KEPT: Final = 64
RECOMMENDATIONS_KEPT: Final = 128


def memory_from_status(
    status: written.InferenceDeploymentStatus,
) -> tuple[ScalingMemory, CapacityMemory, Layout | None, str | None]:
    """Return what the last pass left for the next: scaling, capacity, the layout and its revision."""
    return (
        _scaling(status.scaling),
        _capacity(status.capacity),
        _layout(status.plan) if status.plan else None,
        status.revision,
    )


def scaling_status(decision: ScalingDecision | None, memory: ScalingMemory) -> written.ScalingStatus:
    """Write a decision with its numbers, and the memory."""
    kept = written.ScalingStatus(
        desired=memory.desired,
        changed_at=_maybe_timestamp(memory.changed_at),
        tokens_per_second_per_replica=memory.tokens_per_second_per_replica,
        recommendations=[
            written.RecommendationStatus(at=timestamp(at), replicas=replicas)
            for at, replicas in _ends_of_runs(memory.recommendations)[-RECOMMENDATIONS_KEPT:]
        ],
    )
    if decision is None:
        return kept
    return kept.model_copy(
        update={
            "desired": decision.desired if memory.desired is None else memory.desired,
            "reason": decision.reason.code,
            "message": decision.reason.message,
            "laws": [written.LawStatus(law=law, replicas=replicas) for law, replicas in decision.laws],
            "limited_by": decision.limited_by,
            "evidence": decision.evidence,
            "queue": round(decision.queue, 1),
            "running": round(decision.running, 1),
            "tokens_per_second": round(decision.tokens_per_second, 1),
            "capacity_tokens_per_second": round(decision.capacity_tokens_per_second, 1),
        }
    )


def capacity_status(
    memory: CapacityMemory, placement: list[written.CapacityTypeEntry]
) -> written.CapacityStatus:
    """Write where replicas are, and the memory."""
    return written.CapacityStatus(
        placement=placement,
        targets=[
            written.TargetStatus(capacity_type=capacity_type, replicas=replicas)
            for capacity_type, replicas in memory.targets
        ],
        losses=[
            written.LossStatus(
                pool=offer.pool, capacity_type=offer.capacity_type, zone=offer.zone, at=timestamp(at)
            )
            for offer, at in memory.losses[-LOSSES_KEPT:]
        ],
        fallback_until=_maybe_timestamp(memory.fallback_until),
        spot_short_since=_maybe_timestamp(memory.spot_short_since),
    )


def plan_status(layout: Layout, why: str) -> written.PlanStatus:
    """Write a layout so that `memory_from_status` gives back an equal one."""
    prediction = layout.prediction
    return written.PlanStatus(
        summary=str(layout),
        pool=layout.pool,
        accelerator=layout.accelerator,
        tensor_parallel=layout.tensor_parallel,
        pipeline_parallel=layout.pipeline_parallel,
        data_parallel=layout.data_parallel,
        expert_parallel=layout.expert_parallel,
        nodes_per_replica=layout.nodes_per_replica,
        gpus_per_replica=layout.gpus_per_replica,
        max_model_len=layout.max_model_len,
        max_num_seqs=layout.max_num_seqs,
        max_num_batched_tokens=layout.max_num_batched_tokens,
        gpu_memory_utilization=layout.gpu_memory_utilization,
        quantization=layout.quantization,
        kv_cache_dtype=layout.kv_cache_dtype,
        weights_bytes_per_gpu=layout.weights_bytes_per_gpu,
        kv_cache_tokens=layout.kv_cache_tokens,
        predicted=written.PredictionStatus(
            time_to_first_token_seconds=prediction.ttft_seconds,
            inter_token_latency_seconds=prediction.itl_seconds,
            tokens_per_second=prediction.tokens_per_second,
            prompt_tokens_per_second=prediction.prompt_tokens_per_second,
            concurrency=prediction.concurrency,
            dollars_per_million_tokens=prediction.dollars_per_million_tokens,
        ),
        why=why,
        warnings=[
            written.ReasonStatus(reason=warning.code, message=warning.message) for warning in layout.warnings
        ],
    )


def _layout(plan: written.PlanStatus) -> Layout:
    predicted = plan.predicted
    return Layout(
        pool=plan.pool,
        accelerator=plan.accelerator,
        tensor_parallel=plan.tensor_parallel,
        pipeline_parallel=plan.pipeline_parallel,
        max_model_len=plan.max_model_len,
        max_num_seqs=plan.max_num_seqs,
        max_num_batched_tokens=plan.max_num_batched_tokens,
        gpu_memory_utilization=plan.gpu_memory_utilization,
        weights_bytes_per_gpu=plan.weights_bytes_per_gpu,
        kv_cache_tokens=plan.kv_cache_tokens,
        prediction=Prediction(
            ttft_seconds=predicted.time_to_first_token_seconds,
            itl_seconds=predicted.inter_token_latency_seconds,
            tokens_per_second=predicted.tokens_per_second,
            prompt_tokens_per_second=predicted.prompt_tokens_per_second,
            concurrency=predicted.concurrency,
            dollars_per_million_tokens=predicted.dollars_per_million_tokens,
        ),
        data_parallel=plan.data_parallel,
        expert_parallel=plan.expert_parallel,
        nodes_per_replica=plan.nodes_per_replica,
        quantization=plan.quantization,
        kv_cache_dtype=plan.kv_cache_dtype,
        warnings=tuple(Reason(warning.reason, warning.message) for warning in plan.warnings),
    )


def _scaling(scaling: written.ScalingStatus) -> ScalingMemory:
    return ScalingMemory(
        recommendations=tuple((instant(past.at), past.replicas) for past in scaling.recommendations),
        desired=scaling.desired,
        changed_at=_maybe_instant(scaling.changed_at),
        tokens_per_second_per_replica=scaling.tokens_per_second_per_replica,
    )


def _capacity(capacity: written.CapacityStatus) -> CapacityMemory:
    return CapacityMemory(
        losses=tuple(
            (OfferKey(loss.pool, loss.capacity_type, loss.zone), instant(loss.at)) for loss in capacity.losses
        ),
        fallback_until=_maybe_instant(capacity.fallback_until),
        spot_short_since=_maybe_instant(capacity.spot_short_since),
        targets=tuple((target.capacity_type, target.replicas) for target in capacity.targets),
    )


def _ends_of_runs(recommendations: tuple[tuple[float, int], ...]) -> list[tuple[float, int]]:
    """Return the first and last of equal recommendations in a row: no window's extremes change by that."""
    ends: list[tuple[float, int]] = []
    for entry in recommendations:
        if len(ends) > 1 and ends[-1][1] == ends[-2][1] == entry[1]:
            ends[-1] = entry
        else:
            ends.append(entry)
    return ends


def _maybe_timestamp(at: float | None) -> str | None:
    return None if at is None else timestamp(at)


def _maybe_instant(at: str | None) -> float | None:
    return None if at is None else instant(at)
