"""The contract between the operator and the worker. Standard library only, Python 3.10 or later.

Within a version fields are only ever added, with a default, and readers skip the fields they do not know:
an operator and workers of neighbouring releases understand each other. What a reader cannot understand is
another `version`; it raises `WireError` and says so.
"""

from inferfleet_wire.codec import WIRE_VERSION, WireError
from inferfleet_wire.drain import DrainRequest, authorization, drain_token
from inferfleet_wire.endpoints import (
    DRAIN_PATH,
    ENGINE_PORT,
    ENV_LAUNCH,
    ENV_POD_IP,
    ENV_RUN_DIR,
    ENV_SPREAD_ABOVE,
    HEALTH_PATH,
    METRICS_PATH,
    READY_PATH,
    SIDE_PORT,
    STATE_PATH,
)
from inferfleet_wire.launch import LaunchPlan, MetadataProvider, MetadataSource
from inferfleet_wire.state import (
    DrainStatus,
    InFlight,
    Known,
    LostCause,
    Notice,
    NoticeKind,
    Phase,
    RefusedCause,
    State,
)

__all__ = [
    "DRAIN_PATH",
    "ENGINE_PORT",
    "ENV_LAUNCH",
    "ENV_POD_IP",
    "ENV_RUN_DIR",
    "ENV_SPREAD_ABOVE",
    "HEALTH_PATH",
    "METRICS_PATH",
    "READY_PATH",
    "SIDE_PORT",
    "STATE_PATH",
    "WIRE_VERSION",
    "DrainRequest",
    "DrainStatus",
    "InFlight",
    "Known",
    "LaunchPlan",
    "LostCause",
    "MetadataProvider",
    "MetadataSource",
    "Notice",
    "NoticeKind",
    "Phase",
    "RefusedCause",
    "State",
    "WireError",
    "authorization",
    "drain_token",
]
