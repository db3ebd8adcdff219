"""What a run came to, and the table that sets runs side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet import Look, reaction, replica_seconds
from shape import Shape


@dataclass(frozen=True)
class Objectives:
    """Upper bounds in seconds."""

    ttft: float
    itl: float

    def met_by(self, record: Mapping[str, Any]) -> bool:
        """Whether a request was answered whole, its first token and its mean pace within the bounds."""
        return not record["lost"] and record["ttft"] <= self.ttft and record["itl"] <= self.itl


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; NaN of nothing."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else math.nan


def outcome(
    shape: Shape,
    objectives: Objectives,
    records: Sequence[Mapping[str, Any]],
    looks: Sequence[Look],
    began: float,
) -> dict[str, Any]:
    """The figures of one run. Replica-seconds are counted to the end of the last phase."""
    answered = [record for record in records if not record["lost"]]
    within: dict[str, Any] = {}
    reactions: dict[str, Any] = {}
    for start, phase in shape.starts():
        end = start + phase.seconds * shape.stretch
        mine = [record for record in records if start <= record["at"] < end]
        within[phase.name] = round(sum(map(objectives.met_by, mine)) / len(mine), 4) if mine else None
        if phase.rises:
            asked, ready = reaction(looks, began + start, began + end + 120)
            reactions[phase.name] = {"asked": asked, "ready": ready}
    end = began + shape.seconds
    return {
        "requests": len(records),
        "lost": len(records) - len(answered),
        "slo_attainment": round(sum(map(objectives.met_by, records)) / max(1, len(records)), 4),
        "ttft_within": round(sum(r["ttft"] <= objectives.ttft for r in answered) / max(1, len(records)), 4),
        "itl_within": round(sum(r["itl"] <= objectives.itl for r in answered) / max(1, len(records)), 4),
        "ttft_p50": percentile([record["ttft"] for record in answered], 0.5),
        "ttft_p95": percentile([record["ttft"] for record in answered], 0.95),
        "itl_p50": percentile([record["itl"] for record in answered], 0.5),
        "itl_p95": percentile([record["itl"] for record in answered], 0.95),
        "replica_seconds": round(replica_seconds(looks, began, end), 1),
        "most_replicas": max((look.staying for look in looks if began <= look.at <= end), default=0),
        "attainment_by_phase": within,
        "reactions": reactions,
    }


ROWS = (
    ("requests", "requests", "d"),
    ("lost", "lost", "d"),
    ("SLO attainment", "slo_attainment", ".1%"),
    ("of it TTFT within", "ttft_within", ".1%"),
    ("of it ITL within", "itl_within", ".1%"),
    ("TTFT p50, s", "ttft_p50", ".3f"),
    ("TTFT p95, s", "ttft_p95", ".3f"),
    ("ITL p50, s", "itl_p50", ".4f"),
    ("ITL p95, s", "itl_p95", ".4f"),
    ("replica-seconds", "replica_seconds", ".0f"),
    ("most replicas", "most_replicas", "d"),
)


def table(outcomes: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table, a column for each run."""
    rows = [["", *outcomes], ["---"] * (len(outcomes) + 1)]
    rows += [[title, *(format(one[key], form) for one in outcomes.values())] for title, key, form in ROWS]
    first = next(iter(outcomes.values()))
    for phase in first["attainment_by_phase"]:
        values = (one["attainment_by_phase"][phase] for one in outcomes.values())
        rows.append([f"attained in {phase}", *("-" if v is None else f"{v:.1%}" for v in values)])
    for phase, seen in first["reactions"].items():
        for what in seen:
            values = (one["reactions"].get(phase, {}).get(what) for one in outcomes.values())
            rows.append(
                [f"{phase} to replica {what}, s", *("never" if v is None else f"{v:.1f}" for v in values)]
            )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
