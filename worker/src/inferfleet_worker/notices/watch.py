"""Polling the sources, and remembering what was first seen when."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from inferfleet_wire import Notice
    from inferfleet_worker.notices.source import NoticeSource

log = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
RETRY_SECONDS = 30.0
"""A service that cannot be asked (no route, no permission) is soon not worth a request a second: the pause
doubles up to this, for one lost answer must not cost a notice."""


class Watch:
    """The notices that stand now, over all sources."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._standing: dict[int, tuple[Notice, ...]] = {}
        self.failures = 0

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What stands, most urgent first."""
        standing = [notice for notices in self._standing.values() for notice in notices]
        return tuple(
            sorted(standing, key=lambda n: (n.deadline is None, n.deadline or 0.0, n.source, n.detail))
        )

    def record(self, source: int, polled: Iterable[Notice]) -> None:
        """Take over a poll's answer: a notice seen before keeps its first sight and its earliest deadline."""
        known = {(notice.kind, notice.detail): notice for notice in self._standing.get(source, ())}
        self._standing[source] = tuple(merge(known.get((n.kind, n.detail)), n) for n in polled)

    async def run(self, sources: Iterable[NoticeSource], poll_seconds: float) -> None:
        """Poll all sources for ever."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(
                *(
                    self._follow(session, number, source, poll_seconds)
                    for number, source in enumerate(sources)
                )
            )

    async def _follow(
        self, session: aiohttp.ClientSession, number: int, source: NoticeSource, poll_seconds: float
    ) -> None:
        pause = poll_seconds
        while True:
            try:
                self.record(number, await source.poll(session, self._clock()))
                pause = poll_seconds
            except (aiohttp.ClientError, asyncio.TimeoutError, ValueError, KeyError) as error:
                self.failures += 1
                if pause == poll_seconds:
                    log.warning(
                        "metadata of %s cannot be read: %s: %s",
                        type(source).__name__,
                        type(error).__name__,
                        error,
                    )
                pause = min(2.0 * pause, RETRY_SECONDS)
            await asyncio.sleep(pause)


def merge(known: Notice | None, new: Notice) -> Notice:
    """The notice as first seen, with the earlier of both deadlines."""
    if known is None:
        return new
    deadlines = [notice.deadline for notice in (known, new) if notice.deadline is not None]
    return replace(known, deadline=min(deadlines, default=None))
