"""What a job is going to do, and what it did: two frozen records for people and for programs."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidrestore.config import DEFAULT_CRF
from vidrestore.errors import DiskFullError
from vidrestore.media.proof.findings import counted, were
from vidrestore.pipeline.batch_choice import BatchChoice
from vidrestore.types import StreamInfo

__all__ = [
    "EngineSummary",
    "Plan",
    "Progress",
    "Result",
    "Seconds",
    "check_space",
    "clock",
    "estimate_bytes",
    "expected_frames",
    "size_text",
    "written_bytes",
]

BITS_PER_PIXEL = {
    "h264": 0.20, "hevc": 0.13, "av1": 0.10, "vp9": 0.13, "prores": 4.0, "ffv1": 7.0, "png": 14.0, "mjpeg": 2.0, "gif": 4.0
}  # fmt: skip
"""Typical of night footage at the default crf; busy pictures need up to twice as much, calm ones a tenth."""
RAW_BITS_PER_PIXEL = 24.0
CRF_HALVES = {"h264": 6, "hevc": 6, "av1": 10, "vp9": 8}
"""Raising the crf by this much about halves the bit rate."""


@dataclass(frozen=True)
class EngineSummary:
    """An engine that runs, as told to people and programs."""

    id: str
    task: str
    tier: str
    generative: bool
    """True: it invents detail, so that the result is no evidence."""
    licence: str
    sha256: str | None
    """Of its weights; None: it has none."""


@dataclass(frozen=True)
class Plan:
    """A job before it runs. Estimates are marked as such; None where nothing is known."""

    source: str
    output: str
    width: int
    height: int
    output_width: int
    output_height: int
    source_codec: str
    frame_rate: float | None
    """Average frames a second, from the header."""
    frames: int | None
    """Frames to restore: counted, where the source has an index, else estimated from the header; None: nothing is known."""
    counted: bool
    """Whether `frames` was counted."""
    engines: tuple[EngineSummary, ...]
    device: str
    description: str
    """The engines in their own words: ids, runtime, device, precision; why not another runtime, where that was left open."""
    batch_size: int
    threads: int
    """Of torch, in each worker: for the engines."""
    decode_threads: int
    """Of the decoder, where it decodes several pictures at a time."""
    encode_threads: int
    """Of the encoder. Beside these, decoding, blending and encoding have one thread each, in which the rest is done."""
    workers: int
    segments: int | None
    """Pieces that are restored and kept on their own; None: not known before, or one single pass."""
    resumable: bool
    """Whether a stopped job goes on where it was."""
    temporal: bool
    container: str
    """FFmpeg's name of what is written."""
    codec: str
    pixel_format: str
    bit_depth: int
    """Bits of a written sample."""
    estimated_frame_seconds: float | None
    """Seconds for one frame in engines and blending, measured on the first batch; None for a pipe."""
    estimated_seconds: float | None
    """For the frames that are not kept already."""
    estimate_basis: str
    estimated_bytes: int | None
    """Size of the output, by a rule of thumb."""
    free_bytes: int | None
    """Free space in the output's folder; None for a pipe."""
    notices: tuple[str, ...]
    """What a user should know of the output before the work."""
    settings: dict[str, Any]
    kept_frames: int = 0
    """That an earlier run of this output has kept; if its input or settings were others, the run does not go on from them."""
    decoder: str = "cpu"
    """Who decodes: `cpu`, or `nvdec` of the engines' GPU."""
    encoder: str = ""
    """FFmpeg's name of the encoder; empty for images, gif and y4m."""
    batch: BatchChoice | None = None
    """How `batch_size` was chosen, and what a GPU's memory has for it; None: the user said how large, or it is the CPU's."""

    @property
    def generative(self) -> bool:
        return any(engine.generative for engine in self.engines)

    @property
    def tiers(self) -> tuple[str, ...]:
        """Of the engines that restore something: `fast`, `best` or both."""
        return tuple(sorted({engine.tier for engine in self.engines if engine.task != "baseline"}, reverse=True))

    @property
    def coders(self) -> str:
        """The codec that is written, and whatever part of the GPU decodes or encodes."""
        hardware = ["nvdec"] if self.decoder == "nvdec" else []
        hardware += ["nvenc"] if self.encoder.endswith("_nvenc") else []
        return f"{self.codec} ({' and '.join(hardware)})" if hardware else self.codec

    @property
    def threads_said(self) -> str:
        """Threads of a worker, in words."""
        blending = " + 1 blending" if self.temporal else ""
        return f"{self.threads} + {self.decode_threads} decoding{blending} + {self.encode_threads} encoding threads"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def line(self) -> str:
        """What the start line says: size, frames, engines, device, tier, estimated time and disk."""
        size = f"{self.width}x{self.height}"
        if (self.output_width, self.output_height) != (self.width, self.height):
            size += f" -> {self.output_width}x{self.output_height}"
        about = "" if self.counted else "about "
        frames = "an unknown number of frames" if self.frames is None else f"{about}{counted(self.frames, 'frame')}"
        seconds = "unknown" if self.estimated_seconds is None else f"about {clock(self.estimated_seconds)}"
        basis = self.estimate_basis
        if self.kept_frames:
            basis = f"{counted(self.kept_frames, 'frame')} {were(self.kept_frames)} restored earlier; {basis}"
        if self.frames is not None and self.kept_frames >= self.frames > 0:
            seconds, basis = "to join and check only", "all frames were restored earlier"
        disk = "unknown" if self.estimated_bytes is None else f"about {size_text(self.estimated_bytes)}"
        workers = f"{self.workers} workers of " if self.workers > 1 else ""
        tiers = f", {' and '.join(self.tiers)} tier" if self.tiers else ""
        engines = f"{self.description}{tiers}"
        if self.batch is not None:
            taken, there = size_text(self.batch.peak_bytes), size_text(self.batch.free)
            engines += f", {counted(self.batch.size, 'frame')} at once in {taken} of {there} free on the GPU"
        free = "" if self.free_bytes is None else f" | disk {disk} of {size_text(self.free_bytes)} free"
        return (
            f"{size}, {frames} | {engines}, {workers}{self.threads_said} | {self.coders} {self.pixel_format}"
            f" | time {seconds} ({basis}){free}"
        )


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    frames: int
    """Restored so far."""
    total: int | None
    """Expected in all; None if unknown."""
    seconds: float
    """Since the first frame was asked for."""
    resumed: int = 0
    """Of `frames`, those that an earlier run had restored."""

    @property
    def fps(self) -> float:
        return (self.frames - self.resumed) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Seconds:
    """Busy time of each part, of all workers together. They overlap: their sum may exceed the time that passed."""

    decode: float
    engine: float
    blend: float
    encode: float
    verify: float
    """Joining the segments, reading the written file again and renaming it."""
    score: float = 0.0
    """Measuring how steady the written picture is."""


