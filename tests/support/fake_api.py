"""A small API server for tests: real HTTP, real watches, only as much behaviour as the contract suite proves.

`tests/fakeapi/test_contract.py` runs the same expectations against this one and a real kube-apiserver.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Never

from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

SUBRESOURCES = {"status", "scale", "log"}
# Lists of an object that a strategic merge patch merges by key, as the real schema says of pods.
MERGE_KEYS = {"conditions": "type"}

Raw = dict[str, Any]
Address = tuple[str, str, str]
"""Collection without its namespace (such as `/api/v1/pods`), namespace, name."""


@dataclass
class FakeApi:
    """Objects, their history, and the watches on them."""

    objects: dict[Address, Raw] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    failing: set[str] = field(default_factory=set)
    """Paths that are answered with 500."""
    unserved: set[str] = field(default_factory=set)
    """Collections that do not exist: their CRD is not installed."""
    compacted: int = 0
    lists: int = 0
    watches: int = 0
    _history: list[tuple[int, str, Address, Raw]] = field(default_factory=list)
    _version: int = 100
    _uids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _applied: dict[tuple[Address, str], Raw] = field(default_factory=dict)
    _watches: set[web.StreamResponse] = field(default_factory=set)

    def writes(self) -> list[tuple[str, str]]:
        """The requests that changed something, or tried to."""
        return [(method, path) for method, path in self.requests if method != "GET"]

    def compact(self) -> None:
        """Forget all history, as etcd does: watches from before it are answered with 410."""
        self.compacted = self._version
        self._history.clear()

    def cut_watches(self) -> None:
        """Break every open watch in the middle."""
        for response in self._watches:
            if response._req and response._req.transport:
                response._req.transport.abort()

    async def until_watched(self, times: int) -> None:
        """Wait until so many watches have been opened in all."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: self.watches >= times)

    async def put(self, collection: str, raw: Mapping[str, Any]) -> Raw:
        """Create or replace an object as if somebody else had."""
        metadata = raw["metadata"]
        address = (collection, metadata.get("namespace", ""), metadata["name"])
        return await self._store(address, copy.deepcopy(dict(raw)))

    async def drop(self, collection: str, namespace: str, name: str, *, silently: bool = False) -> None:
        """Delete an object as if somebody else had; silently means that no watch will ever tell."""
        address = (collection, namespace, name)
        raw = self.objects.pop(address)
        self._version += 1
        raw["metadata"]["resourceVersion"] = str(self._version)
        if not silently:
            await self._tell("DELETED", address, raw)

    async def _store(self, address: Address, raw: Raw) -> Raw:
        before = self.objects.get(address)
        self._version += 1
        metadata = raw.setdefault("metadata", {})
        metadata.setdefault("uid", f"uid-{next(self._uids)}")
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        metadata["resourceVersion"] = str(self._version)
        self.objects[address] = raw
        await self._tell("MODIFIED" if before else "ADDED", address, raw)
        return raw

    async def _tell(self, kind: str, address: Address, raw: Raw) -> None:
        async with self._changed:
            self._history.append((self._version, kind, address, copy.deepcopy(raw)))
            self._changed.notify_all()

    async def handle(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911, C901 - one per verb
        """Answer one request."""
        self.requests.append((request.method, request.path))
        if request.path in self.failing:
            return _failure(500, "InternalError", "etcd is on fire")
        collection, namespace, name, subresource = _split(request.path)
        if collection in self.unserved:
            return _failure(404, "NotFound", "the server could not find the requested resource")
        address = (collection, namespace, name)
        if not name:
            if request.method == "POST":
                return await self._create(request, collection, namespace)
            if request.query.get("watch") == "true":
                return await self._watch(request, collection, namespace)
            return self._list(request, collection, namespace)
        if request.method == "PATCH" and request.content_type == "application/apply-patch+yaml":
            return await self._apply(request, address, subresource)
        if address not in self.objects:
            return _failure(404, "NotFound", f'"{name}" not found')
        match request.method:
            case "GET":
                return web.json_response(self.objects[address])
            case "PUT":
                return await self._replace(request, address)
            case "PATCH":
                return await self._patch(request, address)
            case _:
                return await self._delete(request, address)

    async def _create(self, request: web.Request, collection: str, namespace: str) -> web.Response:
        raw = await request.json()
        raw["metadata"].setdefault("namespace", namespace)
        address = (collection, namespace, raw["metadata"]["name"])
        if address in self.objects:
            return _failure(409, "AlreadyExists", f'"{address[2]}" already exists')
        return web.json_response(await self._store(address, raw), status=201)

    def _list(self, request: web.Request, collection: str, namespace: str) -> web.Response:
        self.lists += 1
        found = [
            raw
            for (where, scope, _), raw in sorted(self.objects.items())
            if where == collection and namespace in {"", scope} and _selected(request, raw)
        ]
        start, limit = int(request.query.get("continue", 0)), int(request.query.get("limit", 0))
        page = found[start : start + limit] if limit else found
        metadata = {"resourceVersion": str(self._version)}
        if limit and start + limit < len(found):
            metadata["continue"] = str(start + limit)
        return web.json_response({"kind": "List", "metadata": metadata, "items": page})

    async def _watch(self, request: web.Request, collection: str, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        since = int(request.query["resourceVersion"])
        if since < self.compacted:
            expired = {"code": 410, "reason": "Expired", "message": "too old resource version"}
            await _send(response, {"type": "ERROR", "object": {"kind": "Status", **expired}})
            return response
        self._watches.add(response)
        async with self._changed:
            self.watches += 1
            self._changed.notify_all()
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", "3600"))):
                await self._tell_all(request, response, (collection, namespace), since)
        except TimeoutError:
            return response
        finally:
            self._watches.discard(response)

    async def _tell_all(
        self, request: web.Request, response: web.StreamResponse, place: tuple[str, str], since: int
    ) -> Never:
        """Tell a watch of all that comes; without bookmarks where it is of Events, as the real one."""
        collection, namespace = place
        while True:
            for version, kind, (where, scope, _), raw in list(self._history):
                ours = where == collection and namespace in {"", scope} and _selected(request, raw)
                if version > since and ours:
                    await _send(response, {"type": kind, "object": raw})
            since = self._version
            if not collection.endswith("/events"):
                bookmark = {"kind": "Any", "metadata": {"resourceVersion": str(since)}}
                await _send(response, {"type": "BOOKMARK", "object": bookmark})
            async with self._changed:
                await self._changed.wait_for(lambda seen=since: self._version > seen)

    async def _replace(self, request: web.Request, address: Address) -> web.Response:
        raw = await request.json()
        asked = raw["metadata"].get("resourceVersion")
        if asked and asked != self.objects[address]["metadata"]["resourceVersion"]:
            return _failure(409, "Conflict", "the object has been modified")
        return web.json_response(await self._store(address, raw))

    async def _patch(self, request: web.Request, address: Address) -> web.Response:
        patch, current = await request.json(), copy.deepcopy(self.objects[address])
        uid = patch.get("metadata", {}).get("uid")
        if uid and uid != current["metadata"]["uid"]:
            return _failure(422, "Invalid", f'metadata.uid: Invalid value: "{uid}": field is immutable')
        keys = MERGE_KEYS if "strategic" in request.content_type else {}
        return web.json_response(await self._store(address, _merge(current, patch, keys)))

    async def _apply(self, request: web.Request, address: Address, subresource: str) -> web.Response:
        """Server-side apply: what this manager applied before and no longer does goes, the rest is merged."""
        wanted, current = json.loads(await request.text()), self.objects.get(address)
        owner = (address, request.query["fieldManager"] + subresource)
        before, self._applied[owner] = self._applied.get(owner, {}), copy.deepcopy(wanted)
        if current is None:
            if subresource:
                return _failure(404, "NotFound", f'"{address[2]}" not found')
            return web.json_response(await self._store(address, wanted), status=201)
        uid = wanted["metadata"].get("uid")
        if uid and uid != current["metadata"]["uid"]:
            return _failure(409, "Conflict", "uid mismatch")
        merged = _merge(_without(copy.deepcopy(current), before, wanted), wanted, {})
        if merged == current:
            return web.json_response(current)
        return web.json_response(await self._store(address, merged))

    async def _delete(self, request: web.Request, address: Address) -> web.Response:
        options = await request.json() if request.can_read_body else {}
        raw = self.objects[address]
        uid = options.get("preconditions", {}).get("uid")
        if uid and uid != raw["metadata"]["uid"]:
            return _failure(409, "Conflict", f"Precondition failed: UID in precondition: {uid}")
        if raw.get("spec", {}).get("nodeName") and options.get("gracePeriodSeconds") != 0:
            leaving = {**raw, "metadata": {**raw["metadata"], "deletionTimestamp": "2026-01-01T00:00:30Z"}}
            return web.json_response(await self._store(address, leaving))
        await self.drop(*address)
        return web.json_response(raw)


@asynccontextmanager
async def fake_api() -> AsyncIterator[FakeApi]:
    """Serve on a free port until left."""
    api = FakeApi()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        await runner.cleanup()


def configuration(api: FakeApi) -> Configuration:
    """How a client reaches the fake."""
    found = Configuration(host=api.url)
    found.retries = None
    return found


async def _send(response: web.StreamResponse, event: Raw) -> None:
    await response.write(json.dumps(event).encode() + b"\n")


def _split(path: str) -> tuple[str, str, str, str]:
    """Collection, namespace, name and subresource of a request's path."""
    parts = path.strip("/").split("/")
    root, rest = (parts[:2], parts[2:]) if parts[0] == "api" else (parts[:3], parts[3:])
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "")[:3]
    return "/" + "/".join([*root, plural]), namespace, name, subresource


def _selected(request: web.Request, raw: Raw) -> bool:
    """Equality label selectors; field selectors of the two forms that are used here."""
    tags = raw["metadata"].get("labels", {})
    for term in filter(None, request.query.get("labelSelector", "").split(",")):
        negated = "!=" in term
        name, _, value = term.partition("!=" if negated else "=")
        if (tags.get(name) == value) is negated:
            return False
    for term in filter(None, request.query.get("fieldSelector", "").split(",")):
        negated = "!=" in term
        path, _, value = term.partition("!=" if negated else "=")
        found: Any = raw
        for step in path.split("."):
            found = found.get(step, {})
        if ((found or "") == value) is negated:
            return False
    return True


def _merge(current: Any, patch: Any, keys: Mapping[str, str]) -> Any:
    """A merge patch; with `keys` those lists are merged by key, as strategic merge patch does."""
    if not isinstance(patch, dict) or not isinstance(current, dict):
        return patch
    merged = dict(current)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif name in keys and isinstance(value, list):
            key = keys[name]
            by_key = {entry[key]: entry for entry in merged.get(name, [])}
            for entry in value:
                by_key[entry[key]] = {**by_key.get(entry[key], {}), **entry}
            merged[name] = list(by_key.values())
        else:
            merged[name] = _merge(merged.get(name, {}), value, keys)
    return merged


def _without(current: Raw, before: Raw, wanted: Raw) -> Raw:
    """`current` without the fields that were applied before and are wanted no longer."""
    for name, value in before.items():
        if name not in wanted:
            current.pop(name, None)
        elif isinstance(value, dict) and isinstance(wanted[name], dict) and name in current:
            current[name] = _without(current[name], value, wanted[name])
    return current


def _failure(status: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message}
    return web.json_response(body, status=status)
