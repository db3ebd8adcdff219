"""Count what was lost: a request that was accepted and got no whole answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from inferfleet.values import EngineSample, Worker


def count_lost(
    before: Sequence[EngineSample], after: Mapping[str, EngineSample], workers: Iterable[Worker]
) -> int:
    """Requests lost since the last pass.

    A worker that is there counts for itself. One that is gone took with it what it had in flight when it was
    last heard: once the samples `before` of the last pass are replaced, it is not counted again.
    """
    newest = {sample.worker: sample for sample in sorted(before, key=lambda sample: sample.at)}
    present = {worker.name for worker in workers}
    lost = 0
    for name, earlier in newest.items():
        later = after.get(name)
        if name not in present:
            lost += earlier.in_flight
        elif later is not None and later.at > earlier.at:
            grown = later.lost_total - earlier.lost_total
            lost += int(grown if grown >= 0 else later.lost_total)
    return lost
