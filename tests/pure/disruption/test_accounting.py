"""Which requests are lost, to what, and that each is counted once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import NOW, worker

from inferfleet.disruption import Books, add_losses, describe, settle
from inferfleet.values import (
    Account,
    Drain,
    DrainCause,
    EngineSample,
    Heard,
    Interruption,
    InterruptionKind,
    LastWords,
    LossCause,
    Worker,
)

KIND = InterruptionKind
SAMPLE = EngineSample("w", NOW, 2, 0, in_flight=2, lost=(("error", 1.0),), instance="a")


def books(
    accounts: tuple[Account, ...] = (),
    sample: EngineSample | None = None,
    there: Worker | None = None,
    going: InterruptionKind | None = None,
    *,
    words: LastWords | None = None,
    heard: Heard | None = None,
) -> Books:
    fates = {"node-w": Interruption(going, "node-w", NOW, None, "test")} if going else {}
    return Books(
        accounts,
        {"w": sample} if sample else {},
        (there,) if there else (),
        fates,
        (words,) if words else (),
        (heard,) if heard else (),
    )


def opened(there: Worker | None = None, going: InterruptionKind | None = None) -> tuple[Account, ...]:
    """The accounts after a first look at a worker with two requests in flight."""
    lost, accounts = settle(books((), SAMPLE, there or worker(), going))
    assert lost == ((LossCause.ERROR, 1),), "what it had lost before it was first heard"
    return accounts


def test_what_was_counted_before_a_restart_of_the_operator_is_not_counted_again() -> None:
    (known,) = opened()
    restored = (replace(known, at=0.0, in_flight=0, cause=LossCause.DELETION),)
    assert settle(books(restored, SAMPLE, worker()))[0] == ()
    meanwhile = replace(SAMPLE, lost=(("error", 4.0),))
    assert settle(books(restored, meanwhile, worker()))[0] == ((LossCause.ERROR, 3),)


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        ((("error", 1.0),), ()),
        ((("error", 3.0),), ((LossCause.ERROR, 2),)),
        ((("engine-exit", 2.0), ("error", 1.0)), ((LossCause.CRASH, 2),)),
        ((("process-exit", 1.0), ("error", 1.0)), ((LossCause.CRASH, 1),)),
        ((("deadline", 2.0), ("error", 2.0)), ((LossCause.ERROR, 1), (LossCause.DELETION, 2))),
        ((("meteor", 1.0), ("error", 1.0)), ((LossCause.ERROR, 1),)),
    ],
    ids=["nothing new", "server errors", "its engine", "one of its processes", "its deadline", "unknown"],
)
def test_a_worker_that_runs_counts_for_itself(
    counted: tuple[tuple[str, float], ...], expected: tuple[tuple[LossCause, int], ...]
) -> None:
    later = replace(SAMPLE, at=NOW + 2, lost=counted)
    lost, accounts = settle(books(opened(), later, worker()))
    assert dict(lost) == dict(expected)
    assert settle(books(accounts, later, worker()))[0] == (), "and is counted once"


@pytest.mark.parametrize(
    ("there", "going", "expected"),
    [
        (worker(), KIND.INTERRUPTION, LossCause.INTERRUPTION),
        (worker(), KIND.LOST, LossCause.NODE_LOST),
        (worker(drain=Drain(DrainCause.SCALE_DOWN, NOW, NOW + 300)), None, LossCause.DEADLINE),
        (worker(drain=Drain(DrainCause.ROLLOUT, NOW, NOW + 300)), None, LossCause.DEADLINE),
        (worker(drain=Drain(DrainCause.DELETION, NOW, NOW + 300)), None, LossCause.DELETION),
        (worker(deleted_at=NOW + 30), None, LossCause.DELETION),
        (worker(), None, LossCause.DELETION),
    ],
    ids=[
        "interruption",
        "a dead node",
        "scale-down",
        "rollout",
        "the deployment goes",
        "a deleted pod",
        "a pod that vanishes",
    ],
)
def test_a_worker_that_is_gone_took_along_what_it_had_in_flight(
    there: Worker, going: InterruptionKind | None, expected: LossCause
) -> None:
    accounts = opened(there, going)
    assert settle(books(accounts, None, there))[0] == (), "one that is only silent took nothing"
    lost, left = settle(books(accounts, SAMPLE))
    assert lost == ((expected, 2),)
    assert left == ()


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (Heard("w", "a", NOW + 1, 3), 3),
        (Heard("w", "a", NOW + 1, 0), 0),
        (Heard("w", "a", NOW - 1, 3), 2),
        (Heard("w", "b", NOW + 1, 3), 2),
    ],
    ids=["more", "nothing any more", "before the last look", "of another engine"],
)
def test_what_was_heard_since_the_last_look_is_what_a_dead_machine_took_along(
    heard: Heard, expected: int
) -> None:
    lost, _ = settle(books(opened(), heard=heard))
    assert sum(count for _, count in lost) == expected, "heard when its pod was gone already"
    _, accounts = settle(books(opened(), None, worker(), heard=heard))
    lost, _ = settle(books(accounts))
    assert sum(count for _, count in lost) == expected, "heard while it was silent, and forgotten since"


def test_an_interruption_that_was_announced_stays_the_cause_when_the_node_dies() -> None:
    _, accounts = settle(books(opened(going=KIND.INTERRUPTION), None, worker(), KIND.LOST))
    assert settle(books(accounts))[0] == ((LossCause.INTERRUPTION, 2),)


@pytest.mark.parametrize("there", [None, worker()], ids=["with its pod", "and was started again"])
def test_the_last_words_of_an_engine_settle_its_account_exactly_and_once(there: Worker | None) -> None:
    words = LastWords("w", "a", (("engine-exit", 1.0), ("error", 1.0)))
    lost, left = settle(books(opened(), SAMPLE, there, words=words))
    assert lost == ((LossCause.CRASH, 1),), "of two in flight one was finished"
    assert left == ()
    assert settle(books(left, SAMPLE, there, words=words))[0] == ()
    anew = replace(SAMPLE, at=NOW + 9, instance="b", lost=(), in_flight=0)
    assert settle(books(left, anew, worker(), words=words))[0] == ()


def test_what_is_cut_at_the_deadline_of_an_interruption_is_lost_to_the_interruption() -> None:
    words = LastWords("w", "a", (("deadline", 2.0), ("error", 1.0)))
    accounts = opened(going=KIND.INTERRUPTION)
    assert settle(books(accounts, words=words))[0] == ((LossCause.INTERRUPTION, 2),)
    scaled = opened(worker(drain=Drain(DrainCause.SCALE_DOWN, NOW, NOW + 300)))
    assert settle(books(scaled, words=words))[0] == ((LossCause.DEADLINE, 2),)


def test_an_engine_that_began_anew_without_last_words_has_crashed() -> None:
    anew = replace(SAMPLE, at=NOW + 9, instance="b", lost=())
    assert settle(books(opened(), anew, worker()))[0] == ((LossCause.CRASH, 2),)


def test_losses_add_up_and_are_told_in_words() -> None:
    known = ((LossCause.CRASH, 1),)
    both = add_losses(known, ((LossCause.NODE_LOST, 2), (LossCause.CRASH, 1)))
    assert dict(both) == {LossCause.CRASH: 2, LossCause.NODE_LOST: 2}
    assert describe(both) == "4 requests got no whole answer: 2 to node lost, 2 to crash"


LOOKS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=12
)


@given(LOOKS)
def test_however_it_is_looked_at_no_loss_is_counted_twice(looks: list[tuple[int, int, bool, bool]]) -> None:
    accounts: tuple[Account, ...] = ()
    truth, counted, at = 0, 0, NOW
    for grown, in_flight, heard, again in looks:
        at += 1
        truth += grown
        seen = EngineSample("w", at, 0, 0, in_flight=in_flight, lost=(("error", float(truth)),), instance="a")
        sample = seen if heard or not accounts else None
        for _ in range(1 + again):
            lost, accounts = settle(books(accounts, sample, worker()))
            counted += sum(count for _, count in lost)
        assert counted <= truth
    words = LastWords("w", "a", (("error", float(truth)),))
    lost, accounts = settle(books(accounts, None, None, words=words))
    assert counted + sum(count for _, count in lost) == truth
    assert accounts == ()
