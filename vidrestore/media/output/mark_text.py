"""What the mark of restored pictures says, as words and as facts: version, engines with their weights, what was invented.

    Restored by vidrestore 0.1.0: flare-fast (6b11ecae), day-fast (0d9f5c21). Detail was invented by day-fast: no evidence.

Older marks name no weights. Where a format has little room the mark is shorter (see `mark.y4m_word`): without spaces, without
weights, or only that pictures were restored. All of them can be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MARK", "WEIGHTS_DIGITS", "Mark", "parse_mark"]

MARK = "Restored by vidrestore"
"""How the mark begins, wherever it is."""
WEIGHTS_DIGITS = 8
"""Hex digits of the sha256 of an engine's weights: two trainings out of 65,000 of one engine would share them by chance."""

_ENGINE = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_WEIGHTS = rf"\(([0-9a-f]{{{WEIGHTS_DIGITS}}})\)"
_NAMED = re.compile(rf"({_ENGINE})(?: ?{_WEIGHTS})?")
_LIST = re.compile(rf"\s*(?:(?P<version>[0-9][^\s:;,]*):\s*(?P<engines>{_NAMED.pattern}(?:,\s*{_NAMED.pattern})*))?")
_INVENTED = re.compile(rf"Detail was invented by ({_ENGINE}(?:(?:, | and ){_ENGINE})*)")


@dataclass(frozen=True)
class Mark:
    """What a mark says."""

    version: str
    """Of vidrestore; empty: the mark does not name it, nor engines."""
    engines: tuple[tuple[str, str | None], ...]
    """(id, the first digits of its weights' sha256) in the order in which they ran; None: it has no weights, or the mark is of
    the older form. Empty: the mark does not name them."""
    invented: tuple[str, ...] = ()
    """Engines that invented detail, as far as they are named."""
    made_up: bool = False
    """Whether it says that detail was invented; also where it does not say by which engine."""

    def __post_init__(self) -> None:
        if self.invented and not self.made_up:
            object.__setattr__(self, "made_up", True)

    @property
    def text(self) -> str:
        """The mark in words; what it does not know is left out."""
        names = ", ".join(name if weights is None else f"{name} ({weights})" for name, weights in self.engines)
        told = f"{MARK} {self.version}: {names}." if names else f"{MARK}."
        if self.invented:
            return f"{told} Detail was invented by {' and '.join(self.invented)}: no evidence."
        return f"{told} Detail was invented: no evidence." if self.made_up else told


def parse_mark(text: str) -> Mark | None:
    """The facts of the last mark in `text`, of any form; None: there is none."""
    start = text.rfind(MARK)
    if start < 0:
        return None
    told = text[start + len(MARK) :]
    listed = _LIST.match(told)
    engines: tuple[tuple[str, str | None], ...] = ()
    version = ""
    if listed is not None and listed["version"]:
        version = listed["version"]
        engines = tuple((found[1], found[2]) for found in _NAMED.finditer(listed["engines"]))
    named = _INVENTED.search(told)
    invented = tuple(re.split(r", | and ", named[1])) if named is not None else ()
    return Mark(version, engines, invented, "invented" in told)
