"""What is done to the deployment, one by one. Each fault leaves the nodes as it found them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from inferfleet_demo.scene import NAME
from inferfleet_faults.rows import Happened, Row, row
from inferfleet_faults.stage import SAFE, SPOT_NODES, Stage, hog
from inferfleet_faults.watching import PODS

KARPENTER, AZURE, GKE = (
    "karpenter.sh/disrupted",
    "remediator.kubernetes.azure.com/unschedulable",
    "cloud.google.com/impending-node-termination",
)
NOTICES = {KARPENTER: 120.0, AZURE: 30.0, GKE: 15.0}
"""The taints by which a spot node is announced to go, and the seconds that they leave."""

REPLACED_SECONDS = 180.0
DENIED_SECONDS = 600.0


@dataclass(frozen=True)
class Fault:
    """One thing that happens; `replicas` is how many must be in service before, and are again after.

    `on_spot` is True where all but one of them must be on spot.
    """

    title: str
    act: Callable[[Stage], Happened]
    replicas: int = 2
    replicas_after: int = 2
    way_back_seconds: float = 300.0
    on_spot: bool = True


def prove(stage: Stage, fault: Fault, *, way_back: bool = True) -> Row:
    """Let it happen under traffic, from a deployment in service to the same again; return what was seen.

    Without the `way_back` the row ends with its replacements in service.
    """
    print(f"\n{fault.title}", flush=True)
    stage.settle(fault.replicas, on_spot=fault.on_spot)
    counted, begin = stage.lost(), time.time()
    time.sleep(2.0)
    happened = fault.act(stage)
    gone = frozenset(pod.name for pod in happened.victims)
    watching = stage.watching
    watching.until(
        "endpoints without those that go", lambda: watching.without_since(happened.at, gone) is not None, 60
    )

    def replaced() -> bool:
        return sum(pod.ready_at is not None for pod in watching.new_since(happened.at)) >= happened.coming

    watching.until("the replacements Ready", replaced, REPLACED_SECONDS)
    if way_back:
        stage.settle(fault.replicas_after, fault.way_back_seconds, on_spot=fault.on_spot)
    asked = stage.requests.under_way(begin, time.time())
    done = row(fault.title, happened, watching, asked, stage.lost() - counted)
    print(done, flush=True)
    return done


def announced(key: str, stage: Stage, *, beside: Callable[[Stage], str] = lambda _: "") -> Happened:
    """Every spot node that has a worker is announced to go, and its power is cut when the notice is over.

    `beside` happens once the drain has begun.
    """
    victims, watching = stage.spot(), stage.watching
    names, nodes = frozenset(pod.name for pod in victims), sorted({str(pod.node) for pod in victims})
    stage.await_busy(victims)
    at = min([stage.taint(node, key) for node in nodes])
    watching.until("endpoints without them", lambda: watching.without_since(at, names) is not None, 60)
    remark = beside(stage) or (f"{len(nodes)} nodes" if len(nodes) > 1 else "")
    time.sleep(max(0.0, at + NOTICES[key] - time.time()))
    for node in nodes:
        stage.kill(node)
    for node in nodes:
        stage.start(node)
    return Happened(at, tuple(victims), len(victims), remark)


def unannounced(stage: Stage) -> Happened:
    """The power of the spot node is cut."""
    victim = stage.spot()[0]
    stage.await_busy([victim])
    at = stage.kill(str(victim.node))
    stage.watching.until("the dead worker out of the API", lambda: victim.gone_at is not None, 120)
    stage.start(str(victim.node))
    gone = f"its pod deleted after {(victim.gone_at or at) - at:.0f} s"
    return Happened(at, (victim,), 1, gone, abrupt=True)


def pod_deleted(stage: Stage) -> Happened:
    """Somebody deletes a worker's pod."""
    victim = stage.watching.staying()[0]
    stage.await_busy([victim])
    at = stage.watching.delete(f"{PODS}/{victim.name}")
    return Happened(at, (victim,), 1)


