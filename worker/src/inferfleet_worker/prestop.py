"""The container's preStop hook: the same drain, when no operator is there to ask for it."""

from __future__ import annotations

import time
import urllib.request
from dataclasses import replace

from inferfleet_wire import DRAIN_PATH, STATE_PATH, LaunchPlan, State, authorization
from inferfleet_worker import course

POLL_SECONDS = 0.2
ANSWER_SECONDS = 5.0


def prestop(plan: LaunchPlan) -> int:
    """Return once the worker is drained, its time is over, or it is gone: always 0, nobody can act on more.

    The kubelet counts the hook's time towards the pod's grace, so the deadline is set here, at its start;
    the SIGTERM that follows cannot loosen it.
    """
    request = course.termination(plan, time.time())
    try:
        state = _ask(plan, DRAIN_PATH, request.to_json())
        while not state.drained and _left(state) > 0:
            time.sleep(POLL_SECONDS)
            state = _ask(plan, STATE_PATH)
    except OSError as error:
        print(f"the worker does not answer: {error}")
        return 0
    print(replace(state, notices=()).to_json())
    return 0


def _left(state: State) -> float:
    """Seconds to the deadline; the drain that this hook asked for always has one."""
    deadline = state.drain.deadline if state.drain else None
    return 0.0 if deadline is None else deadline - time.time()


def _ask(plan: LaunchPlan, path: str, body: str | None = None) -> State:
    """Talk to this pod's own side port, past any proxy that the environment names."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if body is None else body.encode()
    url = f"http://localhost:{plan.side_port}{path}"
    request = urllib.request.Request(url, data, authorization(plan.drain_token))
    with opener.open(request, timeout=ANSWER_SECONDS) as answer:
        return State.from_json(answer.read())
