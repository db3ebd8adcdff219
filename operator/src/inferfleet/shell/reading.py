"""What a deployment asks for: its spec as written, or the last one that could be run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from inferfleet.api import InferenceDeployment, SpecError
from inferfleet.shell.views import DeploymentRecord
from inferfleet.values import DeploymentSpec, EngineSpec, ModelSpec, Reason


@dataclass(frozen=True, slots=True)
class Reading:
    """A deployment's spec as far as it makes sense; `resource` is None where nothing may be rendered."""

    spec: DeploymentSpec
    resource: InferenceDeployment | None
    problem: Reason | None


def read(record: DeploymentRecord, kept_spec: Mapping[str, Any] | None) -> Reading:
    """The spec as written, else the last one that could be run, else nothing but the deployment's name."""
    try:
        resource = InferenceDeployment.parse(record.raw)
        return Reading(resource.to_values(), resource, None)
    except SpecError as error:
        problem = Reason(error.code, error.message)
    last = kept(record, kept_spec)
    return Reading(last.to_values() if last else _nameless(record), last, problem)


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
