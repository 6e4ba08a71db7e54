"""The rows of a batch, one for each file: how it stands, and how far all of them are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vidrestore.errors import InterruptedJob, ReportError, VidrestoreError
from vidrestore.pipeline.batch.gather import Item
from vidrestore.pipeline.batch.record import Entry, Mark, place_of
from vidrestore.pipeline.plan import Result

__all__ = ["SEVERITY", "BatchProgress", "BatchResult", "Row", "State", "done_entry", "measure", "worst"]

State = Literal["waiting", "working", "done", "done already", "failed", "stopped"]

SEVERITY = (InterruptedJob.exit_code, 1, 6, 5, 4, 2, 3, ReportError.exit_code)
"""Exit codes, the worst first: what meets every file (we are at fault, the disk, the machine, the engines) before what was asked
wrongly, and that before what lies in one file; last what leaves every output done."""
TRUST_SECONDS = 3.0
"""Before so much work no time left is told."""


@dataclass
class Row:
    """One file. Written by the thread that restores it, read by the one that tells."""

    item: Item
    state: State = "waiting"
    reason: str = ""
    """Why it failed, stopped or was done already, for people."""
    exit_code: int = 0
    frames: int = 0
    """Restored, those of earlier runs included."""
    resumed: int = 0
    """Of `frames`, those of earlier runs."""
    total: int | None = None
    """Expected; None: unknown."""
    pixels: int = 0
    """Of a picture of the source; 0: unknown."""
    seconds: float = 0.0
    """That this run spent on it."""
    result: Result | None = None
    notices: tuple[str, ...] = ()
    error: BaseException | None = None
    recorded: bool = False
    """Whether the record knows it as done, whatever this run makes of it."""

    @property
    def source(self) -> str:
        """Absolute path, of images of their folder: what the record calls it."""
        return str(place_of(self.item.source).absolute())

    @property
    def work(self) -> float | None:
        """Pixels to restore in all; None: unknown."""
        return None if self.total is None or not self.pixels else float(self.total * self.pixels)

    def fail(self, error: BaseException) -> None:
        """Take an error for the reason."""
        self.error = error
        if isinstance(error, VidrestoreError):
            self.reason, self.exit_code = str(error), error.exit_code
        else:
            what = f"Something unforeseen went wrong: {type(error).__name__}: {error}."
            self.reason = f"{what} Please report it with the output of the same command under VIDRESTORE_DEBUG=1."
            self.exit_code = 1
        self.reason = " ".join(self.reason.split())
        self.state = "failed"

    def stop(self, reason: str) -> None:
        self.reason, self.exit_code = reason, InterruptedJob.exit_code
        self.state = "stopped"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "source": self.item.source,
            "output": self.item.output,
            "state": self.state,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "frames": self.frames,
            "resumed_frames": self.resumed,
            "seconds": self.seconds,
            "notices": list(self.notices),
            "result": None if self.result is None else self.result.as_dict(),
        }


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is."""

    rows: Sequence[Row]
    surveyed: bool
    """False: it is still looking at what there is."""
    stopping: bool
    ended: int
    """Files that are done, were done already, failed or stopped."""
    work: float
    """Pixels restored so far of the files that are to be restored, those of earlier runs included."""
    work_total: float
    seconds: float
    """Since this run restored its first frame."""
    seconds_left: float | None
    """By pixels, at the speed of this run so far; None: too early to tell."""


@dataclass(frozen=True)
class BatchResult:
    """A batch that has ended."""

    rows: tuple[Row, ...]
    seconds: float
    notices: tuple[str, ...] = ()
    abandoned: bool = False
    """A thread of it could not be ended: whoever wants the process to end has to end it hard."""

    def count(self, state: State) -> int:
        return sum(row.state == state for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0: all are done or were done already (or, of a look, would be restored); else the worst of them, see SEVERITY."""
        return worst(row.exit_code for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        states: tuple[State, ...] = ("done", "done already", "failed", "stopped", "waiting")
        return {
            "files": [row.as_dict() for row in self.rows],
            "counts": {state: self.count(state) for state in states},
            "seconds": self.seconds,
            "notices": list(self.notices),
            "exit_code": self.exit_code,
        }


def worst(codes: Any) -> int:
    """The exit code that stands for several: the first of SEVERITY among them, 0 if all are."""
    found = {code for code in codes if code}
    return next((code for code in SEVERITY if code in found), min(found, default=0))


def measure(rows: Sequence[Row], seconds: float, surveyed: bool, stopping: bool) -> BatchProgress:
    """How far `rows` are, `seconds` after this run restored its first frame.

    A file of unknown length counts as much as the others on average.
    """
    ended = [row for row in rows if row.state not in ("waiting", "working")]
    to_do = [row for row in rows if row.state in ("waiting", "working", "done")]
    known = [row.work for row in to_do if row.work is not None]
    average = sum(known) / len(known) if known else 0.0
    finished = total = fresh = 0.0
    for row in to_do:
        restored = float(row.frames * row.pixels)
        # A header may promise fewer pictures than there are.
        whole = max(restored, row.work if row.work is not None else average)
        finished += whole if row.state == "done" else restored
        total += whole
        fresh += (row.frames - row.resumed) * row.pixels
    left = None
    if fresh > 0 and seconds >= TRUST_SECONDS and not stopping:
        left = (total - finished) / (fresh / seconds)
    return BatchProgress(rows, surveyed, stopping, len(ended), finished, total, seconds, left)


def done_entry(row: Row, settings: str, source: Mark, target: Mark) -> Entry:
    """A finished file, for the record."""
    return Entry(
        row.item.name,
        row.source,
        "done",
        settings=settings,
        frames=row.frames,
        seconds=row.seconds,
        input_size=source.size,
        input_mtime_ns=source.mtime_ns,
        input_sha256=source.sha256,
        output_size=target.size,
        output_mtime_ns=target.mtime_ns,
        output_sha256=target.sha256,
    )
