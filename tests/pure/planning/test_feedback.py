"""A layout that runs, judged by the requests that come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from inferfleet.planning import plan_layout, repredict
from inferfleet.values import DeploymentSpec, Layout, ModelFacts, Pool, Workload

MODEL = "Qwen/Qwen2.5-14B-Instruct"
STATED = Workload(1000, 250)
Predict = Callable[[Workload], float]


@pytest.fixture
def predict(
    pool: Callable[..., Pool], spec: Callable[..., DeploymentSpec], model: Callable[[str], ModelFacts]
) -> Predict:
    """Tokens per second at the objectives of a layout that was planned for the stated requests."""
    asked, pools = spec(ttft=2.0, itl=0.1, workload=STATED), (pool("L40S", 1),)
    layout = plan_layout(model(MODEL), pools, asked).layout
    assert layout

    def pace(request: Workload) -> float:
        found: Layout = repredict(layout, model(MODEL), pools, asked, request)
        assert replace(found, prediction=layout.prediction) == layout, "only the prediction changes"
        return found.prediction.tokens_per_second / layout.prediction.tokens_per_second

    return pace


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
def test_the_pace_follows_the_requests_that_come(
    predict: Predict, request_: Workload, low: float, high: float
) -> None:
    assert low <= predict(request_) <= high


def test_without_its_pool_a_prediction_stays(
    pool: Callable[..., Pool], spec: Callable[..., DeploymentSpec], model: Callable[[str], ModelFacts]
) -> None:
    asked = spec(ttft=2.0, itl=0.1, workload=STATED)
    layout = plan_layout(model(MODEL), (pool("L40S", 1),), asked).layout
    assert layout
    assert repredict(layout, model(MODEL), (), asked, Workload(4000, 250)) == layout
