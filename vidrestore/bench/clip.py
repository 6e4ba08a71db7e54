"""The pictures that are measured on: real ones, from a file of the user's or from the example drive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from vidrestore.config import EncodeConfig
from vidrestore.errors import EmptyVideoError, SourceMissingError
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.source import open_source
from vidrestore.media.output.encode import VideoWriter
from vidrestore.types import Frame

__all__ = ["ClipShelf", "example_clip"]

CRF = 20
NOTHING_ELSE = ("audio", "subtitle", "data", "attachment", "cover", "chapters")
"""Streams that a made clip leaves out."""


def example_clip() -> Path:
    """The night drive that comes with the package, or lies in the checkout.

    Raises:
        SourceMissingError: there is none.
    """
    packaged = Path(str(resources.files("vidrestore"))) / "_data" / "examples" / "night_drive.mp4"
    path = packaged if packaged.is_file() else Path(__file__).resolve().parents[2] / "examples" / "night_drive.mp4"
    if not path.is_file():
        raise SourceMissingError("The example clip is not installed here.", "Give a video with --clip.")
    return path


class ClipShelf:
    """Gives the clip to measure on; makes it where the source has another size or is too short.

    Args:
        folder: where clips are made; the caller removes it.
        source: a video; None: the example drive.
        size: (width, height) of the pictures; None: the source's own.
    """

    def __init__(self, folder: Path, source: Path | None, size: tuple[int, int] | None) -> None:
        self._folder = folder
        self._source = source or example_clip()
        media = open_source(self._source).media
        self.size = size or (media.video.width, media.video.height)
        self._as_it_is = source is not None and size is None
        self._rate = float(media.video.frame_rate or 25)
        self._made: dict[int, Path] = {}

    def clip(self, frames: int) -> tuple[Path, float | None]:
        """(path, seconds of it that hold `frames` frames; None: all of it).

        A source that is measured as it is may have fewer.
        """
        if self._as_it_is:
            return self._source, frames / self._rate
        if frames not in self._made:
            target = self._folder / f"clip-{self.size[0]}x{self.size[1]}-{frames}.mp4"
            make_clip(self._source, target, self.size, frames)
            self._made[frames] = target
        return self._made[frames], None

    def describe(self, frames: int) -> str:
        """The clip in words, for the report."""
        if self._as_it_is:
            return f"{self._source.name}, its first {frames} frames"
        return (
            f"{self._source.name}, looped and scaled to {self.size[0]}x{self.size[1]}, {frames} frames,"
            f" x264 veryfast crf {CRF}, without sound"
        )


def make_clip(source: Path, target: Path, size: tuple[int, int], frames: int) -> Path:
    """Write `frames` pictures of `source`, again and again from its beginning, in another size.

    Args:
        source: a video file.
        target: replaced if it is there.
        size: (width, height), pixels.
        frames: how many.

    Raises:
        MediaError: the source cannot be read; EmptyVideoError: it has no picture.
        StorageError: the target cannot be written.
    """
    media = open_source(source).media
    info = replace(media.video, width=size[0], height=size[1])
    with VideoWriter(target, media, info, EncodeConfig(crf=CRF), drop_streams=NOTHING_ELSE, overwrite=True) as writer:
        for frame in _looped(source, frames):
            writer.write(frame.with_data(_scaled(frame.data, size)))
        writer.finish()
    return target


def _looped(source: Path, frames: int) -> Iterator[Frame]:
    """The pictures of a video over and over, with rising times."""
    index = shift = 0
    while index < frames:
        first: Frame | None = None
        last: Frame | None = None
        step = 1
        with VideoDecoder(source) as decoder:
            for frame in decoder:
                first = first or frame
                step = frame.pts - last.pts if last is not None else frame.duration or 1
                last = frame
                yield replace(frame, index=index, pts=frame.pts + shift, captions=None)
                index += 1
                if index == frames:
                    return
        if first is None or last is None:
            raise EmptyVideoError(f"{source} has not one picture.")
        shift += last.pts + step - first.pts


def _scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(3, H, W) -> (3, height, width), same type, channels last in memory."""
    shrinks = picture.shape[1] * picture.shape[2] > size[0] * size[1]
    rows = np.ascontiguousarray(picture.transpose(1, 2, 0))
    if (picture.shape[2], picture.shape[1]) != size:
        rows = cv2.resize(rows, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return rows.transpose(2, 0, 1)
