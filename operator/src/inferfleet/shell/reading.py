"""What a deployment asks for: its spec as written, the last that could be run, or the last that worked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from inferfleet.api import InferenceDeployment, SpecError
from inferfleet.shell.kinds import DeploymentRecord
from inferfleet.values import DeploymentSpec, EngineSpec, ModelSpec, Reason

RUN: Final = ("model", "engine", "parallelism", "objectives", "workload", "podTemplate")
"""The parts of a spec that say what runs in a replica; how many there are, and where, is not undone."""

Parts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """A deployment's spec as far as it makes sense; `resource` is None where nothing may be rendered.

    `undone` says what became of `spec.rollout.undo`, None where it is not set.
    """

    spec: DeploymentSpec
    resource: InferenceDeployment | None
    problem: Reason | None
    undone: Reason | None = None


def read(record: DeploymentRecord, kept_spec: Parts | None, good: Sequence[Parts] = ()) -> Reading:
    """The spec as written, else the last one that could be run, else nothing but the deployment's name.

    With `spec.rollout.undo` the newest of the `good` parts that differs from what is written stands in.
    """
    try:
        resource = InferenceDeployment.parse(record.raw)
        if not resource.spec.rollout.undo:
            return Reading(resource.to_values(), resource, None)
        return _undo(record, resource, good)
    except SpecError as error:
        problem = Reason(error.code, error.message)
    last = kept(record, kept_spec)
    return Reading(last.to_values() if last else _nameless(record), last, problem)


def parts_of(resource: InferenceDeployment) -> Parts:
    """What runs in a replica, as it was written."""
    spec = resource.model_dump(mode="json", by_alias=True, exclude_unset=True)["spec"]
    return {name: spec[name] for name in RUN if name in spec}


def _undo(record: DeploymentRecord, resource: InferenceDeployment, good: Sequence[Parts]) -> Reading:
    written = parts_of(resource)
    last = next((parts for parts in good if parts != written), None)
    if last is None:
        nothing = Reason("NothingToUndo", "spec.rollout.undo is set, and no other spec ever worked here")
        return Reading(resource.to_values(), resource, None, nothing)
    spec = {name: value for name, value in record.raw["spec"].items() if name not in RUN}
    resource = InferenceDeployment.parse({**record.raw, "spec": {**spec, **last}})
    image = resource.spec.engine.image
    undone = Reason(
        "Undone", f"spec.rollout.undo holds the last that worked: {resource.spec.model.id}, {image}"
    )
    return Reading(resource.to_values(), resource, None, undone)


def kept(record: DeploymentRecord, kept_spec: Mapping[str, Any] | None) -> InferenceDeployment | None:
    """The deployment with the last spec that could be run; None where there is none that still parses."""
    if kept_spec is None:
        return None
    try:
        resource = InferenceDeployment.parse({**record.raw, "spec": kept_spec})
        resource.to_values()
    except SpecError:
        return None  # kept by another release of the operator
    return resource


def _nameless(record: DeploymentRecord) -> DeploymentSpec:
    """What is known of a deployment whose spec never made sense: nothing can be planned, only be said."""
    metadata = record.raw["metadata"]
    model = record.raw.get("spec", {}).get("model") or {}
    spec = DeploymentSpec(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=record.uid,
        generation=record.generation,
        model=ModelSpec(str(model.get("id", "")) if isinstance(model, Mapping) else ""),
        engine=EngineSpec(""),
    )
    return replace(spec, deleted_at=time.time()) if record.deleting else spec
