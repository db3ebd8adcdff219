"""The side port: probes, state, drain and metrics, apart from the engine's own port."""

from __future__ import annotations

import asyncio
import errno
import hmac
import socket
import time
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from inferfleet_wire import (
    DRAIN_PATH,
    HEALTH_PATH,
    METRICS_PATH,
    READY_PATH,
    STATE_PATH,
    DrainRequest,
    Known,
    WireError,
    authorization,
)
from inferfleet_worker.metrics import exposition

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler

    from inferfleet_worker.worker import Worker


NEWS_SECONDS = 0.05
"""How often the ledgers are read for somebody who waits for news."""


def side_app(worker: Worker, wake: Callable[[], None]) -> web.Application:
    """The routes; `wake` tells the supervisor that there is something to do."""
    started_at = time.time()
    closing = asyncio.Event()

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text=f"engine process {worker.engine_pid} runs\n")

    async def readyz(_: web.Request) -> web.Response:
        reason = worker.state().not_ready_reason
        return web.Response(text=f"{reason or 'ready'}\n", status=503 if reason else 200)

    async def state(request: web.Request) -> web.Response:
        known = Known.from_query(request.query)
        if known is not None:
            await _news(worker, known, closing)
        return told()

    def told() -> web.Response:
        return web.Response(text=worker.state().to_json(), content_type="application/json")

    async def drain(request: web.Request) -> web.Response:
        wanted = authorization(worker.plan.drain_token).get("Authorization", "")
        if wanted and not hmac.compare_digest(request.headers.get("Authorization", ""), wanted):
            return web.json_response(
                {"error": "this drain does not carry the deployment's token"}, status=401
            )
        worker.begin_drain(DrainRequest.from_json(await request.read()))
        wake()
        return told()

    async def metrics(_: web.Request) -> web.Response:
        body = exposition(worker.state(), started_at=started_at, metadata_failures=worker.watch.failures)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def close(_: web.Application) -> None:
        closing.set()

    app = web.Application(middlewares=[_explain])
    app.on_shutdown.append(close)
    app.router.add_get(HEALTH_PATH, healthz)
    app.router.add_get(READY_PATH, readyz)
    app.router.add_get(STATE_PATH, state)
    app.router.add_post(DRAIN_PATH, drain)
    app.router.add_get(METRICS_PATH, metrics)
    return app


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except WireError as error:
        return web.json_response({"error": str(error)}, status=400)


async def _news(worker: Worker, known: Known, closing: asyncio.Event) -> None:
    """Wait until another number of requests is in flight, the time is over, or the side port closes."""
    until = time.monotonic() + known.wait_seconds
    while worker.totals().in_flight.requests == known.in_flight and not closing.is_set():
        left = until - time.monotonic()
        if left <= 0:
            return
        await asyncio.sleep(min(left, NEWS_SECONDS))


def listen(port: int) -> socket.socket:
    """A listening socket on every address of the pod: both families, or the one that this kernel has."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
    return socket.create_server(("", port), backlog=128)
