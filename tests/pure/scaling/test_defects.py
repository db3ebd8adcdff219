"""What other autoscalers were caught at, one test each."""

from __future__ import annotations

from dataclasses import replace
from math import nan

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

from inferfleet.values import Buckets


@settings(deadline=None)
@given(st.integers(1, 6), st.floats(4.01, 100), st.floats(0, 8))
def test_load_above_target_never_lowers(count: int, waiting: float, running: float) -> None:
    """A mean was divided by the target as if it were a total: 8 pods at 20 % overload became 4 (AIBrix)."""
    samples = each(count, waiting=waiting, running=running)
    decision, _ = decide(scope(fleet(count), samples, spec=AT_ONCE), settled(count), NOW)
    assert decision.desired >= count


def test_eight_replicas_at_a_fifth_above_their_capacity_become_more() -> None:
    """The same, in tokens."""
    shape = lambda _s: 8 * 1.2 * 5.0  # noqa: E731
    *_, (_, decision, _) = steady(shape, replicas=8, running=4.0, pace=lambda _s: 100.0)
    assert decision.desired > 8


def test_scaling_down_takes_the_most_of_the_window_not_the_least() -> None:
    """A cooldown took the lowest recommendation of its window (AIBrix)."""
    high = [(NOW + s, scope(fleet(4), each(4, waiting=4, at=NOW + s))) for s in range(0, 30, 5)]
    low = [(NOW + s, scope(fleet(4), each(4, at=NOW + s))) for s in range(30, 85, 5)]
    assert set(walk([*high, *low], settled(4))) == {4}


def test_replicas_that_start_are_counted_so_two_do_not_become_four_eight_sixteen() -> None:
    """Those on their way were forgotten (aibrix#2670)."""
    memory, workers = settled(1), fleet(1)
    desired = []
    for second in range(0, 120, 5):
        at = NOW + second
        waiting = 6 + second / 5
        decision, memory = decide(scope(workers, (sample("w0", at, waiting, running=8),)), memory, at)
        workers = fleet(1, starting=decision.desired - 1)
        desired.append(decision.desired)
    assert max(desired) <= 5, "29 wait and 8 run: five batches of 8"


def test_stand_ins_and_overprovision_are_not_taken_for_what_was_asked_for() -> None:
    """Each stand-in for denied spot was taken for one asked for, and bought again with one of its own."""
    memory, desired = settled(2), 2
    for second in range(0, 30, 2):
        at = NOW + second
        workers = fleet(1, starting=2 * desired)
        decision, memory = decide(scope(workers, (sample("w0", at, 20, running=8),)), memory, at)
        desired = decision.desired
    assert desired <= 4, "20 wait and 8 run: four batches of 8"


def test_latencies_of_the_past_do_not_double_the_fleet_again_and_again() -> None:
    """While the queue of before drains, those served now have waited long: they ask for nothing more."""
    bounds = (0.5, 1.0, 2.0, 5.0, 10.0)
    memory, ready, arrived, late = settled(2), 2, 0.0, 0.0
    desired = []
    for second in range(0, 300, 5):
        at = NOW + second
        if second == 60:
            ready = 4
        left = max(0.0, 60.0 - (1.0 if ready == 2 else 2.0) * second / 4)
        arrived += 5
        late += 5 if left else 0
        waits = Buckets(bounds, tuple(arrived if bound >= 10 else arrived - late for bound in bounds))
        workers = (*fleet(2), *(worker(f"n{n}", ready=ready > 2, ready_since=NOW + 60) for n in range(2)))
        samples = tuple(
            sample(
                w.name,
                at,
                left / ready,
                8.0,
                generation_tokens_total=80.0 * second,
                arrivals_total=arrived,
                ttft_buckets=waits,
            )
            for w in workers
            if w.ready
        )
        seen = scope(workers, samples, objectives=replace(scope((), ()).objectives, ttft_seconds=1.0))
        decision, memory = decide(seen, memory, at)
        desired.append(dict(decision.laws)["latency"])
    assert max(desired) <= 3, "a quarter more than the two that served, then the queue became shorter"


