"""Karpenter with its KWOK provider beside a cluster of flavour api: it buys machines that kwok plays.

The provider has no labels for GPUs and takes every offering as available. So the labels that Karpenter's AWS
provider puts on GPU nodes are part of each offering, and what is sold out is left out of the list, which
Karpenter reads when it starts.
"""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from inferfleet_local import binaries
from inferfleet_local.errors import ClusterError
from inferfleet_local.kwok import free_ports
from inferfleet_local.machines import GPU_RESOURCE, ZONES
from inferfleet_local.processes import await_true, find, start, stop
from inferfleet_local.run import tail
from inferfleet_local.source import Source
from inferfleet_local.state import Flavour, write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inferfleet_local.cluster import Cluster
    from inferfleet_local.kubectl import Kubectl
    from inferfleet_local.progress import Progress
    from inferfleet_local.state import Places

MODULE = "karpenter"
NODE_CLASS: dict[str, Any] = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"}
CAPACITY_TYPES = ("spot", "on-demand")
SPOT_PRICE = 0.4
"""Of the on-demand price; made up, as the whole market is."""
READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A GPU machine as AWS sells it; the price is in dollars per hour on demand, about the list price."""

    name: str
    cpus: int
    memory_gib: int
    gpu: str
    gpus: int
    gpu_memory_mib: int
    price: float

    def offering(self, capacity_type: str, zone: str) -> dict[str, Any]:
        """Render one way to buy it, in the provider's format."""
        labels = {
            "karpenter.sh/capacity-type": capacity_type,
            "topology.kubernetes.io/zone": zone,
            "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
            "karpenter.k8s.aws/instance-gpu-name": self.gpu,
            "karpenter.k8s.aws/instance-gpu-count": str(self.gpus),
            "karpenter.k8s.aws/instance-gpu-memory": str(self.gpu_memory_mib),
        }
        return {
            "Price": round(self.price * (SPOT_PRICE if capacity_type == "spot" else 1), 4),
            "Available": True,
            "Requirements": [
                {"key": key, "operator": "In", "values": [value]} for key, value in labels.items()
            ],
        }


INSTANCE_TYPES = (
    InstanceType("g6.xlarge", 4, 16, "l4", 1, 22888, 0.8048),
    InstanceType("g6.2xlarge", 8, 32, "l4", 1, 22888, 0.9776),
    InstanceType("g6.12xlarge", 48, 192, "l4", 4, 22888, 4.6016),
    InstanceType("g6.48xlarge", 192, 768, "l4", 8, 22888, 13.3504),
    InstanceType("g6e.xlarge", 4, 32, "l40s", 1, 45776, 1.861),
    InstanceType("g6e.12xlarge", 48, 384, "l40s", 4, 45776, 10.4926),
    InstanceType("g6e.48xlarge", 192, 1536, "l40s", 8, 45776, 30.1312),
    InstanceType("p5.48xlarge", 192, 2048, "h100", 8, 81920, 55.04),
)


@dataclass(frozen=True, slots=True)
class Karpenter:
    """The Karpenter of one cluster."""

    where: Places
    folder: Path
    """Its program, and the definitions of its resources."""

    def install(self, kubectl: Kubectl) -> None:
        """Install the definitions, one node class, and a NodePool that buys any of the machines."""
        kubectl("apply", "--server-side", "--force-conflicts", "-f", str(self.folder / "crds"))
        kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        kubectl.apply([node_class(), node_pool("gpu")])

    def start(self, *, sold_out: Sequence[str] = ()) -> None:
        """Start it with a market, or start it again if it runs with another one.

        Args:
            sold_out: Patterns of `TYPE/CAPACITY-TYPE/ZONE` that cannot be bought, such as `*/spot/zone-a`.

        Raises:
            ClusterError: It does not become ready.
        """
        market = self.where.folder / "karpenter" / "instance-types.json"
        text = json.dumps(instance_types(sold_out), indent=1)
        running = find(self.where, MODULE)
        if running and market.exists() and market.read_text() == text:
            return
        self.stop()
        write_atomically(market, text)
        metrics, health = free_ports(2)
        settings = {
            "KUBECONFIG": self.where.kubeconfig,
            "SYSTEM_NAMESPACE": "kube-system",
            "DISABLE_LEADER_ELECTION": "true",
            "INSTANCE_TYPES_FILE_PATH": market,
            "METRICS_PORT": metrics,
            "HEALTH_PROBE_PORT": health,
        }
        pairs = [f"{key}={value}" for key, value in settings.items()]
        process = start(self.where, MODULE, ["env", *pairs, self.folder / "kwok"])
        url = f"http://127.0.0.1:{health}/readyz"
        await_true(lambda: not process.alive or _answers(url), timeout_seconds=READY_SECONDS)
        if not _answers(url):
            log = self.where.logs / f"{MODULE}.log"
            raise ClusterError(f"Karpenter is not ready, log {log}:\n{tail(log)}")

    def stop(self) -> None:
        """End it; machines that it bought stay."""
        stop(filter(None, [find(self.where, MODULE)]))


def up(cluster: Cluster, progress: Progress, *, sold_out: Sequence[str] = ()) -> Karpenter:
    """Bring Karpenter up beside a cluster: built if the cache lacks it, installed and started.

    Raises:
        ClusterError: The cluster is none of ours with simulated nodes.
    """
    if cluster.flavour is not Flavour.API or cluster.source is Source.KUBECONFIG:
        raise ClusterError(
            "this Karpenter plays beside our own cluster of flavour api; in any other use its own"
        )
    where = cluster.where
    folder = binaries.ensure_module(MODULE, where.cache, where.logs / "build.log", progress)
    karpenter = Karpenter(where, folder)
    with progress.step(MODULE):
        karpenter.install(cluster.kubectl)
        karpenter.start(sold_out=sold_out)
    return karpenter


def instance_types(sold_out: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Render the market for the provider, without what is sold out."""
    rendered = []
    for one in INSTANCE_TYPES:
        offerings = [
            one.offering(capacity_type, zone)
            for capacity_type in CAPACITY_TYPES
            for zone in ZONES
            if not any(fnmatchcase(f"{one.name}/{capacity_type}/{zone}", pattern) for pattern in sold_out)
        ]
        resources = {
            "cpu": str(one.cpus),
            "memory": f"{one.memory_gib}Gi",
            "ephemeral-storage": "200Gi",
            "pods": "110",
            GPU_RESOURCE: str(one.gpus),
        }
        if offerings:
            rendered.append(
                {
                    "name": one.name,
                    "architecture": "amd64",
                    "operatingSystems": ["linux"],
                    "resources": resources,
                    "offerings": offerings,
                }
            )
    return rendered


def node_class() -> dict[str, Any]:
    """Render the node class that NodePools refer to."""
    return {
        "apiVersion": f"{NODE_CLASS['group']}/v1alpha1",
        "kind": NODE_CLASS["kind"],
        "metadata": {"name": NODE_CLASS["name"]},
        "spec": {},
    }


def node_pool(name: str, **spec: Any) -> dict[str, Any]:
    """Render a NodePool that buys any GPU machine in any way; fields of `spec` replace the defaults."""
    template: dict[str, Any] = {
        "nodeClassRef": NODE_CLASS,
        "requirements": [
            {"key": "karpenter.k8s.aws/instance-gpu-name", "operator": "Exists"},
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": list(CAPACITY_TYPES)},
        ],
    }
    disruption = {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "30s"}
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": name},
        "spec": {"template": {"spec": template}, "disruption": disruption, **spec},
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own address
            return True
    except OSError:
        return False
