"""Hold the simulated engine against a real one: `python benchmarks/simulator/calibration.py PYTHON MODEL`.

PYTHON is that of an environment with vLLM for CPU, MODEL a folder with a small model. In each round the
engine serves Poisson arrivals in turns: some that the step model is fitted to, step by step, and others that
the simulator then serves as well. The fit knows the kind of load, so that its steps are those that are taken,
and nothing of the arrivals that it is judged by. Those the engine serves twice, for how far it agrees with
itself. A second fit is to the steps of the judged arrivals themselves: what is wrong with it is wrong with
scheduling and queueing, and no drift of the machine between one minute and the next. Printed are the figures
of each round, and the median errors against the mean of both servings.

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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
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
FIRST_RATE: Final = 15.0
"""Requests per second of the load that tells how much the engine can take."""

SIZES: Final = Sizes(200, 60, 0.8, 0.8)
LONGEST = (1200, 600)
LOOK_SECONDS = 0.05
Ended = tuple[float, float, float, int]
"""Arrival, first token, last token, tokens."""
Look = tuple[float, int, int]
"""Instant, running, waiting."""
Step = tuple[float, int, int, int, float]
"""Seconds, decodes and their context, prompt tokens, and the context that these attended to."""


@dataclass(frozen=True, slots=True)
class Course:
    """What became of each request, who ran and waited at even times, and what each step took for what."""

    ended: Sequence[Ended]
    looks: Sequence[Look]
    steps: Sequence[Step] = ()


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
        ended, steps = [tuple(each) for each in found["ended"]], found["steps"]
        return Course(ended, looked_at(sorted(each[0] for each in ended), found["looks"], steps), steps)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)


def looked_at(arrived: Sequence[float], looks: Sequence[Look], steps: Sequence[Step]) -> list[Look]:
    """Who ran and waited at even times, of looks that were taken as each step ended.

    Who waits during a step is whom it left waiting, and whoever came since it began: the engine itself
    hears of those when it ends.
    """
    ends, found = [at for at, _, _ in looks], []
    for index in range(int(arrived[-1] / LOOK_SECONDS) + 1):
        now = index * LOOK_SECONDS
        place = bisect_right(ends, now)
        end, running, waiting = looks[place]
        began = end - steps[place][0]
        came = bisect_right(arrived, now) - bisect_right(arrived, began)
        found.append((now, running, waiting + came) if began <= now else (now, 0, 0))
    return found


def fit(courses: Sequence[Course]) -> StepTimes:
    """The coefficients of a step, by least squares over all steps of these courses."""
    steps = [step for course in courses for step in course.steps]
    rows = [
        (1.0, decodes, prompt, float(prompt > 0 and decodes > 0), context, attended)
        for _, decodes, context, prompt, attended in steps
    ]
    fixed, each, per_token, extra, context, attended = least_squares(rows, [step[0] for step in steps])
    step = StepModel(
        overhead_seconds=fixed,
        exchange_seconds_per_token=per_token,
        overhead_seconds_per_sequence=each - per_token,
        context_seconds_per_token=max(0.0, context),
        prefill_seconds_per_context_token=max(0.0, attended),
    )
    print(f"  {described(step)}, {extra * 1e3:.2f} ms more with a prompt", flush=True)
    return StepTimes(step, max(0.0, extra))


def least_squares(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """The coefficients that explain the values best, by the normal equations."""
    size = len(rows[0])
    scale = [max(abs(row[index]) for row in rows) or 1.0 for index in range(size)]
    table = [
        [
            *(
                sum(row[one] * row[other] for row in rows) / scale[one] / scale[other]
                for other in range(size)
            ),
            sum(row[one] * value for row, value in zip(rows, values, strict=True)) / scale[one],
        ]
        for one in range(size)
    ]
    for index in range(size):
        pivot = max(range(index, size), key=lambda place: abs(table[place][index]))
        table[index], table[pivot] = table[pivot], table[index]
        table[index] = [cell / table[index][index] for cell in table[index]]
        for place in range(size):
            if place != index:
                share = table[place][index]
                table[place] = [
                    cell - share * over for cell, over in zip(table[place], table[index], strict=True)
                ]
    return [table[index][-1] / scale[index] for index in range(size)]


def imitate(requests: Sequence[Request], times: StepTimes) -> Course:
    """The requests on the simulated engine."""
    clock, notes = Clock(), Notes()
    engine = Engine("engine", times, LIMITS, notes, clock.post)
    looks, look = [], 0.0
    for request in requests:
        while look < request.at:
            clock.run(look)
            waiting = len(engine.queue)
            looks.append((look, engine.in_flight - waiting, waiting))
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
    """Sum a course up; what ran and waited is a mean until the last arrival."""
    ttfts = sorted(first - at for at, first, _, _ in course.ended)
    itls = [(last - first) / (tokens - 1) for _, first, last, tokens in course.ended if tokens > 1]
    lasted = max(last for _, _, last, _ in course.ended) - min(at for at, _, _, _ in course.ended)
    return Figures(
        sum(tokens for _, _, _, tokens in course.ended) / lasted,
        fmean(ttfts),
        ttfts[int(len(ttfts) * 0.9)],
        fmean(itls),
        fmean(running + waiting for _, running, waiting in course.looks),
        fmean(waiting for _, _, waiting in course.looks),
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
    """In each round serve what is fitted to and what is judged in turns, on the same machine."""
    errors: dict[tuple[float, str, str], list[float]] = {}
    engine.serve(arrivals(FIRST_RATE, seconds / 2, 0))
    times = fit([engine.serve(arrivals(FIRST_RATE, seconds / 2, 1))])
    for number in range(1, rounds + 1):
        rate = capacity(times)
        fitted: list[Course] = []
        served: list[tuple[float, Sequence[Request], Course, Course]] = []
        for index in range(slices):
            for share in shares:
                fitted.append(engine.serve(arrivals(share * rate, seconds / 2, 1000 + 100 * number + index)))
                requests = arrivals(share * rate, seconds, 100 * number + index)
                served.append((share, requests, engine.serve(requests), engine.serve(requests)))
        print(f"round {number}: loads are shares of {rate:.2f} requests/s", flush=True)
        times = fit(fitted)
        fits = {"others": times, "own": fit([each for _, _, *both in served for each in both])}
        for share in shares:
            here = [each[1:] for each in served if each[0] == share]
            once = mean_of([figures(first) for _, first, _ in here])
            again = mean_of([figures(second) for *_, second in here])
            real = mean_of([once, again])
            for name in Figures.__slots__:
                print(f"  load {share:g} {name}: {getattr(once, name):.4f}, again {getattr(again, name):.4f}")
            for kind, steps in fits.items():
                simulated = mean_of([figures(imitate(sent, steps)) for sent, *_ in here])
                for name in Figures.__slots__:
                    one, other = getattr(real, name), getattr(simulated, name)
                    error = other / one - 1 if one else float("nan")
                    errors.setdefault((share, kind, name), []).append(error)
                    print(
                        f"  load {share:g} {name}, fitted to {kind}: {other:.4f} ({error:+.1%})", flush=True
                    )
    print("median error over the rounds:")
    for (share, kind, name), seen in errors.items():
        spread = f"from {min(seen):+.1%} to {max(seen):+.1%}"
        print(f"  load {share:g} {name}, fitted to {kind}: {median(seen):+.1%} ({spread})")


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
