"""Run policies on a case: tune their targets on one half, judge them on the other, beside the optimum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from statistics import mean

from cases import STEP_SECONDS, WARM_UP_SECONDS, Case, Purpose, Service
from runs import WORLD, Named, fingerprint, kept, run

from inferfleet.simulate.optimum import search
from inferfleet.simulate.peers import LAWS
from inferfleet.simulate.policy import Factory
from inferfleet.simulate.run import Outcome, simulate

TARGET = 0.99
TRAIN_SEEDS = (1000, 1001)
OURS = "inferfleet"
OUR_TARGETS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)
"""Of `capacityFactor`, from cautious to daring: the grid of the laws whose target is a share of a replica."""

FLOORS = (1, 2, 3, 4, 6, 8, 10, 12, 16)
"""Of `minReplicas`, or whatever a system calls it: what all of them can have standing by for bursts."""

SPOT_ONLY = {"skyserve"}
OPTIMUM = "optimum"


@dataclass(frozen=True, slots=True)
class Range:
    """A figure over seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return mean(self.values)

    @property
    def low(self) -> float:
        """Smallest of the seeds."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Largest of the seeds."""
        return max(self.values)


@dataclass(frozen=True, slots=True)
class AfterStep:
    """The 15 minutes in which the load is four times what it was, over seeds."""

    seconds_over: Range
    attainment: Range


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one policy did on one case, over seeds; the clairvoyant runs no step."""

    policy: str
    kind: str
    target: float | None
    floor: int
    attainment: Range
    cost_dollars: Range
    gpu_hours: Range
    goodput: Range
    over_optimum: Range
    requests: int
    lost: Range
    scale_events: Range
    after_step: AfterStep | None
    outcomes: tuple[Outcome, ...] = field(repr=False, compare=False)

    def attains(self, level: float) -> bool:
        """True if so much is attained on average over seeds."""
        return self.attainment.mean >= level


def seconds_over(outcome: Outcome, service: Service) -> float:
    """For how long after the step the tail was over an objective, or requests were lost."""
    return sum(
        outcome.bin_seconds
        for each in outcome.bins
        if 0.0 <= each.start - WARM_UP_SECONDS < STEP_SECONDS
        and (each.ttft_tail > service.ttft_seconds or each.itl_tail > service.itl_seconds or each.lost)
    )


def tune(case: Case, name: str, keep: Path) -> Named:
    """What attains 99 % on the half for tuning for the least: the fewest replicas, and a target.

    Floors are tried as long as they alone cost less than the best so far, if it ever had fewer. Where
    nothing attains it is the most cautious target without a floor.
    """
    targets = LAWS[name].tuned_over if name in LAWS else OUR_TARGETS
    best, cheapest, fewest = Named(name, "tuned", targets[0]), inf, 0.0
    for floor in FLOORS:
        if floor * _dollars_a_replica(case) >= cheapest:
            break
        if floor <= fewest:
            continue
        for who in _attaining(case, Named(name, "tuned", None, floor), targets, keep):
            tried = _tried(case, who, keep)
            if tried.cost_dollars < cheapest:
                best, cheapest, fewest = who, tried.cost_dollars, tried.fewest
    return best


def _attaining(case: Case, law: Named, targets: Sequence[float], keep: Path) -> Iterator[Named]:
    """The most daring target that attains with this floor, by bisection; and ours without one, if it does."""
    low, high = -1, len(targets)
    while high - low > 1:
        middle = (low + high) // 2
        attains = _tried(case, replace(law, target=targets[middle]), keep).slo_attainment >= TARGET
        low, high = (middle, high) if attains else (low, middle)
    if low >= 0:
        yield replace(law, target=targets[low])
    if law.policy == OURS and _tried(case, law, keep).slo_attainment >= TARGET:
        yield law


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a try on the half for tuning, on average over seeds; `fewest` replicas ever served."""

    slo_attainment: float
    cost_dollars: float
    fewest: float


def _tried(case: Case, who: Named, keep: Path) -> Tried:
    runs = [run(case, who, seed, Purpose.TRAIN, keep) for seed in TRAIN_SEEDS]
    judged_bins = (each for one in runs for each in one.bins if each.start >= WARM_UP_SECONDS and each.looks)
    return Tried(
        mean(each.slo_attainment for each in runs),
        mean(each.cost_dollars for each in runs),
        min((each.ready for each in judged_bins), default=0.0),
    )


def _dollars_a_replica(case: Case) -> float:
    """What one replica costs that stands by from the beginning of what is judged to its end."""
    seconds = case.train_seconds - WARM_UP_SECONDS
    return case.service.dollars_per_gpu_hour * seconds / 3600.0


def optimal_run(case: Case, seed: int, trials: int, keep: Path) -> Outcome:
    """The clairvoyant's run for one seed."""
    scenario = case.scenarios[Purpose.JUDGE]

    def evaluate(factory: Factory) -> tuple[float, float]:
        outcome = simulate(scenario, factory, seed)
        return outcome.slo_attainment, outcome.cost_dollars

    def searched() -> Outcome:
        setting, since = scenario.setting(seed), scenario.measure_from_seconds
        best = search(setting, evaluate, TARGET, trials=trials, from_seconds=since)
        return simulate(scenario, best.policy, seed)

    return kept(keep / f"{case.name}-{OPTIMUM}-{seed}-{fingerprint(*WORLD)}.pickle", searched)


def judged(
    case: Case,
    name: Named,
    outcomes: Iterable[Outcome],
    optimum: Sequence[float],
    stepped: Sequence[Outcome] = (),
) -> Verdict:
    """Put the outcomes of all seeds together; `optimum` is the optimum's cost for each."""
    seen = tuple(outcomes)
    after = AfterStep(
        Range(tuple(seconds_over(each, case.service) for each in stepped)),
        Range(tuple(each.slo_attainment for each in stepped)),
    )
    return Verdict(
        policy=name.policy,
        kind=name.kind,
        target=name.target,
        floor=name.floor,
        attainment=Range(tuple(each.slo_attainment for each in seen)),
        cost_dollars=Range(tuple(each.cost_dollars for each in seen)),
        gpu_hours=Range(tuple(each.gpu_hours for each in seen)),
        goodput=Range(tuple(each.goodput for each in seen)),
        over_optimum=Range(tuple(each.cost_dollars / best for each, best in zip(seen, optimum, strict=True))),
        requests=round(mean(each.requests for each in seen)),
        lost=Range(tuple(float(each.lost) for each in seen)),
        scale_events=Range(tuple(float(each.scale_events) for each in seen)),
        after_step=after if stepped else None,
        outcomes=seen,
    )


def policies(names: Iterable[str] | None) -> list[str]:
    """The laws that were asked for, all of them by default."""
    chosen = list(names or (name for name in LAWS if name not in SPOT_ONLY))
    unknown = [name for name in chosen if name not in LAWS]
    if unknown:
        raise SystemExit(f"unknown laws: {', '.join(unknown)}; known: {', '.join(LAWS)}")
    return chosen
