"""Image sequences in: a folder, or a pattern as `frames/%06d.png`, as one moving picture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import av.error

from vidrestore.color import matrix_of_tag
from vidrestore.config import LimitsConfig
from vidrestore.errors import DamagedVideoError, EmptyVideoError, MediaError
from vidrestore.media import tags
from vidrestore.media.convert import ToRGB
from vidrestore.media.input.damage import Damage
from vidrestore.media.input.decode import windowed_range
from vidrestore.media.input.image_header import ImageHeader, NotAnImage, read_header
from vidrestore.media.input.limits import check_picture
from vidrestore.media.input.media_info import MediaInfo, StreamSummary
from vidrestore.media.input.picture_decoder import WHOLE, DecodeOptions, PictureDecoder, Window
from vidrestore.media.output.constant_rate import parse_rate
from vidrestore.media.sequence import list_images
from vidrestore.media.timecodes import NAME, Timecodes, read_timecodes
from vidrestore.types import ColorSpec, Frame, StreamInfo

__all__ = ["SequenceDecoder", "SequenceInfo", "SequenceSource", "decode_image"]

DEFAULT_RATE = "25"
ASSUMED = f"The images have no {NAME}"
_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
"""Damage is an error; for tif it cannot be: there FFmpeg takes every tag that it does not know for damage."""


@dataclass(frozen=True)
class SequenceInfo(MediaInfo):
    """A sequence: its `container` is image2, `path` the folder, and it has one stream."""

    files: tuple[Path, ...] = ()
    pts: tuple[int, ...] = ()
    """Of each image, in ticks of the picture's time base."""
    end: int | None = None
    """When the last image ends; None: not said."""
    headers: tuple[ImageHeader | None, ...] = ()
    """None: damaged."""

    def duration_of(self, index: int) -> int | None:
        """Ticks until the next image; of the last one as stated, else as long as the one before."""
        if index + 1 < len(self.pts):
            return self.pts[index + 1] - self.pts[index]
        if self.end is not None:
            return self.end - self.pts[index]
        return self.pts[index] - self.pts[index - 1] if index else None


def decode_image(path: Path, codec: str) -> tuple[av.VideoFrame, Fraction | None]:
    """Decode one image: the picture as stored, and its pixel aspect if it states one.

    Raises:
        NotAnImage: it is damaged.
        OSError: it cannot be read.
    """
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = 1
    if codec != "tiff":
        context.options = dict(_STRICT)
    try:
        pictures = context.decode(av.Packet(path.read_bytes())) + context.decode(None)
    except MemoryError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        raise NotAnImage(str(getattr(error, "strerror", None) or error).strip().rstrip(".")) from None
    if len(pictures) != 1:
        raise NotAnImage("nothing in it can be decoded" if not pictures else "it holds several pictures")
    aspect = context.sample_aspect_ratio
    return pictures[0], Fraction(aspect) if aspect else None


