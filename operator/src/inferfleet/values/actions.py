"""The closed set of things that the executor can do. Every action carries why."""

from __future__ import annotations

from inferfleet.values.fleet import Drain, OfferKey
from inferfleet.values.frozen import dataclass
from inferfleet.values.hardware import Requirement, Taint
from inferfleet.values.layout import Layout
from inferfleet.values.reason import Reason


@dataclass(frozen=True, slots=True)
class CreateWorker:
    """Create the pods of a new replica on nodes that meet all `requirements`, in spite of their `taints`.

    They keep off the nodes on which pods of `strangers`, which are workers, are.
    """

    worker: str
    revision: str
    offer: OfferKey
    layout: Layout
    requirements: tuple[Requirement, ...]
    gpu_resource: str
    reason: Reason
    taints: tuple[Taint, ...] = ()
    strangers: tuple[str, ...] = ()
    layout_digest: str = ""

    def __str__(self) -> str:
        kind = f"{self.offer.capacity_type} in {self.offer.zone or 'any zone'}"
        return f"create {self.worker} on {self.offer.pool} ({kind}): {self.reason}"


@dataclass(frozen=True, slots=True)
class SetServing:
    """Set the readiness gate of a pod: endpoints follow."""

    pod: str
    uid: str
    serving: bool
    reason: Reason

    def __str__(self) -> str:
        verb = f"put {self.pod} into" if self.serving else f"take {self.pod} out of"
        return f"{verb} service: {self.reason}"


@dataclass(frozen=True, slots=True)
class MarkDraining:
    """Write the drain into the annotation of a pod, so that it survives the operator."""

    pod: str
    uid: str
    drain: Drain
    reason: Reason

    def __str__(self) -> str:
        return f"drain {self.pod} for {self.drain.cause}: {self.reason}"


@dataclass(frozen=True, slots=True)
class AnnounceDrain:
    """Tell the worker itself that it drains: it refuses new requests after `settle_seconds`."""

    pod: str
    ip: str
    drain: Drain
    settle_seconds: float
    reason: Reason

    def __str__(self) -> str:
        return f"announce drain to {self.pod}: {self.reason}"


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete exactly this pod; refused by the API server when the name means another one by now."""

    pod: str
    uid: str
    grace_seconds: int | None
    reason: Reason

    def __str__(self) -> str:
        return f"delete {self.pod}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RestartWorker:
    """Delete all pods of a replica that spans nodes, so that the group starts anew as a whole."""

    worker: str
    pods: tuple[tuple[str, str], ...]
    reason: Reason

    def __str__(self) -> str:
        return f"restart {self.worker} as a whole: {self.reason}"


@dataclass(frozen=True, slots=True)
class ProtectPod:
    """Keep autoscalers from moving a pod, or let them."""

    pod: str
    uid: str
    protect: bool
    reason: Reason

    def __str__(self) -> str:
        verb = "keep autoscalers from" if self.protect else "let autoscalers have"
        return f"{verb} {self.pod}: {self.reason}"


Action = CreateWorker | SetServing | MarkDraining | AnnounceDrain | DeletePod | RestartWorker | ProtectPod
