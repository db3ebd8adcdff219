"""How long a replica takes from its creation until it serves, learned from our own."""

from __future__ import annotations

from collections.abc import Sequence

from inferfleet.values import ScalingMemory, Worker

ASSUMED_SECONDS = 180.0
"""Until a start was seen: a node that is there, an image on it, weights of tens of GB from a disk."""

KEPT = 8


def watch(memory: ScalingMemory, workers: tuple[Worker, ...]) -> tuple[frozenset[str], tuple[float, ...]]:
    """Who has yet to serve for the first time, and the last starts with those that are now over.

    Only a worker that was seen before it first served counts: readiness that came back says nothing.
    """
    starting = frozenset(worker.name for worker in workers if worker.leader.serving is None)
    waiting = memory.starting | starting
    if not waiting:
        return waiting, memory.cold_starts
    served = [worker for worker in workers if worker.ready and worker.name in waiting]
    left = {worker.name for worker in workers if not worker.ready}
    took = [_seconds(worker) for worker in sorted(served, key=lambda worker: worker.name)]
    return waiting & left, (*memory.cold_starts, *filter(None, took))[-KEPT:]


def cold_start_seconds(cold_starts: Sequence[float]) -> float:
    """What to reckon with: the slower ones of the last starts (upper quartile), for half would be late."""
    if not cold_starts:
        return ASSUMED_SECONDS
    return sorted(cold_starts)[(3 * len(cold_starts)) // 4 if len(cold_starts) > 1 else 0]


def _seconds(worker: Worker) -> float:
    since = max(pod.ready_since or worker.created_at for pod in worker.pods)
    return max(0.0, since - worker.created_at)
