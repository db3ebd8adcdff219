"""Rounds over the workers: slow and dead ones hold up nobody."""

from __future__ import annotations

import asyncio

from inferfleet.telemetry.scrape import Scraper, Target
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
