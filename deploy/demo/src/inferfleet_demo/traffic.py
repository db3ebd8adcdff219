"""OpenAI traffic from inside the cluster: concurrent chat streams, each checked to its last token.

Runs as a pod of its own (the file is mounted from a ConfigMap), so it needs nothing but aiohttp. Prints one
JSON object a second and a last one, `{"summary": …}`. SIGTERM starts no further request and waits for those
in flight. There is no retry: every answer that is not complete counts as failed.
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

# below the engine's own keep-alive of 5 s, so that a client never writes into a connection just closed
CLIENT_KEEPALIVE_SECONDS = 2.0


@dataclass
class Tally:
    """What happened so far. `answered` counts first bytes; `failures` keeps the first few messages."""

    started: int = 0
    answered: int = 0
    finished: int = 0
    failed: int = 0
    tokens: int = 0
    longest_stream_seconds: float = 0.0
    longest_gap_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def fail(self, message: str) -> None:
        """Count one lost request."""
        self.failed += 1
        if len(self.failures) < 10:  # noqa: PLR2004 - enough to find the cause
            self.failures.append(message)


class IncompleteAnswerError(Exception):
    """The stream ended before the answer did."""


NO_ANSWER = (aiohttp.ClientError, IncompleteAnswerError, OSError, TimeoutError, ValueError)
"""What is raised where an answer is not whole, or none."""


async def stream_once(
    session: aiohttp.ClientSession, url: str, body: dict[str, object], tally: Tally
) -> None:
    """Read one chat completion to its end.

    Raises:
        IncompleteAnswerError: for a status other than 200, or a stream without its end or all its tokens.
        aiohttp.ClientError: for a broken connection.
    """
    last = time.monotonic()
    tokens, done, finish = 0, False, None
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        if response.status != 200:  # noqa: PLR2004
            raise IncompleteAnswerError(f"HTTP {response.status}: {(await response.text())[:200]}")
        tally.answered += 1
        async for raw in response.content:
            line = raw.decode().strip()
            if not line.startswith("data:"):
                continue
            now = time.monotonic()
            tally.longest_gap_seconds = max(tally.longest_gap_seconds, now - last)
            last = now
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                done = True
                break
            chunk = json.loads(data)
            if chunk.get("usage"):
                tokens = chunk["usage"]["completion_tokens"]
            for choice in chunk.get("choices", ()):
                finish = choice.get("finish_reason") or finish
    tally.tokens += tokens
    if not done or finish != "length" or tokens != body["max_tokens"]:
        raise IncompleteAnswerError(f"stream ended at {tokens} tokens, finish_reason {finish}, done {done}")


def body_of(model: str, prompt: str, max_tokens: int) -> dict[str, object]:
    """A streamed chat completion of exactly so many tokens."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def user(
    session: aiohttp.ClientSession, args: argparse.Namespace, tally: Tally, stop: asyncio.Event
) -> None:
    """Ask again and again until told to stop or out of requests."""
    body = body_of(args.model, args.prompt, args.max_tokens)
    while not stop.is_set() and (not args.requests or tally.started < args.requests):
        tally.started += 1
        began = time.monotonic()
        try:
            await stream_once(session, args.url, body, tally)
            tally.finished += 1
        except NO_ANSWER as error:
            tally.fail(f"{type(error).__name__} after {time.monotonic() - began:.1f} s: {error}")
            await asyncio.sleep(0.5)
        tally.longest_stream_seconds = max(tally.longest_stream_seconds, time.monotonic() - began)


async def report(tally: Tally) -> None:
    """Print the tally every second."""
    while True:
        await asyncio.sleep(1.0)
        print(json.dumps({"at": round(time.time(), 3), **asdict(tally)}), flush=True)


async def run(args: argparse.Namespace) -> int:
    """Drive all users; return 0 when nothing was lost."""
    stop, tally = asyncio.Event(), Tally()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if args.seconds:
        loop.call_later(args.seconds, stop.set)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=CLIENT_KEEPALIVE_SECONDS)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
    began = time.monotonic()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**20) as session:
        reporter = asyncio.create_task(report(tally))
        await asyncio.gather(*(user(session, args, tally, stop) for _ in range(args.users)))
        reporter.cancel()
    seconds = time.monotonic() - began
    print(json.dumps({"summary": {"seconds": round(seconds, 1), **asdict(tally)}}), flush=True)
    return 1 if tally.failed else 0


def command_line(description: str | None) -> argparse.ArgumentParser:
    """The options that every client has: where, and whom to ask."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    return parser


def main() -> int:
    """Parse the command line and run."""
    parser = command_line(__doc__)
    parser.add_argument("--users", type=int, default=1)
    parser.add_argument("--requests", type=int, default=0, help="in all; 0 means until stopped")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--prompt", default="Tell me about draining nodes.")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
