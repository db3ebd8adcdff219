"""What went through the fleet, how late it was, and what one replica can take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_cases import LAYOUT, NOW, SPEC, decide, fleet, sample, scope, settled, steady, worker

from inferfleet.scaling import fresh, newest
from inferfleet.scaling.capacity import learn_request
from inferfleet.scaling.evidence import Load
from inferfleet.scaling.flows import growth, record, within
from inferfleet.scaling.latency import above, is_proven, percentile
from inferfleet.scaling.staffing import gain, replicas_for
from inferfleet.values import NO_BUCKETS, Buckets, EngineSample, Flow, Objectives, ScalingMemory

# -- flows ---------------------------------------------------------------------------------------------------


def test_a_counter_that_starts_anew_counts_from_zero_and_an_unknown_one_is_unknown() -> None:
    assert (growth(100.0, 150.0), growth(150.0, 10.0)) == (50.0, 10.0)
    assert (growth(None, 5.0), growth(5.0, None)) == (None, None)


def spans(*looks: tuple[EngineSample, ...]) -> tuple[Flow, ...]:
    flows: tuple[Flow, ...] = ()
    before: dict[str, EngineSample] = {}
    for samples in looks:
        after = before | {each.worker: each for each in samples}
        flows, _ = record(flows, before, after, fleet(4), 4.0)
        before = after
    return flows


def test_the_same_look_twice_adds_nothing() -> None:
    looks = [tuple(sample("w0", NOW + s, arrivals_total=2.0 * s) for _ in range(2)) for s in (0, 5, 5, 5)]
    (flow,) = spans(*looks)
    assert (flow.seconds, flow.arrivals) == (5, 10)


def test_looks_close_together_share_a_span_and_old_spans_are_forgotten() -> None:
    looks = [(sample("w0", NOW + s, arrivals_total=2.0 * s),) for s in range(0, 200, 2)]
    flows = spans(*looks)
    assert all(5 <= flow.seconds <= 7 for flow in flows[:-1])
    assert len(flows) <= 12
    minute = within(flows, 60)
    assert minute is not None
    assert minute.arrivals / minute.seconds == pytest.approx(2)


def test_what_a_silent_replica_catches_up_on_is_no_burst() -> None:
    def look(second: float, *names: str) -> tuple[EngineSample, ...]:
        return tuple(sample(name, NOW + second, arrivals_total=second) for name in names)

    talk = [look(s, "w0") for s in range(5, 60, 5)]
    flows = spans(look(0, "w0", "w1"), *talk, look(60, "w0", "w1"))
    assert flows[-1].arrivals == pytest.approx(10)


def test_a_restarted_engine_brings_its_counts_anew() -> None:
    before = sample("w0", NOW, generation_tokens_total=900.0, ttft_buckets=Buckets((1.0, inf), (90.0, 100.0)))
    after = sample("w0", NOW + 5, generation_tokens_total=50.0, ttft_buckets=Buckets((1.0, inf), (4.0, 5.0)))
    (flow,) = spans((before,), (after,))
    assert (flow.generated, flow.ttft) == (50.0, Buckets((1.0, inf), (4.0, 5.0)))


def test_without_counters_of_requests_arrivals_and_what_is_inside_stand_in() -> None:
    before = sample("w0", NOW, running=2, arrivals_total=10.0, generation_tokens_total=0.0)
    after = sample("w0", NOW + 5, running=4, arrivals_total=20.0, generation_tokens_total=160.0)
    (flow,) = spans((before,), (after,))
    assert (flow.finished, flow.output_tokens) == (8.0, 160.0)
    silent = [
        replace(each, arrivals_total=None, requests_total=3.0 * n) for n, each in enumerate((before, after))
    ]
    (flow,) = spans((silent[0],), (silent[1],))
    assert flow.arrivals == 5.0, "three ended, and two more are inside"


def test_the_newest_word_is_kept_and_fresh_only_for_a_while() -> None:
    old, new = sample("w0", NOW - 16), sample("w0", NOW)
    assert newest({"w0": old}, (new,)) == {"w0": new}
    assert fresh({"w0": old, "w1": new}, NOW) == {"w1": new}
    _, memory = decide(scope(fleet(1), (old,)), ScalingMemory(), NOW)
    assert memory.samples == {"w0": old}, "the last word of a silent worker"


# -- latencies -----------------------------------------------------------------------------------------------

BUCKETS = Buckets((0.5, 1.0, 2.0, inf), (50.0, 90.0, 98.0, 100.0))


@pytest.mark.parametrize(
    ("share", "seconds"), [(0.5, 0.5), (0.7, 0.75), (0.95, 1.625), (0.98, 2.0), (0.99, 2.0)]
)
def test_percentiles_are_linear_within_a_bucket(share: float, seconds: float) -> None:
    assert percentile(BUCKETS, share) == pytest.approx(seconds)


def test_no_observation_has_no_percentile() -> None:
    assert percentile(NO_BUCKETS, 0.5) is None
    assert percentile(Buckets((1.0, inf), (0.0, 0.0)), 0.5) is None


@pytest.mark.parametrize(
    ("objective", "many"), [(0.25, 75.0), (0.5, 50.0), (1.5, 6.0), (2.0, 2.0), (3.0, 2.0), (None, 0.0)]
)
def test_how_many_lie_above_an_objective(objective: float | None, many: float) -> None:
    assert above(BUCKETS, objective) == pytest.approx(many)


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=4, max_size=4), st.floats(0.01, 0.99))
def test_a_percentile_lies_where_its_share_of_the_observations_lies(
    counts: list[float], share: float
) -> None:
    buckets = Buckets((0.5, 1.0, 2.0, 4.0), tuple(accumulate(round(count, 3) for count in counts)))
    total, value = buckets.total, percentile(buckets, share)
    if value is None:
        assert total == 0
    elif value > 0:
        assert above(buckets, value) == pytest.approx((1 - share) * total, abs=1e-6 * total + 1e-6)


# -- capacity ------------------------------------------------------------------------------------------------

TIGHT = Objectives(percentile=90.0, ttft_seconds=1.0)


def waits(late_share: float) -> object:
    """Histograms in which that share of the requests is late."""
    return lambda came: {"ttft_buckets": Buckets((1.0, inf), (came * (1 - late_share), came))}


def capacity(**changes: object) -> float:
    *_, (_, _, memory) = steady(lambda _s: 3.0, **changes)  # type: ignore[arg-type]
    return memory.tokens_per_second_per_replica or LAYOUT.prediction.tokens_per_second


def test_the_plan_is_the_first_word_and_idle_replicas_do_not_change_it() -> None:
    *_, (_, decision, memory) = steady(lambda _s: 0.5, objectives=TIGHT, latencies=waits(0.0))  # type: ignore[arg-type]
    assert (decision.capacity_tokens_per_second, memory.tokens_per_second_per_replica) == (100.0, None)


def test_a_long_queue_shows_what_a_replica_can_do() -> None:
    queue = lambda _s: 5.0  # noqa: E731
    assert capacity(waiting=queue, pace=lambda _s: 50.0) == pytest.approx(50)
    assert capacity(waiting=lambda _s: 1.0, pace=lambda _s: 50.0) == 100, "one waits now and then anywhere"
    assert capacity(waiting=queue, pace=lambda _s: 50.0, seconds=10) == 100, "too short to tell"


def test_a_queue_behind_one_long_prompt_teaches_nothing() -> None:
    """While it is read hardly a token is made: that said that a replica does a twentieth of what it does."""
    stuck = lambda s: 5.0 if s % 60 < 25 else 0.0  # noqa: E731
    assert capacity(waiting=stuck, pace=lambda s: 5.0 if s % 60 < 25 else 90.0) == 100


def test_nothing_is_lowered_while_misses_are_left_in_the_budget_of_the_hour() -> None:
    shape = {"objectives": TIGHT, "latencies": waits(0.3), "pace": lambda _s: 90.0}
    saved = replace(settled(1), asked_lately=1e5)
    assert capacity(**shape, memory=saved) == 100
    assert capacity(**shape) < 95


def test_what_was_raised_goes_back_where_the_budget_of_the_hour_is_spent() -> None:
    raised = replace(
        settled(1),
        tokens_per_second_per_replica=110.0,
        predicted_tokens_per_second=100.0,
        asked_lately=10000.0,
        missed_lately=2000.0,
    )
    shape = {"objectives": TIGHT, "latencies": waits(0.0), "pace": lambda _s: 90.0}
    assert 100 <= capacity(**shape, memory=raised) < 105


@pytest.mark.parametrize(
    ("unevenness", "needed"), [(0.0, [0.6, 1.2, 4.2, 16.2]), (1.0, [0.6, 1.2, 4.8, 19.2])]
)
def test_chance_needs_room_once_a_queue_and_replicas_are_one_queue_or_many(
    unevenness: float, needed: list[float]
) -> None:
    assert [replicas_for(each, 0.0, 1.0, unevenness) for each in (0.5, 1.0, 4.0, 16.0)] == pytest.approx(
        needed
    )
    assert replicas_for(4.0, 0.0, 1.0, 7.0) == replicas_for(4.0, 0.0, 1.0, 1.0)


def test_what_chance_takes_shrinks_with_the_root_of_how_many_share_a_queue() -> None:
    assert [gain(replicas, 1.4, 0.0) for replicas in (1, 4, 16)] == pytest.approx([1.0, 1.2, 1.3])
    assert gain(16, 1.4, 1.0) == gain(1, 1.4, 0.0) == 1.0


@given(st.floats(0.1, 200), st.floats(1.0, 3.0), st.floats(0.0, 1.0))
def test_so_many_replicas_as_are_asked_for_serve_what_they_are_asked_for(
    alone: float, pooling: float, unevenness: float
) -> None:
    needed = replicas_for(alone, 0.0, pooling, unevenness)
    assert needed * gain(needed, pooling, unevenness) >= alone - 1e-9
    assert needed <= replicas_for(alone, 0.0, 1.0, unevenness) + 1e-9


def test_room_for_chance_and_for_the_unknown_add_up_as_what_is_independent_does() -> None:
    assert replicas_for(4.0, 0.0, 1.0, 0.0) == pytest.approx(4.2)
    assert replicas_for(4.0, 0.15, 1.0, 0.0) == pytest.approx(4.25)
    assert replicas_for(0.0, 1.0, 1.2, 0.0) == 0.0


def unevenness(inside: Callable[[Random], list[float]], ready_since: float = NOW - 3600) -> float:
    rng, memory = Random(1), settled(4)
    workers = tuple(worker(f"w{index}", ready_since=ready_since) for index in range(4))
    for second in range(0, 3600, 5):
        samples = tuple(sample(f"w{index}", NOW + second, running=n) for index, n in enumerate(inside(rng)))
        _, memory = decide(scope(workers, samples), memory, NOW + second)
    return memory.unevenness


def test_the_spread_of_requests_tells_a_router_from_chance() -> None:
    by_chance = unevenness(lambda rng: [float(sum(rng.random() < 0.1 for _ in range(200))) for _ in range(4)])
    to_the_least_loaded = unevenness(lambda rng: [20.0 + rng.randint(0, 1) for _ in range(4)])
    assert by_chance == pytest.approx(1, abs=0.3)
    assert to_the_least_loaded < 0.05


def test_idle_replicas_and_those_that_just_started_tell_nothing_of_the_router() -> None:
    assert unevenness(lambda _rng: [1.0, 0.0, 0.0, 0.0]) == 1
    assert unevenness(lambda _rng: [20.0] * 4, ready_since=NOW + 3600) == 1
    assert unevenness(lambda _rng: [20.0, 20.0, 0.0, 0.0], ready_since=NOW + 3300) == 1


def test_a_replica_that_just_started_teaches_nothing() -> None:
    memory, cold = settled(1), (worker("w0", ready_since=NOW),)
    for second in range(0, 20, 5):
        seen = scope(cold, (sample("w0", NOW + second, 9, 8, generation_tokens_total=5.0 * second),))
        _, memory = decide(seen, memory, NOW + second)
    assert memory.tokens_per_second_per_replica is None


def test_without_objectives_doing_more_than_was_known_corrects_what_was_known() -> None:
    assert capacity(pace=lambda _s: 150.0) == pytest.approx(150)


@pytest.mark.parametrize(
    ("late_share", "pace", "low", "high"),
    [
        (0.0, 90.0, 105, 110),
        (0.3, 90.0, 75, 94),
        (0.08, 90.0, 100, 100),
        (0.3, 40.0, 100, 100),
        (0.3, 150.0, 100, 100),
    ],
    ids=[
        "all in time at full pace: more",
        "many late at full pace: less",
        "as many late as the percentile allows: right",
        "late with little to do: it is not the load",
        "late while there are too few: it is not the replica",
    ],
)
def test_the_share_of_late_requests_moves_the_capacity(
    late_share: float, pace: float, low: float, high: float
) -> None:
    learned = capacity(objectives=TIGHT, latencies=waits(late_share), pace=lambda _s: pace)
    assert low <= learned <= high


def test_an_objective_that_cannot_be_met_lowers_the_capacity_by_a_quarter_and_no_further() -> None:
    alone = replace(SPEC, max_replicas=1)
    shape = {"objectives": TIGHT, "latencies": waits(1.0), "seconds": 1800, "spec": alone}
    memory = replace(settled(1), tokens_per_second_per_replica=100.0, predicted_tokens_per_second=100.0)
    *_, (_, _, memory) = steady(
        lambda _s: 4.0, pace=lambda s: max(70.0, 85.0 - s / 30), memory=memory, **shape
    )  # type: ignore[arg-type]
    assert memory.tokens_per_second_per_replica == pytest.approx(75, abs=1)


def test_what_was_learned_is_carried_over_to_requests_that_the_plan_sees_differently() -> None:
    memory = replace(settled(1), tokens_per_second_per_replica=80.0, predicted_tokens_per_second=100.0)
    other = replace(LAYOUT, prediction=replace(LAYOUT.prediction, tokens_per_second=50.0))
    decision, _ = decide(scope(fleet(1), (), layout=other), memory, NOW)
    assert decision.capacity_tokens_per_second == 40


def test_the_mean_request_is_guessed_then_measured() -> None:
    seen = list(steady(lambda _s: 2.0, output=20.0))
    assert seen[0][1].output_tokens == 256
    assert seen[-1][1].output_tokens == pytest.approx(20)
    assert seen[-1][1].demand_tokens_per_second == pytest.approx(40, rel=0.2), "two deviations of chance"
    assert seen[-1][2].prompt_tokens == pytest.approx(10)


def test_demand_is_arrivals_and_not_what_a_full_replica_makes() -> None:
    *_, (_, decision, _) = steady(lambda _s: 10.0, pace=lambda _s: 60.0, spec=SPEC)
    assert decision.tokens_per_second == pytest.approx(60)
    assert decision.demand_tokens_per_second == pytest.approx(200)


def test_a_low_capacity_that_nothing_tests_returns_to_the_plan() -> None:
    """It buys so many replicas that none of them is ever busy enough to prove it wrong."""
    memory = replace(settled(1), tokens_per_second_per_replica=75.0, predicted_tokens_per_second=100.0)
    *_, (_, _, memory) = steady(
        lambda _s: 1.0,
        memory=memory,
        seconds=1800,
        objectives=TIGHT,
        latencies=waits(0.0),  # type: ignore[arg-type]
    )
    assert memory.tokens_per_second_per_replica == pytest.approx(100, abs=3)


def test_a_batch_is_small_only_where_the_cache_is_full() -> None:
    """One that waits behind one that runs said that a batch is one, and asked for forty replicas."""
    odd = (sample("w0", waiting=1, running=1), *(sample(f"w{n}", running=4) for n in range(1, 8)))
    assert decide(scope(fleet(8), odd), settled(8), NOW)[0].desired <= 8
    full = tuple(sample(f"w{n}", waiting=5, running=4, kv_usage=0.95) for n in range(2))
    assert dict(decide(scope(fleet(2), full), settled(2), NOW)[0].laws)["queue"] == 5


def test_one_cache_full_of_long_prompts_says_nothing_of_the_batches_of_the_others() -> None:
    """Its batch of one was taken for that of all, and asked for nine replicas where four had enough."""
    long = sample("w0", waiting=1, running=1, kv_usage=0.95)
    others = tuple(sample(f"w{n}", running=5, kv_usage=0.4) for n in range(1, 4))
    assert dict(decide(scope(fleet(4), (long, *others)), settled(4), NOW)[0].laws)["running"] == 4


def test_the_first_few_requests_weigh_no_more_in_the_mean_than_those_that_follow() -> None:
    """Ten prompts said how large the next three hundred were taken to be."""
    memory = settled(1)
    for requests, output in ((20.0, 100.0), (60.0, 20.0)):
        flow = Flow(
            at=NOW, seconds=5, finished=requests, prompt_tokens=requests, output_tokens=requests * output
        )
        memory = learn_request(memory, (flow,), flow)
    assert memory.output_tokens == pytest.approx((20 * 100 + 60 * 20) / 80)
    restored = ScalingMemory(prompt_tokens=1.0, output_tokens=100.0)
    assert (learn_request(restored, (flow,), flow).output_tokens or 0) == pytest.approx(100 - 80 * 60 / 360)


def test_while_replicas_are_on_their_way_late_requests_do_not_lower_the_capacity() -> None:
    """They were late for want of those: counted against each replica, they would buy the same ones twice."""
    growing = replace(SPEC, min_replicas=3)
    learned = capacity(
        objectives=TIGHT, latencies=waits(0.3), pace=lambda _s: 90.0, spec=growing, memory=settled(3)
    )
    assert learned == 100


@pytest.mark.parametrize(
    ("missed", "seen", "share", "burn", "proven"),
    [
        (4, 300, 0.99, 1.0, False),
        (7, 300, 0.99, 1.0, True),
        (7, 300, 0.99, 3.0, False),
        (16, 300, 0.99, 3.0, True),
        (60, 100, 0.5, 3.0, False),
        (95, 100, 0.5, 3.0, True),
    ],
)
def test_more_are_late_than_chance_explains(
    missed: float, seen: float, share: float, burn: float, *, proven: bool
) -> None:
    assert is_proven(missed, seen, share, burn) is proven


@pytest.mark.parametrize(
    ("level", "demand"), [(None, 60.0), (51.0, 51.0), (69.0, 69.0), (40.0, 60.0), (90.0, 90.0)], ids=str
)
def test_demand_is_its_level_unless_the_last_minute_is_above_it_by_more_than_chance(
    level: float | None, demand: float
) -> None:
    load = Load(1, 0, arrivals_per_second=2.0, output_tokens=30.0, level_tokens_per_second=level)
    assert load.demand_tokens_per_second == pytest.approx(demand, abs=0.05)
