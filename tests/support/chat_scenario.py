"""A chat model that one GPU holds, for simulations."""

from __future__ import annotations

from collections.abc import Mapping

from inferfleet.planning.catalogue import catalogue_facts
from inferfleet.simulate.generate import Generated
from inferfleet.simulate.nodes import SimulatedPool
from inferfleet.simulate.scenario import Scenario
from inferfleet.values import (
    AutoscalingSpec,
    CapacityType,
    DeploymentSpec,
    EngineSpec,
    ModelSpec,
    Objectives,
    PoolSpec,
    Workload,
)

MODEL_ID = "Qwen/Qwen2.5-14B-Instruct"


def chat_scenario(
    source: Generated,
    seconds: float,
    autoscaling: AutoscalingSpec,
    prices: Mapping[CapacityType, float],
    zones: tuple[str, ...] = (),
) -> Scenario:
    """Replicas on one L40S each, of the capacity types that have a price."""
    model = catalogue_facts(MODEL_ID)
    assert model is not None
    pool = PoolSpec(
        name="pool",
        accelerator_name="L40S",
        gpus_per_node=1,
        zones=zones,
        capacity_types=tuple(prices),
        price_dollars_per_gpu_hour=dict(prices),
    )
    return Scenario(
        spec=DeploymentSpec(
            name="chat",
            namespace="default",
            uid="1",
            generation=1,
            model=ModelSpec(MODEL_ID),
            engine=EngineSpec("engine"),
            objectives=Objectives(99.0, 2.0, 0.1),
            workload=Workload(1000, 250),
            autoscaling=autoscaling,
        ),
        model=model,
        pools=(SimulatedPool(pool),),
        source=source,
        duration_seconds=seconds,
    )
