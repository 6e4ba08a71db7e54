"""Image sequences out: a folder of images and their times, whole and verified, or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error

from vidrestore.config import RunConfig
from vidrestore.errors import (
    EmptyVideoError,
    UnsupportedStreamError,
    UsageError,
    VerificationError,
)
from vidrestore.media.convert import FromRGB
from vidrestore.media.input.image_header import NotAnImage, read_header
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.sequence_source import decode_image
from vidrestore.media.output.mark import image_comment, image_with_comment
from vidrestore.media.output.own_check import compared, report
from vidrestore.media.output.picture_sink import Intake, PictureSink, refuse_encoding, refuse_hdr, refuse_streams, words_lost
from vidrestore.media.output.sequence_folder import WRITTEN, check_again, check_folder, sequence_target
from vidrestore.media.output.target import JOINED, storage_error
from vidrestore.media.proof.verify import VerifyReport
from vidrestore.media.sequence import Pattern
from vidrestore.media.timecodes import NAME, read_timecodes, timecodes_text
from vidrestore.types import ColorSpec, Frame, StreamInfo

__all__ = ["WRITTEN", "SequencePlan", "SequenceSink", "check_folder", "plan_sequence", "sequence_target"]

_PACKED = {("png", 8): ("rgb24", "rgba"), ("png", 16): ("rgb48be", "rgba64be")}
_PACKED |= {("tiff", 8): ("rgb24", "rgba"), ("tiff", 16): ("rgb48le", "rgba64le")}
"""By encoder and depth: FFmpeg's pixel formats without and with opacity."""
_OPTIONS = {
    "png": {"pred": "mixed", "compression_level": "5"},
    "tiff": {"compression_algo": "deflate"},
    # Quantised as finely as "quality 98" of libjpeg.
    "mjpeg": {"qmin": "1", "qmax": "1", "huffman": "optimal", "color_range": "pc"},
}
_SRGB_LIKE = frozenset({None, "bt709", "smpte170m", "bt470bg", "bt470m"})
"""Primaries that images without a tag stand for closely enough: BT.601's differ from sRGB's by less than can be seen."""


@dataclass(frozen=True)
class SequencePlan:
    """How images are written."""

    encoder: str
    pixel_format: str
    depth: int
    color: ColorSpec
    notices: tuple[str, ...]

    @property
    def lossless(self) -> bool:
        """Whether pixels come back as they were written."""
        return self.encoder != "mjpeg"


def plan_sequence(pattern: Pattern, media: MediaInfo, info: StreamInfo, config: RunConfig) -> SequencePlan:
    """Settle depth and kind of the images, or refuse what they cannot hold.

    png and tif: RGB of 8 bits, of 16 where the source (or --bit-depth) has more than 8; transparency is kept. jpg: 8 bits,
    4:4:4, BT.601 in full range (JFIF).

    Raises:
        UnsupportedStreamError: further streams, HDR, transparency into jpg, an odd rotation.
        UsageError: encoder settings, a container.
    """
    what = "An image sequence"
    if config.container is not None:
        raise UsageError(f"An image sequence has no container: --container {config.container} cannot apply.", "Leave it out.")
    refuse_streams(media, config, what)
    refuse_encoding(config.encode, what)
    refuse_hdr(info, what)
    encoder = WRITTEN[Path("x" + pattern.suffix).suffix.lower()]
    bits = config.encode.bit_depth if config.encode.bit_depth != "auto" else info.color.bit_depth
    notices = [*Intake(info, media, what).notices, *words_lost(media, config, what)]
    if info.color.primaries not in _SRGB_LIKE:
        notices.append(f"The images do not say that their primaries are {info.color.primaries}: programs take them for sRGB.")
    if encoder == "mjpeg":
        if info.alpha:
            raise UnsupportedStreamError(
                "A jpg cannot hold transparency.", "Write png or tif, or leave it out: --drop-streams alpha."
            )
        if bits > 8:
            notices.append(f"jpg has 8 bits; the source has {info.color.bit_depth}. png and tif keep them.")
        color = ColorSpec(matrix="bt601", full_range=True, tagged_matrix="bt470bg", tagged_range="pc", chroma_location="center")
        return SequencePlan(encoder, "yuv444p", 8, color, tuple(notices))
    depth = 16 if bits > 8 else 8
    color = ColorSpec(matrix=info.color.matrix, full_range=True, bit_depth=depth, tagged_matrix="gbr", tagged_range="pc")
    return SequencePlan(encoder, _PACKED[encoder, depth][info.alpha], depth, color, tuple(notices))


