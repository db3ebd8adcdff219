"""The steps in the order in which a newcomer sees them.

Each acts, prints what it saw, and fails if what it claims is not true.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inferfleet_demo.kube import eventually
from inferfleet_demo.load import Load
from inferfleet_demo.scene import (
    CAPACITY_LABEL,
    INTERRUPTED,
    NAME,
    NAMESPACE,
    OPERATOR_NAMESPACE,
    WORKER_LABELS,
    Scene,
    instant,
)
from inferfleet_local.image import IMAGES
from inferfleet_local.images import image_key

ANSWER_TOKENS = 600
LONG_STREAM_TOKENS = 8_000
MOST_REPLICAS = 3
NOTICE_SECONDS = 120
TAINT = f"{INTERRUPTED}:NoSchedule"


def install_the_chart(scene: Scene, *options: str) -> None:
    """Install the operator with Helm: two replicas, one of them leads."""
    chart = scene.checkout / "charts" / "inferfleet"
    command = (
        *("helm", "upgrade", "--install", "inferfleet", str(chart)),
        *("--namespace", OPERATOR_NAMESPACE, "--create-namespace"),
        *("--set", "image.repository=inferfleet/operator", "--set", "image.tag=dev"),
        # the tag stays the same when the checkout changes, so this is what rolls the pods
        *("--set-string", f"podAnnotations.built-from={image_key(IMAGES['operator'], scene.checkout)}"),
        *options,
        *("--wait", "--timeout", "3m"),
    )
    scene.did(" ".join(command).replace(str(chart), "charts/inferfleet"))
    began = time.monotonic()
    scene.kube.run(*command)
    scene.measured["chart installed"] = time.monotonic() - began
    deployment = scene.kube.get("deployment", "inferfleet", "-n", OPERATOR_NAMESPACE)
    ready = deployment["status"].get("readyReplicas", 0)
    scene.expect(ready == deployment["spec"]["replicas"], "every operator replica ready", ready)
    lease = scene.kube.get("lease", "-n", OPERATOR_NAMESPACE)["items"]
    scene.saw(f"{ready} replicas ready, {[one['spec'].get('holderIdentity') for one in lease]} leads")


def show_the_pools(scene: Scene) -> None:
    """Show which GPUs there are, found from node labels alone."""
    scene.did("inferfleet pools")
    pools = scene.kube.run(str(Path(sys.executable).with_name("inferfleet")), "pools")
    scene.saw(pools)
    scene.expect("L4" in pools, "a pool of L4 GPUs", pools)


def apply_the_quickstart(scene: Scene) -> None:
    """Apply one file: a volume, a job that makes a tiny model in it, and the InferenceDeployment."""
    if not scene.kube.find("namespace", NAMESPACE):
        scene.kube.run("kubectl", "create", "namespace", NAMESPACE)
    scene.applied_at = time.time()
    scene.show("apply", "-f", str(scene.checkout / "examples" / "quickstart.yaml"))


def show_the_plan(scene: Scene) -> None:
    """Show the plan and why, from the model's own config.json."""
    plan = eventually("a plan in status", lambda: scene.status().get("plan"), seconds=240, saw=scene.summary)
    scene.measured["apply to plan"] = time.time() - scene.applied_at
    scene.saw(f"plan: {plan['summary']} on pool {plan['pool']}: {plan['why']}")
    scene.saw(f"predicted: {json.dumps(plan['predicted'])}; KV cache {plan['kvCacheTokens']:,} tokens")
    for loser in scene.status().get("rejected", ()):
        scene.saw(f"rejected: {loser['candidate']}: {loser['reason']}: {loser.get('message', '')}")
    scene.expect(plan["gpusPerReplica"] == 1, "a tiny model on one GPU", plan["summary"])


def await_ready(scene: Scene) -> None:
    """Wait until the first worker is Ready and the deployment says so."""
    scene.await_workers(1, seconds=300)

    def ready_condition() -> str | None:
        conditions = scene.status().get("conditions", ())
        return next(
            (c["message"] for c in conditions if c["type"] == "Ready" and c["status"] == "True"), None
        )

    message = eventually("condition Ready", ready_condition, seconds=30, saw=scene.summary)
    scene.measured["apply to Ready"] = time.time() - scene.applied_at
    scene.saw(f"Ready: {message}")
    scene.show("get", "infd")


def ask_a_question(scene: Scene) -> None:
    """Get a chat completion through the Service."""
    summary = scene.traffic("question", users=1, requests=1, max_tokens=400).finish(seconds=120)
    scene.expect(summary["finished"] == 1 and not summary["failed"], "one whole answer", summary)
    scene.saw(f"{summary['tokens']} tokens in {summary['longest_stream_seconds']:.1f} s")


def scale_up_under_load(scene: Scene) -> None:
    """Make a queue, and see one replica become three."""
    began = time.time()
    load = scene.traffic("load", users=12, max_tokens=ANSWER_TOKENS)

    def new_worker() -> float | None:
        created = sorted(instant(pod["metadata"]["creationTimestamp"]) for pod in scene.workers())
        return created[1] if len(created) > 1 else None

    # creation timestamps are whole seconds, rounded down: at worst 1 s too early
    asked = eventually("a second worker asked for", new_worker, seconds=60, every=0.5, saw=scene.summary)
    scene.measured["load to new replica asked for"] = max(0.0, asked - began)
    scaling = scene.status()["scaling"]
    scene.saw(f"{scaling['reason']}: {scaling['message']}")
    scene.await_workers(MOST_REPLICAS, seconds=420)
    scene.measured["load to three replicas Ready"] = time.time() - began
    scene.show("get", "infd")
    scene.show("get", "pods", "-o", "wide", "-L", CAPACITY_LABEL)
    summary = load.stop()
    scene.expect(not summary["failed"] and summary["finished"], "no request lost while scaling up", summary)
    scene.saw(f"{summary['finished']} requests, {summary['failed']} failed")


def scale_down_when_idle(scene: Scene) -> None:
    """Go back to one replica while one long stream after the other runs on."""
    before = {pod["metadata"]["name"] for pod in scene.workers()}
    began = time.time()
    stream = scene.traffic("stream", users=1, max_tokens=LONG_STREAM_TOKENS)
    eventually("one replica wanted", lambda: scene.status()["desiredReplicas"] == 1 or None, seconds=240)
    scene.measured["load gone to one replica wanted"] = time.time() - began
    left = scene.await_workers(1, seconds=240)
    scene.measured["load gone to one replica left"] = time.time() - began
    scene.expect(
        left[0]["metadata"]["name"] in before, "one of the three to stay", left[0]["metadata"]["name"]
    )
    running = stream.tally()
    scene.expect(running["started"] > running["finished"], "a stream still running by then", running)
    summary = stream.stop()
    scene.expect(summary["finished"] >= 1 and not summary["failed"], "every stream unharmed", summary)
    scene.saw(
        f"{summary['finished']} streams of {LONG_STREAM_TOKENS} tokens, {summary['failed']} failed;"
        f" longest gap {summary['longest_gap_seconds']:.2f} s"
    )
    scene.saw(scene.status()["scaling"]["message"])
    scene.show("get", "infd")


