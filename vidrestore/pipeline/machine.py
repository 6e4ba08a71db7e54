"""What a run needs to know of the machine, and a report says of it."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import vidrestore

__all__ = [
    "available_cores",
    "encoder_kind",
    "load_average",
    "peak_memory",
    "processor_kind",
    "processor_name",
    "return_free_memory",
    "versions",
]


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """Highest resident memory of this process, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def return_free_memory() -> bool:
    """Hand memory that the allocator keeps for later back to the system; False where the C library has no such call.

    glibc keeps the gaps between pictures that several threads allocate and free: over an hour of 720p they grew to a fifth
    of the whole. `malloc_trim` gives their pages back (man 3 malloc_trim).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # musl has none
        return False
    return True


def load_average() -> float | None:
    """Processes running or waiting, averaged over the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def processor_name() -> str:
    """The model of the CPU in the vendor's words, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def processor_kind(device: str) -> str:
    """What can change the bits of an engine's result from one machine to another: the GPU's model, or the CPU's instructions."""
    import torch

    from vidrestore.runtimes import runtime_class

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"CPU {torch.backends.cpu.get_cpu_capability()}, {runtime_class('torch').native_precision(device)}"


def encoder_kind(name: str) -> str:
    """What can change the bits of a GPU's encoder: it, the GPU's model and its driver. `name`: FFmpeg's of the encoder."""
    import torch

    from vidrestore.device.gpu_facts import gpu_facts

    if not torch.cuda.is_available():
        return f"{name} of a GPU that torch does not see"
    facts = gpu_facts(torch.device("cuda", torch.cuda.current_device()))
    return f"{name} of {facts['gpu']}, driver {facts['driver']}"


def versions() -> dict[str, str]:
    """Of vidrestore and of what its results depend on; names no machine."""
    packages = {"torch": "torch", "av": "av", "numpy": "numpy", "opencv": "opencv-python-headless", "numba": "numba"}
    found = {"vidrestore": vidrestore.__version__}
    for name, package in packages.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:  # another distribution of the same module
            found[name] = "unknown"
    return found | {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
