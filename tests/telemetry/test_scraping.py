"""Scraping real ports: what a pod that hangs costs, and whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from scraped_fleet import Fleet, Worker, state
from waiting import eventually

from inferfleet.telemetry.scrape import Scraper
from inferfleet.telemetry.workers import WorkerClient
from inferfleet.values import EngineSample

DEADLINE_SECONDS = 0.5
# What a busy machine may add.
SLACK_SECONDS = 3.0


class Mute(Worker):
    """Accepts every connection and takes every request, and answers none."""

    async def answer_engine(self, _request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("nothing ever happens")

    answer_side = answer_engine


class Dribbling(Worker):
    """Answers, a byte every now and then, and never comes to an end."""

    async def answer_engine(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"#")
            await asyncio.sleep(DEADLINE_SECONDS / 20)

    answer_side = answer_engine


@asynccontextmanager
async def asking(*workers: Worker) -> AsyncIterator[WorkerClient]:
    fleet = Fleet(list(workers))
    await fleet.start()
    ports = {"engine_port": fleet.engine_port, "side_port": fleet.side_port}
    try:
        async with WorkerClient(**ports, look_seconds=DEADLINE_SECONDS) as client:
            yield client
    finally:
        await fleet.stop()


async def look(worker: Worker) -> EngineSample | None:
    """Look at it, which takes the deadline and no more."""
    async with asking(worker) as client, asyncio.timeout(DEADLINE_SECONDS + SLACK_SECONDS):
        began = time.monotonic()
        sample = await client.sample(worker.pod, worker.ip, 0.0)
        assert time.monotonic() - began >= 0.9 * DEADLINE_SECONDS, "it hangs"
    return sample


@pytest.mark.parametrize("kind", [Mute, Dribbling])
async def test_a_pod_that_hangs_costs_the_deadline_and_has_no_sample(kind: type[Worker]):
    assert await look(kind("hung", "127.0.0.21", None, None)) is None


async def test_while_only_its_engine_hangs_the_worker_still_says_what_is_in_it():
    class Around(Mute):
        answer_side = Worker.answer_side

    sample = await look(Around("busy", "127.0.0.21", None, state(7)))
    assert sample
    assert sample.in_flight == 7


async def test_pods_that_hang_hold_up_the_samples_of_no_other(busy_engine: str):
    fine = [
        Worker("fine", "127.0.0.21", busy_engine, state(6)),
        Worker("fine", "127.0.0.22", busy_engine, state(1), namespace="other"),
    ]
    hung = [Mute("mute", "127.0.0.23", None, None), Dribbling("dribbling", "127.0.0.24", None, None)]
    woken: list[str] = []
    failures: list[float] = []
    async with asking(*fine, *hung) as client:
        scraper = Scraper(
            client.sample,
            lambda: [worker.target for worker in (*fine, *hung)],
            woken.append,
            interval_seconds=DEADLINE_SECONDS / 10,
            count_failure=lambda: failures.append(time.monotonic()),
        )
        began = time.monotonic()
        running = asyncio.create_task(scraper.run())
        await eventually(lambda: len(failures) == len(hung), seconds=DEADLINE_SECONDS + SLACK_SECONDS)
        seen = [
            (s.worker, s.in_flight) for name in ("chat/llama", "other/llama") for s in scraper.samples(name)
        ]
        running.cancel()
    assert min(failures) - began >= 0.9 * DEADLINE_SECONDS
    assert seen == [("fine", 6), ("fine", 1)]
    assert min(map(woken.count, ("chat/llama", "other/llama"))) >= 3, "in every round meanwhile"
