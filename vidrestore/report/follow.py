"""What a video shows at a moment, for videos that are watched side by side: pictures upright, 8 bits, with square pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vidrestore.media.input.picture_decoder import DecodeOptions, PictureDecoder
from vidrestore.media.input.source import Source
from vidrestore.media.upright import Upright
from vidrestore.report.shown import Viewer
from vidrestore.types import Frame

__all__ = ["Follower"]

Picture = NDArray[np.uint8]

_MARGIN = Fraction(1, 2)
"""Seconds before the first moment at which decoding begins, so that a picture that began earlier is met."""
_HELD = Fraction(3, 4)
"""Of the last picture's time in which it is shown: clocks that round may not make it last a picture of another longer."""


class Follower:
    """The pictures of one video, no pipe, in order, by the moment at which they are shown. A context manager.

    Moments count in seconds from the video's first picture.

    Raises:
        MediaError: as decoding does.
    """

    def __init__(self, source: Source, options: DecodeOptions) -> None:
        self.source, self.media = source, source.media
        self._options = replace(options, deinterlace=options.deinterlace and source.media.interlaced)
        index = source.index(replace(self._options, start=0.0, duration=None))
        tick = self.media.video.time_base
        self.moments = None if index is None else tuple((pts - index[0]) * tick for pts in index)
        """Of all its pictures; None where only decoding tells."""
        self._first = self._time_of_first() if not index else index[0] * tick
        self.viewer = Viewer(self.media)
        self._upright = Upright.of_matrix(self.media.display_matrix) or Upright()
        self._decoder: PictureDecoder | None = None
        self._frames: Iterator[Frame] = iter(())
        self._now: Frame | None = None
        self._next: Frame | None = None
        self._screen: tuple[int, Picture] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        if self._decoder is not None:
            self._decoder.close()
        self._decoder, self._frames = None, iter(())
        self.source.close()

    @property
    def end(self) -> Fraction | None:
        """From this moment on `at` has no picture; None where only decoding tells."""
        return None if self.moments is None else self.moments[-1] + self.step * _HELD

    @property
    def step(self) -> Fraction:
        """Seconds that a picture lasts, as far as the file says."""
        return 1 / (self.media.video.frame_rate or Fraction(25))

    def screen(self, frame: Frame) -> Picture:
        """One of its pictures as a screen shows it: (H, W, 3) uint8 RGB, upright, square pixels; may be a view of it."""
        return self.viewer(self._upright(np.asarray(frame.data).transpose(1, 2, 0)))

    def moment(self, frame: Frame) -> Fraction:
        """When a picture is shown."""
        return frame.pts * frame.time_base - self._first

    def moment_on_timeline(self, moment: Fraction) -> float:
        """A moment in seconds from the beginning of the container's timeline, which may lie before the first picture."""
        return float(max(Fraction(0), self._first - self.media.start_time + moment))

    def frames(self, start: Fraction, duration: Fraction | None) -> Iterator[Frame]:
        """Its pictures from `start` on, and before `start + duration`; not while `at` is used."""
        self._enter(start)
        for frame in self._frames:
            moment = self.moment(frame)
            if duration is not None and moment >= start + duration:
                return
            if moment >= start:
                yield frame

    def at(self, moment: Fraction) -> Picture | None:
        """The picture nearest to `moment`, which may not go back; None when the video is over by then."""
        if self._decoder is None:
            self._enter(moment)
            self._next = next(self._frames, None)
        while self._next is not None and (self._now is None or self._nearer(moment)):
            self._now, self._next = self._next, next(self._frames, None)
        if self._now is None or (self._next is None and moment - self.moment(self._now) > self.step * _HELD):
            return None
        if self._screen is None or self._screen[0] != self._now.pts:
            self._screen = self._now.pts, self.screen(self._now)
        return self._screen[1]

    def _nearer(self, moment: Fraction) -> bool:
        """Whether the next picture is nearer to `moment` than the present one."""
        assert self._now is not None and self._next is not None
        return abs(self.moment(self._next) - moment) < abs(self.moment(self._now) - moment)

    def _enter(self, moment: Fraction) -> None:
        start = self.moment_on_timeline(moment - _MARGIN)
        self._decoder = self.source.decoder(replace(self._options, start=start, duration=None))
        self._frames = iter(self._decoder)

    def _time_of_first(self) -> Fraction:
        with self.source.decoder(replace(self._options, start=0.0, duration=None)) as decoder:
            for frame in decoder:
                return frame.pts * frame.time_base
        raise AssertionError("a decoder without a picture raises EmptyVideoError")  # pragma: no cover
