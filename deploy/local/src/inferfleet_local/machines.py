"""What the nodes pretend to be: GPU machines, labelled as GPU Feature Discovery and Karpenter do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferfleet_local.errors import ClusterError

GPU_RESOURCE = "nvidia.com/gpu"
MOST_NODES = 20
ZONES = ("zone-a", "zone-b")
NODE_PREFIX = "if-node-"


@dataclass(frozen=True, slots=True)
class Machine:
    """One node: the first on demand, the second spot, by turns; four have both kinds in both zones."""

    index: int
    gpus: int = 4

    def __post_init__(self) -> None:
        """Refuse a machine that the address plan has no room for."""
        if not 1 <= self.index <= MOST_NODES:
            raise ClusterError(f"a cluster has 1 to {MOST_NODES} nodes, asked for node {self.index}")

    @property
    def name(self) -> str:
        """The node's name in Kubernetes."""
        return f"{NODE_PREFIX}{self.index}"

    @property
    def labels(self) -> dict[str, str]:
        """The labels that a GPU machine with NVIDIA L4 has (`g6.12xlarge`: 4 of them, 23034 MiB each)."""
        spot = self.index % 2 == 0
        return {
            "karpenter.sh/capacity-type": "spot" if spot else "on-demand",
            "karpenter.sh/nodepool": "gpu-spot" if spot else "gpu-on-demand",
            "node.kubernetes.io/instance-type": "g6.12xlarge",
            "nvidia.com/gpu.compute.major": "8",
            "nvidia.com/gpu.compute.minor": "9",
            "nvidia.com/gpu.count": str(self.gpus),
            "nvidia.com/gpu.family": "ada-lovelace",
            "nvidia.com/gpu.memory": "23034",
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.product": "NVIDIA-L4",
            "topology.kubernetes.io/region": "local",
            "topology.kubernetes.io/zone": ZONES[self.index // 2 % len(ZONES)],
        }


def machines(count: int) -> tuple[Machine, ...]:
    """Return the machines of a cluster of so many nodes."""
    return tuple(Machine(index) for index in range(1, count + 1))


def machine(name: str) -> Machine:
    """Return the machine with a node's name.

    Raises:
        ClusterError: No node of ours is called so.
    """
    index = name.removeprefix(NODE_PREFIX)
    if not name.startswith(NODE_PREFIX) or not index.isdecimal():
        raise ClusterError(f"node {name!r}: nodes are called {NODE_PREFIX}1, {NODE_PREFIX}2 and so on")
    return Machine(int(index))


def simulated_node(machine: Machine) -> dict[str, Any]:
    """Render the Node object that kwok plays."""
    amounts = {"cpu": "48", "memory": "192Gi", "pods": "110", GPU_RESOURCE: str(machine.gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": machine.name,
            "labels": {**machine.labels, "kubernetes.io/hostname": machine.name, "type": "kwok"},
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
        },
        "status": {"allocatable": amounts, "capacity": amounts},
    }
