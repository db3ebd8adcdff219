"""Bursts of writes: never more at once than are answered in time, and none begun after the lease went."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from inferfleet.cluster.fence import WRITES_AT_ONCE, Fenced, FencedApi


@dataclass
class SlowApi:
    """An API server that answers only when it is let."""

    let: asyncio.Event = field(default_factory=asyncio.Event)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    most: int = 0

    async def create(self, _path: str, body: Any) -> Any:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.under_way == WRITES_AT_ONCE:
            self.full.set()
        await self.let.wait()
        self.under_way -= 1
        return body


@dataclass
class Holder:
    holds: bool = True


async def test_a_burst_waits_for_its_turn_outside_of_its_time_limit():
    slow = SlowApi()
    fenced = FencedApi(slow, Holder())
    burst = asyncio.gather(*(fenced.create("/x", {}) for _ in range(10 * WRITES_AT_ONCE)))
    await slow.full.wait()
    slow.let.set()
    await burst
    assert slow.most == WRITES_AT_ONCE


async def test_a_write_whose_turn_comes_after_the_lease_went_is_refused():
    slow, holder = SlowApi(), Holder()
    fenced = FencedApi(slow, holder)
    writes = [asyncio.create_task(fenced.create("/x", {})) for _ in range(WRITES_AT_ONCE + 1)]
    await slow.full.wait()
    holder.holds = False
    slow.let.set()
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [isinstance(answer, Fenced) for answer in answers] == [False] * WRITES_AT_ONCE + [True]