@dataclass(frozen=True)
class Result:
    """A job that has ended well."""

    source: str
    output: str
    frames: int
    """Frames read, restored and written: the same number."""
    resumed_frames: int
    """Of them, those that an earlier run had restored."""
    workers: int
    seconds: float
    """Wall time of the job, planning and loading the engines not included."""
    fps: float
    width: int
    height: int
    engines: tuple[EngineSummary, ...]
    device: str
    stage_seconds: Seconds
    peak_memory_bytes: int
    """Highest resident memory of the process so far."""
    device_peak_bytes: int | None
    """Highest memory allocated on the GPU; None on the CPU."""
    output_bytes: int | None
    """None for a pipe."""
    verification: dict[str, Any]
    """The report of the check of the written file against the source."""
    verification_line: str
    steadiness: dict[str, Any]
    """`measured`; then warping errors in and out and their ratio at a few moments, or `why_not`. See docs/reports.md."""
    steadiness_line: str
    """The same for people; empty where it was not to be measured."""
    damage: tuple[dict[str, Any], ...]
    """Frames that are not as they were recorded: index, pts, seconds, kind, reason, count. Empty unless damage is concealed."""
    notices: tuple[str, ...]
    """What a user should know of the result."""
    plan: Plan
    versions: dict[str, str]
    """Of vidrestore and of what decides its bits: torch, av, numpy, opencv, numba, python, platform."""
    frames_over_time: tuple[tuple[float, int], ...]
    """(seconds since the first frame was asked for, frames that this run has restored by then), a few hundred at most."""

    @property
    def generative(self) -> bool:
        return any(engine.generative for engine in self.engines)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"generative": self.generative}


def estimate_bytes(info: StreamInfo, codec: str, crf: int | None, frames: int | None) -> int | None:
    """Bytes that `frames` pictures of `info`'s size will take as `codec`, by a rule of thumb; None if `frames` is."""
    if frames is None:
        return None
    bits = BITS_PER_PIXEL.get(codec, RAW_BITS_PER_PIXEL) * info.width * info.height * frames
    if crf is not None and codec in CRF_HALVES:
        bits *= 2.0 ** ((DEFAULT_CRF[codec] - crf) / CRF_HALVES[codec])
    return int(bits / 8)


def check_space(output: str, needed: int | None) -> int | None:
    """Free bytes where `output` will lie; None for a pipe.

    Raises:
        DiskFullError: fewer than `needed`.
    """
    if output == "-":
        return None
    folder = next(place for place in Path(output).absolute().parents if place.is_dir())
    free = shutil.disk_usage(folder).free
    if needed is not None and free < needed:
        message = f"{folder} has {size_text(free)} free, and {output} will need about {size_text(needed)}."
        raise DiskFullError(message, "Free some space or write to another disk; nothing was written.")
    return free


def clock(seconds: float) -> str:
    """12 s, 3:05 min, 2:03:04 h."""
    whole = round(seconds)
    if whole < 1:
        return "1 s"
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def size_text(size: int) -> str:
    """Bytes in the unit that suits them."""
    amount = float(size)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def expected_frames(info: StreamInfo, start: float, duration: float | None) -> int | None:
    """Frames between `start` and `start + duration` (seconds), by the header; None where it does not say."""
    if start == 0 and duration is None:
        return info.frames
    if info.frame_rate is None:
        return None
    left = None if info.duration is None else max(0.0, info.duration - start)
    spans = [span for span in (left, duration) if span is not None]
    return max(1, round(min(spans) * info.frame_rate)) if spans else None


def written_bytes(output: str) -> int | None:
    """Size of a file or of the files of a folder; None for a pipe."""
    path = Path(output)
    if output == "-":
        return None
    if path.is_file():
        return path.stat().st_size
    folder = path if path.is_dir() else path.parent
    return sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file())
