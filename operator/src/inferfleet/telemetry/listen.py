"""Hearing of every change in what a worker has in flight: a look every two seconds misses short requests.

What a dead machine took with it is known from nothing else, so the last word of each engine is kept, also for
a while after its worker is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Never

from inferfleet.telemetry.source import LONGEST_SILENCE_SECONDS, Target
from inferfleet.values import Heard
from inferfleet_wire import State

# Answers per second over the whole fleet: with very many workers, each one's next answer is asked for later.
ANSWERS_PER_SECOND: Final = 200.0
# By then a pass has long taken over what was heard.
KEPT_SECONDS: Final = 60.0

Ask = Callable[[str, int | None], Awaitable[State | None]]


class Listener:
    """Waits at every worker for news. `ask` returns once the count is another than the one it is given.

    Where there are so many workers that asking them in turn takes longer than `interval_seconds`, the looks
    that are taken of them anyway are as good, and nobody is listened to.
    """

    def __init__(
        self,
        ask: Ask,
        targets: Callable[[], Iterable[Target]],
        *,
        interval_seconds: float = 2.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ask = ask
        self._targets = targets
        self._interval = interval_seconds
        self._clock = clock
        self._at: dict[Target, asyncio.Task[Never]] = {}
        self._heard: dict[tuple[str, str, str], Heard] = {}

    def heard(self, deployment: str) -> tuple[Heard, ...]:
        """The last word of each engine of a deployment."""
        return tuple(heard for (owner, _, _), heard in self._heard.items() if owner == deployment)

    async def run(self) -> Never:
        """Listen to all workers that there are."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._attend(group)
                self._forget()
                await asyncio.sleep(self._interval)
        raise AssertionError("listening never ends")

    def _attend(self, group: asyncio.TaskGroup) -> None:
        targets = set(self._targets())
        if len(targets) > self._interval * ANSWERS_PER_SECOND:
            targets = set()
        for target in self._at.keys() - targets:
            self._at.pop(target).cancel()
        for target in targets - self._at.keys():
            self._at[target] = group.create_task(self._listen(target))

    def _forget(self) -> None:
        late = self._clock() - KEPT_SECONDS
        self._heard = {key: heard for key, heard in self._heard.items() if heard.at > late}

    async def _listen(self, target: Target) -> Never:
        known: int | None = None
        silence = self._interval
        while True:
            state = await self._ask(target.ip, known)
            if state is None:
                known = None
                await asyncio.sleep(silence)
                silence = min(2 * silence, LONGEST_SILENCE_SECONDS)
                continue
            known, silence = state.in_flight.requests, self._interval
            key = (target.deployment, target.worker, state.instance)
            self._heard[key] = Heard(target.worker, state.instance, self._clock(), known)
            await asyncio.sleep(len(self._at) / ANSWERS_PER_SECOND)
