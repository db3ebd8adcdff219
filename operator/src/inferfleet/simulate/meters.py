"""What a simulated engine exposes: counters and histograms, as vLLM's."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import inf
from typing import Final, TypeAlias

Buckets: TypeAlias = tuple[tuple[float, float], ...]

TTFT_BOUNDS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 640.0, 2560.0, inf),
)
"""Bucket bounds of vLLM's `time_to_first_token_seconds`."""

ITL_BOUNDS: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, inf),
)
"""Bucket bounds of vLLM's `inter_token_latency_seconds` and `request_time_per_output_token_seconds`."""


class Meters:
    """Totals since the engine started. Buckets are summed when they are read, and kept until they change."""

    __slots__ = (
        *("_itl_counts", "_kept", "_request_itl_counts", "_ttft_counts"),
        *("arrivals", "finished", "finished_output", "finished_prompt", "prompt_tokens", "tokens"),
    )

    def __init__(self) -> None:
        """Nothing has happened."""
        self.arrivals = self.tokens = self.prompt_tokens = 0
        self.finished = self.finished_prompt = self.finished_output = 0
        self._ttft_counts = [0] * len(TTFT_BOUNDS)
        self._itl_counts = [0] * len(ITL_BOUNDS)
        self._request_itl_counts = [0] * len(ITL_BOUNDS)
        self._kept: tuple[Buckets, Buckets] | None = None

    def decode(self, tokens: int, seconds_each: float) -> None:
        """So many tokens, each so long after the one before."""
        self.tokens += tokens
        self._itl_counts[bisect_left(ITL_BOUNDS, seconds_each)] += tokens

    def start(self, prompt: int, ttft_seconds: float) -> None:
        """The first token of a request."""
        self.prompt_tokens += prompt
        self._ttft_counts[bisect_left(TTFT_BOUNDS, ttft_seconds)] += 1
        self._kept = None

    def finish(self, prompt: int, output: int, itl_seconds: float) -> None:
        """The last token of a request."""
        self.finished += 1
        self.finished_prompt += prompt
        self.finished_output += output
        self._request_itl_counts[bisect_left(ITL_BOUNDS, itl_seconds)] += 1
        self._kept = None

    def itl_buckets(self, more_tokens: int, seconds_each: float) -> Buckets:
        """Inter-token latencies, with tokens that have come since the last event."""
        counts = self._itl_counts
        if more_tokens:
            counts = [*counts]
            counts[bisect_left(ITL_BOUNDS, seconds_each)] += more_tokens
        return tuple(zip(ITL_BOUNDS, accumulate(counts), strict=True))

    @property
    def request_buckets(self) -> tuple[Buckets, Buckets]:
        """Times to first token, and mean inter-token latencies of finished requests."""
        if self._kept is None:
            self._kept = (
                tuple(zip(TTFT_BOUNDS, accumulate(self._ttft_counts), strict=True)),
                tuple(zip(ITL_BOUNDS, accumulate(self._request_itl_counts), strict=True)),
            )
        return self._kept
