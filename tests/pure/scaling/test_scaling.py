"""How many replicas: laws, pace and evidence, with the known defects of other autoscalers as regressions."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferfleet.scaling import Scope, decide
from inferfleet.scaling.evidence import Evidence, Load, growth, learn, remember, weigh
from inferfleet.scaling.laws import ask
from inferfleet.scaling.pace import append, values_within
from inferfleet.values import (
    AutoscalingMode,
    AutoscalingSpec,
    CapacityType,
    EngineSample,
    Layout,
    OfferKey,
    PodPhase,
    Prediction,
    ScalingDecision,
    ScalingMemory,
    Worker,
    WorkerPod,
)

NOW = 10_000.0
OFFER = OfferKey("pool", CapacityType.ON_DEMAND)
LAYOUT = Layout(
    pool="pool",
    accelerator="L4",
    tensor_parallel=1,
    pipeline_parallel=1,
    max_model_len=4096,
    max_num_seqs=8,
    max_num_batched_tokens=2048,
    gpu_memory_utilization=0.9,
    weights_bytes_per_gpu=1,
    kv_cache_tokens=100_000,
    prediction=Prediction(1.0, 0.04, 100.0, 400.0, 8, 1.0),
)
SPEC = AutoscalingSpec(
    min_replicas=1,
    max_replicas=20,
    target_queue_per_replica=4,
    scale_up_window_seconds=0,
    scale_down_window_seconds=60,
    max_scale_down_per_minute=20,
    max_scale_up_per_minute=20,
)


def worker(name: str, *, ready: bool = True, ready_since: float = 0.0) -> Worker:
    pod = WorkerPod(
        f"{name}-0", f"uid-{name}", 0, PodPhase.RUNNING, 0.0, "node", ready=ready, ready_since=ready_since
    )
    return Worker(name, "rev", OFFER, (pod,))


def sample(
    name: str, at: float = NOW, waiting: float = 0, running: float = 0, **more: object
) -> EngineSample:
    return EngineSample(worker=name, at=at, waiting=waiting, running=running, **more)  # type: ignore[arg-type]


def fleet(count: int, starting: int = 0) -> tuple[Worker, ...]:
    ready = [worker(f"w{n}") for n in range(count)]
    return (*ready, *(worker(f"s{n}", ready=False) for n in range(starting)))


def scope(workers: tuple[Worker, ...], samples: tuple[EngineSample, ...], **changes: object) -> Scope:
    base = Scope(spec=SPEC, staying=workers, samples=samples, layout=LAYOUT)
    return replace(base, **changes)  # type: ignore[arg-type]


def settled(desired: int) -> ScalingMemory:
    """A memory whose windows are full of `desired`."""
    return ScalingMemory(
        recommendations=((NOW - 1000, desired), (NOW - 1, desired)),
        desired=desired,
        changed_at=NOW - 1000,
        changes=((NOW - 1000, desired),),
    )


def each(count: int, waiting: float = 0, running: float = 0, at: float = NOW) -> tuple[EngineSample, ...]:
    return tuple(sample(f"w{n}", at, waiting, running) for n in range(count))


# -- laws ----------------------------------------------------------------------------------------------------


def load(**changes: object) -> Load:
    base = Load(2, 0, 0, 0, 0.0, 9.0, 0.0, 0.0, 100.0, 8, Evidence.FRESH)
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "queue", "tokens", "running"),
    [
        ({}, 0, 0, 0),
        ({"waiting": 8.0}, 2, 0, 0),
        ({"waiting": 9.0}, 3, 0, 0),
        ({"waiting": 30.0, "starting": 3}, 5, 0, 0),
        ({"waiting": 60.0, "starting": 3}, 9, 0, 0),
        ({"demand_tokens_per_second": 160.0}, 0, 2, 0),
        ({"demand_tokens_per_second": 161.0}, 0, 3, 0),
        ({"demand_tokens_per_second": 161.0, "in_system": 1.0}, 0, 1, 0),
        ({"demand_tokens_per_second": 161.0, "capacity_tokens_per_second": 0.0}, 0, 0, 0),
        ({"running": 16.0}, 0, 0, 3),
        ({"running": 16.0, "slots": 0}, 0, 0, 0),
    ],
    ids=[
        "no load asks for nothing",
        "a tolerated queue asks for what there is",
        "one too many asks for one more",
        "replicas that start will take a batch each, so no more are asked for",
        "a queue that even they will not take asks for more",
        "demand at the target utilisation asks for what there is",
        "demand above it asks for more",
        "one long stream never asks for a second replica",
        "without a known capacity the token law is silent",
        "full batches ask for more before a queue forms",
        "without a known batch the running law is silent",
    ],
)
def test_each_law_answers_alone(changes: dict[str, object], queue: int, tokens: int, running: int) -> None:
    assert dict(ask(load(**changes), SPEC)) == {"queue": queue, "tokens": tokens, "running": running}


def test_the_largest_answer_wins_and_all_are_told() -> None:
    decision, _ = decide(scope(fleet(2), each(2, waiting=6, running=8)), settled(2), NOW)
    assert decision.desired == 3
    assert decision.laws == (("queue", 3), ("tokens", 0), ("running", 3))
    assert decision.reason.code == "ScalingUp"
    assert "12 waiting" in decision.reason.message


# -- pace ----------------------------------------------------------------------------------------------------


def walk(scopes: list[tuple[float, Scope]], memory: ScalingMemory) -> list[int]:
    desired = []
    for at, seen in scopes:
        decision, memory = decide(seen, memory, at)
        desired.append(decision.desired)
    return desired


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


def test_a_spike_of_one_scrape_buys_nothing() -> None:
    patient = replace(SPEC, scale_up_window_seconds=10)
    seen = scope(fleet(2), each(2, waiting=10), spec=patient)
    decision, memory = decide(seen, settled(2), NOW)
    assert (decision.desired, decision.limited_by) == (2, "scale-up window")
    calm = scope(fleet(2), each(2, at=NOW + 5), spec=patient)
    assert decide(calm, memory, NOW + 5)[0].desired == 2
    still = scope(fleet(2), each(2, waiting=10, at=NOW + 11), spec=patient)
    assert decide(still, memory, NOW + 11)[0].desired == 5


@pytest.mark.parametrize(("per_minute", "expected"), [(1, [3, 3, 4]), (2, [4, 4, 6])])
def test_replicas_are_added_at_the_allowed_rate(per_minute: int, expected: list[int]) -> None:
    spec = replace(SPEC, max_scale_up_per_minute=per_minute)
    scopes = [(NOW + s, scope(fleet(2), each(2, waiting=40, at=NOW + s), spec=spec)) for s in (0, 30, 61)]
    assert walk(scopes, settled(2)) == expected


def test_replicas_are_taken_away_at_the_allowed_rate() -> None:
    spec = replace(SPEC, max_scale_down_per_minute=1, scale_down_window_seconds=0)
    scopes = [(NOW + s, scope(fleet(4), each(4, at=NOW + s), spec=spec)) for s in (0, 30, 61, 122)]
    assert walk(scopes, settled(4)) == [3, 3, 2, 1]


def test_bounds_rule_whatever_the_evidence() -> None:
    narrow = replace(SPEC, min_replicas=2, max_replicas=3)
    assert decide(scope(fleet(2), each(2, waiting=99), spec=narrow), settled(2), NOW)[0].desired == 3
    assert decide(scope(fleet(5), (), spec=narrow), settled(5), NOW)[0].desired == 3


def test_the_rest_must_have_kv_cache_for_what_is_cached_now() -> None:
    spec = replace(SPEC, scale_down_window_seconds=0)
    full = tuple(replace(s, kv_usage=0.9) for s in each(4))
    decision, _ = decide(scope(fleet(4), full, spec=spec), settled(4), NOW)
    assert (decision.desired, decision.limited_by) == (4, "kv cache of the rest")


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
    ],
    ids=["none", "stale", "one missing", "one NaN", "one infinite", "one negative"],
)
def test_missing_evidence_never_lowers(samples: tuple[EngineSample, ...]) -> None:
    spec = replace(SPEC, scale_down_window_seconds=0)
    decision, _ = decide(scope(fleet(4), samples, spec=spec), settled(4), NOW)
    assert decision.desired == 4
    assert decision.evidence != "fresh"


def test_partial_evidence_may_raise() -> None:
    decision, _ = decide(scope(fleet(4), (sample("w0", waiting=20),)), settled(4), NOW)
    assert (decision.desired, decision.evidence) == (5, "partial")


def test_a_young_replica_that_reads_zero_is_no_evidence_of_idleness() -> None:
    spec = replace(SPEC, scale_down_window_seconds=0)
    workers = (worker("w0"), worker("w1", ready_since=NOW - 10))
    assert decide(scope(workers, each(2), spec=spec), settled(2), NOW)[0].desired == 2
    grown = (worker("w0"), worker("w1", ready_since=NOW - 30))
    assert decide(scope(grown, each(2), spec=spec), settled(2), NOW)[0].desired == 1


def test_one_replica_that_cannot_start_blocks_nothing() -> None:
    """A pod that is not scheduled froze another planner's every decision (dynamo#14251)."""
    spec = replace(SPEC, scale_down_window_seconds=0)
    assert decide(scope(fleet(3, starting=1), each(3), spec=spec), settled(4), NOW)[0].desired == 1


