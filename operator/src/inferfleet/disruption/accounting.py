"""Count what was lost, and what it was lost to: a request that was accepted and got no whole answer.

Each engine has an account. While it runs, its gate counts for itself; when it has ended, its last words
settle the account; when it is gone without any, what it had in flight when it was last heard is lost. The
accounts of those that lost anything stand in the status, in one write with the sums, so that what is lost
while no operator runs is counted by the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from inferfleet.values import (
    Account,
    DrainCause,
    EngineSample,
    Heard,
    Interruption,
    InterruptionKind,
    LastWords,
    LossCause,
    Worker,
)
from inferfleet.values.frozen import replace
from inferfleet.values.remembered import remembered

GATE_CAUSES: Mapping[str, LossCause] = {
    "deadline": LossCause.DEADLINE,
    "engine-exit": LossCause.CRASH,
    "process-exit": LossCause.CRASH,
    "error": LossCause.ERROR,
}
"""What the gate calls the causes that it can tell apart."""

FOREIGN = frozenset({LossCause.INTERRUPTION, LossCause.NODE_LOST, LossCause.DELETION})
"""Ends that we did not choose: a deadline that they set is theirs."""

Losses = tuple[tuple[LossCause, int], ...]


@dataclass(frozen=True, slots=True)
class Books:
    """What accounts are kept from. `last_words` are of engines that ended, of workers present and gone."""

    accounts: Sequence[Account]
    samples: Mapping[str, EngineSample]
    workers: tuple[Worker, ...]
    interruptions: Mapping[str, Interruption]
    last_words: Sequence[LastWords] = ()
    heard: Sequence[Heard] = ()


def settle(books: Books) -> tuple[Losses, tuple[Account, ...]]:
    """Requests lost since the last pass by cause, and the accounts for the next one."""
    ended = {(words.worker, words.instance): words for words in books.last_words}
    heard = {(news.worker, news.instance): news for news in books.heard}
    present = _by_name(books.workers)
    lost: Counter[LossCause] = Counter()
    running: dict[str, Account] = {}
    for one in books.accounts:
        engine = one.worker, one.instance
        account, words = _heed(one, heard.get(engine)), ended.get(engine)
        if words is not None:
            _count(lost, account, words.lost)
        elif account.worker not in present:
            lost[account.cause] += account.in_flight
        else:
            running[account.worker] = account
    kept: list[Account] = []
    for name, worker in present.items():
        known, sample = running.get(name), books.samples.get(name)
        if known is not None and sample is not None and sample.instance != known.instance:
            lost[LossCause.CRASH] += known.in_flight
            known = None
        is_news = sample is not None and (known is None or sample.at > known.at)
        if sample is not None and is_news and (name, sample.instance) not in ended:
            known = known or Account(name, sample.instance, sample.at, sample.in_flight)
            _count(lost, known, sample.lost)
            known = Account(name, sample.instance, sample.at, sample.in_flight, sample.lost, known.cause)
        if known is not None:
            kept.append(_due_to(known, worker, books.interruptions))
    return tuple((cause, lost[cause]) for cause in LossCause if lost[cause]), tuple(kept)


@remembered
def _by_name(workers: tuple[Worker, ...]) -> Mapping[str, Worker]:
    return {worker.name: worker for worker in sorted(workers, key=attrgetter("name"))}


def _heed(account: Account, news: Heard | None) -> Account:
    """The account with what was in flight when its engine was last heard, which is later than a look."""
    if news is None or news.at <= account.at or news.in_flight == account.in_flight:
        return account
    return replace(account, in_flight=news.in_flight)


def add_losses(known: Losses, new: Losses) -> Losses:
    """The sums by cause."""
    sums = Counter(dict(known))
    sums.update(dict(new))
    return tuple((cause, sums[cause]) for cause in LossCause if sums[cause])


def _count(lost: Counter[LossCause], account: Account, said: Sequence[tuple[str, float]]) -> None:
    """Add what the gate has counted since; one that began anew counts from nothing."""
    if said == account.lost:
        return
    before = dict(account.lost)
    anew = sum(count for _, count in said) < sum(before.values())
    for name, count in said:
        cause = GATE_CAUSES.get(name, LossCause.ERROR)
        if cause is LossCause.DEADLINE and account.cause in FOREIGN:
            cause = account.cause
        lost[cause] += int(count if anew else count - before.get(name, 0.0))


def _due_to(account: Account, worker: Worker, interruptions: Mapping[str, Interruption]) -> Account:
    """The account with the cause to which a sudden end would be put down, were it to come now."""
    if not (interruptions or worker.leaving):
        return account
    cause = _cause(account.cause, worker, interruptions)
    return account if cause is account.cause else replace(account, cause=cause)


def _cause(known: LossCause, worker: Worker, interruptions: Mapping[str, Interruption]) -> LossCause:
    """An interruption that was announced stays one when the node dies; a pod that just goes was deleted."""
    kinds = [item.kind for pod in worker.pods if (item := interruptions.get(pod.node or ""))]
    if known is LossCause.INTERRUPTION or InterruptionKind.INTERRUPTION in kinds:
        return LossCause.INTERRUPTION
    if InterruptionKind.LOST in kinds:
        return LossCause.NODE_LOST
    if worker.drain is None:
        return LossCause.DELETION if worker.leaving else known
    by_wish = worker.drain.cause not in {DrainCause.DELETION, DrainCause.INTERRUPTION}
    return LossCause.DEADLINE if by_wish else known


def describe(losses: Iterable[tuple[LossCause, int]]) -> str:
    """The losses in words, with their sum."""
    parts = list(losses)
    told = ", ".join(f"{count} to {cause.value.replace('-', ' ')}" for cause, count in parts)
    return f"{sum(count for _, count in parts)} requests got no whole answer: {told}"
