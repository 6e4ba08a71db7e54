"""Where the output goes: refused early if it cannot, written under a temporary name, given its name when whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from vidrestore.errors import (
    DiskFullError,
    FolderMissingError,
    MediaError,
    NotWritableError,
    OutputExistsError,
    SameFileError,
    StorageError,
    UsageError,
    VidrestoreError,
)
from vidrestore.media.output.containers import CONTAINERS, constant_rate_only, muxer_of

__all__ = [
    "CONTAINERS",
    "JOINED",
    "PendingFile",
    "check_place",
    "check_target",
    "constant_rate_only",
    "muxer_of",
    "same_file",
    "storage_error",
    "written_whole",
]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_USUAL_NAME_BYTES = 255
JOINED = "joined"
"""Beginning of the name of an output that grows in a folder of its own."""
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


def check_target(
    target: Path,
    source: Path | None,
    overwrite: bool = False,
    *,
    container: str | None = None,
    extensions: Collection[str] | None = None,
) -> None:
    """Raise now what would otherwise go wrong after hours: nothing is written, `source` may be None.

    Args:
        container: extension whose format is written whatever the name; None: the target's own.
        extensions: those the writer takes (with their dots, lower case); None: those of muxed files.

    Raises:
        UsageError: an unknown extension, or `target` is a folder.
        SameFileError: the output is the input, also through a symbolic or hard link.
        OutputExistsError: the output is there and `overwrite` is False.
        FolderMissingError, NotWritableError: the target folder.
        StorageError: the system refuses the name (too long, for example).
    """
    if extensions is None:
        muxer_of(target, container)
    elif (target.suffix.lower() if container is None else f".{container.removeprefix('.').lower()}") not in extensions:
        raise UsageError(f"{target.name} has no extension that can be written.", f"Use one of {', '.join(sorted(extensions))}.")
    check_place(target, source, overwrite)


def check_place(target: Path, source: Path | None, overwrite: bool = False, what: str = "output") -> None:
    """What `check_target` checks, but for the extension. `what` is what messages call it."""
    try:
        _check_place(target, source, overwrite, what)
    except OSError as error:
        raise storage_error(error, target) from None


def same_file(one: Path, other: Path) -> bool:
    """Whether both are one file, also through links; of what is not there yet, whether both are names of one place."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def _check_place(target: Path, source: Path | None, overwrite: bool, what: str) -> None:
    folder = target.parent
    if folder.is_file():
        raise FolderMissingError(f"{folder} is a file, not a folder.", f"Choose another {what}.")
    if not folder.is_dir():
        raise FolderMissingError(f"There is no folder {folder} for the {what}.")
    if source is not None and target.exists() and same_file(target, source):
        raise SameFileError(f"The output {target} is the input.")
    if target.is_dir():
        raise UsageError(f"{target} is a folder.", f"Give the {what} a file name.")
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} exists already.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NotWritableError(f"The folder {folder} may not be written to.")


def storage_error(error: Exception, target: Path) -> VidrestoreError:
    """The storage error that an OSError of the system or of FFmpeg means, for raising."""
    number = abs(getattr(error, "errno", 0) or 0)
    if number in _FULL:
        return DiskFullError(f"There is no space left for {target}.")
    if number in _REFUSED:
        return NotWritableError(f"The folder {target.parent} may not be written to.")
    if isinstance(error, OSError) and number:
        return StorageError(f"Writing {target} failed: {os.strerror(number)}.", "Check the disk.")
    reason = str(getattr(error, "strerror", None) or error).rstrip(".")
    return MediaError(f"{target} could not be written: {reason}.", "Try another container or --codec.")


class PendingFile:
    """A file beside `target` under a hidden temporary name, until `commit` gives it the name or `discard` removes it.

    `extension`, with its dot, is what the temporary name ends in, for what tells formats by names; None: the target's own.
    `folder` is one on the same disk that nobody else writes to, where it grows instead: what a killed process left there is
    replaced.
    """

    def __init__(self, target: Path, overwrite: bool, extension: str | None = None, folder: Path | None = None) -> None:
        self.target = target
        ending = target.suffix if extension is None else extension
        self.path = (
            _temporary_name(target, f".{os.getpid()}.part{ending}") if folder is None else folder / f"{JOINED}.part{ending}"
        )
        self._overwrite = overwrite
        try:
            self.path.unlink(missing_ok=True)
            self.path.touch()
        except OSError as error:
            raise storage_error(error, target) from None

    def commit(self) -> None:
        """Flush to the disk, then rename: whoever sees the name sees a whole file."""
        try:
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
            if self.target.exists() and not self._overwrite:
                raise OutputExistsError(f"{self.target} appeared while it was being written.")
            self.path.replace(self.target)
        except OSError as error:
            raise storage_error(error, self.target) from None
        # The file has its name: from here on nothing may be told as a failure. Windows and some network file systems
        # cannot flush a folder; there the name itself may be lost with the power, never a part of the file.
        with contextlib.suppress(OSError):
            folder = os.open(self.target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Remove the temporary file; harmless after `commit`."""
        self.path.unlink(missing_ok=True)


@contextmanager
def written_whole(target: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary name to write to inside `with`; the file gets its own at the end, and only if nothing was raised.

    Raises:
        OutputExistsError: `target` appeared meanwhile, without `overwrite`.
        StorageError: as `storage_error` tells.
    """
    pending = PendingFile(target, overwrite)
    try:
        yield pending.path
        pending.commit()
    except OSError as error:
        raise storage_error(error, target) from None
    finally:
        pending.discard()


def _temporary_name(target: Path, ending: str) -> Path:
    """`.stem` + `ending` beside `target`; a stem too long for the file system is cut and told apart by a digest."""
    try:
        longest = os.pathconf(target.parent, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):  # no such folder, or a system that does not say
        longest = _USUAL_NAME_BYTES
    stem = os.fsencode(target.stem)
    room = longest - len(os.fsencode(ending)) - 1
    if len(stem) > room:
        mark = hashlib.sha256(stem).hexdigest()[:8]
        stem = stem[: max(0, room - len(mark) - 1)].decode(errors="ignore").encode() + f".{mark}".encode()
    return target.with_name(f".{os.fsdecode(stem)}{ending}")
