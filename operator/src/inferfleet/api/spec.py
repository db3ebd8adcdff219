"""What a user writes into an InferenceDeployment. Every default is what an expert would choose."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from inferfleet.api.autoscaling import Autoscaling
from inferfleet.api.capacity import Capacity
from inferfleet.api.model import Engine, Model, Parallelism
from inferfleet.api.networking import InferencePool, Monitoring, ServiceTemplate
from inferfleet.api.resource import CountOrPercent, Duration, Part, Rule, seconds, validated
from inferfleet.values import AutoscalingMode

ONE_WRITER: Final = (
    "replicas belongs to the operator's autoscaling unless autoscaling.mode is External or Off"
)


def _check_positive(text: str) -> str:
    if seconds(text) <= 0:
        raise ValueError("an objective must be longer than 0s")
    return text


Objective = Annotated[Duration, AfterValidator(_check_positive)]


class Objectives(Part):
    """Latency that must hold at a percentile of requests, not on average."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule(
                "!has(self.timeToFirstToken) || duration(self.timeToFirstToken) > duration('0s')",
                "an objective must be longer than 0s",
                ".timeToFirstToken",
            ),
            Rule(
                "!has(self.interTokenLatency) || duration(self.interTokenLatency) > duration('0s')",
                "an objective must be longer than 0s",
                ".interTokenLatency",
            ),
        )
    )

    percentile: Annotated[float, Field(gt=0, lt=100)] = 95.0
    """The percentile at which the objectives hold."""
    time_to_first_token: Objective | None = None
    """Upper bound from request to first token (TTFT), queueing included. Default: no bound."""
    inter_token_latency: Objective | None = None
    """Upper bound between two tokens of one answer (ITL). Default: no bound."""


class Workload(Part):
    """The mean request: a prior that the engines' own figures replace."""

    prompt_tokens: Annotated[int, Field(ge=1, le=100_000_000)] = 1024
    """Mean prompt length in tokens (ISL)."""
    output_tokens: Annotated[int, Field(ge=1, le=100_000_000)] = 256
    """Mean answer length in tokens (OSL)."""


class Drain(Part):
    """How a worker leaves without losing a request."""

    timeout: Duration = "5m"
    """Longest voluntary drain: scale-down, rollout. A shorter notice of an interruption rules."""
    settle: Duration = "7s"
    """How long a worker that left the endpoints still accepts requests that were already on their way."""
    margin: Duration = "5s"
    """What is kept back from a provider's notice."""
    notice_url: Annotated[str | None, Field(pattern=r"^https?://[^ ]+$", max_length=2048)] = None
    """Where each worker asks whether its machine is about to go, besides the cloud's own metadata service."""


class Rollout(Part):
    """How a change of model, engine or plan replaces the replicas."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule(
                "!((self.maxSurge == 0 || self.maxSurge == '0%') && "
                "(self.maxUnavailable == 0 || self.maxUnavailable == '0%'))",
                "maxSurge and maxUnavailable must not both be 0: nothing could be replaced",
                ".maxSurge",
            )
        )
    )

    max_surge: CountOrPercent = 1
    """Replicas above the desired number while rolling out."""
    max_unavailable: CountOrPercent = 0
    """Replicas that may be missing while rolling out."""
    progress_deadline: Duration = "30m"
    """How long a new replica may take to become Ready before the rollout counts as stuck."""
    undo: bool = False
    """Run the last model, engine, plan and pod template that worked instead of those above, while true."""

    @model_validator(mode="after")
    def _something_can_move(self) -> Self:
        if self.max_surge in {0, "0%"} and self.max_unavailable in {0, "0%"}:
            raise ValueError("maxSurge and maxUnavailable must not both be 0: nothing could be replaced")
        return self


class PodTemplate(Part):
    """A partial Pod, merged strategically into the worker's pods."""

    metadata: dict[str, dict[str, str]] = {}
    """`labels` and `annotations` to add."""
    spec: Annotated[
        dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = {}
    """A partial PodSpec: lists such as containers, env and volumes merge by name; the engine's container is
    named `engine`."""

    @model_validator(mode="after")
    def _engine_is_set_in_one_place(self) -> Self:
        containers = self.spec.get("containers", [])
        engines = [c for c in containers if isinstance(c, dict) and c.get("name") == "engine"]
        taken = sorted({"image", "command", "args"} & {key for engine in engines for key in engine})
        if taken:
            raise ValueError(f"the engine's {', '.join(taken)} cannot be set here: use spec.engine")
        return self


class InferenceDeploymentSpec(Part):
    """What to serve, how fast it must be, how many replicas, on what capacity."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule(
                "!has(self.replicas) || self.autoscaling.mode != 'Internal'",
                ONE_WRITER,
                ".replicas",
            ),
            Rule(
                "self.autoscaling.mode != 'Internal' || type(self.capacity.onDemand.base) != int || "
                "int(self.capacity.onDemand.base) <= (has(self.autoscaling.maxReplicas) ? "
                "self.autoscaling.maxReplicas : (self.autoscaling.minReplicas > 1 ? "
                "self.autoscaling.minReplicas : 1))",
                "capacity.onDemand.base must not be more than autoscaling.maxReplicas",
                ".capacity.onDemand.base",
            ),
        )
    )

    paused: bool = False
    """Hold plan and number of replicas: no rollout, no scaling. A replica that is lost is still replaced."""
    replicas: Annotated[int | None, Field(ge=0, le=1000)] = None
    """Number of replicas in `autoscaling.mode` External (HPA or KEDA writes it) and Off (you write it)."""
    model: Model
    """Which model to serve."""
    objectives: Objectives = Objectives()
    """Latency objectives."""
    workload: Workload = Workload()
    """The mean request, until it is measured."""
    parallelism: Parallelism = Parallelism()
    """Overrides of the planner's choice of parallelism."""
    engine: Engine = Engine()
    """The inference engine."""
    autoscaling: Autoscaling = Autoscaling()
    """How many replicas."""
    capacity: Capacity = Capacity()
    """Pools, zones, spot and on-demand."""
    drain: Drain = Drain()
    """How a worker leaves."""
    rollout: Rollout = Rollout()
    """How a change replaces the replicas."""
    pod_template: PodTemplate = PodTemplate()
    """Anything else that the workers' pods need."""
    service: ServiceTemplate = ServiceTemplate()
    """The Service in front of the workers."""
    inference_pool: InferencePool = InferencePool()
    """An InferencePool and HTTPRoute of the Gateway API, instead of or beside the Service."""
    monitoring: Monitoring = Monitoring()
    """A PodMonitor for the engines' own metrics."""

    @model_validator(mode="after")
    def _replicas_have_one_writer(self) -> Self:
        if self.replicas is not None and self.autoscaling.mode is AutoscalingMode.INTERNAL:
            raise ValueError(ONE_WRITER)
        base, bound = self.capacity.on_demand.base, self.autoscaling.upper_bound
        internal = self.autoscaling.mode is AutoscalingMode.INTERNAL
        if internal and isinstance(base, int) and base > bound:
            raise ValueError("capacity.onDemand.base must not be more than autoscaling.maxReplicas")
        return self
