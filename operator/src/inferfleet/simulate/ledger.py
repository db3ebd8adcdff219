"""What a run adds up to, in memory that does not grow with the number of requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inferfleet.simulate.engine import Job
from inferfleet.simulate.histogram import Histogram
from inferfleet.simulate.policy import Gateway
from inferfleet.values import Objectives

_MOST_BINS: Final = 1440
_LEAST_BIN_SECONDS: Final = 10.0


@dataclass(slots=True)
class Bin:
    """One span of the run for the plots; latencies of what got its first token, or ended, in it."""

    start: float
    arrivals: int = 0
    answered: int = 0
    attained: int = 0
    lost: int = 0
    looks: int = 0
    ready: float = 0.0
    pending: float = 0.0
    desired: float = 0.0
    queue: float = 0.0
    most_queue: float = 0.0
    dollars: float = 0.0
    ttft_p50: float = 0.0
    ttft_tail: float = 0.0
    itl_p50: float = 0.0
    itl_tail: float = 0.0


class Ledger:
    """Counts requests from arrival to end, and is the sink of all engines.

    `ttft` and `itl` are of the bins that have ended.
    """

    def __init__(self, duration_seconds: float, objectives: Objectives) -> None:
        """Nothing has happened yet."""
        self.bin_seconds = max(_LEAST_BIN_SECONDS, duration_seconds / _MOST_BINS)
        self.bins = [Bin(0.0)]
        self.ttft, self.itl = Histogram(), Histogram()
        self.arrived = self.answered = self.attained = self.lost = 0
        self.in_flight_seconds = 0.0
        self.prompt_tokens = self.output_tokens = 0
        self._percentile = objectives.percentile
        self._ttft_bound = objectives.ttft_seconds or float("inf")
        self._itl_bound = objectives.itl_seconds or float("inf")
        self._changed_at = 0.0
        self._in_flight = 0
        self._until = self.bin_seconds
        self._bin = self.bins[0]
        self._bin_ttft, self._bin_itl = Histogram(), Histogram()

    @property
    def in_flight(self) -> int:
        """Requests that have arrived and are neither finished nor lost."""
        return self._in_flight

    def arrive(self, prompt_tokens: int, now: float) -> None:
        """A request reaches the gateway."""
        if now >= self._until:
            self._turn(now)
        self._bin.arrivals += 1
        self.arrived += 1
        self.prompt_tokens += prompt_tokens
        self.in_flight_seconds += self._in_flight * (now - self._changed_at)
        self._changed_at = now
        self._in_flight += 1

    def started(self, job: Job, now: float) -> None:
        """A request has its first token."""
        if now >= self._until:
            self._turn(now)
        self._bin_ttft.add(job.first_at - job.at)

    def finished(self, job: Job, now: float) -> None:
        """A request is answered in whole; it attains if both of its latencies are within the objectives."""
        if now >= self._until:
            self._turn(now)
        self.in_flight_seconds += self._in_flight * (now - self._changed_at)
        self._changed_at = now
        self._in_flight -= 1
        self.answered += 1
        self.output_tokens += job.output
        self._bin.answered += 1
        itl = 0.0
        if job.output > 1:
            itl = (now - job.first_at) / (job.output - 1)
            self._bin_itl.add(itl)
        if itl <= self._itl_bound and job.first_at - job.at <= self._ttft_bound:
            self.attained += 1
            self._bin.attained += 1

    def lose(self, count: int, now: float) -> None:
        """So many requests end without a whole answer."""
        if now >= self._until:
            self._turn(now)
        self.in_flight_seconds += self._in_flight * (now - self._changed_at)
        self._changed_at = now
        self._in_flight -= count
        self.lost += count
        self._bin.lost += count

    def look(self, now: float, *, ready: int, pending: int, desired: int, queue: int, rate: float) -> None:
        """Note the fleet as of now, for the plots; `rate` is dollars per hour."""
        if now >= self._until:
            self._turn(now)
        held = self._bin
        held.looks += 1
        held.ready += ready
        held.pending += pending
        held.desired += desired
        held.queue += queue
        held.most_queue = max(held.most_queue, queue)
        held.dollars += rate

    def gateway(self, held: int, now: float) -> Gateway:
        """What a proxy would have counted by now."""
        return Gateway(
            in_flight=self._in_flight,
            held=held,
            arrivals_total=self.arrived,
            finished_total=self.answered,
            lost_total=self.lost,
            in_flight_seconds_total=self.in_flight_seconds + self._in_flight * (now - self._changed_at),
            prompt_tokens_total=self.prompt_tokens,
            output_tokens_total=self.output_tokens,
        )

    def close(self, now: float) -> None:
        """End the last bin."""
        self._turn(max(now, self._until))

    def _turn(self, now: float) -> None:
        done, tail = self._bin, self._percentile
        looks = max(1, done.looks)
        done.ready, done.pending, done.desired = (
            done.ready / looks,
            done.pending / looks,
            done.desired / looks,
        )
        done.queue, done.dollars = done.queue / looks, done.dollars / looks
        done.ttft_p50, done.ttft_tail = self._bin_ttft.percentile(50), self._bin_ttft.percentile(tail)
        done.itl_p50, done.itl_tail = self._bin_itl.percentile(50), self._bin_itl.percentile(tail)
        self.ttft.merge(self._bin_ttft)
        self.itl.merge(self._bin_itl)
        index = int(now // self.bin_seconds)
        self._bin = Bin(index * self.bin_seconds)
        self.bins.append(self._bin)
        self._until = (index + 1) * self.bin_seconds
        self._bin_ttft, self._bin_itl = Histogram(), Histogram()
