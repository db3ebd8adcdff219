"""Try every candidate: through the checks first, then ranked by what a million tokens cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from inferfleet.planning.candidates import Candidate, across_nodes, within_node
from inferfleet.planning.checks import CHECKS, first_miss
from inferfleet.planning.drafting import Draft
from inferfleet.planning.evaluate import Outcome, evaluate
from inferfleet.planning.prices import price_per_gpu_hour
from inferfleet.planning.question import Miss, Question
from inferfleet.values import DeploymentSpec, Layout, ModelFacts, Pool, Reason, Workload

# costs this close are a tie, which the fewer GPUs per replica win
TIE: Final = 1.01
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


def search(
    model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec, draft: Draft | None = None
) -> Search:
    """Try every split on every pool; over nodes only where no single node of the pool will do."""
    question, cut = ask(model, spec)
    question = replace(question, draft=draft)
    outcomes: list[Outcome] = []
    failures: list[Failure] = []
    seen: dict[tuple[object, ...], Outcome] = {}
    for pool in pools:
        known = len(outcomes)
        _try(within_node(model, pool, spec.parallelism), question, outcomes, failures, seen)
        if len(outcomes) == known:
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
    if load == Workload():
        # a default that nobody stated is cut without a word
        return Question(model, spec, Workload(prompt, output), context), None
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
) -> None:
    """Check each candidate and evaluate those that pass."""
    for candidate in candidates:
        found = first_miss(candidate, question)
        if found:
            failures.append(Failure(candidate, *found))
            continue
        key = (candidate.pool.accelerator, candidate.pool.gpus_per_node, candidate.split)
        # pools of the same GPU differ in price only
        known = seen.get(key)
        outcome = _elsewhere(known, candidate, question) if known else evaluate(candidate, question)
        seen.setdefault(key, outcome)
        if outcome.miss:
            failures.append(Failure(candidate, _OBJECTIVES, outcome.miss, outcome.layout))
        else:
            outcomes.append(outcome)


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
    tied = [each for each in ranked if cost(each)[0] == unpriced and cost(each)[1] <= least * TIE]
    winner = min(
        tied, key=lambda each: (each.candidate.split.gpus, each.candidate.split.pipeline, order(each))
    )
    return (winner, *(each for each in ranked if each is not winner))
