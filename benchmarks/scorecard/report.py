"""The scorecard as Markdown, JSON and one HTML page with a plot of cost against attainment for each case."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from math import log10
from typing import Any

from cases import Case
from judge import OPTIMUM, OURS, TARGET, Range, Verdict

Card = Sequence[tuple[Case, Sequence[Verdict]]]

HEADS = (
    *("policy", "attained %", "cost $", "cost / optimum", "GPU-hours", "goodput req/s", "lost", "scalings"),
    *("s over after 4x", "attained % after 4x"),
)


def span(figure: Range, digits: int = 2) -> str:
    """Mean, and lowest to highest seed where they differ."""
    middle = f"{figure.mean:.{digits}f}"
    if f"{figure.low:.{digits}f}" == f"{figure.high:.{digits}f}":
        return middle
    return f"{middle} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def percent(share: Range, digits: int = 2) -> str:
    """A share in percent."""
    return span(Range(tuple(100 * value for value in share.values)), digits)


def label(verdict: Verdict) -> str:
    """Name, and which target."""
    told = [verdict.kind] if verdict.kind else []
    if verdict.target is not None:
        told.append(f"{verdict.target:g}")
    if verdict.floor > 1:
        told.append(f"at least {verdict.floor}")
    return f"{verdict.policy} ({', '.join(told)})" if told else verdict.policy


def row(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def markdown(card: Card) -> str:
    """One table a case, those that attain first, by cost."""
    parts = []
    for case, verdicts in card:
        rows = [row(HEADS), "|" + "---|" * len(HEADS)]
        for verdict in ranked(verdicts):
            after = verdict.after_step
            cells = [
                label(verdict) if verdict.attains(TARGET) else f"*{label(verdict)}*",
                percent(verdict.attainment),
                span(verdict.cost_dollars),
                span(verdict.over_optimum),
                span(verdict.gpu_hours),
                span(verdict.goodput),
                span(verdict.lost, 0),
                span(verdict.scale_events, 0),
                span(after.seconds_over, 0) if after else "",
                percent(after.attainment) if after else "",
            ]
            rows.append(row(cells))
        title = f"### {case.name}\n\n{case.says}. {case.service.model} on {case.service.gpu}, "
        title += (
            f"first token within {case.service.ttft_seconds:g} s and {1000 * case.service.itl_seconds:g} ms "
        )
        title += f"between tokens; {verdicts[0].requests} requests. {summary(verdicts)}\n\n"
        parts.append(title + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def ranked(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that attain by cost, then the rest by attainment."""
    return sorted(
        verdicts,
        key=lambda v: (0, v.over_optimum.mean, 0.0) if v.attains(TARGET) else (1, 0.0, -v.attainment.mean),
    )


def summary(verdicts: Sequence[Verdict]) -> str:
    """Ours beside the cheapest peer that attains."""
    ours = [
        f"{label(v)} {100 * v.attainment.mean:.2f} % at {v.over_optimum.mean:.2f} x the optimum's cost"
        for v in verdicts
        if v.policy == OURS
    ]
    said = ", ".join(ours)
    peers = [v for v in verdicts if v.policy not in {OURS, OPTIMUM} and v.attains(TARGET)]
    if not peers:
        return f"{said}; no peer law attains {100 * TARGET:g} %."
    best = min(peers, key=lambda v: v.over_optimum.mean)
    return (
        f"{said}; the cheapest peer at {100 * TARGET:g} %: {label(best)} at {best.over_optimum.mean:.2f} x."
    )


def as_json(card: Card, meta: Mapping[str, Any]) -> str:
    """Everything in the tables, for machines."""
    cases = [
        {
            "case": case.name,
            "says": case.says,
            "requests": verdicts[0].requests,
            "verdicts": [
                {
                    "policy": v.policy,
                    "kind": v.kind,
                    "target": v.target,
                    "min_replicas": v.floor,
                    "attains": v.attains(TARGET),
                    "slo_attainment": v.attainment.values,
                    "cost_dollars": v.cost_dollars.values,
                    "cost_over_optimum": v.over_optimum.values,
                    "gpu_hours": v.gpu_hours.values,
                    "goodput_requests_per_second": v.goodput.values,
                    "lost": v.lost.values,
                    "scale_events": v.scale_events.values,
                    "seconds_over_after_step": v.after_step and v.after_step.seconds_over.values,
                    "slo_attainment_after_step": v.after_step and v.after_step.attainment.values,
                }
                for v in ranked(verdicts)
            ],
        }
        for case, verdicts in card
    ]
    return json.dumps({**meta, "cases": cases}, indent=1) + "\n"


