"""Keeping a projected copy of one kind of object: list, watch, relist.

Raw JSON is turned into a small value on arrival and forgotten. What an informer passes on is never an event,
only the keys of those who should look again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Never, TypeVar

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from inferfleet.cluster.client import FORBIDDEN, GONE, NOT_FOUND, TRANSIENT, ApiFailure, ApiServer
from inferfleet.cluster.resources import Resource

log = logging.getLogger(__name__)

T = TypeVar("T")
Raw = Mapping[str, Any]
Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""

PAGE: Final = 500
# A view may lag for so long before nothing destructive is decided on it. Connected views are proven fresh by
# bookmarks, about one a minute.
STALE_AFTER_DISCONNECT_SECONDS: Final = 15.0
STALE_AFTER_SILENCE_SECONDS: Final = 120.0
# The server is asked to end a watch before its silence would mean a dead connection: Events come without
# bookmarks, so that nothing is heard where there are none.
WATCH_SECONDS: Final = 75.0
# How long until a kind that is not served is asked for again, and what says that it is not.
ABSENT_SECONDS: Final = 15.0
ABSENT: Final = frozenset({FORBIDDEN, NOT_FOUND})


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What to watch, and what to keep of it.

    `project` may answer None: the object is of no interest (any more). `concerns` names who must look again
    after a change from the old value to the new one (None where there is none). `group` names the set under
    which `View.of` finds the value. `namespace` limits the view to one. `dropped` is called with every value
    that goes. An `optional` kind may be unknown to the API server, or forbidden to us: its view is then
    empty, and asked for again from time to time.
    """

    resource: Resource
    project: Callable[[Raw], T | None]
    concerns: Callable[[T | None, T | None], Iterable[str]]
    label_selector: str = ""
    field_selector: str = ""
    group: Callable[[T], str] | None = None
    namespace: str | None = None
    dropped: Callable[[T], None] | None = None
    optional: bool = False

    @property
    def path(self) -> str:
        """The path of the collection."""
        return self.resource.path(self.namespace)


class View(Generic[T]):
    """The projected objects. Changed only by its informer and the answers to the operator's own writes."""

    def __init__(self, kind: Kind[T], wake: Callable[[str], None]) -> None:
        self.kind = kind
        self.items: dict[Key, T] = {}
        self.changes = 0
        self.synced = asyncio.Event()
        self.contact_at = time.monotonic()
        self.connected = False
        self._wake = wake
        self._versions: dict[Key, int] = {}
        self._groups: dict[str, dict[Key, T]] = defaultdict(dict)
        self._seen = 0

    @property
    def age_seconds(self) -> float:
        """Seconds since the API server last proved that the view is current."""
        return time.monotonic() - self.contact_at

    @property
    def problem(self) -> str | None:
        """Why nothing destructive may be decided on this view; None when it may."""
        if not self.synced.is_set():
            return f"{self.kind.resource.plural} have not been listed yet"
        limit = STALE_AFTER_SILENCE_SECONDS if self.connected else STALE_AFTER_DISCONNECT_SECONDS
        if self.age_seconds > limit:
            return f"no news of {self.kind.resource.plural} for {self.age_seconds:.0f} s"
        return None

    def of(self, group: str) -> tuple[T, ...]:
        """The values of one group."""
        return tuple(self._groups[group].values()) if group in self._groups else ()

    def store(self, raw: Raw) -> None:
        """Take over an object from the list or the watch, unless a newer one is here already."""
        version = _version(raw)
        self._seen = max(self._seen, version)
        if version >= self._versions.get(_key(raw), 0):
            self._set(raw, version)

    def fold(self, raw: Raw) -> None:
        """Take over the API server's answer to a write, so that the next pass sees what this one did.

        An answer that the watch has overtaken is dropped: an object that is missing here although the watch
        has seen later changes was deleted meanwhile, and must not come back as a phantom.
        """
        key, version = _key(raw), _version(raw)
        known = self._versions.get(key)
        if version > self._seen if known is None else version > known:
            self._set(raw, version)

    def remove(self, raw: Raw) -> None:
        """Drop an object that the watch reported deleted."""
        self._seen = max(self._seen, _version(raw))
        self._drop(_key(raw))

    def relist(self, objects: Sequence[Raw], version: int) -> None:
        """Take over a whole list, and drop what it no longer holds.

        What a write put here after the list was made is newer than the list, and stays.
        """
        listed = {_key(raw) for raw in objects}
        for raw in objects:
            self.store(raw)
        for key in [key for key, held in self._versions.items() if key not in listed and held <= version]:
            self._drop(key)
        self._seen = max(self._seen, version)
        self.touch()
        self.synced.set()

    def empty(self) -> None:
        """Drop everything: the API server does not serve this kind."""
        for key in list(self._versions):
            self._drop(key)
        self.touch()
        self.synced.set()

    def touch(self) -> None:
        """Note that the API server has just spoken."""
        self.contact_at = time.monotonic()
        self.connected = True

    def _set(self, raw: Raw, version: int) -> None:
        key, value = _key(raw), self.kind.project(raw)
        if value is None:
            self._drop(key)
            return
        before = self.items.get(key)
        self._versions[key] = version
        if before != value:
            self._leave_group(key, before)
            self.items[key] = value
            if self.kind.group:
                self._groups[self.kind.group(value)][key] = value
            self._tell(before, value)

    def _drop(self, key: Key) -> None:
        self._versions.pop(key, None)
        before = self.items.pop(key, None)
        if before is not None:
            self._leave_group(key, before)
            if self.kind.dropped:
                self.kind.dropped(before)
            self._tell(before, None)

    def _leave_group(self, key: Key, value: T | None) -> None:
        if self.kind.group is None or value is None:
            return
        name = self.kind.group(value)
        self._groups[name].pop(key, None)
        if not self._groups[name]:
            del self._groups[name]

    def _tell(self, before: T | None, after: T | None) -> None:
        self.changes += 1
        for concerned in self.kind.concerns(before, after):
            self._wake(concerned)


