"""Listening for changes of what is in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from waiting import eventually

from inferfleet.telemetry.listen import ANSWERS_PER_SECOND, KEPT_SECONDS, Listener
from inferfleet.telemetry.source import Target
from inferfleet.values import Heard
from inferfleet_wire import InFlight, Phase, State

A, B = Target("ns/x", "a", "1"), Target("ns/y", "b", "2")
INTERVAL = 0.01


class Fleet:
    """Workers that answer when what they have in flight changes."""

    def __init__(self) -> None:
        self.targets = {A, B}
        self.in_flight = {"1": 0, "2": 0}
        self.silent: set[str] = set()
        self.asked: list[tuple[str, int | None]] = []
        self.changed = asyncio.Condition()
        self.now = 0.0

    async def news(self, ip: str, known: int | None) -> State | None:
        self.asked.append((ip, known))
        if ip in self.silent:
            return None
        async with self.changed:
            await self.changed.wait_for(lambda: self.in_flight[ip] != known)
        requests = InFlight(self.in_flight[ip])
        return State(f"engine-{ip}", 1, Phase.SERVING, 0.0, engine_ready=True, in_flight=requests)

    async def change(self, ip: str, in_flight: int) -> None:
        async with self.changed:
            self.in_flight[ip] = in_flight
            self.changed.notify_all()

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[Listener]:
        found = Listener(self.news, lambda: self.targets, interval_seconds=INTERVAL, clock=lambda: self.now)
        running = asyncio.create_task(found.run())
        yield found
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def in_flight(listener: Listener, deployment: str) -> list[int]:
    return [heard.in_flight for heard in listener.heard(deployment)]


async def test_a_change_is_heard_when_it_comes_and_asked_for_once():
    fleet = Fleet()
    async with fleet.heard() as listener:
        await eventually(lambda: in_flight(listener, "ns/x") == [0])
        fleet.now = 7.0
        await fleet.change("1", 3)
        await eventually(lambda: listener.heard("ns/x") == (Heard("a", "engine-1", 7.0, 3),))
        await eventually(lambda: fleet.asked[-1] == ("1", 3))
        assert in_flight(listener, "ns/y") == [0]
    assert [known for ip, known in fleet.asked if ip == "1"] == [None, 0, 3]


async def test_the_last_word_of_one_that_fell_silent_or_is_gone_stands_for_a_while():
    fleet = Fleet()
    async with fleet.heard() as listener:
        await fleet.change("1", 2)
        await eventually(lambda: in_flight(listener, "ns/x") == [2])
        fleet.silent = {"1"}
        await fleet.change("2", 5)
        await eventually(lambda: in_flight(listener, "ns/y") == [5])
        fleet.targets = {B}
        await asyncio.sleep(3 * INTERVAL)
        assert in_flight(listener, "ns/x") == [2]
        fleet.now = KEPT_SECONDS
        await fleet.change("2", 6)
        await eventually(lambda: (in_flight(listener, "ns/x"), in_flight(listener, "ns/y")) == ([], [6]))


async def test_one_that_was_silent_is_asked_anew_and_ever_more_rarely():
    fleet = Fleet()
    fleet.silent = {"1"}
    async with fleet.heard() as listener:
        await eventually(lambda: fleet.asked.count(("1", None)) == 3)
        asked_at = asyncio.get_running_loop().time()
        await eventually(lambda: fleet.asked.count(("1", None)) == 4)
        assert asyncio.get_running_loop().time() - asked_at >= 3 * INTERVAL
        fleet.silent = set()
        await eventually(lambda: in_flight(listener, "ns/x") == [0])


async def test_where_looking_is_as_good_nobody_is_listened_to():
    fleet = Fleet()
    fleet.targets = {Target("ns/x", f"w{n}", str(n)) for n in range(1 + int(INTERVAL * ANSWERS_PER_SECOND))}
    async with fleet.heard():
        await asyncio.sleep(3 * INTERVAL)
    assert fleet.asked == []
