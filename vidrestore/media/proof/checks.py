"""The checks, all together: what was promised against what a file holds, as a report."""

from __future__ import annotations

from vidrestore.media.proof.check_colors import check_color, check_geometry
from vidrestore.media.proof.check_pictures import check_duration, check_pictures
from vidrestore.media.proof.check_streams import check_streams, partners_of, stream_check
from vidrestore.media.proof.check_words import check_chapters, check_mark, check_words
from vidrestore.media.proof.findings import VerifyReport
from vidrestore.media.proof.inventory import Inventory, Timeline
from vidrestore.media.proof.promise import Promise
from vidrestore.media.proof.timing import align, find_shift

__all__ = ["examine", "same_pictures"]


def same_pictures(promise: Promise, found: Timeline) -> bool:
    """Whether both timelines agree, picture by picture."""
    shift = find_shift(promise.pictures, found) if promise.shift is None else promise.shift
    return align(promise.pictures, found, shift).whole


def examine(promise: Promise, found: Inventory) -> VerifyReport:
    """Hold a file against a promise."""
    shift = find_shift(promise.pictures, found.pictures) if promise.shift is None else promise.shift
    alignment = align(promise.pictures, found.pictures, shift)
    partners = partners_of(promise.streams, found)
    rows = [
        *check_pictures(promise, found, shift, alignment),
        *check_streams(promise, found, partners, shift),
        *check_color(promise, found.media),
        *check_geometry(promise, found.media),
        *check_chapters(promise, found.media, shift),
        *check_words(promise, found, partners),
        *check_duration(promise, found, partners, shift),
        *check_mark(promise, found.media),
    ]
    stamps, tick = found.pictures.pts, found.pictures.time_base
    return VerifyReport(
        frames=len(stamps),
        first_seconds=float(stamps[0] * tick),
        last_seconds=float(stamps[-1] * tick),
        pts_exact=alignment.whole and alignment.worst == 0,
        largest_pts_error=float(alignment.worst),
        tick=float(tick),
        shift=float(shift + promise.told_shift),
        streams=tuple(stream_check(stream, partners) for stream in promise.streams if stream.source.index in partners),
        chapters=len(found.media.chapters),
        size_bytes=found.media.size_bytes,
        rows=tuple(rows),
    )
