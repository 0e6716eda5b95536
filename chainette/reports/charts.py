"""Lines and bars over time as SVG, for the page and the report. Knows no run: only numbers, names and units.

Colours come from classes and custom properties (`charts_style`), so the same chart is dark or light. Every text is
escaped. The curves' points stand in attributes too, for a script that reads off values; without one the chart is whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from chainette.reports.layout_outline import cells, clipped, plain
from chainette.reports.wording import clock, short_count

WIDTH, HEIGHT = 440.0, 168.0
LEFT, RIGHT, BOTTOM = 40.0, 8.0, 20.0
COLOURS = 6
_CELL = 6.2
"""Width of a character, about."""
_STEPS_S = (
    *(1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60 * m for m in (1, 2, 5, 10, 15, 30)),
    *(3600 * h for h in (1, 2, 3, 6, 12)),
    *(86400 * d for d in (1, 2, 5, 10, 30, 100)),
)


_OVER = ("throttled", "dead")
"""Kinds that lie over another: drawn low at its foot."""


@dataclass(frozen=True, slots=True)
class Curve:
    name: str
    values: Sequence[float]
    """One for each x; NaN where there is none."""
    limit: bool = False
    """It is what the others may reach: drawn dashed and quiet."""


@dataclass(frozen=True, slots=True)
class LineChart:
    title: str
    unit: str
    xs: Sequence[float]
    """Seconds since the beginning, ascending."""
    curves: Sequence[Curve]
    marks: Sequence[tuple[float, str]] = ()
    """(seconds, words): moments that are marked by a line across."""


@dataclass(frozen=True, slots=True)
class Bar:
    start_s: float
    end_s: float
    kind: str
    """One of the words in charts.css, which give it its colour."""
    words: str = ""


@dataclass(slots=True)
class Track:
    name: str
    bars: list[Bar] = field(default_factory=list)


def line_chart(chart: LineChart) -> str:
    """One `<svg>` element. Y begins at zero."""
    whole = max(chart.xs, default=0.0) or 1.0
    top = 42.0 if len(chart.curves) > 1 else 26.0
    highest = max((v for curve in chart.curves for v in curve.values if v == v), default=0.0)
    steps = y_steps(highest)
    frame = _Frame(LEFT, top, WIDTH - RIGHT, HEIGHT - BOTTOM, whole, steps[-1])
    parts = [
        _heading(chart),
        *_y_axis(frame, steps),
        *_x_axis(frame),
        *(_mark(frame, at, words) for at, words in chart.marks),
    ]
    if len(chart.curves) > 1:
        parts.append(_legend([(curve.name, _colour(i, curve)) for i, curve in enumerate(chart.curves)], 30.0))
    parts += [_curve(frame, chart.xs, curve, _colour(i, curve)) for i, curve in enumerate(chart.curves)]
    about = f"{chart.title}, {chart.unit}: " + "; ".join(_summary(curve) for curve in chart.curves)
    data = f'data-frame="{frame.told()}" data-unit="{_attribute(chart.unit)}" data-x="{_numbers(chart.xs)}"'
    return _svg("chart", about, WIDTH, HEIGHT, parts, data)


def span_chart(title: str, tracks: Sequence[Track], whole_s: float, marks: Sequence[tuple[float, str]] = ()) -> str:
    """Bars on tracks below each other, one `<svg>` element as wide as its box."""
    width, high, left = 1100.0, 24.0, 150.0
    bottom = 8.0 + high * len(tracks)
    kinds = list(dict.fromkeys(bar.kind for track in tracks for bar in track.bars))
    frame = _Frame(left, 4.0, width - RIGHT, bottom, whole_s or 1.0, 1.0)
    parts = _x_axis(frame)
    for number, track in enumerate(tracks):
        y = 8.0 + high * number
        name = clipped(track.name, int((left - 10) / _CELL))
        parts.append(
            f'<text class="x-name" x="0" y="{_n(y + 14)}"><title>{_text(track.name)}</title>{_text(name)}</text>'
        )
        parts += [_bar(frame, bar, y, high - 6) for bar in track.bars]
    parts += [_mark(frame, at, words) for at, words in marks]
    parts.append(_legend([(kind, f"x-{kind}") for kind in kinds], bottom + 32.0))
    about = f"{title}: " + "; ".join(track.name for track in tracks)
    return _svg("chart spans", about, width, bottom + 40.0, parts)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where numbers stand in pixels."""

    left: float
    top: float
    right: float
    bottom: float
    whole_s: float
    highest: float

    def x(self, seconds: float) -> float:
        return self.left + (self.right - self.left) * min(max(seconds / self.whole_s, 0.0), 1.0)

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * min(max(value / self.highest, 0.0), 1.0)

    def told(self) -> str:
        return _numbers((self.left, self.top, self.right, self.bottom, self.whole_s, self.highest))


def y_steps(highest: float) -> list[float]:
    """Round numbers from 0 to the first that is not below the highest value."""
    if highest <= 0 or not math.isfinite(highest):
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest / 2))
    step = next((m * power for m in (1, 2, 2.5, 5, 10) if highest / (m * power) <= 3), 10 * power)
    return [step * i for i in range(math.ceil(highest / step - 1e-9) + 1)]


def x_steps(whole_s: float, most: int = 6) -> list[float]:
    """Round times from 0 on, at most `most` after it."""
    step = next((s for s in _STEPS_S if whole_s / s <= most), whole_s)
    return [step * i for i in range(int(whole_s / step + 1e-9) + 1)]


