"""GPUPool: what node labels cannot say about a pool of GPU nodes, or say wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from inferfleet.api.provision import Provision
from inferfleet.api.report import transition_time
from inferfleet.api.resource import (
    Metadata,
    Part,
    Quantity,
    Resource,
    Rule,
    StatusPart,
    amount,
    validated,
)
from inferfleet.api.status import ConditionStatus
from inferfleet.values import Accelerator, CapacityType, Pool, PoolSpec, Reason

Rate = Annotated[float, Field(ge=0)]
Price = Annotated[float | None, Field(ge=0)]


class Interconnect(Part):
    """How the GPUs of a node talk to each other."""

    nvlink: bool = False
    """NVLink between the GPUs; PCIe otherwise."""
    bandwidth: Quantity = "32G"
    """Bytes/s per GPU in one direction."""
    domain_gpus: Annotated[int, Field(ge=1, le=1024)] = 1
    """GPUs that reach each other at that rate."""


class AcceleratorFacts(Part):
    """Data sheet of a GPU that the built-in table lacks. Rates are per GPU, dense, without sparsity."""

    memory: Quantity
    """GPU memory."""
    memory_bandwidth: Quantity
    """Memory bytes/s."""
    bf16_teraflops: Rate
    """BF16 in TFLOP/s."""
    fp16_teraflops: Rate = 0.0
    """FP16 in TFLOP/s; 0 where it is not supported."""
    fp8_teraflops: Rate = 0.0
    """FP8 in TFLOP/s; 0 where it is not supported."""
    int8_teraops: Rate = 0.0
    """INT8 in TOP/s; 0 where it is not supported."""
    fp4_teraflops: Rate = 0.0
    """FP4 in TFLOP/s; 0 where it is not supported."""
    compute_capability: Annotated[str, Field(pattern=r"^[0-9]{1,2}\.[0-9]$", max_length=4)] = "0.0"
    """CUDA compute capability, such as 9.0."""
    vendor: Annotated[str, Field(min_length=1, max_length=32)] = "nvidia"
    """Maker of the GPU."""
    interconnect: Interconnect = Interconnect()
    """Links between the GPUs of a node."""

    def to_values(self, name: str) -> Accelerator:
        """Return the GPU under its name."""
        tera = 1e12
        major, minor = self.compute_capability.split(".")
        return Accelerator(
            name=name,
            memory_bytes=int(amount(self.memory)),
            memory_bytes_per_second=amount(self.memory_bandwidth),
            bf16_flops=self.bf16_teraflops * tera,
            fp16_flops=self.fp16_teraflops * tera,
            fp8_flops=self.fp8_teraflops * tera,
            int8_ops=self.int8_teraops * tera,
            fp4_flops=self.fp4_teraflops * tera,
            compute_capability=(int(major), int(minor)),
            nvlink=self.interconnect.nvlink,
            interconnect_bytes_per_second=amount(self.interconnect.bandwidth),
            nvlink_domain_gpus=self.interconnect.domain_gpus,
            vendor=self.vendor,
        )


class AcceleratorSpec(Part):
    """Which GPU the nodes carry."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """A name of the built-in table, or a new one together with `facts`."""
    facts: AcceleratorFacts | None = None
    """Data sheet, for a GPU that the table lacks or to override it."""


class Prices(Part):
    """Dollars per GPU and hour."""

    reserved: Price = None
    """On reserved nodes."""
    spot: Price = None
    """On spot nodes."""
    on_demand: Price = None
    """On on-demand nodes."""


class GPUPoolSpec(Part):
    """Every field is optional and overrides what was read from labels."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule(
                "has(self.accelerator) || (has(self.nodeSelector) && size(self.nodeSelector) > 0)"
                " || (has(self.instanceTypes) && size(self.instanceTypes) > 0)",
                "nodeSelector, instanceTypes or accelerator must say which nodes form the pool",
                ".nodeSelector",
            ),
            Rule(
                "!has(self.provision) || (has(self.instanceTypes) && size(self.instanceTypes) > 0)",
                "instanceTypes must say what provision may buy",
                ".provision",
            ),
        )
    )

    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)] = {}
    """Labels of the nodes that form the pool. Default: all nodes with the named accelerator."""
    instance_types: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=63)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Instance types that form the pool, also those of which an autoscaler has yet to add the first node.
    All must carry the same GPUs; of types known here, those that differ from the first are left out."""
    accelerator: AcceleratorSpec | None = None
    """Which GPU the nodes carry. Default: what their labels, or the instance types, say."""
    gpus_per_node: Annotated[int | None, Field(ge=1, le=1024)] = None
    """GPUs on each node. Default: what the nodes report."""
    max_nodes: Annotated[int | None, Field(ge=0, le=100_000)] = None
    """Most nodes that the pool can have, as with an autoscaler. Default: those that exist."""
    zones: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=63)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Zones that nodes may come up in. Default: those of the nodes that exist."""
    capacity_types: Annotated[
        list[Annotated[CapacityType, Field(strict=False)]],
        Field(max_length=3, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """How nodes of the pool can be bought. Default: as those that exist were."""
    price_per_gpu_hour: Prices = Prices()
    """Prices. Default: the dated table of list prices."""
    provision: Provision | None = None
    """Let the operator write a NodePool of Karpenter's for the pool. Default: nothing of Karpenter's is
    written."""

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        if not (self.node_selector or self.instance_types or self.accelerator):
            raise ValueError("nodeSelector, instanceTypes or accelerator must say which nodes form the pool")
        if self.provision and not self.instance_types:
            raise ValueError("instanceTypes must say what provision may buy")
        return self


class GPUPoolStatus(StatusPart):
    """What the operator found."""

    observed_generation: int | None = None
    """Generation of the spec that this status answers."""
    accelerator: str | None = None
    """GPU model."""
    gpus_per_node: int | None = None
    """GPUs on each node."""
    nodes: int | None = None
    """Schedulable nodes."""
    gpus: int | None = None
    """GPUs on them."""
    free: int | None = None
    """GPUs that nobody has asked for."""
    conditions: Annotated[
        list[ConditionStatus],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = []
    """`Provisioned`: whether Karpenter has the NodePool that `spec.provision` asks for."""


class GPUPool(Resource):
    """Nodes that are alike for planning: prices, interconnect and limits where labels cannot say them."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule("size(self.metadata.name) <= 63", "metadata.name must have at most 63 characters")
        )
    )

    api_version: Literal["inferfleet.dev/v1alpha1"] = "inferfleet.dev/v1alpha1"
    kind: Literal["GPUPool"] = "GPUPool"
    metadata: Metadata
    spec: GPUPoolSpec
    status: GPUPoolStatus = Field(default_factory=GPUPoolStatus)

    def to_values(self) -> PoolSpec:
        """Return the pool's spec as values."""
        spec, prices = self.spec, self.spec.price_per_gpu_hour
        known = {
            CapacityType.RESERVED: prices.reserved,
            CapacityType.SPOT: prices.spot,
            CapacityType.ON_DEMAND: prices.on_demand,
        }
        gpu = spec.accelerator
        return PoolSpec(
            name=self.metadata.name,
            node_labels=dict(spec.node_selector),
            accelerator=gpu.facts.to_values(gpu.name) if gpu and gpu.facts else None,
            accelerator_name=gpu.name if gpu else None,
            gpus_per_node=spec.gpus_per_node,
            max_nodes=spec.max_nodes,
            zones=tuple(spec.zones),
            capacity_types=tuple(spec.capacity_types),
            instance_types=tuple(spec.instance_types),
            taints=spec.provision.taint_values() if spec.provision else (),
            price_dollars_per_gpu_hour={
                bought: price for bought, price in known.items() if price is not None
            },
        )


PROVISIONED: Final = "Provisioned"


def pool_status(
    pool: Pool | None,
    generation: int,
    conditions: Sequence[ConditionStatus] = (),
) -> GPUPoolStatus:
    """Return the status of a GPUPool; None for a pool that no node belongs to."""
    if pool is None:
        return GPUPoolStatus(
            observed_generation=generation, nodes=0, gpus=0, free=0, conditions=list(conditions)
        )
    return GPUPoolStatus(
        observed_generation=generation,
        accelerator=pool.accelerator.name,
        gpus_per_node=pool.gpus_per_node,
        nodes=pool.nodes,
        gpus=sum(offer.gpus for offer in pool.offers),
        free=sum(offer.free_gpus for offer in pool.offers),
        conditions=list(conditions),
    )


def provisioned(
    problem: Reason | None, previous: GPUPoolStatus, generation: int, now: float
) -> ConditionStatus:
    """Return the condition that says whether the NodePool is as the spec wants it."""
    status: Literal["True", "False"] = "False" if problem else "True"
    reason = problem or Reason("Applied", "the NodePool is as spec.provision says")
    before = next((one for one in previous.conditions if one.type == PROVISIONED), None)
    unchanged = before is not None and before.status == status
    return ConditionStatus(
        type=PROVISIONED,
        status=status,
        reason=reason.code,
        message=reason.message,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before and unchanged else transition_time(now),
    )
