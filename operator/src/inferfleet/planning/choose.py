"""Answer with the best layout and the best that lost to it, or with a refusal that says what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from inferfleet.planning.drafting import Draft, find_draft
from inferfleet.planning.evaluate import Outcome, sketch
from inferfleet.planning.quantization import requantise
from inferfleet.planning.remedies import TRIED, remedies
from inferfleet.planning.search import TIE, Failure, Search, ask, search
from inferfleet.values import (
    DeploymentSpec,
    ModelFacts,
    Planning,
    Pool,
    Reason,
    Refusal,
    Rejected,
)

MOST_REJECTED: Final = 5
_LEAST_RUNNERS_UP: Final = 3
_NO_POOLS: Final = Refusal(
    Reason("NoPools", "no node with GPUs that can be told, and no GPUPool that describes one"),
    "label the nodes (GPU Feature Discovery does), or create a GPUPool",
)


def plan_layout(
    model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec, *, draft_facts: ModelFacts | None = None
) -> Planning:
    """Return the cheapest layout that meets memory and objectives, or a refusal.

    `draft_facts` are those of the draft that the spec names; without them it has to be a recorded model. The
    same model, pools and spec give the same answer, whatever is free at the moment: free GPUs are for
    placement, not for planning.
    """
    problem = _cannot_begin(model, pools, spec)
    if problem:
        return Planning(None, problem)
    served = requantise(model, spec.engine.quantization) if spec.engine.quantization else model
    if isinstance(served, Reason):
        return Planning(None, Refusal(served, "drop engine.quantization"))
    allowed = [pool for pool in pools if not spec.capacity.pools or pool.name in spec.capacity.pools]
    draft = find_draft(spec, draft_facts)
    found = search(served, allowed, spec, draft if isinstance(draft, Draft) else None)
    failed = _failed(found, served, spec)
    if not found.outcomes:
        return Planning(None, _refusal(served, allowed, spec, found), failed)
    first, *others = found.outcomes
    notes = (found.workload_cut, draft if isinstance(draft, Reason) else None)
    warnings = (*first.layout.warnings, *(note for note in notes if note))
    return Planning(replace(first.layout, warnings=warnings), None, _losers(first, others, failed))


def _cannot_begin(model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec) -> Refusal | None:
    if not pools:
        return _NO_POOLS
    names = ", ".join(pool.name for pool in pools)
    missing = [name for name in spec.capacity.pools if name not in {pool.name for pool in pools}]
    if missing:
        return Refusal(
            Reason("PoolNotFound", f"capacity.pools names {', '.join(missing)}; pools that exist: {names}"),
            f"name one of: {names}",
        )
    asked, most = spec.model.context_length, model.max_context_tokens
    if asked and asked > most:
        return Refusal(
            Reason("ContextTooLong", f"model.contextLength is {asked}, {model.model_id} was made for {most}"),
            f"set model.contextLength to {most} or less",
        )
    return None


def _losers(first: Outcome, others: Sequence[Outcome], failed: Sequence[Rejected]) -> tuple[Rejected, ...]:
    """The runners-up by cost, three at least, then the failures, five in all."""
    room = max(MOST_REJECTED - len(failed), _LEAST_RUNNERS_UP)
    costlier = [
        Rejected(f"{other.layout} on {other.layout.pool}", _lost_to(first, other), other.layout)
        for other in others[:room]
    ]
    return tuple([*costlier, *failed][:MOST_REJECTED])


def _failed(found: Search, model: ModelFacts, spec: DeploymentSpec) -> tuple[Rejected, ...]:
    """The nearest failure of each kind on each GPU, nearest first."""
    question, _ = ask(model, spec)
    nearest: dict[tuple[str, str], Failure] = {}
    for each in found.failures:
        nearest.setdefault((each.candidate.pool.accelerator.name, each.miss.reason.code), each)
    return tuple(
        Rejected(str(each.candidate), each.miss.reason, each.layout or sketch(each.candidate, question))
        for each in [*nearest.values()][:MOST_REJECTED]
    )


def _lost_to(first: Outcome, other: Outcome) -> Reason:
    """Why a layout that would do was not chosen."""
    if bool(first.dollars_per_token) != bool(other.dollars_per_token):
        return Reason("NoPrice", "no price is known: priced pools are preferred")
    if not first.dollars_per_token:
        mine, best = 1 / other.gpu_seconds_per_token, 1 / first.gpu_seconds_per_token
        return Reason("Slower", f"{mine:.0f} tokens/s per GPU against {best:.0f}")
    mine, best = other.dollars_per_token * 1e6, first.dollars_per_token * 1e6
    if mine > best * TIE:
        return Reason("CostsMore", f"{mine:.3g} $/Mtok against {best:.3g}")
    gpus, fewest = other.layout.gpus_per_replica, first.layout.gpus_per_replica
    if gpus > fewest:
        return Reason(
            "MoreGpusPerReplica", f"costs the same within 1 %, but takes {gpus} GPUs instead of {fewest}"
        )
    return Reason("NoBetter", f"costs the same within 1 %: {mine:.3g} $/Mtok against {best:.3g}")


def _refusal(model: ModelFacts, pools: Sequence[Pool], spec: DeploymentSpec, found: Search) -> Refusal:
    """Name the candidate that came nearest, and what would make the deployment possible."""
    nearest = found.failures[0]
    reason = nearest.miss.reason
    fixes = remedies(model, pools, spec, nearest.miss)
    helps = f"would do: {'; '.join(fixes)}" if fixes else f"no single change would do: tried {TRIED}"
    return Refusal(reason, f"nearest was {nearest.candidate}: {reason.message}; {helps}")
