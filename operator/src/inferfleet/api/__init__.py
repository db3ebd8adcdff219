"""The custom resources: what users write, what the operator answers, and the schema of both."""

from inferfleet.api.deployment import InferenceDeployment
from inferfleet.api.gpupool import GPUPool, GPUPoolStatus, pool_status, provisioned
from inferfleet.api.memory import memory_from_status
from inferfleet.api.prices import PRICE_LIST, read_prices
from inferfleet.api.report import status_from_plan
from inferfleet.api.resource import SpecError
from inferfleet.api.status import InferenceDeploymentStatus, State

__all__ = [
    "PRICE_LIST",
    "GPUPool",
    "GPUPoolStatus",
    "InferenceDeployment",
    "InferenceDeploymentStatus",
    "SpecError",
    "State",
    "memory_from_status",
    "pool_status",
    "provisioned",
    "read_prices",
    "status_from_plan",
]
