"""From the old revision to the new one within its bounds, and halted when the new one does not come up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inferfleet.values import Reason, RolloutSpec, Worker

FAILURE_MEMORY_SECONDS = 1800.0
SAME_FAILURE_SECONDS = 5.0
BACKOFF_SECONDS = 10.0
BACKOFF_MOST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """Staying workers of both revisions. `target` is how many there should be; `failures` when any failed.

    `staged` is True where the old ones run another layout: then the new ones come up complete beside them
    before any of them goes, for a mixed fleet has a capacity that no plan predicted. Where the user allows no
    surge there is no room for that.
    """

    spec: RolloutSpec
    target: int
    new: tuple[Worker, ...]
    old: tuple[Worker, ...]
    failures: tuple[float, ...]
    now: float
    staged: bool = False

    @property
    def blue_green(self) -> bool:
        """True while the new replicas must be complete before an old one goes."""
        return self.staged and bool(self.old) and self.spec.max_surge.of(max(1, self.target)) > 0

    @property
    def late(self) -> Reason | None:
        """Why the newest revision does not progress: it fails, or nothing of it became Ready for too long."""
        waiting = [worker for worker in self.new if not worker.ready]
        if not waiting and not self.failures:
            return None
        hopeless = next((worker.failure for worker in waiting if worker.failure), None)
        if hopeless:
            return Reason("NewReplicasFail", f"a new replica cannot start: {hopeless.message}")
        last_ready = max((w.leader.ready_since or w.created_at for w in self.new if w.ready), default=0.0)
        began = [at for at in (*(w.created_at for w in waiting), *self.failures) if at > last_ready]
        since = max(last_ready, min(began, default=self.now))
        if not began or self.now - since <= self.spec.progress_deadline_seconds:
            return None
        said = next((worker.unschedulable for worker in waiting if worker.unschedulable), None)
        why = f": {said.message}" if said else ""
        if said and self.blue_green:
            why += "; another layout needs room beside the old one, with rollout.maxSurge 0 it rolls in place"
        return Reason(
            "ProgressDeadlineExceeded",
            f"no new replica became Ready within {self.spec.progress_deadline_seconds:g} s{why}",
        )

    @property
    def halted(self) -> bool:
        """True while old replicas must go on serving because the new ones fail."""
        return bool(self.old) and self.late is not None

    @property
    def room(self) -> int:
        """How many replicas of the new revision may be created now; without old ones, whatever is wanted."""
        if not self.old or (self.blue_green and not self.halted):
            return self.target
        surge = 0 if self.halted else self.spec.max_surge.of(self.target)
        return max(0, self.target + surge - len(self.new) - len(self.old))

    def retire(self, desired: int) -> tuple[Worker, ...]:
        """Old replicas that may go now: those that do not serve, then as many as the new ones replace."""
        if self.halted:
            return ()
        idle = [worker for worker in self.old if not worker.ready]
        if self.blue_green and sum(worker.ready for worker in self.new) < desired:
            return tuple(idle)
        serving = sorted((w for w in self.old if w.ready), key=lambda w: (w.created_at, w.name))
        ready = len(serving) + sum(worker.ready for worker in self.new)
        floor = desired - self.spec.max_unavailable.of(desired)
        if not any(worker.ready for worker in self.new):
            floor = max(floor, min(1, desired) if self.spec.max_surge.of(desired) else 0)
        return (*idle, *serving[: max(0, ready - floor)])


def record_failures(known: Sequence[float], failed: Sequence[Worker], now: float) -> tuple[float, ...]:
    """Add a failure that is seen now; the pod stays visible for a moment, so the same instant is one."""
    kept = tuple(at for at in known if at > now - FAILURE_MEMORY_SECONDS)
    if not failed or (kept and now - kept[-1] < SAME_FAILURE_SECONDS):
        return kept
    return (*kept, now)


def backoff_seconds(failures: Sequence[float], now: float) -> float:
    """How long to wait before the next try: nothing after one failure, then doubling."""
    repeated = len(failures) - 1
    if repeated < 1:
        return 0.0
    pause = min(BACKOFF_MOST_SECONDS, BACKOFF_SECONDS * 2.0 ** (repeated - 1))
    return max(0.0, failures[-1] + pause - now)
