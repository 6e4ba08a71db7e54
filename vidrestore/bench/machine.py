"""The machine that figures belong to, and whether others used it while they were taken."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import vidrestore
from vidrestore.bench.figures import Section
from vidrestore.pipeline.machine import available_cores, load_average, processor_name

__all__ = ["Watch", "about_machine", "commit", "reasons_for_busy"]

BUSY_SHARE = 0.05
"""Of the cores: more than this in other processes' hands, and the machine is busy."""
BUSY_LOAD = 0.25
"""Of the cores: more than this as load average before we begin, and somebody has just been working here."""
LOOK_SECONDS = 2.0
SHORTEST_SECONDS = 0.5
"""Processor time is counted in ticks of 10 ms: a shorter section says nothing about others."""
PACKAGES = ("torch", "numpy", "numba", "openvino", "av", "opencv-python-headless")
GPU_PACKAGES = ("triton", "tensorrt-rtx-cu13-libs", "tensorrt", "pycuda", "nvidia-cudnn-cu13")
"""What figures of a GPU depend on besides."""


def about_machine() -> dict[str, Any]:
    """Processor, GPU, cores, memory, versions, commit and date."""
    import torch

    on_gpu = torch.cuda.is_available()
    versions = {name: version for name in (*PACKAGES, *(GPU_PACKAGES if on_gpu else ())) if (version := _version(name))}
    return {
        "processor": processor_name(),
        "cores": available_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "vidrestore": vidrestore.__version__,
        "commit": commit(),
        "versions": versions | ({"cuda": torch.version.cuda} if on_gpu else {}),
        "date": date.today().isoformat(),
    }


def commit(folder: Path | None = None) -> str | None:
    """The commit of the checkout that this package lies in, with `+` where files were changed; None outside of one."""
    root = folder or Path(vidrestore.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=folder, check=True, timeout=30).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class _Sample:
    """CPU seconds used so far."""

    moment: float
    own: float
    """By this process and all its descendants, ended ones included."""
    system: float | None
    """By everybody, and what a hypervisor took; None where the counters are those of a larger machine."""
    others: dict[tuple[int, float], float]
    """(process id, time it began) -> its own."""


class Watch:
    """Sees how many cores other processes keep busy, section by section.

    Two ways, of which the higher counts: the processes that can be seen, one by one, and the system's own counters less
    what we used, which also know processes that came and went. Looking costs a millisecond before and after a section,
    nothing while it runs.
    """

    def __init__(self) -> None:
        self.cores = available_cores()
        self.load_before = load_average()
        self.sections: list[Section] = []

    def look(self, seconds: float | None = None) -> Section:
        """Do nothing for a while (None: two seconds) and see what others do."""
        with self.section("before"):
            time.sleep(LOOK_SECONDS if seconds is None else seconds)
        return self.sections[-1]

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Everything within is one section; nothing is noted if it raises."""
        before = self._sample()
        yield
        after = self._sample()
        seconds = after.moment - before.moment
        others = _others(before, after) / seconds if seconds > 0 else 0.0
        self.sections.append(Section(name, seconds, min(max(others, 0.0), float(self.cores))))

    def busy(self) -> tuple[str, ...]:
        """Why the machine was not quiet, in sentences; empty: it was."""
        return reasons_for_busy(self.sections, self.load_before, self.cores)

    def _sample(self) -> _Sample:
        me = psutil.Process()
        family = {me.pid: me}
        family.update({child.pid: child for child in me.children(recursive=True)})
        own = sum(_seconds(process, ended_children=True) for process in family.values())
        others = {}
        for process in psutil.process_iter():
            if process.pid not in family:
                try:
                    others[process.pid, process.create_time()] = _seconds(process)
                except psutil.Error:
                    continue
        return _Sample(time.perf_counter(), own, self._system(), others)

    def _system(self) -> float | None:
        if psutil.cpu_count() != self.cores:
            return None
        times = psutil.cpu_times()
        return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def _seconds(process: psutil.Process, ended_children: bool = False) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it has ended, or we may not look
        return 0.0
    seconds = times.user + times.system
    if ended_children:
        seconds += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(seconds)


def _others(before: _Sample, after: _Sample) -> float:
    """CPU seconds of others between two samples."""
    seen = sum(max(0.0, seconds - before.others.get(process, 0.0)) for process, seconds in after.others.items())
    if before.system is None or after.system is None:
        return seen
    return max(seen, (after.system - before.system) - (after.own - before.own))


def reasons_for_busy(sections: Sequence[Section], load: float | None, cores: int) -> tuple[str, ...]:
    """Why a machine was not quiet: others at work in a section, or a load average that says somebody just was.

    Args:
        sections: what was seen of others.
        load: processes running or waiting, averaged over the minute before; None: the system does not tell.
        cores: of the machine.
    """
    reasons = []
    if load is not None and load > BUSY_LOAD * cores:
        reasons.append(f"the load average before the first measurement was {load:.2f} on {cores} cores")
    loud = [s for s in sections if s.seconds >= SHORTEST_SECONDS and s.others_cores > BUSY_SHARE * cores]
    if loud:
        worst = max(loud, key=lambda section: section.others_cores)
        where = f"in {len(loud)} of {len(sections)} sections, most in '{worst.name}'"
        reasons.append(f"other processes used up to {worst.others_cores:.2f} of {cores} cores ({where})")
    return tuple(reasons)
