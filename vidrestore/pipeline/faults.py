"""What the libraries below raise, said in vidrestore's own errors."""

from __future__ import annotations

import errno
from pathlib import Path

import torch

from vidrestore.errors import (
    DiskFullError,
    FolderMissingError,
    NotWritableError,
    OutOfMemoryError,
    StorageError,
    VidrestoreError,
)

__all__ = ["memory_fault", "storage_fault"]

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


def memory_fault(error: BaseException, doing: str) -> OutOfMemoryError | None:
    """The error to raise when `error` says that memory is used up, else None.

    torch has no exception class for the host's memory: its CPU allocator raises a RuntimeError that says so in words.
    """
    words = str(error)
    on_host = isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in words)
    if isinstance(error, torch.OutOfMemoryError):
        return OutOfMemoryError(f"The GPU's memory is used up while {doing}.")
    return OutOfMemoryError(f"The machine's memory is used up while {doing}.") if on_host else None


def storage_fault(error: BaseException, output: Path) -> VidrestoreError | None:
    """The error to raise when `error` is the disk's or the folder's refusal to hold `output`, else None."""
    code = getattr(error, "errno", None)  # PyAV's errors have one too and are not all OSErrors
    if code in FULL:
        return DiskFullError(f"There is no space left for {output.name} in {output.parent}.")
    if code in REFUSED:
        return NotWritableError(f"{output.parent} cannot be written to.")
    if code == errno.ENOENT:
        return FolderMissingError(f"The folder {output.parent} has gone.")
    if isinstance(error, OSError):
        return StorageError(f"{output} cannot be written: {error.strerror or error}.", "Check the disk.")
    return None
