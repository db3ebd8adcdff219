"""What planning answers with: a layout and what it was preferred to, or a refusal."""

from __future__ import annotations

from inferfleet.values.frozen import dataclass
from inferfleet.values.reason import Reason


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one replica should reach at the objectives. Latencies are at the objectives' percentile.

    Each of very many replicas behind one queue takes `pooling` times `tokens_per_second`.
    """

    ttft_seconds: float
    itl_seconds: float
    tokens_per_second: float
    prompt_tokens_per_second: float
    concurrency: int
    dollars_per_million_tokens: float
    pooling: float = 1.0


@dataclass(frozen=True, slots=True)
class Layout:
    """How one replica runs: on which pool, split how, with which engine limits, and what that should give.

    GPUs per replica = tensor_parallel x pipeline_parallel x data_parallel (the last 1 for dense models,
    whose data parallelism is more replicas). `quantization` is how the weights are, by the checkpoint or by
    the user; `dtype` is `half` on GPUs without bfloat16. `draft` is the model that guesses `draft_tokens`
    ahead in every step, where that pays.
    """

    pool: str
    accelerator: str
    tensor_parallel: int
    pipeline_parallel: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    weights_bytes_per_gpu: int
    kv_cache_tokens: int
    prediction: Prediction
    data_parallel: int = 1
    expert_parallel: bool = False
    nodes_per_replica: int = 1
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    dtype: str = "auto"
    draft: str | None = None
    draft_tokens: int = 0
    warnings: tuple[Reason, ...] = ()

    def __hash__(self) -> int:
        # what was found of a layout is kept by it, so that it is hashed in every pass
        return hash((self.pool, self.prediction.tokens_per_second, self.max_num_seqs))

    @property
    def gpus_per_replica(self) -> int:
        """GPUs that one replica takes."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel

    @property
    def gpus_per_pod(self) -> int:
        """GPUs that each of the replica's pods asks for."""
        return self.gpus_per_replica // self.nodes_per_replica

    def __str__(self) -> str:
        parts = [f"{self.accelerator} TP{self.tensor_parallel}"]
        if self.pipeline_parallel > 1:
            parts.append(f"PP{self.pipeline_parallel}")
        if self.data_parallel > 1:
            parts.append(f"DP{self.data_parallel}")
        if self.expert_parallel:
            parts.append("EP")
        if self.quantization:
            parts.append(self.quantization)
        if self.draft:
            parts.append(f"draft {self.draft_tokens}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A candidate that lost, and why. `layout` holds whatever was computed before the check failed."""

    label: str
    reason: Reason
    layout: Layout | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """No candidate can serve the model. `nearest` says what would have to change for the nearest miss."""

    reason: Reason
    nearest: str


@dataclass(frozen=True, slots=True)
class Planning:
    """Exactly one of `layout` and `refusal` is set; `rejected` holds the best losers, best first."""

    layout: Layout | None
    refusal: Refusal | None
    rejected: tuple[Rejected, ...] = ()
