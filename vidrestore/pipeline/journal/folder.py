"""The folder beside an output in which its job works: its name, whose it is, and flushing what is in it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vidrestore.errors import DiskFullError, StorageError
from vidrestore.media.output.sequence_sink import sequence_target
from vidrestore.media.output.target import storage_error
from vidrestore.pipeline.journal.lock import LOCK
from vidrestore.pipeline.journal.states import ENDING, JOURNAL
from vidrestore.pipeline.journal.store import RESUME, DamagedJournal

__all__ = [
    "is_ours",
    "job_folder",
    "output_name",
    "refused",
    "remove_entry",
    "require_ours",
    "state_of",
    "sync_file",
    "sync_folder",
    "work_bytes",
]

LONGEST_NAME = 255
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES}


def job_folder(output: str) -> Path:
    """Where the job of an output keeps its work: beside it, absolute; of an image sequence, beside its folder.

    A link in the way to the output is followed by whoever uses the path; the output's own name is not, as it will be replaced.
    """
    place = _place(output)
    name = os.fsencode(place.name)
    if len(name) + len(ENDING) > LONGEST_NAME:
        mark = hashlib.sha256(name).hexdigest()[:8]
        name = name[: LONGEST_NAME - len(ENDING) - len(mark) - 1].decode(errors="ignore").encode() + f".{mark}".encode()
    return place.with_name(os.fsdecode(name) + ENDING)


def output_name(output: str) -> str:
    """The name of an output without where it lies; of an image sequence its folder's, with a slash at the end."""
    return _place(output).name + ("" if sequence_target(output) is None else "/")


def _place(output: str) -> Path:
    sequence = sequence_target(output)
    place = (Path(output) if sequence is None else sequence[0]).absolute()
    return place.resolve() if place.name in ("", "..") else place


def work_bytes(output: str) -> int:
    """Bytes that the job of an output, begun earlier, has on the disk already; 0 where they cannot be counted."""
    total = 0
    for place, _, names in os.walk(job_folder(output)):
        for name in names:
            with contextlib.suppress(OSError):  # gone meanwhile
                total += Path(place, name).stat().st_size
    return total


def is_ours(folder: Path) -> bool:
    """Whether vidrestore made a folder; an empty one, or one that has just gone, is in nobody's way either."""
    try:
        names = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return True
    return not names or bool(names & {JOURNAL, LOCK})


def require_ours(folder: Path) -> None:
    """Nothing is ever removed from a folder that vidrestore did not make."""
    with refused(folder):
        if folder.is_symlink():
            raise StorageError(f"{folder} is a link.", "Remove it, or choose another output.")
        if folder.exists() and not (folder.is_dir() and is_ours(folder)):
            raise StorageError(f"{folder} is in the way: it is no job's folder.", "Move it away, or choose another output.")


def remove_entry(path: Path) -> None:
    """As far as it can be removed: what stays is in nobody's way."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder. Windows and some network file systems cannot; they keep names in order by themselves."""
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """The disk's errors in our words: the job can go on when they are mended."""
    try:
        yield
    except DamagedJournal as damage:
        raise StorageError(f"The journal in {path} {damage}.", f"Check the disk. {RESUME}") from damage
    except DiskFullError as error:
        error.next_step = f"Free some space. {RESUME}"
        raise
    except OSError as error:
        fault = storage_error(error, path)
        if isinstance(fault, DiskFullError):
            fault.next_step = f"Free some space. {RESUME}"
        raise fault from error


def state_of(path: Path) -> tuple[int, int, int]:
    """(size, mtime in ns, inode): a file that has not changed has the same."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ino
