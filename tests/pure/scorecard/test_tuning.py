"""The scorecard's tuning: the cheapest pair of a target and of replicas standing by that attains 99 %."""

from __future__ import annotations

from pathlib import Path

import judge
import pytest
from cases import CHAT, CHAT_SIZES, Case, Purpose, generated
from judge import OURS, tune
from runs import Named, run, scenario_of

from inferfleet.simulate.generate import Generated

SHORT = generated("short", CHAT, Generated(((0.0, 1.0), (1500.0, 0.0)), CHAT_SIZES), "ten minutes")


def test_the_floor_is_everybodys_and_the_factor_is_ours() -> None:
    scenario = SHORT.scenarios[Purpose.JUDGE]
    ours = scenario_of(Named(OURS, "tuned", 1.2, 3), scenario).spec.autoscaling
    theirs = scenario_of(Named("kpa", "tuned", 23.0, 3), scenario).spec.autoscaling
    assert (ours.min_replicas, ours.capacity_factor) == (3, 1.2)
    assert (theirs.min_replicas, theirs.capacity_factor) == (3, None)


@pytest.mark.parametrize("law", [OURS, "wva-v1"])
def test_what_is_tuned_attains_and_nothing_cheaper_that_was_tried_does(law: str, tmp_path: Path) -> None:
    best = tune(SHORT, law, tmp_path)
    found = run(SHORT, best, judge.TRAIN_SEED, Purpose.TRAIN, tmp_path)
    assert found.slo_attainment >= judge.TARGET
    assert found.cost_dollars == min(cost_of_what_attains(SHORT, law, tmp_path))


def cost_of_what_attains(case: Case, law: str, keep: Path) -> list[float]:
    """What the tuning itself kept on disk, read again."""
    tried = [Named(law, "tuned", target, floor) for target in targets_of(law) for floor in judge.FLOORS]
    names = {path.name.rsplit("-", 2)[0] for path in keep.iterdir()}
    seen = [who for who in tried if f"short-train-{law}-{who.target or 'default'}-{who.floor}" in names]
    outcomes = [run(case, who, judge.TRAIN_SEED, Purpose.TRAIN, keep) for who in seen]
    return [each.cost_dollars for each in outcomes if each.slo_attainment >= judge.TARGET]


def targets_of(law: str) -> list[float | None]:
    """Every target that may have been tried, and none."""
    return [None, *(judge.OUR_TARGETS if law == OURS else judge.LAWS[law].tuned_over)]