def test_zero_traffic_is_a_number_and_goes_down() -> None:
    """Rates of zero over zero kept another planner up for ever (dynamo#6985)."""
    idle = tuple(
        replace(s, generation_tokens_total=0.0, arrivals_total=0.0) for s in (*each(2, at=NOW - 9), *each(2))
    )
    spec = replace(SPEC, scale_down_window_seconds=0)
    assert decide(scope(fleet(2), idle, spec=spec), settled(2), NOW)[0].desired == 1


def test_a_cascade_of_two_four_eight_does_not_happen_while_replicas_start() -> None:
    """Another autoscaler forgot those on their way (aibrix#2670)."""
    memory, workers = settled(1), fleet(1)
    for second in range(0, 120, 5):
        at = NOW + second
        waiting = 6 + second / 5
        seen = scope(workers, (sample("w0", at, waiting, running=8),))
        decision, memory = decide(seen, memory, at)
        workers = fleet(1, starting=decision.desired - 1)
    assert decision.desired <= 4


def test_a_counter_that_starts_anew_counts_from_zero() -> None:
    assert growth([100.0, 150.0, 10.0, 30.0]) == 80.0
    assert growth([None, 5.0, None, 7.0]) == 2.0
    assert growth([]) == 0.0


def test_tokens_are_summed_over_the_fleet_and_backlog_raises_the_demand_above_the_throughput() -> None:
    def at(second: float, waiting: float) -> EngineSample:
        return sample(
            "w0",
            NOW - 14 + second,
            waiting,
            running=8,
            generation_tokens_total=90 * second,
            arrivals_total=2 * second,
        )

    samples = (at(0, 0), at(7, 7), at(14, 14))
    seen = weigh(fleet(1), samples, LAYOUT, None, NOW)
    assert seen.tokens_per_second == pytest.approx(90)
    assert seen.demand_tokens_per_second == pytest.approx(180), "28 came, 14 were let in"


