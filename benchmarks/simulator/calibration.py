"""Hold the simulated engine against a real one: `python benchmarks/simulator/calibration.py PYTHON MODEL`.

PYTHON is that of an environment with vLLM for CPU, MODEL a folder with a small model. In each round the step
model is fitted to the engine (decode batches of several sizes and lengths, prompts of several lengths alone
and beside decodes), in turns with Poisson arrivals that the engine serves; then the simulator serves the
same. The fit knows nothing of the arrivals. Printed are both figures for each round, and the median error.

The real engine runs in the process of `engine_clock.py`, on its own processor time: scheduler, KV cache and
model are real, the API server takes no part. On a machine that does other work the time of a step still
varies with what shares its caches, between fit and replay too: the spread shows it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, linear_regression, median
from typing import Any, Final

from inferfleet.planning.speed import StepModel
from inferfleet.simulate.clock import Clock
from inferfleet.simulate.engine import Engine, Job, Limits
from inferfleet.simulate.generate import Generated, Sizes, constant
from inferfleet.simulate.policy import Request
from inferfleet.simulate.step_times import StepTimes

SLOTS, BUDGET, LENGTH = 8, 256, 2048
LIMITS = Limits(SLOTS, BUDGET, 1_000_000)
ENGINE = {
    "enforce_eager": True,
    "max_model_len": LENGTH,
    "max_num_seqs": SLOTS,
    "max_num_batched_tokens": BUDGET,
    "enable_prefix_caching": False,
}
SETTINGS = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCHDYNAMO_DISABLE": "1",
}
SHORT, LONG, DECODED = 16, 1000, 48
BATCHES, JOINED = (1, 2, 4, SLOTS), (SLOTS // 2, SLOTS - 1)
PROMPTS, REPEATS = (16, 64, 128, 240), 3
SIZES: Final = Sizes(200, 60, 0.8, 0.8)
LONGEST = (1200, 600)
LOOK_SECONDS = 0.05
Ended = tuple[float, float, float, int]
"""Arrival, first token, last token, tokens."""


@dataclass(frozen=True, slots=True)
class Course:
    """What became of each request, and (instant, running, waiting) as it went."""

    ended: Sequence[Ended]
    looks: Sequence[tuple[float, int, int]]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a course came to; queues are means over time, from the first arrival to the last."""

    tokens_per_second: float
    ttft_mean: float
    ttft_p90: float
    mean_itl: float
    in_system: float
    waiting: float


