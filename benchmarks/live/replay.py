"""Sends the requests of a shape at their times, whatever becomes of earlier ones, and times every answer.

Runs as a pod, beside `inferfleet_demo.traffic`, whose bodies and tally it uses. Each request has a connection
of its own, so that the Service spreads them over the replicas that are there. There is no retry.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass

import aiohttp
from live.shape import SHAPES, Request, Shape

from inferfleet_demo.traffic import NO_ANSWER, IncompleteAnswerError, Tally, body_of, command_line, report

PATIENCE_SECONDS = 120.0


@dataclass
class Record:
    """One request: when it came, and how it was answered, in seconds. `itl` is the mean over its tokens."""

    at: float
    prompt_tokens: int
    output_tokens: int
    ttft: float | None = None
    itl: float | None = None
    lost: str = ""


async def ask(session: aiohttp.ClientSession, url: str, model: str, request: Request) -> Record:
    """Send one request and read its answer to the end."""
    record = Record(request.at, request.prompt_tokens, request.output_tokens)
    body = body_of(model, "x" * request.prompt_tokens, request.output_tokens)
    began = time.monotonic()
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            first, last = await _read(response, request.output_tokens)
        record.ttft = round(first - began, 4)
        record.itl = round((last - first) / (request.output_tokens - 1), 5)
    except NO_ANSWER as error:
        record.lost = f"{type(error).__name__}: {error}"
    return record


async def _read(response: aiohttp.ClientResponse, tokens: int) -> tuple[float, float]:
    """When the first and the last token of a whole answer came.

    Raises:
        IncompleteAnswerError: for a status other than 200, or a stream without its end or all its tokens.
    """
    first = last = 0.0
    told = 0
    if response.status != 200:  # noqa: PLR2004
        raise IncompleteAnswerError(f"HTTP {response.status}")
    async for raw in response.content:
        if raw.startswith(b"data: [DONE]") and told == tokens:
            return first, last
        if not raw.startswith(b"data: {"):
            continue
        if b'"usage":{' in raw:
            told = json.loads(raw[6:])["usage"]["completion_tokens"]
        else:
            last = time.monotonic()
            first = first or last
    raise IncompleteAnswerError(f"ended after {told} tokens")


async def run(args: argparse.Namespace) -> int:
    """Send everything; print a record for each request as it ends, a tally a second, and a summary."""
    shape = Shape(args.rps, args.stretch, args.seed, args.prompt_tokens, args.output_tokens, args.phases)
    tally = Tally()
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS, sock_connect=10)
    began, lag = time.time(), 0.0

    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**20) as session:

        async def one(request: Request) -> None:
            tally.started += 1
            record = await ask(session, args.url, args.model, request)
            if record.lost:
                tally.fail(record.lost)
            else:
                tally.finished += 1
                tally.tokens += request.output_tokens
            print(json.dumps({"record": asdict(record)}), flush=True)

        reporter = asyncio.create_task(report(tally))
        async with asyncio.TaskGroup() as group:
            for request in shape.requests():
                await asyncio.sleep(max(0.0, began + request.at - time.time()))
                lag = max(lag, time.time() - began - request.at)
                group.create_task(one(request))
        reporter.cancel()
    print(json.dumps({"summary": {"began": began, "lag": round(lag, 3), **asdict(tally)}}), flush=True)
    return 0


def main() -> int:
    """Parse the command line and run."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--rps", type=float, required=True, help="requests per second that one replica serves"
    )
    parser.add_argument("--stretch", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--phases", choices=SHAPES, default=Shape.phases)
    parser.add_argument("--prompt-tokens", type=int, default=120)
    parser.add_argument("--output-tokens", type=int, default=200)
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
