"""A row's calls over time as SVG: waiting, reading the prompt, writing the answer. Knows calls as `calls/` has them.

Colours are left to the page: parts have the classes `wait`, `first`, `write`, `broken` and `reused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from chainette.reports.wording import seconds

_WIDE = 720
_LABEL = 170
_BAR = 14
_LINE = 22
_MOST = 60
"""Calls that are drawn."""
_NARROWEST = 2.0
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Span:
    """One call."""

    label: str
    """The step, and in a loop the turn."""
    title: str
    start_s: float
    """Since 1970."""
    seconds: float
    queue_s: float = 0.0
    first_token_s: float = 0.0
    """From the call's start, queue included."""
    broken: bool = False
    reused: bool = False


def span_of(label: str, call: dict[str, Any]) -> Span | None:
    """None for a call that does not say when it was."""
    start_s, took_s = call.get("started_s"), call.get("seconds")
    if not isinstance(start_s, int | float) or not isinstance(took_s, int | float):
        return None
    queue_s, first_s = call.get("queue_s"), call.get("first_token_s")
    attempt = call.get("attempt", 1)
    words = [f"row {call.get('_id')}", seconds(took_s)] + ([f"attempt {attempt}"] if attempt != 1 else [])
    return Span(
        label,
        ", ".join(map(str, words)),
        float(start_s),
        max(float(took_s), 0.0),
        float(queue_s) if isinstance(queue_s, int | float) else 0.0,
        float(first_s) if isinstance(first_s, int | float) else 0.0,
        bool(call.get("error") or call.get("refused")),
        bool(call.get("reused")),
    )


def waterfall(spans: Sequence[Span]) -> str:
    """An `<svg>`, every text in it escaped; empty where there is nothing to draw.

    Calls that were taken from another run are drawn without a place in time.
    """
    drawn = sorted(spans, key=lambda span: (span.reused, span.start_s))[:_MOST]
    own = [span for span in drawn if not span.reused]
    if not own:
        return ""
    begin_s = min(span.start_s for span in own)
    whole_s = max(max(span.start_s + span.seconds for span in own) - begin_s, 1e-6)
    high = _LINE * len(own) + 24
    about = f"{len(own)} calls in {escape(seconds(whole_s))}"
    parts = [f'<svg class="waterfall" viewBox="0 0 {_WIDE} {high}" role="img" aria-label="{about}">']
    parts += _ruler(whole_s, high)
    for number, span in enumerate(own):
        parts += _line(span, number * _LINE, begin_s, (_WIDE - _LABEL - 70) / whole_s)
    parts.append("</svg>")
    return "".join(parts)


def _ruler(whole_s: float, high: int) -> list[str]:
    parts = []
    for tick in range(_TICKS + 1):
        x = _LABEL + (_WIDE - _LABEL - 70) * tick / _TICKS
        parts.append(f'<line class="tick" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{high - 18}"/>')
        told = escape(_time(whole_s * tick / _TICKS))
        parts.append(f'<text class="tick" x="{x:.1f}" y="{high - 4}" text-anchor="middle">{told}</text>')
    return parts


def _time(value_s: float) -> str:
    if value_s >= 1:
        return seconds(value_s)
    return f"{value_s * 1000:.0f} ms" if value_s >= 0.01 or not value_s else f"{value_s * 1000:.1f} ms"


def _line(span: Span, y: int, begin_s: float, scale: float) -> list[str]:
    x = _LABEL + (span.start_s - begin_s) * scale
    width = max(span.seconds * scale, _NARROWEST)
    waited = min(span.queue_s * scale, width)
    # Servers tell the first token from the arrival of the call, its wait included.
    read = min(max(span.first_token_s * scale - waited, 0.0), width - waited)
    label = span.label if len(span.label) <= 24 else span.label[:23] + "…"
    kind = "broken" if span.broken else "write"
    bars = [(x, waited, "wait"), (x + waited, read, "first"), (x + waited + read, width - waited - read, kind)]
    return [
        f"<g><title>{escape(f'{span.label}: {span.title}')}</title>",
        f'<text class="label" x="0" y="{y + 12}">{escape(label)}</text>',
        *(
            f'<rect class="{name}" x="{at:.1f}" y="{y + 2}" width="{wide:.1f}" height="{_BAR}" rx="2"/>'
            for at, wide, name in bars
            if wide > 0.05
        ),
        f'<text class="took" x="{x + width + 6:.1f}" y="{y + 13}">{escape(_time(span.seconds))}</text></g>',
    ]
