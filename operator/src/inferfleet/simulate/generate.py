"""Requests from a generator: a rate that changes over time, gaps of any burstiness, sizes with a tail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import cos, log, pi, sqrt
from random import Random
from typing import Final

from inferfleet.simulate.policy import Request

_DIURNAL_STEP_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lognormal sizes: means, and coefficients of variation (about 1 in public traces)."""

    prompt_tokens: float = 1024.0
    output_tokens: float = 256.0
    prompt_spread: float = 1.0
    output_spread: float = 1.0

    def drawn(self, instants: Iterable[float], rng: Random) -> Iterator[Request]:
        """Yield a request for each instant."""
        prompt = _lognormal(self.prompt_tokens, self.prompt_spread, rng)
        output = _lognormal(self.output_tokens, self.output_spread, rng)
        for at in instants:
            yield Request(at, max(1, round(prompt())), max(1, round(output())))


@dataclass(frozen=True, slots=True)
class Generated:
    """A generated load: a step curve of (from, requests per second), which ends at its last instant."""

    curve: tuple[tuple[float, float], ...]
    sizes: Sizes = field(default_factory=Sizes)
    burstiness: float = 1.0

    def stream(self, seed: int) -> Iterator[Request]:
        """Yield the requests in order of time."""
        rng = Random(seed)
        yield from self.sizes.drawn(renewal(self.curve, self.burstiness, rng), rng)


def _lognormal(mean: float, spread: float, rng: Random) -> Callable[[], float]:
    if not spread:
        return lambda: mean
    variance = log(1 + spread * spread)
    return partial(rng.lognormvariate, log(mean) - variance / 2, sqrt(variance))


def renewal(curve: Iterable[tuple[float, float]], burstiness: float, rng: Random) -> Iterator[float]:
    """Yield arrivals whose gaps are gamma distributed in units of the mean gap of the moment.

    `burstiness` is the coefficient of variation of the gaps: 1 is Poisson, 0 is even. Time is stretched by
    the rate (time rescaling), so that the rate follows the curve whatever the burstiness.
    """
    shape = 1 / (burstiness * burstiness) if burstiness else 0.0

    def gap() -> float:
        return rng.gammavariate(shape, 1 / shape) if shape else 1.0

    # begin anywhere in a gap
    due = gap() * rng.random()
    passed = 0.0
    for (start, rate), (end, _) in pairwise(curve):
        if rate > 0:
            inside = passed + (end - start) * rate
            while due < inside:
                at = start + (due - passed) / rate
                due += gap()
                if at >= 0:
                    yield at
            passed = inside


def constant(rate: float, seconds: float) -> tuple[tuple[float, float], ...]:
    """The same rate throughout."""
    return ((0.0, rate), (seconds, 0.0))


def diurnal(
    low: float, high: float, seconds: float, period_seconds: float = 86400.0
) -> tuple[tuple[float, float], ...]:
    """A cosine between two rates that begins low, in steps of a minute."""
    steps = int(seconds // _DIURNAL_STEP_SECONDS)
    middle, swing = (low + high) / 2, (high - low) / 2
    points = [
        (at, middle - swing * cos(2 * pi * at / period_seconds))
        for at in (index * _DIURNAL_STEP_SECONDS for index in range(steps))
    ]
    return (*points, (seconds, 0.0))


def spike(
    base: float, peak: float, at: float, lasts: float, seconds: float
) -> tuple[tuple[float, float], ...]:
    """A base rate with one spell at another; a step where the spell lasts to the end."""
    points = [(0.0, base), (at, peak)]
    if at + lasts < seconds:
        points.append((at + lasts, base))
    return (*points, (seconds, 0.0))
