"""What one replica can take at the objectives: the plan's answer, corrected by what is seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from inferfleet.scaling.flows import KEEP_SECONDS, Flows, within
from inferfleet.scaling.latency import Latency
from inferfleet.values import Flow, ScalingMemory, Workload

WINDOW_SECONDS = 30.0
BUSY_SECONDS = 10.0
"""Replicas that had a long queue for this many replica-seconds of the window show what they can do."""

STEP_SECONDS = 30.0
"""Latencies move the capacity at most this often: a step must show before the next."""

FEWER, MORE = 0.9, 1.05
"""Down fast, up slowly, as congestion control does: too much trust costs requests, too little only money."""

COMFORT, FULL = 0.75, 0.7
"""Below this share of the objectives, at this share of its capacity, a replica may be asked for more."""

LEAST = 0.5
"""Latencies lower the capacity to this share of what the plan says or a busy replica showed, no further: an
objective that no load explains must not buy replicas without end."""

FIRST_REQUESTS, REMEMBERED_REQUESTS = 10, 200
"""After so many the guess of the mean request is dropped; over so many, about, it is taken then."""


@dataclass(frozen=True, slots=True)
class Request:
    """The mean request in tokens."""

    prompt_tokens: float
    output_tokens: float


def mean_request(memory: ScalingMemory, workload: Workload) -> Request:
    """The mean request as learned, or as the spec guesses it until then."""
    if memory.prompt_tokens is None or memory.output_tokens is None:
        return Request(workload.prompt_tokens, workload.output_tokens)
    return Request(memory.prompt_tokens, memory.output_tokens)


def learn_request(memory: ScalingMemory, flows: Flows, news: Flow | None) -> ScalingMemory:
    """Move the mean request towards those that finished meanwhile; the first few replace the guess."""
    first = memory.prompt_tokens is None or memory.output_tokens is None
    seen = within(flows, KEEP_SECONDS) if first else news
    if seen is None or seen.finished <= (FIRST_REQUESTS if first else 0):
        return memory
    prompt, output = seen.prompt_tokens / seen.finished, seen.output_tokens / seen.finished
    share = 1.0 if first else seen.finished / (seen.finished + REMEMBERED_REQUESTS)
    before = Request(memory.prompt_tokens or prompt, memory.output_tokens or output)
    return replace(
        memory,
        prompt_tokens=before.prompt_tokens + share * (prompt - before.prompt_tokens),
        output_tokens=before.output_tokens + share * (output - before.output_tokens),
    )


def scaled(memory: ScalingMemory, predicted: float) -> float | None:
    """The learned capacity, carried over to requests for which the plan now predicts another."""
    learned, then = memory.tokens_per_second_per_replica, memory.predicted_tokens_per_second
    if learned is None or not then or not predicted:
        return learned
    return learned * predicted / then


def learn(
    memory: ScalingMemory, predicted: float, flows: Flows, latency: Latency, now: float
) -> ScalingMemory:
    """Correct the capacity by what busy replicas did, and by the latencies under the present load.

    Idle replicas teach nothing, nor do those that just started. A long queue shows the most that a replica
    can do, which bounds what it can do at the objectives. Latencies tell the rest: above the objectives at a
    pace that should have been fine, the capacity is less; well below them at full pace, it is more.
    """
    known = scaled(memory, predicted)
    memory = replace(
        memory, tokens_per_second_per_replica=known, predicted_tokens_per_second=predicted or None
    )
    window = within(flows, WINDOW_SECONDS)
    if window is None or window.replica_seconds <= 0:
        return memory
    if window.busy_seconds >= BUSY_SECONDS and window.busy_tokens > 0:
        most = window.busy_tokens / window.busy_seconds
        bounded = most if latency.worst is None or known is None else min(most, known)
        return replace(memory, tokens_per_second_per_replica=bounded, busy_tokens_per_second=most)
    pace, capacity = window.generated / window.replica_seconds, known or predicted
    if capacity <= 0:
        return memory
    if pace > capacity and (latency.worst or 0.0) <= 1.0:
        return replace(memory, tokens_per_second_per_replica=pace)
    floor = LEAST * min(predicted or capacity, memory.busy_tokens_per_second or inf)
    moved = _by_latency(capacity, pace, latency, floor)
    if moved == capacity or now - (memory.learned_at or 0.0) < STEP_SECONDS:
        return memory
    return replace(memory, tokens_per_second_per_replica=moved, learned_at=now)


def _by_latency(capacity: float, pace: float, latency: Latency, floor: float) -> float:
    if max(latency.lasting_ttft, latency.lasting_itl) > 1.0 and LEAST * capacity <= pace <= capacity:
        return min(capacity, max(floor, FEWER * capacity))
    if latency.worst is not None and latency.worst < COMFORT and pace >= FULL * capacity:
        return MORE * capacity
    return capacity
