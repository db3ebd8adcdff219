"""A layout that runs, judged by the requests that come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning_cases import chosen, model, pool, spec

from inferfleet.planning import plan_layout, repredict
from inferfleet.values import Workload

MODEL = model("Qwen/Qwen2.5-14B-Instruct")
STATED = Workload(1000, 250)
ASKED = spec(ttft=2.0, itl=0.1, workload=STATED)
POOLS = (pool("L40S", 1),)
LAYOUT = chosen(plan_layout(MODEL, POOLS, ASKED))


def pace(request: Workload) -> float:
    """Tokens per second at the objectives, over those of the requests that it was planned for."""
    found = repredict(LAYOUT, MODEL, POOLS, ASKED, request)
    assert replace(found, prediction=LAYOUT.prediction) == LAYOUT, "only the prediction changes"
    return found.prediction.tokens_per_second / LAYOUT.prediction.tokens_per_second


@pytest.mark.parametrize(
    ("request_", "low", "high"),
    [
        (STATED, 1.0, 1.0),
        (Workload(1004, 249), 1.0, 1.0),
        (Workload(4000, 250), 0.1, 0.7),
        (Workload(250, 250), 1.1, 4.0),
        (Workload(30_000, 250), 1.0, 1.0),
    ],
    ids=[
        "as stated",
        "nearly as stated",
        "longer prompts leave less time for tokens",
        "shorter ones leave more",
        "prompts that no replica serves in time change nothing",
    ],
)
def test_the_pace_follows_the_requests_that_come(request_: Workload, low: float, high: float) -> None:
    assert low <= pace(request_) <= high


def test_without_its_pool_a_prediction_stays() -> None:
    assert repredict(LAYOUT, MODEL, (), ASKED, Workload(4000, 250)) == LAYOUT
