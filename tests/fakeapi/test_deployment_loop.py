"""One deployment's loop against the fake API server: how soon a signal becomes writes, whoever is deaf."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from fake_api import FakeApi

from inferfleet.cluster.client import ApiServer
from inferfleet.cluster.events import EventWriter
from inferfleet.cluster.fence import FencedApi
from inferfleet.shell.deployment import DeploymentLoop, Surroundings
from inferfleet.shell.signals import Signals
from inferfleet.shell.views import Views, Wakes
from inferfleet.telemetry.listen import Listener
from inferfleet.telemetry.metrics import Metrics
from inferfleet.telemetry.workers import WorkerClient
from inferfleet.values import AnnounceDrain, EngineSample, labels

DEPLOYMENTS, NODES, PODS = (
    "/apis/inferfleet.dev/v1alpha1/inferencedeployments",
    "/api/v1/nodes",
    "/api/v1/pods",
)
NODE_CLAIMS, POOLS = "/apis/karpenter.sh/v1/nodeclaims", "/apis/karpenter.sh/v1/nodepools"
UID = "uid-chat"
SPOT_TAINT = {"key": "aws-node-termination-handler/spot-itn", "effect": "NoSchedule"}


class Leader:
    holds = True


class Deaf(WorkerClient):
    """Workers that never answer a drain."""

    async def announce(self, action: AnnounceDrain, token: str = "") -> None:
        del action, token
        await asyncio.Event().wait()


class Silent:
    """No worker is heard."""

    def samples(self, deployment: str) -> tuple[EngineSample, ...]:
        del deployment
        return ()


def node(name: str, capacity_type: str, *taints: dict[str, str]) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "nvidia.com/gpu.product": "NVIDIA-L4",
                "nvidia.com/gpu.memory": "23034",
                "nvidia.com/gpu.count": "4",
                "karpenter.sh/capacity-type": capacity_type,
                "topology.kubernetes.io/zone": f"zone-{name}",
            },
        },
        "spec": {"taints": list(taints)},
        "status": {
            "allocatable": {"nvidia.com/gpu": "4"},
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    }


DEPLOYMENT = {
    "apiVersion": "inferfleet.dev/v1alpha1",
    "kind": "InferenceDeployment",
    "metadata": {"name": "chat", "namespace": "ns", "uid": UID, "generation": 1},
    "spec": {
        "model": {"id": "qwen/qwen2.5-0.5b-instruct", "contextLength": 2048},
        "autoscaling": {"mode": "Off"},
        "replicas": 3,
        "capacity": {"spot": {"share": "100%"}, "onDemand": {"base": 1}},
    },
}


def pods(fake: FakeApi) -> dict[str, dict[str, Any]]:
    return {name: raw for (where, _, name), raw in fake.objects.items() if where == PODS}


def gate(raw: dict[str, Any]) -> str | None:
    found = {c["type"]: c["status"] for c in raw.get("status", {}).get("conditions", ())}
    return found.get(labels.SERVING_GATE)


async def serve(fake: FakeApi, raw: dict[str, Any], on: str) -> None:
    """What scheduler and kubelet do for a pod whose engine answers."""
    conditions = [
        {"type": labels.SERVING_GATE, "status": gate(raw) or "Unknown"},
        {"type": "ContainersReady", "status": "True"},
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]
    status = {"phase": "Running", "podIP": "10.0.0.9", "conditions": conditions}
    await fake.put(PODS, {**raw, "spec": {**raw["spec"], "nodeName": on}, "status": status})


async def eventually(holds: Callable[[], Any], seconds: float = 20.0) -> float:
    """How long it took until it held."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds
        await asyncio.sleep(0.005)
    return time.monotonic() - began


@asynccontextmanager
async def running(fake: FakeApi, api: ApiServer) -> AsyncIterator[asyncio.Task[None]]:
    fake.unserved |= {NODE_CLAIMS, POOLS}
    for raw in (node("od", "on-demand"), node("spot-a", "spot"), node("spot-b", "spot")):
        await fake.put(NODES, raw)
    await fake.put(DEPLOYMENTS, DEPLOYMENT)
    wakes, fenced = Wakes(), FencedApi(api, Leader())
    views = Views(api, wakes)
    signals = Signals(Silent(), Listener(WorkerClient().news, views.targets), None)  # is never run here
    surroundings = Surroundings(
        fenced, views, wakes, signals, Deaf(), EventWriter(fenced, "test"), Metrics(), "operator:test"
    )
    stop = asyncio.Event()
    watching = asyncio.create_task(views.run())
    await views.synced()
    loop = asyncio.create_task(DeploymentLoop(surroundings, "ns/chat", UID).run(stop))
    try:
        yield loop
    finally:
        stop.set()
        wakes.wake("ns/chat")
        await asyncio.wait([loop], timeout=10)
        watching.cancel()
        await asyncio.wait([watching])


async def three_in_service(fake: FakeApi) -> dict[str, str]:
    """Three serving replicas; the node of each."""
    await eventually(lambda: len(pods(fake)) == 3)
    homes = {}
    for (name, raw), home in zip(sorted(pods(fake).items()), ("od", "spot-a", "spot-b"), strict=True):
        homes[name] = home
        await serve(fake, raw, home)
    await eventually(lambda: all(gate(raw) == "True" for raw in pods(fake).values()))
    return homes


def on(homes: dict[str, str], home: str) -> str:
    return next(name for name, where in homes.items() if where == home)


async def test_a_signal_is_answered_at_once_although_a_worker_is_deaf_to_the_one_before(
    fake: FakeApi, api: ApiServer
) -> None:
    async with running(fake, api):
        homes = await three_in_service(fake)
        took = []
        for home in ("spot-a", "spot-b"):
            known = set(pods(fake))
            await fake.put(NODES, node(home, "spot", SPOT_TAINT))
            leaving = on(homes, home)
            out: Iterable[float] = [
                await eventually(lambda before=known: set(pods(fake)) - before),
                await eventually(lambda name=leaving: gate(pods(fake)[name]) == "False"),
            ]
            took.append(sum(out))
        assert max(took) < 1.0, took


async def test_nothing_is_written_into_a_namespace_that_goes_and_its_deployment_goes_with_its_last_pod(
    fake: FakeApi, api: ApiServer
):
    async with running(fake, api) as loop:
        await eventually(lambda: len(pods(fake)) == 3)
        going = {"metadata": {"name": "ns", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
        await fake.put("/api/v1/namespaces", going)
        await asyncio.wait_for(loop, 10)
        assert pods(fake) == {}
        assert fake.requests.count(("POST", "/api/v1/namespaces/ns/pods")) == 3
        assert "NotServing" not in {raw.get("reason") for raw in fake.objects.values()}
