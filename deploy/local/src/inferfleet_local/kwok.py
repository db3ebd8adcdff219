"""Flavour api: kwokctl starts a control plane and kwok, which plays the nodes and pods. Needs no root."""

from __future__ import annotations

import json
import shutil
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inferfleet_local.processes import marked_environment, stop_marked
from inferfleet_local.run import run_logged
from inferfleet_local.state import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from inferfleet_local.binaries import Programs
    from inferfleet_local.state import Places

PORTS = (
    "etcdPort",
    "etcdPeerPort",
    "kubeApiserverPort",
    "kubeControllerManagerPort",
    "kubeSchedulerPort",
    "kwokControllerPort",
)

# Addresses of pretend pods: multicast, to which a TCP connection fails at once without a packet, so that
# nothing that believes in these pods ever talks to somebody else's machine.
UNREACHABLE = "225.0.0.1/16"

# Pods with this annotation are none of kwok's: whoever makes them plays their kubelet.
OTHERS_PLAY = {"kwok.x-k8s.io/status": "custom"}


@dataclass(frozen=True, slots=True)
class KwokCluster:
    """A kwokctl cluster whose folder is the cluster's own, so that nothing lies in the home folder."""

    where: Places
    programs: Programs

    def create(self, log: Path) -> None:
        """Start afresh; what a crashed start has left goes first, since nothing here is worth keeping."""
        self.delete()
        kept = self.where.folder / "clusters" / self.where.name / "logs"
        self.where.logs.mkdir(parents=True, exist_ok=True)
        (self.where.logs / "kwok").unlink(missing_ok=True)
        (self.where.logs / "kwok").symlink_to(kept)
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        settings = self.where.folder / "kwokctl.json"
        write_atomically(settings, json.dumps(configuration(self.where, self.programs, ports), indent=1))
        self._kwokctl(log, "create", "cluster", "--wait=90s", "--config", str(settings))

    def delete(self) -> None:
        """End its processes and remove its files, among them the lock that an interrupted kwokctl leaves."""
        stop_marked(self.where)
        shutil.rmtree(self.where.folder / "clusters", ignore_errors=True)
        for name in ("kubeconfig", "kubeconfig.lock"):
            (self.where.folder / name).unlink(missing_ok=True)

    def _kwokctl(self, log: Path, *arguments: str) -> None:
        environment = {**marked_environment(self.where), "KWOK_WORKDIR": str(self.where.folder)}
        words = [*arguments, "--name", self.where.name, "--kubeconfig", str(self.where.kubeconfig)]
        run_logged([self.programs["kwokctl"], *words], log, env=environment)


def configuration(where: Places, programs: Programs, ports: Mapping[str, int]) -> dict[str, Any]:
    """Render the configuration of kwokctl.

    By default kwokctl binds every program to all addresses; a test cluster, and an etcd without
    authentication, have no business there.
    """
    patches = {
        "etcd": {"unsafe-no-fsync": "true"},
        "kube-apiserver": {"enable-aggregator-routing": "true"},
        "kube-controller-manager": {"leader-elect": "false"},
        "kube-scheduler": {"leader-elect": "false"},
        "kwok-controller": {
            "cidr": UNREACHABLE,
            "disregard-status-with-annotation-selector": ",".join(map("=".join, OTHERS_PLAY.items())),
        },
    }
    return {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokctlConfiguration",
        "options": {
            "runtime": "binary",
            "bindAddress": "127.0.0.1",
            "cacheDir": str(where.folder / "kwok-cache"),
            "etcdBinary": str(programs["etcd"]),
            "kubeApiserverBinary": str(programs["kube-apiserver"]),
            "kubeControllerManagerBinary": str(programs["kube-controller-manager"]),
            "kubeSchedulerBinary": str(programs["kube-scheduler"]),
            "kubectlBinary": str(programs["kubectl"]),
            "kwokControllerBinary": str(programs["kwok"]),
            **ports,
        },
        "componentsPatches": [
            {"name": name, "extraArgs": [{"key": key, "value": value} for key, value in settings.items()]}
            for name, settings in patches.items()
        ],
    }


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that nobody listens on now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
