"""Whatever happens in whatever order, the gate's books balance."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inferfleet_wire import Phase
from inferfleet_worker.gate import Gate
from inferfleet_worker.ledger import Control, Word

ENDINGS = ("whole", "server error", "queue full", "raised", "broken off", "client left", "cancelled")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(ENDINGS), st.integers(0, 4)),
        st.tuples(st.just("end"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("phase"), st.sampled_from(Phase), st.just(0)),
    ),
    max_size=40,
)
OUTCOMES = (Word.FINISHED, Word.DISCONNECTED, Word.REFUSED_QUEUE_FULL, Word.LOST_ERROR, Word.LOST_DEADLINE)


class Request:
    """One request whose end the test decides."""

    def __init__(self, ending: str, chunks: int) -> None:
        self.ending = ending
        self.chunks = chunks
        self.released = asyncio.Event()
        self.sent: list[dict[str, Any]] = []

    async def run(self, gate: Gate) -> None:
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "request": self}
        await gate(scope, self.receive, self.send)

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.disconnect" if self.ending == "client left" else "http.request"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


async def app(scope: Any, receive: Any, send: Any) -> None:
    request: Request = scope["request"]
    status = {"server error": 500, "queue full": 503}.get(request.ending, 200)
    await send({"type": "http.response.start", "status": status, "headers": []})
    for _ in range(request.chunks):
        await send({"type": "http.response.body", "body": b"data: x", "more_body": True})
    await request.released.wait()
    if request.ending == "raised":
        raise RuntimeError("the engine failed")
    if request.ending == "client left":
        await receive()
    elif request.ending != "broken off":
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def play(script: list[tuple[str, Any, int]], run_dir: Path) -> None:
    control = Control(run_dir, create=True)
    gate = Gate(app, run_dir)
    running: list[tuple[Request, asyncio.Task[None]]] = []
    asked = 0

    def balances() -> None:
        ledger = gate._ledger()
        assert ledger[Word.IN_FLIGHT] == len(running)
        assert ledger[Word.IN_FLIGHT_TOKENS] == sum(request.chunks for request, _ in running)
        assert ledger[Word.ACCEPTED] == len(running) + sum(ledger[word] for word in OUTCOMES)
        assert asked == ledger[Word.ACCEPTED] + ledger[Word.REFUSED_DRAINING]

    for kind, argument, chunks in script:
        if kind == "phase":
            control.phase = argument
        elif kind == "ask":
            request = Request(argument, chunks)
            task = asyncio.create_task(request.run(gate))
            await settle()
            asked += 1
            refused = control.phase in {Phase.REFUSING, Phase.STOPPED}
            assert task.done() is refused
            if not refused:
                running.append((request, task))
        elif running:
            request, task = running.pop(argument % len(running))
            if request.ending == "cancelled":
                task.cancel()
            request.released.set()
            await asyncio.gather(task, return_exceptions=True)
        balances()
    for request, task in running:
        request.released.set()
        await asyncio.gather(task, return_exceptions=True)


@given(steps)
def test_every_request_is_in_flight_or_counted_exactly_once(script: list[tuple[str, Any, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(script, Path(folder)))
