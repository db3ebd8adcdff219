"""One replica in two pods on two nodes: started as one, and drained as one when its second pod is deleted."""

from __future__ import annotations

import json
import time

from inferfleet.values.well_known import ZONE
from inferfleet_demo.kube import eventually
from inferfleet_demo.scene import NAMESPACE
from inferfleet_faults.requests import Asked
from inferfleet_faults.rows import Happened, Row, row
from inferfleet_faults.stage import (
    RESERVED,
    SPOT_NODES,
    Stage,
    give_gpus,
    heal_nodes,
    tokens_in_flight,
)
from inferfleet_faults.watching import PODS, Watching

TITLE = "second pod of a replica on two nodes (PP2) deleted"
NAME = "pair"
POOL = "l4-x1"
ONE_ZONE = "zone-b"
PODS_OF_ONE = 2
STREAM_TOKENS = 1_000
START_SECONDS = 300.0


def prove_pair(stage: Stage) -> Row:
    """Give two nodes of one zone one GPU each, start a replica that needs two, and delete its second pod."""
    scene = stage.scene
    stage.scale(0)
    for node in SPOT_NODES:
        give_gpus(scene, node, 1)
        scene.kube.run("kubectl", "label", "node", node, f"{ZONE}={ONE_ZONE}", "--overwrite")
    eventually("one GPU offered by each", lambda: set(map(stage.gpus, SPOT_NODES)) == {1} or None, seconds=60)
    scene.kube.kubectl("apply", "-f", "-", stdin=json.dumps(_deployment(stage)))
    with Watching(scene.kube.kubeconfig, NAME) as watching:
        watching.until("both pods Ready", lambda: _ready(watching) == PODS_OF_ONE, START_SECONDS)
        victims = sorted(watching.staying(), key=lambda pod: pod.name)
        url = f"http://{NAME}.{NAMESPACE}"
        stream = scene.traffic("stream", url=url, users=1, requests=1, max_tokens=STREAM_TOKENS)
        eventually(
            "the stream in flight", lambda: tokens_in_flight(victims[0]) or None, seconds=60, every=0.2
        )
        asked_at = time.time()
        at = watching.delete(f"{PODS}/{victims[-1].name}")
        watching.until("both gone", lambda: all(pod.gone_at for pod in victims), 180)
        watching.until("both replaced", lambda: _ready(watching) == PODS_OF_ONE, START_SECONDS)
        summary = stream.finish(seconds=60)
        result = "finished" if summary["finished"] == 1 else "lost"
        ended_at = asked_at + summary["longest_stream_seconds"]
        asked = [Asked("long", asked_at, ended_at, result, tuple(summary["failures"]))]
        gone = [f"{(pod.gone_at or at) - at:.0f}" for pod in victims]
        remark = f"its pods gone after {' and '.join(gone)} s"
        counted = scene.kube.get("infd", NAME)["status"].get("lostRequests", 0)
        done = row(TITLE, Happened(at, tuple(victims), PODS_OF_ONE, remark=remark), watching, asked, counted)
    scene.kube.kubectl("delete", "infd", NAME, "--timeout=180s")
    heal_nodes(scene, reserved=(RESERVED,))
    print(done, flush=True)
    return done


def _ready(watching: Watching) -> int:
    return sum(pod.ready for pod in watching.staying())


def _deployment(stage: Stage) -> dict[str, object]:
    """The quickstart's model in two pipeline stages, where a node has one GPU."""
    spec = dict(stage.scene.deployment()["spec"])
    changed = {
        # eager, vLLM 0.32 on CPUs never makes the buffers that a later pipeline stage receives into
        "engine": {**spec["engine"], "args": ["-cc.mode=1"]},
        "parallelism": {"tensor": 1, "pipeline": 2},
        "replicas": 1,
        "capacity": {"pools": [POOL], "spot": {"share": "100%"}},
    }
    metadata = {"name": NAME, "namespace": NAMESPACE}
    kind = {"apiVersion": "inferfleet.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": metadata}
    return {**kind, "spec": {**spec, **changed}}
