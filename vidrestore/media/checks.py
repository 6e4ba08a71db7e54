"""The checks: each compares one thing that was promised with what a file holds, and says so in a row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from math import atan2, degrees, hypot

import av

from vidrestore.media.findings import Finding, StreamCheck, VerifyReport, listed
from vidrestore.media.inventory import Inventory, StreamContent, Timeline, Words, container_of, family
from vidrestore.media.metadata import free_keys, lost_keys
from vidrestore.media.probe import Chapter, MediaInfo, StreamSummary
from vidrestore.media.promise import MARK, Promise, PromisedChapter, PromisedStream
from vidrestore.media.remux import NO_PTS
from vidrestore.media.streams import kind_of
from vidrestore.media.timing import Alignment, align, find_shift, largest_error, steady_interval

__all__ = ["examine", "named", "same_pictures"]

_PLAIN = frozenset({"bt709", "smpte170m", "bt470bg", "iec61966-2-1"})
"""Primaries and transfers that an untagged file is taken to have: naming one of them changes no colour."""
_TAGGING_CODECS = frozenset({"h264", "hevc", "av1", "prores", "mpeg2video"})
"""Codecs whose own headers name primaries and transfer."""
_CHROMA_CODECS = frozenset({"h264", "hevc"})
"""Codecs whose headers hold the place of the chroma samples whatever it is."""
_SAMPLES = re.compile(r"pcm_")
_IMAGE_RGB = re.compile(r"(rgb|bgr|gbr|pal|monob|monow)")

# ISO 639-2 has two codes for these languages (bibliographic, terminological); containers translate them.
_SAME_LANGUAGE = {
    "alb": "sqi", "arm": "hye", "baq": "eus", "bur": "mya", "chi": "zho", "cze": "ces", "dut": "nld", "fre": "fra",
    "geo": "kat", "ger": "deu", "gre": "ell", "ice": "isl", "mac": "mkd", "mao": "mri", "may": "msa", "per": "fas",
    "rum": "ron", "slo": "slk", "tib": "bod", "wel": "cym",
}  # fmt: skip

_FLAGS = frozenset({"default", "forced", "hearing_impaired", "visual_impaired", "descriptions", "original", "comment"})
"""Dispositions that tell players what a stream is for."""
_HELD_FLAGS = {"matroska": _FLAGS, "mp4": frozenset({"default"}), "mov": frozenset({"default"})}
"""Those a container holds: Matroska all (RFC 9559, 5.1.4.1), mp4 and mov whether a track is enabled (ISO/IEC 14496-12, 8.3.2)."""


def same_pictures(promise: Promise, found: Timeline) -> bool:
    """Whether both timelines agree, picture by picture."""
    shift = find_shift(promise.pictures, found) if promise.shift is None else promise.shift
    return align(promise.pictures, found, shift).whole


def examine(promise: Promise, found: Inventory) -> VerifyReport:
    """Hold a file against a promise."""
    shift = find_shift(promise.pictures, found.pictures) if promise.shift is None else promise.shift
    alignment = align(promise.pictures, found.pictures, shift)
    partners = _partners(promise.streams, found)
    rows = [
        *_check_pictures(promise, found, shift, alignment),
        *_check_streams(promise, found, partners, shift),
        *_check_color(promise, found.media),
        *_check_geometry(promise, found.media),
        *_check_chapters(promise, found.media, shift),
        *_check_words(promise, found, partners),
        *_check_duration(promise, found, partners, shift),
        *_check_mark(promise, found.media),
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
        streams=tuple(_stream_check(stream, partners) for stream in promise.streams if stream.source.index in partners),
        chapters=len(found.media.chapters),
        size_bytes=found.media.size_bytes,
        rows=tuple(rows),
    )


# Pictures -------------------------------------------------------------------------------------------------------------


def _check_pictures(promise: Promise, found: Inventory, shift: Fraction, alignment: Alignment) -> Iterator[Finding]:
    if promise.cfr and not promise.binding:
        yield from _check_constant_rate(promise, found.pictures, shift)
    else:
        yield _frame_count(promise, found.pictures, shift, alignment)
        yield _frame_times(promise, found.pictures, shift, alignment)
        yield from _last_duration(promise, found)
    moved = shift + promise.told_shift
    if moved:
        sentence = f"All timestamps were moved by {float(-moved):+.6f} s, the same for all streams."
        yield Finding("shift", "0 s", f"{float(-moved):+.6f} s", "note", sentence)


def _frame_count(promise: Promise, found: Timeline, shift: Fraction, alignment: Alignment) -> Finding:
    wanted, written = len(promise.pictures), len(found)
    if wanted == written:
        return Finding("frames", str(wanted), str(written))
    sentence = f"{wanted} frames of {promise.path.name} went in, {written} were written"
    if written < wanted:
        at = alignment.missing[0] if alignment.missing else written
        sentence += f"; the first that is missing is frame {at} ({_moment(promise.pictures, at, shift)})."
        loss = f"{wanted - written} of {wanted} frames"
    else:
        at = alignment.extra[0] if alignment.extra else wanted
        sentence += f"; the first that is too many is frame {at} ({_moment(found, at)})."
        loss = f"{written - wanted} frames too many"
    return Finding("frames", str(wanted), str(written), "differs", sentence, loss)


def _frame_times(promise: Promise, found: Timeline, shift: Fraction, alignment: Alignment) -> Finding:
    tick = found.time_base
    clock = f"{len(promise.pictures)} times"
    together = sum(one == other for one, other in pairwise(found.pts))
    both_ways = bool(alignment.missing and alignment.extra)  # frames that are only lost, or only too many, are counted already
    if both_ways:
        at = alignment.missing[0]
        there = _moment(found, at) if at < len(found) else "not there"
        off = _worst_of_all(promise.pictures, found, shift)
        told = f"Frame {at} was to be shown at {_moment(promise.pictures, at, shift)}, it is written at {there}"
        told += f"; {len(alignment.missing)} of {len(promise.pictures)} frames are off{off}."
        return Finding("frame times", clock, f"{len(alignment.missing)} off{off}", "differs", told, "the frames' times")
    if together:
        told = f"{together} frames share the time of the one before: the file's clock ticks every {_milli(tick)} only."
        return Finding("frame times", clock, f"at most {_milli(alignment.worst)} off", "note", told)
    if alignment.worst == 0:
        return Finding("frame times", clock, f"{alignment.common} exact")
    return Finding("frame times", clock, f"at most {_milli(alignment.worst)} off, the clock ticks every {_milli(tick)}")


def _worst_of_all(expected: Timeline, found: Timeline, shift: Fraction) -> str:
    if len(expected) != len(found):
        return ""
    worst, _ = largest_error(expected.pts, expected.time_base, found.pts, found.time_base, shift)
    return f", by up to {_milli(worst)}"


def _last_duration(promise: Promise, found: Inventory) -> Iterator[Finding]:
    """mp4 and mov keep durations (ISO/IEC 14496-12, 8.6.1.2); of all but the last picture they are the next one's pts."""
    name, written = "last frame's duration", found.pictures.last_duration
    if family(found.media) not in ("mp4", "mov") or promise.pictures.last_duration is None or written is None:
        return
    wanted = promise.pictures.last_duration * promise.pictures.time_base
    shown = written * found.pictures.time_base
    cells = name, f"{float(wanted):.6f} s", f"{float(shown):.6f} s"
    if abs(wanted - shown) <= found.pictures.time_base:
        yield Finding(*cells)
        return
    sentence = f"The last frame was to be shown for {float(wanted):.6f} s, the file says {float(shown):.6f} s."
    # Files store how long a picture lasts in decoding order; where that differs from display, the header's word is loose.
    yield Finding(*cells, "note", sentence)


