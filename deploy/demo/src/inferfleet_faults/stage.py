"""A deployment of few replicas on reserved, on-demand and spot nodes, and the hands that break things."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from inferfleet.values.well_known import KARPENTER_CAPACITY_TYPE, ZONE
from inferfleet_demo import steps
from inferfleet_demo.kube import eventually
from inferfleet_demo.scene import NAME, NAMESPACE, OPERATOR_NAMESPACE, Scene
from inferfleet_faults.requests import Requests, clients_running
from inferfleet_faults.watching import Pod, Watching
from inferfleet_local import cluster, real
from inferfleet_local.image import PAUSE_IMAGE
from inferfleet_local.machines import machine
from inferfleet_local.real import NodeAct
from inferfleet_local.state import Flavour, locked, places

SAFE, RESERVED = "if-node-1", "if-node-3"
SPOT_NODES = ("if-node-2", "if-node-4")
NODES = 4
CAPACITY_SPEC = {
    "onDemand": {"base": 1},
    "spot": {"share": "100%"},
    # short, so that the way back to spot is part of a run
    "fallback": {"after": "10s", "hold": "45s"},
}
DEPLOYMENT = f"/apis/inferfleet.dev/v1alpha1/namespaces/{NAMESPACE}/inferencedeployments/{NAME}"

YOUNG = range(80, 400)
"""Tokens in flight of which a long stream just begun has this many; short answers have fewer."""


@dataclass
class Stage:
    """The running deployment with its clients, and the hands that break things."""

    scene: Scene
    watching: Watching
    requests: Requests

    def settle(self, replicas: int, seconds: float = 300, *, on_spot: bool = True) -> None:
        """Ask for so many replicas, with `on_spot` all but one there; wait until they are in service."""
        self.scale(replicas)
        revision = eventually("the change planned", self._revision, seconds=60)

        def settled() -> bool:
            pods, serving = self.watching.alive(), self.watching.serving()
            spot = [pod for pod in pods if pod.capacity == "spot"]
            return (
                len(pods) == len(serving) == replicas
                and (not on_spot or len(spot) == replicas - 1)
                and all(pod.ready and pod.revision == revision for pod in pods)
            )

        self.watching.until(f"{replicas} replicas in service", settled, seconds)

    def _revision(self) -> str | None:
        """The revision that the operator wants; None while it has not planned what is written."""
        found = self.watching.get(DEPLOYMENT)
        status = found.get("status", {})
        if status.get("observedGeneration") != found["metadata"]["generation"]:
            return None
        revision: str | None = status.get("revision")
        return revision

    def scale(self, replicas: int) -> float:
        """Write `spec.replicas`."""
        return self.patch_spec({"replicas": replicas})

    def patch_spec(self, spec: Mapping[str, Any]) -> float:
        """Change the deployment; the instant before."""
        return self.watching.patch(DEPLOYMENT, {"spec": spec})

    def spot(self) -> list[Pod]:
        """The spot workers that stay."""
        return [pod for pod in self.watching.staying() if pod.capacity == "spot"]

    def status(self) -> dict[str, Any]:
        """The deployment's status."""
        status: dict[str, Any] = self.watching.get(DEPLOYMENT).get("status", {})
        return status

    def lost(self) -> int:
        """What the operator has counted as lost."""
        return int(self.status().get("lostRequests", 0))

    def taint(self, node: str, key: str) -> float:
        """Taint a node; the instant before."""
        path = f"/api/v1/nodes/{node}"
        others = [taint for taint in self.watching.get(path)["spec"].get("taints", ()) if taint["key"] != key]
        return self.watching.patch(
            path, {"spec": {"taints": [*others, {"key": key, "effect": "NoSchedule"}]}}
        )

    def untaint(self, node: str) -> None:
        """Take all signals off a node."""
        path = f"/api/v1/nodes/{node}"
        taints = self.watching.get(path)["spec"].get("taints", ())
        left = [taint for taint in taints if taint["key"].startswith("node.kubernetes.io/")]
        self.watching.patch(path, {"spec": {"taints": left or None, "unschedulable": None}})

    def gpus(self, node: str) -> int:
        """The GPUs that a node offers."""
        return int(self.watching.get(f"/api/v1/nodes/{node}")["status"]["allocatable"]["nvidia.com/gpu"])

    def kill(self, node: str) -> float:
        """Take a node's power; the instant before."""
        self.scene.did(f"node kill {node}")
        before = time.time()
        act_on(node, NodeAct.KILL)
        return before

    def start(self, node: str) -> None:
        """Boot a node and take off what announced its end."""
        self.scene.did(f"node start {node}")
        act_on(node, NodeAct.START)
        self.untaint(node)

    def await_busy(self, pods: list[Pod]) -> None:
        """Wait until one of them has a long stream under way that began just now."""

        def busy() -> bool | None:
            return any(tokens in YOUNG for tokens in map(tokens_in_flight, pods)) or None

        eventually("a young stream on the node that goes", busy, seconds=120, every=0.2)

    def kill_the_operator(self) -> str:
        """SIGKILL the leading operator's container; says whose."""
        lease = self.scene.kube.get("lease", "-n", OPERATOR_NAMESPACE)["items"][0]
        leader = str(lease["spec"]["holderIdentity"])
        arguments = ("delete", "pod", leader, "--grace-period=0", "--force", "-n", OPERATOR_NAMESPACE)
        self.scene.kube.kubectl(*arguments)
        return f"{leader} killed"


