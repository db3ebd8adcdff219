"""The frozen values that every room speaks in. Nothing here decides, reads a clock or touches the network.

Units stand in the names (`_seconds`, `_bytes`, `_dollars`); instants are seconds since the epoch.
"""

from inferfleet.values.actions import (
    Action,
    AnnounceDrain,
    CreateWorker,
    DeletePod,
    MarkDraining,
    RestartWorker,
    SetServing,
)
from inferfleet.values.fleet import (
    Drain,
    DrainCause,
    Interruption,
    InterruptionKind,
    OfferKey,
    PodPhase,
    Worker,
    WorkerPod,
)
from inferfleet.values.hardware import (
    Accelerator,
    CapacityType,
    Node,
    Offer,
    Pool,
    PoolSpec,
    Requirement,
    Taint,
)
from inferfleet.values.layout import Layout, Planning, Prediction, Refusal, Rejected
from inferfleet.values.model import LayerGroup, Mixer, ModelFacts
from inferfleet.values.observed import Observed, Plan
from inferfleet.values.reason import Condition, ConditionType, Event, Reason
from inferfleet.values.scaling import CapacityMemory, EngineSample, ScalingDecision, ScalingMemory
from inferfleet.values.spec import (
    AutoscalingMode,
    AutoscalingSpec,
    CapacitySpec,
    DeploymentSpec,
    DrainSpec,
    EngineSpec,
    IntOrPercent,
    ModelSpec,
    Objectives,
    ParallelismSpec,
    RolloutSpec,
    Workload,
)

__all__ = [
    "Accelerator",
    "Action",
    "AnnounceDrain",
    "AutoscalingMode",
    "AutoscalingSpec",
    "CapacityMemory",
    "CapacitySpec",
    "CapacityType",
    "Condition",
    "ConditionType",
    "CreateWorker",
    "DeletePod",
    "DeploymentSpec",
    "Drain",
    "DrainCause",
    "DrainSpec",
    "EngineSample",
    "EngineSpec",
    "Event",
    "IntOrPercent",
    "Interruption",
    "InterruptionKind",
    "LayerGroup",
    "Layout",
    "MarkDraining",
    "Mixer",
    "ModelFacts",
    "ModelSpec",
    "Node",
    "Objectives",
    "Observed",
    "Offer",
    "OfferKey",
    "ParallelismSpec",
    "Plan",
    "Planning",
    "PodPhase",
    "Pool",
    "PoolSpec",
    "Prediction",
    "Reason",
    "Refusal",
    "Rejected",
    "Requirement",
    "RestartWorker",
    "RolloutSpec",
    "ScalingDecision",
    "ScalingMemory",
    "SetServing",
    "Taint",
    "Worker",
    "WorkerPod",
    "Workload",
]
