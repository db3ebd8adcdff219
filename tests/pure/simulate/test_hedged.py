"""SkyServe's mix of spot and on-demand, in the simulator."""

from dataclasses import replace

import pytest
from chat_scenario import chat_scenario

from inferfleet.simulate.generate import Generated, Sizes, constant
from inferfleet.simulate.hedged import Hedge
from inferfleet.simulate.peers.rate import Static
from inferfleet.simulate.run import simulate
from inferfleet.simulate.scenario import Scenario
from inferfleet.values import AutoscalingSpec, CapacityType

HOURS = 1.0
COUNT = 4
ON_DEMAND, SPOT = 2.0, 0.5


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    made = chat_scenario(
        Generated(constant(0.2, HOURS * 3600), Sizes(1000.0, 250.0, 0.2, 0.2)),
        HOURS * 3600,
        AutoscalingSpec(min_replicas=COUNT, max_replicas=COUNT),
        {CapacityType.SPOT: SPOT, CapacityType.ON_DEMAND: ON_DEMAND},
        zones=("a", "b", "c"),
    )
    return replace(made, initial_replicas=COUNT, measure_from_seconds=900.0)


def cost(scenario: Scenario, overprovision: int, availability: dict[str, float]) -> float:
    """Dollars over the measured three quarters of an hour, per hour."""
    run = replace(scenario, availability=availability)
    outcome = simulate(run, lambda _: Hedge(Static(COUNT), overprovision), 0)
    assert outcome.slo_attainment > 0.99
    return outcome.cost_dollars / (HOURS - 0.25)


def test_where_spot_stays_all_is_spot_and_what_is_on_top_too(scenario: Scenario) -> None:
    stays = {"a": 0.9999, "b": 0.9999, "c": 0.9999}
    assert cost(scenario, 0, {}) == pytest.approx(COUNT * SPOT)
    assert cost(scenario, 1, {}) == pytest.approx((COUNT + 1) * SPOT)
    assert cost(scenario, 0, stays) < COUNT * ON_DEMAND


def test_where_spot_cannot_be_had_on_demand_stands_in_for_the_target_only(scenario: Scenario) -> None:
    never = {"a": 0.0, "b": 0.0, "c": 0.0}
    assert cost(scenario, 0, never) == pytest.approx(COUNT * ON_DEMAND)
    assert cost(scenario, 2, never) == pytest.approx(COUNT * ON_DEMAND)


def test_a_zone_whose_launch_failed_is_left_for_the_others_while_there_are_two(scenario: Scenario) -> None:
    assert cost(scenario, 0, {"a": 0.0}) == pytest.approx(COUNT * SPOT)
    assert cost(scenario, 0, {"a": 0.0, "b": 0.0}) > 1.5 * COUNT * SPOT, "with one left it tries all again"