class Informer(Generic[T]):
    """Keeps a `View` current for as long as `run` runs."""

    def __init__(
        self,
        api: ApiServer,
        kind: Kind[T],
        wake: Callable[[str], None],
        *,
        backoff: wait_random_exponential | None = None,
        absent_seconds: float = ABSENT_SECONDS,
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self.view = View(kind, wake)
        self._api = api
        self._kind = kind
        self._version: str | None = None
        self._backoff = backoff or wait_random_exponential(multiplier=0.2, max=15)
        self._absent_seconds = absent_seconds
        self._watch_seconds = watch_seconds

    async def run(self) -> Never:
        """List, then watch forever; failures are retried with jitter, a lost place in history by listing."""
        while True:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type((ApiFailure, *TRANSIENT)),
                wait=self._backoff,
                before_sleep=self._report,
            ):
                with attempt:
                    await self._follow()

    async def _follow(self) -> None:
        """List if need be, then watch until the server ends the watch; raises whatever went wrong."""
        try:
            if self._version is None:
                self._version = await self._list()
            await self._watch(self._version)
        except ApiFailure as failure:
            if failure.status == GONE:
                self._version = None
            if not self._kind.optional or failure.status not in ABSENT:
                raise
            self._version = None
            self.view.empty()
            await asyncio.sleep(self._absent_seconds)
        finally:
            self.view.connected = False

    async def _list(self) -> str:
        objects: list[Raw] = []
        query = {**self._selectors(), "limit": str(PAGE)}
        while True:
            page = await self._api.get(self._kind.path, query)
            objects += page["items"]
            more = page["metadata"].get("continue")
            if not more:
                break
            query["continue"] = more
        version: str = page["metadata"]["resourceVersion"]
        self.view.relist(objects, int(version))
        return version

    async def _watch(self, version: str) -> None:
        query = {
            **self._selectors(),
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": f"{self._watch_seconds:g}",
        }
        heard, due = False, time.monotonic() + 0.9 * self._watch_seconds
        try:
            async for line in self._api.watch(self._kind.path, query, opened=self.view.touch):
                self._take(json.loads(line))
                heard = True
        except TRANSIENT:
            if not heard:
                raise
        if not heard and time.monotonic() < due:
            raise aiohttp.ClientPayloadError("the watch ended before it said anything")

    def _take(self, event: Raw) -> None:
        kind, raw = event["type"], event["object"]
        if kind == "ERROR":
            raise ApiFailure(raw.get("code", 0), raw.get("reason", ""), raw.get("message", ""))
        self._version = raw["metadata"]["resourceVersion"]
        self.view.touch()
        if kind == "DELETED":
            self.view.remove(raw)
        elif kind in {"ADDED", "MODIFIED"}:
            self.view.store(raw)

    def _selectors(self) -> dict[str, str]:
        selectors = {"labelSelector": self._kind.label_selector, "fieldSelector": self._kind.field_selector}
        return {name: selector for name, selector in selectors.items() if selector}

    def _report(self, state: RetryCallState) -> None:
        cause = state.outcome.exception() if state.outcome else None
        level = logging.WARNING if state.attempt_number > 1 else logging.DEBUG
        log.log(level, "watch of %s: %s; once more", self._kind.resource.plural, cause or "ended")


def _key(raw: Raw) -> Key:
    metadata = raw["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _version(raw: Raw) -> int:
    return int(raw["metadata"]["resourceVersion"])
