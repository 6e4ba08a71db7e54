"""Full-resolution passes over integer frames, compiled by numba. Import the module you need: numba is slow to load.

What was compiled is kept beside the modules, or in the user's cache folder where that cannot be written. Where neither can
(a system-wide installation run by a user without a home), it goes to a temporary folder of this process and its workers: they
compile once a run, some seconds, and nothing fails.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["settle_cache"]

VARIABLE = "NUMBA_CACHE_DIR"


def settle_cache(folders: Iterable[Path]) -> Path | None:
    """See to it that numba finds a place for compiled kernels. To be called before numba is loaded.

    Args:
        folders: where numba looks by itself.

    Returns:
        The temporary folder that it was given, or None: one of `folders` can be written, or the user has named one.
    """
    if os.environ.get(VARIABLE) or any(_can_be_written(folder) for folder in folders):
        return None
    folder = tempfile.mkdtemp(prefix="vidrestore-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = folder  # workers inherit it
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = folder
    return Path(folder)


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _own_folders() -> list[Path]:
    """Where numba keeps what it compiled: beside the module, or in the user's cache."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH118 (no home, no error)
    return [Path(__file__).resolve().parent / "__pycache__", Path(caches) / "numba"]


settle_cache(_own_folders())
