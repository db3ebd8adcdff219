"""The gate inside a real server: what clients see, and what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from inferfleet_wire import InFlight, Phase
from inferfleet_worker.gate import Gate
from inferfleet_worker.ledger import Control

if TYPE_CHECKING:
    from tests.worker.conftest import Client, GatedEngine

Connect = Callable[[int], "Client"]
Eventually = Callable[[Callable[[], object]], object]


def test_a_stream_passes_chunk_by_chunk_and_is_in_flight_until_its_end(
    gated_engine: GatedEngine, client: Connect, hold: Path, eventually: Eventually
) -> None:
    stream = client(gated_engine.port).stream(chunks=3, hold=str(hold))
    eventually(lambda: gated_engine.totals().in_flight == InFlight(1, 3))
    assert gated_engine.totals().finished == 0
    hold.unlink()
    assert stream.read().endswith(b"data: 2\n\ndata: [DONE]\n\n")
    eventually(lambda: gated_engine.totals().finished == 1)
    assert gated_engine.totals().in_flight == InFlight(0, 0)


def test_while_closing_a_request_is_answered_and_its_connection_closed(
    gated_engine: GatedEngine, client: Connect
) -> None:
    keeping = client(gated_engine.port)
    assert keeping.complete()[:2] == (200, "")
    kept = keeping.connection.sock
    assert keeping.complete()[:2] == (200, "")
    assert keeping.connection.sock is kept, "the client keeps its connection while the gate serves"
    gated_engine.control.phase = Phase.CLOSING
    assert keeping.complete()[:2] == (200, "close")
    assert keeping.connection.sock is None, "the client saw that its connection was closed"
    assert gated_engine.totals().accepted == 3


def test_a_client_is_asked_to_connect_anew_only_while_requests_queue(
    gated_engine: GatedEngine, client: Connect, hold: Path, eventually: Eventually
) -> None:
    stream = client(gated_engine.port).stream(hold=str(hold))
    eventually(lambda: gated_engine.totals().in_flight.requests == 1)
    assert client(gated_engine.port).complete()[:2] == (200, "close")
    hold.unlink()
    stream.read()
    eventually(lambda: gated_engine.totals().in_flight.requests == 0)
    assert client(gated_engine.port).complete()[:2] == (200, "")


def test_while_refusing_new_work_gets_503_and_probes_pass(gated_engine: GatedEngine, client: Connect) -> None:
    gated_engine.control.phase = Phase.REFUSING
    answer = client(gated_engine.port).ask("POST", "/v1/chat/completions", {})
    assert (answer.status, answer.headers["Retry-After"], answer.headers["Connection"]) == (503, "1", "close")
    assert json.loads(answer.read())["error"]["code"] == 503
    for path in ("/health", "/metrics", "/v1/models"):
        assert client(gated_engine.port).ask("GET", path).status == 200
    totals = gated_engine.totals()
    assert (totals.refused["draining"], totals.accepted) == (1, 0)


def test_a_refused_upload_is_read_so_that_its_client_sees_the_answer(
    gated_engine: GatedEngine, client: Connect
) -> None:
    gated_engine.control.phase = Phase.REFUSING
    status, connection, _ = client(gated_engine.port).complete(prompt="x" * 8_000_000)
    assert (status, connection) == (503, "close")


def test_a_stream_that_runs_when_the_drain_begins_ends_whole(
    gated_engine: GatedEngine, client: Connect, hold: Path, eventually: Eventually
) -> None:
    stream = client(gated_engine.port).stream(hold=str(hold))
    gated_engine.control.phase = Phase.CLOSING
    gated_engine.control.phase = Phase.REFUSING
    assert client(gated_engine.port).complete()[0] == 503
    hold.unlink()
    assert stream.read().endswith(b"data: [DONE]\n\n")
    eventually(lambda: gated_engine.totals().finished == 1)
    assert sum(gated_engine.totals().lost.values()) == 0


async def test_a_last_ride_may_ask_before_the_engine_has_returned_from_the_one_before(tmp_path: Path) -> None:
    control = Control(tmp_path, create=True)
    control.rides_until = time.time() + 60
    answered, returned = asyncio.Event(), asyncio.Event()
    statuses: list[int] = []

    async def engine(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        control.phase = Phase.REFUSING
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        answered.set()
        await returned.wait()

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        if "status" in message:
            statuses.append(message["status"])

    gate = Gate(engine, tmp_path)
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "client": ("10.0.0.1", 4711)}
    first = asyncio.create_task(gate(dict(scope), receive, send))
    await answered.wait()
    second = asyncio.create_task(gate(dict(scope), receive, send))
    await gate({**scope, "client": ("10.0.0.2", 1)}, receive, send)
    returned.set()
    await asyncio.gather(first, second)
    assert sorted(statuses) == [200, 200, 503]


@pytest.mark.parametrize(("seconds_left", "status"), [(60.0, 200), (-60.0, 503)])
def test_a_connection_that_was_promised_to_be_kept_gets_one_last_ride_if_there_is_time(
    gated_engine: GatedEngine, client: Connect, hold: Path, seconds_left: float, status: int
) -> None:
    promised = client(gated_engine.port)
    stream = promised.stream(hold=str(hold))
    gated_engine.control.rides_until = time.time() + seconds_left
    gated_engine.control.phase = Phase.REFUSING
    hold.unlink()
    stream.read()
    assert promised.complete()[:2] == (status, "close")
    assert promised.complete()[0] == 503, "the next one comes on a new connection"


def test_a_client_that_leaves_is_counted_as_gone_not_as_lost(
    gated_engine: GatedEngine, client: Connect, hold: Path, eventually: Eventually
) -> None:
    leaving = client(gated_engine.port)
    leaving.stream(hold=str(hold)).close()
    leaving.close()
    eventually(lambda: gated_engine.totals().disconnected == 1)
    totals = gated_engine.totals()
    assert (totals.in_flight, totals.finished, sum(totals.lost.values())) == (InFlight(0, 0), 0, 0)


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        ({"status": 200}, "finished"),
        ({"status": 400}, "finished"),
        ({"status": 503}, "queue-full"),
        ({"status": 500}, "lost"),
        ({"stream": True, "error": True}, "lost"),
        ({"stream": True, "crash": True}, "lost"),
    ],
)
def test_every_answer_is_counted_once_by_what_became_of_it(
    gated_engine: GatedEngine, client: Connect, asked: dict[str, object], outcome: str, eventually: Eventually
) -> None:
    with contextlib.suppress(http.client.IncompleteRead):
        client(gated_engine.port).complete(**asked)
    eventually(lambda: gated_engine.totals().in_flight.requests == 0)
    totals = gated_engine.totals()
    counted = {
        "finished": totals.finished,
        "queue-full": totals.refused["queue-full"],
        "lost": totals.lost["error"],
    }
    assert totals.accepted == 1
    assert counted == {"finished": 0, "queue-full": 0, "lost": 0, outcome: 1}


def test_what_a_killed_process_had_in_flight_is_lost_once(
    gated_engine: GatedEngine, client: Connect, hold: Path
) -> None:
    client(gated_engine.port).complete()
    client(gated_engine.port).stream(hold=str(hold))
    gated_engine.process.kill()
    gated_engine.process.wait()
    for _ in range(3):
        totals = gated_engine.totals()
        assert (totals.gates, totals.in_flight, totals.accepted, totals.finished) == (0, InFlight(0, 0), 2, 1)
        assert totals.lost["process-exit"] == 1


def test_what_ends_after_the_cut_is_lost_to_the_deadline(
    gated_engine: GatedEngine, client: Connect, hold: Path, eventually: Eventually
) -> None:
    stream = client(gated_engine.port).stream(hold=str(hold))
    gated_engine.control.phase = Phase.STOPPED
    hold.unlink()
    stream.read()
    eventually(lambda: gated_engine.totals().lost["deadline"] == 1)
    assert gated_engine.totals().finished == 0


def handshake(port: int) -> str:
    lines = (
        "GET /v1/realtime HTTP/1.1",
        "Host: worker",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        return connection.recv(1000).decode().splitlines()[0]


def test_a_websocket_is_work_too_and_is_refused_with_503(
    gated_engine: GatedEngine, eventually: Eventually
) -> None:
    assert "101" in handshake(gated_engine.port)
    eventually(lambda: gated_engine.totals().finished == 1)
    gated_engine.control.phase = Phase.REFUSING
    assert "503" in handshake(gated_engine.port)
    assert gated_engine.totals().refused["draining"] == 1
