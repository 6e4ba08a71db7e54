"""How the jobs in a folder stand, read from their journals without disturbing them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidrestore.errors import StorageError
from vidrestore.pipeline.journal.lock import holder_of, is_held
from vidrestore.pipeline.journal.store import DamagedJournal, Store

__all__ = ["ENDING", "JOURNAL", "JobState", "kept_fact", "kept_frames", "read_jobs", "recorded_output"]

JOURNAL = "journal.sqlite"
ENDING = ".vidrestore"
KILLED = "It ended without a word: killed, the power went, or the disk was full."


@dataclass(frozen=True)
class JobState:
    """A job that has not ended well yet, or is in work."""

    folder: Path
    """Where its journal is."""
    output: str
    """The output's name; it lies, or will lie, beside the folder. A folder of images ends in a slash."""
    state: str
    """running, joining, stopped (by the user, or killed), failed, finished (only cleaning up is left), or damaged: nothing can be
    read."""
    segments: int
    """Done."""
    segments_total: int | None
    """None: not known yet."""
    frames: int
    """Pictures of the segments done."""
    frames_total: int | None
    reason: str
    """Why it stopped or failed, as a sentence; empty otherwise."""
    working: bool
    """Whether a process works on it now."""
    holder: str
    """Which one does, in words; empty if none."""
    changed: float
    """Seconds since 1970 when it last got on; 0: unknown."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"folder": str(self.folder)}


def read_jobs(folder: Path) -> list[JobState]:
    """The jobs whose outputs go to `folder` or below, sorted by where they lie. A journal that cannot be read is told as damaged.

    Raises:
        StorageError: `folder` itself cannot be read.
    """
    found = []

    def told(error: OSError) -> None:
        if error.filename is not None and Path(error.filename) == folder:
            raise StorageError(f"{folder} cannot be read: {error.strerror}.", "Check the path.") from None

    for place, names, _ in os.walk(folder, onerror=told):
        jobs = [name for name in names if name.endswith(ENDING) and name != ENDING]
        names[:] = [name for name in names if name not in jobs]
        found += [Path(place, name) for name in jobs if Path(place, name, JOURNAL).is_file()]
    states = [_state_of(job) for job in sorted(found)]
    return [state for state in states if state is not None]


def recorded_output(folder: Path) -> dict[str, Any] | None:
    """What the journal in a job's folder recorded of the joined output; None: nothing, or no journal that can be read."""
    if not (folder / JOURNAL).is_file():
        return None
    try:
        with _opened(folder) as store:
            return store.recorded()
    except (DamagedJournal, StorageError, OSError):
        return None


def kept_frames(folder: Path) -> int:
    """Frames whose segments the journal in a job's folder counts as done; 0 where there is none that can be read."""
    state = _state_of(folder) if (folder / JOURNAL).is_file() else None
    return 0 if state is None else state.frames


def kept_fact(folder: Path, name: str) -> Any:
    """What the journal in a folder says under `name`, if it counts segments as done; None: nothing, or none that can be read."""
    if not (folder / JOURNAL).is_file():
        return None
    try:
        with _opened(folder) as store:
            return store.facts().get(name) if store.counts()[0] else None
    except (DamagedJournal, StorageError, OSError):
        return None


def _state_of(folder: Path) -> JobState | None:
    working = is_held(folder)
    holder = holder_of(folder) if working else ""
    try:
        with _opened(folder) as store:
            return _read(folder, store, working, holder)
    except (DamagedJournal, StorageError, OSError) as error:
        if not (folder / JOURNAL).exists():  # it ended well while we looked
            return None
        reason = f"Its journal {error}." if isinstance(error, DamagedJournal) else f"Its journal cannot be read: {error}"
        name = folder.name.removesuffix(ENDING)
        return JobState(folder, name, "damaged", 0, None, 0, None, reason, working, holder, 0.0)


@contextmanager
def _opened(folder: Path) -> Iterator[Store]:
    """The journal of a folder, for reading: itself or, if a transaction that a kill cut off has to be taken back, a copy.

    Taking it back in its place is for the next run of that job: it writes, and a reader has no right to.
    """
    try:
        store = Store.open_to_read(folder / JOURNAL)
    except (DamagedJournal, StorageError):
        with tempfile.TemporaryDirectory() as copy:
            for file in folder.glob(f"{JOURNAL}*"):
                shutil.copy(file, copy)
            with contextlib.closing(Store.open(Path(copy, JOURNAL))) as store:
                yield store
        return
    with contextlib.closing(store):
        yield store


def _read(folder: Path, store: Store, working: bool, holder: str) -> JobState | None:
    job, facts, (segments, frames) = store.job(), store.facts(), store.counts()
    state, reason, changed = store.state()
    if job is None:
        return None
    if state in ("running", "joining") and not working:
        state, reason = "stopped", KILLED
    return JobState(
        folder=folder,
        output=job[0],
        state=state,
        segments=segments,
        segments_total=_count(facts.get("segments")),
        frames=frames,
        frames_total=_count(facts.get("frames")),
        reason=reason,
        working=working,
        holder=holder,
        changed=changed,
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
