"""What is measured, as values: frozen, no I/O, plain numbers with their units in their names."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "ChainFigures",
    "DeviceFigures",
    "EngineFigures",
    "Peak",
    "Report",
    "Section",
    "Spread",
    "StageFigures",
    "WholeFigures",
    "overhead",
]

SCHEMA = 1
"""Of the JSON; rises when a key changes its meaning or goes."""


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    lowest: float
    highest: float
    repeats: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Raises ValueError: there are none."""
        values = list(values)
        if not values:
            raise ValueError("a spread needs a value")
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class Section:
    """A part of the measuring, and how many cores other processes kept busy meanwhile."""

    name: str
    seconds: float
    others_cores: float
    """CPU seconds of other processes (and what a hypervisor took) / wall seconds."""


@dataclass(frozen=True)
class Peak:
    """The rate of plain square matrix products, the best of several sizes, before and after everything else."""

    precision: str
    before_gflops: float
    after_gflops: float | None
    size: int
    """Rows and columns of the product that was fastest."""

    @property
    def gflops(self) -> float:
        """The higher of both: what a share is a share of."""
        return max(self.before_gflops, self.after_gflops or 0.0)


@dataclass(frozen=True)
class EngineFigures:
    """Engines alone, real frames in memory in, restored frames in memory out: no decoding, blending or encoding."""

    name: str
    """Ids, joined by ` + ` where several run as one."""
    engines: tuple[str, ...]
    precision: str
    device: str
    threads: int
    """Of torch, on a CPU."""
    batch_size: int
    fps: Spread
    cpu_ms: float
    """CPU milliseconds a frame, all threads, median."""
    gflop_per_frame: float | None
    """Convolutions and matrix products by the networks' definition, in 1e9 operations; None: none, or they cannot be counted."""
    gflops: float | None
    """1e9 operations a second, at the median speed of the whole engine."""
    gemm_share: float | None
    """`gflops` / the peak of the same number format in the same run."""
    parts_ms: dict[str, float] = field(default_factory=dict)
    """Wall milliseconds a frame of the engine's own parts (`network`, `kernel` ...), where it can tell them apart."""
    network_gemm_share: float | None = None
    """As `gemm_share`, in the time of the part `network` alone."""


@dataclass(frozen=True)
class DeviceFigures:
    """Engines on a device, at one batch size: frames that lie there already, and frames that travel there and back."""

    name: str
    """Ids, joined by ` + ` where several run as one."""
    engines: tuple[str, ...]
    description: str
    """The engines, their runtime, device and precision in words."""
    precision: str
    device: str
    batch_size: int
    width: int
    height: int
    """Of the frames that go in, pixels."""
    resident: Spread
    """Frames a second where they lie on the device, and the result stays there; by the events of the stream that computes."""
    resident_clock_fps: float
    """The same from the first frame to the last, by the host's clock: where it is lower, the host was in the way."""
    host_to_host: Spread
    """Frames a second from page-locked memory of the host and back into it, while others are computed on and travel."""
    gflop_per_frame: float | None
    """As in EngineFigures."""
    gflops: float | None
    """1e9 operations a second, at the median speed of resident frames."""
    gemm_share: float | None
    """`gflops` / the peak of the same number format on the same device in the same run."""
    peak_mib: float | None
    """The most of the device's memory that was held meanwhile, engines included; None: on the host."""


@dataclass(frozen=True)
class StageFigures:
    """One stage running with nothing else, on real frames."""

    name: str
    """decode, engines, blend, encode or mux and verify."""
    wall_ms: Spread
    """Milliseconds a frame."""
    cpu_ms: Spread
    """CPU milliseconds a frame, all threads."""
    frames: int


@dataclass(frozen=True)
class WholeFigures:
    """Runs from file to file, each in a fresh process, with the settings of `vidrestore run`."""

    frames: int
    workers: int
    threads: int
    """Of torch, in each worker."""
    fps: Spread
    """Frames / seconds of the job: from reading the source to the verified output; start and planning are told apart."""
    command_seconds: Spread
    """From the start of the process to its end."""
    cpu_ms: Spread
    """CPU milliseconds a frame of the job, all threads and workers."""
    cores: int
    cores_busy: float
    """CPU seconds / (wall seconds * cores) of the job, 0..1, median."""
    cores_busy_steady: float | None
    """The same from the frame at a fifth of the job to that at 95 %; None: several workers, or too short to tell."""
    peak_memory_mib: float
    """Highest resident memory of the process and its workers, highest of all repeats."""
    device_peak_mib: float | None
    first_decoded_seconds: Spread | None
    """From the start of the process until the first frame of the run is decoded; None: no video file, or several workers."""
    first_trial_seconds: Spread | None
    """Until the first frame at all is decoded: planning tries a batch for its estimate."""
    busy_ms: dict[str, float]
    """Wall milliseconds a frame that each part was busy within the run, median; parts overlap."""
    slowest: str
    """The part that was busy longest in the run."""
    output_bytes: int | None
    sum_of_stages_ms: float | None = None
    """CPU milliseconds a frame of all stages alone, added up."""
    overhead: float | None = None
    """`cpu_ms` / `sum_of_stages_ms`: 1.0 if running together costs nothing."""


@dataclass(frozen=True)
class ChainFigures:
    """One chain of engines: its stages alone, and the whole."""

    name: str
    engines: tuple[str, ...]
    description: str
    width: int
    height: int
    output_width: int
    output_height: int
    clip: str
    """Which pictures, in words."""
    stages: tuple[StageFigures, ...]
    whole: WholeFigures


@dataclass(frozen=True)
class Report:
    """One invocation of `vidrestore bench`."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    busy: tuple[str, ...]
    """Why the machine was not quiet, in sentences; empty: it was."""
    sections: tuple[Section, ...]
    peaks: tuple[Peak, ...]
    engines: tuple[EngineFigures, ...]
    chains: tuple[ChainFigures, ...]
    devices: tuple[DeviceFigures, ...] = ()
    left_out: tuple[str, ...] = ()
    """What could not be measured, and why, in sentences."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        told = asdict(self)
        for peak, values in zip(self.peaks, told["peaks"], strict=True):
            values["gflops"] = peak.gflops
        return {"schema": SCHEMA, "quiet": not self.busy, **told}


def overhead(whole_cpu_ms: float, stages: Sequence[StageFigures]) -> tuple[float, float | None]:
    """(CPU milliseconds a frame of all stages alone, those of the whole in relation to it; None where there is no such sum)."""
    alone = sum(stage.cpu_ms.median for stage in stages)
    return alone, whole_cpu_ms / alone if alone > 0 else None
