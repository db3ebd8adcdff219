"""Every other law against examples worked out by hand from its reference."""

import math
from dataclasses import replace

import pytest

from inferfleet.simulate.peers import LAWS, PEERS
from inferfleet.simulate.peers.aibrix import Apa, apa
from inferfleet.simulate.peers.concurrency import Integral, KubeAI, Panic, kpa
from inferfleet.simulate.peers.dynamo import by_load
from inferfleet.simulate.peers.horizontal import double_or_halve
from inferfleet.simulate.peers.rate import Hysteresis, SkyServe
from inferfleet.simulate.peers.signals import Counters, Histogram, Window, histogram_quantile
from inferfleet.simulate.peers.slo import saturation as slo_saturation
from inferfleet.simulate.peers.slo import wish
from inferfleet.simulate.peers.wva import derived_k2, saturation, step_by_tokens
from inferfleet.simulate.policy import Gateway, Seen
from inferfleet.values import Buckets, EngineSample, Objectives


def seen(desired: int = 1, ready: int | None = None, *, in_flight: int = 0, arrivals: int = 0) -> Seen:
    gateway = Gateway(in_flight, 0, arrivals, 0, 0, 0.0, 0, 0)
    return Seen(desired, desired if ready is None else ready, 0, 0, (), gateway)


class TestKnative:
    @pytest.mark.parametrize(
        ("ready", "stable", "panic", "wanted", "panics"),
        [
            (2, 150.0, 150.0, 3, False),
            (2, 150.0, 280.0, 4, True),
            (4, 70.0, 70.0, 2, False),
            (0, 70.0, 70.0, 1, False),
        ],
        ids=[
            "150 in flight at 70 each is 3",
            "280 in the short window is 4, twice what is ready: panic",
            "down to half of what is ready at most",
            "with none ready it counts as one",
        ],
    )
    def test_pods_are_concurrency_over_the_target(
        self, ready: int, stable: float, panic: float, wanted: int, panics: bool
    ) -> None:
        pods, state = kpa(0.0, ready, 70.0, None, stable=stable, panic=panic)
        assert pods == wanted
        assert (state is not None) is panics

    def test_panic_never_scales_down_and_ends_a_stable_window_after_its_last_cause(self) -> None:
        pods, state = kpa(0.0, 1, 70.0, None, stable=70.0, panic=420.0)
        assert pods == 6
        pods, state = kpa(30.0, 6, 70.0, state, stable=140.0, panic=70.0)
        assert (pods, state) == (6, Panic(0.0, 6))
        pods, state = kpa(60.0, 6, 70.0, state, stable=140.0, panic=70.0)
        assert pods == 6, "exactly one window is not more than one"
        pods, state = kpa(62.0, 6, 70.0, state, stable=140.0, panic=70.0)
        assert (pods, state) == (3, None)

    def test_means_over_windows_come_from_the_integral(self) -> None:
        integral = Integral()
        for second in range(0, 62, 2):
            integral.add(float(second), 10.0 * second if second <= 54 else 540.0 + 50.0 * (second - 54))
        assert integral.mean(60.0, 6.0) == pytest.approx(50.0)
        assert integral.mean(60.0, 60.0) == pytest.approx((540.0 + 300.0) / 60.0)


class TestKubeAI:
    def test_the_average_starts_with_zeros_so_a_new_load_is_believed_after_600_s(self) -> None:
        law = KubeAI(100.0, 0.0)
        answers = [law.replicas(seen(1, in_flight=400), 10.0 * tick) for tick in range(60)]
        assert answers[0] == 1
        assert answers[15] == 2, "16 of 60 ticks at 400 is 107"
        assert answers[59] == 4

    def test_it_goes_down_after_three_lower_ticks(self) -> None:
        law = KubeAI(100.0, 0.0)
        assert [law.replicas(seen(3), 10.0 * tick) for tick in range(4)] == [3, 3, 3, 0]


