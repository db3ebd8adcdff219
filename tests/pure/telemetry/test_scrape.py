"""Rounds over the workers: slow and dead ones hold up nobody."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from jumping import JumpingLoop
from waiting import eventually

from inferfleet.telemetry.scrape import DOUBTS_AT_ONCE, LOOKS_AT_ONCE, LOOKS_PER_SECOND, Scraper
from inferfleet.telemetry.source import JITTER, Target
from inferfleet.values import EngineSample

A, B, OTHER = Target("ns/x", "a", "1"), Target("ns/x", "b", "2"), Target("ns/y", "c", "3")


class Fleet:
    """Workers that answer, are silent, or let one wait."""

    def __init__(self) -> None:
        self.targets = {A, B, OTHER}
        self.silent: set[str] = set()
        self.slow: dict[str, asyncio.Event] = {}
        self.woken: list[str] = []
        self.failures = 0
        self.looks: list[str] = []
        self.now = 0.0

    async def look(self, worker: str, _ip: str, at: float) -> EngineSample | None:
        self.looks.append(worker)
        if worker in self.slow:
            await self.slow[worker].wait()
        return None if worker in self.silent else EngineSample(worker, at, 1, 0)

    def count(self) -> None:
        self.failures += 1

    def scraper(self, *, interval_seconds: float = 0.01) -> Scraper:
        return Scraper(
            self.look,
            lambda: self.targets,
            self.woken.append,
            interval_seconds=interval_seconds,
            count_failure=self.count,
            clock=lambda: self.now,
        )


def workers(scraper: Scraper, deployment: str) -> list[str]:
    return [sample.worker for sample in scraper.samples(deployment)]


async def test_every_deployment_gets_its_own_samples_and_is_woken_once():
    fleet = Fleet()
    scraper = fleet.scraper()
    await scraper.round()
    assert (workers(scraper, "ns/x"), workers(scraper, "ns/y")) == (["a", "b"], ["c"])
    assert sorted(fleet.woken) == ["ns/x", "ns/y"]


async def test_a_worker_that_falls_silent_has_no_sample_any_more():
    fleet = Fleet()
    scraper = fleet.scraper()
    await scraper.round()
    fleet.silent = {"a", "c"}
    fleet.woken.clear()
    await scraper.round()
    assert (workers(scraper, "ns/x"), workers(scraper, "ns/y")) == (["b"], [])
    assert fleet.woken == ["ns/x"]
    assert fleet.failures == 2


async def test_a_worker_that_is_gone_is_forgotten():
    fleet = Fleet()
    scraper = fleet.scraper()
    await scraper.round()
    fleet.targets = {B}
    await scraper.round()
    assert workers(scraper, "ns/x") == ["b"]


async def test_a_slow_worker_holds_up_nobody_and_is_asked_once():
    fleet = Fleet()
    fleet.slow["a"] = asyncio.Event()
    scraper = fleet.scraper()
    await scraper.round()
    await scraper.round()
    assert workers(scraper, "ns/x") == ["b"]
    assert fleet.looks.count("a") == 1
    fleet.slow["a"].set()
    await scraper.round()
    assert workers(scraper, "ns/x") == ["a", "b"]


async def test_a_worker_that_stays_silent_is_asked_ever_more_rarely_until_it_answers():
    fleet = Fleet()
    fleet.targets, fleet.silent = {A, B}, {"a"}
    scraper = fleet.scraper()
    asked = []
    for fleet.now in range(120):
        before = fleet.looks.count("a")
        await scraper.round()
        asked.append(fleet.looks.count("a") > before)
    assert sum(asked[:5]) >= 4
    assert sum(asked[60:]) == 2
    assert fleet.looks.count("b") == 120
    fleet.silent = set()
    for fleet.now in range(120, 160):
        await scraper.round()
    assert workers(scraper, "ns/x") == ["a", "b"]
    assert fleet.looks.count("a") - sum(asked) > 8


async def test_a_silent_worker_that_becomes_ready_is_asked_at_once():
    fleet = Fleet()
    fleet.targets, fleet.silent = {A}, {"a"}
    scraper = fleet.scraper()
    for fleet.now in range(60):
        await scraper.round()
    before = len(fleet.looks)
    await scraper.round()
    assert len(fleet.looks) == before
    fleet.targets, fleet.silent = {replace(A, ready=True)}, set()
    await scraper.round()
    assert workers(scraper, "ns/x") == ["a"]


async def test_many_workers_are_looked_at_a_bounded_number_at_a_time():
    fleet = Fleet()
    fleet.targets = {Target("ns/x", f"w{number}", "1") for number in range(2 * LOOKS_AT_ONCE)}
    fleet.slow = {target.worker: asyncio.Event() for target in fleet.targets}
    scraper = fleet.scraper()
    await scraper.round()
    assert (len(fleet.looks), fleet.woken) == (LOOKS_AT_ONCE, [])
    for answer in fleet.slow.values():
        answer.set()
    await eventually(lambda: len(workers(scraper, "ns/x")) == 2 * LOOKS_AT_ONCE)
    await eventually(lambda: "ns/x" in fleet.woken)


async def test_a_straggler_holds_up_no_other_deployment_and_wakes_its_own_when_it_answers():
    fleet = Fleet()
    fleet.slow["a"] = asyncio.Event()
    scraper = fleet.scraper(interval_seconds=600.0)
    under_way = asyncio.create_task(scraper.round())
    await eventually(lambda: fleet.woken == ["ns/y"] and workers(scraper, "ns/x") == ["b"])
    async with asyncio.timeout(5.0):
        await scraper.round()
    assert sorted(fleet.woken[1:]) == ["ns/x", "ns/y"], "nor the next round"
    fleet.woken.clear()
    fleet.slow["a"].set()
    await under_way
    assert (fleet.woken, workers(scraper, "ns/x")) == (["ns/x"], ["a", "b"])


async def test_one_that_answers_after_the_round_wakes_its_deployment_then():
    fleet = Fleet()
    fleet.targets, fleet.slow = {A}, {"a": asyncio.Event()}
    await fleet.scraper().round()
    assert fleet.woken == []
    fleet.slow["a"].set()
    await eventually(lambda: fleet.woken == ["ns/x"])


async def test_however_many_are_silent_those_that_answer_are_looked_at():
    fleet = Fleet()
    dead = {Target("ns/x", f"w{number}", "1") for number in range(2 * LOOKS_AT_ONCE)}
    fleet.targets, fleet.silent = dead | {OTHER}, {target.worker for target in dead}
    scraper = fleet.scraper()
    await scraper.round()
    fleet.slow = {target.worker: asyncio.Event() for target in dead}
    await scraper.round()
    assert sum(map(fleet.looks.count, fleet.slow)) == len(dead) + DOUBTS_AT_ONCE
    for _ in range(3):
        before = fleet.looks.count(OTHER.worker)
        await scraper.round()
        assert fleet.looks.count(OTHER.worker) == before + 1


@pytest.mark.parametrize(("count", "seconds"), [(3, 2.0), (1000, 1000 / LOOKS_PER_SECOND)])
def test_rounds_keep_their_pace_and_two_operators_drift_apart(count: int, seconds: float):
    fleet = Fleet()
    fleet.targets = {Target("ns/x", f"w{number}", "1") for number in range(count)}
    first, second = (pauses(fleet, 10 * seconds) for _ in range(2))
    assert len(first) >= 8
    for pause in first:
        assert seconds * (1 - JITTER) <= pause <= seconds * (1 + JITTER)
    assert len({*first, *second}) == len(first) + len(second)


def pauses(fleet: Fleet, seconds: float) -> list[float]:
    """How long after each other rounds begin, from the second one on: by then the workers are known."""
    began: list[float] = []

    async def rounds() -> None:
        clock = asyncio.get_running_loop().time

        def targets() -> set[Target]:
            began.append(clock())
            return fleet.targets

        with suppress(TimeoutError):
            await asyncio.wait_for(
                Scraper(fleet.look, targets, fleet.woken.append, clock=clock).run(), seconds
            )

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(rounds())
    return [after - before for before, after in pairwise(began[1:])]
