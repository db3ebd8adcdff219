"""Choose the layout: every candidate through the checks, the rest ranked by what a million tokens cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from inferfleet.planning.candidates import Candidate, across_nodes, within_node
from inferfleet.planning.checks import CHECKS, Miss, Question, first_miss, price_per_gpu_hour
from inferfleet.planning.evaluate import Outcome, evaluate
from inferfleet.planning.quantization import requantise
from inferfleet.values import (
    DeploymentSpec,
    Layout,
    ModelFacts,
    Planning,
    Pool,
    Reason,
    Refusal,
    Rejected,
    Workload,
)

MOST_REJECTED: Final = 5
# costs this close are a tie, which the fewer GPUs per replica win
_TIE: Final = 1.01
_OBJECTIVES: Final = len(CHECKS)


@dataclass(frozen=True, slots=True)
class Failure:
    """A candidate that may not run: how far it got, and how near it came."""

    candidate: Candidate
    position: int
    miss: Miss
    layout: Layout | None = None

    @property
    def nearness(self) -> tuple[int, float, int, str]:
        """Sorts the nearest first: the latest check, the smallest distance, the fewest GPUs."""
        return -self.position, self.miss.distance, self.candidate.split.gpus, str(self.candidate)


@dataclass(frozen=True, slots=True)
class Search:
    """All that was tried, best first."""

    outcomes: tuple[Outcome, ...]
    failures: tuple[Failure, ...]
    workload_cut: Reason | None = None


def search(model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec) -> Search:
    """Try every split on every pool; over nodes only where no single node of the pool holds the model."""
    question, cut = ask(model, spec)
    outcomes: list[Outcome] = []
    failures: list[Failure] = []
    seen: dict[tuple[object, ...], Outcome] = {}
    for pool in pools:
        passed = _try(within_node(model, pool, spec.parallelism), question, outcomes, failures, seen)
        if not passed:
            _try(across_nodes(model, pool, spec.parallelism), question, outcomes, failures, seen)
    return Search(_rank(outcomes), tuple(sorted(failures, key=lambda failure: failure.nearness)), cut)


def ask(model: ModelFacts, spec: DeploymentSpec) -> tuple[Question, Reason | None]:
    """Put model and spec into one question; a workload longer than the context is cut to it, and said so."""
    context = spec.model.context_length
    most = min(context or model.max_context_tokens, model.max_context_tokens)
    load = spec.workload
    if load.prompt_tokens + load.output_tokens <= most:
        return Question(model, spec, load, context), None
    output = min(load.output_tokens, max(1, most // 2))
    prompt = max(1, min(load.prompt_tokens, most - output))
    reason = Reason(
        "WorkloadCut",
        f"requests of {load.prompt_tokens} + {load.output_tokens} tokens exceed the context of {most}: "
        f"planned for {prompt} + {output}",
    )
    return Question(model, spec, Workload(prompt, output), context), reason


def _try(
    candidates: Iterable[Candidate],
    question: Question,
    outcomes: list[Outcome],
    failures: list[Failure],
    seen: dict[tuple[object, ...], Outcome],
) -> bool:
    """Check and evaluate; return whether any candidate got past memory."""
    passed = False
    for candidate in candidates:
        found = first_miss(candidate, question)
        if found:
            failures.append(Failure(candidate, *found))
            continue
        passed = True
        key = (candidate.pool.accelerator, candidate.pool.gpus_per_node, candidate.split)
        # pools of the same GPU differ in price only
        known = seen.get(key)
        outcome = _elsewhere(known, candidate, question) if known else evaluate(candidate, question)
        seen.setdefault(key, outcome)
        if outcome.miss:
            failures.append(Failure(candidate, _OBJECTIVES, outcome.miss, outcome.layout))
        else:
            outcomes.append(outcome)
    return passed


def _elsewhere(known: Outcome, candidate: Candidate, question: Question) -> Outcome:
    rate = known.layout.prediction.tokens_per_second
    price = price_per_gpu_hour(candidate, question.spec) * candidate.split.gpus / 3600
    cost = price / rate if rate else inf
    prediction = replace(
        known.layout.prediction, dollars_per_million_tokens=0.0 if cost == inf else cost * 1e6
    )
    layout = replace(known.layout, pool=candidate.pool.name, prediction=prediction)
    return Outcome(candidate, layout, cost, known.miss)


def _rank(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Cheapest token first; unpriced pools after priced ones, by GPU time; a tie goes to fewer GPUs."""

    def cost(outcome: Outcome) -> tuple[bool, float]:
        priced = outcome.dollars_per_token > 0
        return not priced, outcome.dollars_per_token if priced else outcome.gpu_seconds_per_token

    def order(outcome: Outcome) -> tuple[bool, float, int, int, str]:
        split = outcome.candidate.split
        return (*cost(outcome), split.gpus, split.pipeline, str(outcome.candidate))

    ranked = sorted(outcomes, key=order)
    if not ranked:
        return ()
    unpriced, least = cost(ranked[0])
    tied = [each for each in ranked if cost(each)[0] == unpriced and cost(each)[1] <= least * _TIE]
    winner = min(tied, key=lambda each: (each.candidate.split.gpus, order(each)))
    return (winner, *(each for each in ranked if each is not winner))


