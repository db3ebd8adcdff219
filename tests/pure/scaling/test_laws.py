"""Each law alone, and the spec that it goes by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scaling_cases import NOW, SPEC

from inferfleet.scaling.evidence import Load
from inferfleet.scaling.latency import Latency
from inferfleet.scaling.laws import LAWS, ask
from inferfleet.scaling.rules import Rules, resolve

RULES = Rules(1, 20, 4.0, 0.8, 0.0, 60.0, 20, 20)
IDLE = Load(ready=2, starting=0, capacity_tokens_per_second=100.0, output_tokens=10.0, slots=8, in_system=9.0)

JOINED = {"joined_seconds": 20.0, "cold_start_seconds": 60.0}


def answers(**changes: object) -> dict[str, int]:
    load = replace(IDLE, **changes)  # type: ignore[arg-type]
    return {name: count for name, count in ask(load, RULES) if count}


def test_the_laws_stand_in_their_order() -> None:
    assert [name for name, _ in LAWS] == ["queue", "tokens", "running", "latency", "burst", "forecast"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"waiting": 8.0, "output_tokens": 0.0}, {"queue": 2}),
        ({"waiting": 9.0, "running": 16.0, "in_system_lately": 0.0, "output_tokens": 0.0}, {"queue": 4}),
        ({"waiting": 9.0, "output_tokens": 0.0}, {"queue": 2}),
        ({"waiting": 9.0, "slots": 0.0, "output_tokens": 0.0}, {"queue": 3}),
        ({"waiting": 30.0, "starting": 3, "output_tokens": 0.0}, {"queue": 5}),
        ({"waiting": 60.0, "running": 16.0, "starting": 3, "output_tokens": 0.0}, {"queue": 10}),
        ({"waiting": 60.0, "running": 16.0, **JOINED}, {"queue": 2}),
        ({"waiting": 60.0, "running": 16.0, **JOINED, "joined_seconds": 59.0}, {"queue": 10}),
        (
            {"waiting": 60.0, "running": 16.0, **JOINED, "arrivals_per_second": 20.0},
            {"queue": 10, "tokens": 4},
        ),
    ],
    ids=[
        "no load asks for nothing",
        "a tolerated queue asks for what there is",
        "a longer one asks for batches for all who wait",
        "free batches beside a queue: more replicas would not help",
        "without a known batch the tolerated queue is the measure",
        "replicas that start will take a batch each, so no more are asked for",
        "a queue that even they will not take asks for more",
        "what those that came lately leave time to drain is left to drain, at whomever it waits",
        "what is left of it when that time is all but over asks for more",
        "they drain nothing while they have nothing to spare",
    ],
)
def test_the_queue_law(changes: dict[str, object], expected: dict[str, int]) -> None:
    assert answers(**changes) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"arrivals_per_second": 13.3}, {"tokens": 2}),
        ({"arrivals_per_second": 13.4}, {"tokens": 3}),
        ({"arrivals_per_second": 16.1, "in_system": 1.0}, {"tokens": 1}),
        ({"arrivals_per_second": 16.1, "capacity_tokens_per_second": 0.0}, {}),
        ({"arrivals_per_second": 18.0, "waiting": 4.0}, {"queue": 1, "tokens": 3}),
        ({"arrivals_per_second": 18.0, "waiting": 240.0, "in_system": 250.0}, {"queue": 30, "tokens": 4}),
        (
            {"arrivals_per_second": 18.0, "waiting": 240.0, "in_system": 250.0, "starting": 1}
            | {"cold_start_seconds": 60.0},
            {"queue": 3, "tokens": 3},
        ),
        (
            {"arrivals_per_second": 18.0, "waiting": 240.0, "in_system": 250.0}
            | {"ttft_objective_seconds": 300.0},
            {"queue": 30, "tokens": 3},
        ),
    ],
    ids=[
        "demand with room for chance asks for what there is",
        "demand above that asks for more",
        "one long stream never asks for a second replica",
        "without a known capacity the law is silent",
        "a few that wait are not worth a replica",
        "a backlog is to be drained as well",
        "replicas on their way will drain it",
        "a patient objective leaves it more time",
    ],
)
def test_the_token_law(changes: dict[str, object], expected: dict[str, int]) -> None:
    assert answers(**changes) == expected


def test_a_pool_that_is_one_queue_needs_room_for_chance_but_once() -> None:
    assert answers(arrivals_per_second=44.0, in_system=50.0) == {"tokens": 7}
    assert answers(arrivals_per_second=44.0, in_system=50.0, unevenness=0.0) == {"tokens": 6}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"running": 16.0, "in_system_lately": 16.0}, {"running": 3}),
        ({"running": 16.0, "in_system_lately": 6.0}, {"running": 1}),
        ({"running": 16.0, "in_system_lately": 16.0, "slots": 0.0}, {}),
        ({"running": 2.0, "in_system_lately": 2.0, "kv_usage": 1.7}, {"running": 3}),
    ],
    ids=[
        "full batches ask for more before a queue forms",
        "a moment's crowd is not the mean",
        "without a known batch the law is silent",
        "full caches ask for more while batches are small",
    ],
)
def test_the_running_law(changes: dict[str, object], expected: dict[str, int]) -> None:
    assert answers(output_tokens=0.0, **changes) == expected


BUSY = {"tokens_per_second": 150.0, "output_tokens": 0.0}
LATE = Latency(lasting_ttft=3.0)
SLOW = Latency(lasting_itl=1.6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"latency": LATE, **BUSY}, {"latency": 3}),
        ({"latency": SLOW, **BUSY}, {"latency": 4}),
        ({"latency": SLOW, **BUSY, "starting": 2}, {"latency": 4}),
        ({"latency": Latency(lasting_itl=9.0), **BUSY}, {"latency": 4}),
        ({"latency": Latency(lasting_ttft=1.05), **BUSY}, {}),
        ({"latency": LATE, **BUSY, "easing": True}, {}),
        ({"latency": SLOW, **BUSY, "tokens_per_second": 50.0}, {}),
        ({"latency": SLOW, **BUSY, "in_system": 1.0}, {"latency": 1}),
    ],
    ids=[
        "late first tokens ask for a quarter more",
        "slow tokens ask for as much more as they are slow",
        "those on their way count towards it",
        "at most for twice as many as serve",
        "a little late is no reason to buy",
        "late first tokens of a queue that is being served are of the past",
        "replicas with little to do are not slow for want of others",
        "never more replicas than requests",
    ],
)
def test_the_latency_law(changes: dict[str, object], expected: dict[str, int]) -> None:
    assert answers(**changes) == expected


def test_the_burst_law_speaks_once_twice_what_serves_is_needed() -> None:
    assert answers(burst_per_second=31.0, in_system=50.0) == {"burst": 5}
    assert answers(burst_per_second=20.0, in_system=50.0) == {}


def test_the_forecast_law_counts_requests_that_are_yet_to_come() -> None:
    ahead = {"arrivals_per_second": 8.0, "forecast_tokens_per_second": 160.0}
    assert answers(**ahead) == {"tokens": 2, "forecast": 3}
    assert answers(**ahead, in_system=1.0) == {"tokens": 1, "forecast": 2}
    assert answers(forecast_tokens_per_second=160.0, in_system=0.0) == {}


def test_a_forecast_that_has_been_wrong_needs_room() -> None:
    ahead = {"arrivals_per_second": 8.0, "forecast_tokens_per_second": 160.0}
    assert answers(**ahead, forecast_error_tokens_per_second=10.0)["forecast"] == 3
    assert answers(**ahead, forecast_error_tokens_per_second=100.0)["forecast"] == 4


def test_what_the_spec_leaves_open_is_measured() -> None:
    open_spec = replace(
        SPEC,
        target_utilization=None,
        scale_down_window_seconds=None,
        max_scale_up_per_minute=None,
        max_scale_down_per_minute=None,
    )
    ruled = resolve(open_spec, current=40, cold_start_seconds=240, now=NOW)
    assert (ruled.utilization, ruled.down_window_seconds) == (1.0, 240)
    assert (ruled.up_per_minute, ruled.down_per_minute) == (40, 10)
    fresh = resolve(open_spec, current=1, cold_start_seconds=5, now=NOW)
    assert (fresh.utilization, fresh.down_window_seconds) == (1.0, 60)
    assert (fresh.up_per_minute, fresh.down_per_minute) == (10, 1)
