"""An InferenceDeployment's spec after parsing: quantities are numbers, defaults are filled in."""

from __future__ import annotations

import math
from dataclasses import field
from enum import StrEnum

from inferfleet.values.frozen import dataclass


@dataclass(frozen=True, slots=True)
class IntOrPercent:
    """A count, or a share of a total in 0..1. Exactly one is set."""

    count: int | None = None
    share: float | None = None

    def of(self, total: int) -> int:
        """The count that this means of `total`, rounded up and never more than `total` for a share."""
        if self.count is not None:
            return self.count
        return math.ceil(total * (self.share or 0.0) - 1e-9)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """`id` is a hub id, `pvc://claim/path`, or an absolute path inside the engine's pod."""

    id: str
    context_length: int | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Objectives:
    """Latency objectives at a percentile (0..100); None means no bound."""

    percentile: float = 95.0
    ttft_seconds: float | None = None
    itl_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """The mean request: a prior until the engines report their own."""

    prompt_tokens: int = 1024
    output_tokens: int = 256


@dataclass(frozen=True, slots=True)
class ParallelismSpec:
    """Overrides by the user; None means that the planner chooses.

    `expert_gpus` is over how many GPUs experts are spread: tensor x data, where `expert` is true.
    """

    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    expert: bool | None = None
    expert_gpus: int | None = None


@dataclass(frozen=True, slots=True)
class SpeculativeSpec:
    """A draft model that guesses `tokens` ahead, each right with probability `acceptance` (0..1)."""

    model: str
    tokens: int = 3
    acceptance: float = 0.7


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """The engine's image and limits. `args` are appended last, so they win over what the plan sets."""

    image: str
    args: tuple[str, ...] = ()
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float = 0.9
    speculative: SpeculativeSpec | None = None


class AutoscalingMode(StrEnum):
    """Who sets the number of replicas."""

    INTERNAL = "Internal"
    EXTERNAL = "External"
    OFF = "Off"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A known event: from each `start` (cron, in `time_zone`) until `end` (cron) or for `duration_seconds`.

    Exactly one of the two is set. While it lasts its bounds stand in for those of the spec; None leaves one
    as it is.
    """

    name: str
    time_zone: str
    start: str
    end: str | None = None
    duration_seconds: float | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None


@dataclass(frozen=True, slots=True)
class AutoscalingSpec:
    """Bounds and pace. `replicas` is `spec.replicas`: what HPA writes in External, the count in Off.

    `target_queue_per_replica` is the waiting requests per replica that are tolerated; windows are seconds.
    `capacity_factor` is one replica's capacity in multiples of the plan's prediction, where the user told it.
    None leaves a number to what is measured: the capacity to latencies, the window to the cold start, the
    rates to the size of the fleet.
    """

    mode: AutoscalingMode = AutoscalingMode.INTERNAL
    replicas: int | None = None
    min_replicas: int = 1
    max_replicas: int = 1
    target_queue_per_replica: float = 4.0
    target_utilization: float | None = None
    capacity_factor: float | None = None
    scale_up_window_seconds: float = 5.0
    scale_down_window_seconds: float | None = None
    max_scale_up_per_minute: int | None = None
    max_scale_down_per_minute: int | None = None
    schedules: tuple[Schedule, ...] = ()


@dataclass(frozen=True, slots=True)
class CapacitySpec:
    """Which pools may serve, and how reserved, spot and on-demand are mixed."""

    pools: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    spot_share: IntOrPercent = field(default_factory=lambda: IntOrPercent(count=0))
    spot_overprovision: IntOrPercent = field(default_factory=lambda: IntOrPercent(count=0))
    on_demand_base: IntOrPercent = field(default_factory=lambda: IntOrPercent(count=0))
    fallback: bool = True
    fallback_after_seconds: float = 120.0
    fallback_hold_seconds: float = 600.0
    max_dollars_per_gpu_hour: float | None = None


@dataclass(frozen=True, slots=True)
class DrainSpec:
    """How a worker leaves.

    `timeout_seconds` bounds a voluntary drain; `settle_seconds` is how long a worker that left the
    endpoints still accepts requests that were already on their way; `margin_seconds` is kept from a notice.
    """

    timeout_seconds: float = 300.0
    settle_seconds: float = 7.0
    margin_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """Bounds of a rollout; both zero is refused by the API."""

    max_surge: IntOrPercent = field(default_factory=lambda: IntOrPercent(count=1))
    max_unavailable: IntOrPercent = field(default_factory=lambda: IntOrPercent(count=0))
    progress_deadline_seconds: float = 1800.0


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """All that the user asks for.

    `template_hash` covers what is rendered but not decided upon here (pod template, environment):
    it changes the revision. `protects` is False where the user's own pod template says whether autoscalers
    may move the pods.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    model: ModelSpec
    engine: EngineSpec
    objectives: Objectives = field(default_factory=Objectives)
    workload: Workload = field(default_factory=Workload)
    parallelism: ParallelismSpec = field(default_factory=ParallelismSpec)
    autoscaling: AutoscalingSpec = field(default_factory=AutoscalingSpec)
    capacity: CapacitySpec = field(default_factory=CapacitySpec)
    drain: DrainSpec = field(default_factory=DrainSpec)
    rollout: RolloutSpec = field(default_factory=RolloutSpec)
    template_hash: str = ""
    deleted_at: float | None = None
    paused: bool = False
    protects: bool = True

    def __hash__(self) -> int:
        # what was found of a spec is kept by it, so that it is hashed in every pass
        return hash((self.name, self.uid, self.generation))
