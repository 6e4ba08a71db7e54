"""Numbers, times and hostile names in words for people."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

__all__ = ["bytes_said", "clock", "counted", "figure", "lasting", "rate_said", "shown", "value_said", "whole_clock"]

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but tab and line feed
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # unseen, or turning the direction
    "\ud800-\udfff\U000e0000-\U000e007f]"  # halves of pairs (bytes of a name that are no UTF-8), tags
)


def shown(text: str) -> str:
    """`text` with every character that cannot be seen, or that reorders others, spelled out: `\\u202e`.

    A name may be made to look like another one; lone surrogates cannot be written as UTF-8 at all.
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)


def figure(value: float, digits: int = 3) -> str:
    """A number with `digits` significant ones, thousands set apart; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    if decimals > 7:
        return f"{value:.{digits - 1}e}"
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals > digits else text


def counted(number: int, noun: str, many: str | None = None) -> str:
    """1 frame, 2,000 frames."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def clock(seconds: float) -> str:
    """0:04.20, 1:02:03.40."""
    if not math.isfinite(seconds):
        return "–"
    sign, hundredths = "−" if seconds < 0 else "", round(abs(seconds) * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{head}:{rest // 100:02d}.{rest % 100:02d}"


def whole_clock(seconds: float) -> str:
    """0:04, 1:02:03: to the nearest second."""
    return clock(round(seconds)).removesuffix(".00")


def lasting(seconds: float) -> str:
    """How long something took: 3.6 s, 1:02, 2:10:05."""
    if not math.isfinite(seconds) or abs(seconds) < 60:
        return f"{figure(seconds, 2)} s"
    return whole_clock(seconds)


def bytes_said(number: int) -> str:
    """255 KiB, 1.20 MiB; exact below 1 KiB."""
    size = float(number)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{number:,} bytes" if unit == "bytes" else f"{figure(size)} {unit}"


def rate_said(rate: Any) -> str:
    """A frame rate as a plain number: 25, 29.97; what cannot be read as one stays as it is."""
    try:
        return f"{float(Fraction(str(rate))):.3f}".rstrip("0").rstrip(".")
    except (ValueError, ZeroDivisionError):
        return str(rate)


def value_said(value: Any) -> str:
    """A setting: none, yes, no, a list with commas."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {value_said(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(value_said, value)) or "none"
    return str(value)
