"""OpenAI clients that never stop, each request written down: short and long, kept and new connections.

Runs as a pod of its own next to `traffic.py`, whose check of a whole answer it uses. Prints one JSON object a
request when it is over, and one a second that says since when the oldest open one is open.

A request of which nothing has come back (no connection, 503, silence) is sent again, as every OpenAI client
does. One that breaks off after its first byte is lost: nobody can send the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass, field

import aiohttp

from inferfleet_demo.traffic import (
    CLIENT_KEEPALIVE_SECONDS,
    NO_ANSWER,
    Tally,
    body_of,
    command_line,
    stream_once,
)

MOST_ATTEMPTS = 8
PAUSE_BEFORE_RETRY_SECONDS = 0.5
CONNECT_SECONDS = 3.0
SILENCE_SECONDS = 30.0
"""Longest wait for the next byte: what a dead machine leaves behind is silence, never a reset."""


@dataclass(frozen=True)
class Kind:
    """One sort of client: how long its answers are, and whether it keeps its connection."""

    name: str
    tokens: int
    keeps: bool
    think_seconds: float


@dataclass
class Request:
    """What became of one request. `problems` has one entry for each attempt that brought nothing."""

    kind: str
    start: float
    end: float = 0.0
    result: str = "open"
    problems: list[str] = field(default_factory=list)


class Clients:
    """All clients of this pod, and what they have under way."""

    def __init__(self, url: str, model: str) -> None:
        self._url = url
        self._model = model
        self._open: set[float] = set()
        self.stop = asyncio.Event()

    async def ask_again_and_again(self, kind: Kind) -> None:
        """One client of a kind, until told to stop."""
        connector = (
            aiohttp.TCPConnector(limit=0, keepalive_timeout=CLIENT_KEEPALIVE_SECONDS)
            if kind.keeps
            else aiohttp.TCPConnector(limit=0, force_close=True)
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**20) as session:
            while not self.stop.is_set():
                request = Request(kind.name, time.time())
                self._open.add(request.start)
                await self._carry_through(session, kind, request)
                self._open.discard(request.start)
                print(json.dumps(asdict(request)), flush=True)
                await asyncio.sleep(kind.think_seconds)

    async def _carry_through(self, session: aiohttp.ClientSession, kind: Kind, request: Request) -> None:
        body = body_of(self._model, "Tell me about draining nodes.", kind.tokens)
        for _ in range(MOST_ATTEMPTS):
            tally = Tally()
            try:
                await stream_once(session, self._url, body, tally)
            except NO_ANSWER as error:
                request.end = time.time()
                request.problems.append(f"{type(error).__name__}: {error}"[:200])
                if tally.answered:
                    request.result = "lost"
                    return
                await asyncio.sleep(PAUSE_BEFORE_RETRY_SECONDS)
            else:
                request.end, request.result = time.time(), "finished"
                return
        request.result = "lost"

    async def tick(self) -> None:
        """Say every second since when the oldest open request is open."""
        while True:
            print(json.dumps({"tick": time.time(), "oldest": min(self._open, default=None)}), flush=True)
            await asyncio.sleep(1.0)


async def run(args: argparse.Namespace) -> None:
    """Run all clients until SIGTERM."""
    clients = Clients(args.url, args.model)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, clients.stop.set)
    kinds = [
        *(Kind("long", args.long_tokens, number % 2 == 0, 3.0) for number in range(args.long)),
        *(Kind("short kept", args.short_tokens, True, 0.5) for _ in range(args.short)),  # noqa: FBT003
        *(Kind("short fresh", args.short_tokens, False, 0.5) for _ in range(args.short)),  # noqa: FBT003
    ]
    ticking = asyncio.create_task(clients.tick())
    await asyncio.gather(*map(clients.ask_again_and_again, kinds))
    ticking.cancel()


def main() -> int:
    """Parse the command line and run."""
    parser = command_line(__doc__)
    parser.add_argument("--long", type=int, default=2)
    parser.add_argument("--short", type=int, default=1, help="of each kind, kept and fresh connections")
    parser.add_argument("--long-tokens", type=int, default=800)
    parser.add_argument("--short-tokens", type=int, default=60)
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
