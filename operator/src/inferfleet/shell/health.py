"""The operator's own port: /healthz, /readyz and /metrics. A standby replica answers them too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from aiohttp import web

from inferfleet.telemetry.metrics import Metrics


class HealthServer:
    """Serves until it is left; `not_ready` says why this replica is not ready, None when it is."""

    def __init__(self, port: int, metrics: Metrics, refresh: Callable[[], None]) -> None:
        self.not_ready: Callable[[], str | None] = lambda: "starting"
        self._port = port
        self._metrics = metrics
        self._refresh = refresh
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._health),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._exposition),
            ]
        )
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, None, self._port).start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        """An answer at all shows that the event loop turns."""
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        problem = self.not_ready()
        return web.Response(status=503 if problem else 200, text=f"{problem or 'ok'}\n")

    async def _exposition(self, _request: web.Request) -> web.Response:
        self._refresh()
        return web.Response(
            body=self._metrics.exposition(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )
