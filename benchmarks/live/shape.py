"""The shape of load: phases whose rate is told in replicas' worth, and the requests that come of it.

Runs on the host and in the traffic pod alike: the same arguments give the same requests.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

SPREAD = 0.5  # sizes are uniform within this share of their mean


@dataclass(frozen=True)
class Phase:
    """A stretch of load from one rate to another, in requests that one replica can just serve."""

    name: str
    seconds: float
    begin: float
    end: float

    @property
    def rises(self) -> bool:
        """Whether it asks for more than one replica can do, at once."""
        return self.begin == self.end > 1


SHAPES = {
    "alone": (Phase("alone", 15, 0.2, 0.2),),
    "ten-minutes": (
        Phase("calm", 60, 0.4, 0.4),
        Phase("step", 150, 1.7, 1.7),
        Phase("idle", 90, 0.1, 0.1),
        Phase("burst", 30, 2.6, 2.6),
        Phase("after", 90, 0.4, 0.4),
        Phase("ramp", 150, 0.2, 2.2),
        Phase("end", 30, 0.2, 0.2),
    ),
    "hundreds": (
        Phase("calm", 45, 4, 4),
        Phase("step", 105, 30, 30),
        Phase("ramp", 150, 30, 105),
        Phase("top", 60, 105, 105),
        Phase("low", 210, 5, 5),
    ),
}


@dataclass(frozen=True)
class Request:
    """One request: seconds after the start, and its size in tokens."""

    at: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Shape:
    """Phases, stretched; the rate of one replica; the mean request; a seed."""

    replica_rps: float
    stretch: float = 1.0
    seed: int = 1
    prompt_tokens: int = 120
    output_tokens: int = 200
    phases: str = "ten-minutes"

    @property
    def seconds(self) -> float:
        """Its whole length."""
        return sum(phase.seconds for phase in SHAPES[self.phases]) * self.stretch

    def starts(self) -> Iterator[tuple[float, Phase]]:
        """Every phase and when it begins."""
        at = 0.0
        for phase in SHAPES[self.phases]:
            yield at, phase
            at += phase.seconds * self.stretch

    def requests(self) -> Iterator[Request]:
        """Poisson arrivals of the rate that changes (by thinning), sizes uniform around their means."""
        dice = random.Random(self.seed)
        for start, phase in self.starts():
            seconds, top = phase.seconds * self.stretch, max(phase.begin, phase.end)
            at = dice.expovariate(top * self.replica_rps)
            while at < seconds:
                rate = phase.begin + (phase.end - phase.begin) * at / seconds
                if dice.random() * top < rate:
                    yield Request(
                        start + at, self._size(dice, self.prompt_tokens), self._size(dice, self.output_tokens)
                    )
                at += dice.expovariate(top * self.replica_rps)

    @staticmethod
    def _size(dice: random.Random, mean: int) -> int:
        return max(2, round(mean * dice.uniform(1 - SPREAD, 1 + SPREAD)))