def test_a_saturated_replica_teaches_its_capacity_and_an_idle_one_does_not() -> None:
    busy = tuple(
        sample("w0", NOW - 14 + s, waiting=3, running=8, generation_tokens_total=50.0 * s) for s in (0, 7, 14)
    )
    assert learn(fleet(1), busy, LAYOUT, None) == pytest.approx(50)
    idle = tuple(replace(s, waiting=0) for s in busy)
    assert learn(fleet(1), idle, LAYOUT, None) is None
    short = busy[-1:]
    assert learn(fleet(1), short, LAYOUT, 40.0) == 40.0


def test_doing_more_than_was_known_corrects_what_was_known() -> None:
    def lone(rate: float, running: float) -> tuple[EngineSample, ...]:
        return tuple(
            sample("w0", NOW - 14 + s, running=running, generation_tokens_total=rate * s) for s in (0, 7, 14)
        )

    assert learn(fleet(1), lone(50, 8), LAYOUT, 40.0) == pytest.approx(50)
    assert learn(fleet(1), lone(50, 4), LAYOUT, 40.0) == pytest.approx(100), "its batch was half full"
    assert learn(fleet(1), lone(30, 1), LAYOUT, 40.0) == 40.0


def test_samples_are_kept_once_and_only_while_they_matter() -> None:
    old, new = sample("w0", NOW - 16), sample("w0", NOW)
    gone = sample("gone", NOW)
    assert remember((old, new), (new, gone), fleet(1), NOW) == (new,)
    assert remember((old,), (), fleet(1), NOW) == (old,), "the last word of a silent worker"


# -- modes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [AutoscalingMode.EXTERNAL, AutoscalingMode.OFF])
def test_in_other_modes_spec_replicas_rules(mode: AutoscalingMode) -> None:
    spec = replace(SPEC, mode=mode, replicas=7)
    decision, memory = decide(scope(fleet(1), each(1), spec=spec), settled(1), NOW)
    assert (decision.desired, memory.desired) == (7, 7)
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


# -- invariants ----------------------------------------------------------------------------------------------

COUNTS = st.integers(1, 6)
LOADS = st.floats(0, 60, allow_nan=False)


@given(COUNTS, COUNTS, st.lists(LOADS, min_size=6, max_size=6), st.lists(LOADS, min_size=6, max_size=6))
def test_the_answer_is_within_bounds_and_asking_twice_changes_nothing(
    count: int, desired: int, waiting: list[float], running: list[float]
) -> None:
    samples = tuple(sample(f"w{n}", NOW, waiting[n], running[n]) for n in range(count))
    seen = scope(fleet(count), samples)
    first, memory = decide(seen, settled(desired), NOW)
    assert SPEC.min_replicas <= first.desired <= SPEC.max_replicas
    second, again = decide(seen, memory, NOW)
    assert second.desired == first.desired
    assert again == memory


@given(COUNTS, st.floats(4.01, 100))
def test_load_above_target_never_lowers(count: int, waiting: float) -> None:
    """Another autoscaler divided a mean as if it were a total: 8 pods at 20 % overload became 4 (AIBrix)."""
    spec = replace(SPEC, scale_down_window_seconds=0)
    decision, _ = decide(scope(fleet(count), each(count, waiting=waiting), spec=spec), settled(count), NOW)
    assert decision.desired >= count


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
