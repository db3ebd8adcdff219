"""What a policy for the number of replicas is told, what it may see, and what it answers.

A policy sees what its system could scrape, and nothing else. Every system can be written against this; the
operator itself is driven through `reconcile.plan` instead, with all of its workers, nodes and samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias

from inferfleet.planning.operate import operate
from inferfleet.planning.speed import StepModel
from inferfleet.values import EngineSample, Objectives, Workload


class Request(NamedTuple):
    """One request as it reaches the gateway; `at` is seconds from the start of the run."""

    at: float
    prompt_tokens: int
    output_tokens: int


Arrivals: TypeAlias = Callable[[], Iterator[Request]]
"""Makes a fresh stream of the run's requests, in order of time."""


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """What is known of one replica before it runs: sizes that the engine logs, and its price on demand.

    `predicted_tokens_per_second` is the plan's, at the objectives, for the workload that the deployment
    states. `cold_start_seconds` is the median from asked for to Ready.
    """

    kv_cache_tokens: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    predicted_tokens_per_second: float
    gpus: int
    dollars_per_hour: float
    cold_start_seconds: float
    step: StepModel


@dataclass(frozen=True, slots=True)
class Setting:
    """What a policy is told when it is made.

    `arrivals` is the future: only the optimum and a static peak may read it, and say so.
    """

    replica: ReplicaFacts
    objectives: Objectives
    workload: Workload
    min_replicas: int
    max_replicas: int
    duration_seconds: float
    arrivals: Arrivals

    def rated_requests_per_second(self, prompt_tokens: float, output_tokens: float) -> float:
        """Return what one replica serves within the objectives: what profiling an engine beforehand gives."""
        workload = Workload(max(1, round(prompt_tokens)), max(1, round(output_tokens)))
        return _rated(self.replica, workload, self.objectives) / workload.output_tokens


@lru_cache(maxsize=4096)
def _rated(replica: ReplicaFacts, workload: Workload, objectives: Objectives) -> float:
    each = workload.prompt_tokens + workload.output_tokens
    slots = max(1, min(replica.max_num_seqs, replica.kv_cache_tokens // each))
    point = operate(
        replica.step, workload, objectives, slots=slots, batched_tokens=replica.max_num_batched_tokens
    )
    return point.tokens_per_second


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a proxy in front of all replicas counts. Totals are since the start of the run.

    `in_flight` are requests sent to a replica or held; `held` are those that wait for any replica at all.
    `in_flight_seconds_total` is the integral of `in_flight`, so that its growth over time is an exact mean.
    `lost_total` a replica's end cut off.
    """

    in_flight: int
    held: int
    arrivals_total: int
    finished_total: int
    lost_total: int
    in_flight_seconds_total: float
    prompt_tokens_total: int
    output_tokens_total: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the system.

    `desired` is what the policy answered last, within the bounds; `ready` replicas take requests, `pending`
    ones were created and are not Ready yet, of which `unschedulable` have no node. `samples` are scrapes of
    the ready replicas: gauges as of now, counters and cumulative histograms since the replica started. As in
    vLLM, `prompt_tokens_total` grows when a prompt has been computed.
    """

    desired: int
    ready: int
    pending: int
    unschedulable: int
    samples: tuple[EngineSample, ...]
    gateway: Gateway


class Policy(Protocol):
    """A control law with its own state, made anew for every run.

    `period_seconds` is how often it looks. A replica that it gives up leaves the endpoints and then has
    `drain_seconds` to finish what it runs; 0 cuts everything off, as an engine does that gets SIGTERM under
    its default `--shutdown-timeout 0`. State what the system documents.
    """

    name: str
    period_seconds: float
    drain_seconds: float

    def replicas(self, seen: Seen, now: float) -> int:
        """Return how many replicas there should be; `now` is seconds since the start of the run."""
        ...


Factory: TypeAlias = Callable[[Setting], Policy]
"""Makes one policy for one run."""
