"""What a user writes into an InferenceDeployment. Every default is what an expert would choose."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from inferfleet.api.autoscaling import Autoscaling
from inferfleet.api.networking import InferencePool, Monitoring, ServiceTemplate
from inferfleet.api.resource import CountOrPercent, Duration, Part, Rule, seconds, validated
from inferfleet.values import AutoscalingMode

# The measured release: `--shutdown-timeout` needs 0.18 or later.
DEFAULT_ENGINE_IMAGE: Final = "vllm/vllm-openai:v0.32.0"

MODEL_ID: Final = (
    r"^([A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?"
    r"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9._-]+)*/?"
    r"|(/[A-Za-z0-9._-]+)+/?)$"
)
MODEL_ID_HELP: Final = (
    "model.id must be a hub id (organisation/name), pvc://claim/path, or an absolute path in the image"
)
ONE_WRITER: Final = (
    "replicas belongs to the operator's autoscaling unless autoscaling.mode is External or Off"
)
STEP_UP: Final = re.compile(r"(^|/)\.\.(/|$)")


def _check_model_id(text: str) -> str:
    if not re.fullmatch(MODEL_ID, text) or STEP_UP.search(text):
        raise ValueError(MODEL_ID_HELP)
    return text


def _check_positive(text: str) -> str:
    if seconds(text) <= 0:
        raise ValueError("an objective must be longer than 0s")
    return text


Objective = Annotated[Duration, AfterValidator(_check_positive)]
Name = Annotated[str, Field(min_length=1, max_length=63)]
NameSet = Annotated[
    list[Name],
    Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
]


def _check_unique(names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} named more than once")
    return names


UniqueNames = Annotated[NameSet, AfterValidator(_check_unique)]


class SecretKey(Part):
    """A key of a Secret in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """The Secret's name."""
    key: Annotated[str, Field(min_length=1, max_length=253)] = "token"
    """The key in it."""


class Model(Part):
    """Which model to serve. A change is a rollout, not a new object."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule(
                f"self.id.matches(r'{MODEL_ID}') && !self.id.matches(r'(^|/)[.][.](/|$)')",
                MODEL_ID_HELP,
                ".id",
            )
        )
    )

    id: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_check_model_id)]
    """A hub id (`organisation/name`), `pvc://claim/path`, or an absolute path in the engine's image."""
    context_length: Annotated[int | None, Field(ge=1, le=100_000_000)] = None
    """Longest sequence (prompt and answer) in tokens. Default: what the model's config allows."""
    revision: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    """Branch, tag or commit of a hub model. Default: the hub's main branch."""
    served_name: Annotated[str | None, Field(min_length=1, max_length=256)] = None
    """The `model` that clients send. Default: the hub id, or the last part of a path."""
    token_secret: SecretKey | None = None
    """Secret with the hub token that the engine needs for a gated model."""

    @property
    def name_for_clients(self) -> str:
        """The name under which the engine serves the model."""
        if self.served_name:
            return self.served_name
        if self.id.startswith(("pvc://", "/")):
            return self.id.rstrip("/").rsplit("/", 1)[-1]
        return self.id


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


class Parallelism(Part):
    """Overrides of the planner's choice."""

    tensor: Annotated[int | None, Field(ge=1, le=1024)] = None
    """Tensor parallel size (TP)."""
    pipeline: Annotated[int | None, Field(ge=1, le=1024)] = None
    """Pipeline parallel size (PP)."""
    data: Annotated[int | None, Field(ge=1, le=1024)] = None
    """Data parallel size (DP) inside one replica; for mixture-of-experts models."""
    expert: bool | None = None
    """Expert parallelism; for mixture-of-experts models."""


class Speculative(Part):
    """Speculative decoding with a draft model, used where the planner finds it cheaper."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    """Hub id of the draft; one that the planner has recorded."""
    tokens: Annotated[int, Field(ge=1, le=16)] = 3
    """Tokens that it guesses ahead."""
    acceptance: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """How often a guess is right, 0 to 1: measure it on your own traffic."""


class Engine(Part):
    """The inference engine: a stock vLLM image and its limits."""

    image: Annotated[str, Field(min_length=1, max_length=512)] = DEFAULT_ENGINE_IMAGE
    """Any image with vLLM's OpenAI server; it stays as it is, the worker is added when the pod starts."""
    args: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=128)] = []
    """Arguments for the engine, after those of the plan, so these win."""
    quantization: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    """Quantisation method of the weights. Default: the planner's choice."""
    kv_cache_dtype: Annotated[str | None, Field(min_length=1, max_length=32)] = None
    """Data type of the KV cache. Default: the planner's choice."""
    max_num_seqs: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """Most sequences that one engine runs at once. Default: the planner's choice."""
    max_num_batched_tokens: Annotated[int | None, Field(ge=1, le=100_000_000)] = None
    """Most tokens in one engine step. Default: the planner's choice."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of a GPU's memory that the engine may take."""
    speculative: Speculative | None = None
    """A draft model to decode with."""


class Spot(Part):
    """How much of the fleet runs on capacity that may be taken away."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule(
                "self.overprovision == 0 || self.overprovision == '0%' || "
                "!(self.share == 0 || self.share == '0%')",
                "overprovision adds spot replicas, so it needs a spot share above 0",
                ".overprovision",
            )
        )
    )

    share: CountOrPercent = 0
    """Replicas on spot: a share of those above the on-demand base, or a count."""
    overprovision: CountOrPercent = 0
    """Spot replicas above the desired number, so that losing some loses no capacity."""

    @model_validator(mode="after")
    def _overprovision_needs_a_share(self) -> Self:
        if self.overprovision not in {0, "0%"} and self.share in {0, "0%"}:
            raise ValueError("overprovision adds spot replicas, so it needs a spot share above 0")
        return self


class OnDemand(Part):
    """Capacity that stays."""

    base: CountOrPercent = 0
    """Replicas that are always on-demand: they count before the spot share does."""


class Fallback(Part):
    """What happens when spot is not to be had."""

    enabled: bool = True
    """Buy on-demand for spot that is missing."""
    after: Duration = "2m"
    """How long spot may be short before on-demand is bought. A lost node does not wait."""
    hold: Duration = "10m"
    """How long that on-demand is kept at least before spot is tried again."""


class Capacity(Part):
    """Where replicas may run, and how they are bought."""

    pools: UniqueNames = []
    """Names of the pools that may serve. Default: all that fit."""
    zones: UniqueNames = []
    """Zones that may serve. Default: all."""
    spot: Spot = Spot()
    """The spot part of the fleet."""
    on_demand: OnDemand = OnDemand()
    """The on-demand part of the fleet."""
    fallback: Fallback = Fallback()
    """On-demand in place of missing spot."""
    max_price_per_gpu_hour: Annotated[float | None, Field(gt=0)] = None
    """Dollars per GPU and hour above which an offer is not taken. Default: no bound."""


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
