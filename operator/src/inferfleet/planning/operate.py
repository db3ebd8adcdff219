"""Find the load at which one replica still meets its objectives: batch, latencies and throughput."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, erf, inf, log, sqrt
from typing import Final

from inferfleet.planning.speed import StepModel
from inferfleet.values import Objectives, Workload

# without an objective a latency need only be finite
_UNBOUNDED: Final = 1e9
# mean batch of a replica that is all but idle, and how finely the largest batch is sought (within 0.3 %)
_LEAST_RUNNING: Final = 0.01
_BISECTIONS: Final = 10
# a larger share of the step budget than this for prompts, and every burst makes those that wait grow
_MOST_PROMPT_SHARE: Final = 0.9


_Steady = tuple[float, float, float]
"""Time to first token, inter-token latency, tokens per second."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A steady state of one replica. `running` is the mean batch, `peak` what it rises to at the percentile.

    Both are per data-parallel rank; the rates are of the whole replica.
    """

    running: float
    peak: int
    ttft_seconds: float
    itl_seconds: float
    tokens_per_second: float
    prompt_tokens_per_second: float


@lru_cache(maxsize=64)
def normal_quantile(share: float) -> float:
    """Return z with P(Z <= z) = share for a standard normal Z, never below 0."""
    low, high = 0.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        if (1 + erf(middle / sqrt(2))) / 2 < share:
            low = middle
        else:
            high = middle
    return low


def operate(
    step: StepModel, workload: Workload, objectives: Objectives, *, slots: int, batched_tokens: int
) -> OperatingPoint:
    """Return the largest mean batch that meets the objectives, or next to no load where none does.

    Latencies grow with the batch, so the largest is found by bisection on a logarithmic scale. The caller
    compares the point with the objectives: an idle replica that misses them is the nearest miss.
    """
    share = objectives.percentile / 100
    ttft, itl = _bounds(objectives)

    def steady(running: float) -> _Steady:
        return _steady(step, workload, running, share, batched_tokens)

    running = _most_running(steady, objectives, _mean_of_peak(slots, share))
    reached_ttft, reached_itl, rate = steady(running)
    if reached_ttft > ttft or reached_itl > itl:
        # latencies of the idle replica, at the pace of one request after another
        rate = steady(1.0)[2]
    return OperatingPoint(
        running=running,
        peak=max(1, ceil(running + normal_quantile(share) * sqrt(running) - 1e-9)),
        ttft_seconds=reached_ttft,
        itl_seconds=reached_itl,
        tokens_per_second=rate,
        prompt_tokens_per_second=rate * workload.prompt_tokens / workload.output_tokens,
    )


def pooling(
    point: OperatingPoint,
    step: StepModel,
    workload: Workload,
    objectives: Objectives,
    *,
    slots: int,
    batched_tokens: int,
) -> float:
    """Return how many times what one replica takes alone each of very many takes that share one queue.

    What chance asks to be kept free of each becomes nothing then: every slot is full on average, and a
    prompt finds a replica that has no other to do. The objectives hold as for one alone, so it is 1 where
    they, and not chance, limit the batch.
    """

    def steady(running: float) -> _Steady:
        return _steady(step, workload, running, objectives.percentile / 100, batched_tokens, waits=False)

    return max(1.0, steady(_most_running(steady, objectives, slots))[2] / point.tokens_per_second)


def _bounds(objectives: Objectives) -> tuple[float, float]:
    ttft = _UNBOUNDED if objectives.ttft_seconds is None else objectives.ttft_seconds
    itl = _UNBOUNDED if objectives.itl_seconds is None else objectives.itl_seconds
    return ttft, itl


def _most_running(steady: Callable[[float], _Steady], objectives: Objectives, most: float) -> float:
    """The largest mean batch that meets the objectives, next to none where none does."""
    ttft, itl = _bounds(objectives)

    def meets(running: float) -> bool:
        seen = steady(running)
        return seen[0] <= ttft and seen[1] <= itl

    running, most = _LEAST_RUNNING, max(_LEAST_RUNNING, most)
    if meets(most):
        return most
    if not meets(running):
        return running
    if most > 1.0:
        running, most = (1.0, most) if meets(1.0) else (running, 1.0)
    for _ in range(_BISECTIONS):
        middle = sqrt(running * most)
        running, most = (middle, most) if meets(middle) else (running, middle)
    return running


def _mean_of_peak(slots: int, share: float) -> float:
    """The mean number of running requests whose percentile still finds a slot: mean + z sqrt(mean) <= slots.

    Square-root staffing: with Poisson arrivals the number in service is close to Poisson itself
    (M/G/infinity).
    """
    z = normal_quantile(share)
    root = (-z + sqrt(z * z + 4 * slots)) / 2
    return root * root


def _steady(
    step: StepModel,
    workload: Workload,
    running: float,
    share: float,
    batched_tokens: int,
    *,
    waits: bool = True,
) -> _Steady:
    """Time to first token, inter-token latency and tokens per second at a steady mean batch.

    As many prompts arrive as end. A step carries a chunk of prompt with probability `chunked`; a token's
    latency is the longer kind of step where more than 1 - percentile of the steps are of that kind. The
    wait for earlier prompts is that of an M/D/1 queue, whose tail is close to exponential: P(W > t) = rho
    exp(-2 (1 - rho) t / S); there is none unless `waits`. With a draft several tokens come at once: the
    latency is the pause between two such bursts, as the engine's histogram counts it.
    """
    batch = running / step.stages
    context = workload.prompt_tokens + workload.output_tokens / 2
    arriving = batch * step.yields * workload.prompt_tokens / workload.output_tokens
    room = batched_tokens - batch * step.verified
    busy = arriving / room if room >= 1 else inf
    if busy > _MOST_PROMPT_SHARE:
        return inf, inf, 0.0
    chunk = min(room, max(float(workload.prompt_tokens), arriving))
    chunked = arriving / chunk
    plain_seconds = step.stage_seconds(batch, 0.0, context, 0.0)
    chunk_seconds = step.stage_seconds(batch, chunk, context, workload.prompt_tokens / 2)
    mean_seconds = (1 - chunked) * plain_seconds + chunked * chunk_seconds
    # uneven steps leave bubbles: a cycle of S batches over S stages takes S + (S - 1) cv^2 mean steps,
    # exact for cv = 0 and for exponential steps (Gordon and Newell 1967), taken as linear in between
    spread = chunked * (1 - chunked) * ((chunk_seconds - plain_seconds) / mean_seconds) ** 2
    others = (step.stages - 1) * (1 + spread) * mean_seconds
    mean = mean_seconds + others + step.hops_seconds(batch + arriving)
    tail = plain_seconds
    if 1 - (1 - chunked) ** step.stages > 1 - share:
        tail = chunk_seconds
    itl = max(mean, tail + others + step.hops_seconds(batch))
    service = ceil(workload.prompt_tokens / chunk) * (chunk_seconds + others + step.hops_seconds(chunk))
    wait = 0.0
    if waits and busy > 1 - share:
        each = workload.prompt_tokens / chunk * chunk_seconds
        wait = each / (2 * (1 - busy)) * log(busy / (1 - share))
    return share * (mean_seconds + others) + service + wait, itl, step.ranks * running * step.yields / mean