class TestAibrix:
    @pytest.mark.parametrize(
        ("current", "ratio", "wanted"),
        [
            (4, 1.1, 4),
            (4, 1.2, 5),
            (4, 3.0, 8),
            (4, 0.9, 4),
            (4, 0.8, 4),
            (4, 0.7, 3),
            (5, 0.1, 2),
            (1, 0.0, 0),
        ],
    )
    def test_the_ratio_is_clamped_to_double_and_half(self, current: int, ratio: float, wanted: int) -> None:
        assert apa(current, ratio) == wanted

    def test_replicas_that_start_are_not_multiplied_again(self) -> None:
        law = Apa(0.5, 0.0)
        full = EngineSample("a", 0.0, 1.0, 0.0, kv_usage=1.0)
        desired = [2]
        for tick in range(3):
            looked = replace(seen(desired[-1], 2), samples=(full, full))
            desired.append(law.replicas(looked, 10.0 * tick))
        assert desired == [2, 4, 4, 4]

    def test_its_cooldown_delays_nothing(self) -> None:
        law = Apa(0.5, 0.0)
        asked = []
        for tick, usage in enumerate((0.5, 0.1, 0.1)):
            law.window.points.clear()
            sample = EngineSample("a", 0.0, 1.0, 0.0, kv_usage=usage)
            asked.append(law.replicas(replace(seen(4), samples=(sample,)), 10.0 * tick))
        assert asked == [4, 2, 2]


class TestKaito:
    def test_it_doubles_only_when_all_are_ready_and_halves_below_the_lower_threshold(self) -> None:
        assert double_or_halve(seen(3, 3), 10.1, 10.0) == 6
        assert double_or_halve(seen(3, 2), 10.1, 10.0) == 3
        assert double_or_halve(seen(3, 3), 0.9, 10.0) == 2
        assert double_or_halve(seen(3, 3), 5.0, 10.0) == 3


class TestWva:
    @pytest.mark.parametrize(
        ("loads", "step"),
        [
            ([(0.5, 0.0), (0.5, 0.0)], 0),
            ([(0.72, 0.0), (0.72, 0.0)], 1),
            ([(0.3, 2.5), (0.3, 2.5)], 1),
            ([(0.9, 0.0), (0.3, 0.0)], 0),
            ([(0.9, 0.0), (0.8, 0.0)], 1),
            ([(0.3, 0.0), (0.3, 0.0)], -1),
            ([(0.3, 1.5), (0.3, 1.5)], 0),
            ([(0.1, 0.0)], 0),
        ],
        ids=[
            "one of two could not carry 1.0",
            "spare KV 0.08 is below 0.10",
            "spare queue 2.5 is below 3",
            "the only one that is not saturated has room, and nobody to give its load to",
            "all saturated",
            "one could carry 0.6: it keeps 0.2",
            "one with 3 waiting would keep 2 of 5",
            "the last one stays",
        ],
    )
    def test_v1_looks_at_spare_capacity(self, loads: list[tuple[float, float]], step: int) -> None:
        assert saturation(loads, 0.8) == step

    def test_v2_derives_the_compute_bound_from_the_limits(self) -> None:
        assert derived_k2(8192, 256, 1000.0, 200.0) == int(256 * 1100.0)
        assert derived_k2(8192, 4096, 1000.0, 200.0) == int(8192 * 200.0 / 1200.0 * 1100.0)

    @pytest.mark.parametrize(
        ("demand", "ready", "pending", "step"),
        [
            (85_000.0, 1, 0, 0),
            (86_000.0, 1, 0, 1),
            (255_000.0, 1, 0, 2),
            (255_000.0, 1, 2, 0),
            (70_000.0, 3, 0, -2),
            (141_000.0, 3, 0, 0),
        ],
        ids=[
            "85 % of one",
            "just above",
            "three are needed",
            "pending ones are credited",
            "70 % of one leaves two of three",
            "a little more than one could carry at 70 %",
        ],
    )
    def test_v2_compares_tokens(self, demand: float, ready: int, pending: int, step: int) -> None:
        assert step_by_tokens(demand, 100_000.0, ready, pending) == step


class TestLlmdSlo:
    @pytest.mark.parametrize(
        ("ttft", "itl", "share"),
        [
            (0.5, 0.02, 0.5),
            (0.5, 0.03, 0.75),
            (9.0, 0.02, 2.0),
            (math.nan, 0.02, 0.5),
            (math.nan, math.nan, 0.0),
        ],
    )
    def test_saturation_is_the_worse_share_clamped(self, ttft: float, itl: float, share: float) -> None:
        assert slo_saturation(ttft, itl, 1.0, 0.04) == pytest.approx(share)

    @pytest.mark.parametrize(
        ("asked", "ready", "share", "wanted"),
        [
            (4, 4, 0.5, 4),
            (4, 4, 1.1, 8),
            (4, 2, 1.1, 4),
            (4, 3, 1.1, 6),
            (4, 4, 0.2, 2),
            (4, 4, 0.3, 3),
            (4, 2, 0.2, 2),
        ],
        ids=[
            "between the thresholds it stays",
            "twice the upper threshold doubles",
            "half of them still warm: credited in full",
            "a quarter warms: 4 x 0.75 x 2",
            "half of the lower threshold halves",
            "a quarter below takes one",
            "no credit going down",
        ],
    )
    def test_the_wish(self, asked: int, ready: int, share: float, wanted: int) -> None:
        assert wish(asked, ready, share, 0.55, 0.40) == wanted


