"""`GPUPool.spec.provision`: how Karpenter shall buy the machines of a pool."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from inferfleet.api.resource import Part, Quantity
from inferfleet.values import Taint

Name = Annotated[str, Field(min_length=1, max_length=63)]
KarpenterDuration = Annotated[str, Field(pattern=r"^(([0-9]+(s|m|h))+|Never)$", max_length=32)]


class NodeClassRef(Part):
    """Karpenter's NodeClass: image, network and role of the machines, which are the user's business."""

    group: Annotated[str, Field(min_length=1, max_length=253)] = "karpenter.k8s.aws"
    """API group."""
    kind: Name = "EC2NodeClass"
    """Kind."""
    name: Name = "default"
    """Name."""


class NodeTaint(Part):
    """A taint of the machines; the workers of this pool tolerate it."""

    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key."""
    value: Annotated[str, Field(max_length=63)] = ""
    """Value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"
    """Effect."""


class Consolidation(Part):
    """When Karpenter takes machines away again; one that serves requests is never taken."""

    policy: Literal["WhenEmpty", "WhenEmptyOrUnderutilized"] = "WhenEmpty"
    """Whether machines must be empty, or may be emptied where that is cheaper."""
    after: KarpenterDuration = "5m"
    """How long a machine must have been so; `Never` for not at all."""


class Provision(Part):
    """Writes a NodePool of Karpenter's for the pool, named as the pool, and deletes it with the pool.

    It buys the pool's `instanceTypes` in its `zones` as its `capacityTypes` say (on-demand by default).
    """

    node_class_ref: NodeClassRef = NodeClassRef()
    """The NodeClass. Default: the EC2NodeClass `default`."""
    limits: Annotated[dict[Annotated[str, Field(max_length=253)], Quantity], Field(max_length=16)] = {}
    """Most of each resource that all machines together may have, such as `nvidia.com/gpu`; `nodes` counts
    machines. Default: the pool's `maxNodes`."""
    taints: Annotated[list[NodeTaint], Field(max_length=16)] = [NodeTaint(key="nvidia.com/gpu", value="true")]
    """Taints that keep other pods away."""
    labels: Annotated[
        dict[Annotated[str, Field(max_length=316)], Annotated[str, Field(max_length=63)]],
        Field(max_length=32),
    ] = {}
    """Labels for the machines."""
    consolidation: Consolidation = Consolidation()
    """When machines are taken away."""

    def taint_values(self) -> tuple[Taint, ...]:
        """Return the taints as values."""
        return tuple(Taint(taint.key, taint.effect, taint.value) for taint in self.taints)
