"""Time, and what happens when: one heap of engines to advance and of calls to make."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Protocol


class Timed(Protocol):
    """What the clock advances. `due` is the number of the event that it waits for, 0 for none."""

    due: int

    def advance(self, now: float) -> None:
        """Its event is here."""


class Call:
    """A call to be made once."""

    __slots__ = ("_action", "due")

    def __init__(self, action: Callable[[], None]) -> None:
        """A call that waits for nothing yet."""
        self._action, self.due = action, 0

    def advance(self, now: float) -> None:
        """Make it."""
        del now
        self._action()


class Clock:
    """Events in order of time, those of one instant in the order in which they were asked for."""

    __slots__ = ("_heap", "_order", "now")

    def __init__(self) -> None:
        """Begin at 0."""
        self.now = 0.0
        self._heap: list[tuple[float, int, Timed]] = []
        self._order = 0

    def post(self, when: float, timed: Timed) -> None:
        """Advance it then, unless it asks for something else before."""
        self._order = timed.due = order = self._order + 1
        heappush(self._heap, (when, order, timed))

    def call(self, delay_seconds: float, action: Callable[[], None]) -> None:
        """Call so much later."""
        self.post(self.now + max(0.0, delay_seconds), Call(action))

    @property
    def next_at(self) -> float:
        """When the next event is due, infinite if there is none."""
        return self._heap[0][0] if self._heap else inf

    def run(self, until: float) -> None:
        """Let everything happen that is due before or at `until`, which is then now."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, order, timed = heappop(heap)
            if timed.due == order:
                self.now = when
                timed.advance(when)
        self.now = until
