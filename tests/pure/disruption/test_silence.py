"""Who is not heard while others are: out of the endpoints, and back when heard again."""

from __future__ import annotations

import pytest
from scenes import NOW, worker

from inferfleet.disruption import find_silent, put_into_service, take_out
from inferfleet.values import Account


def heard(**seconds_ago: float) -> tuple[Account, ...]:
    return tuple(Account(name, f"instance-{name}", NOW - ago, 0) for name, ago in seconds_ago.items())


@pytest.mark.parametrize(
    ("accounts", "silent"),
    [
        (heard(a=2, b=2), set()),
        (heard(a=9, b=2), {"a"}),
        (heard(a=7, b=2), set()),
        (heard(a=9, b=9), set()),
        (heard(b=2), set()),
        ((Account("a", "", NOW - 9, 0), *heard(b=2)), set()),
        ((), set()),
    ],
    ids=[
        "both are heard",
        "one is not",
        "not for long yet",
        "nobody is: it may be us",
        "never heard so far",
        "heard through a Prometheus only",
        "after a restart of the operator",
    ],
)
def test_silent_is_who_is_not_heard_for_long_while_another_one_is(
    accounts: tuple[Account, ...], silent: set[str]
):
    assert find_silent((worker("a"), worker("b")), accounts, NOW) == silent


def test_one_that_is_not_in_service_is_no_witness():
    staying = (worker("a"), worker("b", ready=False))
    assert find_silent(staying, heard(a=9, b=2), NOW) == frozenset()


def test_the_silent_leave_the_endpoints_once_and_are_back_when_heard():
    silent = frozenset({"a"})
    (out,) = take_out((worker("a"), worker("b")), silent)
    assert (out.pod, out.serving, out.reason.code) == ("a-0", False, "Silent")
    quiet = worker("a", serving=False, ready=False)
    assert take_out((quiet,), silent) == ()
    assert put_into_service((quiet,), silent) == ()
    (back,) = put_into_service((quiet,))
    assert (back.pod, back.serving) == ("a-0", True)
