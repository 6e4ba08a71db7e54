"""What a killed run left behind: is the journal whole, is the output whole or absent, is every worker gone?"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AFTER", "PHASES", "Wreck", "digest", "examine", "in_session"]

AFTER = "after the end"
"""The output has its name and the folder is gone: only the program's own end was struck."""
PHASES = ("start-up", "segments", "join", "naming", "clearing up", AFTER)
"""In which a kill may strike, in order."""


@dataclass(frozen=True)
class Wreck:
    """A job's folder as a kill left it."""

    phase: str
    """One of PHASES."""
    segments: int
    """Rows in the journal."""
    faults: tuple[str, ...]
    """What must not be: sentences; empty if all is well."""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def examine(output: Path, expected: str, pid: int) -> Wreck:
    """Look at what process `pid`, which is dead, left of the job of `output`; nothing is changed.

    Args:
        output: the file it was to write.
        expected: SHA-256 that it has to have, if it is there.
        pid: of the killed process; tells whether it had come as far as taking up the journal.
    """
    folder = output.with_name(output.name + ".vidrestore")
    faults = []
    complete = output.exists() and digest(output) == expected
    if output.exists() and not complete:
        faults.append("the output is there and is not the right one")
    allowed = {output.name, folder.name}
    faults += [f"{entry.name} lies beside the output" for entry in output.parent.iterdir() if entry.name not in allowed]
    state, segments = "", 0
    if (folder / "journal.sqlite").exists():
        state, segments, found = read_journal(folder, cleared=complete)
        faults += found
    return Wreck(_phase(output, folder, state, pid), segments, tuple(faults))


def read_journal(folder: Path, cleared: bool = False) -> tuple[str, int, list[str]]:
    """(state, rows, faults) of a journal. SQLite judges a copy: taking back a cut transaction is the next run's business.

    Args:
        folder: of the job.
        cleared: the output is there and right, so that segments, of which it is made, may be gone, one by one.
    """
    faults = []
    with tempfile.TemporaryDirectory() as name:
        for file in folder.glob("journal.sqlite*"):
            shutil.copy(file, name)
        with contextlib.closing(sqlite3.connect(Path(name, "journal.sqlite"))) as connection:
            try:
                verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
                if verdict != "ok":
                    faults.append(f"the journal is corrupt: {verdict}")
                if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    return "", 0, faults
                job = connection.execute("SELECT state, recorded FROM job").fetchone()
                rows = connection.execute("SELECT number, size, sha256 FROM segments").fetchall()
            except sqlite3.DatabaseError as error:
                return "", 0, [*faults, f"the journal is corrupt: {error}"]
    for number, size, sha256 in rows:
        path = folder / "segments" / f"{number:06d}.seg"
        if (
            not cleared
            and (folder / "segments").exists()
            and not (path.is_file() and path.stat().st_size == size and digest(path) == sha256)
        ):
            faults.append(f"segment {number} is recorded and not there whole")
    state = "" if job is None else "naming" if job[1] is not None else str(job[0])
    return state, len(rows), faults


def _phase(output: Path, folder: Path, state: str, pid: int) -> str:
    if not folder.exists():
        return AFTER if output.exists() else "start-up"
    if _holder(folder) != pid:
        # The lock's files go last: without them, beside the output, there was only the folder itself left to remove.
        return "clearing up" if output.exists() and not (folder / "lock").exists() else "start-up"
    if output.exists():
        return "clearing up"
    return {"joining": "join", "naming": "naming"}.get(state, "segments")


def _holder(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / "holder.json").read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return None


def in_session(session: int, patience: float = 5.0) -> list[int]:
    """Living processes of a session, such as workers whose parent was killed; waits for them to go, so long."""
    end = time.monotonic() + patience
    while (left := _living(session)) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def _living(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError):
            # Fields behind the name in brackets: state, parent, group, session (man 5 proc).
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX" and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found
