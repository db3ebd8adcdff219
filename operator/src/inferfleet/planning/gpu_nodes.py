"""Nodes with GPUs, as pools are formed of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from inferfleet.values import Accelerator, Node, Requirement

Kind = tuple[str, int, str]
"""What nodes of one pool have in common: the GPU's name, how many, and the resource that pods ask for."""

# a node with one of these will be gone soon: what is free on it is no capacity
_GOING: Final = re.compile(
    r"^(karpenter\.sh/disrupted|ToBeDeletedByClusterAutoscaler|DeletionCandidateOfClusterAutoscaler"
    r"|cloud\.google\.com/impending-node-termination|aws-node-termination-handler/.*"
    r"|remediator\.kubernetes\.azure\.com/unschedulable|node\.cloudprovider\.kubernetes\.io/shutdown"
    r"|node\.kubernetes\.io/(not-ready|unreachable|unschedulable|out-of-service))$"
)


@dataclass(frozen=True, slots=True)
class GpuNode:
    """A node with GPUs, as read."""

    node: Node
    accelerator: Accelerator
    count: int

    @property
    def kind(self) -> Kind:
        """What nodes of one pool have in common."""
        return self.accelerator.name, self.count, self.node.gpu_resource

    @property
    def usable(self) -> bool:
        """True while a pod could start here."""
        if not self.node.ready or self.node.unschedulable or self.node.deleted_at is not None:
            return False
        return not any(_GOING.match(taint.key) for taint in self.node.taints)


def meets(node: Node, requirements: Iterable[Requirement]) -> bool:
    """True where the scheduler would find that the node's labels meet every expression."""
    for requirement in requirements:
        value = node.labels.get(requirement.key)
        inside = value in requirement.values
        met = {
            "In": inside,
            "NotIn": not inside,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[requirement.operator]
        if not met:
            return False
    return True
