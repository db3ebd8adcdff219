"""What is served, on what, and under which load: one case a trace, for tuning and for judging.

Public traces are cut in two: targets are tuned on the first half and judged on the second. Generated ones are
tuned under other seeds than they are judged under. Every run begins with a warm-up that is not judged. Each
load has a third run as well, in which it becomes four times what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from heapq import merge
from itertools import groupby
from pathlib import Path
from random import Random

from inferfleet.planning.catalogue import catalogue_facts
from inferfleet.simulate.arrivals import Trace, length_seconds
from inferfleet.simulate.generate import Generated, Sizes, diurnal
from inferfleet.simulate.nodes import ColdStart, SimulatedPool
from inferfleet.simulate.policy import Request
from inferfleet.simulate.scenario import Scenario, Source
from inferfleet.simulate.world import Routing
from inferfleet.values import (
    AutoscalingSpec,
    CapacityType,
    DeploymentSpec,
    EngineSpec,
    ModelSpec,
    Objectives,
    PoolSpec,
    Workload,
)

DEFAULT_TRACES = Path(__file__).resolve().parents[3] / "shared" / "traces"
WARM_UP_SECONDS = 900.0
STEP_SECONDS = 900.0
STEP_TIMES = 4
MAX_REPLICAS = 40
PERCENTILE = 99.0


@dataclass(frozen=True, slots=True)
class Service:
    """What is deployed: a model on a GPU, and its objectives."""

    model: str
    gpu: str
    dollars_per_gpu_hour: float
    ttft_seconds: float
    itl_seconds: float


CHAT = Service("Qwen/Qwen2.5-14B-Instruct", "L40S", 1.86, 2.0, 0.1)
"""A chat model that one GPU holds; objectives of interactive use."""

LONG = Service("meta-llama/Llama-3.1-8B-Instruct", "H100", 6.88, 20.0, 0.2)
"""Prompts of 12,000 tokens and up to 120,000: Mooncake's own objective for the first token is 30 s."""


class Purpose(StrEnum):
    """What a run of a load is for."""

    TRAIN = "train"
    JUDGE = "judge"
    STEP = "step"


@dataclass(frozen=True)
class Case:
    """One load. `train` and `judge` are its two halves; the step comes as soon as the judged one is warm."""

    name: str
    service: Service
    workload: Workload
    train: Source
    judge: Source
    train_seconds: float
    judge_seconds: float
    says: str = ""
    routing: Routing = Routing.LEAST_REQUESTS

    @cached_property
    def scenarios(self) -> Mapping[Purpose, Scenario]:
        """What is run for each purpose."""
        step = Stepped(self.judge, WARM_UP_SECONDS)
        return {
            Purpose.TRAIN: self._scenario(self.train, self.train_seconds),
            Purpose.JUDGE: self._scenario(self.judge, self.judge_seconds),
            Purpose.STEP: self._scenario(step, WARM_UP_SECONDS + STEP_SECONDS),
        }

    def _scenario(self, source: Source, seconds: float) -> Scenario:
        service = self.service
        model = catalogue_facts(service.model)
        assert model is not None
        spec = DeploymentSpec(
            name="scorecard",
            namespace="default",
            uid="scorecard",
            generation=1,
            model=ModelSpec(service.model),
            engine=EngineSpec(image="engine"),
            objectives=Objectives(PERCENTILE, service.ttft_seconds, service.itl_seconds),
            workload=self.workload,
            autoscaling=AutoscalingSpec(min_replicas=1, max_replicas=MAX_REPLICAS),
        )
        pool = PoolSpec(
            name="pool",
            accelerator_name=service.gpu,
            gpus_per_node=1,
            capacity_types=(CapacityType.ON_DEMAND,),
            price_dollars_per_gpu_hour={CapacityType.ON_DEMAND: service.dollars_per_gpu_hour},
        )
        return Scenario(
            spec=spec,
            model=model,
            pools=(SimulatedPool(pool),),
            source=source,
            duration_seconds=seconds,
            cold_start=ColdStart(),
            routing=self.routing,
            measure_from_seconds=WARM_UP_SECONDS,
        )


@dataclass(frozen=True, slots=True)
class Stepped:
    """A source at four times its rate from an instant on: three more crowds come, each as large as the first.

    Where the seed draws the arrivals each crowd has its own; a trace of single requests gives all four the
    same ones. The instants of those that are added are drawn anew within their minute, so that rates and
    sizes keep their course, and what came in one second does not come fourfold in it. A minute is held.
    """

    source: Source
    at: float

    def stream(self, seed: int) -> Iterator[Request]:
        """Yield the requests in order of time."""
        rng = Random(f"step {seed}")
        more = (self._crowd(Random(rng.random())) for _ in range(STEP_TIMES - 1))
        yield from merge(self.source.stream(seed), *more)

    def _crowd(self, rng: Random) -> Iterator[Request]:
        for minute, requests in groupby(self.source.stream(rng.getrandbits(32)), self._minute):
            if minute >= 0:
                begin = self.at + 60.0 * minute
                yield from sorted(each._replace(at=begin + 60.0 * rng.random()) for each in requests)

    def _minute(self, request: Request) -> float:
        return (request.at - self.at) // 60.0