def plan_layout(model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec) -> Planning:
    """Return the cheapest layout that meets memory and objectives, or a refusal that says what would help.

    The same model, pools and spec give the same answer, whatever is free at the moment: free GPUs are for
    placement, not for planning.
    """
    allowed, problem = _allowed(pools, spec)
    if problem:
        return Planning(None, problem)
    served: ModelFacts | Reason = model
    if spec.engine.quantization:
        served = requantise(model, spec.engine.quantization)
    if isinstance(served, Reason):
        return Planning(None, Refusal(served, "no layout was tried"))
    limit = spec.model.context_length
    if limit and limit > model.max_context_tokens:
        return Planning(None, _context_refusal(limit, model))
    found = search(served, allowed, spec)
    if found.outcomes:
        first, *others = found.outcomes
        warnings = first.layout.warnings + ((found.workload_cut,) if found.workload_cut else ())
        return Planning(
            replace(first.layout, warnings=warnings), None, _rejected(first, others, found.failures)
        )
    return refuse(served, allowed, spec, found)


def _allowed(pools: Sequence[Pool], spec: DeploymentSpec) -> tuple[tuple[Pool, ...], Refusal | None]:
    names = ", ".join(pool.name for pool in pools)
    if not pools:
        return (), Refusal(
            Reason("NoPools", "no node with GPUs that can be told, and no GPUPool that describes one"),
            "label the nodes (GPU Feature Discovery does), or create a GPUPool",
        )
    missing = [name for name in spec.capacity.pools if name not in {pool.name for pool in pools}]
    if missing:
        return (), Refusal(
            Reason("PoolNotFound", f"capacity.pools names {', '.join(missing)}; pools that exist: {names}"),
            f"name one of: {names}",
        )
    return tuple(pool for pool in pools if not spec.capacity.pools or pool.name in spec.capacity.pools), None


def _context_refusal(limit: int, model: ModelFacts) -> Refusal:
    return Refusal(
        Reason(
            "ContextTooLong",
            f"model.contextLength is {limit}, {model.model_id} was made for {model.max_context_tokens}",
        ),
        f"set model.contextLength to {model.max_context_tokens} or less",
    )


def _rejected(first: Outcome, others: Sequence[Outcome], failures: Sequence[Failure]) -> tuple[Rejected, ...]:
    """The runners-up by cost, and of the failures the nearest of each kind, five in all."""
    nearest = _distinct(failures)
    room = max(MOST_REJECTED - len(nearest), 3)
    losers = [
        Rejected(_label(other.layout), _costlier(other, first), other.layout) for other in others[:room]
    ]
    losers += [Rejected(str(each.candidate), each.miss.reason, each.layout) for each in nearest]
    return tuple(losers[:MOST_REJECTED])


def _distinct(failures: Sequence[Failure]) -> tuple[Failure, ...]:
    first: dict[tuple[str, str], Failure] = {}
    for failure in failures:
        first.setdefault((failure.candidate.pool.accelerator.name, failure.miss.reason.code), failure)
    return tuple(first.values())


def _label(layout: Layout) -> str:
    return f"{layout} on {layout.pool}"


def _costlier(other: Outcome, first: Outcome) -> Reason:
    mine, best = other.layout.prediction, first.layout.prediction
    if other.dollars_per_token and first.dollars_per_token:
        if other.dollars_per_token <= first.dollars_per_token * _TIE:
            return Reason(
                "MoreGpusPerReplica",
                f"costs the same within 1 %, but takes {other.layout.gpus_per_replica} GPUs "
                f"instead of {first.layout.gpus_per_replica}",
            )
        return Reason(
            "CostsMore",
            f"{mine.dollars_per_million_tokens:.2f} $/Mtok against {best.dollars_per_million_tokens:.2f}",
        )
    if other.dollars_per_token == first.dollars_per_token:
        return Reason(
            "Slower",
            f"{1 / other.gpu_seconds_per_token:.0f} tok/s per GPU against {1 / first.gpu_seconds_per_token:.0f}",
        )
    return Reason("NoPrice", "no price is known: priced pools are preferred")


def refuse(model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec, found: Search) -> Planning:
    """Say which candidate came nearest, and what would make the deployment possible."""
    from inferfleet.planning.remedies import remedies  # noqa: PLC0415 - remedies plan again

    nearest = found.failures[0]
    fixes = remedies(model, pools, spec, nearest.miss)
    rejected = tuple(
        Rejected(str(each.candidate), each.miss.reason, each.layout) for each in _distinct(found.failures)
    )[:MOST_REJECTED]
    helps = f"; would do: {'; '.join(fixes)}" if fixes else ""
    reason = nearest.miss.reason
    return Planning(
        None,
        Refusal(reason, f"nearest was {nearest.candidate}: {reason.message}{helps}"),
        rejected,
    )
