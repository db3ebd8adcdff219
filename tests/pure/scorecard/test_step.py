"""The scorecard's step: four times a load from an instant on, and for how long an objective is missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import count, islice

import pytest
from cases import CHAT, WARM_UP_SECONDS, Case, Purpose, Stepped, all_cases
from judge import seconds_over

from inferfleet.simulate.generate import Generated, Sizes, constant
from inferfleet.simulate.ledger import Bin
from inferfleet.simulate.policy import Request
from inferfleet.simulate.run import Outcome

SOURCE = Generated(constant(2.0, 600.0), Sizes(1000.0, 200.0))
STEP = Stepped(SOURCE, 300.0)
AT = WARM_UP_SECONDS


def by_minute(requests: list[Request]) -> list[Counter[tuple[int, int]]]:
    minutes = [Counter[tuple[int, int]]() for _ in range(10)]
    for at, prompt, output in requests:
        minutes[int(at // 60)][prompt, output] += 1
    return minutes


def test_before_the_step_nothing_is_changed():
    plain = [request for request in SOURCE.stream(1) if request.at < 300]
    assert [request for request in STEP.stream(1) if request.at < 300] == plain


def test_from_the_step_on_each_minute_has_four_of_each_of_its_requests():
    plain, stepped = by_minute(list(SOURCE.stream(1))), by_minute(list(STEP.stream(1)))
    for before, after in zip(plain[5:], stepped[5:], strict=True):
        assert after == Counter({sizes: 4 * number for sizes, number in before.items()})


def test_what_was_there_stays_where_it_was():
    assert set(SOURCE.stream(1)) <= set(STEP.stream(1))


def test_the_step_is_there_at_once():
    first = [request for request in STEP.stream(1) if 300 <= request.at < 310]
    assert len(first) == pytest.approx(80, rel=0.25)


def test_requests_come_in_order_of_time():
    instants = [request.at for request in STEP.stream(1)]
    assert instants == sorted(instants)


def test_a_seed_gives_the_same_step_and_another_seed_another():
    assert list(STEP.stream(1)) == list(STEP.stream(1))
    assert list(STEP.stream(1)) != list(STEP.stream(2))


@dataclass
class Endless:
    """A request each second; notes how far it was read."""

    read: list[float] = field(default_factory=list)

    def stream(self, seed: int) -> Iterator[Request]:  # noqa: ARG002 - no chance in it
        for at in map(float, count()):
            self.read.append(at)
            yield Request(at, 10, 10)


def test_no_more_is_read_ahead_than_a_minute():
    source = Endless()
    last = list(islice(Stepped(source, 300.0).stream(0), 2000))[-1]
    assert source.read[-1] - last.at <= 60


@pytest.mark.parametrize("case", all_cases(None), ids=lambda case: case.name)
def test_every_load_has_a_run_of_fifteen_minutes_as_judged_and_fifteen_at_four_times_that(case: Case):
    scenarios = case.scenarios
    judged = [each for each in scenarios[Purpose.JUDGE].arrivals(0) if each.at < 2 * AT]
    stepped = list(scenarios[Purpose.STEP].arrivals(0))
    assert [each for each in stepped if each.at < AT] == [each for each in judged if each.at < AT]
    assert sum(each.at >= AT for each in stepped) == 4 * sum(each.at >= AT for each in judged)


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