def _check_constant_rate(promise: Promise, found: Timeline, shift: Fraction) -> Iterator[Finding]:
    wanted, written = len(promise.pictures), len(found)
    if wanted == written:
        yield Finding("frames", str(wanted), str(written))
    else:
        told = f"{written} frames at a constant rate stand for {wanted} of {promise.path.name}, as asked for."
        yield Finding("frames", str(wanted), str(written), "note", told)
    if written < 2:
        return
    shortest, longest = steady_interval(found)
    cells = "frame times", "a constant rate", f"a frame every {float(longest):.6f} s"
    if longest - shortest > found.time_base:
        told = f"A constant rate was asked for, but frames last from {float(shortest):.6f} to {float(longest):.6f} s."
        yield Finding(*cells, "differs", told, "the constant rate")
        return
    yield Finding(*cells)
    for name, at in (("beginning", 0), ("end", -1)):
        there = promise.pictures.pts[at] * promise.pictures.time_base - shift
        here = found.pts[at] * found.time_base
        cells = f"{name} of the picture", f"{float(there):.6f} s", f"{float(here):.6f} s"
        if abs(there - here) <= longest + found.time_base:
            yield Finding(*cells)
        else:
            told = f"The {name} of the picture lies at {float(here):.6f} s instead of {float(there):.6f} s."
            yield Finding(*cells, "differs", told, f"the {name} of the picture")


