"""One run for each output: a lock on a file in the job's folder, held by a living process only.

The system lets go of it when the process ends, however it ends. Workers never hold it: what is left of a killed run may still
write for a moment, but only into files whose names nobody else uses.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path

import filelock
import psutil

from vidrestore.errors import FolderMissingError, JobLockedError, StorageError
from vidrestore.media.output.target import storage_error

__all__ = ["HOLDER", "LOCK", "JobLock", "holder_of", "is_held"]

LOCK = "lock"
HOLDER = "holder.json"
PATIENCE = 2.0
"""Seconds to wait for a lock: somebody may be asking whether it is held."""
PATIENCE_WITH_THE_DEAD = 15.0
"""Seconds to wait for a holder that is ending: a killed process keeps its lock until the system has freed its memory."""
POLL = 0.05


class JobLock:
    """The right to work in a job's folder, which is made if it is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Released by whichever thread ends the job. No file system without locks: a lock that is only a file outlives a kill.
        self._lock = filelock.FileLock(folder / LOCK, thread_local=False)

    def take(self) -> None:
        """Wait a little, then give up.

        Raises:
            JobLockedError: a living process has it.
            FolderMissingError, NotWritableError, StorageError: there can be no folder, or no lock in it.
        """
        began = time.monotonic()
        while True:
            try:
                self._folder.mkdir(exist_ok=True)
                self._lock.acquire(timeout=0)
                break
            except filelock.Timeout:
                patience = PATIENCE_WITH_THE_DEAD if _holder_is_ending(self._folder) else PATIENCE
                if time.monotonic() - began > patience:
                    raise JobLockedError(f"Another run is working in {self._folder}: {holder_of(self._folder)}.") from None
            except FileNotFoundError:
                # A run that has ended well took its folder away between our two steps, or there is nothing to lie beside.
                if not self._folder.parent.is_dir() or time.monotonic() - began > PATIENCE:
                    raise FolderMissingError(f"There is no folder {self._folder.parent}.") from None
            except FileExistsError as error:
                # Something of that name was there; if it is gone by now, it was such a folder, taken away as above.
                if os.path.lexists(self._folder) and not self._folder.is_dir():
                    raise storage_error(error, self._folder) from None
                if time.monotonic() - began > PATIENCE:
                    raise storage_error(error, self._folder) from None
            except NotImplementedError:
                raise StorageError(f"The file system of {self._folder} has no locks.", "Choose another output.") from None
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._folder.rmdir()  # made above; one that is in use is not empty
                raise storage_error(error, self._folder) from None
            time.sleep(POLL)
        if not isinstance(self._lock, filelock.UnixFileLock | filelock.WindowsFileLock):
            self._lock.release()
            raise StorageError(f"The file system of {self._folder} has no locks.", "Choose another output.")
        holder = {"pid": os.getpid(), "host": socket.gethostname()}
        with contextlib.suppress(OSError):  # only for people; a full disk will be told by what matters
            (self._folder / HOLDER).write_text(json.dumps(holder), encoding="utf-8")

    def remove(self) -> None:
        """Take the lock's files away while it is held, then let go."""
        for name in (HOLDER, LOCK):
            with contextlib.suppress(OSError):  # Windows keeps a file that is open
                (self._folder / name).unlink()
        self.release()

    def release(self) -> None:
        """Let go. Harmless when called again."""
        self._lock.release(force=True)


def is_held(folder: Path) -> bool:
    """Whether a living process works in a job's folder. The lock is asked for and given back at once, never kept."""
    if not (folder / LOCK).is_file():
        return False
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError:  # not ours to write: nobody who could be asked
        return _holder_lives(folder)
    lock.release()
    return False


def holder_of(folder: Path) -> str:
    """Who works in the folder, or did last, in words."""
    pid, host = _holder(folder)
    if pid is None:
        return "an unknown process"
    return f"process {pid}" if host == socket.gethostname() else f"process {pid} on {host}"


def _holder(folder: Path) -> tuple[int | None, str]:
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return int(holder["pid"]), str(holder["host"])
    except (OSError, ValueError, KeyError, TypeError):  # not there, or half-written
        return None, ""


def _holder_lives(folder: Path) -> bool:
    pid, host = _holder(folder)
    return pid is not None and host == socket.gethostname() and psutil.pid_exists(pid)


def _holder_is_ending(folder: Path) -> bool:
    pid, host = _holder(folder)
    if pid is None or host != socket.gethostname():
        return False
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return not psutil.pid_exists(pid)
