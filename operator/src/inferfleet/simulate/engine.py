"""One engine: continuous batching with chunked prefill under a token budget, a batch limit and a KV cache.

It follows vLLM's scheduler: decodes first, then prompts in order of arrival in chunks that fill the step's
token budget; a prompt is admitted when the whole of it fits the cache; when decodes outgrow the cache the
sequence admitted last is preempted and computed anew. All decodes advance together by one token a step, so
they share one virtual clock, and pure decode steps are jumped over in closed form.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

from inferfleet.simulate.meters import Meters
from inferfleet.simulate.step_times import StepTimes
from inferfleet.values import NO_BUCKETS, EngineSample

WATERMARK: Final = 0.01
"""Share of the cache that admission leaves free, so that what was just admitted is not preempted at once."""


class Job:
    """A request inside an engine.

    `prompt` is what must be computed before its next token: with what it had generated after a preemption.
    """

    __slots__ = ("at", "chunk", "computed", "first_at", "left", "offset", "order", "output", "prompt", "sent")

    def __init__(self, at: float, prompt: int, output: int) -> None:
        """A fresh request."""
        self.at = at
        self.sent = prompt
        self.prompt = prompt
        self.output = output
        self.left = output
        self.computed = 0
        self.chunk = 0
        self.first_at = -1.0
        self.offset = 0
        self.order = 0


class Sink(Protocol):
    """Who is told of first tokens and ends."""

    def started(self, job: Job, now: float) -> None:
        """The first token of a request is out."""

    def finished(self, job: Job, now: float) -> None:
        """The last token of a request is out."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The engine's limits. `frontend_seconds` is what its API server adds to a time to first token."""

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_tokens: int
    frontend_seconds: float = 0.0


