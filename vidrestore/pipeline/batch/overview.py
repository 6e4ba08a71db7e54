"""What `vidrestore jobs` shows: the record of a folder's batches and the journals of its jobs, put together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidrestore.errors import FolderMissingError
from vidrestore.pipeline.batch.record import Entry, read_record
from vidrestore.pipeline.journal.journal import JobState, read_jobs

__all__ = ["JobRow", "overview"]

KILLED = "It ended without a word: killed, or the power went."


@dataclass(frozen=True)
class JobRow:
    """One output."""

    output: str
    """Below the folder, with `/`."""
    state: str
    """waiting, running, joining, stopped, failed, done, missing (it was done, and is gone), or damaged (its journal)."""
    frames: int
    """Restored and kept."""
    frames_total: int | None
    segments: int
    segments_total: int | None
    reason: str
    source: str
    """Empty: unknown."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def overview(folder: Path) -> list[JobRow]:
    """Every output in `folder` and below that a batch has recorded or that has a journal, by name. Writes nothing.

    Raises:
        FolderMissingError: there is no such folder.
        StorageError: the folder or its record cannot be read.
    """
    if not folder.is_dir():
        raise FolderMissingError(f"There is no folder {folder}.", "Name the folder that the outputs are in.")
    found = read_record(folder)
    entries = {entry.name.rstrip("/"): entry for entry in found.entries}
    journals = {_name_of(state, folder): state for state in read_jobs(folder)}
    rows = []
    for name in sorted(entries.keys() | journals.keys()):
        entry, journal = entries.get(name), journals.get(name)
        if journal is not None:
            rows.append(_in_segments(name, journal, entry))
        elif entry is not None:
            rows.append(_recorded(name, entry, folder, found.working))
    return rows


def _name_of(state: JobState, folder: Path) -> str:
    place = state.folder.parent.relative_to(folder.absolute() if state.folder.is_absolute() else folder)
    return (place / state.output.rstrip("/")).as_posix()


def _in_segments(name: str, journal: JobState, entry: Entry | None) -> JobRow:
    return JobRow(
        output=name,
        state=journal.state,
        frames=journal.frames,
        frames_total=journal.frames_total,
        segments=journal.segments,
        segments_total=journal.segments_total,
        reason=journal.reason,
        source="" if entry is None else entry.source,
    )


def _recorded(name: str, entry: Entry, folder: Path, working: bool) -> JobRow:
    state, reason = entry.state, entry.reason
    if state == "working":
        # Before its first segment a job has no journal.
        state, reason = ("running", "") if working else ("stopped", KILLED)
    if state == "done" and not (folder / entry.name).exists() and "%" not in entry.name:
        state, reason = "missing", "It was done, and is no longer there."
    total = entry.frames if entry.state == "done" else None
    return JobRow(name, state, entry.frames, total, 0, None, reason, entry.source)
