"""Reading what users write: into values, or into a refusal that names the field."""

from __future__ import annotations

from typing import Any

import pytest

from inferfleet.api import GPUPool, InferenceDeployment, SpecError
from inferfleet.values import (
    Accelerator,
    AutoscalingMode,
    CapacityType,
    DeploymentSpec,
    IntOrPercent,
    Objectives,
    PoolSpec,
    Workload,
)


def parse(**spec: Any) -> InferenceDeployment:
    return InferenceDeployment.parse(
        {
            "apiVersion": "inferfleet.dev/v1alpha1",
            "kind": "InferenceDeployment",
            "metadata": {
                "name": "llama",
                "namespace": "chat",
                "uid": "u-1",
                "generation": 3,
                "managedFields": [{"manager": "kubectl"}],
            },
            "spec": {"model": {"id": "org/model"}} | spec,
        }
    )


def parse_pool(**spec: Any) -> PoolSpec:
    return GPUPool.parse(
        {
            "apiVersion": "inferfleet.dev/v1alpha1",
            "kind": "GPUPool",
            "metadata": {"name": "pool"},
            "spec": {"nodeSelector": {"a": "b"}} | spec,
        }
    ).to_values()


def test_only_a_model_gives_the_defaults_of_the_values() -> None:
    spec = parse().to_values()
    assert spec == DeploymentSpec(
        name="llama",
        namespace="chat",
        uid="u-1",
        generation=3,
        model=spec.model,
        engine=spec.engine,
        template_hash=spec.template_hash,
    )
    assert spec.model.id == "org/model"
    assert spec.engine.image.startswith("vllm/vllm-openai:v")


def test_the_example_of_the_design_is_read() -> None:
    spec = parse(
        model={"id": "meta-llama/Llama-3.1-70B-Instruct", "contextLength": 8192},
        objectives={"percentile": 95, "timeToFirstToken": "1s", "interTokenLatency": "40ms"},
        workload={"promptTokens": 2000, "outputTokens": 300},
        autoscaling={"minReplicas": 1, "maxReplicas": 12},
        capacity={"spot": {"share": "80%", "overprovision": 1}, "onDemand": {"base": 1}},
    ).to_values()
    assert spec.model.context_length == 8192
    assert spec.objectives == Objectives(percentile=95.0, ttft_seconds=1.0, itl_seconds=0.04)
    assert spec.workload == Workload(2000, 300)
    assert (spec.autoscaling.min_replicas, spec.autoscaling.max_replicas) == (1, 12)
    assert spec.capacity.spot_share == IntOrPercent(share=0.8)
    assert spec.capacity.spot_overprovision == IntOrPercent(count=1)
    assert spec.capacity.on_demand_base == IntOrPercent(count=1)


@pytest.mark.parametrize(
    ("autoscaling", "bound"),
    [({}, 1), ({"minReplicas": 3}, 3), ({"minReplicas": 0}, 1), ({"minReplicas": 0, "maxReplicas": 4}, 4)],
)
def test_without_a_maximum_the_minimum_is_the_number(autoscaling: dict[str, int], bound: int) -> None:
    assert parse(autoscaling=autoscaling).to_values().autoscaling.max_replicas == bound


