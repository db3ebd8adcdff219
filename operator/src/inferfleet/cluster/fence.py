"""Writing to the API server only while the lease is held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from inferfleet.cluster.client import MERGE_PATCH, ApiServer
from inferfleet.values import labels


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

    @property
    def reads(self) -> ApiServer:
        """Reading needs no fence."""
        return self._api

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `ApiServer.create`."""
        self._check(path)
        return await self._api.create(path, body)

    async def patch(self, path: str, body: Mapping[str, Any], *, kind: str = MERGE_PATCH) -> dict[str, Any]:
        """See `ApiServer.patch`."""
        self._check(path)
        return await self._api.patch(path, body, kind=kind, query={"fieldManager": labels.FIELD_MANAGER})

    async def apply(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `ApiServer.apply`."""
        self._check(path)
        return await self._api.apply(path, body, field_manager=labels.FIELD_MANAGER)

    async def delete(
        self, path: str, *, uid: str | None = None, grace_seconds: int | None = None
    ) -> dict[str, Any]:
        """See `ApiServer.delete`."""
        self._check(path)
        return await self._api.delete(path, uid=uid, grace_seconds=grace_seconds)

    def _check(self, path: str) -> None:
        if not self._holder.holds:
            raise Fenced(f"{path} was not written: the lease may have passed to another replica")
