"""A worker that falls silent while others are heard leaves the endpoints, and is back when it is heard again.

A machine that loses its power is called NotReady only after most of a minute, and until then every connection
that the Service leads there is lost. Nothing is decided about the worker: it stays, and keeps what it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inferfleet.values import Account, Action, Reason, SetServing, Worker

HEARD_SECONDS = 5.0
SILENT_SECONDS = 8.0
"""Three looks, the last of which was waited for: long for a side port that does nothing but answer."""


def find_silent(staying: Sequence[Worker], accounts: Sequence[Account], now: float) -> frozenset[str]:
    """Workers that were heard once, and not for long, while one in service is heard.

    Only what was heard directly proves anything (it has an instance): a Prometheus tells of some later than
    of others. Where nobody is heard it may be we who are cut off.
    """
    heard_at = {account.worker: account.at for account in accounts if account.instance}
    hears = [worker for worker in staying if worker.ready and worker.name in heard_at]
    if not any(now - heard_at[worker.name] <= HEARD_SECONDS for worker in hears):
        return frozenset()
    return frozenset(w.name for w in staying if now - heard_at.get(w.name, now) > SILENT_SECONDS)


def take_out(staying: Iterable[Worker], silent: frozenset[str]) -> tuple[Action, ...]:
    """Close the gate of those who are silent."""
    reason = Reason("Silent", f"not heard for {SILENT_SECONDS:g} s while others are")
    return tuple(
        SetServing(pod.name, pod.uid, serving=False, reason=reason)
        for worker in staying
        if worker.name in silent
        for pod in worker.pods
        if pod.serving is True
    )