def _moment(timeline: Timeline, index: int, shift: Fraction = Fraction(0)) -> str:
    return f"{float(timeline.pts[index] * timeline.time_base - shift):.6f} s"


def _milli(seconds: Fraction) -> str:
    return f"{float(seconds) * 1e3:.3f} ms"


# Streams --------------------------------------------------------------------------------------------------------------


def _partners(promised: Iterable[PromisedStream], found: Inventory) -> dict[int, StreamContent]:
    """For each kept stream, by its source index, the written one: where it was put, or the one most like it."""
    free = {content.summary.index: content for content in found.streams if content.summary.index != found.media.video_index}
    kept = [stream for stream in promised if stream.fate == "kept"]
    partners = {stream.source.index: free.pop(stream.place) for stream in kept if stream.place is not None}
    for likeness in (4, 3, 2, 1):
        for stream in kept:
            if stream.source.index in partners:
                continue
            alike = [index for index, content in free.items() if _likeness(stream, content) >= likeness]
            if alike:
                partners[stream.source.index] = free.pop(alike[0])
    return partners


def _likeness(promised: PromisedStream, found: StreamContent) -> int:
    """4: the same bytes or words; 3: codec and language; 2: one of them; 1: the kind alone; 0: not even that."""
    if kind_of(promised.source) != kind_of(found.summary):
        return 0
    if found.digest.packets and found.digest.hexdigest() == promised.sha256:
        return 4
    if promised.words is not None and found.words is not None and promised.words.texts == found.words.texts:
        return 4
    codec = promised.codec == found.summary.codec
    return 1 + codec + _same_language(promised.source.language, found.summary.language)


def _check_streams(
    promise: Promise, found: Inventory, partners: Mapping[int, StreamContent], shift: Fraction
) -> Iterator[Finding]:
    for stream in promise.streams:
        name = f"stream {stream.source.index}"
        what = _described(stream)
        if stream.fate == "regenerated":
            yield _timecode(stream, name, found.media)
        elif stream.fate == "left out":
            told = f"{named(stream.source)} is {stream.why}."
            yield Finding(name, what, "left out", "note", told)
        elif stream.source.index not in partners:
            told = f"{named(stream.source)} is missing in the written file."
            yield Finding(name, what, "missing", "differs", told, f"{stream.source}")
        else:
            content = partners[stream.source.index]
            yield _payload(stream, content, name)
            yield from _times(promise, stream, content, found, shift)
    if promise.alpha and not found.media.video.alpha:
        told = f"The transparency of {promise.path.name} is missing in the written file."
        yield Finding("transparency", "yes", "no", "differs", told, "the transparency")


def named(stream: StreamSummary) -> str:
    """`Stream 2 audio aac deu Title`, to begin a sentence with."""
    words = str(stream)
    return words[:1].upper() + words[1:]


def _described(stream: PromisedStream) -> str:
    words = [kind_of(stream.source), stream.source.codec, stream.source.language]
    return " ".join(word for word in words if word) + f", {stream.packets} packets"


def _payload(stream: PromisedStream, content: StreamContent, name: str) -> Finding:
    expected, packets = _described(stream), content.digest.packets
    samples = _SAMPLES.match(stream.codec) and stream.content is not None
    if content.digest.hexdigest() == stream.sha256 or (samples and content.content == stream.content):
        if not stream.converted:
            return Finding(name, expected, f"{packets} packets, same bytes")
        told = f"{named(stream.source)} was converted to {stream.codec}."
        return Finding(name, expected, f"{stream.codec}, {packets} packets, as converted", "note", told)
    if stream.words is not None and content.words is not None and content.summary.codec != stream.codec:
        return _words(stream, stream.words, content, content.words, name)
    if packets != stream.packets:
        told = f"{stream.packets} packets of {stream.source} were copied, {packets} were found."
        return Finding(name, expected, f"{packets} packets", "differs", told, f"packets of {stream.source}")
    told = f"The packets of {stream.source} were changed on the way."
    return Finding(name, expected, f"{packets} packets, other bytes", "differs", told, f"{stream.source} (changed)")


def _words(stream: PromisedStream, wanted: Words, content: StreamContent, written: Words, name: str) -> Finding:
    """A subtitle in another codec: the same words at the same times, joined where they overlap if the codec needs that."""
    codec = content.summary.codec
    cells = name, _described(stream), f"{codec}, {len(written.texts)} texts"
    if wanted.texts == written.texts:
        told = f"{named(stream.source)} was converted to {codec}: words are the same, styles may not be."
        return Finding(*cells, "note", told)
    if codec == "mov_text" and set(wanted.lines) == set(written.lines):
        told = f"{named(stream.source)} was converted to {codec}: words are the same, joined where they overlap."
        return Finding(*cells, "note", told)
    lost = sorted(set(wanted.lines) - set(written.lines))
    told = f"{named(stream.source)} was converted to {codec}; {len(lost)} of its {len(wanted.lines)} lines are not the same."
    return Finding(*cells, "differs", told, f"words of {stream.source}")


