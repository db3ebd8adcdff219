"""Rounds over the workers: slow and dead ones hold up nobody."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from inferfleet.telemetry.scrape import LOOKS_AT_ONCE, Scraper
from inferfleet.telemetry.source import Target
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

    def scraper(self) -> Scraper:
        return Scraper(
            self.look,
            lambda: self.targets,
            self.woken.append,
            interval_seconds=0.01,
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
    assert len(fleet.looks) == LOOKS_AT_ONCE
    for answer in fleet.slow.values():
        answer.set()
    await scraper.round()
    assert len(workers(scraper, "ns/x")) == 2 * LOOKS_AT_ONCE
