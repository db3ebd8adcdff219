"""Why something was decided: what logs, Events, conditions and `explain` print."""

from __future__ import annotations

from enum import StrEnum

from inferfleet.values.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One decision's cause: a CamelCase code for machines, a sentence with its numbers for people."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ConditionType(StrEnum):
    """The conditions of an InferenceDeployment, in the order `kubectl describe` should show them."""

    READY = "Ready"
    MODEL_RESOLVED = "ModelResolved"
    PLANNED = "Planned"
    CAPACITY_AVAILABLE = "CapacityAvailable"
    SCALING_ACTIVE = "ScalingActive"
    PROGRESSING = "Progressing"
    DISRUPTED = "Disrupted"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `status` is None for Unknown."""

    type: ConditionType
    status: bool | None
    reason: Reason


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes Event about the InferenceDeployment. `warning` selects its type."""

    reason: Reason
    warning: bool = False
