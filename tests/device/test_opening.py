"""Which seat is opened, and what is said where none can be."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.device.seats import needs_gpu
from vidrestore.device import HostSeat, open_seat
from vidrestore.errors import RuntimeUnavailableError


def test_the_host() -> None:
    with open_seat("cpu") as seat:
        assert isinstance(seat, HostSeat) and seat.device == "cpu"


@pytest.mark.parametrize("wanted", ["torch", "pycuda"])
def test_a_gpu_s_seat_on_the_cpu_is_refused(wanted: str) -> None:
    with pytest.raises(RuntimeUnavailableError, match=f"The {wanted} seat works on a CUDA GPU, not on the CPU"):
        open_seat("cpu", wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["abacus", "cuda:", "cuda:one", "cuda:-1", "cudas", ""])
def test_what_is_no_device(device: str) -> None:
    with pytest.raises(RuntimeUnavailableError, match=f"There is no device '{device}'"):
        open_seat(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
@pytest.mark.parametrize("wanted", ["auto", "torch"])
def test_no_gpu_is_no_reason_to_take_the_cpu(wanted: str) -> None:
    with pytest.raises(RuntimeUnavailableError, match="'cuda' cannot be used: torch sees no CUDA device"):
        open_seat("cuda", wanted)  # type: ignore[arg-type]


@pytest.mark.skipif(find_spec("pycuda") is not None, reason="PyCUDA is installed")
def test_pycuda_that_is_not_installed() -> None:
    with pytest.raises(RuntimeUnavailableError, match="PyCUDA cannot be used: it is not installed") as caught:
        open_seat("cuda", "pycuda")
    assert "pip install 'vidrestore[pycuda]'" in str(caught.value)


def test_pycuda_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without NVIDIA's driver, where its library is missing."""
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda/__init__.py").write_text("")
    (tmp_path / "pycuda/driver.py").write_text("import ctypes\n\nctypes.CDLL('libcuda-that-is-missing.so.1')\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(RuntimeUnavailableError, match=r"PyCUDA cannot be used: it does not load \(libcuda-that-is-missing"):
            open_seat("cuda", "pycuda")
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
            del sys.modules[name]


@needs_gpu
def test_the_gpu_s_number_and_why() -> None:
    with pytest.raises(RuntimeUnavailableError, match="'cuda:99' cannot be used: CUDA GPUs here are numbered 0 to"):
        open_seat("cuda:99", "torch")
    with open_seat("cuda:0", "torch") as seat:
        assert (seat.device, seat.place, seat.why) == ("cuda:0", torch.device("cuda", 0), "it was asked for")
    with open_seat("cuda") as seat:
        assert seat.name == "pycuda" if seat.why == "PyCUDA is installed" else seat.why.startswith("PyCUDA cannot be used: ")
