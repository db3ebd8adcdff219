"""When autoscalers are asked to leave a worker alone, and when they may have it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import NOW, pod, worker

from inferfleet.disruption import Idle, protect
from inferfleet.values import EngineSample, Worker

BUSY = EngineSample("w", NOW, 1, 0, in_flight=1)
IDLE = EngineSample("w", NOW, 0, 0)


def planned(there: Worker, sample: EngineSample | None, idle: Idle = ()) -> list[bool]:
    actions, _ = protect((there,), {"w": sample} if sample else {}, idle, NOW)
    return [action.protect for action in actions]


@pytest.mark.parametrize(
    ("there", "sample", "idle", "expected"),
    [
        (worker(), BUSY, (), []),
        (worker(protected=False), BUSY, (("w", NOW - 500),), [True]),
        (worker(), IDLE, (), []),
        (worker(), IDLE, (("w", NOW - 59),), []),
        (worker(), IDLE, (("w", NOW - 60),), [False]),
        (worker(protected=False), IDLE, (("w", NOW - 60),), []),
        (worker(protected=False), IDLE, (), []),
        (worker(), None, (("w", NOW - 500),), []),
        (worker(protected=False), None, (("w", NOW - 500),), [True]),
        (worker(), replace(IDLE, waiting=1), (("w", NOW - 500),), []),
        (worker(ready=False), IDLE, (("w", NOW - 500),), []),
        (worker(protected=False, deleted_at=NOW), BUSY, (), []),
    ],
    ids=[
        "work in flight",
        "new work",
        "idle just now",
        "idle not long enough",
        "idle for a while",
        "idle and free already",
        "free, and idle since an operator knows not when",
        "silence",
        "silence of one that was free",
        "a queue",
        "one that starts",
        "one that goes",
    ],
)
def test_a_worker_is_protected_while_it_works_and_free_after_a_while_without_work(
    there: Worker, sample: EngineSample | None, idle: Idle, expected: list[bool]
) -> None:
    assert planned(there, sample, idle) == expected


def test_idleness_is_remembered_until_work_comes() -> None:
    _, first = protect((worker(),), {"w": IDLE}, (), NOW)
    _, later = protect((worker(),), {"w": IDLE}, first, NOW + 30)
    assert later == first == (("w", NOW),)
    assert protect((worker(),), {"w": BUSY}, later, NOW + 31)[1] == ()


def test_all_pods_of_a_replica_are_protected_alike() -> None:
    group = replace(worker(), pods=(pod(rank=0), pod(rank=1)))
    actions, _ = protect((group,), {"w": IDLE}, (("w", NOW - 90),), NOW)
    assert [(action.pod, action.protect) for action in actions] == [("w-0", False), ("w-1", False)]
