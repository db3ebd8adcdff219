"""What one replica can take at the objectives: the plan's answer, corrected by what is seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from inferfleet.scaling.flows import KEEP_SECONDS, Flows, within
from inferfleet.scaling.latency import above, is_proven
from inferfleet.values import Flow, Objectives, ScalingMemory, Workload

WINDOW_SECONDS = 30.0
BUSY_SECONDS = 10.0
"""Replicas that had a long queue for this many replica-seconds of the window show what they can do."""

STEP_SECONDS = 30.0
"""The latencies move the capacity at most this often: a step must show before the next."""

FEWER, MORE = 0.93, 1.05
FEWEST_MISSES = 3.0
"""A trial in which not even so many might have missed an objective shows no percentile: a burst fills it."""

PROVEN = 0.95
"""What replicas do right now, less this little, is no proof that they can do less."""

PROOF, WITHIN = 4.0, 0.34
"""Once so many might have missed an objective and less than this share of them did, there is more."""

FORGET = 8.0
"""A trial that has shown neither by then is begun anew."""

FULL = 0.7
"""Replicas that have less than this share of their capacity to do prove nothing about it."""

FORGIVE_SECONDS = 600.0
"""What a miss has lowered comes back within about this long, unless it is proven again."""

OVER = 1.1
"""Replicas that do more than this share of it are too few: what is late then is not their fault."""

LEAST = 0.75
"""Latencies lower the capacity to this share of what the plan says or a busy replica showed, no further: an
objective that no load explains must not buy replicas without end."""

FIRST_REQUESTS, REMEMBERED_REQUESTS = 10, 1000
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


def scaled(memory: ScalingMemory, predicted: float) -> ScalingMemory:
    """What was learned, carried over to requests for which the plan now predicts another capacity."""
    learned, busy = memory.tokens_per_second_per_replica, memory.busy_tokens_per_second
    then = memory.predicted_tokens_per_second
    growth = predicted / then if predicted and then else 1.0
    return replace(
        memory,
        tokens_per_second_per_replica=learned and learned * growth,
        busy_tokens_per_second=busy and busy * growth,
        predicted_tokens_per_second=predicted or None,
    )


def learn(
    memory: ScalingMemory, predicted: float, flows: Flows, news: Flow | None, objectives: Objectives
) -> ScalingMemory:
    """Correct the capacity by what busy replicas did, and by how many requests met the objectives.

    Idle replicas teach nothing, nor do those that just started. A long queue shows the most that a replica
    can do, which bounds what it can do at the objectives. The rest is a trial that goes on for ever: at the
    present capacity so many requests miss an objective; more than the percentile allows and the capacity is
    less, clearly fewer and it is more. Requests that came while there were too few replicas do not count.
    """
    memory = scaled(memory, predicted)
    known = memory.tokens_per_second_per_replica
    window = within(flows, WINDOW_SECONDS)
    if news is None or window is None or window.replica_seconds <= 0:
        return memory
    if window.busy_seconds >= BUSY_SECONDS and window.busy_tokens > 0:
        most = window.busy_tokens / window.busy_seconds
        bounded = most if known is None or _is_boundless(objectives) else min(most, known)
        return replace(memory, tokens_per_second_per_replica=bounded, busy_tokens_per_second=most)
    pace, capacity = window.generated / window.replica_seconds, known or predicted
    if capacity <= 0:
        return memory
    if _is_boundless(objectives):
        return replace(memory, tokens_per_second_per_replica=pace) if pace > capacity else memory
    return _by_objectives(memory, (capacity, predicted), pace, news, objectives)


def _by_objectives(
    memory: ScalingMemory, able: tuple[float, float], pace: float, news: Flow, objectives: Objectives
) -> ScalingMemory:
    """Go on with the trial of the present capacity, and end it where it has shown something."""
    capacity, predicted = able
    most = min(predicted or capacity, memory.busy_tokens_per_second or inf)
    if pace < FULL * capacity < FULL * most:
        return _forgive(memory, capacity, most, news)
    if not FULL * capacity <= pace <= OVER * capacity or _is_growing(memory, news):
        return memory
    tried = memory.tried + news.ttft.total
    missed = memory.missed + max(
        above(news.ttft, objectives.ttft_seconds), above(news.itl, objectives.itl_seconds)
    )
    allowed, moved = tried * (1 - objectives.percentile / 100), capacity
    too_many = allowed >= FEWEST_MISSES and is_proven(missed, tried, objectives.percentile / 100)
    if too_many or (allowed >= FORGET and missed > allowed):
        moved = min(capacity, max(LEAST * most, PROVEN * pace, FEWER * capacity))
    elif allowed >= PROOF and missed < WITHIN * allowed:
        moved = MORE * capacity
    if (moved == capacity and allowed < FORGET) or news.at - (memory.learned_at or 0.0) < STEP_SECONDS:
        return replace(memory, tried=tried, missed=missed)
    return replace(memory, tokens_per_second_per_replica=moved, learned_at=news.at, tried=0.0, missed=0.0)


def _is_growing(memory: ScalingMemory, news: Flow) -> bool:
    """True while replicas are on their way, or just came: what is late then has been answered already."""
    came = memory.served_since
    return memory.served < (memory.desired or 0) or (came is not None and news.at - came < STEP_SECONDS)


def _forgive(memory: ScalingMemory, capacity: float, most: float, news: Flow) -> ScalingMemory:
    """Return to the first word while nothing tests a lower one: it buys so many that nothing would."""
    if news.at - (memory.learned_at or 0.0) < STEP_SECONDS:
        return memory
    back = capacity + (most - capacity) * STEP_SECONDS / FORGIVE_SECONDS
    return replace(memory, tokens_per_second_per_replica=back, learned_at=news.at, tried=0.0, missed=0.0)


def _is_boundless(objectives: Objectives) -> bool:
    return objectives.ttft_seconds is None and objectives.itl_seconds is None
