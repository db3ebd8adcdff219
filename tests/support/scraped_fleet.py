"""A real Prometheus, and workers for it to scrape: vLLM's exposition and the gate's, served from memory."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from inferfleet.telemetry.source import Target
from inferfleet_wire import InFlight, Notice, NoticeKind, Phase, State
from inferfleet_worker.metrics import exposition

SCRAPE_SECONDS = 1

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Worker:
    """One worker as its two ports show it; silent where there is None."""

    pod: str
    ip: str
    engine: str | None
    gate: State | None
    namespace: str = "chat"

    @property
    def target(self) -> Target:
        return Target(f"{self.namespace}/llama", self.pod, self.ip, self.pod)

    async def answer_engine(self, _request: web.Request) -> web.StreamResponse:
        """What the engine's port says."""
        return web.Response(text=self.engine) if self.engine else web.Response(status=503)

    async def answer_side(self, request: web.Request) -> web.StreamResponse:
        """What the worker's own port says."""
        if self.gate is None:
            return web.Response(status=503)
        if request.path == "/state":
            return web.Response(text=self.gate.to_json())
        return web.Response(body=exposition(self.gate, started_at=0.0, metadata_failures=0))


def state(requests: int = 0, **changes: Any) -> State:
    """A gate's state."""
    known = {"instance": "i", "pid": 1, "phase": Phase.SERVING, "time": 0.0, "engine_ready": True}
    return State(**{**known, "in_flight": InFlight(requests, 10), **changes})


NOTICE = Notice(NoticeKind.INTERRUPTION, 2_000_000_000.5, "aws", "", 10.0)


@dataclass
class Fleet:
    """Workers on addresses of the loopback network, with the same two ports everywhere."""

    workers: list[Worker]
    engine_port: int = 0
    side_port: int = 0
    runners: list[web.AppRunner] = field(default_factory=list)

    async def start(self) -> None:
        """Serve every worker."""
        for worker in self.workers:
            self.engine_port = await self._serve(worker, worker.answer_engine, self.engine_port)
            self.side_port = await self._serve(worker, worker.answer_side, self.side_port)

    async def _serve(self, worker: Worker, answer: Handler, port: int) -> int:
        app = web.Application()
        app.router.add_get("/{path}", answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        self.runners.append(runner)
        listening = socket.create_server((worker.ip, port))
        await web.SockSite(runner, listening).start()
        return int(listening.getsockname()[1])

    async def stop(self) -> None:
        """Close all ports."""
        for runner in self.runners:
            await runner.cleanup()


@dataclass
class Scraped:
    """A Prometheus that scrapes a fleet."""

    process: subprocess.Popen[bytes]
    url: str

    async def until(self, query: str) -> None:
        """Wait until a query has a result."""
        async with asyncio.timeout(20), ClientSession() as session:
            while True:
                try:
                    url = f"{self.url}/api/v1/query"
                    async with session.get(url, params={"query": query}) as answer:
                        if answer.ok and (await answer.json())["data"]["result"]:
                            return
                except OSError:
                    assert self.process.poll() is None, "Prometheus ended"
                await asyncio.sleep(0.1)

    def kill(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def scraping(program: Path, fleet: Fleet) -> Iterator[Scraped]:
    """Run a Prometheus that scrapes both ports of every worker, labelled as Kubernetes' discovery does."""
    ports = {"http": fleet.engine_port, "side": fleet.side_port}
    jobs = [{"job_name": job, "static_configs": _targets(fleet, port)} for job, port in ports.items()]
    interval = {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{SCRAPE_SECONDS}s"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "prometheus.json"  # JSON is YAML
        settings.write_text(json.dumps({"global": interval, "scrape_configs": jobs}))
        words = [f"--config.file={settings}", f"--storage.tsdb.path={folder}/data"]
        words.append(f"--web.listen-address={address}")
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen([program, *words], stdout=log, stderr=log)
        scraped = Scraped(process, f"http://{address}")
        try:
            yield scraped
        finally:
            scraped.kill()


def _targets(fleet: Fleet, port: int) -> list[dict[str, Any]]:
    return [
        {"targets": [f"{one.ip}:{port}"], "labels": {"namespace": one.namespace, "pod": one.pod}}
        for one in fleet.workers
    ]