def node_drained(stage: Stage) -> Happened:
    """An administrator drains the node of the worker on stable capacity, and gives it back afterwards."""
    victim = next(pod for pod in stage.watching.staying() if pod.node != SAFE)
    node = str(victim.node)
    stage.await_busy([victim])
    at = stage.watching.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}})
    selector = f"--pod-selector=inferfleet.dev/deployment={NAME}"
    stage.scene.kube.kubectl("drain", node, "--delete-emptydir-data", selector, "--timeout=180s")
    drained = time.time() - at
    stage.untaint(node)
    return Happened(at, (victim,), 1, remark=f"kubectl drain returned after {drained:.0f} s", waiting=True)


def scaled_down(stage: Stage) -> Happened:
    """One replica fewer is wanted."""
    before = stage.watching.staying()
    stage.await_busy(before)
    at = stage.scale(len(before) - 1)
    stage.watching.until("one that leaves", lambda: any(pod.leaving for pod in before), 60)
    return Happened(at, tuple(pod for pod in before if pod.leaving), 0)


def rolled_out(stage: Stage) -> Happened:
    """The pod template changes: every replica is replaced."""
    before = stage.watching.staying()
    stage.await_busy(before)
    note = {"metadata": {"annotations": {"rolled-out-at": f"{time.time():.0f}"}}}
    at = stage.patch_spec({"podTemplate": note})
    watching, names = stage.watching, frozenset(pod.name for pod in before)
    watching.until("the old out of the endpoints", lambda: watching.without_since(at, names) is not None, 300)
    return Happened(at, tuple(before), len(before), waiting=True)


def spot_denied(seconds: float, stage: Stage) -> Happened:
    """Spot goes with 30 s of notice, and none is to be had: one node stays dead, the other is full."""
    victim = stage.spot()[0]
    stage.await_busy([victim])
    other = next(node for node in SPOT_NODES if node != victim.node)
    kube = stage.scene.kube
    kube.kubectl("create", "-f", "-", stdin=json.dumps(hog(other, 4, "hog-spot")))
    at = stage.taint(str(victim.node), AZURE)
    time.sleep(max(0.0, at + NOTICES[AZURE] - time.time()))
    stage.kill(str(victim.node))
    time.sleep(max(0.0, at + seconds - time.time()))
    kube.kubectl("delete", "pod", "hog-spot", "--grace-period=0", "--force")
    stage.start(str(victim.node))
    back = time.time()
    tried = len(stage.watching.new_since(at)) - 1
    stage.watching.until("on spot again", lambda: any(p.ready and not p.leaving for p in stage.spot()), 1_800)
    remark = f"spot tried {tried} times in vain; on spot again {time.time() - back:.0f} s after it was there"
    return Happened(at, (victim,), 1, remark=remark)


def _announced(title: str, key: str, replicas: int = 2) -> Fault:
    return Fault(title, partial(announced, key), replicas, replicas)


FAULTS: dict[str, Fault] = {
    # first, while no zone is avoided: after a loss all spot is in the other one
    "two-zones": _announced("spot of two zones announced 30 s ahead, then killed", AZURE, 3),
    "notice-120": _announced("spot node announced 120 s ahead, then killed", KARPENTER),
    "notice-30": _announced("spot node announced 30 s ahead, then killed", AZURE),
    "notice-15": _announced("spot node announced 15 s ahead, then killed", GKE),
    "no-notice": Fault("spot node killed without notice", unannounced),
    "pod-deleted": Fault("`kubectl delete pod`", pod_deleted, on_spot=False),
    "node-drained": Fault("`kubectl drain` of a node", node_drained, on_spot=False),
    "operator-killed": Fault(
        "the same 30 s, and the operator killed as the drain begins",
        partial(announced, AZURE, beside=Stage.kill_the_operator),
    ),
    "scale-down": Fault("scale-down by one", scaled_down, replicas=3, on_spot=False),
    "rollout": Fault("rollout of a new pod template", rolled_out, on_spot=False),
    "denied": Fault("spot denied for ten minutes", partial(spot_denied, DENIED_SECONDS)),
}
