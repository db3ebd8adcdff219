"""The simulated engine: by hand, against a plain step-by-step engine, and against queueing theory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_engine import EVEN, NOTHING, ROOMY, USUAL, Bench, poisson

from inferfleet.planning.speed import StepModel
from inferfleet.simulate.clock import Clock
from inferfleet.simulate.engine import WATERMARK, Engine, Job, Limits
from inferfleet.simulate.policy import Request
from inferfleet.simulate.step_times import StepTimes

Times = dict[float, tuple[float, float]]
"""By arrival: when the first token came, and the last."""


@dataclass
class Notes:
    """A sink that keeps everything."""

    seen: Times = field(default_factory=dict)

    def started(self, job: Job, now: float) -> None:
        self.seen[job.at] = (now, now)

    def finished(self, job: Job, now: float) -> None:
        self.seen[job.at] = (self.seen[job.at][0], now)


def served(requests: list[Request], step: StepModel, limits: Limits) -> Times:
    """What the engine under test makes of the requests."""
    clock, notes = Clock(), Notes()
    engine = Engine("engine", StepTimes(step), limits, notes, clock.post)
    for request in requests:
        clock.run(request.at)
        engine.accept(Job(request.at, request.prompt_tokens, request.output_tokens), request.at)
    clock.run(1e9)
    return notes.seen


def admit(
    waiting: list[dict[str, float]],
    running: list[dict[str, float]],
    decodes: list[dict[str, float]],
    limits: Limits,
) -> None:
    cached = sum(job["done"] if job in decodes else job["prompt"] for job in running)
    room = limits.max_num_batched_tokens - len(decodes)
    room -= sum(job["prompt"] - job["done"] for job in running if job not in decodes)
    most = limits.kv_cache_tokens * (1 - WATERMARK)
    while waiting and room > 0 and len(running) < limits.max_num_seqs:
        if running and cached + waiting[0]["prompt"] + len(running) > most:
            break
        job = waiting.pop(0)
        running.append(job)
        cached, room = cached + job["prompt"], room - job["prompt"]


def stepped(requests: list[Request], step: StepModel, limits: Limits) -> Times:
    """The same scheduler, one step after another, with nothing jumped over and nothing shared."""
    coming = [{"at": r.at, "prompt": r.prompt_tokens, "left": r.output_tokens, "done": 0} for r in requests]
    waiting: list[dict[str, float]] = []
    running: list[dict[str, float]] = []
    seen: Times = {}
    now = 0.0
    while coming or waiting or running:
        waiting += [job for job in coming if job["at"] <= now]
        coming = [job for job in coming if job["at"] > now]
        if not waiting and not running:
            now = coming[0]["at"]
            continue
        decodes = [job for job in running if job["done"] >= job["prompt"]]
        admit(waiting, running, decodes, limits)
        budget, prompts, weighted = max(1, limits.max_num_batched_tokens - len(decodes)), 0.0, 0.0
        chunks = []
        for job in running:
            if job not in decodes and prompts < budget:
                chunk = min(budget - prompts, job["prompt"] - job["done"])
                weighted += chunk * (job["done"] + chunk / 2)
                prompts += chunk
                chunks.append((job, chunk))
        mean = sum(job["done"] for job in decodes) / len(decodes) if decodes else 0.0
        now += step.stage_seconds(len(decodes), prompts, mean, weighted / prompts if prompts else 0.0)
        for job in decodes:
            job["done"] += 1
            job["left"] -= 1
        for job, chunk in chunks:
            job["done"] += chunk
            if job["done"] >= job["prompt"]:
                job["left"] -= 1
                seen[job["at"]] = (now, now)
        for job in [job for job in running if job["left"] <= 0]:
            running.remove(job)
            seen[job["at"]] = (seen[job["at"]][0], now)
    return seen


CASES = {
    "the first token comes after one step, each other after one more": ([(0, 100, 11)], [(0.01, 0.11)]),
    "a long prompt is computed in chunks of the step's budget": ([(0, 5000, 1)], [(0.03, 0.03)]),
    "whoever comes in the middle of a step waits for its end": (
        [(0, 100, 11), (0.055, 100, 1)],
        [(0.01, 0.11), (0.07, 0.07)],
    ),
    "prompts that wait share a step": (
        [(0, 100, 3), (0.001, 100, 1), (0.002, 100, 1)],
        [(0.01, 0.03), (0.02, 0.02), (0.02, 0.02)],
    ),
}


@pytest.mark.parametrize(("requests", "times"), CASES.values(), ids=CASES.keys())
def test_a_few_requests_end_when_reckoned_by_hand(
    requests: list[tuple[float, int, int]], times: list[tuple[float, float]]
):
    seen = served([Request(*each) for each in requests], EVEN, ROOMY)
    assert [seen[at] for at, _, _ in requests] == [pytest.approx(each) for each in times]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rate", [2.0, 10.0, 30.0])
def test_jumping_over_steps_gives_the_same_times_as_taking_each(rate: float, seed: int):
    rng, now, requests = Random(seed), 0.0, []
    for _ in range(150):
        now += rng.expovariate(rate)
        requests.append(Request(now, rng.randint(1, 3000), rng.randint(1, 120)))
    limits = Limits(max_num_seqs=16, max_num_batched_tokens=512, kv_cache_tokens=1_000_000)
    jumped, taken = served(requests, USUAL, limits), stepped(requests, USUAL, limits)
    assert jumped.keys() == taken.keys()
    for at, times in taken.items():
        assert jumped[at] == pytest.approx(times, rel=1e-9)


small = st.lists(
    st.tuples(st.floats(0, 0.5), st.integers(1, 400), st.integers(1, 200)), min_size=1, max_size=40
)


@settings(max_examples=60)
@given(small)
def test_the_cache_is_never_exceeded_and_everybody_is_answered(gaps: list[tuple[float, int, int]]):
    limits = Limits(max_num_seqs=8, max_num_batched_tokens=256, kv_cache_tokens=1000)
    bench, now, requests = Bench(EVEN, limits), 0.0, []
    for gap, prompt, output in gaps:
        now += gap
        requests.append(Request(now, prompt, output))
    for request in requests:
        while bench.clock.next_at <= request.at:
            bench.clock.run(bench.clock.next_at)
            assert bench.engine.kv_tokens <= limits.kv_cache_tokens
        bench.ledger.arrive(request.prompt_tokens, request.at)
        bench.engine.accept(Job(request.at, request.prompt_tokens, request.output_tokens), request.at)
    while bench.clock.next_at < float("inf"):
        bench.clock.run(bench.clock.next_at)
        assert bench.engine.kv_tokens <= limits.kv_cache_tokens
    ended = bench.engine.sample(0.0, bench.clock.now, "serving")
    assert bench.ledger.answered == len(requests)
    assert ended.generation_tokens_total == sum(request.output_tokens for request in requests)
    assert ended.prompt_tokens_total is not None
    assert bench.engine.kv_tokens == 0


def test_a_full_cache_sends_back_whoever_came_last():
    limits = Limits(max_num_seqs=8, max_num_batched_tokens=256, kv_cache_tokens=300)
    bench = Bench(EVEN, limits)
    bench.serve([Request(0.0, 100, 150), Request(0.001, 100, 150)])
    assert bench.engine.preemptions >= 1
    assert bench.ledger.answered == 2


def test_no_more_run_than_there_are_slots():
    bench = Bench(EVEN, replace(ROOMY, max_num_seqs=4))
    most = 0.0
    for now in bench.run(poisson(50.0, 400, 10, 30)):
        most = max(most, bench.engine.sample(0.0, now, "serving").running)
    assert most == 4


def test_requests_in_the_system_are_their_rate_times_their_stay():
    bench = Bench(USUAL)
    requests = poisson(20.0, 2000, 200, 60)
    times = served(requests, USUAL, ROOMY)
    stay = sum(end - at for at, (_, end) in times.items())
    bench.serve(requests)
    assert bench.ledger.in_flight_seconds == pytest.approx(stay)


@pytest.mark.parametrize("busy", [0.5, 0.8])
def test_one_slot_with_equal_requests_waits_as_an_m_d_1_queue(busy: float):
    """Pollaczek-Khinchine: the mean wait is rho D / (2 (1 - rho))."""
    service = 0.2
    requests = poisson(busy / service, 40_000, 1, 20)
    times = served(requests, EVEN, replace(ROOMY, max_num_seqs=1))
    waited = sum(end - service - at for at, (_, end) in times.items()) / len(times)
    assert waited == pytest.approx(busy * service / (2 * (1 - busy)), rel=0.08)


def test_a_saturated_batch_gives_a_token_to_each_sequence_a_step():
    step = replace(NOTHING, overhead_seconds=0.02)
    requests = [Request(index * 1e-6, 1, 501) for index in range(320)]
    times = served(requests, step, replace(ROOMY, max_num_seqs=32))
    lasted = max(end for _, end in times.values())
    assert 320 * 501 / lasted == pytest.approx(32 / 0.02, rel=0.02)


def test_a_scrape_in_the_middle_of_a_jump_counts_the_tokens_so_far():
    bench = Bench()
    bench.serve([Request(0.0, 100, 1001)], until=5.0)
    seen = bench.engine.sample(5.0, 5.0, "serving")
    assert seen.generation_tokens_total == pytest.approx(500, abs=1)
    assert seen.itl_buckets.total == pytest.approx(499, abs=1)
    assert (seen.running, seen.waiting, seen.prompt_tokens_total) == (1, 0, 100)
    assert seen.ttft_buckets.total == 1


def test_an_engine_that_ends_loses_what_it_has():
    bench = Bench()
    bench.serve([Request(0.0, 100, 1000), Request(0.1, 100, 1000)], until=1.0)
    assert bench.engine.abort() == 2
    assert bench.engine.in_flight == 0
    bench.clock.run(100.0)
    assert bench.ledger.answered == 0
