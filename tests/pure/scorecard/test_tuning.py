"""The scorecard's tuning: the cheapest pair of a target and of replicas standing by that attains 99 %."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import judge
import pytest
from cases import CHAT, CHAT_SIZES, Purpose, generated
from judge import OURS, tune
from runs import Named, run, scenario_of

from inferfleet.simulate.generate import Generated

SHORT = generated("short", CHAT, Generated(((0.0, 1.0), (1200.0, 5.0), (1500.0, 0.0)), CHAT_SIZES), "a leap")


def test_the_floor_is_everybodys_and_the_factor_is_ours() -> None:
    scenario = SHORT.scenarios[Purpose.JUDGE]
    ours = scenario_of(Named(OURS, "tuned", 1.2, 3), scenario).spec.autoscaling
    theirs = scenario_of(Named("kpa", "tuned", 23.0, 3), scenario).spec.autoscaling
    assert (ours.min_replicas, ours.capacity_factor) == (3, 1.2)
    assert (theirs.min_replicas, theirs.capacity_factor) == (3, None)


@pytest.mark.parametrize("law", [OURS, "wva-v1"])
def test_what_is_tuned_attains_and_nothing_cheaper_that_was_tried_does(law: str, tmp_path: Path) -> None:
    best = tune(SHORT, law, tmp_path)
    tried = {who: on_average(who, tmp_path) for who in candidates(law) if was_tried(who, tmp_path)}
    attains = {who: cost for who, (attained, cost) in tried.items() if attained >= judge.TARGET}
    assert len(tried) > len(attains) > 0
    assert attains[best] == min(attains.values())


def candidates(law: str) -> list[Named]:
    """Every pair that may have been tried, and every floor without a target."""
    targets = [None, *(judge.OUR_TARGETS if law == OURS else judge.LAWS[law].tuned_over)]
    return [Named(law, "tuned", target, floor) for target in targets for floor in judge.FLOORS]


def was_tried(who: Named, keep: Path) -> bool:
    return any(keep.glob(f"short-train-{who.policy}-{who.target or 'default'}-{who.floor}-*"))


def on_average(who: Named, keep: Path) -> tuple[float, float]:
    runs = [run(SHORT, who, seed, Purpose.TRAIN, keep) for seed in judge.TRAIN_SEEDS]
    return mean(each.slo_attainment for each in runs), mean(each.cost_dollars for each in runs)