def test_replicas_of_another_scaler_are_read() -> None:
    autoscaling = parse(replicas=7, autoscaling={"mode": "External"}).to_values().autoscaling
    assert (autoscaling.mode, autoscaling.replicas) == (AutoscalingMode.EXTERNAL, 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("40ms", 0.04), ("1.5s", 1.5), ("5m", 300.0), ("1h30m", 5400.0), ("0s", 0.0), ("1m1s1ms", 61.001)],
)
def test_durations(text: str, expected: float) -> None:
    assert parse(drain={"settle": text}).to_values().drain.settle_seconds == pytest.approx(expected)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a duration without unit": ({"drain": {"timeout": "30"}}, "spec.drain.timeout: '30' is not a duration"),
    "a duration in days": ({"drain": {"timeout": "1d"}}, "spec.drain.timeout: '1d' is not a duration"),
    "a number for a duration": (
        {"drain": {"timeout": 30}},
        "spec.drain.timeout: Input should be a valid string",
    ),
    "a text for a number": (
        {"workload": {"promptTokens": "3"}},
        "spec.workload.promptTokens: Input should be a valid integer",
    ),
    "a share above all": ({"capacity": {"spot": {"share": "101%"}}}, "spec.capacity.spot.share"),
    "a negative count": ({"capacity": {"onDemand": {"base": -1}}}, "a count cannot be negative"),
    "min above max": (
        {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}},
        "spec.autoscaling: minReplicas must not be more than maxReplicas",
    ),
    "replicas of our own autoscaling": (
        {"replicas": 2},
        "spec: replicas belongs to the operator's autoscaling",
    ),
    "a base above max": (
        {"capacity": {"onDemand": {"base": 2}}},
        "capacity.onDemand.base must not be more than",
    ),
    "spare spot without spot": (
        {"capacity": {"spot": {"overprovision": 1}}},
        "spec.capacity.spot: overprovision",
    ),
    "a rollout that cannot move": (
        {"rollout": {"maxSurge": "0%"}},
        "spec.rollout: maxSurge and maxUnavailable",
    ),
    "an unknown field": ({"autoscale": {}}, "spec.autoscale: Extra inputs are not permitted"),
    "a model that climbs": ({"model": {"id": "pvc://c/../x"}}, "spec.model.id: model.id must be a hub id"),
    "a model on a bucket": ({"model": {"id": "s3://b/x"}}, "spec.model.id: model.id must be a hub id"),
    "an objective of no time": ({"objectives": {"interTokenLatency": "0ms"}}, "longer than 0s"),
    "an unknown mode": ({"autoscaling": {"mode": "Auto"}}, "spec.autoscaling.mode"),
    "a pool twice": ({"capacity": {"pools": ["a", "b", "a"]}}, "spec.capacity.pools: a named more than once"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case: str) -> None:
    spec, message = WRONG[case]
    with pytest.raises(SpecError) as refusal:
        parse(**spec)
    assert refusal.value.code == "InvalidSpec"
    assert message in refusal.value.message


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(SpecError) as refusal:
        parse(drain={"timeout": "x"}, workload={"promptTokens": 0})
    assert refusal.value.message.count(";") == 1


@pytest.mark.parametrize("name", ["7b", "a.b", "A", "n" * 41, "a-"])
def test_a_name_that_no_service_could_have_is_refused(name: str) -> None:
    deployment = parse()
    renamed = deployment.model_copy(
        update={"metadata": deployment.metadata.model_copy(update={"name": name})}
    )
    with pytest.raises(SpecError, match=r"InvalidName: metadata\.name"):
        renamed.to_values()


def test_a_pool_of_a_known_gpu_with_own_prices() -> None:
    pool = parse_pool(
        accelerator={"name": "H100"},
        capacityTypes=["reserved", "spot"],
        zones=["z1"],
        maxNodes=4,
        pricePerGpuHour={"reserved": 4.1, "spot": 3},
    )
    assert (pool.name, pool.accelerator_name, pool.accelerator, pool.max_nodes) == ("pool", "H100", None, 4)
    assert pool.capacity_types == (CapacityType.RESERVED, CapacityType.SPOT)
    assert pool.price_dollars_per_gpu_hour == {CapacityType.RESERVED: 4.1, CapacityType.SPOT: 3.0}


def test_a_pool_of_a_gpu_that_no_table_knows() -> None:
    pool = parse_pool(
        accelerator={
            "name": "custom",
            "facts": {
                "memory": "96Gi",
                "memoryBandwidth": "1792G",
                "bf16Teraflops": 252,
                "computeCapability": "12.0",
                "interconnect": {"nvlink": True, "bandwidth": "450G", "domainGpus": 8},
            },
        }
    )
    assert pool.accelerator == Accelerator(
        name="custom",
        memory_bytes=96 * 2**30,
        memory_bytes_per_second=1.792e12,
        bf16_flops=2.52e14,
        compute_capability=(12, 0),
        nvlink=True,
        interconnect_bytes_per_second=4.5e11,
        nvlink_domain_gpus=8,
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"nodeSelector": {}}, "nodeSelector, instanceTypes or accelerator must say which nodes"),
        ({"capacityTypes": ["cheap"]}, "spec.capacityTypes.0"),
        ({"pricePerGpuHour": {"spot": -1}}, "spec.pricePerGpuHour.spot"),
        (
            {
                "accelerator": {
                    "name": "x",
                    "facts": {"memory": "80 GB", "memoryBandwidth": "1T", "bf16Teraflops": 1},
                }
            },
            "spec.accelerator.facts.memory: '80 GB' is not a quantity",
        ),
    ],
)
def test_what_is_wrong_with_a_pool_is_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match="InvalidSpec") as refusal:
        parse_pool(**spec)
    assert message in refusal.value.message
