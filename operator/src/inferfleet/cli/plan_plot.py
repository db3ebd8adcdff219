"""Dollars per million tokens against inter-token latency, as an SVG that needs no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final

_WIDTH, _HEIGHT, _MARGIN = 760, 420, 60
_INK: Final = "#333"
_CHOSEN: Final = "#0a7d32"
_OTHER: Final = "#9a3b3b"
_LINE: Final = "#2f6fb5"


@dataclass(frozen=True, slots=True)
class Point:
    """One layout at its operating point."""

    milliseconds: float
    dollars: float
    label: str
    chosen: bool = False


def plot(points: Sequence[Point], frontier: Sequence[Point]) -> str:
    """Draw the layouts, and the line of the cheapest layout at each latency; both axes are logarithmic."""
    everything = [*points, *frontier]
    if not everything:
        return "<p>No layout has a prediction to plot.</p>"
    across = _Axis([point.milliseconds for point in everything], _MARGIN, _WIDTH - _MARGIN / 2)
    up = _Axis([point.dollars for point in everything], _HEIGHT - _MARGIN, _MARGIN / 2)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        'font-family="system-ui" font-size="12" role="img">'
    )
    parts = [head, "<title>Dollars per million output tokens against inter-token latency</title>"]
    for tick in across.ticks:
        x = across.at(tick)
        parts.append(f'<path d="M{x:.1f} {_MARGIN / 2}V{_HEIGHT - _MARGIN}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in up.ticks:
        y = up.at(tick)
        parts.append(f'<path d="M{_MARGIN} {y:.1f}H{_WIDTH - _MARGIN / 2}" stroke="#ddd"/>')
        parts.append(f'<text x="{_MARGIN - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts.append(
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle" fill="{_INK}">'
        "inter-token latency, ms</text>"
        f'<text transform="translate(16 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle" fill="{_INK}">'
        "$ per million output tokens</text>"
    )
    if frontier:
        line = " ".join(f"{across.at(each.milliseconds):.1f},{up.at(each.dollars):.1f}" for each in frontier)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="2"/>')
    parts += [_dot(each, across, up, _LINE, 3) for each in frontier]
    parts += [_dot(each, across, up, _CHOSEN if each.chosen else _OTHER, 6) for each in points]
    return "\n".join([*parts, "</svg>"])


def _dot(point: Point, across: _Axis, up: _Axis, colour: str, radius: int) -> str:
    text = f"{point.label}: {point.milliseconds:.1f} ms, {point.dollars:.2f} $/Mtok"
    return (
        f'<circle cx="{across.at(point.milliseconds):.1f}" cy="{up.at(point.dollars):.1f}" r="{radius}" '
        f'fill="{colour}"><title>{escape(text)}</title></circle>'
    )


class _Axis:
    """A logarithmic scale that covers all values, with ticks at 1, 2 and 5."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values) / 1.2, max(values) * 1.2
        self._low, self._span = log10(low), log10(high) - log10(low)
        self._start, self._end = start, end
        decades = range(floor(log10(low)), ceil(log10(high)) + 1)
        self.ticks = [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high]

    def at(self, value: float) -> float:
        """Where a value is drawn."""
        return self._start + (log10(value) - self._low) / self._span * (self._end - self._start)
