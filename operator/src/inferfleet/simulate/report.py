"""What `inferfleet simulate` says of its runs: one object for each policy, and a page with plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean, stdev
from typing import Any, Final

from inferfleet.simulate.plot import COLOURS, Line, plot
from inferfleet.simulate.run import Outcome

# two-sided 95 % quantiles of Student's t by degrees of freedom
_T95: Final = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
_T95_MANY: Final = 1.96

_STYLE: Final = (
    "body{font-family:system-ui;max-width:960px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .7em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "figure{margin:1.5em 0}figcaption{font-weight:600}svg{width:100%}b{font-size:1.4em;line-height:0}"
)


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of one policy, one for each seed, and the optimum's cost for the same seeds."""

    policy: str
    outcomes: tuple[Outcome, ...]
    optimum_dollars: Mapping[int, float]

    def mean(self, name: str) -> float:
        """The mean over the seeds of a field of the outcome."""
        return fmean(getattr(outcome, name) for outcome in self.outcomes)

    @property
    def cost_over_optimum(self) -> float | None:
        """Cost over the optimum's for the same seed, its mean; None where the optimum was not sought."""
        ratios = [
            outcome.cost_dollars / best
            for outcome in self.outcomes
            if (best := self.optimum_dollars.get(outcome.seed))
        ]
        return fmean(ratios) if ratios else None


def document(runs: Runs) -> dict[str, Any]:
    """One policy as JSON; numbers are means over the seeds, `interval95` is around the mean."""
    ratio = runs.cost_over_optimum
    return {
        "policy": runs.policy,
        "seeds": len(runs.outcomes),
        "slo_attainment": round(runs.mean("slo_attainment"), 6),
        "slo_attainment_interval95": interval([each.slo_attainment for each in runs.outcomes]),
        "cost_dollars": round(runs.mean("cost_dollars"), 4),
        "cost_dollars_interval95": interval([each.cost_dollars for each in runs.outcomes]),
        "gpu_hours": round(runs.mean("gpu_hours"), 4),
        "cost_over_optimum": None if ratio is None else round(ratio, 4),
        "requests": round(runs.mean("requests"), 1),
        "lost": round(runs.mean("lost"), 2),
        "unanswered": round(runs.mean("in_flight"), 2),
        "scale_events": round(runs.mean("scale_events"), 1),
        "goodput_per_second": round(runs.mean("goodput"), 4),
        "ttft_p50_seconds": round(runs.mean("ttft_p50"), 4),
        "ttft_p99_seconds": round(runs.mean("ttft_p99"), 4),
        "itl_p50_seconds": round(runs.mean("itl_p50"), 5),
        "itl_p99_seconds": round(runs.mean("itl_p99"), 5),
    }


def interval(values: Sequence[float]) -> list[float] | None:
    """The 95 % interval of the mean by Student's t; None of a single value."""
    if len(values) < 2:  # noqa: PLR2004 - one value has no spread
        return None
    freedom = len(values) - 1
    quantile = _T95[freedom - 1] if freedom <= len(_T95) else _T95_MANY
    middle, half = fmean(values), quantile * stdev(values) / len(values) ** 0.5
    return [round(middle - half, 6), round(middle + half, 6)]


ROWS: Final = (
    ("policy", "policy", "{}"),
    ("SLO attainment", "slo_attainment", "{:.2%}"),
    ("cost $", "cost_dollars", "{:.2f}"),
    ("GPU hours", "gpu_hours", "{:.1f}"),
    ("x optimum", "cost_over_optimum", "{:.2f}"),
    ("requests", "requests", "{:.0f}"),
    ("lost", "lost", "{:g}"),
    ("unanswered", "unanswered", "{:g}"),
    ("scale events", "scale_events", "{:g}"),
    ("TTFT p99 s", "ttft_p99_seconds", "{:.2f}"),
    ("ITL p99 ms", "itl_p99_seconds", "{:.1f}"),
)
"""Columns of the table: heading, key of the document, form."""


def cells(runs: Runs) -> list[str]:
    """One row of the table."""
    found = document(runs)
    found["itl_p99_seconds"] *= 1e3
    return ["-" if found[key] is None else form.format(found[key]) for _, key, form in ROWS]


def page(title: str, facts: Sequence[str], everything: Sequence[Runs]) -> str:
    """A self-contained page: the table, and the course of the first seed of each policy."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading, _, _ in ROWS)
    colours = {runs.policy: COLOURS[index % len(COLOURS)] for index, runs in enumerate(everything)}
    rows = [
        f'<tr><td><b style="color:{colours[runs.policy]}">&#8226;</b> '
        + "</td><td>".join(map(escape, cells(runs)))
        + "</td></tr>"
        for runs in everything
    ]
    plots = [_course(everything, colours, *row) for row in _PLOTS]
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{_STYLE}</style><h1>{escape(title)}</h1>",
            *(f"<p>{escape(fact)}</p>" for fact in facts),
            f"<table><tr>{head}</tr>{''.join(rows)}</table>",
            _demand(everything),
            *plots,
            "</html>\n",
        ]
    )


_PLOTS: Final = (
    ("Replicas in service (line) and asked for (dashes)", "replicas", ("ready", "desired")),
    ("Requests that wait", "most in each span", ("most_queue",)),
    (
        "Time to first token: median (dashes) and at the objectives' percentile",
        "s",
        ("ttft_tail", "ttft_p50"),
    ),
    ("Inter-token latency: median (dashes) and at the objectives' percentile", "s", ("itl_tail", "itl_p50")),
    ("Price of what is held", "$/h", ("dollars",)),
)


def _course(
    everything: Sequence[Runs], colours: Mapping[str, str], title: str, unit: str, names: Sequence[str]
) -> str:
    lines = [
        Line(
            f"{runs.policy} {name}",
            [(each.start, getattr(each, name)) for each in runs.outcomes[0].bins],
            colours[runs.policy],
            dashed=index > 0,
        )
        for runs in everything
        for index, name in enumerate(names)
    ]
    return plot(title, unit, lines)


def _demand(everything: Sequence[Runs]) -> str:
    first = everything[0].outcomes[0]
    points = [(each.start, each.arrivals / first.bin_seconds) for each in first.bins]
    return plot("Demand", "requests/s", [Line("arrivals", points, "#333")])