WIDTH, HEIGHT, MARGIN = 760.0, 360.0, 48.0


def page(card: Card) -> str:
    """One self-contained page: a plot a case. Misses are on a logarithmic scale."""
    plots = "\n".join(
        f"<h2>{html.escape(case.name)}</h2><p>{html.escape(case.says)}</p>{plot(verdicts)}"
        for case, verdicts in card
    )
    style = "body{font:14px system-ui;margin:2em;max-width:820px}svg{border:1px solid #ddd}"
    return (
        f"<!doctype html><meta charset=utf-8><title>Scorecard</title><style>{style}</style>"
        "<h1>Cost against attainment</h1><p>To the right costs more (times the optimum), up misses fewer "
        "requests. The broken line is 99 %; the grey one joins the laws that none beats in both. Red: ours. "
        "Black: the clairvoyant. Blue: tuned peers. Grey: peers by default. Point at a dot for its "
        f"figures.</p>{plots}"
    )


PLOT_STYLE = (
    "text{font:10px system-ui,sans-serif}.ours{fill:#c0392b}.optimum{fill:#111}.default{fill:#9bb}"
    ".tuned{fill:#2980b9}"
)


def front(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The laws that no other one beats in cost and attainment, by cost (Pareto's); not the clairvoyant."""
    best: list[Verdict] = []
    laws = [v for v in verdicts if v.policy != OPTIMUM]
    for v in sorted(laws, key=lambda v: (v.over_optimum.mean, -v.attainment.mean)):
        if not best or v.attainment.mean > best[-1].attainment.mean:
            best.append(v)
    return best


def plot(verdicts: Sequence[Verdict]) -> str:
    """Misses over cost, with Pareto's front; dots with tooltips."""
    most = min(4.0, max(v.over_optimum.mean for v in verdicts)) * 1.05

    def place(v: Verdict) -> tuple[float, float]:
        share = min(v.over_optimum.mean, most) / most
        return MARGIN + (WIDTH - 2 * MARGIN) * share, _height(1.0 - v.attainment.mean)

    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, front(verdicts)))
    dots = [f'<polyline points="{joined}" fill="none" stroke="#bbb"/>']
    for v in verdicts:
        x, y = place(v)
        kind = "ours" if v.policy == OURS else "optimum" if v.policy == OPTIMUM else v.kind
        radius = 6 if kind in {"ours", "optimum"} else 4
        tip = f"{label(v)}: {100 * v.attainment.mean:.2f} % at {v.over_optimum.mean:.2f} x optimum"
        if v.after_step:
            tip += f"; over for {span(v.after_step.seconds_over, 0)} s after a step of 4x"
        where = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius}"'
        dots.append(f'<circle class="{kind}" {where}><title>{html.escape(tip)}</title></circle>')
        if kind != "default":
            dots.append(f'<text x="{x + 7:.1f}" y="{y + 3:.1f}">{html.escape(v.policy)}</text>')
    line = _height(1.0 - TARGET)
    ticks = "".join(
        f'<text x="{MARGIN + (WIDTH - 2 * MARGIN) * value / most:.1f}" y="{HEIGHT - 30}">{value:g} x</text>'
        for value in (0.5, 1.0, 1.5, 2.0, 3.0)
        if value <= most
    )
    levels = "".join(
        f'<text x="4" y="{_height(miss) + 3:.1f}">{100 * (1 - miss):g} %</text>'
        for miss in (0.0005, 0.002, 0.01, 0.05, 0.2, 0.6)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}" height="{HEIGHT:g}">'
        f'<style>{PLOT_STYLE}</style><rect width="100%" height="100%" fill="#fafafa"/>'
        f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" '
        f'y1="{line:.1f}" y2="{line:.1f}" stroke="#c0392b" stroke-dasharray="4"/>'
        f"{ticks}{levels}{''.join(dots)}</svg>"
    )


def _height(miss: float) -> float:
    least, most = log10(0.0003), log10(1.0)
    share = (log10(max(miss, 0.0003)) - least) / (most - least)
    return MARGIN / 2 + (HEIGHT - 2 * MARGIN) * share