def span_words(seconds: float) -> str:
    """`0`, `5 s`, `1:15`, `90 min`, `3 h`, `2 d`: a round time on an axis."""
    for unit, long in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * long and math.isclose(seconds / long, round(seconds / long), abs_tol=1e-6):
            return f"{seconds / long:.0f} {unit}"
    if seconds >= 60:
        return "1 min" if seconds == 60 else clock(seconds)
    return f"{seconds:.4g} s" if seconds else "0"


def _heading(chart: LineChart) -> str:
    unit = f'<tspan class="x-quiet" dx="6">{_text(chart.unit)}</tspan>'
    return f'<text class="x-title" x="0" y="12">{_text(clipped(chart.title, 48))}{unit}</text>'


def _y_axis(frame: _Frame, steps: list[float]) -> list[str]:
    lines = []
    for value in steps:
        y = frame.y(value)
        lines.append(f'<line class="x-grid" x1="{_n(frame.left)}" x2="{_n(frame.right)}" y1="{_n(y)}" y2="{_n(y)}"/>')
        label = short_count(value) if value >= 10 or value == int(value) else f"{value:.3g}"
        at = f'x="{_n(frame.left - 6)}" y="{_n(y + 3.5)}"'
        lines.append(f'<text class="x-tick" text-anchor="end" {at}>{label}</text>')
    return lines


def _x_axis(frame: _Frame) -> list[str]:
    lines = []
    for seconds in x_steps(frame.whole_s):
        x = frame.x(seconds)
        lines.append(
            f'<line class="x-grid" x1="{_n(x)}" x2="{_n(x)}" y1="{_n(frame.bottom)}" y2="{_n(frame.bottom + 4)}"/>'
        )
        anchor = "end" if x > frame.right - 12 else "middle"
        at = f'x="{_n(min(x, frame.right))}" y="{_n(frame.bottom + 15)}"'
        lines.append(f'<text class="x-tick" text-anchor="{anchor}" {at}>{span_words(seconds)}</text>')
    return lines


def _mark(frame: _Frame, at_s: float, words: str) -> str:
    x = _n(frame.x(at_s))
    line = f'<line x1="{x}" x2="{x}" y1="{_n(frame.top)}" y2="{_n(frame.bottom)}"/>'
    return f'<g class="x-mark">{line}<title>{_text(words)}</title></g>'


def _bar(frame: _Frame, bar: Bar, y: float, height: float) -> str:
    left, right = frame.x(bar.start_s), frame.x(bar.end_s)
    long = f"{bar.kind} for {_long(bar.end_s - bar.start_s)}, from {_long(bar.start_s)}"
    words = f"{long}: {bar.words}" if bar.words else long
    if bar.kind in _OVER:
        y, height = y + height - 5, 5.0
    size = f'width="{_n(max(right - left, 1.5))}" height="{_n(height)}"'
    shape = f'<rect class="x-bar x-{bar.kind}" x="{_n(left)}" y="{_n(y)}" {size} rx="2"/>'
    room = int((right - left - 8) / _CELL)
    label = bar.words.partition("\n")[0]
    inside = ""
    if room >= 4 and label and bar.kind not in _OVER:
        inside = f'<text class="x-in" x="{_n(left + 5)}" y="{_n(y + 13)}">{_text(clipped(label, room))}</text>'
    return f"<g>{shape}{inside}<title>{_text(words[:600])}</title></g>"


def _curve(frame: _Frame, xs: Sequence[float], curve: Curve, colour: str) -> str:
    path, pen_up = [], True
    for x, value in zip(xs, curve.values, strict=True):
        if value != value:
            pen_up = True
            continue
        path.append(f"{'M' if pen_up else 'L'}{_n(frame.x(x))} {_n(frame.y(value))}")
        pen_up = False
    about = f'data-name="{_attribute(curve.name)}" data-y="{_numbers(curve.values)}"'
    return f'<path class="x-line {colour}" d="{"".join(path)}" {about}><title>{_text(curve.name)}</title></path>'


def _colour(number: int, curve: Curve) -> str:
    return "x-limit" if curve.limit else f"x-{number % COLOURS + 1}"


def _legend(names: Sequence[tuple[str, str]], y: float) -> str:
    parts, x = [], LEFT if y < 40 else 0.0
    for name, colour in names:
        label = clipped(name, 20)
        parts.append(f'<rect class="x-key {colour}" x="{_n(x)}" y="{_n(y - 7)}" width="9" height="7" rx="2"/>')
        parts.append(f'<text class="x-tick" x="{_n(x + 13)}" y="{_n(y)}">{_text(label)}</text>')
        x += 13 + _CELL * cells(label) + 14
    return f'<g class="x-legend">{"".join(parts)}</g>'


def _summary(curve: Curve) -> str:
    known = [value for value in curve.values if value == value]
    if not known:
        return f"{curve.name} unknown"
    return f"{curve.name} at most {short_count(max(known))}, at the end {short_count(known[-1])}"


def _svg(kind: str, about: str, width: float, height: float, parts: list[str], data: str = "") -> str:
    head = (
        f'<svg class="{kind}" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{_attribute(about[:600])}" '
        f'viewBox="0 0 {_n(width)} {_n(height)}" {data}>'
    )
    return "\n".join([head, *parts, "</svg>"])


def _long(seconds: float) -> str:
    from chainette.reports.wording import seconds as in_words

    return in_words(max(seconds, 0.0))


def _numbers(values: Sequence[float]) -> str:
    return " ".join("-" if value != value else f"{value:.4g}" for value in values)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(value: object) -> str:
    return escape(plain(value), quote=False)


def _attribute(value: object) -> str:
    return escape(plain(value), quote=True)
