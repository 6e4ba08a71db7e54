"""Which words go along: file, stream and chapter metadata, with or without the place they were filmed at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from vidrestore.media.input.media_info import Chapter, MediaInfo, StreamSummary
from vidrestore.media.output.containers import Container
from vidrestore.media.passthrough.timecode import moved_timecode

__all__ = ["file_metadata", "free_keys", "lost_keys", "moved_timecodes", "shifted_chapters", "stream_metadata"]

# Facts about the old file's structure, or statistics of its streams: wrong in the new one, rewritten by the muxer.
_STRUCTURE = re.compile(
    r"^(major_brand|minor_version|compatible_brands|encoder|duration|bps|number_of_.*|_statistics_.*|alpha_mode)(-.*)?$", re.I
)
_LOCATION = re.compile(r"(location|gps|geo|latitude|longitude|©xyz|^xyz)", re.I)

# What the mp4 muxer writes as iTunes tags; other keys need QuickTime's free keys (movflags use_metadata_tags).
_MP4_KEYS = frozenset(
    {"title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping", "lyrics"}
    | {"description", "synopsis", "show", "episode_id", "network", "keywords", "track", "disc"}
)
_MUXER_KEYS = frozenset({"creation_time", "timecode"})  # these get boxes of their own


def file_metadata(source: MediaInfo, comment: str, strip_location: bool) -> dict[str, str]:
    """The source's own metadata, plus `comment` (which engines ran) after any comment that is there already."""
    kept = _kept(source.metadata, strip_location)
    if comment:
        key = next((key for key in kept if key.lower() == "comment"), "comment")
        kept[key] = f"{kept[key]}; {comment}" if kept.get(key) else comment
    return kept


def stream_metadata(stream: StreamSummary, strip_location: bool) -> dict[str, str]:
    """A stream's language, title and so on."""
    return _kept(stream.metadata, strip_location)


def _kept(metadata: Mapping[str, str], strip_location: bool) -> dict[str, str]:
    kept = {}
    for key, value in metadata.items():
        if _STRUCTURE.match(key) or (strip_location and _LOCATION.search(key)):
            continue
        base, dash, language = key.rpartition("-")
        if dash and len(language) == 3 and metadata.get(base) == value:
            continue  # the mov demuxer says some things twice: `location` and `location-eng`
        kept[key] = value
    return kept


def free_keys(container: str, metadata: Mapping[str, str]) -> set[str]:
    """The keys that mp4 or mov would lose without QuickTime's free keys."""
    if container == "mov":
        return set(metadata) - _MUXER_KEYS
    return set(metadata) - _MP4_KEYS - _MUXER_KEYS if container == "mp4" else set()


def lost_keys(container: Container, metadata: Mapping[str, str]) -> set[str]:
    """The keys that a container has no place for."""
    if container.metadata is True:
        return set()
    held = container.metadata or frozenset()
    return {key for key in metadata if key.lower() not in held}


def moved_timecodes(
    words: Mapping[str, str], elapsed: Fraction, rate: Fraction | None, container: Container
) -> tuple[dict[str, str], str | None]:
    """`words` with the timecode of the picture `elapsed` seconds later, and a notice (or None) where it cannot be kept.

    mp4 and mov make a timecode track of it, and take drop-frame labels at multiples of 30 pictures a second only.
    """
    moved, notice = dict(words), None
    for key, label in words.items():
        if key.lower() != "timecode":
            continue
        later = moved_timecode(label, elapsed, rate) if rate else None
        dropping = any(mark in label for mark in ";,.")
        if container.muxer in ("mp4", "mov") and (later is None or (dropping and rate and round(rate) % 30)):
            notice = f"The timecode {label} does not fit {_rate_text(rate)} and is left out."
            del moved[key]
        elif later is not None:
            moved[key] = later
        elif elapsed:
            notice = f"The timecode {label} could not be moved to the first picture of the range and is left out."
            del moved[key]
    return moved, notice


def _rate_text(rate: Fraction | None) -> str:
    return "an unknown picture rate" if rate is None else f"{float(rate):.3f} pictures a second"


def shifted_chapters(
    chapters: tuple[Chapter, ...], shift: Fraction, first: Fraction | None, end: Fraction | None
) -> list[dict[str, Any]]:
    """Chapters clipped to first..end (seconds of the source's timeline) and moved by `-shift` seconds.

    Those wholly outside are left out. PyAV's form, for `set_chapters`.
    """
    moved = []
    for chapter in chapters:
        start, stop = chapter.start * chapter.time_base, chapter.end * chapter.time_base
        if (first is not None and stop <= first) or (end is not None and start >= end):
            continue
        start = start if first is None else max(start, first)
        stop = stop if end is None else min(stop, end)
        moved.append(
            {
                "id": chapter.id,
                "start": max(0, round((start - shift) / chapter.time_base)),
                "end": max(0, round((stop - shift) / chapter.time_base)),
                "time_base": chapter.time_base,
                "metadata": dict(chapter.metadata),
            }
        )
    return moved
