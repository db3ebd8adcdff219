"""What the operator writes into an InferenceDeployment's status: the answer to "what did it do, and why"."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from inferfleet.api.layout import PlanStatus, RefusalStatus, RejectedStatus
from inferfleet.api.resource import StatusPart, Timestamp
from inferfleet.api.scaling import ScalingStatus
from inferfleet.values import CapacityType, InterruptionKind, LossCause


class State(StrEnum):
    """The deployment in one word, for the STATUS column."""

    PENDING = "Pending"
    REFUSED = "Refused"
    INVALID = "Invalid"
    STARTING = "Starting"
    READY = "Ready"
    DEGRADED = "Degraded"
    DISRUPTED = "Disrupted"
    SCALED_TO_ZERO = "ScaledToZero"
    PAUSED = "Paused"
    TERMINATING = "Terminating"


class ConditionStatus(StatusPart):
    """A condition in the form that all of Kubernetes uses."""

    type: Annotated[str, Field(max_length=316)]
    """What the condition is about."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=1024)]
    """Why, for machines."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, for people, with the numbers."""
    observed_generation: int | None = None
    """Generation of the spec that this was judged on."""
    last_transition_time: Timestamp
    """When `status` last changed."""


class CapacityTypeEntry(StatusPart):
    """Replicas of one capacity type in one zone."""

    capacity_type: CapacityType
    """How the nodes are bought."""
    zone: str = ""
    """The zone; empty where any will do."""
    pool: str
    """The pool."""
    replicas: int
    """Replicas placed there."""
    ready: int
    """Those of them in service."""


class TargetStatus(StatusPart):
    """Replicas wanted of one capacity type."""

    capacity_type: CapacityType
    """How the nodes are bought."""
    replicas: int
    """Replicas wanted."""


class LossStatus(StatusPart):
    """An interruption, or a placement that did not come."""

    pool: str
    """The pool."""
    capacity_type: CapacityType
    """How the node was bought."""
    zone: str = ""
    """The zone."""
    at: Timestamp
    """When."""


class CapacityStatus(StatusPart):
    """Where the replicas are, where they should be, and what must survive a restart."""

    placement: list[CapacityTypeEntry] = []
    """Replicas by capacity type and zone."""
    targets: list[TargetStatus] = []
    """Replicas wanted by capacity type."""
    losses: list[LossStatus] = []
    """Recent losses, by which zones are ranked."""
    failures: list[Timestamp] = []
    """When replicas ended by themselves, for the backoff of their replacement."""
    spot_short_since: Timestamp | None = None
    """Since when spot is short."""


class PoolSummary(StatusPart):
    """A pool that was discovered."""

    name: str
    """Its name."""
    accelerator: str
    """GPU model."""
    nodes: int
    """Schedulable nodes."""
    gpus: int
    """GPUs on them."""
    free: int
    """GPUs that nobody has asked for."""
    dollars_per_gpu_hour: float
    """The lowest price among its offers."""


class InterruptionStatus(StatusPart):
    """A node that is going."""

    node: str
    """The node."""
    kind: InterruptionKind
    """What the signal means."""
    source: str
    """Where it was seen."""
    seen_at: Timestamp
    """When it was seen."""
    deadline: Timestamp | None = None
    """When the node goes, if that is known."""


class LostStatus(StatusPart):
    """Requests that were cut off by one cause."""

    cause: LossCause
    """What they were lost to; `deadline` is that of a voluntary drain."""
    requests: int
    """How many."""


class AccountStatus(StatusPart):
    """What one worker has lost, as counted so far."""

    worker: str
    """The worker."""
    instance: str
    """Which start of it."""
    lost: dict[str, int] = {}
    """Requests by the causes that the worker itself tells apart."""


class CostStatus(StatusPart):
    """What the replicas cost."""

    dollars_per_hour: float = 0.0
    """All replicas, per hour."""
    dollars_per_million_tokens: float | None = None
    """Per million tokens at the measured rate."""


class InferenceDeploymentStatus(StatusPart):
    """The operator's answer."""

    observed_generation: int | None = None
    """Generation of the spec that this status answers."""
    state: State | None = None
    """The deployment in one word."""
    model: str | None = None
    """The model, shortened for the MODEL column."""
    replicas: int = 0
    """Replicas that exist."""
    ready_replicas: int = 0
    """Replicas in service."""
    desired_replicas: int = 0
    """Replicas wanted."""
    spot_ready_replicas: int = 0
    """Replicas in service on spot."""
    selector: str = ""
    """Label selector of the pods that answer requests, for the scale subresource."""
    queue: int | None = None
    """Waiting requests, for the QUEUE column."""
    tokens_per_second: int | None = None
    """Measured tokens/s, for the TOK/S column."""
    lost_requests: int = 0
    """Requests that were cut off, since the deployment was made."""
    lost_by_cause: list[LostStatus] = []
    """What they were lost to."""
    accounts: list[AccountStatus] = []
    """What of that is of workers that still run, so that nothing is counted twice."""
    revision: str | None = None
    """The newest revision of the workers."""
    plan: PlanStatus | None = None
    """The chosen layout."""
    rejected: list[RejectedStatus] = []
    """The best candidates that lost."""
    refusal: RefusalStatus | None = None
    """Why no layout fits."""
    scaling: ScalingStatus = ScalingStatus()
    """The last scaling decision."""
    capacity: CapacityStatus = CapacityStatus()
    """Where the replicas are."""
    pools: list[PoolSummary] = []
    """Pools that were discovered."""
    interruptions: list[InterruptionStatus] = []
    """Nodes that are going."""
    cost: CostStatus = CostStatus()
    """What it costs."""
    conditions: Annotated[
        list[ConditionStatus],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = []
    """Conditions, each with reason and message."""
