"""Keep autoscalers from moving a busy worker, and let them move an idle one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inferfleet.values import EngineSample, ProtectPod, Reason, Worker

IDLE_SECONDS = 60.0
"""So long without work before an autoscaler may have the node: a pause between requests is none."""

_BUSY = Reason("Busy", "work is in flight")
_IDLE = Reason("Idle", f"idle for {IDLE_SECONDS:g} s")

Idle = tuple[tuple[str, float], ...]
"""Since when each idle worker is idle."""


def protect(
    workers: Sequence[Worker], samples: Mapping[str, EngineSample], idle_since: Idle, now: float
) -> tuple[tuple[ProtectPod, ...], Idle]:
    """Mark workers with work in flight, unmark those that are known to be idle for a while.

    Silence is no evidence of idleness, and a worker that still starts would only have to start again.
    """
    known = dict(idle_since)
    idle: dict[str, float] = {}
    actions = []
    for worker in workers:
        wanted = True
        if _is_idle(worker, samples.get(worker.name)):
            since = idle[worker.name] = known.get(worker.name, now)
            wanted = worker.leader.protected and now - since < IDLE_SECONDS
        for pod in worker.pods:
            if pod.protected is not wanted and pod.deleted_at is None:
                reason = _BUSY if wanted else _IDLE
                actions.append(ProtectPod(pod.name, pod.uid, protect=wanted, reason=reason))
    return tuple(actions), tuple(sorted(idle.items()))


def _is_idle(worker: Worker, sample: EngineSample | None) -> bool:
    return worker.ready and sample is not None and not (sample.in_flight or sample.running or sample.waiting)
