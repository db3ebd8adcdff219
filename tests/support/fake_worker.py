"""A worker's side port without a worker: what it says of itself is what the test sets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from inferfleet_wire import DRAIN_PATH, SIDE_PORT, STATE_PATH, InFlight, Phase, State


@dataclass
class FakeWorker:
    """One address on which a worker seems to be."""

    ip: str
    requests: int = 0
    phase: Phase = Phase.SERVING
    asked: list[str] = field(default_factory=list)

    def state(self) -> str:
        return State(
            instance=self.ip,
            pid=1,
            phase=self.phase,
            time=time.time(),
            engine_ready=True,
            gates=1,
            in_flight=InFlight(requests=self.requests),
            accepted_total=self.requests,
        ).to_json()


@contextmanager
def fake_worker(ip: str, *, requests: int = 0) -> Iterator[FakeWorker]:
    """Answer at an address of the loopback network for as long as the context is open.

    Asked to drain it refuses at once, as a worker whose settle time is over does.
    """
    worker = FakeWorker(ip, requests)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(self.path == STATE_PATH)

        def do_POST(self) -> None:
            if self.path == DRAIN_PATH:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                worker.asked.append(body.decode())
                worker.phase = Phase.REFUSING
            self._answer(self.path == DRAIN_PATH)

        def _answer(self, known: bool) -> None:
            body = worker.state().encode()
            self.send_response(200 if known else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer((ip, SIDE_PORT), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
