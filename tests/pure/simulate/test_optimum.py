"""The clairvoyant: its schedule by hand, and its search against a cost that is known."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from chat_scenario import chat_scenario

from inferfleet.simulate.generate import Generated, Sizes, constant
from inferfleet.simulate.optimum import (
    BIN_SECONDS,
    Clairvoyant,
    Schedule,
    cuts,
    merged,
    replica_load,
    schedule,
    search,
    token_seconds,
)
from inferfleet.simulate.policy import Factory, Gateway, Request, Seen
from inferfleet.simulate.run import simulate
from inferfleet.simulate.scenario import Scenario
from inferfleet.values import AutoscalingSpec, CapacityType

NOTHING = Seen(0, 0, 0, 0, (), Gateway(0, 0, 0, 0, 0, 0.0, 0, 0))


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    source = Generated(((0.0, 2.0), (300.0, 6.0), (600.0, 2.0), (1200.0, 0.0)), Sizes(1000.0, 250.0))
    scaling = AutoscalingSpec(min_replicas=1, max_replicas=10)
    return chat_scenario(source, 1200.0, scaling, {CapacityType.ON_DEMAND: 2.0})


def test_requests_of_the_stated_size_load_as_many_replicas_as_their_rate_over_the_rated_one(
    scenario: Scenario,
) -> None:
    setting = scenario.setting(0)
    rated = setting.rated_requests_per_second(1000, 250)
    per_prompt, per_output = token_seconds(setting)
    assert per_prompt * 1000 + per_output * 250 == pytest.approx(1 / rated)
    assert per_prompt > 0
    assert per_output > per_prompt, "an output token costs more than a prompt token"

    def even() -> Iterator[Request]:
        return (Request(second / 4, 1000, 250) for second in range(4800))

    load = replica_load(replace(setting, arrivals=even))
    assert load[100] == pytest.approx(4 / rated, rel=0.05)
    assert sum(load) * BIN_SECONDS == pytest.approx(4800 / rated, rel=0.01)


def test_each_replica_bridges_the_gaps_that_are_shorter_than_a_restart(scenario: Scenario) -> None:
    setting = scenario.setting(0)
    start = setting.replica.cold_start_seconds
    bins = int(1200 / BIN_SECONDS)
    gap = int(start / BIN_SECONDS)
    load = [0.9] * bins
    for index in (10, 10 + gap, 10 + 3 * gap):
        load[index] = 1.7
    plan = schedule(setting, load, 1.0, start)
    assert plan.levels[0] == ((0.0, 1200.0),)
    at, width = 10 * BIN_SECONDS, BIN_SECONDS
    assert plan.levels[1] == (
        (at, at + gap * width + width),
        (at + 3 * gap * width, at + 3 * gap * width + width),
    )


def test_it_asks_one_cold_start_ahead_and_lets_go_when_the_span_ends() -> None:
    policy = Clairvoyant(Schedule((((0.0, 1000.0),), ((500.0, 600.0), (900.0, 950.0))), lead_seconds=200.0))
    asked = {
        at: policy.replicas(NOTHING, at) for at in (0.0, 295.0, 300.0, 595.0, 605.0, 705.0, 945.0, 960.0)
    }
    assert asked == {0.0: 1, 295.0: 1, 300.0: 2, 595.0: 2, 605.0: 1, 705.0: 2, 945.0: 2, 960.0: 1}


def test_spans_that_would_be_asked_for_again_before_they_end_are_one() -> None:
    assert merged(((500.0, 600.0), (700.0, 800.0)), 200.0) == [(300.0, 800.0)]


def test_cuts_take_the_whole_of_a_span_or_one_end_of_it() -> None:
    plan = Schedule((((0.0, 100.0),), ((40.0, 80.0),)), 0.0)
    assert [cut.levels[1] for cut in cuts(plan, 1, 0, 1.0)] == [()]
    assert [cut.levels[1] for cut in cuts(plan, 1, 0, 0.5)] == [((60.0, 80.0),), ((40.0, 60.0),)]
    assert cuts(plan, 1, 0, 0.1) == [], "less than a bin is not worth a run"


def test_the_search_finds_the_cheapest_of_a_system_in_which_replicas_serve_one_request_a_second(
    scenario: Scenario,
) -> None:
    """A made-up system: a request attains if as many replicas as it needs at its instant are Ready."""
    setting = scenario.setting(0)
    needs = [(float(at), 3 if 400 <= at < 700 else 1) for at in range(0, 1200, 5)]

    def evaluate(factory: Factory) -> tuple[float, float]:
        policy = factory(setting)
        counts = [policy.replicas(NOTHING, at) for at, _ in needs]
        lead = setting.replica.cold_start_seconds
        ready = [
            min(policy.replicas(NOTHING, at - lead), count)
            for (at, _), count in zip(needs, counts, strict=True)
        ]
        good = sum(have >= need for have, (_, need) in zip(ready, needs, strict=True))
        return good / len(needs), float(sum(counts))

    found = search(setting, evaluate, 0.99, trials=200)
    lead = setting.replica.cold_start_seconds
    least = sum(3 if 400 - lead <= at < 700 else 1 for at, _ in needs)
    assert found.attainment >= 0.99
    assert found.cost <= 1.10 * least


def test_in_the_simulator_it_attains_at_no_more_cost_than_any_fixed_number(scenario: Scenario) -> None:
    short = replace(
        scenario,
        source=Generated(constant(4.0, 600.0), Sizes(1000.0, 250.0, 0.5, 0.5)),
        duration_seconds=600.0,
    )

    def evaluate(factory: Factory) -> tuple[float, float]:
        outcome = simulate(short, factory, 0)
        return outcome.slo_attainment, outcome.cost_dollars

    found = search(short.setting(0), evaluate, 0.99, trials=4)
    fixed = {
        count: evaluate(lambda _setting, count=count: Clairvoyant(Schedule((((0.0, 600.0),),) * count, 0.0)))  # type: ignore[misc]
        for count in range(1, 7)
    }
    cheapest = min(cost for attained, cost in fixed.values() if attained >= 0.99)
    assert found.attainment >= 0.99
    assert found.cost <= cheapest * 1.001
    assert all(before[1] < after[1] for before, after in pairwise(fixed.values()))
