"""Both sources of samples against the same workers: what Prometheus tells is what the workers tell."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from scraped_fleet import NOTICE, SCRAPE_SECONDS, Fleet, Scraped, Worker, scraping, state

from inferfleet.telemetry.prometheus import Prometheus, PrometheusSource, Waker
from inferfleet.telemetry.workers import WorkerClient
from inferfleet.values import Buckets, EngineSample
from inferfleet_wire import LostCause, Phase

pytestmark = pytest.mark.asyncio(loop_scope="module")

OLD = """
vllm:num_requests_running 1
vllm:num_requests_waiting 2
vllm:num_requests_waiting_by_reason{reason="capacity"} 40
vllm:gpu_cache_usage_perc 0.5
vllm:time_per_output_token_seconds_bucket{le="0.1"} 7
vllm:time_per_output_token_seconds_bucket{le="+Inf"} 9
"""


def ranks(count: int) -> str:
    """An engine of several data-parallel ranks."""
    return "".join(
        f'vllm:num_requests_running{{engine="{rank}"}} {rank + 1}\n'
        f'vllm:num_requests_waiting{{engine="{rank}"}} 3\n'
        f'vllm:kv_cache_usage_perc{{engine="{rank}"}} {rank * 0.5}\n'
        f'vllm:cache_config_info{{engine="{rank}",block_size="16",num_gpu_blocks="100"}} 1\n'
        f'vllm:request_success_total{{engine="{rank}",finished_reason="stop"}} 5\n'
        f'vllm:request_success_total{{engine="{rank}",finished_reason="length"}} 6\n'
        f'vllm:request_prompt_tokens_sum{{engine="{rank}"}} 700\n'
        f'vllm:request_generation_tokens_sum{{engine="{rank}"}} 80\n'
        for rank in range(count)
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(busy_engine: str) -> AsyncIterator[Fleet]:
    leaving = state(
        3,
        phase=Phase.CLOSING,
        accepted_total=9,
        lost_total={LostCause.DEADLINE.value: 1, LostCause.ERROR.value: 2},
        notices=(NOTICE, replace(NOTICE, source="gcp", deadline=None)),
    )
    found = Fleet(
        [
            Worker("busy", "127.0.0.11", busy_engine, state(6, accepted_total=12)),
            Worker("ranks", "127.0.0.12", ranks(2), leaving),
            Worker("old", "127.0.0.13", OLD, None),
            Worker("loading", "127.0.0.14", None, state(2, phase=Phase.SERVING)),
            Worker("silent", "127.0.0.15", None, None),
            Worker("busy", "127.0.0.16", OLD, state(1), namespace="other"),
        ]
    )
    await found.start()
    yield found
    await found.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scraped(fleet: Fleet, prometheus_program: Path) -> AsyncIterator[Scraped]:
    """One for all tests: it takes 5 s until a new Prometheus knows its targets."""
    with scraping(prometheus_program, fleet) as running:
        await running.until(f"count(up) == {2 * len(fleet.workers)}")
        yield running


async def direct(fleet: Fleet) -> dict[tuple[str, str], EngineSample | None]:
    async with WorkerClient(engine_port=fleet.engine_port, side_port=fleet.side_port) as client:
        return {(one.namespace, one.pod): await client.sample(one.pod, one.ip, 0.0) for one in fleet.workers}


async def test_both_sources_give_the_same_samples(fleet: Fleet, scraped: Scraped):
    woken: list[str] = []
    prometheus = Prometheus(scraped.url)
    source = PrometheusSource(prometheus, lambda: [one.target for one in fleet.workers], woken.append)
    await source.round()
    expected = await direct(fleet)
    assert expected.pop(("chat", "silent")) is None
    through = {
        (namespace, sample.worker): replace(sample, at=0.0)
        for namespace in ("chat", "other")
        for sample in source.samples(f"{namespace}/llama")
    }
    assert through == expected
    assert sorted(woken) == ["chat/llama", "other/llama"]

    # the comparison above proves nothing unless the values are there
    busy, several = through["chat", "busy"], through["chat", "ranks"]
    assert (busy.running, busy.waiting, busy.generation_tokens_total) == (2, 4, 1083)
    assert busy.ttft_buckets.total == 2
    assert several.requests_total == 22
    assert (several.request_prompt_tokens_total, several.request_output_tokens_total) == (1400, 160)
    assert (several.running, several.kv_usage, several.kv_cache_tokens) == (3, 0.25, 3200)
    assert (sum(n for _, n in several.lost), several.gate_phase) == (3, "closing")
    assert several.notices == (("interruption", 2_000_000_000.5, "aws"), ("interruption", None, "gcp"))
    assert through["chat", "old"].itl_buckets == Buckets((0.1, math.inf), (7, 9))


async def test_a_query_wakes_those_for_whom_requests_wait(scraped: Scraped):
    await scraped.until('vllm:num_requests_waiting{pod="old"} > 0')
    queries = {
        "chat/waiting": 'vllm:num_requests_waiting{pod="old"}',
        "chat/scalar": "scalar(sum(vllm:num_requests_waiting)) - 1",
        "chat/nothing": 'vllm:num_requests_waiting{pod="no-such-pod"}',
        "chat/zero": "sum(vllm:num_requests_waiting) * 0",
        "chat/no-number": "0 / vector(0)",
        "chat/broken": "sum(",
    }
    woken: list[str] = []
    waker = Waker(Prometheus(scraped.url), lambda: queries, woken.append)
    await waker.round()
    assert woken == ["chat/scalar", "chat/waiting"]
    assert waker.wanted("chat/waiting")
    queries.clear()
    await waker.round()
    assert not waker.wanted("chat/waiting")


async def test_what_cannot_be_scraped_or_asked_is_no_evidence(fleet: Fleet, scraped: Scraped):
    source = PrometheusSource(Prometheus(scraped.url), lambda: [one.target for one in fleet.workers], print)
    await source.round()
    first = {sample.worker: sample.at for sample in source.samples("chat/llama")}
    assert all(0 <= time.time() - at <= 3 * SCRAPE_SECONDS for at in first.values())
    fleet.workers[0].engine = fleet.workers[0].gate = None
    await scraped.until('sum(up{namespace="chat",pod="busy"}) == 0')
    await source.round()
    assert first.keys() - {sample.worker for sample in source.samples("chat/llama")} == {"busy"}
    scraped.kill()
    await source.round()
    assert source.samples("chat/llama") == ()
