"""What a check found: one row for each thing compared, and what was lost in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from vidrestore.media.input.damage import Damage

__all__ = ["Finding", "StreamCheck", "Verdict", "VerifyReport", "listed"]

Verdict = Literal["ok", "note", "differs"]


@dataclass(frozen=True)
class Finding:
    """One thing compared: what was to be there, what is there."""

    name: str
    expected: str
    found: str
    verdict: Verdict = "ok"
    """ok; note: differs for a reason that is stated (asked for, or beyond the container); differs: should not."""
    sentence: str = ""
    """Why it is not ok; empty where it is."""
    loss: str = ""
    """The thing in a few words, for the summary; only where it differs."""

    def __post_init__(self) -> None:
        if (self.verdict == "ok") == bool(self.sentence):
            raise ValueError(f"{self.name}: a sentence belongs to every finding that is not ok, and to no other")


@dataclass(frozen=True)
class StreamCheck:
    """A copied stream: the same number of packets with the same payload on both sides."""

    index: int
    """In the source."""
    type: str
    codec: str
    language: str | None
    packets: int
    sha256: str
    """Of the payloads, each preceded by its length."""


@dataclass(frozen=True)
class VerifyReport:
    """What was found in a file. At the end of a run it exists only if nothing differs."""

    frames: int
    first_seconds: float
    last_seconds: float
    pts_exact: bool
    """True: every pts is the source's; False: rounded to the container's tick."""
    largest_pts_error: float
    """Seconds; at most half a tick."""
    tick: float
    """Seconds of a tick of the written picture."""
    shift: float
    """Seconds taken off every source timestamp, the same for all streams."""
    streams: tuple[StreamCheck, ...]
    chapters: int
    size_bytes: int
    notices: tuple[str, ...] = ()
    rows: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of all rows."""
        verdicts = {row.verdict for row in self.rows}
        return "differs" if "differs" in verdicts else "note" if "note" in verdicts else "ok"

    @property
    def differing(self) -> tuple[Finding, ...]:
        """The rows that differ and should not."""
        return tuple(row for row in self.rows if row.verdict == "differs")

    @property
    def lost(self) -> str:
        """One sentence: what was lost or changed, or that nothing was."""
        losses = list(dict.fromkeys(row.loss or row.name for row in self.differing))
        return f"Lost or changed: {listed(losses)}." if losses else "Nothing was lost."

    def with_damage(self, damage: Iterable[Damage]) -> VerifyReport:
        """The same report with a note for each damaged place of the source that was restored nevertheless."""
        notes = (
            Finding(f"frame {entry.index}", "sound", entry.kind, "note", f"The source is damaged: {str(entry).rstrip('.')}.")
            for entry in damage
        )
        return replace(self, rows=(*self.rows, *notes))

    def lines(self) -> list[str]:
        """A few lines for people."""
        worst = f"rounded to the container's tick, at most {self.largest_pts_error * 1e3:.2f} ms off"
        found = [f"{self.frames} frames, timestamps {'exactly the source’s' if self.pts_exact else worst}"]
        if self.shift:
            found.append(f"all timestamps moved by {-self.shift:+.3f} s")
        found += [
            f"stream {check.index} ({check.type} {check.codec}): {check.packets} packets, same bytes" for check in self.streams
        ]
        if self.chapters:
            found.append(f"{self.chapters} chapters")
        return [*found, *self.notices]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "verdict": self.verdict, "lost": self.lost}


def listed(words: list[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