def _worst_of_lines(wanted: Words, clock: Fraction, written: Words, tick: Fraction, shift: Fraction) -> Fraction:
    """Seconds: the largest error of the moments at which a line first shows, and last goes away."""
    errors = [
        abs(there * clock - shift - here * tick)
        for line, moments in wanted.lines.items()
        for there, here in zip(moments, written.lines.get(line, moments), strict=True)
    ]
    return max(errors, default=Fraction(0))


def _times(
    promise: Promise, stream: PromisedStream, content: StreamContent, found: Inventory, shift: Fraction
) -> Iterator[Finding]:
    """The time of every packet, and how far sound begins from the picture."""
    if kind_of(stream.source) in ("cover", "attachment"):
        return
    tick, name = content.summary.time_base, f"times of stream {stream.source.index}"
    # One rounding, to the container's clock. A shift that had to be found is known to a tick only, and rounds once more.
    slack = tick / 2 if not shift else tick + stream.time_base / 2
    container = container_of(found.media)
    if container is not None and container.constant_rate:
        slack = max(tick, Fraction(1024, 48000))  # no times, only counts: within a usual packet of sound
    if stream.pts is not None and len(stream.pts) == len(content.pts) and not _SAMPLES.match(stream.codec):
        worst, at = largest_error(stream.pts, stream.time_base, content.pts, tick, shift)
        timeless = sum(there != NO_PTS and here == NO_PTS for there, here in zip(stream.pts, content.pts, strict=True))
        cells = name, f"{len(stream.pts)} times", "exact" if not worst else f"at most {_milli(worst)} off"
        if worst <= slack and not timeless:
            yield Finding(*cells)
        else:
            told = (
                f"{timeless} packets of {stream.source} lost their times."
                if timeless
                else f"Packet {at} of {stream.source} is {_milli(worst)} away from its time."
            )
            yield Finding(*cells, "differs", told, f"times of {stream.source}")
    if stream.words is not None and content.words is not None:
        worst = _worst_of_lines(stream.words, stream.time_base, content.words, tick, shift)
        cells = f"ends of stream {stream.source.index}", f"{len(stream.words.lines)} lines", f"at most {_milli(worst)} off"
        # A begin and a duration, each rounded.
        if worst <= 2 * slack:
            yield Finding(*cells)
        else:
            told = f"A line of {stream.source} comes or goes {_milli(worst)} away from its time."
            yield Finding(*cells, "differs", told, f"times of {stream.source}")
    if stream.first is None or content.first is None or kind_of(stream.source) not in ("audio", "subtitle", "video"):
        return
    picture = promise.pictures.pts[0] * promise.pictures.time_base, found.pictures.pts[0] * found.pictures.time_base
    wanted, written = stream.first - picture[0], content.first - picture[1]
    cells = f"offset of stream {stream.source.index}", f"{_milli(wanted)} from the picture", f"{_milli(written)}"
    if abs(wanted - written) <= slack + found.pictures.time_base / 2:
        yield Finding(*cells)
        return
    told = (
        f"{named(stream.source)} begins at {float(content.first):.4f} s instead of {float(stream.first - shift):.4f} s"
        f" ({_milli(written - wanted)} later against the picture)."
    )
    yield Finding(*cells, "differs", told, f"the offset of {stream.source}")


def _timecode(stream: PromisedStream, name: str, found: MediaInfo) -> Finding:
    """tmcd tracks are not copied: the muxer makes a new one of the tag (QuickTime File Format, timecode media)."""
    wanted, held = stream.timecode, _timecodes(found)
    cells = name, f"timecode {wanted}".rstrip(), f"timecode {', '.join(sorted(held)) or 'missing'}"
    if wanted in held or (not wanted and held):
        return Finding(*cells, "note", f"{named(stream.source)} (timecode) was written anew from its tag.")
    return Finding(*cells, "differs", f"The timecode {wanted} is missing in the written file.", "the timecode")


def _timecodes(media: MediaInfo) -> set[str]:
    sources = (media.metadata, *(stream.metadata for stream in media.streams))
    return {value for words in sources for key, value in words.items() if key.lower() == "timecode"}


def _stream_check(stream: PromisedStream, partners: Mapping[int, StreamContent]) -> StreamCheck:
    digest = partners[stream.source.index].digest
    source = stream.source
    return StreamCheck(source.index, source.type, source.codec, source.language, digest.packets, digest.hexdigest())


