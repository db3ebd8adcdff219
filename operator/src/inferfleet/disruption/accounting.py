"""Count what was lost, and what it was lost to: a request that was accepted and got no whole answer.

Each engine has an account. While it runs, its gate counts for itself; when it has ended, its last words
settle the account; when it is gone without any, what it had in flight when it was last heard is lost. The
accounts of those that lost anything stand in the status, in one write with the sums, so that what is lost
while no operator runs is counted by the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from inferfleet.values import (
    Account,
    DrainCause,
    EngineSample,
    Interruption,
    InterruptionKind,
    LastWords,
    LossCause,
    Worker,
)

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
    workers: Sequence[Worker]
    interruptions: Mapping[str, Interruption]
    last_words: Sequence[LastWords] = ()


def settle(books: Books) -> tuple[Losses, tuple[Account, ...]]:
    """Requests lost since the last pass by cause, and the accounts for the next one."""
    ended = {(words.worker, words.instance): words for words in books.last_words}
    present = {worker.name: worker for worker in books.workers}
    lost: Counter[LossCause] = Counter()
    kept: dict[str, Account] = {}
    for account in books.accounts:
        worker = present.get(account.worker)
        words = ended.get((account.worker, account.instance))
        sample = books.samples.get(account.worker) if worker else None
        if words is not None:
            lost.update(_grown(account, words.lost))
        elif worker is None or (sample is not None and sample.instance != account.instance):
            lost[account.cause if worker is None else LossCause.CRASH] += account.in_flight
        elif sample is None or sample.at <= account.at:
            kept[account.worker] = account
        else:
            lost.update(_grown(account, sample.lost))
    before = {account.worker: account for account in books.accounts}
    for name, sample in books.samples.items():
        if name in present and name not in kept and (name, sample.instance) not in ended:
            kept[name] = _open(sample)
            if name not in before or before[name].instance != sample.instance:
                lost.update(_grown(replace(kept[name], lost=()), sample.lost))
    accounts = (_due_to(kept[name], before.get(name), present[name], books) for name in sorted(kept))
    return tuple((cause, lost[cause]) for cause in LossCause if lost[cause]), tuple(accounts)


def add_losses(known: Losses, new: Losses) -> Losses:
    """The sums by cause."""
    sums = Counter(dict(known))
    sums.update(dict(new))
    return tuple((cause, sums[cause]) for cause in LossCause if sums[cause])


def _open(sample: EngineSample) -> Account:
    return Account(
        worker=sample.worker,
        instance=sample.instance,
        at=sample.at,
        in_flight=sample.in_flight,
        lost=sample.lost,
    )


def _grown(account: Account, lost: Sequence[tuple[str, float]]) -> Counter[LossCause]:
    """What the gate has counted since; one that began anew counts from nothing."""
    before = dict(account.lost)
    anew = sum(count for _, count in lost) < sum(before.values())
    grown: Counter[LossCause] = Counter()
    for name, count in lost:
        cause = GATE_CAUSES.get(name, LossCause.ERROR)
        if cause is LossCause.DEADLINE and account.cause in FOREIGN:
            cause = account.cause
        grown[cause] += int(count if anew else count - before.get(name, 0.0))
    return grown


def _due_to(account: Account, before: Account | None, worker: Worker, books: Books) -> Account:
    """The account with the cause to which a sudden end would be put down, were it to come now."""
    known = before.cause if before and before.instance == account.instance else LossCause.DELETION
    cause = _cause(known, worker, books.interruptions)
    return Account(account.worker, account.instance, account.at, account.in_flight, account.lost, cause)


def _cause(known: LossCause, worker: Worker, interruptions: Mapping[str, Interruption]) -> LossCause:
    """An interruption that was announced stays one when the node dies; a pod that just goes was deleted."""
    kinds = {item.kind for pod in worker.pods if (item := interruptions.get(pod.node or ""))}
    announced = InterruptionKind.INTERRUPTION in kinds
    if known is LossCause.INTERRUPTION or announced:
        return LossCause.INTERRUPTION
    if InterruptionKind.LOST in kinds:
        return LossCause.NODE_LOST
    if any(pod.deleted_at is not None for pod in worker.pods) and worker.drain is None:
        return LossCause.DELETION
    if worker.drain is not None and worker.drain.cause not in {DrainCause.DELETION, DrainCause.INTERRUPTION}:
        return LossCause.DEADLINE
    return known


def describe(losses: Iterable[tuple[LossCause, int]]) -> str:
    """The losses in words, with their sum."""
    parts = list(losses)
    told = ", ".join(f"{count} to {cause.value.replace('-', ' ')}" for cause, count in parts)
    return f"{sum(count for _, count in parts)} requests got no whole answer: {told}"
