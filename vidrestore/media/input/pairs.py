"""Two videos read side by side: every picture of a reference with the picture of an output that shows at the same moment."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count as numbers
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vidrestore.config import Damage as OnDamage
from vidrestore.config import LimitsConfig
from vidrestore.errors import IndexMismatchError, MediaError, UsageError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.packet_scan import scan_packets
from vidrestore.media.input.partners import Stray, Walk, first_stray
from vidrestore.media.input.picture_decoder import WHOLE, DecodeOptions, PictureDecoder, Window
from vidrestore.media.input.source import FileSource, Source, open_source
from vidrestore.media.proof.inventory import Timeline
from vidrestore.media.proof.timing import align, find_shift
from vidrestore.media.upright import Upright
from vidrestore.types import Frame

__all__ = ["Pair", "Pairs", "open_pairs", "require_indexed"]

SAME_MOMENTS = "The two must show the same moments; if one is a part of the other, say which with --start and --duration."
CHANGED = "Try again; if the file is not being written to, please report this with `vidrestore probe` of it."


@dataclass(frozen=True)
class Pair:
    """A moment in both. Pictures are upright, of their own sizes and depths; each `index` counts from 0 at the first pair."""

    reference: Frame
    output: Frame

    @property
    def pictures(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """(H, W, 3) RGB of the reference and of the output, uint8 or uint16 full scale."""
        return self.reference.data.transpose(1, 2, 0), self.output.data.transpose(1, 2, 0)


def open_pairs(
    reference: str | Path,
    output: str | Path,
    *,
    start: float = 0.0,
    duration: float | None = None,
    frame_rate: str | None = None,
    protocols: tuple[str, ...] = ("file",),
    limits: LimitsConfig | None = None,
    output_limits: LimitsConfig | None = None,
    deinterlace: bool = False,
    on_damage: OnDamage = "stop",
    threads: int = 1,
) -> Pairs:
    """Open two videos to be read side by side; use what is returned as a context manager.

    Picture n of the one belongs to picture n of the other, and their times must agree up to one constant shift and the rounding
    to their clocks' ticks. Where both files tell the times of their pictures without being decoded, that is checked here, else
    while they are read.

    Args:
        reference, output: what `open_source` opens, but for pipes: files, folders or patterns of images, y4m.
        start, duration: the part of the reference to read, seconds of its timeline. The output may show only this part, or
            (where both tell their times) all of the reference: then its pictures of the same part are taken.
        frame_rate: frames a second of images without timecodes.
        protocols: FFmpeg's names of the protocols that may be used to read the reference.
        limits: what the reference may ask of the machine; None: the defaults.
        output_limits: what the output may; None: `limits`.
        deinterlace, on_damage: how the reference is decoded, as for `DecodeOptions`; the output is whole or refused.
        threads: of each of the two decoders.

    Raises:
        MediaError: a picture has no partner (the first one is named), or as `open_source` does.
        UsageError: one of the two is a pipe.
    """
    if "-" in (str(reference), str(output)):
        raise UsageError("A pipe cannot be compared: it is read once only.", "Save it to a file first.")
    one = open_source(reference, limits=limits, protocols=protocols, frame_rate=frame_rate)
    try:
        other = open_source(output, limits=output_limits or limits, frame_rate=frame_rate)
        options = DecodeOptions(start, duration, threads, on_damage, deinterlace)
        return Pairs(_Reader(one, options), _Reader(other, replace(WHOLE, threads=threads)))
    except BaseException:
        one.close()
        raise


class Pairs:
    """Iterate for all pairs in order, or ask for some with `at`. Holds two decoders, and no picture that it has given out."""

    def __init__(self, reference: _Reader, output: _Reader) -> None:
        self._reference, self._output = reference, output
        self.frames: int | None = None
        """Number of pairs; None where only decoding can tell."""
        self.seen = 0
        """Number of pairs read so far, counted from the first one."""
        self._checked = reference.times is not None and output.times is not None
        if self._checked:
            self._match()
            self.frames = len(reference)

    @property
    def reference(self) -> MediaInfo:
        return self._reference.media

    @property
    def output(self) -> MediaInfo:
        return self._output.media

    @property
    def quick(self) -> bool:
        """Whether `at` can enter both files in the middle; else it decodes them from their beginning."""
        return self._checked

    @property
    def first(self) -> tuple[int, int] | None:
        """Numbers that the first pair's pictures have in their whole files; None where only decoding from there can tell."""
        places = self._reference.place, self._output.place
        return None if places[0] is None or places[1] is None else (places[0], places[1])

    @property
    def entries(self) -> tuple[Sequence[int], Sequence[int]]:
        """Numbers of the pairs from which decoding the reference, and the output, is cheap; empty where that is not known."""
        return self._reference.entries, self._output.entries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give both files back; may be called more than once."""
        self._reference.close()
        self._output.close()

    def __iter__(self) -> Iterator[Pair]:
        """All pairs in order; a second iteration begins anew."""
        walk = self._walk()
        for number in numbers():
            pair = self._pair(number, walk)
            if pair is None:
                return
            yield pair

    def at(self, moments: Sequence[int], count: int = 1) -> Iterator[tuple[Pair, ...]]:
        """For each of `moments` the run of `count` consecutive pairs that begins there.

        Args:
            moments: numbers of pairs, from 0. In rising order they cost least: reading goes on unless a key picture lies between.
            count: pairs of a run.

        Raises:
            ValueError: a run goes beyond the last pair.
            MediaError: as reading does.
        """
        walk = self._walk()
        for moment in moments:
            if moment < 0 or count < 1:
                raise ValueError(f"no run of {count} pairs begins at {moment}")
            if self.frames is not None and moment + count > self.frames:
                raise ValueError(f"there are {self.frames} pairs, none of {moment}..{moment + count - 1} may lie beyond")
            run = []
            for number in range(moment, moment + count):
                pair = self._pair(number, walk)
                if pair is None:
                    raise ValueError(f"there are fewer than {number + 1} pairs")
                run.append(pair)
            yield tuple(run)

    def _walk(self) -> Walk:
        return Walk((self.reference.video.time_base, self.output.video.time_base))

    def _pair(self, number: int, walk: Walk) -> Pair | None:
        one, other = self._reference.read(number), self._output.read(number)
        if not self._checked:
            self._refuse(walk.step(number, (one.pts, other.pts)) if one is not None and other is not None else walk.end())
        if one is None:
            if other is None:
                return None
            raise _alone(self.output, other, self.reference)
        if other is None:
            raise _alone(self.reference, one, self.output)
        self.seen = max(self.seen, number + 1)
        return Pair(one, other)

    def _refuse(self, stray: Stray | None) -> None:
        if stray is not None:
            media, other = (self.output, self.reference) if stray.second else (self.reference, self.output)
            raise _lonely(media, stray.number, stray.pts, other)

    def _match(self) -> None:
        """Check that the pictures of both belong together, number by number, before any is decoded."""
        part, whole, output = self._reference.times, self._reference.whole, self._output.times
        assert part is not None and whole is not None and output is not None
        part.of(self.reference)
        output.of(self.output)
        if _agree(part, output):
            return
        if len(part) < len(whole) and len(output) == len(whole) and _agree(whole, output):
            first = whole.pts.index(part.pts[0]) if len(part) else 0
            self._output.keep(first, first + len(part))
            return
        self._name_lonely(part, output)

    def _name_lonely(self, part: Timeline, output: Timeline) -> None:
        """Raise MediaError that names the first picture without a partner."""
        swap = part.time_base > output.time_base  # `align` allows half a tick of the second: let that be the coarser
        pair = (output, part) if swap else (part, output)
        shift = find_shift(*pair)
        found = align(*pair, shift)
        missing, extra = _unrounded(pair, shift, found.missing, found.extra)
        if swap:
            missing, extra = extra, missing
        if not missing and not extra and len(part) == len(output):  # rounding alone could explain each, but not all
            missing = [first_stray(part, output) or 0]
        if missing and (not extra or missing[0] <= extra[0]):
            raise _lonely(self.reference, missing[0], part.pts[missing[0]], self.output, len(part), len(output))
        at = extra[0] if extra else min(len(part), len(output)) - 1
        raise _lonely(self.output, at, output.pts[at], self.reference, len(output), len(part))


def _unrounded(
    pair: tuple[Timeline, Timeline], shift: Fraction, missing: Sequence[int], extra: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Of the pictures of either that `align` finds no partner for, those that have none within a tick of each clock."""
    one, other = pair
    slack = one.time_base + other.time_base
    lonely: tuple[list[int], list[int]] = [], []
    left, right = 0, 0
    while left < len(missing) and right < len(extra):
        error = one.pts[missing[left]] * one.time_base - shift - other.pts[extra[right]] * other.time_base
        if abs(error) <= slack:
            left, right = left + 1, right + 1
        elif error < 0:
            lonely[0].append(missing[left])
            left += 1
        else:
            lonely[1].append(extra[right])
            right += 1
    return [*lonely[0], *missing[left:]], [*lonely[1], *extra[right:]]


