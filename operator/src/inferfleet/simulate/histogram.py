"""Latencies in logarithmic buckets: flat memory, percentiles within 2 %."""

from __future__ import annotations

from collections import defaultdict
from math import exp, log
from typing import Final

_GROWTH: Final = 0.04
"""Natural logarithm of the ratio between bucket bounds: its values are within 2 % of a bucket's middle."""

_LEAST_SECONDS: Final = 1e-6


class Histogram:
    """Counts of values above zero; what is smaller than a microsecond counts as one."""

    __slots__ = ("_buckets", "count")

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: defaultdict[int, int] = defaultdict(int)
        self.count = 0

    def add(self, value: float) -> None:
        """Count a value."""
        self._buckets[int(log(value) / _GROWTH - 1e6) if value > _LEAST_SECONDS else _FLOOR] += 1
        self.count += 1

    def merge(self, other: Histogram) -> None:
        """Count all that another has counted."""
        for index, count in other._buckets.items():
            self._buckets[index] += count
        self.count += other.count

    def percentile(self, percent: float) -> float:
        """The value that `percent` of all do not exceed, 0 of nothing."""
        wanted = self.count * percent / 100
        seen = 0
        for index in sorted(self._buckets):
            seen += self._buckets[index]
            if seen >= wanted:
                return exp((index + 1e6 - 0.5) * _GROWTH)
        return 0.0


_FLOOR: Final = int(log(_LEAST_SECONDS) / _GROWTH - 1e6)
