"""An engine by itself, with arrivals and step times of the test's choice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random

from inferfleet.planning.speed import StepModel
from inferfleet.simulate.clock import Clock
from inferfleet.simulate.engine import Engine, Job, Limits
from inferfleet.simulate.ledger import Ledger
from inferfleet.simulate.policy import Request
from inferfleet.simulate.step_times import StepTimes
from inferfleet.values import Objectives

NOTHING = StepModel()
"""Steps that take no time; a test sets the coefficients that it is about."""

EVEN = replace(NOTHING, overhead_seconds=0.01)
"""Every step takes 10 ms."""

USUAL = replace(
    NOTHING,
    overhead_seconds=0.008,
    exchange_seconds_per_token=2e-5,
    context_seconds_per_token=1e-8,
    overhead_seconds_per_sequence=1e-5,
)

ROOMY = Limits(max_num_seqs=64, max_num_batched_tokens=2048, kv_cache_tokens=1_000_000)


class Bench:
    """One engine with its clock and its ledger."""

    def __init__(self, step: StepModel = EVEN, limits: Limits = ROOMY) -> None:
        self.clock = Clock()
        self.ledger = Ledger(3600.0, Objectives())
        self.engine = Engine("engine", StepTimes(step), limits, self.ledger, self.clock.post)
        self.limits = limits

    def run(self, requests: Iterable[Request], until: float | None = None) -> Iterator[float]:
        """Serve requests; yields after each arrival, and at the end once all is quiet."""
        for request in requests:
            self.clock.run(request.at)
            self.ledger.arrive(request.prompt_tokens, request.at)
            self.engine.accept(Job(request.at, request.prompt_tokens, request.output_tokens), request.at)
            yield request.at
        self.clock.run(1e9 if until is None else until)
        yield self.clock.now

    def serve(self, requests: Iterable[Request], until: float | None = None) -> Ledger:
        """Serve requests to the end."""
        for _ in self.run(requests, until):
            pass
        return self.ledger


def poisson(rate: float, count: int, prompt: int, output: int, seed: int = 1) -> list[Request]:
    """Requests of one size at random instants."""
    rng, now, made = Random(seed), 0.0, []
    for _ in range(count):
        now += rng.expovariate(rate)
        made.append(Request(now, prompt, output))
    return made