# Colour and geometry --------------------------------------------------------------------------------------------------


def _check_color(promise: Promise, found: MediaInfo) -> Iterator[Finding]:
    wanted, written = promise.color, found.video.color
    was_rgb = not promise.binding and _is_rgb(promise.source) != _is_rgb(found)
    if promise.binding:
        yield _exact_tag("matrix", wanted.tagged_matrix, written.tagged_matrix)
    else:
        yield _matrix(promise, found, was_rgb)
    yield _range(promise, found, was_rgb)
    for name in ("primaries", "transfer"):
        pair = getattr(wanted, name), getattr(written, name)
        yield _exact_tag(name, *pair) if promise.binding else _tag(name, *pair, _holds_tags(found))
    yield _chroma_location(promise, found)
    for name, label in (("mastering_display", "mastering display"), ("content_light", "content light")):
        pair = getattr(wanted, name), getattr(written, name)
        if any(pair):
            yield _light(label, *pair)
    yield _bit_depth(promise, found)


def _is_rgb(media: MediaInfo) -> bool:
    return bool(_IMAGE_RGB.match(media.video.pixel_format))


def _exact_tag(name: str, wanted: str | None, written: str | None) -> Finding:
    cells = name, wanted or "untagged", written or "untagged"
    if wanted == written:
        return Finding(*cells)
    told = f"The colour tag {name} was to be {wanted or 'left out'}, it is written as {written or 'untagged'}."
    return Finding(*cells, "differs", told, f"the colour tag {name}")


def _holds_tags(media: MediaInfo) -> bool:
    """Whether the container, or else the codec's own headers, can name primaries and transfer."""
    return family(media) in ("matroska", "mp4", "mov") or media.video.codec in _TAGGING_CODECS


def _tag(name: str, wanted: str | None, written: str | None, holds: bool) -> Finding:
    if wanted is None and written in _PLAIN:
        told = f"The source does not name its {name}; the file says {written}, which is what untagged pictures are taken for."
        return Finding(name, "untagged", str(written), "note", told)
    if written is None and wanted is not None and not holds:
        return Finding(name, wanted, "untagged", "note", f"The file's format cannot name the {name} ({wanted}).")
    return _exact_tag(name, wanted, written)


def _matrix(promise: Promise, found: MediaInfo, was_rgb: bool) -> Finding:
    wanted, written = promise.color, found.video.color
    names = [color.tagged_matrix or f"untagged ({color.matrix})" for color in (wanted, written)]
    cells = "matrix", names[0], names[1]
    if was_rgb:
        return Finding(*cells, "note", "One of the two is RGB, the other YUV: the numbers differ, the colours do not.")
    if wanted.tagged_matrix == written.tagged_matrix and wanted.matrix == written.matrix:
        return Finding(*cells)
    if wanted.matrix == written.matrix and (wanted.tagged_matrix is None or written.tagged_matrix is None):
        if wanted.tagged_matrix is None:
            return Finding(*cells, "note", "The source names no matrix; the file names the one it is taken for.")
        if not _holds_tags(found) and found.video.codec != "vp9":
            return Finding(*cells, "note", "The file's format cannot name the matrix; it is taken for the same one.")
        told = f"The colour tag matrix ({wanted.tagged_matrix}) is gone; the file is taken for {written.matrix} all the same."
        return Finding(*cells, "differs", told, "the colour tag matrix")
    told = f"The matrix was to be {cells[1]}, it is written as {cells[2]}."
    return Finding(*cells, "differs", told, "the matrix")


def _range(promise: Promise, found: MediaInfo, was_rgb: bool) -> Finding:
    wanted, written = promise.color.full_range, found.video.color.full_range
    cells = "range", _range_name(wanted), _range_name(written)
    if wanted == written:
        return Finding(*cells)
    if was_rgb:
        return Finding(*cells, "note", "One of the two is RGB, which always has full range, the other YUV.")
    return Finding(*cells, "differs", "The colour range was not written as in the source.", "the colour range")


def _range_name(full: bool) -> str:
    return "full" if full else "limited"


