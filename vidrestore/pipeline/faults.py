"""What the libraries below raise, said in vidrestore's own errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from vidrestore.errors import OutOfMemoryError, VidrestoreError
from vidrestore.media.output.target import storage_error

__all__ = ["explained", "memory_fault", "memory_guard"]

_ON_DEVICE = re.compile(r"CUDA.*out of memory|cu[A-Z]\w+ failed: out of memory|CU(BLAS|DNN|FFT)_STATUS_ALLOC_FAILED", re.DOTALL)


def memory_fault(error: BaseException, doing: str) -> OutOfMemoryError | None:
    """The error to raise when `error` says that memory is used up, else None.

    torch has no exception class for the host's memory: its CPU allocator raises a RuntimeError that says so in words, as the
    driver and NVIDIA's libraries do of the GPU's where they allocate by themselves.
    """
    on_host = isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    if isinstance(error, torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and _ON_DEVICE.search(str(error))):
        return OutOfMemoryError(f"The GPU's memory is used up while {doing}.")
    return OutOfMemoryError(f"The machine's memory is used up while {doing}.") if on_host else None


def explained(error: BaseException, doing: str, output: Path | None = None) -> BaseException:
    """`error` in our words, with itself as the cause; unchanged where there is no better word for it.

    Args:
        error: what was raised.
        doing: what was being done, as in "while restoring frame 3".
        output: the file being written, if any.
    """
    if isinstance(error, VidrestoreError):
        return error
    fault: VidrestoreError | None = memory_fault(error, doing)
    if fault is None and output is not None and isinstance(error, OSError):
        fault = storage_error(error, output)
    if fault is None:
        return error
    fault.__cause__ = error
    return fault


@contextmanager
def memory_guard(doing: str) -> Iterator[None]:
    """Inside, running out of memory raises our OutOfMemoryError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if fault := memory_fault(error, doing):
            raise fault from error
        raise
