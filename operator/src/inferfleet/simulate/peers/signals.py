"""What another system's metrics pipeline would have seen: gauges, rates and quantiles over its own windows.

Every peer reads the engines' public series, so every law here gets no more than the samples of the replicas
that answer a scrape. A system with a proxy in front (KubeAI, Knative, llm-d's endpoint picker, SkyServe) also
sees requests arrive and in flight, those included that wait for a first replica. Scrapes are taken to be
fresh at each tick of a law, which is in the peers' favour: a real pipeline lags by one scrape interval.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from inferfleet.simulate.policy import Seen
from inferfleet.values import Buckets


def running(seen: Seen) -> float:
    """Requests in the batches of all replicas."""
    return sum(sample.running for sample in seen.samples)


def waiting(seen: Seen) -> float:
    """Requests in the engines' queues, and those that the gateway holds because no replica is ready."""
    return sum(sample.waiting for sample in seen.samples) + seen.gateway.held


def tokens(seen: Seen) -> list[tuple[str, tuple[float, ...]]]:
    """Each replica's prompt and generated tokens, finished requests, and the sums of their tokens."""
    return [
        (
            sample.worker,
            (
                sample.prompt_tokens_total or 0.0,
                sample.generation_tokens_total or 0.0,
                sample.requests_total or 0.0,
                sample.request_prompt_tokens_total or 0.0,
                sample.request_output_tokens_total or 0.0,
            ),
        )
        for sample in seen.samples
    ]


@dataclass(slots=True)
class Window:
    """A gauge over the last `seconds`: a point holds from when it was taken, as in PromQL's `*_over_time`."""

    seconds: float
    points: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, now: float, value: float) -> None:
        """Remember `value`, forget what left the window."""
        self.points.append((now, value))
        while self.points[0][0] <= now - self.seconds:
            self.points.popleft()

    def mean(self) -> float:
        """Mean of the points, NaN when there is none."""
        return sum(value for _, value in self.points) / len(self.points) if self.points else math.nan

    def max(self) -> float:
        """Largest point, NaN when there is none."""
        return max((value for _, value in self.points), default=math.nan)

    def min(self) -> float:
        """Smallest point, NaN when there is none."""
        return min((value for _, value in self.points), default=math.nan)


@dataclass(slots=True)
class Counters:
    """Counters of many replicas over the last `seconds`, as PromQL's `sum(increase(...))` has them.

    Each replica's increase counts from its oldest point in the window; a fall is a restart from 0.
    A replica that was never seen before starts at its first point, so what it did until then is missed.
    """

    seconds: float
    series: dict[str, deque[tuple[float, tuple[float, ...]]]] = field(default_factory=dict)

    def add(self, now: float, readings: Iterable[tuple[str, tuple[float, ...]]]) -> None:
        """Remember one reading a replica; forget what left the window but for the point that opens it."""
        for name, values in readings:
            self.series.setdefault(name, deque()).append((now, values))
        for name, points in list(self.series.items()):
            while len(points) > 1 and points[1][0] <= now - self.seconds:
                points.popleft()
            if points[-1][0] <= now - self.seconds:
                del self.series[name]

    def increase(self) -> tuple[float, ...]:
        """The increases over the window, summed over replicas; empty when nothing was read."""
        totals: list[float] = []
        for points in self.series.values():
            first, last = points[0][1], points[-1][1]
            grown = [
                after - before if after >= before else after
                for before, after in zip(first, last, strict=True)
            ]
            totals = grown if not totals else [a + b for a, b in zip(totals, grown, strict=True)]
        return tuple(totals)

    def rate(self) -> tuple[float, ...]:
        """Increase per second of the time that the points span (per replica, then summed)."""
        totals: list[float] = []
        for points in self.series.values():
            span = points[-1][0] - points[0][0]
            first, last = points[0][1], points[-1][1]
            grown = [
                after - before if after >= before else after
                for before, after in zip(first, last, strict=True)
            ]
            rates = [value / span if span > 0 else 0.0 for value in grown]
            totals = rates if not totals else [a + b for a, b in zip(totals, rates, strict=True)]
        return tuple(totals)


def histogram_quantile(q: float, bounds: Sequence[float], counts: Sequence[float]) -> float:
    """PromQL's histogram_quantile: linear inside a bucket, NaN without observations.

    Args:
        q: 0..1.
        bounds: upper bounds, ascending, the last infinite.
        counts: cumulative counts.
    """
    if not counts or counts[-1] <= 0:
        return math.nan
    rank = q * counts[-1]
    index = next(i for i, count in enumerate(counts) if count >= rank)
    if math.isinf(bounds[index]):
        return bounds[index - 1] if index else math.nan
    low, below = (bounds[index - 1], counts[index - 1]) if index else (0.0, 0.0)
    inside = counts[index] - below
    return low + (bounds[index] - low) * ((rank - below) / inside if inside > 0 else 1.0)


@dataclass(slots=True)
class Histogram:
    """A latency histogram of all replicas over the last `seconds`."""

    seconds: float
    counters: Counters = field(init=False)
    bounds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self.counters = Counters(self.seconds)

    def add(self, now: float, histograms: Iterable[tuple[str, Buckets]]) -> None:
        """Remember one reading of each replica; replicas that never observed anything have no buckets."""
        known = [(name, buckets) for name, buckets in histograms if buckets]
        if known:
            self.bounds = known[0][1].bounds
        self.counters.add(now, ((name, buckets.counts) for name, buckets in known))

    def quantile(self, q: float) -> float:
        """The quantile over the window, NaN when nothing was observed."""
        return histogram_quantile(q, self.bounds, self.counters.increase())


def ceil(value: float) -> int:
    """Round up, forgiving the float error of a division that should have come out whole."""
    return math.ceil(value - 1e-9)
