"""InferenceDeployment: the resource that users write, and its reading into values."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final, Literal

from pydantic import ConfigDict, Field

from inferfleet.api import spec as written
from inferfleet.api.autoscaling import Autoscaling
from inferfleet.api.autoscaling import Schedule as WrittenSchedule
from inferfleet.api.capacity import Capacity
from inferfleet.api.model import Engine
from inferfleet.api.resource import (
    Metadata,
    Resource,
    Rule,
    SpecError,
    instant,
    int_or_percent,
    seconds,
    validated,
)
from inferfleet.api.status import InferenceDeploymentStatus
from inferfleet.values import (
    AutoscalingSpec,
    CapacitySpec,
    DeploymentSpec,
    DrainSpec,
    EngineSpec,
    ModelSpec,
    Objectives,
    ParallelismSpec,
    RolloutSpec,
    Schedule,
    SpeculativeSpec,
    Workload,
    labels,
)

# The Service has the same name, and a pod's adds a worker and a rank to it; a host name has at most 63.
MAX_NAME: Final = 40
NAME_PATTERN: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
NAME_HELP: Final = (
    f"metadata.name must be a-z, 0-9 and -, start with a letter, and have at most {MAX_NAME} characters"
)


class InferenceDeployment(Resource):
    """A model served by a fleet of inference workers: planned, scaled, mixed over capacity types, drained."""

    model_config = ConfigDict(
        json_schema_extra=validated(
            Rule(
                f"size(self.metadata.name) <= {MAX_NAME} && self.metadata.name.matches('{NAME_PATTERN}')",
                NAME_HELP,
            )
        )
    )

    api_version: Literal["inferfleet.dev/v1alpha1"] = "inferfleet.dev/v1alpha1"
    kind: Literal["InferenceDeployment"] = "InferenceDeployment"
    metadata: Metadata
    spec: written.InferenceDeploymentSpec
    status: InferenceDeploymentStatus = Field(default_factory=InferenceDeploymentStatus)

    def to_values(self) -> DeploymentSpec:
        """Return the spec as values.

        Raises:
            SpecError: when no Service or pod could be named after the object.
        """
        spec, name = self.spec, self.metadata.name
        if len(name) > MAX_NAME or not re.fullmatch(NAME_PATTERN, name):
            raise SpecError("InvalidName", NAME_HELP)
        return DeploymentSpec(
            name=self.metadata.name,
            namespace=self.metadata.namespace,
            uid=self.metadata.uid,
            generation=self.metadata.generation,
            model=ModelSpec(spec.model.id, spec.model.context_length, spec.model.revision),
            engine=_engine(spec.engine),
            objectives=_objectives(spec.objectives),
            workload=Workload(spec.workload.prompt_tokens, spec.workload.output_tokens),
            parallelism=ParallelismSpec(
                spec.parallelism.tensor,
                spec.parallelism.pipeline,
                spec.parallelism.data,
                spec.parallelism.expert,
            ),
            autoscaling=_autoscaling(spec.autoscaling, spec.replicas),
            capacity=_capacity(spec.capacity),
            drain=DrainSpec(
                seconds(spec.drain.timeout), seconds(spec.drain.settle), seconds(spec.drain.margin)
            ),
            rollout=RolloutSpec(
                int_or_percent(spec.rollout.max_surge),
                int_or_percent(spec.rollout.max_unavailable),
                seconds(spec.rollout.progress_deadline),
            ),
            template_hash=self.template_hash(),
            deleted_at=instant(self.metadata.deletion_timestamp)
            if self.metadata.deletion_timestamp
            else None,
            paused=spec.paused,
            protects=not labels.KEEP_NODE.keys() & spec.pod_template.metadata.get("annotations", {}).keys(),
        )

    def template_hash(self) -> str:
        """Digest of what is rendered into a worker's pods but decided upon nowhere: a change is a rollout.

        The operator's own image is left out, so that an upgrade of the operator restarts no engine.
        """
        rendered = {
            "podTemplate": self.spec.pod_template.model_dump(by_alias=True),
            "servedName": self.spec.model.name_for_clients,
            "noticeUrl": self.spec.drain.notice_url,
            "tokenSecret": self.spec.model.token_secret and self.spec.model.token_secret.model_dump(),
        }
        return hashlib.sha256(json.dumps(rendered, sort_keys=True).encode()).hexdigest()[:10]


def _engine(engine: Engine) -> EngineSpec:
    draft = engine.speculative
    return EngineSpec(
        image=engine.image,
        args=tuple(engine.args),
        quantization=engine.quantization,
        kv_cache_dtype=engine.kv_cache_dtype,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        speculative=SpeculativeSpec(draft.model, draft.tokens, draft.acceptance) if draft else None,
    )


def _objectives(objectives: written.Objectives) -> Objectives:
    ttft, itl = objectives.time_to_first_token, objectives.inter_token_latency
    return Objectives(
        percentile=objectives.percentile,
        ttft_seconds=seconds(ttft) if ttft else None,
        itl_seconds=seconds(itl) if itl else None,
    )


def _autoscaling(autoscaling: Autoscaling, replicas: int | None) -> AutoscalingSpec:
    return AutoscalingSpec(
        mode=autoscaling.mode,
        replicas=replicas,
        min_replicas=autoscaling.min_replicas,
        max_replicas=autoscaling.upper_bound,
        target_queue_per_replica=autoscaling.target_queue_per_replica,
        target_utilization=autoscaling.target_utilization,
        capacity_factor=autoscaling.capacity_factor,
        scale_up_window_seconds=seconds(autoscaling.scale_up_window),
        scale_down_window_seconds=_maybe_seconds(autoscaling.scale_down_window),
        max_scale_up_per_minute=autoscaling.max_scale_up_per_minute,
        max_scale_down_per_minute=autoscaling.max_scale_down_per_minute,
        schedules=tuple(map(_schedule, autoscaling.schedules)),
    )


def _schedule(schedule: WrittenSchedule) -> Schedule:
    return Schedule(
        name=schedule.name,
        time_zone=schedule.time_zone,
        start=schedule.start,
        end=schedule.end,
        duration_seconds=_maybe_seconds(schedule.duration),
        min_replicas=schedule.min_replicas,
        max_replicas=schedule.max_replicas,
    )


def _maybe_seconds(duration: str | None) -> float | None:
    return None if duration is None else seconds(duration)


def _capacity(capacity: Capacity) -> CapacitySpec:
    return CapacitySpec(
        pools=tuple(capacity.pools),
        zones=tuple(capacity.zones),
        spot_share=int_or_percent(capacity.spot.share),
        spot_overprovision=int_or_percent(capacity.spot.overprovision),
        on_demand_base=int_or_percent(capacity.on_demand.base),
        fallback=capacity.fallback.enabled,
        fallback_after_seconds=seconds(capacity.fallback.after),
        fallback_hold_seconds=seconds(capacity.fallback.hold),
        max_dollars_per_gpu_hour=capacity.max_price_per_gpu_hour,
    )
