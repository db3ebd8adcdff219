"""The HorizontalPodAutoscaler's arithmetic, by hand."""

import math

import pytest

from inferfleet.simulate.peers.hpa import Behavior, Controller, Rate, from_pods, from_total


@pytest.mark.parametrize(
    ("current", "total", "target", "wanted"),
    [
        (4, 20.0, 5.0, 4),
        (4, 21.9, 5.0, 4),
        (4, 22.5, 5.0, 5),
        (4, 17.9, 5.0, 4),
        (4, 15.0, 5.0, 3),
        (4, 0.0, 5.0, 0),
        (4, math.nan, 5.0, 4),
    ],
    ids=[
        "at the target it stays",
        "9 % above is within the tolerance of 10 %",
        "12.5 % above is 4.5 replicas, so 5",
        "10.5 % below rounds up to what there is",
        "25 % below is 3",
        "no load is none, the bounds hold the rest",
        "no measurement changes nothing",
    ],
)
def test_an_external_average_is_the_total_over_the_target(
    current: int, total: float, target: float, wanted: int
) -> None:
    assert from_total(current, total, target) == wanted


@pytest.mark.parametrize(
    ("current", "values", "missing", "unready", "wanted"),
    [
        (2, [10.0, 10.0], 0, 0, 4),
        (4, [10.0, 10.0], 2, 0, 4),
        (4, [16.0, 16.0], 0, 2, 7),
        (4, [1.0, 1.0], 2, 0, 3),
        (4, [0.0, 0.0], 0, 2, 0),
        (2, [], 2, 0, 2),
    ],
    ids=[
        "twice the target doubles",
        "pods without the metric count as idle going up: (20 + 0) / 4 is the target",
        "pending pods count as idle going up: 32 / 4 = 8 against 5, so 1.6 x 4",
        "pods without the metric count as at the target going down: (2 + 10) / 4 = 3 against 5, so 2.4",
        "pending pods take no part in going down",
        "no pod with the metric changes nothing",
    ],
)
def test_a_pods_metric_fills_in_for_pods_that_do_not_report(
    current: int, values: list[float], missing: int, unready: int, wanted: int
) -> None:
    assert from_pods(current, values, 5.0, missing=missing, unready=unready) == wanted


def test_scale_down_takes_the_most_that_was_asked_for_within_300_s() -> None:
    controller = Controller(1, 100)
    assert controller.recommend(0.0, 8, [8]) == 8
    assert controller.recommend(15.0, 8, [2]) == 8
    assert controller.recommend(290.0, 8, [3]) == 8
    assert controller.recommend(301.0, 8, [2]) == 3, "the 8 of the beginning has left the window"
    assert controller.recommend(600.0, 3, [2]) == 2


def test_scale_up_is_at_most_the_larger_of_double_and_four_more_within_15_s() -> None:
    controller = Controller(1, 100)
    assert controller.recommend(0.0, 1, [50]) == 5
    assert controller.recommend(5.0, 5, [50]) == 5, "the four of 5 s ago count"
    assert controller.recommend(15.0, 5, [50]) == 10


def test_scale_up_waits_for_the_least_of_its_window() -> None:
    controller = Controller(1, 100, Behavior(up_window_seconds=60.0, up=(Rate(300.0, pods=1),)))
    assert controller.recommend(0.0, 2, [2]) == 2
    assert controller.recommend(30.0, 2, [6]) == 2
    assert controller.recommend(61.0, 2, [6]) == 3
    assert controller.recommend(120.0, 3, [6]) == 3, "one in 300 s"
    assert controller.recommend(361.0, 3, [6]) == 4


def test_a_metric_that_cannot_be_read_blocks_scale_down_only() -> None:
    controller = Controller(1, 100)
    assert controller.recommend(0.0, 4, [2, None]) == 4
    assert controller.recommend(15.0, 4, [6, None]) == 6
    assert controller.recommend(30.0, 6, [None, None]) == 6
