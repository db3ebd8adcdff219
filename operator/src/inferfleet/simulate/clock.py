"""Time, and what happens when: one heap of engines to advance and of calls to make."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf

from inferfleet.simulate.engine import Engine


class Clock:
    """Events in order of time, those of one instant in the order in which they were asked for."""

    __slots__ = ("_heap", "_order", "now")

    def __init__(self) -> None:
        """Begin at 0."""
        self.now = 0.0
        self._heap: list[tuple[float, int, Engine | Callable[[], None], int]] = []
        self._order = 0

    def post(self, when: float, engine: Engine) -> None:
        """Advance an engine then, unless it asks for something else before."""
        self._order += 1
        heappush(self._heap, (when, self._order, engine, engine.version))

    def call(self, delay_seconds: float, action: Callable[[], None]) -> None:
        """Call so much later."""
        self._order += 1
        heappush(self._heap, (self.now + max(0.0, delay_seconds), self._order, action, -1))

    @property
    def next_at(self) -> float:
        """When the next event is due, infinite if there is none."""
        return self._heap[0][0] if self._heap else inf

    def run(self, until: float) -> None:
        """Let everything happen that is due before or at `until`, which is then now."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, _, target, version = heappop(heap)
            if isinstance(target, Engine):
                if target.version == version:
                    self.now = when
                    target.advance(when)
            else:
                self.now = when
                target()
        self.now = until
