"""Is a file cut short? Answered from its header, before hours of work are spent on it.

mp4 and mov list the place of every sample, Matroska and AVI state their length; all three can be held against the
file's size. The lists of mp4 and mov may be cut short themselves. Other containers do not tell; there the decoder's own
complaints must do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from vidrestore.media.input.sample_tables import counted_samples

__all__ = ["Truncation", "find_truncation"]

_EBML_HEADER = 0x1A45DFA3
_MATROSKA_SEGMENT = 0x18538067


@dataclass(frozen=True)
class Truncation:
    """A file that ends before its header says."""

    sentence: str
    """For people."""
    at: tuple[int, float] | None = None
    """(frame index, seconds) of the first missing picture, where known."""
    pictures: bool = True
    """False: all pictures are there; it is another stream that lacks its end."""
    seconds: float | None = None
    """When that stream breaks off."""


def find_truncation(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> Truncation | None:
    """Compare what the header of an open file promises with the size of the file; None if all is there."""
    size = path.stat().st_size
    names = container.format.name.split(",")
    if "mp4" in names:
        return (
            _missing_samples(stream, size)
            or _missing_in_tables(path, stream, "pictures")
            or _missing_elsewhere(container, stream, size)
            or _missing_sound(path, container)
        )
    if "matroska" in names:
        end = _matroska_end(path)
    elif "avi" in names:
        end = _riff_end(path)
    else:
        return None
    if end is not None and end > size:
        return Truncation(f"The file is cut short: it has {size} of {end} bytes.")
    return None


def _missing_samples(stream: av.VideoStream, size: int) -> Truncation | None:
    """mp4 and mov: the first sample of the index that does not lie whole within the file."""
    for index, entry in enumerate(stream.index_entries):
        if entry.pos + entry.size > size:
            seconds = float(entry.timestamp * (stream.time_base or 0))
            sentence = f"The file is cut short: from frame {index} ({seconds:.3f} s) on, pictures are missing."
            return Truncation(sentence, (index, seconds))
    return None


def _missing_elsewhere(container: av.container.InputContainer, video: av.VideoStream, size: int) -> Truncation | None:
    """mp4 and mov: the first sample of another stream (sound, subtitles) that does not lie whole within the file."""
    for stream in container.streams:
        if stream.index == video.index:
            continue
        for entry in stream.index_entries:
            if entry.pos + entry.size > size:
                seconds = float(entry.timestamp * (stream.time_base or 0))
                what = f"stream {stream.index} ({stream.type}) breaks off at {seconds:.3f} s"
                return Truncation(f"The file is cut short: {what}.", pictures=False, seconds=seconds)
    return None


def _missing_in_tables(path: Path, stream: av.VideoStream | av.AudioStream, what: str) -> Truncation | None:
    """mp4 and mov: fewer samples can be found than there are times for."""
    counted = counted_samples(path, stream.id)
    if counted is None or counted[1] >= counted[0]:
        return None
    times, places = counted
    entries = stream.index_entries
    last = entries[len(entries) - 1].timestamp if len(entries) else 0
    sentence = f"The file is cut short: its index has times for {times} {what} and places for {places}."
    return Truncation(sentence, pictures=stream.type == "video", seconds=float(last * (stream.time_base or 0)))


def _missing_sound(path: Path, container: av.container.InputContainer) -> Truncation | None:
    found = (_missing_in_tables(path, entry, f"packets of stream {entry.index} (audio)") for entry in container.streams.audio)
    return next((truncation for truncation in found if truncation), None)


def _matroska_end(path: Path) -> int | None:
    """Byte at which the Matroska segment should end; None if the file does not state it (live recordings)."""
    with path.open("rb") as file:
        head = file.read(4096)
    at = 0
    for wanted in (_EBML_HEADER, _MATROSKA_SEGMENT):
        if int.from_bytes(head[at : at + 4], "big") != wanted or at + 5 > len(head):
            return None
        at += 4
        length = 9 - head[at].bit_length()
        unknown = (1 << (7 * length)) - 1
        value = int.from_bytes(head[at : at + length], "big") & unknown
        at += length
        if value == unknown:
            return None
        at += value
    return at


def _riff_end(path: Path) -> int | None:
    """Byte at which the first RIFF chunk of an AVI file should end; None if it is not stated."""
    with path.open("rb") as file:
        head = file.read(8)
    stated = int.from_bytes(head[4:8], "little")
    return stated + 8 if head[:4] == b"RIFF" and stated else None
