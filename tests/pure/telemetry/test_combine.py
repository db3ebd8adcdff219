"""One sample of what the engine says and what its gate says."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest

from inferfleet.telemetry.engine_metrics import EngineMetrics
from inferfleet.telemetry.workers import combine, read_gate_metrics
from inferfleet.values import Buckets
from inferfleet_wire import InFlight, LostCause, Notice, NoticeKind, Phase, State

METRICS = EngineMetrics(3, 2, 0.5, 100, 200, 4096, requests_total=7, request_output_tokens_total=70)
GATE = read_gate_metrics(
    State(
        instance="i",
        pid=1,
        phase=Phase.CLOSING,
        time=0,
        engine_ready=True,
        in_flight=InFlight(4, 40),
        accepted_total=9,
        lost_total={LostCause.DEADLINE.value: 1, LostCause.ERROR.value: 2},
        notices=(Notice(NoticeKind.INTERRUPTION, 130.0, "aws", "", 10.0),),
    )
)


def test_nobody_answers_so_there_is_no_sample():
    assert combine("w", 1.0, None, None) is None


def test_engine_and_gate_together_give_the_whole_picture():
    sample = combine("w", 1.0, METRICS, GATE)
    assert sample is not None
    assert (sample.running, sample.waiting, sample.in_flight) == (3, 2, 4)
    assert (sample.arrivals_total, sum(n for _, n in sample.lost), sample.gate_phase) == (9, 3, "closing")
    assert sample.notices == (("interruption", 130.0, "aws"),)
    assert (sample.requests_total, sample.request_output_tokens_total) == (7, 70)


def test_a_silent_engine_still_holds_what_its_gate_let_in():
    sample = combine("w", 1.0, None, GATE)
    assert sample is not None
    assert (sample.running, sample.waiting, sample.in_flight) == (4, 0, 4)
    assert sample.generation_tokens_total is None


def test_without_a_gate_what_the_engine_holds_is_in_flight():
    sample = combine("w", 1.0, METRICS, None)
    assert sample is not None
    assert (sample.in_flight, sample.gate_phase, sample.arrivals_total) == (5, "serving", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"running": nan},
        {"kv_usage": nan},
        {"generation_tokens_total": inf},
        {"requests_total": -1.0},
        {"ttft_buckets": Buckets((1.0, inf), (nan, 3.0))},
        {"itl_buckets": Buckets((1.0, inf), (3.0, nan))},
        {"request_itl_buckets": Buckets((1.0, inf), (3.0, nan))},
    ],
    ids=", ".join,
)
def test_an_engine_that_tells_what_no_measurement_can_be_is_no_evidence(changes: dict[str, object]):
    assert combine("w", 1.0, replace(METRICS, **changes), GATE) is None  # type: ignore[arg-type]
