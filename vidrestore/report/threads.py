"""How many threads the libraries take that take all cores by default, each beside the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2

__all__ = ["threads_of"]


@contextmanager
def threads_of(count: int, *, opencv: bool = True, torch: bool = True) -> Iterator[None]:
    """Give `count` threads to those named; afterwards they have as many as before. Torch is loaded only where it is named."""
    former = cv2.getNumThreads()
    former_torch = None
    if torch:
        import torch as library

        former_torch = library.get_num_threads()
        library.set_num_threads(count)
    if opencv:
        cv2.setNumThreads(count)
    try:
        yield
    finally:
        if opencv:
            cv2.setNumThreads(former)
        if former_torch is not None:
            library.set_num_threads(former_torch)
