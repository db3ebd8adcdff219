"""Looking at every worker in turn, without letting a slow one hold up the others."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Never

from inferfleet.values import EngineSample

# Two operators that started together must not hit the engines together for ever.
JITTER: Final = 0.1

Look = Callable[[str, str, float], Awaitable[EngineSample | None]]


@dataclass(frozen=True, slots=True)
class Target:
    """A worker that runs, the address that answers for it, and the deployment to wake."""

    deployment: str
    worker: str
    ip: str


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
    ) -> None:
        self._look = look
        self._targets = targets
        self._wake = wake
        self._interval = interval_seconds
        self._count_failure = count_failure
        self._under_way: dict[Target, asyncio.Task[None]] = {}
        self._latest: dict[Target, EngineSample] = {}

    def samples(self, deployment: str) -> tuple[EngineSample, ...]:
        """The newest sample of each of a deployment's workers, by worker."""
        found = (sample for target, sample in self._latest.items() if target.deployment == deployment)
        return tuple(sorted(found, key=lambda sample: sample.worker))

    async def run(self) -> Never:
        """Look at every worker once per interval."""
        while True:
            next_round = time.monotonic() + self._interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret
            await self.round()
            await asyncio.sleep(max(0.0, next_round - time.monotonic()))

    async def round(self) -> None:
        """Look at every worker that is not still being looked at; wake the deployments that said something.

        Ends after an interval at the latest; stragglers go on, and count for the round in which they answer.
        """
        targets = set(self._targets())
        for target in [known for known in self._latest if known not in targets]:
            del self._latest[target]
        for target in targets - self._under_way.keys():
            self._under_way[target] = asyncio.create_task(self._scrape(target))
        if not self._under_way:
            return
        await asyncio.wait(self._under_way.values(), timeout=self._interval)
        answered: dict[str, int] = defaultdict(int)
        for target, task in list(self._under_way.items()):
            if task.done():
                del self._under_way[target]
                answered[target.deployment] += target in self._latest
        for deployment in (name for name, count in answered.items() if count):
            self._wake(deployment)

    async def _scrape(self, target: Target) -> None:
        sample = await self._look(target.worker, target.ip, time.time())
        if sample is None:
            self._latest.pop(target, None)
            self._count_failure()
        else:
            self._latest[target] = sample
