"""What a run is made of: a deployment, the nodes that can be had, the arrivals, and what a start takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil
from typing import Final, Protocol

from inferfleet import planning
from inferfleet.planning.speed import StepModel, step_model
from inferfleet.planning.split import Split
from inferfleet.simulate.engine import Limits
from inferfleet.simulate.nodes import Cloud, ColdStart, Provider, SimulatedPool
from inferfleet.simulate.policy import ReplicaFacts, Request, Setting
from inferfleet.simulate.step_times import StepTimes
from inferfleet.simulate.world import ReplicaKind, Routing
from inferfleet.values import CapacityType, DeploymentSpec, Layout, ModelFacts, OfferKey, Pool

POOL_LABEL: Final = "karpenter.sh/nodepool"
OPENING_SECONDS: Final = 300.0
"""The fleet that a run begins with is enough for the first minutes."""


class Source(Protocol):
    """Makes the arrivals of a run, the same ones for the same seed."""

    def stream(self, seed: int) -> Iterator[Request]:
        """Yield requests in order of time, from 0 on."""
        ...


class ScenarioError(Exception):
    """Nothing can be simulated: no layout is possible, or no pool described. The text says why."""


@dataclass(frozen=True)
class Scenario:
    """Everything but the policy and the seed.

    `initial_replicas` run from the start under every policy, by default enough for the first five minutes.
    Counts and costs are taken from `measure_from_seconds` on: before it, windows fill and a load is learned.
    `tail_seconds` is how long requests may still end after the last arrival; nothing is billed then. `step`
    replaces the planner's speed model, and `frontend_seconds` is what the API server adds to a first token.
    """

    spec: DeploymentSpec
    model: ModelFacts
    pools: tuple[SimulatedPool, ...]
    source: Source
    duration_seconds: float
    cold_start: ColdStart = field(default_factory=ColdStart)
    availability: Mapping[str, float] = field(default_factory=dict)
    provider: Provider = Provider.AWS
    routing: Routing = Routing.RANDOM
    initial_replicas: int | None = None
    tail_seconds: float = 600.0
    measure_from_seconds: float = 0.0
    step: StepModel | None = None
    frontend_seconds: float = 0.0

    @cached_property
    def stated_pools(self) -> tuple[SimulatedPool, ...]:
        """The pools, each with labels that select its nodes and the accelerator that its name means."""
        return tuple(_stated(pool) for pool in self.pools)

    @cached_property
    def _pools(self) -> tuple[Pool, ...]:
        return planning.discover_pools((), [pool.spec for pool in self.stated_pools], {})

    @cached_property
    def layout(self) -> Layout:
        """The layout that the operator will choose.

        Raises:
            ScenarioError: There is none.
        """
        if not self._pools:
            raise ScenarioError("no GPUPool states an accelerator, and no --gpu was given")
        found = planning.plan_layout(self.model, self._pools, self.spec)
        if found.layout is None:
            said = found.refusal
            raise ScenarioError(f"{said.reason}; {said.nearest}" if said else "planning gave no layout")
        return found.layout

    @cached_property
    def pool(self) -> Pool:
        """The pool of the layout."""
        return next(pool for pool in self._pools if pool.name == self.layout.pool)

    @cached_property
    def offers(self) -> tuple[OfferKey, ...]:
        """What may be bought for the layout, as the deployment's zones allow."""
        zones = self.spec.capacity.zones
        return tuple(
            OfferKey(offer.pool, offer.capacity_type, offer.zone)
            for offer in self.pool.offers
            if not zones or offer.zone in zones
        )

    def price_of(self, offer: OfferKey) -> float:
        """Dollars per GPU and hour."""
        return next(
            found.price_dollars_per_gpu_hour
            for found in self.pool.offers
            if (found.capacity_type, found.zone) == (offer.capacity_type, offer.zone)
        )

    @cached_property
    def step_model(self) -> StepModel:
        """How long a replica's steps take."""
        if self.step is not None:
            return self.step
        layout = self.layout
        split = Split(
            layout.tensor_parallel, layout.pipeline_parallel, layout.data_parallel, layout.expert_parallel
        )
        return step_model(
            self.model,
            self.pool.accelerator,
            split,
            gpus_per_node=self.pool.gpus_per_node,
            kv_cache_dtype=layout.kv_cache_dtype,
        )

    @property
    def limits(self) -> Limits:
        """The engine's limits; ranks of data parallelism are taken together."""
        layout = self.layout
        return Limits(
            max_num_seqs=layout.max_num_seqs * layout.data_parallel,
            max_num_batched_tokens=layout.max_num_batched_tokens * layout.data_parallel,
            kv_cache_tokens=layout.kv_cache_tokens,
            frontend_seconds=self.frontend_seconds,
        )

    @property
    def cloud(self) -> Cloud:
        """Where nodes come from."""
        return Cloud(self.stated_pools, self.cold_start, self.availability, self.provider)

    @property
    def kind(self) -> ReplicaKind:
        """What each replica is."""
        return ReplicaKind(StepTimes(self.step_model), self.limits, self.cold_start, self.price_of)

    @cached_property
    def replica(self) -> ReplicaFacts:
        """What is known of a replica beforehand."""
        layout, limits, cold = self.layout, self.limits, self.cold_start
        standing = any(pool.standing for pool in self.pools)
        start = cold.schedule_seconds + cold.pull_seconds + cold.load_seconds
        prices = {offer.capacity_type: self.price_of(offer) for offer in self.offers}
        return ReplicaFacts(
            kv_cache_tokens=limits.kv_cache_tokens,
            max_num_seqs=limits.max_num_seqs,
            max_num_batched_tokens=limits.max_num_batched_tokens,
            max_model_len=layout.max_model_len,
            predicted_tokens_per_second=layout.prediction.tokens_per_second,
            gpus=layout.gpus_per_replica,
            dollars_per_hour=layout.gpus_per_replica
            * prices.get(CapacityType.ON_DEMAND, max(prices.values(), default=0.0)),
            cold_start_seconds=start if standing else start + cold.provision_seconds,
            step=self.step_model,
        )

    def arrivals(self, seed: int) -> Iterator[Request]:
        """The requests, cut to what the engine's context holds: it would refuse longer ones."""
        longest = min(self.layout.max_model_len, self.layout.kv_cache_tokens)
        for request in self.source.stream(seed):
            if request.at >= self.duration_seconds:
                return
            if request.prompt_tokens + request.output_tokens <= longest:
                yield request
            else:
                output = min(request.output_tokens, longest // 2)
                yield request._replace(
                    prompt_tokens=min(request.prompt_tokens, longest - output), output_tokens=output
                )

    def setting(self, seed: int) -> Setting:
        """What a policy is told."""
        scaling = self.spec.autoscaling
        return Setting(
            replica=self.replica,
            objectives=self.spec.objectives,
            workload=self.spec.workload,
            min_replicas=scaling.min_replicas,
            max_replicas=scaling.max_replicas,
            duration_seconds=self.duration_seconds,
            arrivals=lambda: self.arrivals(seed),
        )

    def initial(self, seed: int) -> int:
        """How many replicas run when it begins."""
        scaling = self.spec.autoscaling
        if self.initial_replicas is not None:
            return max(scaling.min_replicas, min(self.initial_replicas, scaling.max_replicas))
        span = min(OPENING_SECONDS, self.duration_seconds)
        count = prompts = outputs = 0
        for request in self.arrivals(seed):
            if request.at >= span:
                break
            count, prompts = count + 1, prompts + request.prompt_tokens
            outputs += request.output_tokens
        if not count:
            return max(scaling.min_replicas, min(1, scaling.max_replicas))
        rated = self.setting(seed).rated_requests_per_second(prompts / count, outputs / count)
        wanted = ceil(count / span / (rated * (scaling.target_utilization or 1.0))) if rated else 1
        return max(scaling.min_replicas, 1, min(wanted, scaling.max_replicas))


def _stated(pool: SimulatedPool) -> SimulatedPool:
    spec = pool.spec
    gpu = spec.accelerator or (planning.find_accelerator(spec.accelerator_name or ""))
    if gpu is None:
        raise ScenarioError(f"GPUPool {spec.name} states no accelerator that is known")
    labels = spec.node_labels or {POOL_LABEL: spec.name}
    return replace(
        pool, spec=replace(spec, accelerator=gpu, node_labels=labels, gpus_per_node=spec.gpus_per_node or 1)
    )
