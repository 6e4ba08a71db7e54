"""Are chapters, metadata, languages, titles, dispositions and the mark there?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from vidrestore.media.input.media_info import Chapter, MediaInfo
from vidrestore.media.output.mark import MARK, read_mark
from vidrestore.media.passthrough.metadata import free_keys, lost_keys
from vidrestore.media.passthrough.streams import kind_of
from vidrestore.media.proof.check_streams import same_language, timecodes_of
from vidrestore.media.proof.findings import Finding, counted, listed, were
from vidrestore.media.proof.inventory import Inventory, StreamContent, container_of, family
from vidrestore.media.proof.promise import Promise, PromisedChapter

__all__ = ["check_chapters", "check_mark", "check_words"]

_FLAGS = frozenset({"default", "forced", "hearing_impaired", "visual_impaired", "descriptions", "original", "comment"})
"""Dispositions that tell players what a stream is for."""
_HELD_FLAGS = {"matroska": _FLAGS, "mp4": frozenset({"default"}), "mov": frozenset({"default"})}
"""Those a container holds: Matroska all (RFC 9559, 5.1.4.1), mp4 and mov whether a track is enabled (ISO/IEC 14496-12, 8.3.2)."""


def check_chapters(promise: Promise, found: MediaInfo, shift: Fraction) -> Iterator[Finding]:
    """Their number, times and titles."""
    wanted = len(promise.chapters) if promise.chapter_count is None else promise.chapter_count
    cells = "chapters", str(wanted), str(len(found.chapters))
    if wanted != len(found.chapters):
        told = (
            f"{counted(wanted, 'chapter')} {were(wanted)} to be written, {len(found.chapters)} {were(len(found.chapters))} found."
        )
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


def check_words(promise: Promise, found: Inventory, partners: Mapping[int, StreamContent]) -> Iterator[Finding]:
    """The words of the file and of its streams."""
    yield _metadata(promise, found.media)
    kept = [stream.source for stream in promise.streams if stream.source.index in partners]
    pairs = [(source, partners[source.index].summary) for source in kept]
    picture = promise.source.streams[promise.source.video_index], found.media.streams[found.media.video_index]
    pairs.insert(0, picture)
    where = family(found.media)
    container = container_of(found.media)
    gone = [(a, b) for a, b in pairs if not same_language(a.language, b.language)]
    # mp4 and mov have three letters for each; many programs write mov with QuickTime's old list, which lacks most.
    beyond = all(
        container is None
        or (where == "mov" and not promise.binding)
        or kind_of(a) not in container.languages
        or (where in ("mp4", "mov") and len(str(a.language)) != 3)
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


def _metadata(promise: Promise, found: MediaInfo) -> Finding:
    held = {key.lower(): value for key, value in found.metadata.items()}
    label = next((value for key, value in promise.metadata.items() if key.lower() == "timecode"), "")
    if label in timecodes_of(found):
        held["timecode"] = label
    gone = [key for key, value in promise.metadata.items() if not _kept(key, value, held)]
    cells = "metadata", counted(len(promise.metadata), "word"), f"{len(promise.metadata) - len(gone)} kept"
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


def check_mark(promise: Promise, found: MediaInfo) -> Iterator[Finding]:
    """Whether the file says that the picture was restored, and by what."""
    mark = read_mark(found)
    if mark:
        yield Finding("mark", MARK, mark)
    elif promise.mark:
        told = "The mark that says which engines ran is missing in the written file."
        yield Finding("mark", MARK, "missing", "differs", told, "the mark")
    elif not promise.binding:
        told = "The file does not carry the mark of vidrestore: another program wrote it, or it was removed."
        yield Finding("mark", MARK, "missing", "note", told)