def _chroma_location(promise: Promise, found: MediaInfo) -> Finding:
    wanted, written = promise.color.chroma_location, found.video.color.chroma_location
    cells = "chroma location", wanted or "untagged", written or "untagged"
    if wanted == written:
        return Finding(*cells)
    if wanted is None and written == "left":
        return Finding(*cells, "note", "The source does not say where its chroma samples lie; left is what it is taken for.")
    subsampled = _chroma_steps(found.video.pixel_format) != (1, 1)
    if not subsampled:
        return Finding(*cells, "note", "Written with full chroma resolution, which needs no chroma location.")
    if found.video.codec not in _CHROMA_CODECS:
        return Finding(*cells, "note", f"{found.video.codec} does not hold the chroma location {wanted}.")
    told = f"The chroma location was to be {wanted or 'untagged'}, it is written as {written or 'untagged'}."
    return Finding(*cells, "differs", told, "the chroma location")


def _chroma_steps(pixel_format: str) -> tuple[int, int]:
    layout = av.VideoFormat(pixel_format, 64, 64)
    if len(layout.components) < 3 or layout.is_rgb:
        return 1, 1
    return 64 // layout.chroma_width(64), 64 // layout.chroma_height(64)


def _light(name: str, wanted: tuple[int, ...] | None, written: tuple[int, ...] | None) -> Finding:
    """Equal, or one step of the smallest unit apart: Matroska keeps floating-point numbers, mp4 whole ones."""
    cells = name, _numbers(wanted), _numbers(written)
    if wanted and written and all(abs(a - b) <= 1 for a, b in zip(wanted, written, strict=True)):
        return Finding(*cells)
    told = f"The {name} was to be {_numbers(wanted)}, it is written as {_numbers(written)}."
    return Finding(*cells, "differs", told, f"the {name}")


def _numbers(values: tuple[int, ...] | None) -> str:
    return " ".join(map(str, values)) if values else "none"


def _bit_depth(promise: Promise, found: MediaInfo) -> Finding:
    source, written = promise.source.video.color.bit_depth, found.video.color.bit_depth
    wanted = promise.bit_depth or source
    cells = "bit depth", str(wanted), str(written)
    if written < wanted:
        told = f"The picture has {written} bits a sample, {wanted} were to be kept."
        return Finding(*cells, "differs", told, f"{wanted} bits a sample ({written} are left)")
    if written != source:
        told = f"The source has {source} bits a sample, the picture is written with {written}."
        return Finding(*cells, "note", told)
    return Finding(*cells)


def _check_geometry(promise: Promise, found: MediaInfo) -> Iterator[Finding]:
    yield _size(promise, found)
    wanted, written = promise.sample_aspect_ratio or Fraction(1), found.video.sample_aspect_ratio or Fraction(1)
    cells = "pixel aspect", str(wanted), str(written)
    if wanted == written:
        yield Finding(*cells)
    elif family(found) == "gif" and abs(wanted - written) <= Fraction(1, 128):
        yield Finding(*cells, "note", "A gif holds the pixel aspect ratio in steps of 1/64 (GIF89a, section 18).")
    else:
        told = f"The pixel aspect ratio was to be {wanted}, it is written as {written}."
        yield Finding(*cells, "differs", told, "the pixel aspect ratio")
    cells = "rotation", _turned(promise.display_matrix), _turned(found.display_matrix)
    if cells[1] == cells[2]:
        yield Finding(*cells)
    else:
        told = f"The rotation was to be {cells[1]}, it is written as {cells[2]}."
        yield Finding(*cells, "differs", told, "the rotation")


def _size(promise: Promise, found: MediaInfo) -> Finding:
    width, height = found.video.width, found.video.height
    cells = "size", f"{promise.width}x{promise.height}", f"{width}x{height}"
    if (width, height) == (promise.width, promise.height):
        return Finding(*cells)
    scale, rest = divmod(width, promise.width)
    if not promise.binding and scale > 1 and not rest and height == promise.height * scale:
        return Finding(*cells, "note", f"The picture is {scale} times as wide and as high as the source's.")
    return Finding(*cells, "differs", f"The picture was to be {cells[1]} pixels, it is {cells[2]}.", "the picture's size")


def _turned(matrix: tuple[int, ...] | None) -> str:
    """A display matrix in words: what it shifts does not show, only how it turns and flips the picture."""
    if matrix is None or not (hypot(matrix[0], matrix[1]) and hypot(matrix[3], matrix[4])):
        return "none"
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    flipped = a * d - b * c < 0
    angle = round(degrees(atan2(b, a)) % 360, 1) % 360
    words = [*([f"{angle:g} degrees clockwise"] if angle else []), *(["flipped"] if flipped else [])]
    return ", ".join(words) or "none"


# Words ----------------------------------------------------------------------------------------------------------------


