"""The cheapest fleet for a trace that is known beforehand: the limit that autoscalers are held against.

It sees every arrival, and still pays for cold starts. Three steps:

1. **Load.** What a request costs a replica is linear in its tokens; the two coefficients come from what a
replica is rated for. Each request is spread over the time that it is served, which gives the replicas that
are busy at each instant. 2. **Schedule.** At `load_share` of a replica's rate, so many are needed at each
instant. The k-th replica is needed in spans; a gap between two spans that is shorter than what a restart
costs is bridged. Spans of the k+1st lie within those of the k-th, so each replica decides for itself: for
these needs that is the cheapest. Every start is asked for one cold start ahead. 3. **Search.** In the
simulator itself: bisection for the largest `load_share` that attains the target, then one span after another
is shortened, or left out, as long as the target is still attained: the misses that the target allows are
spent where they save most.

The first two are exact for a fluid. The third is a local search with the run's own chance (cold starts,
routing) known too: a schedule that it finds can be had, so the true optimum costs no more. It is no proof
that nothing is cheaper.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil, inf, sqrt
from typing import Final

from inferfleet.simulate.policy import Factory, Policy, Seen, Setting

BIN_SECONDS: Final = 5.0
DEFAULT_LOAD_SHARE: Final = 0.8
BISECTIONS: Final = 7
FINEST_PART: Final = 0.1
LOAD_SHARES: Final = (0.3, 2.0)
"""Where the search begins; above 1 a queue bridges short peaks."""

LEAD: Final = 1.2
"""Cold starts vary: asked for a fifth ahead of the median, four of five are in time."""

Spans = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When each replica is to be Ready: `levels[k]` are the spans of the k-th. Starts are asked for ahead."""

    levels: tuple[Spans, ...]
    lead_seconds: float


