"""Proof: all that a proof report says of one restored video. `measure` fills it, `page` draws it; JSON holds its numbers.

Pictures are (H, W, 3) uint8 RGB, upright. Of super-resolution, `before` is enlarged (bicubic) to the size of `after`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

__all__ = ["CheckRow", "Moment", "Proof", "Run", "Speed"]


@dataclass(frozen=True)
class CheckRow:
    """A line of the check of OUT against IN (`media.proof`), in words for people."""

    name: str
    expected: str
    found: str
    verdict: str
    """`ok`, `note` or `differs`."""
    sentence: str = ""


@dataclass(frozen=True)
class Moment:
    """A frame shown before | after."""

    why: str
    """`changed most`, `changed least`, `at random`, or `the only frame`."""
    index: int
    """Of the frame, from 0, in OUT."""
    seconds: float
    """Of OUT."""
    change: float
    """Mean absolute difference of before and after, 8-bit levels."""
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class Speed:
    """How fast the job was; known only where a run is at hand."""

    seconds: float
    fps: float
    stage_seconds: dict[str, float]
    """Busy seconds by stage: decode, engine, blend, encode, verify, score."""
    frames_over_time: tuple[tuple[float, int], ...]
    """(seconds since the start, frames restored so far), at most some hundred points."""
    workers: int
    resumed_frames: int
    peak_memory_bytes: int


@dataclass(frozen=True)
class Run:
    """What ran; without a run at hand what the mark in the file says."""

    engines: tuple[dict[str, Any], ...]
    """id, task, tier, generative, licence, sha256 (None: no weights, or not known) of each, in order."""
    settings: dict[str, Any]
    """RunConfig as JSON; empty where it is not known."""
    versions: dict[str, str]
    """Of vidrestore and of what decides its bits: torch, av, numpy, opencv, python, platform."""
    device: str
    description: str
    command: str | None
    """The command line, in the user's words."""
    mark: str | None
    """The comment found in OUT, which names the engines."""
    speed: Speed | None = None
    batch: dict[str, Any] | None = None
    """How many frames a GPU was given at once and how that was chosen (`pipeline.batch_choice.BatchChoice` as JSON); None: the
    user said how many, it was a CPU, or it is not known."""


@dataclass(frozen=True)
class Proof:
    """See the module."""

    source: str
    output: str
    """Names without folders: a report is passed on."""
    source_sha256: str
    output_sha256: str
    source_stream: dict[str, Any]
    output_stream: dict[str, Any]
    """codec, width, height, shown, frame_rate, frames, seconds, bytes, container of each; see `facts.stream_facts`."""
    run: Run
    rows: tuple[CheckRow, ...]
    lost: str
    """The closing sentence of the check."""
    curves: dict[str, tuple[list[float], list[float]]]
    """Over time, seconds and values: `change` (8-bit levels), `brightness_in`, `brightness_out` (0..255), `warping_in`,
    `warping_out` (see metrics.warping; of the input at the output's brightness)."""
    steadiness: dict[str, Any]
    """What metrics.steadiness says of the moments measured."""
    moments: tuple[Moment, ...]
    clip: bytes | None
    """A short side-by-side WebM (VP9), before | after."""
    damage: tuple[dict[str, Any], ...]
    notices: tuple[str, ...]
    invented: tuple[str, ...]
    """Engines that invent detail."""
    notes: tuple[str, ...] = field(default=())
    """How it was measured: how many frames, of how many."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: everything but pictures and clip."""
        moments = [{"why": one.why, "index": one.index, "seconds": one.seconds, "change": one.change} for one in self.moments]
        plain = asdict(replace(self, moments=(), clip=None))
        return {**plain, "moments": moments, "clip": None if self.clip is None else len(self.clip)}