def _check_chapters(promise: Promise, found: MediaInfo, shift: Fraction) -> Iterator[Finding]:
    wanted = len(promise.chapters) if promise.chapter_count is None else promise.chapter_count
    cells = "chapters", str(wanted), str(len(found.chapters))
    if wanted != len(found.chapters):
        told = f"{wanted} chapters were to be written, {len(found.chapters)} were found."
        yield Finding(*cells, "differs", told, "the chapters")
        return
    yield Finding(*cells)
    if not promise.chapters:
        return
    problems = (
        _chapter_problem(number, chapter, entry, shift, family(found) == "matroska")
        for number, (chapter, entry) in enumerate(zip(promise.chapters, found.chapters, strict=True))
    )
    problem = next(filter(None, problems), "")
    if problem:
        yield Finding("chapter list", "same times and titles", "others", "differs", problem, "the chapters' times and titles")
    else:
        yield Finding("chapter list", "same times and titles", "the same")


def _chapter_problem(number: int, wanted: PromisedChapter, written: Chapter, shift: Fraction, keeps_ends: bool) -> str:
    """mp4 and mov know where chapters begin; each ends with the next (QuickTime File Format, chapter lists)."""
    tick, title = max(written.time_base, Fraction(1, 1000)), written.metadata.get("title", "")
    if title != wanted.title:
        return f"Chapter {number} {wanted.title!r} is called {title!r} in the written file."
    starts = max(wanted.start - shift, Fraction(0)), written.start * written.time_base
    if abs(starts[0] - starts[1]) > tick:
        return f"Chapter {number} {title!r} begins at {float(starts[1]):.3f} s instead of {float(starts[0]):.3f} s."
    ends = max(wanted.end - shift, Fraction(0)), written.end * written.time_base
    if keeps_ends and abs(ends[0] - ends[1]) > tick:
        return f"Chapter {number} {title!r} ends at {float(ends[1]):.3f} s instead of {float(ends[0]):.3f} s."
    return ""


def _check_words(promise: Promise, found: Inventory, partners: Mapping[int, StreamContent]) -> Iterator[Finding]:
    yield _metadata(promise, found.media)
    kept = [stream.source for stream in promise.streams if stream.source.index in partners]
    pairs = [(source, partners[source.index].summary) for source in kept]
    picture = promise.source.streams[promise.source.video_index], found.media.streams[found.media.video_index]
    pairs.insert(0, picture)
    where = family(found.media)
    container = container_of(found.media)
    gone = [(a, b) for a, b in pairs if not _same_language(a.language, b.language)]
    # QuickTime has a list of languages of its own (QuickTime File Format, language codes), mp4 three letters for each.
    beyond = all(
        container is None
        or where == "mov"
        or kind_of(a) not in container.languages
        or (where == "mp4" and len(str(a.language)) != 3)
        for a, _ in gone
    )
    yield _together("languages", [f"{a.language} of stream {a.index}" for a, _ in gone], "language", beyond, where)
    titles = [f"{a.title!r} of stream {a.index}" for a, b in pairs if a.title and a.title != b.title]
    yield _together("titles", titles, "title", container is None or not container.titles, where)
    flags, held = [], _HELD_FLAGS.get(where, frozenset())
    telling = _FLAGS if held else _FLAGS - {"default"}  # where there are no flags, nothing else can be the default
    for source, written in pairs:
        unset = [flag for flag in source.disposition if flag in telling and flag not in written.disposition]
        flags += [(flag, f"{flag} of stream {source.index}") for flag in unset]
    yield _together("dispositions", [told for _, told in flags], "disposition", all(flag not in held for flag, _ in flags), where)


def _together(name: str, missing: list[str], what: str, beyond: bool, where: str) -> Finding:
    if not missing:
        return Finding(name, "kept", "kept")
    told = listed(missing)
    if beyond:
        return Finding(name, "kept", f"without {told}", "note", f"The {what} {told} could not be written in {where}.")
    return Finding(name, "kept", f"without {told}", "differs", f"The {what} {told} was lost.", f"the {what} {told}")


def _same_language(one: str | None, other: str | None) -> bool:
    """Whether two codes mean the same; `und` says nothing, so nothing is lost with it."""
    if one in (None, "und"):
        return True
    return other is not None and _SAME_LANGUAGE.get(str(one), one) == _SAME_LANGUAGE.get(other, other)


def _metadata(promise: Promise, found: MediaInfo) -> Finding:
    held = {key.lower(): value for key, value in found.metadata.items()}
    label = next((value for key, value in promise.metadata.items() if key.lower() == "timecode"), "")
    if label in _timecodes(found):
        held["timecode"] = label
    gone = [key for key, value in promise.metadata.items() if not _kept(key, value, held)]
    cells = "metadata", f"{len(promise.metadata)} words", f"{len(promise.metadata) - len(gone)} kept"
    if not gone:
        return Finding(*cells)
    told = listed(sorted(gone))
    if not promise.binding and all(_beyond(key, found) for key in gone):
        return Finding(*cells, "note", f"The metadata {told} cannot be held by this file ({family(found)}).")
    return Finding(*cells, "differs", f"The metadata {told} was lost or changed.", f"the metadata {told}")


