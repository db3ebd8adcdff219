"""Requests from traces: the Azure CSV, the Mooncake JSONL, and rate curves, read a line at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from itertools import takewhile
from math import inf, nextafter
from pathlib import Path
from random import Random
from typing import Final

from inferfleet.simulate.generate import Sizes, renewal
from inferfleet.simulate.policy import Request

_SPREAD_SECONDS: Final = 10.0
"""Copies of a request, for a scale above 1, come within so long of it."""


class TraceError(ValueError):
    """A file has none of the known forms, or a line of it makes no sense."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A file of arrivals: the part of it from `start_seconds` on, at `scale` times its rate.

    Below 1 requests are left out at random, above 1 they are copied; either keeps the shape of the load. A
    rate curve says nothing of sizes or of the spread of arrivals: `sizes` and `burstiness` do.
    """

    path: Path
    start_seconds: float = 0.0
    duration_seconds: float | None = None
    scale: float = 1.0
    sizes: Sizes = field(default_factory=Sizes)
    burstiness: float = 1.0

    def stream(self, seed: int) -> Iterator[Request]:
        """Yield the requests in order of time, counted from `start_seconds`.

        Raises:
            TraceError: The file has another form.
        """
        read = form_of(self.path)
        rng = Random(seed)
        end = self.start_seconds + (self.duration_seconds or float("inf"))
        if read is None:
            curve = ((at - self.start_seconds, rate * self.scale) for at, rate in read_rates(self.path))
            span = end - self.start_seconds
            instants = takewhile(lambda at: at < span, renewal(curve, self.burstiness, rng))
            yield from self.sizes.drawn(instants, rng)
            return
        yield from _scaled(_within(read(self.path), self.start_seconds, end), self.scale, rng)


def length_seconds(path: Path) -> float:
    """How long a trace is: until just after its last request, or to the end of its last window."""
    read = form_of(path)
    if read is None:
        instants = [at for at, _ in read_rates(path)]
        return instants[-1]
    last = 0.0
    for request in read(path):
        last = request.at
    return nextafter(last, inf)


def form_of(path: Path) -> Callable[[Path], Iterator[Request]] | None:
    """The reader of a file's requests by its first line; None for a curve of rates.

    Raises:
        TraceError: It is none of the forms.
    """
    with path.open(encoding="utf-8") as lines:
        head = lines.readline().strip()
    if head.startswith("{"):
        return read_mooncake
    if head.upper().startswith("TIMESTAMP,"):
        return read_azure
    if head.startswith("window_start_s,"):
        return None
    raise TraceError(
        f"{path}: begins with {head[:60]!r}; known are TIMESTAMP,ContextTokens,GeneratedTokens, "
        'window_start_s,requests_per_s, and JSON lines with "timestamp"'
    )


def read_azure(path: Path) -> Iterator[Request]:
    """Azure's LLM inference traces (Splitwise, ISCA 2024): instants with seven fractional digits."""
    first: datetime | None = None
    for row in _rows(path):
        # microseconds are all that a datetime holds
        at = datetime.fromisoformat(_cell(path, row, 0).split("+")[0][:26])
        first = first or at
        yield Request((at - first).total_seconds(), _count(path, row, 1), _count(path, row, 2))


def read_mooncake(path: Path) -> Iterator[Request]:
    """Mooncake's traces (FAST'25): milliseconds; the hashes of shared prefixes are not used."""
    first: float | None = None
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                at = float(entry["timestamp"]) / 1000
                first = at if first is None else first
                yield Request(
                    at - first, max(1, int(entry["input_length"])), max(1, int(entry["output_length"]))
                )
            except (ValueError, KeyError, TypeError) as error:
                raise TraceError(f"{path}:{number}: {error!r}") from error


def read_rates(path: Path) -> Iterator[tuple[float, float]]:
    """A curve of rates, as (start of a window, requests per second in it), and (end, 0) at the end."""
    before = width = 0.0
    for index, row in enumerate(_rows(path)):
        at, rate = _number(path, row, 0), _number(path, row, 1)
        width = at - before if index else 0.0
        before = at
        yield at, rate
    yield before + width, 0.0


def _rows(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        next(rows, None)
        yield from (row for row in rows if row)


def _cell(path: Path, row: list[str], index: int) -> str:
    if index >= len(row):
        raise TraceError(f"{path}: {','.join(row)!r} has no column {index + 1}")
    return row[index]


def _number(path: Path, row: list[str], index: int) -> float:
    try:
        return float(_cell(path, row, index))
    except ValueError as error:
        raise TraceError(f"{path}: {','.join(row)!r}: {error}") from error


def _count(path: Path, row: list[str], index: int) -> int:
    return max(1, int(_number(path, row, index)))


def _within(requests: Iterator[Request], start: float, end: float) -> Iterator[Request]:
    for request in requests:
        if request.at >= end:
            return
        if request.at >= start:
            yield request._replace(at=request.at - start)


def _scaled(requests: Iterator[Request], scale: float, rng: Random) -> Iterator[Request]:
    """Leave out or copy; copies that come later wait in a heap, no longer than the spread."""
    whole, part = int(scale), scale - int(scale)
    later: list[Request] = []
    for request in requests:
        while later and later[0].at <= request.at:
            yield heappop(later)
        copies = whole + (rng.random() < part)
        if copies:
            yield request
        for _ in range(copies - 1):
            heappush(later, request._replace(at=request.at + rng.uniform(0, _SPREAD_SECONDS)))
    while later:
        yield heappop(later)