def interrupt_the_spot_node(scene: Scene) -> None:
    """Take the spot node away under load: replacement first, nothing lost."""
    load = scene.traffic("steady", users=8, max_tokens=ANSWER_TOKENS)
    spot = eventually("a spot worker in service", lambda: spot_worker(scene), seconds=420, saw=scene.summary)
    streams = scene.traffic("streams", users=4, max_tokens=stream_tokens(load))
    name, node = spot["metadata"]["name"], spot["spec"]["nodeName"]
    eventually(f"requests in flight on {name}", lambda: in_flight(scene, name) or None, seconds=60)
    flying = in_flight(scene, name)
    before = {pod["metadata"]["name"] for pod in scene.workers()}

    scene.did(f"kubectl taint node {node} {TAINT}  # with {flying} requests in flight there")
    tainted = time.time()
    scene.kube.kubectl("taint", "node", node, TAINT)
    eventually("endpoints without it", lambda: name not in scene.endpoints() or None, seconds=30, every=0.1)
    scene.measured["taint to endpoints updated"] = time.time() - tainted
    scene.expect(pod_exists(scene, name), "the worker still there to finish its streams", "gone")

    replacement = eventually(
        "a replacement asked for",
        lambda: next((pod for pod in scene.workers() if pod["metadata"]["name"] not in before), None),
        seconds=30,
        every=0.2,
        saw=scene.summary,
    )
    asked = instant(replacement["metadata"]["creationTimestamp"])
    scene.saw(f"replacement {replacement['metadata']['name']} asked for, {name} draining")
    # every worker there, for the machine is killed next and another one may have the longer streams
    eventually(f"{node} drained", lambda: not workers_on(scene, node) or None, seconds=NOTICE_SECONDS)
    drained = time.time()
    scene.expect(asked <= drained, "replacement before removal", (asked, drained))
    scene.measured["taint to node drained"] = drained - tainted
    take_the_node_away(scene, node)
    eventually(
        "the replacement in service",
        lambda: replacement["metadata"]["name"] in scene.endpoints() or None,
        seconds=300,
        saw=scene.summary,
    )
    scene.measured["taint to replacement in service"] = time.time() - tainted
    for traffic in (streams, load):
        summary = traffic.stop()
        scene.saw(f"{traffic.name}: {summary['finished']} requests finished, {summary['failed']} failed")
        scene.expect(not summary["failed"] and summary["finished"], "no request lost", summary)
    lost = scene.status().get("lostRequests", 0)
    scene.expect(lost == 0, "no lost request counted by the operator", lost)
    scene.show("get", "infd")


def stream_tokens(load: Load) -> int:
    """Return the tokens of a stream that a third of the notice is enough for, at the worst pace of this load.

    What the notice gives no time to finish is not promised, and machines differ.
    """
    slowest = eventually(
        "a whole answer", lambda: load.tally()["longest_stream_seconds"] or None, seconds=120
    )
    return min(LONG_STREAM_TOKENS // 2, max(ANSWER_TOKENS, int(ANSWER_TOKENS * NOTICE_SECONDS / 3 / slowest)))


def take_the_node_away(scene: Scene, node: str) -> None:
    """Kill the machine where it is ours to kill; the traffic must not notice."""
    if not scene.may_kill:
        scene.saw(f"{node} stays, tainted: it is not a machine of ours to kill")
        return
    command = (sys.executable, "-m", "inferfleet_local", "node", "kill", node)
    scene.did(" ".join(("python", *command[1:])))
    scene.kube.run(*command)


def workers_on(scene: Scene, node: str) -> list[str]:
    """Return the names of the workers on a node, those on their way out included."""
    pods = scene.kube.get("pods", "-l", WORKER_LABELS, "--field-selector", f"spec.nodeName={node}")["items"]
    return [pod["metadata"]["name"] for pod in pods]


def spot_worker(scene: Scene) -> dict[str, Any] | None:
    """Return a worker in service on spot."""
    serving = scene.endpoints()
    for pod in scene.ready_workers():
        if pod["metadata"]["labels"].get(CAPACITY_LABEL) == "spot" and pod["metadata"]["name"] in serving:
            return pod
    return None


def in_flight(scene: Scene, pod: str) -> int:
    """Return how many requests a worker holds, as its own side port says."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8001/proxy/state"
    return int(json.loads(scene.kube.kubectl("get", "--raw", path))["in_flight"]["requests"])


def pod_exists(scene: Scene, name: str) -> bool:
    """Return whether a pod is there, terminating or not."""
    return scene.kube.find("pod", name) is not None


def describe_it(scene: Scene) -> None:
    """Read everything with kubectl describe."""
    scene.show("describe", "infd", NAME)
    scene.show("get", "events", "--field-selector", f"involvedObject.name={NAME}", "--sort-by=.lastTimestamp")


STEPS: tuple[tuple[str, Callable[[Scene], None]], ...] = (
    ("install the operator with its chart", install_the_chart),
    ("see the GPU pools", show_the_pools),
    ("apply the quickstart", apply_the_quickstart),
    ("see the plan and why", show_the_plan),
    ("wait until it is Ready", await_ready),
    ("ask for a chat completion through the Service", ask_a_question),
    ("load makes a queue: one replica becomes three", scale_up_under_load),
    ("load gone: back to one, a running stream unharmed", scale_down_when_idle),
    ("the spot node is interrupted under load: nothing is lost", interrupt_the_spot_node),
    ("read it all with kubectl describe", describe_it),
)