def _kept(key: str, value: str, held: Mapping[str, str]) -> bool:
    written = held.get(key.lower())
    if written is None:
        return not value
    if key.lower() == "comment":
        return written.startswith(value)  # the mark is put behind what was there
    if key.lower() == "creation_time":
        return written[:19] == value[:19]  # to the second: what mp4 and mov hold
    return written.strip() == value.strip()


def _beyond(key: str, found: MediaInfo) -> bool:
    """Whether the file's format has no place for a key of metadata."""
    where = family(found)
    if where == "mp4" and any(kind_of(stream) == "cover" for stream in found.streams):
        return bool(free_keys("mp4", {key: ""}))  # the muxer writes either cover art or free keys
    container = container_of(found)
    return container is None or bool(lost_keys(container, {key: ""}))


def _check_duration(
    promise: Promise, found: Inventory, partners: Mapping[int, StreamContent], shift: Fraction
) -> Iterator[Finding]:
    """The container's word against its packets, and where the last stream ends against the promise."""
    pictures = found.pictures
    frame = _last_shown(pictures)
    audio = [s.end - s.pts[-1] * s.summary.time_base for s in found.streams if s.end is not None and len(s.pts) > 0]
    slack = max([frame, *(span for span in audio if span > 0 and span < 1)]) + Fraction(1, 1000)
    if promise.to_the_end:
        there = promise.pictures
        ends = [stream.end for stream in promise.streams if stream.source.index in partners and stream.end is not None]
        wanted = max([(there.pts[-1] + (there.last_duration or 0)) * there.time_base, *ends]) - shift
        cells = "end of the last stream", f"{float(wanted):.3f} s", f"{float(found.end):.3f} s"
        if promise.cfr or abs(wanted - found.end) <= slack:
            yield Finding(*cells)
        else:
            told = f"The last stream was to end at {cells[1]}, it ends at {cells[2]}."
            yield Finding(*cells, "differs", told, "the duration")
    if found.media.duration is None or family(found.media) == "ivf":
        return  # IVF states the number of pictures there, which FFmpeg takes for ticks
    # mp4 and mov tracks last as long as their decoding times say (ISO/IEC 14496-12, 8.4.2), which reordering may shorten.
    # FFmpeg counts from the first timestamp or from 0, with or without subtitles: the stated end has to lie between the
    # last picture or sound and the end of everything.
    stated = Fraction(found.media.duration)
    heard = [s for s in found.streams if kind_of(s.summary) in ("audio", "video") and len(s.pts)]
    begins = [pictures.pts[0] * pictures.time_base, found.media.start_time, *(s.first for s in heard if s.first is not None)]
    last = max([pictures.pts[-1] * pictures.time_base, *(s.pts[-1] * s.summary.time_base for s in heard)])
    shortest = last - max(Fraction(0), *begins) - slack
    longest = max(found.end, pictures.pts[-1] * pictures.time_base + frame) - min(Fraction(0), *begins) + slack
    cells = "stated duration", f"{float(shortest):.3f} to {float(longest):.3f} s", f"{float(stated):.3f} s"
    if shortest <= stated <= longest or abs(stated - found.decoding_span) <= slack:
        yield Finding(*cells)
    else:
        told = f"The file states a duration of {cells[2]}, but its packets end after {cells[1]}."
        yield Finding(*cells, "differs", told, "the stated duration")


def _last_shown(pictures: Timeline) -> Fraction:
    """Seconds that the last picture shows; where the file does not say, as long as the longest before it."""
    if pictures.last_duration:
        return pictures.last_duration * pictures.time_base
    return steady_interval(pictures)[1] if len(pictures) > 1 else Fraction(1)


def _check_mark(promise: Promise, found: MediaInfo) -> Iterator[Finding]:
    comment = next((value for key, value in found.metadata.items() if key.lower() == "comment"), "")
    start = comment.rfind(MARK)
    if start >= 0:
        yield Finding("mark", MARK, comment[start:])
    elif promise.mark:
        told = "The comment that says which engines ran is missing in the written file."
        yield Finding("mark", MARK, "missing", "differs", told, "the mark")
    elif not promise.binding:
        told = "The file does not carry the mark of vidrestore: another program wrote it, or its comment was removed."
        yield Finding("mark", MARK, "missing", "note", told)