class _Reader:
    """The pictures of one source by number; goes on where it stands if that is cheaper than to enter the file anew."""

    def __init__(self, source: Source, options: DecodeOptions) -> None:
        self.media = source.media
        self._source, self._options = source, options
        stamps = source.index(options)
        base = self.media.video.time_base
        self.times = None if stamps is None else Timeline(array("q", stamps), base)
        self.whole = self.times
        if stamps is not None and (options.start > 0 or options.duration is not None):
            everything = source.index(replace(options, start=0.0, duration=None))
            self.whole = None if everything is None else Timeline(array("q", everything), base)
        self.entries = self._key_numbers()
        """Numbers of the pictures from which decoding is cheap, rising."""
        self._upright = Upright.of_matrix(self.media.display_matrix) or Upright()
        self._decoder: PictureDecoder | None = None
        self._frames: Iterator[Frame] = iter(())
        self._next = 0

    def __len__(self) -> int:
        assert self.times is not None
        return len(self.times)

    @property
    def place(self) -> int | None:
        """Number of picture 0 in the whole source."""
        if self.times is not None and self.whole is not None:
            return self.whole.pts.index(self.times.pts[0]) if len(self.times) else 0
        return 0 if self._options.start <= 0 else None

    def keep(self, first: int, end: int) -> None:
        """From now on picture 0 is what was picture `first`, and `end` lies beyond the last."""
        assert self.times is not None
        self.close()
        self.times = replace(self.times, pts=self.times.pts[first:end])
        self.entries = self._key_numbers()

    def read(self, number: int) -> Frame | None:
        """Picture `number`, counted from 0; None beyond the last."""
        if self.times is not None and number >= len(self.times):
            return None
        ahead = self._decoder is not None and number >= self._next
        if not ahead or self._entry_between(number):
            self._enter(number)
        if self._decoder is not None:
            self._next += self._decoder.pass_over(number - self._next)
        for frame in self._frames:
            self._next += 1
            if self._next > number:
                return self._upright_frame(frame, number)
        if self.times is not None:
            require_indexed(self.media, number, None, self.times.pts[number])
        return None

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
        self._decoder, self._frames = None, iter(())

    def _entry_between(self, number: int) -> bool:
        """Whether a picture from which decoding is cheap lies between the next one and `number`, or is it."""
        return number > self._next and bisect_right(self.entries, number) > bisect_right(self.entries, self._next)

    def _enter(self, number: int) -> None:
        self.close()
        window = None
        if self.times is not None:
            window = Window(first_index=number, first_pts=self.times.pts[number])
        self._decoder = self._source.decoder(self._options, window)
        self._frames = iter(self._decoder)
        self._next = number if window else 0

    def _upright_frame(self, frame: Frame, number: int) -> Frame:
        if self.times is not None:
            require_indexed(self.media, number, frame, self.times.pts[number])
        if self._upright.changes:
            frame = frame.with_data(self._upright(np.asarray(frame.data).transpose(1, 2, 0)).transpose(2, 0, 1))
        return replace(frame, index=number)

    def _key_numbers(self) -> Sequence[int]:
        if self.times is None:
            return ()
        if not isinstance(self._source, FileSource):
            return range(len(self.times))
        keys = frozenset(scan_packets(self.media).keys)
        return [number for number, pts in enumerate(self.times.pts) if pts in keys]


