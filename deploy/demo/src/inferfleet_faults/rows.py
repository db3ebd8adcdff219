"""The table: a row for each thing that was done to the deployment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from inferfleet_faults.requests import Asked
from inferfleet_faults.watching import Pod, Watching

NEWS_SECONDS = 0.25
"""By when the operator has heard of a change in what is in flight: 0.05 s until the worker reads its ledger,
as much until it is asked again, and the rest for machines whose processors are taken."""
DYING_SECONDS = 0.1
"""How long after `Happened.at` a machine whose power is cut may still have answered."""


@dataclass(frozen=True)
class Happened:
    """What was done, and when.

    `victims` are the pods that had to go, `coming` counts the replicas that must come for them. `abrupt` is a
    power cut that nobody announced. `waiting` victims serve until their replacements do.
    """

    at: float
    victims: tuple[Pod, ...]
    coming: int
    remark: str = ""
    abrupt: bool = False
    waiting: bool = False


@dataclass(frozen=True)
class Row:
    """One row. Times are seconds from the signal, taken when the API server's word arrived here.

    `retried` were answered at a second attempt: nothing had come of the first. `counted` is what the operator
    counted as lost, `in_flight` the requests under way when power was cut that got no whole answer to that
    attempt: those that had a first byte are lost, the others were sent again. `unheard` are requests that
    began or ended so shortly before, or meanwhile, that the operator need not have heard.
    """

    title: str
    requests: int
    lost: int
    retried: int
    counted: int
    in_flight: int
    unheard: int
    longest_request_seconds: float
    endpoints_seconds: float | None
    asked_seconds: float | None
    ready_seconds: float | None
    on_demand_bought: int
    remark: str
    problems: tuple[str, ...]
    waiting: bool = False


def row(title: str, happened: Happened, watching: Watching, asked: Sequence[Asked], counted: int) -> Row:
    """Put together what clients, API server and operator saw."""
    new = watching.new_since(happened.at)
    ready = sorted(pod.ready_at for pod in new if pod.ready_at)[: happened.coming]
    out = watching.without_since(happened.at, frozenset(pod.name for pod in happened.victims))
    problems = Counter(f"{one.kind}: {one.result}: {problem}" for one in asked for problem in one.problems)
    return Row(
        title=title,
        requests=len(asked),
        lost=sum(one.result == "lost" for one in asked),
        retried=sum(one.result == "finished" and bool(one.problems) for one in asked),
        counted=counted,
        in_flight=sum(_was_cut(one, happened.at) for one in asked) if happened.abrupt else 0,
        unheard=sum(_is_unheard(one, happened.at) for one in asked) if happened.abrupt else 0,
        longest_request_seconds=max((one.seconds for one in asked), default=0.0),
        endpoints_seconds=out - happened.at if out else None,
        asked_seconds=new[0].seen_at - happened.at if new and happened.coming else None,
        ready_seconds=ready[-1] - happened.at if ready and len(ready) == happened.coming else None,
        on_demand_bought=sum(pod.capacity == "on-demand" for pod in new),
        remark=happened.remark,
        problems=tuple(f"{count} x {what}" for what, count in problems.most_common()),
        waiting=happened.waiting,
    )


def _was_cut(one: Asked, at: float) -> bool:
    return one.start <= at < one.end and bool(one.problems)


def _is_unheard(one: Asked, at: float) -> bool:
    return any(at - NEWS_SECONDS <= instant <= at + DYING_SECONDS for instant in (one.start, one.end))


HEADINGS = (
    "what happens",
    "requests",
    "lost",
    "retried",
    "counted",
    "longest request",
    "endpoints",
    "asked for",
    "Ready",
    "on-demand bought",
)


def markdown(rows: Sequence[Row]) -> str:
    """Return the table for people; times in seconds."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
    for one in rows:
        cells = (
            f"{one.title}; {one.remark}" if one.remark else one.title,
            one.requests,
            f"{one.lost} of {one.in_flight} in flight" if one.in_flight else one.lost,
            one.retried,
            one.counted,
            _seconds(one.longest_request_seconds),
            _endpoints(one),
            _seconds(one.asked_seconds),
            _seconds(one.ready_seconds),
            one.on_demand_bought,
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _endpoints(one: Row) -> str:
    """When the last of the victims had left the endpoints: from the signal, or from its replacement on."""
    left, ready = one.endpoints_seconds, one.ready_seconds
    if one.waiting and left is not None and ready is not None and left >= ready:
        return f"{_seconds(left - ready)} after Ready"
    return _seconds(left)


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"  # noqa: PLR2004 - digits that mean something


def write(rows: Sequence[Row], path: Path) -> None:
    """Write rows as JSON; rows of the same title are replaced, so that a table can be made in parts."""
    kept = json.loads(path.read_text()) if path.exists() else []
    titles = {one.title for one in rows}
    told = [*(old for old in kept if old["title"] not in titles), *map(asdict, rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1) + "\n")


def read(path: Path) -> list[Row]:
    """Read what `write` wrote."""
    return [Row(**{**one, "problems": tuple(one["problems"])}) for one in json.loads(path.read_text())]
