"""What is known of a CUDA GPU and its driver, for logs and reports."""

from __future__ import annotations

import re
from pathlib import Path

import torch

__all__ = ["driver_in", "gpu_facts"]


def gpu_facts(place: torch.device) -> dict[str, str | int]:
    """Name, compute capability, processors, bytes of memory, PCI bus, driver, and the CUDA that torch was built for."""
    gpu = torch.cuda.get_device_properties(place)
    return {
        "gpu": gpu.name,
        "compute_capability": f"{gpu.major}.{gpu.minor}",
        "multiprocessors": gpu.multi_processor_count,
        "memory": gpu.total_memory,
        "driver": _driver(),
        "cuda": torch.version.cuda or "",
        "torch": torch.__version__,
    }


def _driver() -> str:
    """Version of NVIDIA's driver; `unknown` where the system does not tell (Windows)."""
    try:
        return driver_in(Path("/proc/driver/nvidia/version").read_text())
    except OSError:
        return "unknown"


def driver_in(said: str) -> str:
    """The version in what the kernel module says of itself; `unknown` if there is none."""
    found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", said)
    return found[1] if found else "unknown"
