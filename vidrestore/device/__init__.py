"""Memory, streams and events of the device that engines work on."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Literal

import torch

from vidrestore.device.base import Event, Memory, Seat, Stream
from vidrestore.device.host_seat import HostSeat
from vidrestore.errors import RuntimeUnavailableError

__all__ = ["Event", "HostSeat", "Memory", "Seat", "Stream", "open_seat"]

ASKED = "it was asked for"
EXTRA = "pip install 'vidrestore[pycuda]' builds PyCUDA, which needs the CUDA toolkit; --device cuda also works without it."


def open_seat(device: str, wanted: Literal["auto", "torch", "pycuda"] = "auto") -> Seat:
    """A seat on a device: the host's for `cpu`; for `cuda` and `cuda:1` PyCUDA's where it is installed, else torch's.

    Args:
        device: `cpu`, `cuda` or `cuda:1`.
        wanted: who is to manage a GPU's memory and streams.

    Raises:
        RuntimeUnavailableError: no such device, PyCUDA is asked for and cannot be used, or a GPU's seat on the CPU.
    """
    if device == "cpu":
        if wanted != "auto":
            raise RuntimeUnavailableError(f"The {wanted} seat works on a CUDA GPU, not on the CPU.", "Use --device cuda.")
        return HostSeat()
    missing = _pycuda_missing() if wanted != "torch" else None
    if wanted == "pycuda" and missing is not None:
        raise RuntimeUnavailableError(f"PyCUDA cannot be used: {missing}.", EXTRA)
    _check_gpu(device)
    if wanted == "torch" or missing is not None:
        from vidrestore.device.torch_seat import TorchSeat

        return TorchSeat(device, ASKED if missing is None else f"PyCUDA cannot be used: {missing}")
    from vidrestore.device.pycuda_seat import PyCudaSeat

    return PyCudaSeat(device, ASKED if wanted == "pycuda" else "PyCUDA is installed")


def _check_gpu(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()) or device.endswith(":"):
        raise RuntimeUnavailableError(f"There is no device {device!r}.", "Devices: cpu, cuda, cuda:1.")
    if not torch.cuda.is_available():
        raise RuntimeUnavailableError(f"The device {device!r} cannot be used: torch sees no CUDA device.")
    if number and int(number) >= torch.cuda.device_count():
        raise RuntimeUnavailableError(
            f"The device {device!r} cannot be used: CUDA GPUs here are numbered 0 to {torch.cuda.device_count() - 1}."
        )


def _pycuda_missing() -> str | None:
    """Why PyCUDA cannot be imported; None: it can."""
    if find_spec("pycuda") is None:
        return "it is not installed"
    try:
        import_module("pycuda.driver")
    except (ImportError, OSError) as error:
        return f"it does not load ({error})"
    return None
