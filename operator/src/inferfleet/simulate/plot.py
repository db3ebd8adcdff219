"""Lines over time as an SVG that needs no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 900, 240, 64, 34, 14
_MOST_POINTS: Final = 450
COLOURS: Final = (
    *("#0a7d32", "#2f6fb5", "#b5542f", "#7a3fa0", "#9a8700", "#1c8d8d", "#c02a6b", "#5b5b5b"),
    *("#4a9d5f", "#7fa8d6", "#d69a7f", "#b08ccf", "#cfc46a", "#72bdbd", "#e08ab2", "#a0a0a0"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: (seconds, value) pairs in order of time."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


def plot(title: str, unit: str, lines: Sequence[Line]) -> str:
    """Draw lines over hours (minutes where the run is short), from 0 up."""
    end = max((line.points[-1][0] for line in lines if line.points), default=1.0) or 1.0
    most = max((value for line in lines for _, value in line.points), default=0.0) or 1.0
    span, name = (3600.0, "hours") if end > 2 * 3600 else (60.0, "minutes")
    ticks = _ticks(most)
    most = max(most, ticks[-1])

    def x(seconds: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 10) * seconds / end

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * value / most

    parts = [
        f"<figure><figcaption>{escape(title)}</figcaption>",
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="system-ui"',
        f' font-size="11" role="img"><title>{escape(title)}</title>',
    ]
    for tick in ticks:
        parts.append(f'<path d="M{_LEFT} {y(tick):.1f}H{_WIDTH - 10}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts += [
        f'<text x="{x(tick * span):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{tick:g}</text>'
        for tick in _ticks(end / span)
        if tick * span <= end
    ]
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 4}" text-anchor="middle">{name}; {unit}</text>')
    for line in lines:
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in thinned(line.points))
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="1.4"{dash}>'
            f"<title>{escape(line.label)}</title></polyline>"
        )
    return "\n".join([*parts, "</svg></figure>"])


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """So many points as can be told apart; of those that fall together the highest stays."""
    step = ceil(len(points) / _MOST_POINTS) or 1
    return [max(points[i : i + step], key=lambda point: point[1]) for i in range(0, len(points), step)]


def _ticks(most: float) -> list[float]:
    """0 and up to five round steps to `most` or just above."""
    rough = most / 4
    decade = 10.0 ** floor(log10(rough))
    step = next(decade * m for m in (1, 2, 5, 10) if decade * m >= rough * 0.999)
    return [step * index for index in range(ceil(most / step - 1e-9) + 1)]
