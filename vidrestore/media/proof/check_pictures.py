"""Are all pictures there, each at its time, and does the file last as long as they do?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise

from vidrestore.media.passthrough.streams import kind_of
from vidrestore.media.proof.findings import Finding, counted, were
from vidrestore.media.proof.inventory import Inventory, StreamContent, Timeline, family
from vidrestore.media.proof.promise import Promise
from vidrestore.media.proof.timing import Alignment, largest_error, milliseconds, steady_interval

__all__ = ["check_duration", "check_pictures"]


def check_pictures(promise: Promise, found: Inventory, shift: Fraction, alignment: Alignment) -> Iterator[Finding]:
    """Number and times of the pictures, or the constant rate that was asked for; a shift of all."""
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
    sentence = f"{counted(wanted, 'frame')} of {promise.path.name} went in, {written} {were(written)} written"
    if written < wanted:
        at = alignment.missing[0] if alignment.missing else written
        sentence += f"; the first that is missing is frame {at} ({_moment(promise.pictures, at, shift)})."
        loss = f"{wanted - written} of {counted(wanted, 'frame')}"
    else:
        at = alignment.extra[0] if alignment.extra else wanted
        sentence += f"; the first that is too many is frame {at} ({_moment(found, at)})."
        loss = f"{counted(written - wanted, 'frame')} too many"
    return Finding("frames", str(wanted), str(written), "differs", sentence, loss)


def _frame_times(promise: Promise, found: Timeline, shift: Fraction, alignment: Alignment) -> Finding:
    tick = found.time_base
    clock = counted(len(promise.pictures), "time")
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
        shares = "1 frame shares" if together == 1 else f"{together} frames share"
        told = f"{shares} the time of the one before: the file's clock ticks every {milliseconds(tick)} only."
        return Finding("frame times", clock, f"at most {milliseconds(alignment.worst)} off", "note", told)
    if alignment.worst == 0:
        return Finding("frame times", clock, f"{alignment.common} exact")
    return Finding(
        "frame times", clock, f"at most {milliseconds(alignment.worst)} off, the clock ticks every {milliseconds(tick)}"
    )


def _worst_of_all(expected: Timeline, found: Timeline, shift: Fraction) -> str:
    if len(expected) != len(found):
        return ""
    worst, _ = largest_error(expected.pts, expected.time_base, found.pts, found.time_base, shift)
    return f", by up to {milliseconds(worst)}"


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


def check_duration(
    promise: Promise, found: Inventory, partners: Mapping[int, StreamContent], shift: Fraction
) -> Iterator[Finding]:
    """The container's word against its packets, and where the last stream ends against the promise."""
    pictures = found.pictures
    frame = _last_shown(pictures)
    audio = [s.end - s.pts[-1] * s.summary.time_base for s in found.streams if s.end is not None and len(s.pts) > 0]
    slack = max([frame, *(span for span in audio if span > 0 and span < 1)]) + Fraction(1, 1000)
    ends = [stream.end for stream in promise.streams if stream.source.index in partners and stream.end is not None]
    if promise.to_the_end:
        there = promise.pictures
        wanted = max([(there.pts[-1] + (there.last_duration or 0)) * there.time_base, *ends]) - shift
        end = found.end
        if family(found.media) == "matroska" and abs(wanted - Fraction(found.media.duration or 0)) <= slack:
            end = wanted  # how long its last sound lasts, Matroska keeps in the stated duration only; packets are counted apart
        cells = "end of the last stream", f"{float(wanted):.3f} s", f"{float(end):.3f} s"
        if promise.cfr or abs(wanted - end) <= slack:
            yield Finding(*cells)
        else:
            told = f"The last stream was to end at {cells[1]}, it ends at {cells[2]}."
            yield Finding(*cells, "differs", told, "the duration")
    if found.media.duration is None or family(found.media) == "ivf":
        return  # IVF states the number of pictures there, which FFmpeg takes for ticks
    # mp4 and mov tracks last as long as their decoding times say (ISO/IEC 14496-12, 8.4.2), which reordering may shorten.
    # FFmpeg counts from the first timestamp or from 0, with or without subtitles: the stated end has to lie between the
    # last picture or sound and the end of everything; how long a sound lasts, Matroska keeps in its stated duration only.
    stated = Fraction(found.media.duration)
    heard = [s for s in found.streams if kind_of(s.summary) in ("audio", "video") and len(s.pts)]
    begins = [pictures.pts[0] * pictures.time_base, found.media.start_time, *(s.first for s in heard if s.first is not None)]
    last = max([pictures.pts[-1] * pictures.time_base, *(s.pts[-1] * s.summary.time_base for s in heard)])
    shortest = last - max(Fraction(0), *begins) - slack
    latest = max([found.end, pictures.pts[-1] * pictures.time_base + frame, *(end - shift for end in ends)])
    longest = latest - min(Fraction(0), *begins) + slack
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
