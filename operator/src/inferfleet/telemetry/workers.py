"""Talking to the workers themselves: metrics and state in, drains out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import aiohttp

from inferfleet.telemetry.engine_metrics import EngineMetrics, read_engine_metrics
from inferfleet.values import AnnounceDrain, EngineSample
from inferfleet_wire import (
    DRAIN_PATH,
    ENGINE_PORT,
    METRICS_PATH,
    SIDE_PORT,
    STATE_PATH,
    DrainRequest,
    Known,
    State,
    WireError,
    authorization,
)

SCRAPE_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 2.0
DRAIN_SECONDS: Final = 3.0
# A look takes two, listening one, and a drain never waits for one.
CONNECTIONS: Final = 720
# How long a worker without news is listened to: nothing on the way gives up a silent connection so soon.
NEWS_SECONDS: Final = 20.0


class WorkerClient:
    """One bounded pool of connections to all workers. A look at one takes `look_seconds` at most."""

    def __init__(
        self,
        *,
        engine_port: int = ENGINE_PORT,
        side_port: int = SIDE_PORT,
        look_seconds: float = SCRAPE_SECONDS,
    ) -> None:
        self._engine_port = engine_port
        self._side_port = side_port
        self._look_seconds = look_seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session:
            await self._session.close()

    async def sample(self, worker: str, ip: str, at: float) -> EngineSample | None:
        """Look at one worker through its engine and its side port; None when neither answers with sense."""
        metrics, gate = await asyncio.gather(self._metrics(ip), self._gate(ip))
        return combine(worker, at, metrics, gate)

    async def news(self, ip: str, in_flight: int | None) -> State | None:
        """A worker's state once it has another number of requests in flight, or none has come for a while.

        At once where None is known of it; None when it does not answer with sense.
        """
        if in_flight is None:
            return await self._state(ip)
        return await self._state(ip, Known(in_flight, NEWS_SECONDS).to_query(), NEWS_SECONDS)

    async def announce(self, action: AnnounceDrain, token: str = "") -> None:
        """Tell a worker that it drains; raises aiohttp.ClientError or TimeoutError when it cannot be told."""
        request = DrainRequest(action.drain.cause.value, action.drain.deadline, action.settle_seconds)
        url = f"http://{_host(action.ip)}:{self._side_port}{DRAIN_PATH}"
        timeout = aiohttp.ClientTimeout(total=DRAIN_SECONDS)
        async with self._open().post(
            url, data=request.to_json(), headers=authorization(token), timeout=timeout
        ) as answer:
            answer.raise_for_status()

    async def _metrics(self, ip: str) -> EngineMetrics | None:
        text = await self._get(f"http://{_host(ip)}:{self._engine_port}{METRICS_PATH}")
        return None if text is None else read_engine_metrics(text)

    async def _gate(self, ip: str) -> GateMetrics | None:
        state = await self._state(ip)
        return None if state is None else read_gate_metrics(state)

    async def _state(
        self, ip: str, query: Mapping[str, str] | None = None, held_seconds: float = 0.0
    ) -> State | None:
        text = await self._get(f"http://{_host(ip)}:{self._side_port}{STATE_PATH}", query, held_seconds)
        try:
            return None if text is None else State.from_json(text)
        except WireError:
            return None

    async def _get(
        self, url: str, query: Mapping[str, str] | None = None, held_seconds: float = 0.0
    ) -> str | None:
        timeout = aiohttp.ClientTimeout(self._look_seconds + held_seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with self._open().get(url, params=query, timeout=timeout) as answer:
                return await answer.text() if answer.ok else None
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError):
            return None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the worker client is used outside its `async with`")
        return self._session


@dataclass(frozen=True, slots=True)
class GateMetrics:
    """What one worker's gate said."""

    in_flight: int
    arrivals_total: float
    phase: str
    notices: tuple[tuple[str, float | None, str], ...] = ()
    lost: tuple[tuple[str, float], ...] = ()
    instance: str = ""


def read_gate_metrics(state: State) -> GateMetrics:
    """What counts of a worker's state."""
    return GateMetrics(
        in_flight=state.in_flight.requests,
        arrivals_total=float(state.accepted_total),
        phase=state.phase.value,
        notices=tuple((notice.kind.value, notice.deadline, notice.source) for notice in state.notices),
        lost=tuple((cause, float(count)) for cause, count in sorted(state.lost_total.items())),
        instance=state.instance,
    )


def combine(
    worker: str, at: float, metrics: EngineMetrics | None, gate: GateMetrics | None
) -> EngineSample | None:
    """One sample of what the engine and the gate said.

    While the engine is silent (it loads, or is too busy to answer) the gate still knows what is inside it;
    without a gate, what the engine holds is what is in flight. An engine that tells NaN is no evidence.
    """
    if (metrics is None and gate is None) or not (metrics is None or metrics.is_sane):
        return None
    if metrics is None:
        metrics = EngineMetrics(float(gate.in_flight) if gate else 0.0, 0.0)
    return EngineSample(
        worker=worker,
        at=at,
        running=metrics.running,
        waiting=metrics.waiting,
        kv_usage=metrics.kv_usage,
        prompt_tokens_total=metrics.prompt_tokens_total,
        generation_tokens_total=metrics.generation_tokens_total,
        arrivals_total=gate.arrivals_total if gate else None,
        lost=gate.lost if gate else (),
        instance=gate.instance if gate else "",
        kv_cache_tokens=metrics.kv_cache_tokens,
        in_flight=gate.in_flight if gate else round(metrics.running + metrics.waiting),
        gate_phase=gate.phase if gate else "serving",
        notices=gate.notices if gate else (),
        ttft_buckets=metrics.ttft_buckets,
        itl_buckets=metrics.itl_buckets,
        request_itl_buckets=metrics.request_itl_buckets,
        requests_total=metrics.requests_total,
        request_prompt_tokens_total=metrics.request_prompt_tokens_total,
        request_output_tokens_total=metrics.request_output_tokens_total,
    )


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