def replica_load(setting: Setting) -> list[float]:
    """Busy replicas in each bin, if every request began when it came and were served at its rated pace."""
    per_prompt, per_output = token_seconds(setting)
    itl = setting.objectives.itl_seconds or 0.05
    bins = [0.0] * (int(setting.duration_seconds // BIN_SECONDS) + 2)
    for request in setting.arrivals():
        cost = per_prompt * request.prompt_tokens + per_output * request.output_tokens
        first = int(request.at // BIN_SECONDS)
        last = min(len(bins) - 1, int((request.at + request.output_tokens * itl / 2) // BIN_SECONDS))
        share = cost / BIN_SECONDS / (last - first + 1) if last >= first else 0.0
        for index in range(first, last + 1):
            bins[index] += share
    return bins


def token_seconds(setting: Setting) -> tuple[float, float]:
    """Replica-seconds that a prompt token and an output token cost at the rated load.

    Solved from the rates of two workloads with the same sum of tokens about the stated one: prompts a quarter
    shorter, and outputs as much longer.
    """
    prompt, output = float(setting.workload.prompt_tokens), float(setting.workload.output_tokens)
    shifted = (0.75 * prompt, 1.25 * output)
    here = 1.0 / setting.rated_requests_per_second(prompt, output)
    there = 1.0 / setting.rated_requests_per_second(*shifted)
    per_output = (there - here * shifted[0] / prompt) / (shifted[1] - output * shifted[0] / prompt)
    per_output = min(max(0.0, per_output), here / output)
    return (here - per_output * output) / prompt, per_output


def schedule(setting: Setting, load: list[float], load_share: float, lead_seconds: float) -> Schedule:
    """The cheapest spans that cover the load at `load_share` of each replica's rate."""
    needed = [max(setting.min_replicas, ceil(busy / load_share - 1e-9)) for busy in load]
    needed = [min(count, setting.max_replicas) for count in needed]
    end = setting.duration_seconds
    levels: list[Spans] = []
    for level in range(max(needed)):
        spans: list[tuple[float, float]] = []
        for index, count in enumerate(needed):
            if count <= level:
                continue
            start = index * BIN_SECONDS
            if spans and start - spans[-1][1] <= setting.replica.cold_start_seconds:
                spans[-1] = (spans[-1][0], min(end, start + BIN_SECONDS))
            elif start < end:
                spans.append((start, min(end, start + BIN_SECONDS)))
        levels.append(tuple(spans))
    return Schedule(tuple(levels), lead_seconds)


@dataclass(slots=True)
class Clairvoyant:
    """Follows a schedule. Its steps are looked up, for it is asked often."""

    plan: Schedule
    drain_seconds: float = 300.0
    name: str = "optimum"
    period_seconds: float = BIN_SECONDS
    _steps: tuple[list[float], list[int]] = field(default=([], []))

    def __post_init__(self) -> None:
        changes: dict[float, int] = {}
        for spans in self.plan.levels:
            for start, end in merged(spans, self.plan.lead_seconds):
                changes[start] = changes.get(start, 0) + 1
                changes[end] = changes.get(end, 0) - 1
        instants = sorted(changes)
        counts, count = [], 0
        for instant in instants:
            count += changes[instant]
            counts.append(count)
        self._steps = (instants, counts)

    def replicas(self, seen: Seen, now: float) -> int:  # noqa: ARG002 - it knows
        """What the schedule says."""
        index = bisect_right(self._steps[0], now + BIN_SECONDS / 2) - 1
        return self._steps[1][index] if index >= 0 else 0


def merged(spans: Spans, lead_seconds: float) -> list[tuple[float, float]]:
    """Spans from when they are asked for; those that meet become one."""
    joined: list[tuple[float, float]] = []
    for start, end in spans:
        asked = start - lead_seconds
        if joined and asked <= joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((asked, end))
    return joined


def optimum(setting: Setting, load_share: float = DEFAULT_LOAD_SHARE) -> Policy:
    """A schedule at a fixed share of the rated load, not searched in the simulator."""
    lead = setting.replica.cold_start_seconds * LEAD
    return Clairvoyant(schedule(setting, replica_load(setting), load_share, lead))


Evaluate = Callable[[Factory], tuple[float, float]]
"""Runs a policy; its attainment (0..1) and what it cost."""


@dataclass(frozen=True, slots=True)
class Found:
    """The cheapest schedule that attained the target, and what it was seen to attain and cost."""

    plan: Schedule
    attainment: float
    cost: float
    evaluations: int

    def policy(self, _setting: Setting) -> Policy:
        """A Factory of it."""
        return Clairvoyant(self.plan)


def search(
    setting: Setting,
    evaluate: Evaluate,
    target: float,
    *,
    trials: int = 60,
    from_seconds: float = 0.0,
    load: list[float] | None = None,
) -> Found:
    """Bisect on the load share, then shorten spans while the target holds.

    Args:
        setting: the run that is to be served, its future included.
        evaluate: runs a schedule in the simulator.
        target: share of requests that must be within the objectives.
        trials: how many shortenings are tried.
        from_seconds: when costs begin to count; spans that end before are left alone.
        load: busy replicas in each bin; that of the setting's own arrivals by default.
    """
    load = load or replica_load(setting)
    lead = setting.replica.cold_start_seconds * LEAD
    low, high = LOAD_SHARES
    found = Found(schedule(setting, load, low, lead), 0.0, inf, 0)
    best = found
    for _ in range(BISECTIONS):
        share = sqrt(low * high)
        found = _tried(schedule(setting, load, share, lead), evaluate, found)
        if found.attainment >= target:
            low, best = share, found
        else:
            high = share
    if best.cost == inf:
        best = _tried(best.plan, evaluate, found)
    return _shorten(replace(best, evaluations=found.evaluations), evaluate, target, trials, from_seconds)


def _tried(plan: Schedule, evaluate: Evaluate, after: Found) -> Found:
    attainment, cost = evaluate(lambda _setting: Clairvoyant(plan))
    return replace(after, plan=plan, attainment=attainment, cost=cost, evaluations=after.evaluations + 1)


def _shorten(best: Found, evaluate: Evaluate, target: float, trials: int, from_seconds: float) -> Found:
    """Cut spans while the target holds: first whole ones, then from either end ever finer parts of them.

    The highest replicas go first, for they are the least busy; what was cut once is tried again.
    """
    part, left = 1.0, trials
    while left > 0 and part >= FINEST_PART:
        for level in reversed(range(len(best.plan.levels))):
            index = 0
            while left > 0 and index < len(best.plan.levels[level]):
                late = best.plan.levels[level][index][1] > from_seconds
                for plan in cuts(best.plan, level, index, part) if late else ():
                    left -= 1
                    found = _tried(plan, evaluate, best)
                    better = found.attainment >= target and found.cost < best.cost
                    best = found if better else replace(best, evaluations=found.evaluations)
                    if better:
                        break
                else:
                    index += 1
        part /= 2
    return best


def cuts(plan: Schedule, level: int, index: int, part: float) -> list[Schedule]:
    """The plan without part of one span: all of it, or its beginning, or its end."""
    spans = plan.levels[level]
    start, end = spans[index]
    cut = (end - start) * part
    if cut < BIN_SECONDS:
        return []
    kept: list[Spans] = [()] if part >= 1.0 else [((start + cut, end),), ((start, end - cut),)]
    return [
        replace(
            plan,
            levels=(
                *plan.levels[:level],
                (*spans[:index], *rest, *spans[index + 1 :]),
                *plan.levels[level + 1 :],
            ),
        )
        for rest in kept
    ]