class SequenceSource:
    """A folder or pattern of images (png, jpg, tif, bmp, webp), all of the same size and kind.

    Times come from `timecodes.txt` beside the images, else from `frame_rate`, else they are 25 a second. Images are turned
    upright by their EXIF orientation. Colours: as tagged (png); else sRGB, in full range; jpg and lossy webp are YUV by BT.601
    (JFIF; RFC 9649). ICC profiles are noted, not applied.

    Raises:
        MediaError: see `list_images` and `read_timecodes`; an image of another size or kind than the first.
        LimitExceededError: larger images, or more of them a second, than allowed.
    """

    live = False

    def __init__(self, address: str | Path, limits: LimitsConfig | None = None, frame_rate: str | None = None) -> None:
        limits = limits or LimitsConfig()
        listing = list_images(address)
        headers = tuple(_headers(listing.files, limits))
        codes, notices = _times(listing.folder, len(listing.files), frame_rate, limits)
        video = _describe(listing.files, headers, codes)
        self.media = SequenceInfo(
            path=listing.folder,
            container="image2",
            video=video,
            video_index=0,
            streams=(StreamSummary(0, "video", video.codec, codes.time_base, start=codes.pts[0]),),
            start_time=codes.pts[0] * codes.time_base,
            duration=video.duration,
            size_bytes=sum(file.stat().st_size for file in listing.files),
            notices=(*listing.notices, *notices, *_remarks(headers)),
            rate_assumed=next((notice for notice in notices if notice.startswith(ASSUMED)), None),
            limits=limits,
            address=str(address),
            files=listing.files,
            pts=codes.pts,
            end=codes.end,
            headers=headers,
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The images, and what states their times."""
        stated = self.media.path / NAME
        return (*self.media.files, stated) if stated.is_file() else self.media.files

    def decoder(self, options: DecodeOptions = WHOLE, window: Window | None = None) -> SequenceDecoder:
        """The images; they are whole, and decoded one at a time."""
        return SequenceDecoder(self.media, options, window)

    def index(self, options: DecodeOptions = WHOLE) -> tuple[int, ...] | None:
        """Known from the names; None if damage is concealed: then an image may show another one."""
        if options.on_damage == "conceal":
            return None
        first, end = windowed_range(self.media, options, None)
        return tuple(pts for pts in self.media.pts if (first is None or pts >= first) and (end is None or pts < end))

    def close(self) -> None:
        """Nothing is held open between decoders."""


def _headers(files: tuple[Path, ...], limits: LimitsConfig) -> Iterator[ImageHeader | None]:
    """The header of each file; None for a damaged one, which its decoder reports."""
    first: ImageHeader | None = None
    for file in files:
        try:
            header = read_header(file)
        except (NotAnImage, OSError):
            yield None
            continue
        check_picture(file, header.width, header.height, limits)
        first = first or header
        if header.kind != first.kind:
            raise MediaError(
                f"{file} is {header.kind}; the images before it are {first.kind}.",
                "Make all images alike, or give them as separate sequences.",
            )
        yield header


def _times(folder: Path, pictures: int, frame_rate: str | None, limits: LimitsConfig) -> tuple[Timecodes, list[str]]:
    stated = folder / NAME
    if stated.is_file():
        told = [f"The times of {stated} count; the frame rate {frame_rate} does not."] if frame_rate else []
        return read_timecodes(stated, pictures), told
    rate = parse_rate(frame_rate or DEFAULT_RATE, limits)
    told = [] if frame_rate else [f"{ASSUMED}; {DEFAULT_RATE} frames a second are assumed (--rate)."]
    return Timecodes(tuple(range(pictures)), 1 / rate, pictures), told


def _describe(files: tuple[Path, ...], headers: tuple[ImageHeader | None, ...], codes: Timecodes) -> StreamInfo:
    """The stream as the first sound image shows it."""
    for file, header in zip(files, headers, strict=True):
        if header is None:
            continue
        try:
            picture, aspect = decode_image(file, header.codec)
        except (NotAnImage, OSError):
            continue
        width, height = header.size
        end = codes.end if codes.end is not None else codes.pts[-1]
        seconds = (end - codes.pts[0]) * codes.time_base
        if aspect is not None and header.upright.transpose:
            aspect = 1 / aspect
        return StreamInfo(
            width=width,
            height=height,
            time_base=codes.time_base,
            color=_color(picture, header),
            pixel_format=picture.format.name,
            codec=header.codec,
            frame_rate=Fraction(len(files)) / seconds if seconds else None,
            frames=len(files),
            duration=float(seconds),
            sample_aspect_ratio=aspect,
            alpha=header.alpha,
        )
    raise MediaError(f"Not one image of {files[0].parent} can be decoded.", "Check the files.")


def _color(picture: av.VideoFrame, header: ImageHeader) -> ColorSpec:
    layout = picture.format
    yuv = len(layout.components) >= 3 and not layout.is_rgb and not layout.has_palette
    tagged_range = tags.AV_RANGES.get(int(picture.color_range))
    return ColorSpec(
        matrix="bt601" if yuv else matrix_of_tag(None, *header.size),
        full_range=header.codec == "mjpeg" if yuv else True,
        bit_depth=header.bits,
        tagged_matrix="bt470bg" if yuv else "gbr",
        tagged_range=tagged_range or ("tv" if yuv and header.codec != "mjpeg" else "pc"),
        primaries=tags.AV_PRIMARIES.get(int(picture.color_primaries), "bt709"),
        transfer=tags.AV_TRANSFERS.get(int(picture.color_trc), "iec61966-2-1"),
        chroma_location="center" if yuv and layout.name.endswith(("420p", "422p")) else None,
    )


def _remarks(headers: tuple[ImageHeader | None, ...]) -> list[str]:
    known = [header for header in headers if header is not None]
    told = []
    if any(header.icc for header in known):
        told.append(
            "The images carry an ICC colour profile, which is neither applied nor written; their colours are taken for sRGB."
        )
    if any(header.upright.changes for header in known):
        told.append("Images are turned upright by their EXIF orientation.")
    return told


class SequenceDecoder(PictureDecoder):
    """The images of a sequence: a context manager and an iterator of `Frame`, as `VideoDecoder` is.

    Concealed damage: the picture before is shown again (at the beginning: the first sound one), and listed.

    Raises:
        DamagedVideoError: an image is damaged or gone; carries its index, time and file.
        EmptyVideoError: not one image in the range.
    """

    def __init__(self, media: SequenceInfo, options: DecodeOptions = WHOLE, window: Window | None = None) -> None:
        super().__init__(media)
        self.media: SequenceInfo = media
        self._first, self._end = windowed_range(media, options, window)
        self._window = window
        self._begin = window.first_index if window else 0
        self._passing = self._begin if window and window.first_pts is None else 0
        self._conceal = options.on_damage == "conceal"
        self._to_rgb = ToRGB(media.video)

    def close(self) -> None:
        """No file stays open."""

    def __iter__(self) -> Iterator[Frame]:
        """The images of the range; a second iteration begins anew."""
        self._damage = []
        for frame in self._range():
            if frame.index >= self._begin:
                yield frame

    def _range(self) -> Iterator[Frame]:
        """With those to be passed over, which are looked at only where a damaged one after them may need one."""
        wanted = [
            index
            for index, pts in enumerate(self.media.pts)
            if (self._first is None or pts >= self._first) and (self._end is None or pts < self._end)
        ]
        if not wanted and self._window is None:
            raise EmptyVideoError(f"{self.media.path} has not one image in the range asked for.")
        shown: Frame | None = None
        waiting: list[tuple[int, int]] = []  # damaged images at the very beginning
        skipped = 0 if self._conceal else self._passing
        for index, number in enumerate(wanted[skipped:], self._begin - self._passing + skipped):
            frame = self._decoded(index, number)
            if frame is not None:
                for early in waiting:
                    yield self._placed(frame, *early)
                waiting, shown = [], frame
                yield frame
            elif shown is not None:
                yield self._placed(shown, index, number)
            else:
                waiting.append((index, number))
        if waiting:
            raise EmptyVideoError(f"Not one image of {self.media.path} in the range can be decoded.")

    def _decoded(self, index: int, number: int) -> Frame | None:
        """The frame of image `number`; None if it is damaged and that is concealed."""
        file, header = self.media.files[number], self.media.headers[number]
        self._busy_since = time.monotonic()
        try:
            header = header or read_header(file)
            picture, _ = decode_image(file, header.codec)
            if (picture.width, picture.height) != (header.width, header.height):
                raise NotAnImage("its size is not what its header says")
            pixels, alpha = self._to_rgb(picture)
        except (NotAnImage, OSError) as error:
            reason = str(getattr(error, "strerror", None) or error).rstrip(".")
            if not self._conceal:
                raise self._damaged(index, number, reason) from None
            if index >= self._begin:
                pts, tick = self.media.pts[number], self.info.time_base
                self._damage.append(Damage(index, pts, tick, "repeated", f"{file.name}: {reason}"))
            return None
        finally:
            self._busy_since = None
        upright = header.upright
        frame = Frame(
            data=upright(pixels).transpose(2, 0, 1),
            index=index,
            pts=self.media.pts[number],
            time_base=self.info.time_base,
            duration=self.media.duration_of(number),
            alpha=None if alpha is None else upright(alpha),
        )
        return frame

    def _placed(self, frame: Frame, index: int, number: int) -> Frame:
        """A sound picture in a damaged one's place."""
        return replace(frame, index=index, pts=self.media.pts[number], duration=self.media.duration_of(number))

    def _damaged(self, index: int, number: int, reason: str) -> DamagedVideoError:
        seconds = float(self.media.pts[number] * self.info.time_base)
        return DamagedVideoError(
            f"Frame {index} ({seconds:.3f} s), {self.media.files[number]}, is damaged: {reason}.", index=index, seconds=seconds
        )
