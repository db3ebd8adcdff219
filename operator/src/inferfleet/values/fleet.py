"""Workers as they run, and what threatens them."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from inferfleet.values.frozen import dataclass
from inferfleet.values.hardware import CapacityType
from inferfleet.values.reason import Reason


class PodPhase(StrEnum):
    """`status.phase` of a pod."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class DrainCause(StrEnum):
    """Why a worker leaves, in the order in which a later cause may take over from an earlier one."""

    SCALE_DOWN = "scale-down"
    ROLLOUT = "rollout"
    CONSOLIDATION = "consolidation"
    REBALANCE = "rebalance"
    NODE_DRAIN = "node-drain"
    DELETION = "deletion"
    INTERRUPTION = "interruption"


@dataclass(frozen=True, slots=True)
class Drain:
    """A drain under way, as kept in the pods' annotation. `deadline` is None for no bound."""

    cause: DrainCause
    started_at: float
    deadline: float | None


class OfferKey(NamedTuple):
    """The offer that a worker was placed on; the zone is empty where any will do.

    A tuple, for a pass counts all workers by it, and a dataclass's hash is a call of Python's.
    """

    pool: str
    capacity_type: CapacityType
    zone: str = ""


@dataclass(frozen=True, slots=True)
class WorkerPod:
    """One pod of a worker.

    `serving` is the readiness gate's condition (None until it was first set); `containers_ready` is the
    kubelet's ContainersReady; `failure` is a state that will not mend by waiting; `protected` says that
    autoscalers are asked to leave it alone, as every pod is born.
    """

    name: str
    uid: str
    rank: int
    phase: PodPhase
    created_at: float
    node: str | None = None
    ip: str | None = None
    serving: bool | None = None
    containers_ready: bool = False
    ready: bool = False
    ready_since: float | None = None
    deleted_at: float | None = None
    unschedulable: Reason | None = None
    failure: Reason | None = None
    disruption: Reason | None = None
    restarts: int = 0
    drain: Drain | None = None
    protected: bool = True


@dataclass(frozen=True, slots=True)
class Worker:
    """One replica: a pod, or one pod per node for a layout that spans nodes. `pods` are by rank.

    `layout` is the digest of the layout that it runs, empty where an earlier release did not write it. What
    follows from the pods is settled when it is made, for a pass asks it of every worker many times: `leader`
    is the pod that answers requests; `drain` the one under way, if any pod carries one; `leaving` is True
    once it drains or any of its pods is being deleted: it counts for nothing ahead; `finished` once any pod
    has ended for good: it cannot serve again; `ready` while all pods are Ready, so that the endpoints carry
    the leader. `placed` is True once every pod has a node. `unschedulable`, `failure` and `disruption` are
    the first pod's that has any; `created_at` and `deleted_at` are the earliest of any pod.
    """

    name: str
    revision: str
    offer: OfferKey
    pods: tuple[WorkerPod, ...]
    layout: str = ""
    leader: WorkerPod = field(init=False, repr=False, compare=False)
    drain: Drain | None = field(init=False, repr=False, compare=False)
    leaving: bool = field(init=False, repr=False, compare=False)
    finished: bool = field(init=False, repr=False, compare=False)
    ready: bool = field(init=False, repr=False, compare=False)
    placed: bool = field(init=False, repr=False, compare=False)
    unschedulable: Reason | None = field(init=False, repr=False, compare=False)
    failure: Reason | None = field(init=False, repr=False, compare=False)
    disruption: Reason | None = field(init=False, repr=False, compare=False)
    created_at: float = field(init=False, repr=False, compare=False)
    deleted_at: float | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pods = self.pods
        drain = next((pod.drain for pod in pods if pod.drain), None)
        deleted_at = min((pod.deleted_at for pod in pods if pod.deleted_at is not None), default=None)
        settle = partial(object.__setattr__, self)
        settle("leader", pods[0])
        settle("drain", drain)
        settle("leaving", drain is not None or deleted_at is not None)
        settle("finished", any(pod.phase in {PodPhase.FAILED, PodPhase.SUCCEEDED} for pod in pods))
        settle("ready", all(pod.ready for pod in pods))
        settle("placed", all(pod.node is not None for pod in pods))
        settle("unschedulable", next((pod.unschedulable for pod in pods if pod.unschedulable), None))
        settle("failure", next((pod.failure for pod in pods if pod.failure), None))
        settle("disruption", next((pod.disruption for pod in pods if pod.disruption), None))
        settle("deleted_at", deleted_at)
        settle("created_at", min(pod.created_at for pod in pods))

    @property
    def in_service(self) -> bool:
        """Ready and staying."""
        return self.ready and not self.leaving


class InterruptionKind(StrEnum):
    """What a signal about a node means for the workers on it."""

    INTERRUPTION = "interruption"
    MAINTENANCE = "maintenance"
    REBALANCE = "rebalance"
    VOLUNTARY = "voluntary"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Interruption:
    """A node is going. `deadline` is None where the source gives none."""

    kind: InterruptionKind
    node: str
    seen_at: float
    deadline: float | None
    source: str


class LossCause(StrEnum):
    """What an accepted request that got no whole answer was lost to.

    `deadline` is that of a drain by our own wish; `error` is a server error of an engine that goes on.
    """

    INTERRUPTION = "interruption"
    NODE_LOST = "node-lost"
    DEADLINE = "deadline"
    CRASH = "crash"
    DELETION = "deletion"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Account:
    """What one engine was last known to have in flight and to have lost, by the gate's own causes.

    `cause` is what a sudden end would be put down to. Another `instance` is another start of the engine. What
    comes back from the status knows of nothing in flight.
    """

    worker: str
    instance: str
    at: float
    in_flight: int
    lost: tuple[tuple[str, float], ...] = ()
    cause: LossCause = LossCause.DELETION


@dataclass(frozen=True, slots=True)
class Heard:
    """What an engine had in flight when its gate was last heard; also of workers that are silent or gone."""

    worker: str
    instance: str
    at: float
    in_flight: int


@dataclass(frozen=True, slots=True)
class LastWords:
    """What an engine had lost in all when it ended, as its supervisor left it behind."""

    worker: str
    instance: str
    lost: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class NodeClaim:
    """Karpenter's claim on one machine. `node` is empty until the machine has joined.

    `reason` is why Karpenter itself disrupts it (condition DisruptionReason while True), empty where it does
    not; `expired` is True if it was deleted at the end of its allowed age; `ends_at` is the annotation with
    the end of its grace period.
    """

    name: str
    node: str = ""
    deleted_at: float | None = None
    reason: str = ""
    drifted: bool = False
    expired: bool = False
    ends_at: str = ""


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """A Kubernetes Event about a Node, or about the NodeClaim of one. `uid` is the object's, where given."""

    about: str
    reason: str
    at: float
    uid: str = ""
    claim: bool = False
