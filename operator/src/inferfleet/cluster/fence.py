"""Writing to the API server only while the lease is held, and never more at once than it answers in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from inferfleet.cluster.client import MERGE_PATCH, ApiServer
from inferfleet.values import labels

# Writes of all deployments together. More of them would only wait for each other inside their own time limit.
WRITES_AT_ONCE: Final = 16


class Holder(Protocol):
    """Whoever knows whether this process is the one that may write."""

    @property
    def holds(self) -> bool:
        """True while no other replica can be active."""
        ...


class Fenced(Exception):  # noqa: N818 - a refusal, not an error of the program
    """A write was refused here because another replica may be active by now."""


class FencedApi:
    """The API server's writes, each refused with `Fenced` unless the lease is held at that moment."""

    def __init__(self, api: ApiServer, holder: Holder) -> None:
        self._api = api
        self._holder = holder
        self._slots = asyncio.Semaphore(WRITES_AT_ONCE)

    @property
    def reads(self) -> ApiServer:
        """Reading needs no fence."""
        return self._api

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `ApiServer.create`."""
        async with self._turn(path):
            return await self._api.create(path, body)

    async def patch(self, path: str, body: Mapping[str, Any], *, kind: str = MERGE_PATCH) -> dict[str, Any]:
        """See `ApiServer.patch`."""
        async with self._turn(path):
            return await self._api.patch(path, body, kind=kind, query={"fieldManager": labels.FIELD_MANAGER})

    async def apply(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `ApiServer.apply`."""
        async with self._turn(path):
            return await self._api.apply(path, body, field_manager=labels.FIELD_MANAGER)

    async def delete(
        self, path: str, *, uid: str | None = None, grace_seconds: int | None = None
    ) -> dict[str, Any]:
        """See `ApiServer.delete`."""
        async with self._turn(path):
            return await self._api.delete(path, uid=uid, grace_seconds=grace_seconds)

    @asynccontextmanager
    async def _turn(self, path: str) -> AsyncIterator[None]:
        """Wait for a free slot, and ask the fence only then: the write begins at once."""
        async with self._slots:
            if not self._holder.holds:
                raise Fenced(f"{path} was not written: the lease may have passed to another replica")
            yield