def test_zero_traffic_is_a_number_and_goes_down() -> None:
    """Rates of zero over zero were NaN and kept another planner up for ever (dynamo#6985)."""
    seen = list(steady(lambda _s: 0.0, replicas=2, running=0.0, spec=AT_ONCE))
    assert all(decision.demand_tokens_per_second == 0.0 for _, decision, _ in seen)
    assert seen[-1][1].desired == 1


def test_one_pod_that_cannot_be_scheduled_freezes_nothing() -> None:
    """It froze another planner's every decision (dynamo#14251)."""
    down = decide(scope(fleet(3, starting=1), each(3), spec=AT_ONCE), settled(4), NOW)[0]
    assert down.desired == 1
    up = decide(scope(fleet(3, starting=1), each(3, waiting=300, running=8)), settled(4), NOW)[0]
    assert up.desired > 4


def test_one_silent_replica_does_not_stop_the_others_from_scaling_up() -> None:
    """One failed scrape skipped the whole tick (aibrix#617, KubeAI)."""
    samples = tuple(sample(f"w{n}", waiting=20, running=8) for n in range(3))
    decision, _ = decide(scope(fleet(4), samples), settled(4), NOW)
    assert decision.desired > 4
    assert decision.evidence == "partial"


def test_missing_metrics_hold_the_count_and_never_scale_to_zero() -> None:
    spec = replace(AT_ONCE, min_replicas=0)
    unknown = (*each(2), sample("w2", waiting=nan), sample("w3", running=nan))
    for samples in ((), unknown, each(4, at=NOW - 100)):
        desired = walk([(NOW + s, scope(fleet(4), samples, spec=spec)) for s in (0, 60, 600)], settled(4))
        assert desired == [4, 4, 4]


def test_gauges_of_a_cold_start_that_read_zero_are_no_evidence_of_idleness() -> None:
    """vLLM's gauges read 0 for about 18 s after a cold start, and lag 3 to 6 s (vllm#49538)."""
    workers = (worker("w0"), worker("w1", ready_since=NOW - 10))
    assert decide(scope(workers, each(2), spec=AT_ONCE), settled(2), NOW)[0].desired == 2
    grown = (worker("w0"), worker("w1", ready_since=NOW - 30))
    assert decide(scope(grown, each(2), spec=AT_ONCE), settled(2), NOW)[0].desired == 1


def test_gauges_that_lag_put_off_what_is_decided_by_as_much_and_change_nothing_else() -> None:
    """vLLM's gauges lag 3 to 6 s (vllm#49538), while counters and the gate's arrivals are of now."""
    arrivals = lambda s: 8.0 if 60 <= s < 120 else 2.0  # noqa: E731

    def walked(lag: float) -> list[int]:
        queue = lambda s: 40.0 if 60 <= s - lag < 120 else 0.0  # noqa: E731
        spec = replace(SPEC, scale_down_window_seconds=30)
        seen = steady(arrivals, replicas=2, waiting=queue, running=4.0, every=1, spec=spec)
        return [decision.desired for _, decision, _ in seen]

    exact, late = walked(0.0), walked(6.0)
    assert max(exact) > 2
    for second, desired in enumerate(late):
        near = exact[max(0, second - 6) : second + 1]
        assert min(near) <= desired <= max(near), second


def test_after_a_restart_of_the_operator_nothing_is_lowered_before_the_window_is_full() -> None:
    seen = [(NOW + s, scope(fleet(4), each(4, at=NOW + s))) for s in range(0, 60, 5)]
    assert set(walk(seen, replace(settled(4), recommendations=(), changes=()))) == {4}


def test_a_flat_rate_at_overload_does_not_hide_the_demand() -> None:
    """Generated tokens go flat at saturation; arrivals do not."""
    memory = replace(settled(1), prompt_tokens=10.0, output_tokens=20.0)
    seen = steady(
        lambda _s: 20.0,
        pace=lambda _s: 100.0,
        running=8.0,
        waiting=lambda s: 15.0 * s,
        memory=memory,
        spec=replace(SPEC, max_replicas=50),
        seconds=120,
    )
    *_, (_, decision, _) = seen
    assert decision.tokens_per_second == 100
    assert decision.demand_tokens_per_second == 400
    assert decision.desired >= 5
