"""What the API server tells, with the instant at which it arrived here: endpoints and pods, by watch."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from inferfleet.cluster.client import ApiServer, load_configuration
from inferfleet_demo.kube import StepFailedError
from inferfleet_demo.scene import CAPACITY_LABEL, NAME, NAMESPACE

Answer = TypeVar("Answer")
Raw = Mapping[str, Any]

GOODBYE_SECONDS = 1.0
"""TLS connections that were cut off close in the background; a loop that ends before leaves sockets open."""

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"


@dataclass
class Pod:
    """One worker pod as far as it was seen; instants are of arrival, None for what has not come yet."""

    name: str
    worker: str
    capacity: str
    revision: str
    seen_at: float
    node: str | None = None
    ip: str | None = None
    ready_at: float | None = None
    ready: bool = False
    serving: bool = False
    leaving: bool = False
    gone_at: float | None = None


@dataclass
class Watching:
    """Follows the workers of a deployment and the endpoints of its Service, in a thread of its own.

    `pods` is by UID, so that two pods of one name are two. `endpoints` holds every change of the set of pods
    that new connections are sent to.
    """

    kubeconfig: str
    name: str = NAME
    pods: dict[str, Pod] = field(default_factory=dict)
    endpoints: list[tuple[float, frozenset[str]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._slices: dict[str, frozenset[str]] = {}
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.call(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._following:
            self._loop.call_soon_threadsafe(task.cancel)
        self.call(asyncio.wait(self._following))
        self.call(self._api.close())
        self.call(asyncio.sleep(GOODBYE_SECONDS))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, awaitable: Awaitable[Answer]) -> Answer:
        """Run something in the thread of the watches, and wait for it."""

        async def run() -> Answer:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=60)

    def patch(self, path: str, body: Raw) -> float:
        """Patch an object; the instant before the request left, so that what follows is timed from there."""
        before = time.time()
        self.call(self._api.patch(path, body))
        return before

    def delete(self, path: str) -> float:
        """Delete an object; the instant before the request left."""
        before = time.time()
        self.call(self._api.delete(path))
        return before

    def get(self, path: str) -> dict[str, Any]:
        """Read an object."""
        return self.call(self._api.get(path))

    def until(self, what: str, true: Callable[[], bool], seconds: float) -> None:
        """Wait, woken by each change, until something is true.

        Raises:
            StepFailedError: when it is not within `seconds`.
        """
        with self._changed:
            if not self._changed.wait_for(true, seconds):
                raise StepFailedError(f"not seen within {seconds:.0f} s: {what}; saw: {self.now_there()}")

    def alive(self) -> list[Pod]:
        """The pods that are there."""
        return [pod for pod in self.pods.values() if pod.gone_at is None]

    def staying(self) -> list[Pod]:
        """The pods that are there and not on their way out."""
        return [pod for pod in self.alive() if not pod.leaving]

    def serving(self) -> list[Pod]:
        """The pods that the endpoints hold and that are not on their way out."""
        ready = self.endpoints[-1][1] if self.endpoints else frozenset[str]()
        return [pod for pod in self.staying() if pod.name in ready]

    def new_since(self, instant: float) -> list[Pod]:
        """The pods first seen after an instant, in that order."""
        return sorted((p for p in self.pods.values() if p.seen_at > instant), key=lambda pod: pod.seen_at)

    def without_since(self, instant: float, names: frozenset[str]) -> float | None:
        """When, after an instant, the endpoints first held none of these pods; None if they still do."""
        return next((at for at, ready in self.endpoints if at > instant and not ready & names), None)

    def now_there(self) -> str:
        """The pods in a line, for a wait that was in vain."""
        return "; ".join(
            f"{p.name} {p.capacity} on {p.node}{' ready' * p.ready}{' leaving' * p.leaving}"
            for p in self.alive()
        )

    async def _open(self) -> None:
        self._api = ApiServer(await load_configuration(self.kubeconfig))
        workers = f"inferfleet.dev/deployment={self.name},inferfleet.dev/worker"
        self._following = [
            asyncio.create_task(self._follow(PODS, workers, self._take_pod)),
            asyncio.create_task(
                self._follow(SLICES, f"kubernetes.io/service-name={self.name}", self._take_slice)
            ),
        ]

    async def _follow(self, path: str, selector: str, take: Callable[[str, Raw, float], None]) -> None:
        """List once, then watch; a watch that the server ends is taken up where it was."""
        query = {"labelSelector": selector}
        listed = await self._api.get(path, query)
        for item in listed["items"]:
            take("ADDED", item, time.time())
        version = listed["metadata"]["resourceVersion"]
        while True:
            wanted = {**query, "resourceVersion": version, "allowWatchBookmarks": "true"}
            async for line in self._api.watch(path, wanted):
                at, event = time.time(), json.loads(line)
                if event["type"] == "ERROR":
                    raise StepFailedError(f"the watch of {path} broke: {event['object']}")
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    with self._changed:
                        take(event["type"], event["object"], at)
                        self._changed.notify_all()

    def _take_pod(self, kind: str, raw: Raw, at: float) -> None:
        metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status", {})
        labels, notes = metadata["labels"], metadata.get("annotations", {})
        pod = self.pods.setdefault(
            metadata["uid"],
            Pod(
                metadata["name"],
                labels["inferfleet.dev/worker"],
                labels.get(CAPACITY_LABEL, ""),
                labels["inferfleet.dev/revision"],
                at,
            ),
        )
        holds = {c["type"] for c in status.get("conditions", ()) if c["status"] == "True"}
        pod.node, pod.ip = spec.get("nodeName"), status.get("podIP", pod.ip)
        pod.ready, pod.serving = "Ready" in holds, "inferfleet.dev/serving" in holds
        pod.leaving = "deletionTimestamp" in metadata or "inferfleet.dev/drain" in notes
        if pod.ready and pod.ready_at is None:
            pod.ready_at = at
        if kind == "DELETED":
            pod.gone_at = at

    def _take_slice(self, kind: str, raw: Raw, at: float) -> None:
        ready = {
            endpoint["targetRef"]["name"]
            for endpoint in raw.get("endpoints") or ()
            if endpoint["conditions"].get("ready")
        }
        self._slices[raw["metadata"]["name"]] = frozenset(ready) if kind != "DELETED" else frozenset()
        whole = frozenset[str]().union(*self._slices.values())
        if not self.endpoints or self.endpoints[-1][1] != whole:
            self.endpoints.append((at, whole))
