"""A run as a picture: throughput and latency over time, two panels of one SVG, one above the other.

Drawn for a screen of 400 points in width and up; wider screens enlarge it. It holds figures only: nothing
that a server sent stands in it but the name of the log, escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from auditlog.hammer.results import Results

_WIDTH, _HEIGHT = 420, 560
_LEFT, _RIGHT = 62, 14
_PANEL = 170
_TOPS = (84, 322)
_INK, _FAINT, _BLUE, _ORANGE = "#1b1f24", "#d5d9de", "#0b63c5", "#b94700"
_Points = Sequence[tuple[float, float | None]]


def draw(results: Results) -> str:
    """The SVG text."""
    rates = [(step.at_s, step.rate) for step in results.steps]
    typical = [(step.at_s, step.p50_ms) for step in results.steps]
    slow = [(step.at_s, step.p99_ms) for step in results.steps]
    frame = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'style="width:100%;max-width:760px;height:auto" font-family="system-ui,sans-serif" font-size="13" '
        f'fill="{_INK}"><title>{escape(_summary(results))}</title>'
    )
    parts = [
        frame,
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="14" y="26" font-size="16" font-weight="600">{escape(_short(results.log))}</text>',
        f'<text x="14" y="46">{escape(_summary(results))}</text>',
        *_panel(_TOPS[0], "entries acknowledged a second", results.seconds, [(_BLUE, rates)]),
        *_panel(_TOPS[1], "acknowledged after, ms", results.seconds, [(_BLUE, typical), (_ORANGE, slow)]),
        *_key(_TOPS[1] - 12),
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 12}" text-anchor="end">seconds</text>',
        "</svg>\n",
    ]
    return "\n".join(parts)


def _panel(top: int, title: str, seconds: float, lines: Sequence[tuple[str, _Points]]) -> list[str]:
    most = _round_up(
        max((value for _, points in lines for _, value in points if value is not None), default=1)
    )
    parts = [f'<text x="14" y="{top - 12}" font-weight="600">{title}</text>']
    for part in range(5):
        y = top + _PANEL - _PANEL * part / 4
        parts.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="{_FAINT}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(most * part / 4)}</text>'
        )
    for part in range(5):
        x = _x(seconds * part / 4, seconds)
        tick = _number(seconds * part / 4)
        parts.append(f'<text x="{x:.1f}" y="{top + _PANEL + 18}" text-anchor="middle">{tick}</text>')
    for colour, points in lines:
        parts += _line(points, seconds, top, most, colour)
    return parts


def _line(points: _Points, seconds: float, top: int, most: float, colour: str) -> list[str]:
    """One line; where nothing was measured there is a gap."""
    runs: list[list[str]] = [[]]
    for at_s, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{_x(at_s, seconds):.1f},{top + _PANEL - _PANEL * value / most:.1f}")
    return [
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round" '
        f'stroke-linecap="round" points="{" ".join(run if len(run) > 1 else run * 2)}"/>'
        for run in runs
        if run
    ]


def _key(y: int) -> list[str]:
    return [
        f'<text x="{_WIDTH - _RIGHT - 62}" y="{y}" text-anchor="end" fill="{_BLUE}">half</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{y}" text-anchor="end" fill="{_ORANGE}">99 %</text>',
    ]


def _x(at_s: float, seconds: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at_s / seconds


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 10 .. so that a quarter of it is a short number."""
    if value <= 0:
        return 1.0
    base = 10.0 ** math.floor(math.log10(value))
    return next(base * step for step in (1, 2, 4, 6, 8, 10) if base * step >= value * 0.999999)


def _number(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _short(text: str) -> str:
    return text if len(text) <= 44 else text[:43] + "…"


def _summary(results: Results) -> str:
    violations = results.checks.get("violations", 0)
    p99 = results.acknowledged_ms.get("p99")
    tail = "" if p99 is None else f", 99 % within {p99:,.0f} ms"
    return f"{results.rate:,.0f} entries/s{tail}, {violations} violations"
