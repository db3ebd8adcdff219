"""Whole runs: the same twice, nobody unaccounted for, the fleet follows the load, and spot takes its toll."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from inferfleet import planning
from inferfleet.simulate.generate import Generated, Sizes, constant, spike
from inferfleet.simulate.nodes import ColdStart, Provider, SimulatedPool
from inferfleet.simulate.peers import PEERS
from inferfleet.simulate.policy import Factory, Policy, Request, Seen, Setting
from inferfleet.simulate.run import Outcome, simulate
from inferfleet.simulate.scenario import Scenario, ScenarioError
from inferfleet.simulate.world import Routing
from inferfleet.values import (
    AutoscalingSpec,
    CapacitySpec,
    CapacityType,
    DeploymentSpec,
    EngineSpec,
    IntOrPercent,
    ModelSpec,
    Objectives,
    PoolSpec,
    Workload,
)

MODEL_ID = "mistralai/mistral-7b-instruct-v0.3"
MODEL = planning.catalogue_facts(MODEL_ID)
SPOT = (CapacityType.SPOT, CapacityType.ON_DEMAND)


def scenario(curve: tuple[tuple[float, float], ...], **changes: object) -> Scenario:
    """Mistral 7B on single L4s: about three requests in four seconds each."""
    assert MODEL is not None
    spec = DeploymentSpec(
        name="chat",
        namespace="default",
        uid="uid",
        generation=1,
        model=ModelSpec(MODEL_ID, context_length=8192),
        engine=EngineSpec("engine:1"),
        objectives=Objectives(95.0, 2.0, 0.1),
        workload=Workload(500, 150),
        autoscaling=AutoscalingSpec(min_replicas=1, max_replicas=12),
    )
    made = Scenario(
        spec,
        MODEL,
        (SimulatedPool(PoolSpec("gpus", accelerator_name="L4", gpus_per_node=1)),),
        Generated(curve, Sizes(500, 150)),
        curve[-1][0],
        cold_start=ColdStart(30.0, 1.0, 10.0, 20.0),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def on_spot(made: Scenario, **availability: float) -> Scenario:
    pool = PoolSpec("gpus", accelerator_name="L4", gpus_per_node=1, zones=("a", "b"), capacity_types=SPOT)
    capacity = CapacitySpec(spot_share=IntOrPercent(share=1.0), on_demand_base=IntOrPercent(count=0))
    return replace(
        made,
        spec=replace(made.spec, capacity=capacity),
        pools=(SimulatedPool(pool),),
        availability=availability,
    )


@dataclass
class Fixed:
    """Always so many."""

    count: int
    drain_seconds: float = 0.0
    name: str = "fixed"
    period_seconds: float = 15.0

    def replicas(self, seen: Seen, now: float) -> int:  # noqa: ARG002 - it does not look
        return self.count


@dataclass
class Halved:
    """Four at first, two from the fifth minute on."""

    drain_seconds: float
    name: str = "halved"
    period_seconds: float = 10.0

    def replicas(self, seen: Seen, now: float) -> int:  # noqa: ARG002 - it does not look
        return 4 if now < 300 else 2


def fixed(count: int) -> Factory:
    return lambda _setting: Fixed(count)


def halved(drain_seconds: float) -> Factory:
    def make(_setting: Setting) -> Policy:
        return Halved(drain_seconds)

    return make


STEP = spike(0.6, 2.8, 300.0, 9999.0, 1200.0)
POLICIES: dict[str, Factory | None] = {"ours": None, "a peer": PEERS["keda-queue"], "none": fixed(2)}


def numbers(outcome: Outcome) -> tuple[object, ...]:
    return outcome.attained, outcome.cost_dollars, outcome.ttft_p99, outcome.scale_events, outcome.bins


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_the_same_seed_gives_the_same_run_and_another_seed_another(policy: Factory | None):
    made = scenario(spike(0.6, 2.8, 60.0, 9999.0, 300.0))
    assert numbers(simulate(made, policy, 1)) == numbers(simulate(made, policy, 1))
    assert numbers(simulate(made, policy, 1)) != numbers(simulate(made, policy, 2))


@pytest.mark.parametrize("routing", Routing)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_every_request_is_finished_lost_or_in_flight(policy: Factory | None, routing: Routing):
    made = on_spot(scenario(STEP, routing=routing, tail_seconds=2.0), a=0.2, b=0.2)
    seen = simulate(made, policy, 3)
    assert seen.requests == sum(1 for _ in made.arrivals(3))
    assert seen.requests == seen.finished + seen.lost + seen.in_flight
    assert seen.attained <= seen.finished
    assert sum(each.arrivals for each in seen.bins) == seen.requests


def test_ours_grows_with_the_load_and_costs_less_than_the_peak():
    made = scenario(spike(0.6, 2.8, 600.0, 600.0, 2400.0))
    ours, peak = simulate(made, None, 1), simulate(made, fixed(5), 1)
    assert max(each.ready for each in ours.bins) >= 3
    assert ours.bins[-1].desired < max(each.desired for each in ours.bins)
    assert ours.lost == 0
    assert ours.cost_dollars < peak.cost_dollars
    assert ours.slo_attainment > 0.8


def test_what_a_fixed_fleet_costs_is_its_gpus_times_the_time():
    made = scenario(constant(0.8, 600.0), initial_replicas=3)
    seen = simulate(made, fixed(3), 1)
    assert seen.gpu_hours == pytest.approx(3 * 600 / 3600)
    assert seen.cost_dollars == pytest.approx(seen.gpu_hours * made.replica.dollars_per_hour)
    assert seen.scale_events == 0


@pytest.mark.parametrize(("drain_seconds", "loses"), [(0.0, True), (300.0, False)])
def test_a_scale_down_loses_what_its_system_does_not_drain(drain_seconds: float, loses: bool):
    made = scenario(constant(1.4, 600.0), initial_replicas=4)
    assert (simulate(made, halved(drain_seconds), 1).lost > 0) is loses


def test_ours_loses_nothing_to_a_scale_down():
    made = scenario(spike(2.8, 0.6, 120.0, 9999.0, 1500.0))
    seen = simulate(made, None, 1)
    assert seen.scale_events > 0
    assert seen.lost == 0


@pytest.mark.parametrize("provider", [Provider.AWS, Provider.GKE])
def test_ours_flees_from_spot_where_a_count_alone_loses(provider: Provider):
    made = on_spot(scenario(constant(1.0, 3600.0), provider=provider), a=0.6, b=0.6)
    ours, peer = simulate(made, None, 4), simulate(made, fixed(3), 4)
    assert peer.lost > 0
    assert ours.lost < peer.lost
    assert ours.slo_attainment > peer.slo_attainment


def test_without_any_replica_requests_are_held_until_there_is_one():
    made = scenario(constant(0.3, 300.0), initial_replicas=0)
    made = replace(made, spec=replace(made.spec, autoscaling=AutoscalingSpec(min_replicas=0, max_replicas=3)))
    seen = simulate(made, fixed(1), 1)
    assert seen.lost == seen.in_flight == 0
    assert seen.ttft_p99 > 30.0


def test_standing_nodes_are_all_that_there_is():
    pool = PoolSpec("gpus", accelerator_name="L4", gpus_per_node=2, max_nodes=2)
    made = scenario(STEP, pools=(SimulatedPool(pool, standing=2, grows=False),))
    seen = simulate(made, None, 1)
    assert max(each.ready for each in seen.bins) <= 4


@pytest.mark.parametrize("policy", [None, fixed(2)], ids=["ours", "a peer"])
def test_a_run_begins_with_warm_replicas_on_standing_nodes_too(policy: Factory | None):
    pool = PoolSpec("gpus", accelerator_name="L4", gpus_per_node=1, max_nodes=2)
    pools = (SimulatedPool(pool, standing=2, grows=False),)
    seen = simulate(scenario(constant(0.3, 120.0), pools=pools, initial_replicas=2), policy, 1)
    assert seen.ttft_p99 < 2.0


def test_requests_longer_than_the_context_are_cut_to_it():
    made = scenario(constant(1.0, 60.0), source=Generated(constant(1.0, 60.0), Sizes(20_000, 400, 0, 0)))
    sizes = {(request.prompt_tokens, request.output_tokens) for request in made.arrivals(1)}
    assert sizes == {(8192 - 400, 400)}


def test_a_model_that_fits_nowhere_is_refused_in_the_planners_words():
    made = scenario(STEP)
    made = replace(made, spec=replace(made.spec, objectives=Objectives(95.0, 2.0, 0.0001)))
    with pytest.raises(ScenarioError, match="InterTokenLatencyMissed"):
        _ = made.layout


@dataclass(frozen=True)
class Endless:
    """A stream that is never held as a whole."""

    count: int

    def stream(self, seed: int) -> Iterator[Request]:  # noqa: ARG002 - even gaps
        return (Request(index * 0.2, 100, 10) for index in range(self.count))


def test_memory_does_not_grow_with_the_number_of_requests():
    peaks = []
    for count in (3_000, 12_000):
        made = scenario(constant(1.0, count * 0.2), source=Endless(count), initial_replicas=2)
        _ = made.replica, made.initial(1)
        tracemalloc.start()
        simulate(replace(made, duration_seconds=count * 0.2), fixed(2), 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 9_000 * 20, (
        "a request leaves less than 20 bytes: bins, of which there are few"
    )