def public(path: Path, name: str, service: Service, workload: Workload, *, scale: float) -> Case:
    """A trace cut in two; the judged half is warmed up with the end of the first one."""
    half = length_seconds(path) / 2
    return Case(
        name,
        service,
        workload,
        train=Trace(path, 0.0, half, scale),
        judge=Trace(path, half - WARM_UP_SECONDS, None, scale),
        train_seconds=half,
        judge_seconds=half + WARM_UP_SECONDS,
        says=f"{path.name} at {scale:g} times its rate; tuned on its first half, judged on its second",
    )


def curve(path: Path, name: str, sizes: Sizes, scale: float, hours: float) -> Case:
    """A rate curve: one day to tune on, the same hours of the next to judge."""
    workload = Workload(round(sizes.prompt_tokens), round(sizes.output_tokens))
    seconds = hours * 3600 + WARM_UP_SECONDS
    day = 86400.0
    return Case(
        name,
        CHAT,
        workload,
        train=Trace(path, 6 * 3600.0, seconds, scale, sizes),
        judge=Trace(path, day + 6 * 3600.0, seconds, scale, sizes),
        train_seconds=seconds,
        judge_seconds=seconds,
        says=f"{path.name} at {scale:g} times its rate, {hours:g} h of its second day",
    )


def generated(name: str, service: Service, source: Generated, says: str) -> Case:
    """A generated load: the same for tuning and judging, but for the seed."""
    seconds = source.curve[-1][0]
    workload = Workload(round(source.sizes.prompt_tokens), round(source.sizes.output_tokens))
    return Case(name, service, workload, source, source, seconds, seconds, says)


LONG_OUTPUTS = Sizes(1500.0, 1200.0, 0.7, 0.7)
MIXED = Sizes(1200.0, 600.0, 0.9, 0.9)
CHAT_SIZES = Sizes(1000.0, 250.0, 0.9, 0.9)


def steps(low: float, times: float) -> tuple[tuple[float, float], ...]:
    """Low, a step up, half way down, up again, low: each long enough to settle."""
    w = WARM_UP_SECONDS
    return (
        (0.0, low),
        (w + 900.0, low * times),
        (w + 2700.0, low * times / 2),
        (w + 3900.0, low * times),
        (w + 4800.0, low),
        (w + 6300.0, 0.0),
    )


def bursts(base: float, peak: float) -> tuple[tuple[float, float], ...]:
    """A base load with a burst of two to five minutes every twenty."""
    points = [(0.0, base)]
    for index, minutes in enumerate((2, 5, 3, 2, 4)):
        at = WARM_UP_SECONDS + 600.0 + 1200.0 * index
        points += [(at, peak), (at + 60.0 * minutes, base)]
    return (*points, (WARM_UP_SECONDS + 6600.0, 0.0))


def shifted(points: tuple[tuple[float, float], ...], seconds: float) -> tuple[tuple[float, float], ...]:
    """The first rate for so long, then the curve."""
    return ((0.0, points[0][1]), *((at + seconds, rate) for at, rate in points))


def all_cases(traces: Path | None) -> tuple[Case, ...]:
    """The public traces that are there, and the generated loads."""
    cases = [
        generated(
            "steps",
            CHAT,
            Generated(steps(0.6, 4.0), LONG_OUTPUTS),
            "Poisson; from 0.6 to 2.4 requests/s at once, half way down, up again, down",
        ),
        generated(
            "diurnal",
            CHAT,
            Generated(shifted(diurnal(0.3, 2.1, 4 * 3600.0, 4 * 3600.0), WARM_UP_SECONDS), LONG_OUTPUTS),
            "Poisson; a cosine of four hours between 0.3 and 2.1 requests/s",
        ),
        generated(
            "bursty",
            CHAT,
            Generated(bursts(1.5, 4.0), MIXED, burstiness=2.0),
            "gamma gaps (CV 2); 1.5 requests/s, bursts to 4 for 2 to 5 minutes",
        ),
    ]
    if traces is None:
        return tuple(cases)
    found: list[Case] = []
    if (path := traces / "azure_2023_conv.csv").exists():
        found.append(public(path, "azure-conv", CHAT, Workload(1155, 211), scale=1.0))
    if (path := traces / "mooncake_conversation.jsonl").exists():
        found.append(public(path, "mooncake", LONG, Workload(12035, 343), scale=1.5))
    if (path := traces / "servegen_m-small_rate.csv").exists():
        found.append(curve(path, "servegen", LONG_OUTPUTS, 0.0008, 8.0))
    return (*found, *cases)
