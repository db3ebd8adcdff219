"""What a simulated engine exposes: counters and histograms, as vLLM's."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import inf
from typing import Final

from inferfleet.values import Buckets

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


class Tally:
    """Counts by upper bound. They are summed when they are read, and that is kept until they change."""

    __slots__ = ("_bounds", "_counts", "_read")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Nothing was counted."""
        self._bounds = bounds
        self._counts = [0] * len(bounds)
        self._read: Buckets | None = None

    def add(self, value: float, count: int = 1) -> None:
        """Count a value so many times."""
        self._counts[bisect_left(self._bounds, value)] += count
        self._read = None

    def read(self) -> Buckets:
        """What an exposition would say."""
        if self._read is None:
            self._read = Buckets(self._bounds, tuple(accumulate(self._counts)))
        return self._read

    def read_with(self, value: float, count: int) -> Buckets:
        """The same as if a value had been counted so many times more."""
        counts = [*self._counts]
        counts[bisect_left(self._bounds, value)] += count
        return Buckets(self._bounds, tuple(accumulate(counts)))


class Meters:
    """Totals since the engine started."""

    __slots__ = (
        *("itl", "request_itl", "ttft"),
        *("arrivals", "finished", "finished_output", "finished_prompt", "prompt_tokens", "tokens"),
    )

    def __init__(self) -> None:
        """Nothing has happened."""
        self.arrivals = self.tokens = self.prompt_tokens = 0
        self.finished = self.finished_prompt = self.finished_output = 0
        self.ttft, self.itl, self.request_itl = Tally(TTFT_BOUNDS), Tally(ITL_BOUNDS), Tally(ITL_BOUNDS)

    def start(self, prompt: int, ttft_seconds: float) -> None:
        """The first token of a request."""
        self.prompt_tokens += prompt
        self.ttft.add(ttft_seconds)

    def finish(self, prompt: int, output: int, itl_seconds: float) -> None:
        """The last token of a request."""
        self.finished += 1
        self.finished_prompt += prompt
        self.finished_output += output
        self.request_itl.add(itl_seconds)
