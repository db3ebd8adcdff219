"""What an engine's metrics say: only the series that scaling needs, under all names they had.

Names as vLLM 0.32 exposes them; the fallbacks are those of older releases that still run in the field.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import Final

from inferfleet.values import NO_BUCKETS, Buckets

Names = tuple[str, ...]
Labels = Mapping[str, str]
Point = tuple[Labels, float]
Pick = Callable[[Names], Sequence[Point]]

RUNNING: Final = ("vllm:num_requests_running",)
WAITING: Final = ("vllm:num_requests_waiting",)
KV_USAGE: Final = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
PROMPT_TOKENS: Final = ("vllm:prompt_tokens_total",)
GENERATION_TOKENS: Final = ("vllm:generation_tokens_total",)
FIRST_TOKEN: Final = ("vllm:time_to_first_token_seconds_bucket",)
INTER_TOKEN: Final = ("vllm:inter_token_latency_seconds_bucket", "vllm:time_per_output_token_seconds_bucket")
REQUEST_INTER_TOKEN: Final = ("vllm:request_time_per_output_token_seconds_bucket",)
FINISHED: Final = ("vllm:request_success_total",)
FINISHED_PROMPT: Final = ("vllm:request_prompt_tokens_sum",)
FINISHED_OUTPUT: Final = ("vllm:request_generation_tokens_sum",)
CACHE_CONFIG: Final = ("vllm:cache_config_info",)
ENGINE_SERIES: Final = (
    RUNNING,
    WAITING,
    KV_USAGE,
    PROMPT_TOKENS,
    GENERATION_TOKENS,
    FIRST_TOKEN,
    INTER_TOKEN,
    REQUEST_INTER_TOKEN,
    FINISHED,
    FINISHED_PROMPT,
    FINISHED_OUTPUT,
    CACHE_CONFIG,
)

# What tells how much the cache holds.
CACHE_LABELS: Final = ("kv_cache_size_tokens", "num_gpu_blocks", "block_size")
# The library's parser takes 1.0 ms for an engine's page, which a thousand engines cannot afford; this 0.2 ms.
# Names are matched whole: `num_requests_waiting` must not take in `num_requests_waiting_by_reason`.
LINE: Final = re.compile(
    rf"^({'|'.join(name for names in ENGINE_SERIES for name in names)})(?:{{(.*)}})? +(\S+)(?: +-?\d+)?$",
    re.MULTILINE,
)
# One label after the other, so that no value is taken for a label; values are read as written.
LABEL: Final = re.compile(r'(\w+) *= *"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """What one engine said, summed over its data-parallel ranks; None for what it did not say."""

    running: float
    waiting: float
    kv_usage: float | None = None
    prompt_tokens_total: float | None = None
    generation_tokens_total: float | None = None
    kv_cache_tokens: int | None = None
    ttft_buckets: Buckets = NO_BUCKETS
    itl_buckets: Buckets = NO_BUCKETS
    request_itl_buckets: Buckets = NO_BUCKETS
    requests_total: float | None = None
    request_prompt_tokens_total: float | None = None
    request_output_tokens_total: float | None = None

    @property
    def is_sane(self) -> bool:
        """True if every number can be a measurement: NaN, infinite or negative ones cannot.

        A histogram with a hole in it would be remembered for an hour as so many requests and misses.
        """
        counters = (self.prompt_tokens_total, self.generation_tokens_total, self.requests_total)
        sums = (self.request_prompt_tokens_total, self.request_output_tokens_total)
        counts = (self.ttft_buckets.counts, self.itl_buckets.counts, self.request_itl_buckets.counts)
        told = (self.running, self.waiting, self.kv_usage, *counters, *sums, *chain(*counts))
        return all(number is None or 0 <= number < inf for number in told)


def read_engine_metrics(text: str) -> EngineMetrics | None:
    """Read an exposition; None where it does not even tell how many requests run and wait."""
    series: dict[str, list[Point]] = defaultdict(list)
    try:
        for name, labels, value in LINE.findall(text):
            series[name].append((dict(LABEL.findall(labels)) if labels else {}, float(value)))
    except ValueError:
        return None
    return assemble(lambda names: next((series[name] for name in names if name in series), ()))


def assemble(pick: Pick) -> EngineMetrics | None:
    """Put one engine's metrics together from its series, wherever they come from.

    `pick` gives the points of the first of several names that the engine has.
    """

    def total(names: Names) -> float | None:
        points = pick(names)
        return sum(value for _, value in points) if points else None

    running, waiting = total(RUNNING), total(WAITING)
    if running is None or waiting is None:
        return None
    usage = pick(KV_USAGE)
    return EngineMetrics(
        running=running,
        waiting=waiting,
        kv_usage=sum(value for _, value in usage) / len(usage) if usage else None,
        prompt_tokens_total=total(PROMPT_TOKENS),
        generation_tokens_total=total(GENERATION_TOKENS),
        kv_cache_tokens=_cache_tokens(pick(CACHE_CONFIG)),
        ttft_buckets=_buckets(pick(FIRST_TOKEN)),
        itl_buckets=_buckets(pick(INTER_TOKEN)),
        request_itl_buckets=_buckets(pick(REQUEST_INTER_TOKEN)),
        requests_total=total(FINISHED),
        request_prompt_tokens_total=total(FINISHED_PROMPT),
        request_output_tokens_total=total(FINISHED_OUTPUT),
    )


def _buckets(points: Sequence[Point]) -> Buckets:
    """The sum of the ranks' histograms, which share their bounds; one without a bound is left out."""
    counts: dict[float, float] = defaultdict(float)
    for labels, value in points:
        with suppress(KeyError, ValueError):
            counts[float(labels["le"])] += value
    bounds = tuple(sorted(counts))
    return Buckets(bounds, tuple(counts[bound] for bound in bounds))


def _cache_tokens(points: Sequence[Point]) -> int | None:
    """Tokens that the KV cache holds, over all ranks; blocks times their size where an engine says no more.

    The two differ for models whose layers cache differently: there only the engine's own number is right.
    """
    try:
        return sum(_rank_tokens(labels) for labels, _ in points) or None
    except (KeyError, ValueError):
        return None


def _rank_tokens(said: Labels) -> int:
    known = said.get("kv_cache_size_tokens", "")
    return int(known) if known.isdecimal() else int(said["num_gpu_blocks"]) * int(said["block_size"])
