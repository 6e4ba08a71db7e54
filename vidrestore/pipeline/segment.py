"""Segments: the one unit of work that is restored, encoded and kept on its own.

A segment is a fixed number of consecutive pictures (its core), set by the input and the settings alone, with as many pictures
before and after (its halo) as the filters over time look at. Whoever restores it, in whatever order and after however many
interruptions, gives the same bits: it is the unit of resuming, of many workers and of many machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidrestore.config import RunConfig
from vidrestore.pipeline.batch_choice import BatchChoice

__all__ = ["JobSpec", "Segment", "SegmentDone", "cut_into_segments"]


@dataclass(frozen=True)
class Segment:
    """A run of pictures to be restored: `before` of halo, the core, `after` of halo. Indices count pictures of the job from 0."""

    number: int
    """0, 1, 2 ..."""
    first: int
    """Index of the first picture of the core."""
    count: int
    """Pictures of the core; of the last segment of a source without an index, at most."""
    before: int = 0
    after: int = 0
    pts: tuple[int, ...] | None = None
    """Of every picture, halo included, in ticks of the source: what decoding has to give. None: the source has no index, and is
    decoded from its beginning."""
    end_pts: int | None = None
    """pts of the first picture behind the halo; None: the source ends there, or has no index."""

    @property
    def window_first(self) -> int:
        """Index of the first picture, halo included."""
        return self.first - self.before


@dataclass(frozen=True)
class SegmentDone:
    """A segment that was restored and lies, flushed to the disk, in a file that has no final name yet."""

    number: int
    path: Path
    frames: int
    """Source pictures of the core."""
    size: int
    """Bytes of the file."""
    sha256: str
    last: bool = False
    """Whether the source ended with it: only told of sources without an index."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Busy time by stage (decode, engine, blend, encode), for the report only: never part of any file."""
    notices: tuple[str, ...] = ()
    """Of decoding and encoding, for the user."""
    damage: tuple[dict[str, Any], ...] = ()
    """Concealed pictures, as `Damage.as_dict` gives them."""


@dataclass(frozen=True)
class JobSpec:
    """All that a worker, in this process or on another machine, needs to restore segments of one job. Can be pickled."""

    source: str
    """Absolute path."""
    output: str
    """Absolute path."""
    config: RunConfig
    """Settled: device and threads are no longer `auto`."""
    folder: Path
    """The job's folder, where segments are written."""
    engines_dir: str | None = None
    engines: tuple[tuple[str, str], ...] = ()
    """(id, sha256 of card and weights) of the engines that have to run."""
    comment: str = ""
    """What the output says of how it was made."""
    origin: Fraction | None = None
    """Source time, in seconds, from which on --cfr counts its pictures; None: times are the source's own."""
    source_size: int = 0
    source_mtime_ns: int = 0
    """Of the source's file (of a sequence: the sum of sizes and the latest time), so that a worker notices another file."""
    batch: BatchChoice | None = None
    """How the size of batches was chosen: says at which smaller ones a worker may go on; None: the user said how large."""


def cut_into_segments(pts: Sequence[int] | None, length: int, halo: int) -> list[Segment]:
    """The segments of a source with an index.

    Args:
        pts: of every picture of the job, rising.
        length: pictures of a core.
        halo: pictures before and after that the filters over time look at; fewer only where the source begins or ends.

    Returns:
        Cores that follow one another and cover every picture once; the last may be shorter.
    """
    if not pts:
        return []
    total = len(pts)
    segments = []
    for number, first in enumerate(range(0, total, length)):
        count = min(length, total - first)
        before, after = min(halo, first), min(halo, total - first - count)
        stop = first + count + after
        segments.append(
            Segment(
                number=number,
                first=first,
                count=count,
                before=before,
                after=after,
                pts=tuple(pts[first - before : stop]),
                end_pts=pts[stop] if stop < total else None,
            )
        )
    return segments
