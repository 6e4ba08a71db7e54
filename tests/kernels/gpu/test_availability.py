"""Where the GPU kernels cannot run, a sentence says why; nothing loads Triton that does not need it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from vidrestore.kernels.gpu import availability


def test_reasons() -> None:
    assert availability("cpu") == "the GPU kernels need a CUDA device"
    pytest.importorskip("triton", reason="Triton is not installed")
    if torch.cuda.is_available():
        assert availability("cuda") is None
        assert "there are only" in (availability("cuda:99") or "")
    else:
        assert availability("cuda") == "torch sees no CUDA GPU"


def test_without_triton() -> None:
    code = (
        "import sys; sys.modules['triton'] = None; from vidrestore.kernels.gpu import availability;"
        "sys.exit(availability('cuda') != 'Triton is not installed (torch for CUDA brings it along on Linux)')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_room_itself_loads_neither_torch_nor_triton() -> None:
    code = "import sys, vidrestore.cli, vidrestore.kernels.gpu; sys.exit('triton' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
