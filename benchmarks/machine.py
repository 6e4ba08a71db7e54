"""What machine and what code a figure belongs to."""

from __future__ import annotations

import platform
import subprocess
from datetime import date
from pathlib import Path

import psutil
import torch

__all__ = ["about"]


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def about() -> dict[str, object]:
    """Processor, cores, memory, versions, commit and date."""
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": head.stdout.strip() or "unknown",
        "date": date.today().isoformat(),
    }
