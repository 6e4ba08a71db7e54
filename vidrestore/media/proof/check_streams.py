"""Are all other streams there, packet by packet, each at its time?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.passthrough.remux import NO_PTS
from vidrestore.media.passthrough.streams import kind_of, named
from vidrestore.media.proof.findings import Finding, StreamCheck, counted, were
from vidrestore.media.proof.inventory import Inventory, StreamContent, Words, container_of
from vidrestore.media.proof.promise import Promise, PromisedStream
from vidrestore.media.proof.timing import largest_error, milliseconds

__all__ = ["check_streams", "partners_of", "same_language", "stream_check", "timecodes_of"]

# ISO 639-2 has two codes for these languages (bibliographic, terminological); containers translate them.
_SAME_LANGUAGE = {
    "alb": "sqi", "arm": "hye", "baq": "eus", "bur": "mya", "chi": "zho", "cze": "ces", "dut": "nld", "fre": "fra",
    "geo": "kat", "ger": "deu", "gre": "ell", "ice": "isl", "mac": "mkd", "mao": "mri", "may": "msa", "per": "fas",
    "rum": "ron", "slo": "slk", "tib": "bod", "wel": "cym",
}  # fmt: skip

_PRIMING = 2, Fraction(60, 1000)
"""Packets and seconds that a decoder needs before the first sound; files hide as many as a matter of course."""
_SAMPLES = re.compile(r"pcm_")


def partners_of(promised: Iterable[PromisedStream], found: Inventory) -> dict[int, StreamContent]:
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
    return 1 + codec + same_language(promised.source.language, found.summary.language)


def same_language(one: str | None, other: str | None) -> bool:
    """Whether two codes mean the same; `und` says nothing, so nothing is lost with it."""
    if one in (None, "und"):
        return True
    return other is not None and _SAME_LANGUAGE.get(str(one), one) == _SAME_LANGUAGE.get(other, other)


def check_streams(
    promise: Promise, found: Inventory, partners: Mapping[int, StreamContent], shift: Fraction
) -> Iterator[Finding]:
    """Each stream beside the picture, by the index it has in the source; and transparency."""
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
            yield from _hidden(stream, content, found)
    if promise.alpha and not found.media.video.alpha:
        told = f"The transparency of {promise.path.name} is missing in the written file."
        yield Finding("transparency", "yes", "no", "differs", told, "the transparency")


def _described(stream: PromisedStream) -> str:
    words = [kind_of(stream.source), stream.source.codec, stream.source.spoken]
    return " ".join(word for word in words if word) + f", {counted(stream.packets, 'packet')}"


def _payload(stream: PromisedStream, content: StreamContent, name: str) -> Finding:
    expected, packets = _described(stream), content.digest.packets
    told_packets = counted(packets, "packet")
    samples = _SAMPLES.match(stream.codec) and stream.content is not None
    if content.digest.hexdigest() == stream.sha256 or (samples and content.content == stream.content):
        if not stream.converted:
            return Finding(name, expected, f"{told_packets}, same bytes")
        told = f"{named(stream.source)} was converted to {stream.codec}."
        return Finding(name, expected, f"{stream.codec}, {told_packets}, as converted", "note", told)
    if stream.words is not None and content.words is not None and content.summary.codec != stream.codec:
        return _words(stream, stream.words, content, content.words, name)
    if packets != stream.packets:
        told = f"{counted(stream.packets, 'packet')} of {stream.source} {were(stream.packets)} copied, "
        told += f"{packets} {were(packets)} found."
        return Finding(name, expected, told_packets, "differs", told, f"packets of {stream.source}")
    told = f"The packets of {stream.source} were changed on the way."
    return Finding(name, expected, f"{told_packets}, other bytes", "differs", told, f"{stream.source} (changed)")


def _words(stream: PromisedStream, wanted: Words, content: StreamContent, written: Words, name: str) -> Finding:
    """A subtitle in another codec: the same words at the same times, joined where they overlap if the codec needs that."""
    codec = content.summary.codec
    cells = name, _described(stream), f"{codec}, {counted(len(written.texts), 'text')}"
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
    slack = tick / 2 if not shift else tick + tick / 2 + stream.time_base / 2
    container = container_of(found.media)
    if container is not None and container.constant_rate:
        slack = max(tick, Fraction(1024, 48000))  # no times, only counts: within a usual packet of sound
    if stream.pts is not None and len(stream.pts) == len(content.pts) and not _SAMPLES.match(stream.codec):
        worst, at = largest_error(stream.pts, stream.time_base, content.pts, tick, shift)
        timeless = sum(there != NO_PTS and here == NO_PTS for there, here in zip(stream.pts, content.pts, strict=True))
        cells = name, counted(len(stream.pts), "time"), "exact" if not worst else f"at most {milliseconds(worst)} off"
        if worst <= slack and not timeless:
            yield Finding(*cells)
        else:
            told = (
                f"{counted(timeless, 'packet')} of {stream.source} lost the time."
                if timeless
                else f"Packet {at} of {stream.source} is {milliseconds(worst)} away from its time."
            )
            yield Finding(*cells, "differs", told, f"times of {stream.source}")
    if stream.words is not None and content.words is not None:
        worst = _worst_of_lines(stream.words, stream.time_base, content.words, tick, shift)
        cells = (
            f"ends of stream {stream.source.index}",
            counted(len(stream.words.lines), "line"),
            f"at most {milliseconds(worst)} off",
        )
        # A begin and a duration, each rounded.
        if worst <= 2 * slack:
            yield Finding(*cells)
        else:
            told = f"A line of {stream.source} comes or goes {milliseconds(worst)} away from its time."
            yield Finding(*cells, "differs", told, f"times of {stream.source}")
    if stream.first is None or content.first is None or kind_of(stream.source) not in ("audio", "subtitle", "video"):
        return
    picture = promise.pictures.pts[0] * promise.pictures.time_base, found.pictures.pts[0] * found.pictures.time_base
    wanted, written = stream.first - picture[0], content.first - picture[1]
    cells = f"offset of stream {stream.source.index}", f"{milliseconds(wanted)} from the picture", f"{milliseconds(written)}"
    if abs(wanted - written) <= slack + found.pictures.time_base / 2:
        yield Finding(*cells)
        return
    told = (
        f"{named(stream.source)} begins at {float(content.first):.4f} s instead of {float(stream.first - shift):.4f} s"
        f" ({milliseconds(written - wanted)} later against the picture)."
    )
    yield Finding(*cells, "differs", told, f"the offset of {stream.source}")


def _hidden(stream: PromisedStream, content: StreamContent, found: Inventory) -> Iterator[Finding]:
    """Edit lists hide sound (ISO/IEC 14496-12, 8.6.6); where there are none, all that was copied is heard."""
    lead, index = stream.hidden, stream.source.index
    if stream.source.type != "audio" or lead.packets <= _PRIMING[0] or lead.seconds <= _PRIMING[1]:
        return
    name, what = f"hidden sound of stream {index}", f"{counted(lead.packets, 'packet')} ({float(lead.seconds):.2f} s)"
    heard = lead.packets - content.hidden.packets
    if heard <= _PRIMING[0]:
        yield Finding(name, what, counted(content.hidden.packets, "packet"))
        return
    told = f"stream {index}: {what} that the source hides before its beginning are heard in the written file."
    yield Finding(name, what, f"{heard} heard", "note", told[0].upper() + told[1:])


def _timecode(stream: PromisedStream, name: str, found: MediaInfo) -> Finding:
    """tmcd tracks are not copied: the muxer makes a new one of the tag (QuickTime File Format, timecode media)."""
    wanted, held = stream.timecode, timecodes_of(found)
    cells = name, f"timecode {wanted}".rstrip(), f"timecode {', '.join(sorted(held)) or 'missing'}"
    if wanted in held or (not wanted and held):
        return Finding(*cells, "note", f"{named(stream.source)} (timecode) was written anew from its tag.")
    return Finding(*cells, "differs", f"The timecode {wanted} is missing in the written file.", "the timecode")


def timecodes_of(media: MediaInfo) -> set[str]:
    """The timecodes that a file names anywhere."""
    sources = (media.metadata, *(stream.metadata for stream in media.streams))
    return {value for words in sources for key, value in words.items() if key.lower() == "timecode"}


def stream_check(stream: PromisedStream, partners: Mapping[int, StreamContent]) -> StreamCheck:
    """What the report says of a copied stream."""
    content, source = partners[stream.source.index], stream.source
    digest, converted = content.digest, None
    if stream.converted:
        converted = stream.codec
    elif stream.words is not None and content.summary.codec != source.codec and digest.hexdigest() != stream.sha256:
        converted = content.summary.codec
    texts = 0 if converted is None else stream.texts
    packets, sha256 = digest.packets, digest.hexdigest()
    return StreamCheck(source.index, source.type, source.codec, source.language, packets, sha256, converted, texts)