class _ImageEncoder:
    """Pictures to the bytes of image files; one thread, so that bits do not depend on it."""

    def __init__(self, info: StreamInfo, plan: SequencePlan) -> None:
        context = av.CodecContext.create(plan.encoder, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height, context.pix_fmt = info.width, info.height, plan.pixel_format
        context.time_base, context.thread_count = Fraction(1, 25), 1
        context.flags |= av.codec.context.Flags.bitexact
        context.options = dict(_OPTIONS[plan.encoder])
        if info.sample_aspect_ratio is not None:
            context.sample_aspect_ratio = info.sample_aspect_ratio
        self._context, self._count = context, 0

    def __call__(self, picture: av.VideoFrame) -> bytes:
        picture.pts, picture.time_base = self._count, Fraction(1, 25)
        self._count += 1
        return b"".join(bytes(packet) for packet in self._context.encode(picture))


class SequenceSink(PictureSink):
    """Writes numbered images from 1 and `timecodes.txt`: a context manager; `write` every picture, then `finish`.

    All of it grows in a hidden folder beside the target; `finish` reads every image again and only then gives the folder its
    name. Times are the source's; with `start`, that moment becomes 0, and nothing is before 0.

    Args:
        folder, pattern: from `sequence_target`.
        media: the source.
        info: the picture as it leaves the engines.
        plan: from `plan_sequence`.
        start: seconds of the source's timeline that become 0.
        overwrite: replace a folder that holds nothing but a sequence written here.
        comment: which engines ran; goes into every image and beside their times.
        place: a folder for the new one to grow in; None: hidden, beside its name.

    Raises:
        DiskFullError, StorageError: while writing.
        VerificationError: from `finish`; nothing is left under the name.
    """

    def __init__(
        self,
        folder: Path,
        pattern: Pattern,
        media: MediaInfo,
        info: StreamInfo,
        plan: SequencePlan,
        shift: Fraction,
        overwrite: bool,
        comment: str = "",
        place: Path | None = None,
    ) -> None:
        self._comment = comment
        self._folder, self._pattern, self._plan = folder, pattern, plan
        self._whole, self._media, self._overwrite = folder.resolve(), media, overwrite
        super().__init__(Intake(info, media, "An image sequence"), plan.notices)
        written = self._intake.info
        self._time_base, self._shift = info.time_base, shift
        self._encode = _ImageEncoder(written, plan)
        self._from_rgb = FromRGB(written.width, written.height, plan.pixel_format, plan.color)
        self._pts: list[int] = []
        self._end: int | None = None
        self._digests: list[bytes] = []
        self._bytes = 0
        self._open = True
        hidden = self._whole.with_name(f".{self._whole.name}.{os.getpid()}.part")
        self._pending = hidden if place is None else place / f"{JOINED}.part"
        try:
            shutil.rmtree(self._pending, ignore_errors=True)
            self._pending.mkdir()
        except OSError as error:
            raise storage_error(error, folder) from None

    @property
    def place(self) -> Path:
        """The folder until it has its name."""
        return self._pending

    @property
    def shift(self) -> Fraction:
        """Seconds taken off every source timestamp."""
        return self._shift

    def write(self, frame: Frame) -> None:
        """Write one image."""
        if not self._open:
            raise ValueError("the writer is closed")
        pixels, alpha = self._intake(frame)
        self._place(frame)
        picture = self._from_rgb(pixels, alpha)
        if self._plan.lossless:
            self._digests.append(_digest(picture))
        try:
            stored = self._encode(picture)
            if self._comment:
                stored = image_with_comment(stored, self._plan.encoder, self._comment)
            (self._pending / self._pattern.name(len(self._pts))).write_bytes(stored)
        except (OSError, av.error.FFmpegError) as error:
            self.close()
            raise storage_error(error, self._folder) from None
        self._bytes += len(stored)

    def finish(self, before_naming: Callable[[], None] | None = None) -> VerifyReport:
        """Write the times, read everything again, and only then give the folder its name."""
        if not self._open:
            raise ValueError("the writer is closed")
        try:
            if not self._pts:
                raise EmptyVideoError(f"No picture was written to {self._folder}.")
            text = timecodes_text(self._pts, self._time_base, self._end, self._comment)
            (self._pending / NAME).write_text(text, encoding="utf-8")
            self.verified = found = self._verified()
            if before_naming is not None:
                before_naming()
            self._commit()
            return found
        except OSError as error:
            raise storage_error(error, self._folder) from None
        finally:
            self.close()

    def close(self) -> None:
        """Remove what was written, unless `finish` succeeded."""
        self._open = False
        shutil.rmtree(self._pending, ignore_errors=True)

    def _place(self, frame: Frame) -> None:
        """Note when the picture is shown: ticks of the picture's time base, from the output's zero."""
        moment = frame.pts * frame.time_base - self._shift
        if not self._pts and moment < 0:  # the file's readers know no time before 0
            self._shift += moment
            moment = Fraction(0)
        base = self._time_base
        ticks = moment / base
        if ticks.denominator != 1:
            finer = ticks.denominator
            base = self._time_base = base / finer
            self._pts = [pts * finer for pts in self._pts]
            ticks = moment / base
        self._pts.append(int(ticks))
        self._end = None if not frame.duration else int(ticks) + round(frame.duration * frame.time_base / base)

    def _verified(self) -> VerifyReport:
        plan, written = self._plan, self._intake.info
        codes = read_timecodes(self._pending / NAME, len(self._pts))
        names = {self._pattern.name(number) for number in range(1, len(self._pts) + 1)}
        there = {entry.name for entry in self._pending.iterdir()} - {NAME}
        rows = [compared("images", len(names), len(there & names))]
        for number in range(1, len(self._pts) + 1):
            self._check_image(number, written)
        rows.append(compared("size", f"{written.width}x{written.height}", f"{written.width}x{written.height}"))
        if self._comment:
            rows.append(compared("mark", self._comment, image_comment(self._pending / self._pattern.name(1))))
        if plan.lossless:
            rows.append(compared("images with the same pixels", len(self._digests), len(self._pts)))
        return report(
            [pts * self._time_base for pts in self._pts],
            [pts * codes.time_base for pts in codes.pts],
            tick=codes.time_base,
            shift=self._shift,
            size_bytes=self._bytes + (self._pending / NAME).stat().st_size,
            rows=rows,
            notices=self.notices,
            slack=Fraction(0),
        )

    def _check_image(self, number: int, written: StreamInfo) -> None:
        """Read one image from the disk; raises VerificationError if it is not what was written."""
        path = self._pending / self._pattern.name(number)
        try:
            header = read_header(path)
            picture, _ = decode_image(path, header.codec)
        except NotAnImage as error:
            raise VerificationError(f"Image {path.name} cannot be read again: {error}.") from None
        if (picture.width, picture.height, header.bits) != (written.width, written.height, self._plan.depth):
            raise VerificationError(
                f"Image {path.name} was to be {written.width}x{written.height} in {self._plan.depth} bits, it is {header.kind}."
            )
        if self._plan.lossless and _digest(picture) != self._digests[number - 1]:
            raise VerificationError(f"The pixels of image {path.name} are not those that were written.")
        with path.open("rb") as file:
            os.fsync(file.fileno())

    def _commit(self) -> None:
        """Give the folder its name. One that is replaced steps aside first, and comes back if that fails."""
        check_again(self._whole, self._folder, self._overwrite)
        _flush_folder(self._pending)
        aside: Path | None = None
        if self._whole.is_dir() and any(self._whole.iterdir()):
            aside = self._whole.with_name(f".{self._whole.name}.{os.getpid()}.old")
            shutil.rmtree(aside, ignore_errors=True)
            self._whole.rename(aside)
        elif self._whole.is_dir():
            self._whole.rmdir()
        try:
            self._pending.rename(self._whole)
        except OSError:
            if aside is not None:
                aside.rename(self._whole)
            raise
        _flush_folder(self._whole.parent)
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def _flush_folder(folder: Path) -> None:
    with suppress(OSError):  # some systems cannot flush a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _digest(picture: av.VideoFrame) -> bytes:
    """sha256 of the samples, with their format."""
    samples = picture.to_ndarray()
    return hashlib.sha256(picture.format.name.encode() + samples.tobytes()).digest()