class RealEngine:
    """The process of `engine_clock.py`."""

    def __init__(self, python: str, model: str) -> None:
        """Start it; the first order waits for it."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("engine_clock.py")), model, json.dumps(ENGINE)],
            env=environment | SETTINGS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def serve(self, requests: Sequence[Request]) -> Course:
        """The requests on the real engine."""
        streams = self._process.stdin, self._process.stdout
        assert streams[0]
        assert streams[1]
        streams[0].write(json.dumps(requests) + "\n")
        streams[0].flush()
        answer = streams[1].readline()
        if not answer:
            raise SystemExit(f"the engine ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(answer)
        return Course([tuple(each) for each in found["ended"]], [tuple(each) for each in found["looks"]])

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)


@dataclass(frozen=True, slots=True)
class Probe:
    """Seconds per decode step by batch and length, of prompts by length, and of prompts that join a batch.

    What joins is measured beside half of the slots and beside all but its own, where most join under load.
    """

    paces: Mapping[tuple[int, int], float]
    prompts: Mapping[int, float]
    joined: Mapping[tuple[int, int], float]


def probe(engine: RealEngine) -> Probe:
    """Measure every pace once."""
    paces: dict[tuple[int, int], float] = {}
    for prompt in (SHORT, LONG):
        for batch in BATCHES:
            course = engine.serve([Request(0.0, prompt, DECODED)] * batch)
            ends = min(last for _, _, last, _ in course.ended)
            begins = max(first for _, first, _, _ in course.ended)
            paces[batch, prompt] = (ends - begins) / sum(begins < at <= ends for at, _, _ in course.looks)
    prompts = {
        prompt: fmean(engine.serve([Request(0.0, prompt, 1)]).ended[0][1] for _ in range(REPEATS))
        for prompt in (*PROMPTS, LONG)
    }
    joined = {
        (batch, prompt): fmean(joining_seconds(engine, batch, prompt) for _ in range(REPEATS))
        for batch in JOINED
        for prompt in PROMPTS
    }
    return Probe(paces, prompts, joined)


def joining_seconds(engine: RealEngine, batch: int, prompt: int) -> float:
    """Seconds of the step in which a prompt joins a batch."""
    late = 1e-6
    course = engine.serve([*[Request(0.0, SHORT, DECODED)] * batch, Request(late, prompt, 1)])
    first = next(first for at, first, _, _ in course.ended if at == late)
    return first - max(at for at, _, _ in course.looks if at < first)


def fit(probes: Sequence[Probe]) -> StepTimes:
    """Coefficients of a step from the mean of several looks."""
    paces = {key: fmean(each.paces[key] for each in probes) for key in probes[0].paces}
    prompts = {size: fmean(each.prompts[size] for each in probes) for size in probes[0].prompts}
    growth = [(paces[batch, LONG] - paces[batch, SHORT]) / (batch * (LONG - SHORT)) for batch in BATCHES]
    context = max(0.0, median(growth))
    bare = [paces[batch, SHORT] - context * batch * (SHORT + DECODED / 2) for batch in BATCHES]
    each, fixed = linear_regression(BATCHES, bare)
    per_token, start = linear_regression(PROMPTS, [prompts[size] for size in PROMPTS])
    per_token = max(0.0, per_token)
    chunks = -(-LONG // BUDGET)
    attended = prompts[LONG] - chunks * start - LONG * per_token
    joined = {key: fmean(each.joined[key] for each in probes) for key in probes[0].joined}
    more = [
        seconds - fixed - batch * (each + SHORT * context) - size * per_token
        for (batch, size), seconds in joined.items()
    ]
    step = StepModel(
        overhead_seconds=fixed,
        exchange_seconds_per_token=per_token,
        overhead_seconds_per_sequence=each - per_token,
        context_seconds_per_token=context,
        prefill_seconds_per_context_token=max(0.0, attended / (LONG * LONG / 2)),
    )
    extra = max(0.0, median(more))
    print(f"  {described(step)}, {extra * 1e3:.2f} ms more with a prompt", flush=True)
    return StepTimes(step, extra)


def imitate(requests: Sequence[Request], times: StepTimes) -> Course:
    """The requests on the simulated engine."""
    clock, notes = Clock(), Notes()
    engine = Engine("engine", times, LIMITS, notes, clock.post)
    looks, look = [], 0.0
    for request in requests:
        while look < request.at:
            clock.run(look)
            looks.append((look, engine.in_flight - engine.waiting, engine.waiting))
            look += LOOK_SECONDS
        clock.run(request.at)
        engine.accept(Job(request.at, request.prompt_tokens, request.output_tokens), request.at)
    clock.run(1e9)
    return Course(notes.ended, looks)


class Notes:
    """A sink that keeps when each request began and ended."""

    def __init__(self) -> None:
        """Nothing has ended."""
        self.ended: list[Ended] = []

    def started(self, job: Job, now: float) -> None:
        """Nothing: the job itself knows."""

    def finished(self, job: Job, now: float) -> None:
        """Keep it."""
        self.ended.append((job.at, job.first_at, now, job.output))


def figures(course: Course) -> Figures:
    """Sum a course up; what ran and waited is looked up at even times, until the last arrival."""
    ttfts = sorted(first - at for at, first, _, _ in course.ended)
    itls = [(last - first) / (tokens - 1) for _, first, last, tokens in course.ended if tokens > 1]
    arrived = max(at for at, _, _, _ in course.ended)
    lasted = max(last for _, _, last, _ in course.ended) - min(at for at, _, _, _ in course.ended)
    instants = [at for at, _, _ in course.looks]
    found = []
    for index in range(int(arrived / LOOK_SECONDS)):
        place = bisect_right(instants, index * LOOK_SECONDS) - 1
        found.append(course.looks[place][1:] if place >= 0 else (0, 0))
    return Figures(
        sum(tokens for _, _, _, tokens in course.ended) / lasted,
        fmean(ttfts),
        ttfts[int(len(ttfts) * 0.9)],
        fmean(itls),
        fmean(running + waiting for running, waiting in found),
        fmean(waiting for _, waiting in found),
    )


def arrivals(rate: float, seconds: float, seed: int) -> list[Request]:
    """Poisson arrivals of lognormal sizes within the engine's length."""
    return [
        request._replace(
            prompt_tokens=min(request.prompt_tokens, LONGEST[0]),
            output_tokens=max(2, min(request.output_tokens, LONGEST[1])),
        )
        for request in Generated(constant(rate, seconds), SIZES).stream(seed)
    ]


