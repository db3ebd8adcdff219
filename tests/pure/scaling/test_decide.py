"""How many replicas: what the laws say together, how fast it is followed, and whose number it is."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_cases import (
    AT_ONCE,
    NOW,
    SPEC,
    decide,
    each,
    fleet,
    sample,
    scope,
    settled,
    steady,
    walk,
    worker,
)

from inferfleet.scaling import Scope
from inferfleet.scaling.pace import append, values_within
from inferfleet.values import AutoscalingMode, EngineSample, Objectives, ScalingDecision, ScalingMemory


def test_the_largest_answer_wins_and_all_are_told() -> None:
    decision, _ = decide(scope(fleet(2), each(2, waiting=10, running=8)), settled(2), NOW)
    assert decision.desired == 5
    assert dict(decision.laws) == {
        "queue": 5,
        "tokens": 0,
        "running": 3,
        "latency": 0,
        "burst": 0,
        "forecast": 0,
    }
    assert decision.reason.code == "ScalingUp"
    assert "20 waiting" in decision.reason.message
    assert "queue law 5, running law 3" in decision.reason.message


def test_a_capacity_that_the_user_measured_holds_against_what_latencies_taught() -> None:
    learned = replace(settled(4), tokens_per_second_per_replica=60.0, predicted_tokens_per_second=100.0)
    seen = scope(fleet(4), each(4, running=4))
    told = replace(seen, spec=replace(SPEC, capacity_factor=1.5))
    assert decide(seen, learned, NOW)[0].capacity_tokens_per_second == pytest.approx(60.0)
    decision, memory = decide(told, learned, NOW)
    assert decision.capacity_tokens_per_second == pytest.approx(150.0)
    assert "150 per replica (told: 1.5 times the plan's)" in decision.reason.message
    assert memory.tokens_per_second_per_replica == pytest.approx(60.0), "what was learned is kept"


# -- pace ----------------------------------------------------------------------------------------------------


def at_each(count: int, start: float, seconds: int, waiting: float) -> list[tuple[float, Scope]]:
    return [
        (start + s, scope(fleet(count), each(count, waiting=waiting, at=start + s)))
        for s in range(0, seconds, 5)
    ]


def test_load_gone_lowers_only_after_the_whole_window_was_low() -> None:
    desired = walk(at_each(4, NOW, 100, waiting=0), settled(4))
    assert desired[:12] == [4] * 12, "the most that was asked for within 60 s holds"
    assert desired[13] == 1


def test_one_high_sample_in_the_window_holds_the_count() -> None:
    quiet, spike = at_each(4, NOW, 50, waiting=0), at_each(4, NOW + 50, 5, waiting=4)
    desired = walk([*quiet, *spike, *at_each(4, NOW + 55, 50, waiting=0)], settled(4))
    assert set(desired) == {4}


def test_after_a_restart_the_window_must_fill_before_anything_is_lowered() -> None:
    desired = walk(at_each(4, NOW, 100, waiting=0), ScalingMemory(desired=4, changed_at=NOW - 500))
    assert desired[:12] == [4] * 12
    assert desired[-1] == 1


def test_without_a_window_of_its_own_a_replica_is_kept_for_as_long_as_a_cold_start_takes() -> None:
    spec = replace(SPEC, scale_down_window_seconds=None)
    memory = replace(settled(4), cold_starts=(90.0, 90.0))
    desired = walk([(at, replace(seen, spec=spec)) for at, seen in at_each(4, NOW, 120, 0)], memory)
    assert desired.index(1) == 90 // 5


def test_a_spike_of_one_scrape_buys_nothing() -> None:
    patient = replace(SPEC, scale_up_window_seconds=10)
    seen = scope(fleet(2), each(2, waiting=10), spec=patient)
    decision, memory = decide(seen, settled(2), NOW)
    assert (decision.desired, decision.limited_by) == (2, "scale-up window")
    calm = scope(fleet(2), each(2, at=NOW + 5), spec=patient)
    assert decide(calm, memory, NOW + 5)[0].desired == 2
    still = scope(fleet(2), each(2, waiting=10, at=NOW + 11), spec=patient)
    assert decide(still, memory, NOW + 11)[0].desired == 3


@pytest.mark.parametrize(("per_minute", "expected"), [(1, [3, 3, 4]), (2, [4, 4, 6]), (None, [10, 10, 10])])
def test_replicas_are_added_at_the_allowed_rate(per_minute: int | None, expected: list[int]) -> None:
    spec = replace(SPEC, max_scale_up_per_minute=per_minute)
    scopes = [(NOW + s, scope(fleet(2), each(2, waiting=40, at=NOW + s), spec=spec)) for s in (0, 30, 61)]
    assert walk(scopes, settled(2)) == expected


@pytest.mark.parametrize(("per_minute", "expected"), [(1, [7, 7, 6, 5]), (None, [6, 6, 5, 4])])
def test_replicas_are_taken_away_at_the_allowed_rate(per_minute: int | None, expected: list[int]) -> None:
    spec = replace(AT_ONCE, max_scale_down_per_minute=per_minute)
    scopes = [(NOW + s, scope(fleet(8), each(8, at=NOW + s), spec=spec)) for s in (0, 30, 61, 122)]
    assert walk(scopes, settled(8)) == expected


def test_bounds_rule_whatever_the_evidence() -> None:
    narrow = replace(SPEC, min_replicas=2, max_replicas=3)
    assert decide(scope(fleet(2), each(2, waiting=99), spec=narrow), settled(2), NOW)[0].desired == 3
    assert decide(scope(fleet(5), (), spec=narrow), settled(5), NOW)[0].desired == 3


@pytest.mark.parametrize(
    ("changes", "left"),
    [({"kv_usage": 0.9}, 4), ({"kv_usage": 0.35}, 2), ({"running": 7.0}, 4), ({}, 1)],
    ids=["full caches", "caches that two can hold", "batches that three cannot hold", "idle"],
)
def test_a_replica_goes_only_where_the_rest_can_take_its_load(changes: dict[str, float], left: int) -> None:
    samples = tuple(replace(s, **changes) for s in each(4))  # type: ignore[arg-type]
    spec = replace(AT_ONCE, target_utilization=1.0)
    assert decide(scope(fleet(4), samples, spec=spec), settled(4), NOW)[0].desired == left


# -- evidence ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "samples",
    [
        (),
        each(4, at=NOW - 16),
        each(3),
        (*each(3), sample("w3", waiting=nan)),
        (*each(3), sample("w3", running=inf)),
        (*each(3), sample("w3", waiting=-1)),
        (*each(3), sample("w3", arrivals_total=nan)),
    ],
    ids=["none", "stale", "one missing", "one NaN", "one infinite", "one negative", "a counter is NaN"],
)
def test_missing_evidence_never_lowers(samples: tuple[EngineSample, ...]) -> None:
    decision, _ = decide(scope(fleet(4), samples, spec=AT_ONCE), settled(4), NOW)
    assert decision.desired == 4
    assert decision.evidence != "fresh"


def test_partial_evidence_may_raise() -> None:
    decision, _ = decide(scope(fleet(4), (sample("w0", waiting=40),)), settled(4), NOW)
    assert (decision.desired, decision.evidence) == (5, "partial")


# -- bursts --------------------------------------------------------------------------------------------------


def test_a_burst_passes_the_window_and_the_rate_and_nothing_goes_until_it_is_over() -> None:
    spec = replace(SPEC, scale_up_window_seconds=30, max_scale_up_per_minute=1, scale_down_window_seconds=40)
    shape = lambda s: 20.0 if 100 <= s < 120 else 2.0  # noqa: E731
    memory = replace(settled(1), prompt_tokens=10.0, output_tokens=20.0)
    seen = list(steady(shape, seconds=260, spec=spec, running=6.0, memory=memory, pace=lambda _: 90.0))
    wanted = {int(at - NOW): decision.desired for at, decision, _ in seen}
    panics = [int(at - NOW) for at, decision, _ in seen if decision.panic]
    assert (panics[0], wanted[95], wanted[100]) == (100, 1, 3), "one look at ten times the load shows it"
    assert wanted[110] == 6
    assert {wanted[second] for second in range(110, 155, 5)} == {6}
    assert 150 <= panics[-1] <= 160


def test_what_the_demand_of_an_hour_asked_for_is_kept_while_that_hour_missed_too_much() -> None:
    peak = replace(settled(4), levels=((NOW - 1800, 3), (NOW - 900, 1)), asked_lately=1e4)
    quiet = scope(fleet(4), each(4), spec=AT_ONCE)
    missed = replace(peak, missed_lately=0.5e4)
    kept, _ = decide(replace(quiet, objectives=Objectives(percentile=90.0, ttft_seconds=1.0)), missed, NOW)
    assert (kept.desired, kept.limited_by) == (3, "budget of misses")
    assert decide(quiet, peak, NOW)[0].desired == 1


def test_a_handful_of_requests_is_no_burst() -> None:
    shape = lambda s: 1.9 if 100 <= s < 105 else 0.0  # noqa: E731
    assert not any(decision.panic for _, decision, _ in steady(shape, running=6.0))


# -- modes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [AutoscalingMode.EXTERNAL, AutoscalingMode.OFF])
def test_in_other_modes_spec_replicas_rules_and_the_reason_says_so(mode: AutoscalingMode) -> None:
    spec = replace(SPEC, mode=mode, replicas=7)
    decision, memory = decide(scope(fleet(1), each(1), spec=spec), settled(1), NOW)
    assert (decision.desired, memory.desired) == (7, 7)
    assert decision.reason.code == f"{mode.value}Scaling"
    unset = replace(spec, replicas=None)
    assert decide(scope(fleet(1), each(1), spec=unset), settled(3), NOW)[0].desired == 3


def test_zero_replicas_wake_for_a_request_and_sleep_without() -> None:
    spec = replace(SPEC, min_replicas=0)
    asleep = settled(0)
    assert decide(scope((), (), spec=spec), asleep, NOW)[0].desired == 0
    assert decide(scope((), (), spec=spec, wake=True), asleep, NOW)[0].desired == 1


def test_a_fresh_memory_starts_with_what_runs_or_the_least_that_is_allowed() -> None:
    assert decide(scope((), ()), ScalingMemory(), NOW)[0].desired == 1
    assert decide(scope(fleet(3), ()), ScalingMemory(), NOW)[0].desired == 3
    wide = replace(SPEC, min_replicas=5)
    assert decide(scope((), (), spec=wide), ScalingMemory(), NOW)[0].desired == 5


# -- cold starts ---------------------------------------------------------------------------------------------


def test_the_cold_start_is_learned_from_workers_that_were_seen_before_they_served() -> None:
    on_its_way = (worker("w0"), worker("w1", ready=False, created_at=NOW - 100))
    _, memory = decide(scope(on_its_way, each(1)), settled(2), NOW)
    there = (worker("w0"), worker("w1", created_at=NOW - 100, ready_since=NOW + 20))
    decision, memory = decide(scope(there, each(2, at=NOW + 21)), memory, NOW + 21)
    assert decision.cold_start_seconds == 120
    assert memory.cold_starts == (120,)
    back = (worker("w0"), worker("w1", created_at=NOW - 100, ready_since=NOW + 500))
    _, memory = decide(scope(back, each(2, at=NOW + 501)), memory, NOW + 501)
    assert memory.cold_starts == (120,), "readiness that came back is no start"


def test_the_slower_ones_of_the_last_starts_are_reckoned_with() -> None:
    memory = replace(settled(1), cold_starts=(60.0, 70.0, 80.0, 200.0))
    assert decide(scope(fleet(1), each(1)), memory, NOW)[0].cold_start_seconds == 200


# -- invariants ----------------------------------------------------------------------------------------------

COUNTS = st.integers(1, 6)
LOADS = st.floats(0, 60, allow_nan=False)


@settings(deadline=None)
@given(COUNTS, COUNTS, st.lists(LOADS, min_size=6, max_size=6), st.lists(LOADS, min_size=6, max_size=6))
def test_the_answer_is_within_bounds_and_asking_twice_changes_nothing(
    count: int, desired: int, waiting: list[float], running: list[float]
) -> None:
    samples = tuple(
        sample(f"w{n}", NOW, waiting[n], running[n], arrivals_total=waiting[n]) for n in range(count)
    )
    _, before = decide(scope(fleet(count), each(count, at=NOW - 5)), settled(desired), NOW - 5)
    seen = scope(fleet(count), samples)
    first, memory = decide(seen, before, NOW)
    assert SPEC.min_replicas <= first.desired <= SPEC.max_replicas
    second, again = decide(seen, memory, NOW)
    assert second.desired == first.desired
    assert again == memory


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 30), LOADS), min_size=1, max_size=20), st.integers(0, 3))
def test_blindness_never_lowers_whenever_it_begins(steps: list[tuple[float, float]], seeing: int) -> None:
    memory, at = settled(3), NOW
    decision: ScalingDecision | None = None
    for number, (pause, waiting) in enumerate(steps):
        at += pause
        samples = each(3, waiting=waiting, at=at) if number < seeing else ()
        before = memory.desired or 0
        decision, memory = decide(scope(fleet(3), samples), memory, at)
        if number >= seeing and decision.evidence == "missing":
            assert decision.desired >= before


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 50), st.integers(0, 4)), max_size=40), st.floats(0, 100))
def test_a_compressed_history_answers_like_a_full_one(moves: list[tuple[float, int]], window: float) -> None:
    full: list[tuple[float, int]] = []
    kept: tuple[tuple[float, int], ...] = ()
    at = 0.0
    for pause, value in moves:
        at += pause
        full.append((at, value))
        kept = append(kept, at, value, 100.0)
    start = at - window
    assert set(values_within(kept, start)) == set(values_within(tuple(full), start))
