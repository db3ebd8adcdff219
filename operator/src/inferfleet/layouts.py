"""Keep the layout that runs, or plan a new one: a layout changes when the user or the facts say so.

Nodes come and go; a plan that followed them would restart replicas for nothing. So the layout in use is kept
while it is valid and the part of the spec that it was planned from is unchanged.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from inferfleet import planning
from inferfleet.values import DeploymentSpec, Layout, Observed, Planning, Pool, Reason, Refusal

_REVISION_LENGTH = 10

_remembered = lru_cache(maxsize=1024)
"""Keeps hashes of specs and layouts: every pass of every deployment asks, and they seldom change."""

_NOT_RENDERED = frozenset(
    {"accelerator", "prediction", "warnings", "weights_bytes_per_gpu", "kv_cache_tokens"}
)
"""Parts of a layout that describe it and reach no pod."""

UNPLANNED = Planning(None, None)


@dataclass(frozen=True, slots=True)
class Choice:
    """The layout to run, if any. `refused` says why no (new) one could be had while `layout` goes on."""

    planning: Planning
    layout: Layout | None
    revision: str | None
    planned_from: str | None
    refused: Reason | None = None
    nearest: str = ""


def choose(observed: Observed, pools: tuple[Pool, ...]) -> Choice:
    """Decide which layout new replicas get. Without a new one the current stays, whatever is wrong."""
    spec, current = observed.spec, observed.memory.layout
    kept = Choice(
        Planning(current, None) if current else UNPLANNED,
        current,
        observed.memory.revision,
        observed.memory.planned_from,
    )
    if observed.spec_problem or observed.view_stale or observed.model is None or spec.deleted_at is not None:
        return kept
    if current is not None and spec.paused:
        return kept
    if current is not None and not _must_replan(observed, current, pools):
        return _with_revision(kept, spec)
    if not pools:
        nothing = "no node with GPUs exists, and no GPUPool or NodePool describes one"
        return _refuse(kept, Planning(None, Refusal(Reason("NoCapacity", nothing), "")))
    found = planning.plan_layout(observed.model, pools, spec)
    if found.layout is None:
        return _refuse(kept, found)
    return _with_revision(Choice(found, found.layout, None, fingerprint(spec)), spec)


def _must_replan(observed: Observed, current: Layout, pools: tuple[Pool, ...]) -> bool:
    changed = observed.memory.planned_from not in {None, fingerprint(observed.spec)}
    model = observed.model
    return changed or (model is not None and bool(planning.still_valid(current, model, pools, observed.spec)))


def _with_revision(choice: Choice, spec: DeploymentSpec) -> Choice:
    if choice.layout is None:
        return choice
    return Choice(
        choice.planning,
        choice.layout,
        revision_of(choice.layout, spec),
        choice.planned_from or fingerprint(spec),
    )


def _refuse(kept: Choice, found: Planning) -> Choice:
    refusal = found.refusal
    reason = refusal.reason if refusal else Reason("NoLayout", "planning gave no layout")
    return Choice(
        found,
        kept.layout,
        kept.revision,
        kept.planned_from,
        reason,
        refusal.nearest if refusal else "",
    )


@_remembered
def revision_of(layout: Layout, spec: DeploymentSpec) -> str:
    """A hash over all that reaches a worker's pods. What is left at its default is not part of it.

    So a later release that adds a field changes no revision, and restarts nobody.
    """
    engine = spec.engine.image, spec.engine.args
    model = spec.model.id, spec.model.revision
    return _digest([_rendered(layout), engine, model, spec.template_hash])


@_remembered
def digest_of(layout: Layout) -> str:
    """A hash over what of a layout reaches a worker's pods."""
    return _digest(_rendered(layout))


def _rendered(layout: Layout) -> dict[str, Any]:
    return {name: value for name, value in _stated(layout).items() if name not in _NOT_RENDERED}


@_remembered
def fingerprint(spec: DeploymentSpec) -> str:
    """A hash over the part of the spec that a layout is planned from."""
    engine = {name: v for name, v in _stated(spec.engine).items() if name not in {"image", "args"}}
    parts = (spec.model, spec.objectives, spec.workload, spec.parallelism)
    limits = sorted(spec.capacity.pools), spec.capacity.max_dollars_per_gpu_hour
    return _digest([*map(_stated, parts), engine, limits])


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_REVISION_LENGTH]


def _stated(value: Any) -> dict[str, Any]:
    """The fields of a value that differ from their defaults, as JSON would hold them."""
    stated = {}
    for field in fields(value):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        content = getattr(value, field.name)
        if content != default:
            stated[field.name] = _plain(content)
    return stated


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _stated(value)
    return value.value if isinstance(value, Enum) else value