def capacity(times: StepTimes) -> float:
    """Requests per second of a full batch, as the simulator serves a burst."""
    course = imitate([request._replace(at=0.0) for request in arrivals(50.0, 20.0, 99)], times)
    return len(course.ended) / max(last for _, _, last, _ in course.ended)


def measure(engine: RealEngine, rounds: int, slices: int, seconds: float, shares: Sequence[float]) -> None:
    """In each round look at the pace and serve, in turn, so that both meet the same machine; then compare."""
    errors: dict[tuple[float, str], list[float]] = {}
    engine.serve([Request(0.0, LONG, DECODED)] * SLOTS)
    for number in range(1, rounds + 1):
        probes = [probe(engine)]
        rate = capacity(fit(probes))
        served: list[tuple[float, Sequence[Request], Course]] = []
        for index in range(slices):
            for share in shares:
                requests = arrivals(share * rate, seconds, 100 * number + index)
                served.append((share, requests, engine.serve(requests)))
            probes.append(probe(engine))
        print(f"round {number}: loads are shares of {rate:.2f} requests/s", flush=True)
        times = fit(probes)
        for share in shares:
            real = mean_of([figures(course) for load, _, course in served if load == share])
            simulated = mean_of([figures(imitate(sent, times)) for load, sent, _ in served if load == share])
            for name in Figures.__slots__:
                one, other = getattr(real, name), getattr(simulated, name)
                error = other / one - 1 if one else float("nan")
                errors.setdefault((share, name), []).append(error)
                pair = f"real {one:.4f}, simulated {other:.4f}"
                print(f"  load {share:g} {name}: {pair} ({error:+.1%})", flush=True)
    print("median error over the rounds:")
    for (share, name), seen in errors.items():
        print(f"  load {share:g} {name}: {median(seen):+.1%} (from {min(seen):+.1%} to {max(seen):+.1%})")


def mean_of(several: Sequence[Figures]) -> Figures:
    """The mean over the slices of a round."""
    return Figures(*(fmean(getattr(each, name) for each in several) for name in Figures.__slots__))


def described(step: StepModel) -> str:
    """The fit in words."""
    sequence = step.overhead_seconds_per_sequence + step.exchange_seconds_per_token
    return (
        f"a step takes {step.overhead_seconds * 1e3:.2f} ms, {sequence * 1e3:.3f} ms a sequence, "
        f"{step.exchange_seconds_per_token * 1e6:.1f} us a prompt token and "
        f"{step.context_seconds_per_token * 1e6:.3f} us a token of context"
    )


def main() -> None:
    """Start an engine, measure, end it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("python")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=4, help="of a round")
    parser.add_argument("--seconds", type=float, default=10.0, help="of processor time in a slice")
    parser.add_argument("--load", type=float, nargs="+", default=[0.5, 0.8])
    asked = parser.parse_args()
    engine = RealEngine(asked.python, asked.model)
    try:
        measure(engine, asked.rounds, asked.slices, asked.seconds, asked.load)
    finally:
        engine.close()


if __name__ == "__main__":
    sys.exit(main())
