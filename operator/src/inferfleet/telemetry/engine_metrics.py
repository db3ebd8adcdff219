"""Reading an engine's Prometheus exposition: only the series that scaling needs, under all names they had.

Names as vLLM 0.32 exposes them; the fallbacks are those of older releases that still run in the field.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

Buckets = tuple[tuple[float, float], ...]
Series = Mapping[str, list[Sample]]

RUNNING: Final = ("vllm:num_requests_running",)
WAITING: Final = ("vllm:num_requests_waiting",)
KV_USAGE: Final = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
PROMPT_TOKENS: Final = ("vllm:prompt_tokens_total",)
GENERATION_TOKENS: Final = ("vllm:generation_tokens_total",)
FIRST_TOKEN: Final = ("vllm:time_to_first_token_seconds_bucket",)
INTER_TOKEN: Final = ("vllm:inter_token_latency_seconds_bucket", "vllm:time_per_output_token_seconds_bucket")
CACHE_CONFIG: Final = ("vllm:cache_config_info",)
WANTED: Final = frozenset(
    (
        *RUNNING,
        *WAITING,
        *KV_USAGE,
        *PROMPT_TOKENS,
        *GENERATION_TOKENS,
        *FIRST_TOKEN,
        *INTER_TOKEN,
        *CACHE_CONFIG,
    )
)


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """What one engine said, summed over its data-parallel ranks; None for what it did not say."""

    running: float
    waiting: float
    kv_usage: float | None
    prompt_tokens_total: float | None
    generation_tokens_total: float | None
    kv_cache_tokens: int | None
    ttft_buckets: Buckets
    itl_buckets: Buckets


def read_engine_metrics(text: str) -> EngineMetrics | None:
    """Read an exposition; None where it does not even tell how many requests run and wait.

    Names are matched whole: `num_requests_waiting` must not take in `num_requests_waiting_by_reason`.
    """
    try:
        series = _series(text)
    except ValueError:
        return None
    running, waiting = _sum(series, RUNNING), _sum(series, WAITING)
    if running is None or waiting is None:
        return None
    usage = _pick(series, KV_USAGE)
    return EngineMetrics(
        running=running,
        waiting=waiting,
        kv_usage=sum(sample.value for sample in usage) / len(usage) if usage else None,
        prompt_tokens_total=_sum(series, PROMPT_TOKENS),
        generation_tokens_total=_sum(series, GENERATION_TOKENS),
        kv_cache_tokens=_cache_tokens(_pick(series, CACHE_CONFIG)),
        ttft_buckets=_buckets(_pick(series, FIRST_TOKEN)),
        itl_buckets=_buckets(_pick(series, INTER_TOKEN)),
    )


def _series(text: str) -> Series:
    """Samples by name. Lines of other series, most of them, are dropped before the costly parse."""
    lines = [line for line in text.splitlines() if line[: _name_length(line)] in WANTED]
    series: dict[str, list[Sample]] = defaultdict(list)
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            series[sample.name].append(sample)
    return series


def _name_length(line: str) -> int:
    brace = line.find("{")
    return brace if brace >= 0 else line.find(" ")


def _pick(series: Series, names: tuple[str, ...]) -> list[Sample]:
    return next((series[name] for name in names if name in series), [])


def _sum(series: Series, names: tuple[str, ...]) -> float | None:
    samples = _pick(series, names)
    return sum(sample.value for sample in samples) if samples else None


def _buckets(samples: list[Sample]) -> Buckets:
    """Cumulative (upper bound, count) pairs; the ranks share their bounds."""
    counts: dict[float, float] = defaultdict(float)
    for sample in samples:
        counts[float(sample.labels["le"])] += sample.value
    return tuple(sorted(counts.items()))


def _cache_tokens(samples: list[Sample]) -> int | None:
    """Tokens that the KV cache holds, over all ranks; blocks times their size where an engine says no more.

    The two differ for models whose layers cache differently: there only the engine's own number is right.
    """
    try:
        return sum(_rank_tokens(sample.labels) for sample in samples) or None
    except (KeyError, ValueError):
        return None


def _rank_tokens(said: Mapping[str, str]) -> int:
    known = said.get("kv_cache_size_tokens", "")
    return int(known) if known.isdecimal() else int(said["num_gpu_blocks"]) * int(said["block_size"])
