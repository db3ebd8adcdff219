"""Pods whose engine is a process of llm-d's engine simulator, and the kubelet that they then need.

Each pod has an address of its own, out of the range that is set aside for benchmarks (RFC 2544) and is local
while `addresses` lasts. The simulator listens on every address of the machine, so each has its own port, to
which the kernel leads port 8000 of its pod. The side port is the worker's own code, under the launch plan of
the pod. Only the gate is not: the simulator takes no middleware, so whoever sends a request counts it.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

from inferfleet.cluster.client import STRATEGIC_PATCH, TRANSIENT, ApiFailure, ApiServer
from inferfleet.cluster.informer import Informer, Kind
from inferfleet.cluster.resources import PODS
from inferfleet.values import labels
from inferfleet_wire import (
    ENGINE_PORT,
    ENV_LAUNCH,
    SIDE_PORT,
    STATE_PATH,
    InFlight,
    LaunchPlan,
    LostCause,
    Phase,
)
from inferfleet_worker.accounts import Totals
from inferfleet_worker.course import Step
from inferfleet_worker.notices import Watch
from inferfleet_worker.side import side_app
from inferfleet_worker.worker import Worker

RANGE = "198.18.0.0/16"
TABLE = "inferfleet-hollow"
FIRST_PORT = 20000
MOST = 1000
TICK_SECONDS = 1.0
# What the simulator knows of an engine's arguments; the others are the GPUs' business.
KNOWN = frozenset(
    {
        "--served-model-name",
        "--max-model-len",
        "--max-num-seqs",
        "--time-to-first-token",
        "--inter-token-latency",
        "--startup-duration",
    }
)


def address(number: int) -> str:
    """The address of a pod."""
    return f"198.18.{number // 256}.{number % 256}"


@contextmanager
def addresses() -> Iterator[None]:
    """Make the range local, and lead every pod's engine port to its engine. Needs root.

    What a run that was killed has left is replaced.
    """
    pairs = ", ".join(f"{address(number)} : {FIRST_PORT + number}" for number in range(1, MOST + 1))
    rules = f"""
        table ip {TABLE}
        delete table ip {TABLE}
        table ip {TABLE} {{
            map engines {{ type ipv4_addr : inet_service; elements = {{ {pairs} }}; }}
            chain output {{
                type nat hook output priority -100
                ip daddr {RANGE} tcp dport {ENGINE_PORT} redirect to : ip daddr map @engines
            }}
        }}"""
    subprocess.run(["ip", "route", "replace", "local", RANGE, "dev", "lo"], check=True)
    try:
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        try:
            yield
        finally:
            subprocess.run(["nft", "delete", "table", "ip", TABLE], check=True)
    finally:
        subprocess.run(["ip", "route", "del", "local", RANGE, "dev", "lo"], check=True)


@dataclass
class Gate:
    """What the gate in an engine counts, and the phase that it is told: the worker reads it as its own."""

    accepted: int = 0
    lost: int = 0
    in_flight: int = 0
    phase: Phase = Phase.SERVING
    rides_until: float = 0.0

    @property
    def admits(self) -> bool:
        """Whether a new request is taken."""
        return self.phase in {Phase.SERVING, Phase.CLOSING}

    @contextmanager
    def passage(self) -> Iterator[None]:
        """One request, for as long as it is under way."""
        self.accepted += 1
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def read(self, _cause: object) -> Totals:
        """The counts, as from a ledger."""
        finished = self.accepted - self.in_flight - self.lost
        lost = {LostCause.ERROR.value: self.lost}
        return Totals(1, InFlight(self.in_flight), self.accepted, finished, 0, {}, lost)


@dataclass(frozen=True, slots=True)
class Pod:
    """A worker's pod that has a node, as far as its kubelet needs it."""

    name: str
    uid: str
    plan: LaunchPlan
    serving: bool
    leaving: bool

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self | None:
        """Project it; None before it is scheduled."""
        if not raw["spec"].get("nodeName"):
            return None
        said = {one["type"]: one["status"] for one in raw["status"].get("conditions", ())}
        env = {one["name"]: one.get("value", "") for one in raw["spec"]["containers"][0]["env"]}
        metadata = raw["metadata"]
        return cls(
            metadata["name"],
            metadata["uid"],
            LaunchPlan.from_json(env[ENV_LAUNCH]),
            said.get(labels.SERVING_GATE) == "True",
            "deletionTimestamp" in metadata,
        )


@dataclass
class Engine:
    """One simulator, the worker's side port beside it, and when the operator looked at that."""

    process: subprocess.Popen[bytes]
    worker: Worker
    gate: Gate
    looks: list[float] = field(default_factory=list)

    async def look(self, request: web.Request, _response: web.StreamResponse) -> None:
        """Note that the worker is looked at: asked for its state, not for news of it."""
        if request.path == STATE_PATH and not request.query:
            self.looks.append(time.time())