class TestDynamo:
    def test_up_only_if_all_engines_miss_and_down_only_if_the_rest_keeps_80_percent(self) -> None:
        objectives = Objectives(95.0, 1.0, 0.04)
        good, slow, chatty = (0.2, 0.02), (1.5, 0.02), (0.2, 0.05)
        assert by_load([slow, slow], [slow, slow], objectives, 0.8) == 1
        assert by_load([slow, good], [slow, good], objectives, 0.8) == 0
        assert by_load([slow, chatty], [slow, chatty], objectives, 0.8) == 0
        assert by_load([good, good], [good, good], objectives, 0.8) == -1
        assert by_load([good, good], [good, (0.81, 0.02)], objectives, 0.8) == 0
        assert by_load([good], [good], objectives, 0.8) == 0, "the last one stays"


class TestSkyServe:
    def test_up_after_15_decisions_in_a_row_and_down_after_60(self) -> None:
        state = Hysteresis()
        assert [state.settle(2, 4) for _ in range(15)] == [2] * 14 + [4]
        assert [state.settle(4, 2) for _ in range(59)] == [4] * 59
        assert state.settle(4, 4) == 4
        assert [state.settle(4, 2) for _ in range(60)] == [4] * 59 + [2]

    def test_qps_is_over_60_s(self) -> None:
        law = SkyServe(2.0, 0.0)
        for tick in range(1, 20):
            law.replicas(seen(1, arrivals=120 * tick), 20.0 * tick)
        assert len(law.arrivals) == 4
        assert law.hysteresis.ups == 18 - 15, (
            "the first decision saw a third of the window, and asked for no more"
        )


class TestWindows:
    def test_a_gauge_forgets_what_left_its_window(self) -> None:
        window = Window(60.0)
        for second, value in ((0.0, 9.0), (30.0, 3.0), (60.0, 1.0)):
            window.add(second, value)
        assert (window.max(), window.min(), window.mean()) == (3.0, 1.0, 2.0)

    def test_counters_survive_restarts_and_new_replicas(self) -> None:
        counters = Counters(60.0)
        counters.add(0.0, [("a", (100.0,))])
        counters.add(30.0, [("a", (160.0,)), ("b", (10.0,))])
        counters.add(60.0, [("a", (40.0,)), ("b", (40.0,))])
        assert counters.increase() == (40.0 + 30.0,)
        counters.add(95.0, [("b", (75.0,))])
        assert counters.increase() == (40.0 + 65.0,), "a has been silent since 60 s, within the window"
        counters.add(130.0, [("b", (75.0,))])
        assert counters.rate() == (35.0 / 70.0,), "a is gone; the point before the window opens it"

    def test_a_quantile_is_linear_inside_its_bucket(self) -> None:
        bounds = (0.1, 0.5, 1.0, math.inf)
        assert histogram_quantile(0.9, bounds, (0.0, 80.0, 100.0, 100.0)) == pytest.approx(0.75)
        assert histogram_quantile(0.9, bounds, (0.0, 0.0, 0.0, 5.0)) == 1.0
        assert math.isnan(histogram_quantile(0.9, bounds, (0.0, 0.0, 0.0, 0.0)))

    def test_a_histogram_sees_its_window_only(self) -> None:
        histogram, bounds = Histogram(60.0), (0.1, 1.0, math.inf)
        histogram.add(0.0, [("a", Buckets(bounds, (100.0, 100.0, 100.0)))])
        histogram.add(30.0, [("a", Buckets(bounds, (100.0, 110.0, 110.0)))])
        assert histogram.quantile(0.5) == pytest.approx(0.55)


def test_every_law_can_be_had_by_name_with_its_defaults_and_tuned() -> None:
    assert set(PEERS) == set(LAWS)
    assert all(len(law.tuned_over) >= 5 for law in LAWS.values())
    assert all(list(law.tuned_over) == sorted(law.tuned_over) for law in LAWS.values())
