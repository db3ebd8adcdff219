"""Looking at every worker in turn, without letting a slow or a silent one hold up the others."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import starmap
from typing import Final, Never

from inferfleet.telemetry.source import JITTER, LONGEST_SILENCE_SECONDS, Target, samples_of
from inferfleet.values import EngineSample

# Looks at one time, so that a burst of answers leaves room for the passes.
LOOKS_AT_ONCE: Final = 96
# Besides, of those that did not answer: each may take its whole deadline, and no other waits for it.
DOUBTS_AT_ONCE: Final = 32
# Looks per second over the whole fleet: 3,000 workers are still seen within the 15 s that a sample counts.
LOOKS_PER_SECOND: Final = 200.0

Look = Callable[[str, str, float], Awaitable[EngineSample | None]]


@dataclass(frozen=True, slots=True)
class _Silence:
    """A worker that did not answer: how often in a row, when to ask again, and whether it was Ready then."""

    failures: int
    until: float
    ready: bool


class Scraper:
    """Keeps the newest sample of every worker. One that does not answer has none: absence is evidence."""

    def __init__(
        self,
        look: Look,
        targets: Callable[[], Iterable[Target]],
        wake: Callable[[str], None],
        *,
        interval_seconds: float = 2.0,
        count_failure: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._targets = targets
        self._wake = wake
        self._interval = interval_seconds
        self._count_failure = count_failure
        self._clock = clock
        self._slots, self._doubts = asyncio.Semaphore(LOOKS_AT_ONCE), asyncio.Semaphore(DOUBTS_AT_ONCE)
        self._under_way: dict[Target, asyncio.Task[None]] = {}
        self._latest: dict[Target, EngineSample] = {}
        self._silent: dict[Target, _Silence] = {}
        self._answered: set[str] = set()

    def samples(self, deployment: str) -> tuple[EngineSample, ...]:
        """The newest sample of each of a deployment's workers, by worker."""
        return samples_of(deployment, self._latest)

    async def run(self) -> Never:
        """Look at every worker once per interval; less often where there are very many."""
        while True:
            interval = max(self._interval, len(self._latest.keys() | self._under_way) / LOOKS_PER_SECOND)
            next_round = self._clock() + interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret
            await self.round()
            await asyncio.sleep(max(0.0, next_round - self._clock()))

    async def round(self) -> None:
        """Look at every worker that is not still being looked at; wake the deployments that said something.

        Ends after an interval at the latest. A straggler goes on, and wakes its deployment when it answers:
        neither other workers' samples nor other deployments wait for it.
        """
        targets = set(self._targets())
        for known in (self._latest, self._silent):
            for target in known.keys() - targets:
                del known[target]
        begun: dict[str, list[asyncio.Task[None]]] = defaultdict(list)
        for target in targets - self._under_way.keys():
            if self._is_due(target):
                look = self._under_way[target] = asyncio.create_task(self._scrape(target))
                begun[target.deployment].append(look)
        await asyncio.gather(*starmap(self._hear, begun.items()))

    async def _hear(self, deployment: str, looks: Iterable[asyncio.Task[None]]) -> None:
        _, late = await asyncio.wait(looks, timeout=self._interval)
        self._pass_on(deployment)
        for look in late:
            look.add_done_callback(lambda _: self._pass_on(deployment))

    def _pass_on(self, deployment: str) -> None:
        if deployment in self._answered:
            self._answered.remove(deployment)
            self._wake(deployment)

    def _is_due(self, target: Target) -> bool:
        silence = self._silence(target)
        return silence is None or self._clock() >= silence.until

    def _silence(self, target: Target) -> _Silence | None:
        """How a worker has been silent; readiness that changed since ends it."""
        silence = self._silent.get(target)
        return silence if silence and silence.ready == target.ready else None

    async def _scrape(self, target: Target) -> None:
        try:
            async with self._doubts if self._silence(target) else self._slots:
                sample = await self._look(target.worker, target.ip, time.time())
        finally:
            del self._under_way[target]
        if sample is None:
            self._latest.pop(target, None)
            self._silent[target] = self._hush(target)
            self._count_failure()
        else:
            self._silent.pop(target, None)
            self._latest[target] = sample
            self._answered.add(target.deployment)

    def _hush(self, target: Target) -> _Silence:
        """The first failure costs nothing; then the pauses double."""
        before = self._silence(target)
        failures = before.failures + 1 if before else 1
        pause = self._interval * (2 ** min(failures - 1, 16) - 1)
        return _Silence(failures, self._clock() + min(pause, LONGEST_SILENCE_SECONDS), target.ready)
