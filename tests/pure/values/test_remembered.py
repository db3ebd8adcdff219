"""An answer that is kept while the same values are asked about."""

from __future__ import annotations

import pytest

from inferfleet.values.remembered import remembered


class Asked:
    """Adds two sums, and knows how often it was asked to."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, first: tuple[int, ...], second: tuple[int, ...]) -> int:
        self.times += 1
        return sum(first) - sum(second)


def test_the_same_values_are_asked_about_once_and_equal_ones_anew() -> None:
    asked = Asked()
    difference = remembered(asked)
    values, equal, none = (300, 400), tuple(range(300, 401, 100)), ()
    assert [difference(values, none), difference(values, none), asked.times] == [700, 700, 1]
    assert [difference(equal, none), asked.times] == [700, 2]


def test_each_of_the_values_and_its_place_count() -> None:
    difference = remembered(Asked())
    few, many = (1, 2), (3, 4)
    assert [difference(few, many), difference(few, few), difference(many, few)] == [-4, 0, 4]


def test_only_the_last_answer_is_kept() -> None:
    asked = Asked()
    difference = remembered(asked)
    few, many = (1, 2), (3, 4)
    assert [difference(few, many), difference(many, few), difference(few, many)] == [-4, 4, -4]
    assert asked.times == 3


def test_a_value_that_took_the_place_of_another_in_memory_is_not_taken_for_it() -> None:
    difference = remembered(Asked())
    assert [difference((number, 0, 0, 0, 0), ()) for number in range(1000)] == list(range(1000))


def test_what_failed_is_asked_again_and_costs_no_answer() -> None:
    asked = Asked()
    difference = remembered(asked)
    values, none = (1, 2), ()
    assert difference(values, none) == 3
    with pytest.raises(TypeError):
        difference(None, none)  # type: ignore[arg-type]
    assert [difference(values, none), asked.times] == [3, 2]
