"""Numbers and times as people read them, the same in the terminal, on the page and in the report. Knows no medium."""

from __future__ import annotations

import json


def count(number: float) -> str:
    return f"{int(number):,}"


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`; the plural takes an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def state_in_words(state: str) -> str:
    """What stands after `the run`: `died`, else `is running` and the like."""
    return state if state == "died" else f"is {state}"


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    whole = max(0, int(seconds))
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def seconds(value: float) -> str:
    """`0.84 s`, `12.3 s`, `2:05`."""
    if value < 9.995:
        return f"{value:.2f} s"
    return f"{value:.1f} s" if value < 59.95 else clock(value)


def short_time(value: float) -> str:
    """`0.46 ms`, `84 ms`, `1.24 s`, `12.3 s`, `2:05`: never nothing, where `seconds` would round to it."""
    if 0 < value < 0.9995:
        return f"{value * 1000:.2f} ms" if value < 0.00995 else f"{value * 1000:.0f} ms"
    return seconds(value)


def rate(per_second: float) -> str:
    """`0.4/s`, `85/s`, `12,400/s`."""
    if per_second <= 0:
        return ""
    return f"{per_second:.1f}/s" if per_second < 10 else f"{per_second:,.0f}/s"


def size(bytes_: float) -> str:
    """`512 B`, `1.4 MB`, `139.8 GB`, in powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if bytes_ < 1000:
            return f"{bytes_:.0f} {unit}" if unit == "B" else f"{bytes_:.1f} {unit}"
        bytes_ /= 1000
    return f"{bytes_:.1f} TB"


def short_count(number: float) -> str:
    """`950`, `12.3k`, `4.1M`, `2.0G`: where there is no room for all digits."""
    for unit in ("", "k", "M", "G"):
        if abs(number) < 1000:
            text = f"{number:.0f}" if not unit and number == int(number) else f"{number:.1f}"
            return f"{text}{unit}"
        number /= 1000
    return f"{number:.1f}T"


def money(amount: float) -> str:
    """`12.40`, `0.0031`; in whatever currency the prices are."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.2g}"


def in_words(value: object, indent: int | None = None) -> str:
    """Texts as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str, indent=indent)
