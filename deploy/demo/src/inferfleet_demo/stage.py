"""The cluster under the demo."""

from __future__ import annotations

import os
import time
from pathlib import Path

from inferfleet_demo.kube import Kube
from inferfleet_demo.scene import INTERRUPTED, NAMESPACE, Scene
from inferfleet_local import binaries, cluster, external_metrics
from inferfleet_local.source import Source

CHECKOUT = Path(__file__).parents[4]


def prepare(nodes: int | None = None, *, fresh: bool = True) -> Scene:
    """Return a scene on a cluster with real nodes and the checkout's images.

    `fresh` removes an old demo, and the metrics API of a live comparison that was killed.

    Raises:
        ClusterError: when the cluster cannot be had; the message says what is missing.
    """
    began = time.monotonic()
    found = cluster.resolve("nodes", nodes=nodes, images=cluster.IMAGES)
    ours = found.source is Source.BUILT
    programs = binaries.built(found.flavour, found.where.cache) if ours else None
    path = binaries.search_path(programs) if programs else os.environ["PATH"]
    scene = Scene(CHECKOUT, Kube(str(found.kubeconfig), NAMESPACE, path), may_kill=ours)
    scene.measured["cluster up"] = time.monotonic() - began
    if fresh:
        external_metrics.withdraw(found.kubectl)
        scene.kube.run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=5m")
    for node in scene.kube.get("nodes")["items"]:
        if any(taint["key"] == INTERRUPTED for taint in node["spec"].get("taints", ())):
            scene.kube.run("kubectl", "taint", "node", node["metadata"]["name"], f"{INTERRUPTED}-")
    scene.saw(
        scene.kube.run("kubectl", "get", "nodes", "-L", "karpenter.sh/capacity-type,nvidia.com/gpu.product")
    )
    return scene
