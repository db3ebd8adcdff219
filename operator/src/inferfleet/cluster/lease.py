"""One active operator among several replicas, by a Lease and a fence.

The holder renews every `retry_seconds` and stops writing `renew_seconds` after the start of its last
successful renewal; another replica takes over no sooner than `duration_seconds` after it last saw the record
change. Both measure on their own monotonic clock, so clocks need not agree. Writes are bounded by
`duration_seconds - renew_seconds`, so one that began inside the fence ends before anybody else may begin.
The same rule as client-go's leader election, plus the fence.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from inferfleet.cluster.client import NOT_FOUND, TRANSIENT, ApiFailure, ApiServer
from inferfleet.cluster.resources import LEASES

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """The three times of a lease, in seconds."""

    duration_seconds: float = 15.0
    renew_seconds: float = 10.0
    retry_seconds: float = 2.0


class LeaseLost(Exception):  # noqa: N818 - an end, not an error of the program
    """The lease could not be renewed in time, or somebody else holds it: this process must not go on."""


class Lease:
    """This process's part in the election. `holds` is the fence: ask it before every write."""

    def __init__(
        self,
        api: ApiServer,
        *,
        namespace: str,
        name: str,
        identity: str,
        terms: Terms | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = identity
        self.terms = terms or Terms()
        self._api = api
        self._clock = clock
        self._collection = LEASES.path(namespace)
        self._path = LEASES.path(namespace, name)
        self._metadata = {"name": name, "namespace": namespace}
        self._renewed_at: float | None = None
        self._seen: tuple[str, float] | None = (
            None  # the record's resourceVersion, and when it was first seen
        )

    @property
    def holds(self) -> bool:
        """True while nobody else can hold the lease."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < self.terms.renew_seconds

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        while not await self._attempt():  # noqa: ASYNC110 - the API server is asked, not us
            await asyncio.sleep(self.terms.retry_seconds)
        log.info("lease acquired", extra={"identity": self.identity})

    async def keep(self) -> None:
        """Renew for as long as that works; raises LeaseLost."""
        while True:
            await asyncio.sleep(self.terms.retry_seconds)
            if not await self._attempt() and not self.holds:
                raise LeaseLost(f"{self._path} could not be renewed for {self.terms.renew_seconds:.0f} s")

    async def release(self) -> None:
        """Give the lease back, so that the next holder need not wait; stops our own writes first."""
        if self._renewed_at is None:
            return
        self._renewed_at = None
        with suppress(ApiFailure, *TRANSIENT):
            current = await self._api.get(self._path)
            if current["spec"].get("holderIdentity") == self.identity:
                await self._api.replace(
                    self._path, {**current, "spec": {**current["spec"], "holderIdentity": ""}}
                )

    async def attempt(self) -> bool:
        """Try once to take or to renew the lease; True when it is ours now."""
        asked_at = self._clock()
        try:
            current = await self._api.get(self._path)
        except ApiFailure as failure:
            if failure.status != NOT_FOUND:
                raise
            await self._api.create(self._collection, self._record(None))
            self._renewed_at = asked_at
            return True
        if not self._may_take(current):
            self._renewed_at = None
            return False
        await self._api.replace(self._path, self._record(current))
        self._renewed_at = asked_at
        return True

    async def _attempt(self) -> bool:
        try:
            async with asyncio.timeout(self.terms.renew_seconds / 2):
                return await self.attempt()
        except (ApiFailure, *TRANSIENT) as error:
            log.warning("lease: %s", error)
            return False

    def _may_take(self, current: dict[str, Any]) -> bool:
        """True for a record that is ours, free, or has not changed before our eyes for its whole duration."""
        spec, version = current["spec"], current["metadata"]["resourceVersion"]
        if spec.get("holderIdentity") in {self.identity, "", None}:
            return True
        now = self._clock()
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] >= float(spec.get("leaseDurationSeconds") or self.terms.duration_seconds)

    def _record(self, current: dict[str, Any] | None) -> dict[str, Any]:
        """The record that names us as holder; carries the version it replaces, so that only one can win."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = dict(current["spec"]) if current else {}
        if spec.get("holderIdentity") != self.identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (1 if current else 0)
        spec |= {
            "holderIdentity": self.identity,
            "renewTime": now,
            "leaseDurationSeconds": int(self.terms.duration_seconds),
        }
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": current["metadata"] if current else self._metadata,
            "spec": spec,
        }