def require_indexed(media: MediaInfo, number: int, frame: Frame | None, pts: int) -> None:
    """That the decoder gave frame `number`, and at the time that the index says.

    Raises:
        IndexMismatchError: it gave none (None), or another: a wrong moment must not pass for the right one.
    """
    if frame is None:
        raise IndexMismatchError(f"{media.path} gives fewer pictures than its index tells: frame {number} is missing.", CHANGED)
    if frame.pts != pts:
        raise IndexMismatchError(f"{media.path}: frame {number} has pts {frame.pts}, its index says {pts}.", CHANGED)


def _agree(one: Timeline, other: Timeline) -> bool:
    """Whether as many pictures of both show at the same moments."""
    return len(one) == len(other) and first_stray(one, other) is None


def _alone(media: MediaInfo, frame: Frame, other: MediaInfo) -> MediaError:
    return _lonely(media, frame.index, frame.pts, other)


def _lonely(media: MediaInfo, index: int, pts: int, other: MediaInfo, *counts: int) -> MediaError:
    seconds = float(pts * media.video.time_base)
    totals = " ({} pictures against {})".format(*counts) if counts and counts[0] != counts[1] else ""
    assumed = [one.rate_assumed for one in (media, other) if one.rate_assumed is not None]
    return MediaError(
        f"Frame {index} of {media.path} ({seconds:.3f} s) has no partner in {other.path}{totals}.",
        " ".join([*dict.fromkeys(assumed), SAME_MOMENTS]),
    )
