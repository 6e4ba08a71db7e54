"""What a check found: one row for each thing compared, and what was lost in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from vidrestore.media.input.damage import Damage

__all__ = ["Finding", "StreamCheck", "Verdict", "VerifyReport", "counted", "listed", "were"]

Verdict = Literal["ok", "note", "differs"]
NOTHING_LOST = "Nothing was lost (what the pictures show is not compared)."


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
    converted: str | None = None
    """Codec of the written text where the subtitle was converted; None: the packets are the source's."""
    texts: int = 0
    """Of a converted subtitle: as many as the source has."""

    def __str__(self) -> str:
        name = f"stream {self.index} ({self.type} {self.codec})"
        if self.converted is not None:
            return f"{name}: converted to {self.converted}, {counted(self.texts, 'line')}, same words and times"
        return f"{name}: {counted(self.packets, 'packet')}, same bytes"


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
    constant_rate: float | None = None
    """Frames a second of the grid that pictures were repeated and left out for; None: the source's times were to be kept."""

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
        """One sentence: what was lost or changed, or that nothing was, as far as it was compared."""
        losses = list(dict.fromkeys(row.loss or row.name for row in self.differing))
        return f"Lost or changed: {listed(losses)}." if losses else NOTHING_LOST

    def with_damage(self, damage: Iterable[Damage]) -> VerifyReport:
        """The same report with a note for each damaged place of the source that was restored nevertheless."""
        notes = (
            Finding(f"frame {entry.index}", "sound", entry.kind, "note", f"The source is damaged: {str(entry).rstrip('.')}.")
            for entry in damage
        )
        return replace(self, rows=(*self.rows, *notes))

    def lines(self) -> list[str]:
        """A few lines for people."""
        found = [self._timing()]
        if self.shift:
            alike = ", sound and picture alike" if any(check.type == "audio" for check in self.streams) else ""
            found.append(f"everything begins {abs(self.shift):.3f} s {'earlier' if self.shift > 0 else 'later'}{alike}")
        found += map(str, self.streams)
        if self.chapters:
            found.append(counted(self.chapters, "chapter"))
        return [*found, *self.notices]

    def _timing(self) -> str:
        if self.constant_rate is not None:
            rate = f"{self.constant_rate:.3f}".rstrip("0").rstrip(".")
            return f"{counted(self.frames, 'picture')} at a constant rate of {rate} a second"
        if not self.pts_exact:
            worst = f"rounded to the container's tick, at most {self.largest_pts_error * 1e3:.2f} ms off"
            return f"{counted(self.frames, 'frame')}, timestamps {worst}"
        what = "distances between timestamps" if self.shift else "timestamps"
        return f"{counted(self.frames, 'frame')}, {what} exactly the source’s"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "verdict": self.verdict, "lost": self.lost}


def counted(number: int, noun: str, of: int | None = None) -> str:
    """1 packet, 2 packets; 1 of 3 packets."""
    told = str(number) if of is None else f"{number} of {of}"
    return f"{told} {noun}" if (number if of is None else of) == 1 else f"{told} {noun}s"


def were(number: int) -> str:
    """The verb to a number."""
    return "was" if number == 1 else "were"


def listed(words: list[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
