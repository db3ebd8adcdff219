"""What one replica can take at the objectives: the plan's answer, corrected by what is seen."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf

from inferfleet.scaling.flows import KEEP_SECONDS, Flows, within
from inferfleet.scaling.latency import BURN, above, is_proven
from inferfleet.values import Flow, Objectives, ScalingMemory, Workload
from inferfleet.values.frozen import replace

WINDOW_SECONDS = 30.0
BUSY_SECONDS, BUSY_SHARE = 50.0, 0.9
"""Replicas that had a long queue for this share of the last minute show what they can do. A shorter
while shows what they were at: one with a long prompt has a queue and makes hardly a token."""

STEP_SECONDS = 30.0
"""The least time between two corrections, and after new replicas came."""

BUDGET_SECONDS = 3600.0
"""Misses are budgeted over about this long: all that the percentile allows, whatever they are due to."""

FEWER, MORE = 0.93, 1.05
FEWEST_MISSES = 3.0
"""A trial in which not even so many might have missed an objective shows no percentile: a burst fills it."""

PROVEN = 0.95
"""What replicas do right now, less this little, is no proof that they can do less."""

PROOF, WITHIN = 4.0, 0.5
"""Once so many might have missed an objective and less than this share of them did, there is more."""

FORGET = 16.0
"""A trial that has shown neither by then is begun anew."""

FULL = 0.7
"""Replicas that have less than this share of their capacity to do prove nothing about it."""

FORGIVE_SECONDS = 600.0
"""What a miss has lowered comes back within about this long, unless it is proven again."""

OVER = 1.3
"""Replicas that do more than this share of it are too few: what is late then is not their fault."""

LEAST, MOST = 0.75, 1.25
"""Latencies move the capacity between these shares of what the plan says or a busy replica showed: an
objective that no load explains must not buy replicas without end, and beyond the edge latencies rise too
steeply to feel one's way. Both are of what one takes alone, whatever a fleet adds to that."""

FIRST_REQUESTS, REMEMBERED_REQUESTS = 10, 300
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
    """Move the mean request towards those that finished meanwhile; the first few replace the guess.

    It is the plain mean until so many are known as are remembered: prompts differ a hundredfold, and the
    first ten say little of the next. What came back from status was taken over many.
    """
    first = memory.prompt_tokens is None or memory.output_tokens is None
    seen = within(flows, KEEP_SECONDS) if first else news
    if seen is None or seen.finished <= (FIRST_REQUESTS if first else 0):
        return memory
    prompt, output = seen.prompt_tokens / seen.finished, seen.output_tokens / seen.finished
    known = 0.0 if first else memory.mean_over or REMEMBERED_REQUESTS
    share = seen.finished / (known + seen.finished)
    before = Request(memory.prompt_tokens or prompt, memory.output_tokens or output)
    return replace(
        memory,
        mean_over=min(REMEMBERED_REQUESTS, known + seen.finished),
        prompt_tokens=before.prompt_tokens + share * (prompt - before.prompt_tokens),
        output_tokens=before.output_tokens + share * (output - before.output_tokens),
    )


def scaled(memory: ScalingMemory, predicted: float) -> ScalingMemory:
    """What was learned, carried over to requests for which the plan now predicts another capacity."""
    learned, busy = memory.tokens_per_second_per_replica, memory.busy_tokens_per_second
    then = memory.predicted_tokens_per_second
    if then == (predicted or None):
        return memory
    growth = predicted / then if predicted and then else 1.0
    return replace(
        memory,
        tokens_per_second_per_replica=learned and learned * growth,
        busy_tokens_per_second=busy and busy * growth,
        predicted_tokens_per_second=predicted or None,
    )


def is_overspent(memory: ScalingMemory, percentile: float, times: float = BURN) -> bool:
    """True if the last hour missed so many times more than the percentile allows: more would be costly."""
    return is_proven(memory.missed_lately, memory.asked_lately, percentile / 100, times)


@dataclass(frozen=True, slots=True)
class News:
    """What there is to learn from: what went through lately, and since the last look.

    Each replica took `gain` times what it would have taken alone (`staffing.gain`).
    """

    flows: Flows
    last: Flow | None
    objectives: Objectives
    cold_start_seconds: float
    gain: float = 1.0

    @property
    def requests(self) -> float:
        """Requests since the last look that got a first token."""
        return self.last.ttft.total if self.last else 0.0

    @property
    def misses(self) -> float:
        """Those that missed an objective."""
        if self.last is None:
            return 0.0
        late, slow = self.objectives.ttft_seconds, self.objectives.itl_seconds
        return max(above(self.last.ttft, late), above(self.last.itl, slow))


