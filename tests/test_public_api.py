"""The public API: pinned, lazy, and all there."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import vidrestore

NAMES = [
    "Job",
    "MediaInfo",
    "Plan",
    "Progress",
    "Result",
    "RunConfig",
    "VidrestoreError",
    "__version__",
    "probe",
    "restore",
    "write_report",
]


def test_all_is_pinned_and_real() -> None:
    assert vidrestore.__all__ == NAMES == dir(vidrestore)
    for name in NAMES:
        assert getattr(vidrestore, name) is not None


def test_a_checkout_says_which_version_it_came_from() -> None:
    declared = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"]["version"]
    assert vidrestore.__version__ in (declared, f"{declared}{vidrestore.CHECKOUT}")


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(vidrestore, "restore_everything")


def test_importing_loads_neither_torch_nor_av() -> None:
    code = "import sys, vidrestore; print([name for name in ('torch', 'av', 'numpy', 'pydantic') if name in sys.modules])"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
