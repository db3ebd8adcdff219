"""Answers that are kept while the same values are asked about."""

from __future__ import annotations

from inferfleet.values.remembered import MOST, remembered


def test_the_same_values_are_asked_about_once_and_equal_ones_anew() -> None:
    asked: list[tuple[int, ...]] = []

    @remembered
    def total(values: tuple[int, ...]) -> int:
        asked.append(values)
        return sum(values)

    values, equal = (300, 400), tuple(range(300, 401, 100))
    assert [total(values), total(values), total(equal)] == [700, 700, 700]
    assert len(asked) == 2


def test_a_value_that_took_the_place_of_another_in_memory_is_not_taken_for_it() -> None:
    @remembered
    def first(values: tuple[int, ...]) -> int:
        return values[0]

    assert [first((number, 0)) for number in range(1000)] == list(range(1000))


def test_only_so_many_answers_are_kept() -> None:
    asked: list[int] = []

    @remembered
    def same(values: tuple[int, ...]) -> tuple[int, ...]:
        asked.append(values[0])
        return values

    many = [(number,) for number in range(MOST + 1)]
    for values in (*many, many[-1], many[0]):
        same(values)
    assert asked == [*range(MOST + 1), 0]