def learn(memory: ScalingMemory, predicted: float, news: News) -> ScalingMemory:
    """Correct the capacity by what busy replicas did, and by how many requests met the objectives.

    It is kept as that of a replica alone, so that what a fleet shows holds for another size of it too.

    Idle replicas teach nothing, nor do those that just started. A minute of long queues shows the most that
    a replica can do, which bounds what it can do at the objectives. The rest is a trial that goes on for
    ever: at the present capacity so many requests miss an objective; more than the percentile allows and the
    capacity is less, clearly fewer and it is more. Requests that came while there were too few replicas do
    not count.
    """
    memory = _spend(scaled(memory, predicted), news)
    known = memory.tokens_per_second_per_replica
    minute, window = within(news.flows, KEEP_SECONDS), within(news.flows, WINDOW_SECONDS)
    if news.last is None or minute is None or window is None or window.replica_seconds <= 0:
        return memory
    if _is_busy(minute):
        most = minute.busy_tokens / minute.busy_seconds
        alone = most / news.gain
        bounded = alone if known is None or _is_boundless(news.objectives) else min(alone, known)
        return replace(memory, tokens_per_second_per_replica=bounded, busy_tokens_per_second=most)
    pace, capacity = window.generated / window.replica_seconds / news.gain, known or predicted
    if capacity <= 0:
        return memory
    if _is_boundless(news.objectives):
        return replace(memory, tokens_per_second_per_replica=pace) if pace > capacity else memory
    return _by_objectives(memory, capacity, predicted, pace, news)


def _spend(memory: ScalingMemory, news: News) -> ScalingMemory:
    """Count all requests and misses of about the last hour."""
    if news.last is None:
        return memory
    fades = exp(-news.last.seconds / BUDGET_SECONDS)
    return replace(
        memory,
        asked_lately=memory.asked_lately * fades + news.requests,
        missed_lately=memory.missed_lately * fades + news.misses,
    )


def _by_objectives(
    memory: ScalingMemory, capacity: float, predicted: float, pace: float, news: News
) -> ScalingMemory:
    """Go on with the trial of the present capacity, and end it where it has shown something.

    A trial lasts a cold start at least, for a correction shows no sooner; misses come in clusters, and one
    of them is no trial.
    """
    busy, now = memory.busy_tokens_per_second or inf, news.flows[-1].at
    most = min(predicted or capacity, busy / news.gain)
    if pace < FULL * capacity < FULL * most:
        return _forgive(memory, capacity, most, now)
    if not FULL * capacity <= pace <= OVER * capacity or _is_growing(memory, now):
        return memory
    since = memory.trial_since if memory.tried and memory.trial_since else now
    memory = replace(
        memory, trial_since=since, tried=memory.tried + news.requests, missed=memory.missed + news.misses
    )
    if now - since < max(STEP_SECONDS, news.cold_start_seconds):
        return memory
    found = _found(memory, capacity, most, pace, news)
    return memory if found is None else _moved(memory, found, now)


def _found(memory: ScalingMemory, capacity: float, most: float, pace: float, news: News) -> float | None:
    """The capacity that the trial ends with; None while it has shown nothing.

    The budget of the last hour has the second word: while some of it is left nothing is lowered, and where
    it is spent nothing is raised, and what was raised above the first word goes back.
    """
    percentile = news.objectives.percentile
    share = percentile / 100
    allowed, budget = memory.tried * (1 - share), memory.asked_lately * (1 - share)
    overspent = is_overspent(memory, percentile, times=1.0)
    if allowed >= FEWEST_MISSES and overspent and is_proven(memory.missed, memory.tried, share):
        return min(capacity, max(LEAST / news.gain * most, PROVEN * pace, FEWER * capacity))
    if allowed >= PROOF and overspent and capacity > most:
        return max(most, FEWER * capacity)
    if allowed >= PROOF and memory.missed < WITHIN * allowed and memory.missed_lately < WITHIN * budget:
        return max(capacity, min(MORE * capacity, max(1.0, MOST / news.gain) * most))
    return capacity if allowed >= FORGET else None


def _moved(memory: ScalingMemory, capacity: float, now: float) -> ScalingMemory:
    """Another capacity, or the same, and a new trial."""
    return replace(
        memory, tokens_per_second_per_replica=capacity, learned_at=now, trial_since=now, tried=0.0, missed=0.0
    )


def _is_busy(minute: Flow) -> bool:
    lasting = minute.seconds >= BUSY_SECONDS and minute.busy_seconds >= BUSY_SHARE * minute.replica_seconds
    return lasting and minute.busy_tokens > 0


def _is_growing(memory: ScalingMemory, now: float) -> bool:
    """True while replicas are on their way, or just came: what is late then has been answered already."""
    came = memory.served_since
    return memory.served < (memory.desired or 0) or (came is not None and now - came < STEP_SECONDS)


def _forgive(memory: ScalingMemory, capacity: float, most: float, now: float) -> ScalingMemory:
    """Return to the first word while nothing tests a lower one: it buys so many that nothing would."""
    if now - (memory.learned_at or 0.0) < STEP_SECONDS:
        return memory
    return _moved(memory, capacity + (most - capacity) * STEP_SECONDS / FORGIVE_SECONDS, now)


def _is_boundless(objectives: Objectives) -> bool:
    return objectives.ttft_seconds is None and objectives.itl_seconds is None
