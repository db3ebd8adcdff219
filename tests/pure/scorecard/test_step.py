"""The scorecard's step: four times a load from an instant on, and for how long an objective is missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import count, takewhile
from statistics import fmean, pvariance

import pytest
from cases import CHAT, WARM_UP_SECONDS, Case, Purpose, Stepped, all_cases
from judge import seconds_over

from inferfleet.simulate.generate import Generated, Sizes, constant
from inferfleet.simulate.ledger import Bin
from inferfleet.simulate.policy import Request
from inferfleet.simulate.run import Outcome
from inferfleet.simulate.scenario import Source

AT = WARM_UP_SECONDS


@dataclass
class Endless:
    """A request each half second, of a size of its own, without chance; notes how far it was read."""

    read: float = 0.0

    def stream(self, seed: int) -> Iterator[Request]:  # noqa: ARG002 - no chance in it
        for number in count():
            self.read = max(self.read, number / 2)
            yield Request(number / 2, number + 1, 10)


TRACE = Endless()
DRAWN = Generated(constant(2.0, 2400.0), Sizes(1000.0, 200.0))


def until(seconds: float, source: Source, seed: int = 1) -> list[Request]:
    return list(takewhile(lambda request: request.at < seconds, source.stream(seed)))


def sizes_in(minute: int, source: Source) -> Counter[int]:
    asked = until(60.0 * minute + 60.0, source)
    return Counter(request.prompt_tokens for request in asked if request.at >= 60.0 * minute)


@pytest.mark.parametrize("source", [TRACE, DRAWN])
def test_before_the_step_nothing_is_changed(source: Source):
    assert until(300.0, Stepped(source, 300.0)) == until(300.0, source)


@pytest.mark.parametrize("source", [TRACE, DRAWN])
def test_after_the_step_what_was_there_stays_where_it_was(source: Source):
    assert set(until(600.0, source)) <= set(until(600.0, Stepped(source, 300.0)))


@pytest.mark.parametrize("minute", [5, 6, 9])
def test_each_minute_of_the_step_has_every_request_of_a_trace_four_times(minute: int):
    four_times = {size: 4 * number for size, number in sizes_in(minute, TRACE).items()}
    assert sizes_in(minute, Stepped(TRACE, 300.0)) == four_times


def test_the_step_is_there_at_once():
    first = [request for request in until(310.0, Stepped(TRACE, 300.0)) if request.at >= 300]
    assert len(first) == pytest.approx(80, rel=0.25)


def test_where_the_seed_draws_the_arrivals_each_crowd_has_its_own():
    # counts of four crowds that are alike vary by four times their mean, of independent ones by their mean
    asked = until(2400.0, Stepped(DRAWN, 0.0))
    minutes = Counter(int(request.at // 60) for request in asked).values()
    assert fmean(minutes) == pytest.approx(480, rel=0.03)
    assert pvariance(minutes) < 2 * fmean(minutes)


@pytest.mark.parametrize("source", [TRACE, DRAWN])
def test_requests_come_in_order_of_time(source: Source):
    instants = [request.at for request in until(600.0, Stepped(source, 300.0))]
    assert instants == sorted(instants)


@pytest.mark.parametrize("source", [TRACE, DRAWN])
def test_a_seed_gives_the_same_step_and_another_seed_another(source: Source):
    step = Stepped(source, 300.0)
    assert until(600.0, step, seed=1) == until(600.0, step, seed=1)
    assert until(600.0, step, seed=1) != until(600.0, step, seed=2)


def test_no_more_is_read_ahead_than_a_minute():
    source = Endless()
    last = until(1000.0, Stepped(source, 300.0))[-1]
    assert source.read - last.at <= 61


@pytest.mark.parametrize("case", all_cases(None), ids=lambda case: case.name)
def test_every_load_has_a_run_of_fifteen_minutes_as_judged_and_fifteen_at_four_times_that(case: Case):
    scenarios = case.scenarios
    judged = [each for each in scenarios[Purpose.JUDGE].arrivals(0) if each.at < 2 * AT]
    stepped = list(scenarios[Purpose.STEP].arrivals(0))
    assert [each for each in stepped if each.at < AT] == [each for each in judged if each.at < AT]
    before, after = (sum(each.at >= AT for each in load) for load in (judged, stepped))
    assert after == pytest.approx(4 * before, rel=0.15)


def outcome(*bins: Bin) -> Outcome:
    nothing = {each.name: 0 for each in fields(Outcome)}
    return Outcome(**nothing | {"bin_seconds": 10.0, "bins": bins})


SPANS = {
    "a first token beyond its objective": (Bin(AT, ttft_tail=2.1), 10),
    "gaps between tokens beyond theirs": (Bin(AT, itl_tail=0.11), 10),
    "a request that was lost": (Bin(AT, lost=1), 10),
    "both within": (Bin(AT, ttft_tail=2.0, itl_tail=0.1), 0),
    "before the step": (Bin(AT - 10, ttft_tail=9.0), 0),
    "the last of its fifteen minutes": (Bin(2 * AT - 10, ttft_tail=9.0), 10),
    "after them": (Bin(2 * AT, ttft_tail=9.0), 0),
}


@pytest.mark.parametrize(("span", "seconds"), SPANS.values(), ids=SPANS)
def test_seconds_over_are_those_of_the_fifteen_minutes_after_the_step(span: Bin, seconds: float):
    assert seconds_over(outcome(span, Bin(AT + 600)), CHAT) == seconds