class Engine:
    """A running engine. `post(when, engine)` asks to be advanced then; a later post replaces it."""

    __slots__ = (
        *("_base", "_began", "_by_token", "_context", "_decoding", "_limits", "_mixed", "_orders", "_post"),
        *("_prefilling", "_reserved", "_sink", "_steps", "_times"),
        *("_clock", "_meters", "due", "name", "preemptions", "queue"),
    )

    def __init__(
        self,
        name: str,
        times: StepTimes,
        limits: Limits,
        sink: Sink,
        post: Callable[[float, Engine], None],
        *,
        by_token: bool = True,
    ) -> None:
        """An idle engine with an empty cache. `by_token` counts the latencies of single tokens, too."""
        self.name, self.due, self.preemptions = name, 0, 0
        self._times, self._limits, self._sink, self._post = times, limits, sink, post
        self.queue: deque[Job] = deque()
        self._prefilling: deque[Job] = deque()
        self._decoding: list[tuple[int, int, Job]] = []
        self._clock = self._orders = 0
        self._context = self._reserved = 0
        self._mixed, self._steps, self._began, self._base = False, 0, 0.0, 0.0
        self._meters, self._by_token = Meters(), by_token

    @property
    def in_flight(self) -> int:
        """Requests that wait or run."""
        return len(self.queue) + len(self._prefilling) + len(self._decoding)

    @property
    def kv_tokens(self) -> int:
        """Tokens that hold the cache as of the last event, prompts under way in full."""
        return self._context + self._reserved

    def accept(self, job: Job, now: float) -> None:
        """Take a request in. A decode run is cut at the end of the step under way if it can be admitted."""
        self._meters.arrivals += 1
        self.queue.append(job)
        if not self._steps:
            self._begin(now)
        elif not self._mixed and len(self.queue) == 1 and self._fits(job):
            batch = len(self._decoding)
            done = self._times.steps_in(now - self._began, self._base, batch, self._context)
            steps = int(done) + 1
            if steps < self._steps:
                self._steps = steps
                lasts = self._times.seconds_of(steps, self._base, batch, self._context)
                self._post(max(now, self._began + lasts), self)

    def advance(self, now: float) -> None:
        """Carry out the steps that end now, and begin the next."""
        decoding, steps = self._decoding, self._steps
        batch = len(decoding)
        if batch:
            self._clock += steps
            self._context += batch * steps
            self._meters.tokens += batch * steps
            if self._by_token:
                self._meters.itl.add((now - self._began) / steps, batch * steps)
            while decoding and decoding[0][0] <= self._clock:
                job = heappop(decoding)[2]
                self._context -= job.offset + self._clock
                self._end(job, now)
        if self._mixed:
            self._compute_prompts(now)
        self._begin(now)

    def abort(self) -> int:
        """End at once; how many requests are cut off."""
        lost = self.in_flight
        self.queue.clear()
        self._prefilling.clear()
        self._decoding.clear()
        self._context = self._reserved = self._steps = 0
        self.due = 0
        return lost

    def requests(self) -> Iterator[Job]:
        """All requests inside, in no order."""
        yield from self.queue
        yield from self._prefilling
        yield from (job for _, _, job in self._decoding)

    def sample(self, at: float, now: float, gate_phase: str) -> EngineSample:
        """What a scrape would read; `at` is the same instant on the operator's clock."""
        waiting, batch, meters = len(self.queue), len(self._decoding), self._meters
        running, more, pace, cache = batch + len(self._prefilling), 0, 0.0, self._limits.kv_cache_tokens
        if batch and self._steps and not self._mixed:
            since = now - self._began
            done = min(int(self._times.steps_in(since, self._base, batch, self._context)), self._steps)
            more, pace = batch * done, since / max(1, done)
        # by position, in the order of the fields: by name a value takes twice as long to be made
        return EngineSample(
            self.name,
            at,
            running,
            waiting,
            min(1.0, (self._context + self._reserved + more) / cache),
            meters.prompt_tokens,
            meters.tokens + more,
            meters.arrivals,
            (),
            cache,
            running + waiting,
            gate_phase,
            "",
            (),
            meters.ttft.read(),
            meters.itl.read_with(pace, more) if self._by_token else NO_BUCKETS,
            meters.request_itl.read(),
            meters.finished,
            meters.finished_prompt,
            meters.finished_output,
        )

    def _begin(self, now: float) -> None:
        """Admit what fits; begin a step with prompts, or as many decode steps as nothing can change in."""
        limits, decoding = self._limits, self._decoding
        if decoding and self._context + self._reserved + len(decoding) > limits.kv_cache_tokens:
            self._preempt()
        elif self.queue:
            self._admit()
        batch = len(decoding)
        self._began = now
        if self._prefilling:
            tokens, context = self._cut_chunks(max(1, limits.max_num_batched_tokens - batch))
            self._mixed, self._steps = True, 1
            self._post(now + self._times.mixed(batch, self._context, tokens, context), self)
        elif batch:
            room = (limits.kv_cache_tokens - self._context) // batch
            self._mixed, self._steps = False, max(1, min(decoding[0][0] - self._clock, room))
            self._base = self._times.base(batch, self._context)
            lasts = self._times.seconds_of(self._steps, self._base, batch, self._context)
            self._post(now + lasts, self)
        else:
            self._mixed, self._steps = False, 0

    def _fits(self, job: Job) -> bool:
        """True if a slot and the cache have room for the job beside those that run."""
        running = len(self._decoding) + len(self._prefilling)
        if running >= self._limits.max_num_seqs:
            return False
        needed = self._context + self._reserved + job.prompt + running
        return not running or needed <= self._limits.kv_cache_tokens * (1 - WATERMARK)

    def _admit(self) -> None:
        """Let in, in order, what fits and what this step's budget still reaches."""
        waiting, prefilling = self.queue, self._prefilling
        room = self._limits.max_num_batched_tokens - len(self._decoding)
        for job in prefilling:
            room -= job.prompt - job.computed
        while waiting and room > 0 and self._fits(waiting[0]):
            job = waiting.popleft()
            self._orders += 1
            job.order = self._orders
            self._reserved += job.prompt
            room -= job.prompt
            prefilling.append(job)

    def _cut_chunks(self, room: int) -> tuple[int, float]:
        """Give the budget to prompts in order; return how many tokens, and the mean context before them."""
        tokens, weighted = 0, 0.0
        for job in self._prefilling:
            job.chunk = chunk = min(room - tokens, job.prompt - job.computed)
            tokens += chunk
            weighted += chunk * (job.computed + chunk / 2)
        return tokens, weighted / tokens

    def _compute_prompts(self, now: float) -> None:
        """Advance the prompts by their chunks; those that are complete give a token and join the decodes."""
        prefilling, clock = self._prefilling, self._clock
        for job in prefilling:
            job.computed += job.chunk
        while prefilling and prefilling[0].computed >= prefilling[0].prompt:
            job = prefilling.popleft()
            self._reserved -= job.prompt
            self._meters.tokens += 1
            job.left -= 1
            if job.first_at < 0:
                job.first_at = now + self._limits.frontend_seconds
                self._meters.start(job.prompt, job.first_at - job.at)
                self._sink.started(job, now)
            if job.left:
                self._context += job.prompt
                job.offset = job.prompt - clock
                heappush(self._decoding, (clock + job.left, job.order, job))
            else:
                self._end(job, now)

    def _end(self, job: Job, now: float) -> None:
        mean = (now - job.first_at) / (job.output - 1) if job.output > 1 else 0.0
        self._meters.finish(job.sent, job.output, mean)
        self._sink.finished(job, now)

    def _preempt(self) -> None:
        """Send back whoever was admitted last until one more step fits: prompts under way go first."""
        while self.in_flight > 1 and (
            self._context + self._reserved + len(self._decoding) > self._limits.kv_cache_tokens
        ):
            if self._prefilling:
                job = self._prefilling.pop()
                self._reserved -= job.prompt
            else:
                last = max(range(len(self._decoding)), key=lambda index: self._decoding[index][1])
                ends, _, job = self._decoding.pop(last)
                heapify(self._decoding)
                self._context -= job.offset + self._clock
                job.left = ends - self._clock
                job.prompt = job.offset + self._clock
            job.computed = 0
            self.preemptions += 1
            self.queue.appendleft(job)