def tokens_in_flight(pod: Pod) -> int:
    """The tokens so far of what a worker has in flight; none where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{pod.ip}:8001/state", timeout=5) as answer:
            return int(json.load(answer)["in_flight"]["tokens"])
    except OSError:
        return 0


def hog(node: str, gpus: int, name: str) -> dict[str, Any]:
    """A pod of somebody else that takes GPUs of a node."""
    container = {
        "name": "main",
        "image": PAUSE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "hog"}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "enableServiceLinks": False,
            "containers": [container],
        },
    }


def heal_nodes(scene: Scene, reserved: tuple[str, ...] = ()) -> None:
    """Boot what is dead, take signals off, and give each node the capacity type and zone of its making."""
    for node in scene.kube.get("nodes")["items"]:
        name = node["metadata"]["name"]
        if {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] != "True":
            act_on(name, NodeAct.START)
        for key in {taint["key"] for taint in node["spec"].get("taints", ())}:
            if not key.startswith("node.kubernetes.io/"):
                scene.kube.run("kubectl", "taint", "node", name, f"{key}-")
        scene.kube.run("kubectl", "uncordon", name)
        made = machine(name).labels
        kind = "reserved" if name in reserved else made[KARPENTER_CAPACITY_TYPE]
        labels = (f"{KARPENTER_CAPACITY_TYPE}={kind}", f"{ZONE}={made[ZONE]}")
        scene.kube.run("kubectl", "label", "node", name, *labels, "--overwrite")
        give_gpus(scene, name, machine(name).gpus)


def give_gpus(scene: Scene, node: str, count: int) -> None:
    """Let a node offer so many pretended GPUs, and say so in its labels."""
    patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(count)}]
    arguments = ("--subresource=status", "--type=json", "-p", json.dumps(patch))
    scene.kube.run("kubectl", "patch", "node", node, *arguments)
    scene.kube.run("kubectl", "label", "node", node, f"nvidia.com/gpu.count={count}", "--overwrite")


def act_on(node: str, act: NodeAct) -> None:
    """Kill a real node of the default cluster, or start it."""
    where = places(cluster.DEFAULT_NAMES[Flavour.NODES])
    with locked(where):
        record = cluster.existing(where)
        real.act_on_node(where, record, cluster.ready_programs(where, record), node, act)


def prepare_deployment(scene: Scene) -> None:
    """Install the operator away from what goes, and apply the quickstart with a fixed number of replicas."""
    kube = scene.kube
    label = KARPENTER_CAPACITY_TYPE.replace(".", r"\.")
    steps.install_the_chart(scene, "--set", f"nodeSelector.{label}=on-demand")
    if not kube.find("namespace", NAMESPACE):
        kube.run("kubectl", "create", "namespace", NAMESPACE)
    if not kube.find("pod", "hog-reserved"):
        kube.kubectl("create", "-f", "-", stdin=json.dumps(hog(RESERVED, 3, "hog-reserved")))
    quickstart = scene.checkout / "examples" / "quickstart.yaml"
    manifests = list(yaml.safe_load_all(quickstart.read_text()))
    manifests[-1]["spec"] |= {"autoscaling": {"mode": "Off"}, "replicas": 2, "capacity": CAPACITY_SPEC}
    manifests[-1]["spec"]["engine"]["maxNumSeqs"] = 8  # all clients on one replica wait for nobody
    kube.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))


@contextmanager
def stage(scene: Scene, **counts: int) -> Iterator[Stage]:
    """The deployment with two replicas in service and clients that ask without end."""
    heal_nodes(scene, reserved=(RESERVED,))
    try:
        prepare_deployment(scene)
        with Watching(scene.kube.kubeconfig) as watching:
            found = Stage(scene, watching, Requests())
            found.settle(2, on_spot=False)
            with clients_running(scene, {"kubernetes.io/hostname": SAFE}, **counts) as requests:
                found.requests = requests
                yield found
    finally:
        heal_nodes(scene)