class Kubelet:
    """The kubelet of all nodes, for the workers of one namespace. `engines` is by address."""

    def __init__(self, api: ApiServer, namespace: str, program: Path, environment: Mapping[str, str]) -> None:
        self.engines: dict[str, Engine] = {}
        self.looks: list[list[float]] = []
        self._api = api
        self._namespace = namespace
        self._program = program
        self._environment = {**environment, "GOMAXPROCS": "1"}
        self._free = deque(range(1, MOST + 1))
        self._changed: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        kind = Kind(
            PODS,
            Pod.of,
            lambda before, after: [pod.name for pod in (after or before,) if pod],
            label_selector=labels.WORKER,
            namespace=namespace,
        )
        self._informer = Informer(api, kind, self._wake)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2))
        self._following = asyncio.create_task(self._informer.run())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        tasks = [self._following, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    def _wake(self, name: str) -> None:
        if name in self._tasks:
            self._changed[name].set()
        elif pod := self._now(name):
            self._changed[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._keep(pod))

    def _now(self, name: str) -> Pod | None:
        return self._informer.view.items.get((self._namespace, name))

    async def _keep(self, pod: Pod) -> None:
        """See a pod through until it is gone; another one of its name may stand there then."""
        try:
            await self._run(pod)
            while (now := self._now(pod.name)) and now.uid == pod.uid:
                self._changed[pod.name].clear()
                await self._changed[pod.name].wait()
        finally:
            del self._tasks[pod.name], self._changed[pod.name]
        self._wake(pod.name)

    async def _run(self, pod: Pod) -> None:
        """Start the engine, tell the API server how it does, and end it when the pod goes."""
        number = self._free.popleft()
        engine = self._start(pod, number)
        runner = web.AppRunner(app := side_app(engine.worker, self._changed[pod.name].set), access_log=None)
        app.on_response_prepare.append(engine.look)
        await runner.setup()
        try:
            await web.TCPSite(runner, address(number), SIDE_PORT).start()
            self.engines[address(number)] = engine
            self.looks.append(engine.looks)
            ip = address(number)
            await self._tell(pod, {"ContainersReady": False}, phase="Running", podIP=ip, podIPs=[{"ip": ip}])
            await self._tend(pod, engine, number)
        finally:
            engine.process.kill()
            engine.process.wait()
            self.engines.pop(address(number), None)
            await runner.cleanup()
            self._free.append(number)
        path = PODS.path(self._namespace, pod.name)
        await self._write(lambda: self._api.delete(path, uid=pod.uid, grace_seconds=0))

    def _start(self, pod: Pod, number: int) -> Engine:
        gate = Gate()
        worker = Worker(
            pod.plan,
            accounts=gate,
            control=gate,
            watch=Watch(time.time),
            instance=pod.uid,
            engine_version="",
            shutdown_seconds=pod.plan.shutdown_seconds,
            clock=time.time,
        )
        model, *words = pod.plan.command[2:]
        told = [
            part for pair in zip(words[::2], words[1::2], strict=True) if pair[0] in KNOWN for part in pair
        ]
        known = ["--model", model, "--port", str(FIRST_PORT + number), "--force-dummy-tokenizer", *told]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen([self._program, *known], env=self._environment, stdout=quiet, stderr=quiet)
        return Engine(process, worker, gate)

    async def _tend(self, pod: Pod, engine: Engine, number: int) -> None:
        """Probe and report until the engine has ended; the worker says when it is to be stopped."""
        told, leaving, changed = None, False, self._changed[pod.name]
        while engine.process.poll() is None:
            changed.clear()
            now = self._now(pod.name)
            if not now or now.uid != pod.uid:
                return
            if now.leaving and not leaving:
                leaving = True
                engine.worker.terminate()
            if engine.worker.advance().value >= Step.STOP.value:
                engine.process.terminate()
            if engine.worker.health_problem:
                engine.worker.report_health(await self._health_problem(FIRST_PORT + number))
            well = not engine.worker.state().not_ready_reason
            if told != (said := (well, well and now.serving)):
                told = said
                await self._tell(pod, dict(zip(("ContainersReady", "Ready"), said, strict=True)))
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), TICK_SECONDS)

    async def _health_problem(self, port: int) -> str:
        try:
            async with self._session.get(f"http://127.0.0.1:{port}/health/ready") as answer:
                return "" if answer.ok else f"the engine answers {answer.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"the engine does not answer: {type(error).__name__}"

    async def _tell(self, pod: Pod, truths: Mapping[str, bool], **status: Any) -> None:
        """Write conditions, and what else is told, to the pod's status."""
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        status["conditions"] = [
            {"type": name, "status": str(truth), "lastTransitionTime": now} for name, truth in truths.items()
        ]
        path = PODS.path(self._namespace, pod.name, "status")
        body = {"metadata": {"uid": pod.uid}, "status": status}
        await self._write(lambda: self._api.patch(path, body, kind=STRATEGIC_PATCH))

    async def _write(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write until it is done or the pod is another one by now: kubelets do not give up."""
        while True:
            try:
                await write()
            except ApiFailure as failure:
                if failure.moved_on:
                    return
            except TRANSIENT:
                pass
            else:
                return
            await asyncio.sleep(TICK_SECONDS)
