"""The passes of `vidrestore.kernels` for a CUDA GPU: frames stay on the device, nothing waits for the host.

They are written in Triton, which comes with torch where torch brings CUDA along. Ask `availability` before importing one of the
modules: each loads Triton. All arithmetic is spelled out: multiplications and additions are fused where the source says `fma` and
nowhere else, roots and divisions round correctly. So a kernel gives the same bits on any device, and in Triton's interpreter
(TRITON_INTERPRET=1), which is how tests hold them to the CPU's kernels without a GPU.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

__all__ = ["OPTIONS", "availability", "check_place"]

OLDEST = (8, 0)
"""Compute capability below which Triton compiles nothing."""

OPTIONS: Mapping[str, bool] = {"enable_fp_fusion": False}
"""For every launch and compilation; see above."""


def availability(device: str) -> str | None:
    """Why these kernels cannot run on `device` (`cuda`, `cuda:1`); None if they can. Loads torch and Triton."""
    import torch

    if not device.startswith("cuda"):
        return "the GPU kernels need a CUDA device"
    try:
        import_module("triton")
    except ImportError:
        return "Triton is not installed (torch for CUDA brings it along on Linux)"
    if not torch.cuda.is_available():
        return "torch sees no CUDA GPU"
    number = torch.device(device).index or 0
    if number >= torch.cuda.device_count():
        return f"there are only {torch.cuda.device_count()} CUDA GPUs"
    capability = torch.cuda.get_device_capability(number)
    if capability < OLDEST:
        return f"its compute capability is {capability[0]}.{capability[1]}, Triton needs {OLDEST[0]}.{OLDEST[1]}"
    return _refusal(number)


@cache
def _refusal(number: int) -> str | None:
    """Why no kernel starts on a GPU: before 3.9, Triton compiles C for each, which takes a compiler and Python's headers."""
    import torch

    from vidrestore.kernels.gpu.pixel_maps import restore_frames

    try:
        restore_frames(torch.zeros((1, 1, 1, 3), dtype=torch.uint8, device=f"cuda:{number}"))
        torch.cuda.synchronize(number)
    except Exception as error:  # whatever it is of: the compiler, the linker, the driver
        return f"Triton cannot start a kernel: {(str(error) or type(error).__name__).splitlines()[0].rstrip('.')}"
    return None


def check_place(*tensors: torch.Tensor | None) -> None:
    """Raises ValueError: tensors that do not lie on one CUDA device together (or, in Triton's interpreter, on any one)."""
    import triton

    places = {tensor.device for tensor in tensors if tensor is not None}
    if len(places) > 1:
        raise ValueError(f"all tensors lie on one device, not on {', '.join(sorted(map(str, places)))}")
    if not triton.knobs.runtime.interpret and any(place.type != "cuda" for place in places):
        raise ValueError(f"the GPU kernels take tensors on a CUDA device, not on {places.pop()}")
