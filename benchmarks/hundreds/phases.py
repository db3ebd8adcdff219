"""What was seen of a run to hundreds of replicas, and the table of it: a column for each phase."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from live.replay import Record
from live.shape import Phase, Shape
from operator_process import Reading
from pretend import table

OBJECTIVE_TTFT, OBJECTIVE_ITL = 2.5, 0.5
"""Seconds to the first token, and between tokens on the mean of a request."""


@dataclass(frozen=True)
class Look:
    """Replicas at an instant: wanted, with an engine process, in the endpoints."""

    at: float
    desired: int
    engines: int
    ready: int


@dataclass(frozen=True)
class Mark:
    """What stands where phases meet: the operator, the CPU seconds of everybody, and the last decision."""

    operator: Reading
    cpu_seconds: Mapping[str, float]
    scaling: Mapping[str, Any]


@dataclass
class Seen:
    """All that was seen of a run. `marks` has one more than there are phases."""

    began: float = 0.0
    lag: float = 0.0
    looks: list[Look] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    """When a worker was asked for its state, and how long after the time before."""


def report(shape: Shape, seen: Seen) -> None:
    """Print a column for each phase."""
    columns = [
        {"": phase.name, **column(shape, seen, index, start, phase)}
        for index, (start, phase) in enumerate(shape.starts())
    ]
    print("\n" + table([title, *(one[title] for one in columns)] for title in columns[0]))
    lost = Counter(record.lost.split(":")[0] for record in seen.records if record.lost)
    print(f"\n{len(seen.records)} requests, lost {dict(lost) or 'none'}, sent {seen.lag:.2f} s late at most,")
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")


def column(shape: Shape, seen: Seen, index: int, start: float, phase: Phase) -> dict[str, str]:
    """The figures of one phase."""
    begin, end = seen.began + start, seen.began + start + phase.seconds * shape.stretch
    mine = [record for record in seen.records if begin <= seen.began + record.at < end]
    met = [record for record in mine if record.ttft is not None and record.ttft <= OBJECTIVE_TTFT]
    paced = [record for record in mine if record.itl is not None and record.itl <= OBJECTIVE_ITL]
    looks = [look for look in seen.looks if begin <= look.at < end]
    before, after = seen.marks[index], seen.marks[index + 1]
    spent = after.operator.since(before.operator)
    cpu = {name: after.cpu_seconds[name] - before.cpu_seconds.get(name, 0) for name in after.cpu_seconds}
    others = sum(cpu.values()) - sum(cpu[name] for name in ("kube-apiserver", "etcd", "engines", "clients"))
    gaps = [gap for at, gap in seen.gaps if begin <= at < end]
    ttft = [record.ttft for record in mine if record.ttft is not None]
    said = after.scaling

    def share(value: float) -> str:
        return f"{100 * value / spent.seconds:.0f}"

    return {
        "seconds": f"{end - begin:.0f}",
        "load, in replicas' worth": f"{phase.begin:g}" + f" to {phase.end:g}" * (phase.begin != phase.end),
        "requests": str(len(mine)),
        "lost": str(sum(bool(record.lost) for record in mine)),
        f"TTFT within {OBJECTIVE_TTFT:g} s": f"{len(met) / len(mine):.1%}",
        f"ITL within {OBJECTIVE_ITL:g} s": f"{len(paced) / len(mine):.1%}",
        "TTFT p50, p95, s": ranked(ttft, 0.5, 0.95, digits=2),
        "replicas wanted, at the end (most)": f"{looks[-1].desired} ({max(look.desired for look in looks)})",
        "replicas ready, at the end (most)": f"{looks[-1].ready} ({max(look.ready for look in looks)})",
        "engine processes, most": str(max(look.engines for look in looks)),
        "to the most wanted, to as many ready, s": reached(looks, begin),
        "at the end: laws": ", ".join(f"{law['law']} {law['replicas']}" for law in said.get("laws", ())),
        "at the end: capacity of a replica, tokens/s": f"{said.get('capacityTokensPerSecond', 0):.2f}",
        "operator: CPU, % of a core": share(spent.cpu_seconds),
        "operator: RSS, MiB": f"{after.operator.rss_mib:.0f}",
        "operator: passes/s": f"{spent.passes / spent.seconds:.1f}",
        "operator: ms per pass": f"{spent.ms_per_pass:.1f}",
        "between looks at a worker: p50, p95, most, s": ranked(gaps, 0.5, 0.95, 1, digits=1),
        "API server and etcd: CPU, %": share(cpu["kube-apiserver"] + cpu["etcd"]),
        "scheduler, controllers, kwok: CPU, %": share(others),
        "engines: CPU, %": share(cpu["engines"]),
        "clients, kubelets, side ports: CPU, %": share(cpu["clients"]),
    }


def ranked(values: Sequence[float], *shares: float, digits: int) -> str:
    """The values below which these shares of them are."""
    ordered = sorted(values)
    return ", ".join(f"{ordered[int(share * (len(ordered) - 1))]:.{digits}f}" for share in shares)


def reached(looks: Sequence[Look], begin: float) -> str:
    """Seconds until the most that a phase wanted was wanted, and until as many were ready."""
    most = max(look.desired for look in looks)

    def first(times: Iterator[float]) -> str:
        at = next(times, None)
        return "not yet" if at is None else f"{at - begin:.1f}"

    wanted = first(look.at for look in looks if look.desired == most)
    return f"{wanted}, {first(look.at for look in looks if look.ready >= most)}"
