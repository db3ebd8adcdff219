"""The chosen layout in the status: how it is written, and read back."""

from __future__ import annotations

from inferfleet.api.resource import StatusPart, Text
from inferfleet.values import Layout, Prediction, Reason


class ReasonStatus(StatusPart):
    """A reason code and its sentence."""

    reason: str
    """Why, for machines."""
    message: Text = ""
    """Why, for people."""


class PredictionStatus(StatusPart):
    """What one replica should reach, at the objectives' percentile."""

    time_to_first_token_seconds: float
    """TTFT."""
    inter_token_latency_seconds: float
    """ITL."""
    tokens_per_second: float
    """Generated tokens/s at the objectives."""
    prompt_tokens_per_second: float
    """Prompt tokens/s at the objectives."""
    concurrency: int
    """Requests at once."""
    dollars_per_million_tokens: float
    """Cost of a million generated tokens."""
    pooling: float = 1.0
    """How many times `tokensPerSecond` each of very many replicas takes that share one queue."""


class MeasuredStatus(StatusPart):
    """What running engines report in place of the plan's estimates."""

    kv_cache_tokens: int
    """Tokens in one replica's KV cache."""
    concurrency: int
    """Requests at once."""
    tokens_per_second: float
    """Generated tokens/s of a busy replica."""
    dollars_per_million_tokens: float
    """Cost of a million generated tokens at that speed."""


class PlanStatus(StatusPart):
    """The chosen layout of a replica."""

    summary: str
    """The layout in a few words."""
    pool: str
    """The pool it was planned on."""
    accelerator: str
    """GPU model."""
    tensor_parallel: int
    """TP."""
    pipeline_parallel: int
    """PP."""
    data_parallel: int = 1
    """DP inside a replica."""
    expert_parallel: bool = False
    """EP."""
    nodes_per_replica: int = 1
    """Nodes that one replica spans."""
    gpus_per_replica: int
    """GPUs that one replica takes."""
    max_model_len: int
    """Longest sequence in tokens."""
    max_num_seqs: int
    """Most sequences at once."""
    max_num_batched_tokens: int
    """Most tokens in one step."""
    gpu_memory_utilization: float
    """Share of the GPU's memory that the engine takes."""
    quantization: str | None = None
    """Quantisation of the weights."""
    kv_cache_dtype: str = "auto"
    """Data type of the KV cache."""
    dtype: str = "auto"
    """Data type of weights and activations."""
    draft: str | None = None
    """Model that guesses ahead, where speculative decoding pays."""
    draft_tokens: int = 0
    """Tokens that it guesses ahead."""
    weights_bytes_per_gpu: int
    """Bytes of weights on each GPU."""
    kv_cache_tokens: int
    """Predicted tokens in one replica's KV cache."""
    predicted: PredictionStatus
    """Predicted speed and cost."""
    measured: MeasuredStatus | None = None
    """What engines report in their place."""
    why: Text = ""
    """Why this layout."""
    planned_from: str | None = None
    """Fingerprint of what it was planned from: another one is planned anew."""
    warnings: list[ReasonStatus] = []
    """What to know about it."""


class RejectedStatus(StatusPart):
    """A candidate that lost."""

    candidate: str
    """Its layout in a few words."""
    reason: str
    """Why, for machines."""
    message: Text = ""
    """Why, for people."""


class RefusalStatus(StatusPart):
    """Why no layout can serve the model."""

    reason: str
    """Why, for machines."""
    message: Text
    """Why, for people."""
    nearest: Text = ""
    """What would have to change for the nearest miss."""


def plan_status(layout: Layout, why: str, planned_from: str | None) -> PlanStatus:
    """Write a layout so that `layout_from_status` gives back an equal one."""
    prediction = layout.prediction
    return PlanStatus(
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
        dtype=layout.dtype,
        draft=layout.draft,
        draft_tokens=layout.draft_tokens,
        weights_bytes_per_gpu=layout.weights_bytes_per_gpu,
        kv_cache_tokens=layout.kv_cache_tokens,
        predicted=PredictionStatus(
            time_to_first_token_seconds=prediction.ttft_seconds,
            inter_token_latency_seconds=prediction.itl_seconds,
            tokens_per_second=prediction.tokens_per_second,
            prompt_tokens_per_second=prediction.prompt_tokens_per_second,
            concurrency=prediction.concurrency,
            dollars_per_million_tokens=prediction.dollars_per_million_tokens,
            pooling=round(prediction.pooling, 3),
        ),
        why=why,
        planned_from=planned_from,
        warnings=[ReasonStatus(reason=warning.code, message=warning.message) for warning in layout.warnings],
    )


def layout_from_status(plan: PlanStatus) -> Layout:
    """Read back what `plan_status` wrote."""
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
            pooling=predicted.pooling,
        ),
        data_parallel=plan.data_parallel,
        expert_parallel=plan.expert_parallel,
        nodes_per_replica=plan.nodes_per_replica,
        quantization=plan.quantization,
        kv_cache_dtype=plan.kv_cache_dtype,
        dtype=plan.dtype,
        draft=plan.draft,
        draft_tokens=plan.draft_tokens,
        warnings=tuple(Reason(warning.reason, warning.message) for warning in plan.warnings),
    )
