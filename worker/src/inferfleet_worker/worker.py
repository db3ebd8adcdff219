"""The worker's own state: what it counts, whether it drains, and how far its stop has come."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from inferfleet_wire import DrainRequest, DrainStatus, LaunchPlan, LostCause, NoticeKind, Phase, State
from inferfleet_worker import course
from inferfleet_worker.course import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferfleet_worker.accounts import Accounts, Totals
    from inferfleet_worker.ledger import Control
    from inferfleet_worker.notices import Watch


class Worker:
    """Knows everything and touches nothing but the gates' control word; the supervisor acts on it."""

    def __init__(
        self,
        plan: LaunchPlan,
        *,
        accounts: Accounts,
        control: Control,
        watch: Watch,
        instance: str,
        engine_version: str,
        shutdown_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.plan = plan
        self.watch = watch
        self.engine_pid = 0
        self.health_problem = "the engine has not answered yet"
        self.leader_in_flight = 0
        self.drain: DrainStatus | None = None
        self._accounts = accounts
        self._control = control
        self._instance = instance
        self._engine_version = engine_version
        self._shutdown_seconds = shutdown_seconds
        self._clock = clock
        self._was_ready = False
        self._terminating = False
        self._finished = 0
        self._answered_at = 0.0
        self._stopping_since: float | None = None
        self._cut = False

    @property
    def draining(self) -> bool:
        """Whether any drain is under way."""
        return self.drain is not None

    def report_health(self, problem: str) -> None:
        """Take over the engine's health: empty when it answered well."""
        self.health_problem = problem
        self._was_ready |= not problem

    def begin_drain(self, request: DrainRequest) -> None:
        """Start or tighten the drain. Nobody is on the way to an engine that never was ready."""
        if not self._was_ready:
            request = replace(request, settle_seconds=0.0)
        self.drain = course.begin(self.drain, request, self._clock())
        self._show_phase()

    def terminate(self) -> None:
        """The pod is to end: drain within its grace, then stop the engine."""
        self._terminating = True
        self.begin_drain(course.termination(self.plan, self._clock()))

    def advance(self) -> Step:
        """Let the time that has passed take effect; how far the stop of the engine has come."""
        self._heed_notices()
        step = self._stop_step(self._is_busy() if self.plan.serves else self.leader_in_flight > 0)
        if step.value >= Step.STOP.value and self._stopping_since is None:
            self._stopping_since = self._clock()
        self._cut |= step.value >= Step.CUT.value
        self._show_phase()
        return step

    def state(self) -> State:
        """What stands now."""
        totals = self.totals()
        return State(
            instance=self._instance,
            pid=os.getpid(),
            phase=self._control.phase,
            time=self._clock(),
            engine_ready=not self.health_problem,
            engine_version=self._engine_version,
            not_ready_reason=f"draining: {self.drain.cause}" if self.drain else self.health_problem,
            gates=totals.gates,
            in_flight=totals.in_flight,
            accepted_total=totals.accepted,
            finished_total=totals.finished,
            disconnected_total=totals.disconnected,
            refused_total=totals.refused,
            lost_total=totals.lost,
            drain=self.drain,
            notices=self.watch.notices,
        )

    def totals(self) -> Totals:
        """The counts of all gates."""
        return self._accounts.read(self._cause_of_death)

    def _cause_of_death(self, pid: int) -> LostCause:
        if self._cut:
            return LostCause.DEADLINE
        return LostCause.ENGINE_EXIT if pid == self.engine_pid else LostCause.PROCESS_EXIT

    def _stop_step(self, busy: bool) -> Step:
        if not self._terminating or self.drain is None:
            return Step.WAIT
        return course.stop_step(
            self.drain,
            self._clock(),
            busy=busy,
            shutdown_seconds=self._shutdown_seconds,
            stopping_since=self._stopping_since,
        )

    def _is_busy(self) -> bool:
        """While requests run, and as long after as a client may ask again on a connection that was kept."""
        totals, now = self.totals(), self._clock()
        if totals.in_flight.requests or totals.finished != self._finished:
            self._finished, self._answered_at = totals.finished, now
        return bool(totals.in_flight.requests) or now < self._answered_at + self.plan.kept_seconds

    def _heed_notices(self) -> None:
        """Act on the notices that the operator left unanswered; it is away, or cut off with this node."""
        now = self._clock()
        for notice in self.watch.notices:
            due = course.self_drain_at(notice, self.plan)
            if due is not None and now >= due and notice.kind is not NoticeKind.REBALANCE:
                self.begin_drain(course.self_drain(notice, self.plan))

    def _show_phase(self) -> None:
        phase = course.phase(self.drain, self._clock(), cut=self._cut)
        if self._control.phase is not phase and self._control.phase is not Phase.STOPPED:
            self._control.phase = phase
        self._control.rides_until = 0.0 if self._stopping_since else course.rides_until(self.drain)
