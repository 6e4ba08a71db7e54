"""Decode: every picture of a video as RGB, with the source's own timestamps; damage is reported, never passed over."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.error

from vidrestore.config import Damage as OnDamage
from vidrestore.config import LimitsConfig
from vidrestore.errors import DamagedVideoError, EmptyVideoError, MediaError
from vidrestore.media.convert import ToRGB
from vidrestore.media.damage import Damage
from vidrestore.media.probe import MediaInfo, open_input, probe, require_restorable
from vidrestore.types import Frame, StreamInfo

__all__ = ["VideoDecoder", "pts_range"]

_log = logging.getLogger(__name__)

# How far before the wished moment a seek may have to go, in seconds, until a picture from before it is found:
# containers index decoding times, and open groups of pictures need the group before.
_SEEK_MARGINS = (0, 10, 60)


def pts_range(info: MediaInfo, start: float, duration: float | None) -> tuple[int | None, int | None]:
    """[first, end) in ticks of the video's time base; None where there is no limit.

    `start` counts seconds from the beginning of the container's timeline, as players show it. Both ends are rounded to
    the nearest tick, so that 0.1 means the frame at 3/30 s.
    """
    if start <= 0 and duration is None:
        return None, None

    def ticks(seconds: Fraction) -> int:
        return round((info.start_time + seconds) / info.video.time_base)

    moment = Fraction(str(max(0.0, start)))
    first = ticks(moment) if start > 0 else None
    return first, None if duration is None else ticks(moment + Fraction(str(duration)))


class VideoDecoder:
    """Iterate over the pictures of a video, in display order.

    Use it as a context manager. Each `Frame` holds an own (3, H, W) uint8 numpy array, RGB 0..255, that is a view of an
    (H, W, 3) array (channels last in memory); `index` counts from 0 at the first picture yielded; `pts` and `duration`
    are the source's, in the stream's time base.

    A picture without pts gets its dts, else the previous pts plus the previous duration (one tick if that is unknown
    too); a pts that does not rise is set one tick after its predecessor. Both are noted in `notices`, as are pictures at the
    very beginning that lean on ones the file does not hold: they are left out.

    Args:
        source: path, or what `probe` said of it.
        start, duration: seconds of the container's timeline; only pictures with start <= time < start + duration come.
        threads: decoder threads; they change the speed, not the pictures.
        on_damage: stop, or keep the decoder's picture in its place and list it in `damage`.
        deinterlace: make whole pictures of fields instead of refusing interlaced video.
        limits: what the file may ask of the machine; None: those it was probed with.

    Raises:
        DamagedVideoError: a picture is damaged or missing; carries its index and time. A file that is known to be cut
            short within the range is refused when opened, before any work.
        EmptyVideoError: not one picture (in the range).
        MediaError: HDR or interlaced video, or a picture size that changes.
    """

    def __init__(
        self,
        source: str | Path | MediaInfo,
        start: float = 0.0,
        duration: float | None = None,
        threads: int = 2,
        on_damage: OnDamage = "stop",
        deinterlace: bool = False,
        limits: LimitsConfig | None = None,
    ) -> None:
        self.media = source if isinstance(source, MediaInfo) else probe(source, limits=limits)
        self._on_damage = on_damage
        self._deinterlace = deinterlace
        self._limits = limits or self.media.limits
        self._damage: list[Damage] = []
        self._first, self._end = pts_range(self.media, start, duration)
        self._threads = threads
        self._notices: list[str] = []
        self._container: av.container.InputContainer | None = None
        self._delivered = 0
        self._last: Frame | None = None
        self._clock: tuple[int, int] | None = None  # pts and duration of the picture decoded last
        require_restorable(self.media)
        self._refuse_missing_part()

    @property
    def info(self) -> StreamInfo:
        """The stream as the header describes it."""
        return self.media.video

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know: the file's own notices, then those of the decoding so far."""
        return (*self.media.notices, *self._notices)

    @property
    def damage(self) -> tuple[Damage, ...]:
        """The damaged places found so far, in the order of pictures; empty unless `on_damage` is "conceal"."""
        return tuple(self._damage)

    def __enter__(self) -> VideoDecoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; may be called more than once."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def __iter__(self) -> Iterator[Frame]:
        """Decode from the start of the range; a second iteration begins anew."""
        self._delivered, self._last = 0, None
        to_rgb = ToRGB(self.info)
        for picture, pts in self.pictures():
            if (picture.width, picture.height) != (self.info.width, self.info.height):
                raise MediaError(
                    f"The picture size changes from {self.info.width}x{self.info.height} to "
                    f"{picture.width}x{picture.height} at frame {self._delivered}.",
                    "Cut the video there and restore the parts.",
                )
            pixels, alpha = to_rgb(picture)
            frame = Frame(
                data=pixels.transpose(2, 0, 1),
                index=self._delivered,
                pts=pts,
                time_base=self.info.time_base,
                duration=picture.duration or None,
                alpha=alpha,
            )
            self._delivered, self._last = self._delivered + 1, frame
            yield frame
        if not self._delivered:
            where = "" if self._first is None and self._end is None else " in the range asked for"
            raise EmptyVideoError(f"{self.media.path} has not one picture{where}.")

    def _refuse_missing_part(self) -> None:
        damage = self.media.damaged_from
        if damage is None:
            cut = self._said_to_be_cut_short()
            if cut and self._end is None:
                raise DamagedVideoError(f"Pictures are missing at the end of {self.media.path}. {cut}")
            return
        index, seconds = damage
        if self._end is None or seconds / self.info.time_base < self._end:
            raise DamagedVideoError(
                f"{self.media.path} is cut short: pictures are missing from frame {index} ({seconds:.3f} s) on.",
                index=index,
                seconds=seconds,
            )

    def pictures(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """Pictures of the range as the decoder made them, with their pts: for callers that convert only some."""
        for picture, pts in self._from_start():
            if self._end is not None and pts >= self._end:
                return
            yield picture, pts
        cut = self._said_to_be_cut_short()
        if cut:
            raise self._damaged(cut)

    def _said_to_be_cut_short(self) -> str | None:
        return next((sentence for sentence in self.media.notices if "cut short" in sentence), None)

    def _from_start(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """Pictures from the first of the range on; those before it are decoded, because others lean on them, and dropped."""
        first = self._first
        if first is None:
            yield from self._decode(None)
            return
        for margin in _SEEK_MARGINS:
            pictures = self._decode(first - int(margin / self.info.time_base))
            found = next(pictures, None)
            if found is not None and found[0].pts is not None and found[1] <= first:
                break
        else:  # no index, no timestamps, or the range begins with the first picture
            pictures = self._decode(None)
            found = next(pictures, None)
        while found is not None and found[1] < first:
            found = next(pictures, None)
        if found is not None:
            yield found
            yield from pictures

    def _decode(self, seek_to: int | None) -> Iterator[tuple[av.VideoFrame, int]]:
        """Open the file anew and decode; after a seek, pictures that lean on missing ones are left out until a sound one."""
        self.close()
        self._clock = None
        self._container = container = open_input(self.media)
        stream = container.streams[self.media.video_index]
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.thread_count = self._threads
        stream.codec_context.thread_type = "AUTO"
        settling = seek_to is not None and self._seek(container, stream, seek_to)
        sent: list[int] | None = [] if seek_to is None else None  # pts sent to the decoder before its first picture
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                pictures = [] if settling and packet.is_corrupt else packet.decode()
            except av.error.EOFError:
                return
            except MemoryError:  # FFmpeg's ENOMEM: the file is not to blame
                raise
            except av.error.FFmpegError as error:
                if settling:
                    continue
                raise self._damaged(str(error.strerror or error)) from None
            if packet.is_corrupt and packet.size and not settling:
                raise self._damaged("the container marks its data as damaged")
            if sent is not None and packet.size and packet.pts is not None and not packet.is_discard:
                sent.append(packet.pts)
            for picture in pictures:
                if picture.is_corrupt and not settling:
                    raise self._damaged("the decoder could not rebuild it whole")
                if not picture.is_corrupt:
                    settling = False
                    if sent is not None:
                        self._note_headless(sum(pts < picture.pts for pts in sent if picture.pts is not None))
                        sent = None
                    yield picture, self._timestamp(picture)

    def _seek(self, container: av.container.InputContainer, stream: av.VideoStream, pts: int) -> bool:
        try:
            container.seek(pts, stream=stream, backward=True)
        except (av.error.FFmpegError, OverflowError):  # OverflowError: a moment beyond all timestamps
            _log.info("%s cannot seek; decoding from its beginning", self.media.path)
            return False
        return True

    def _timestamp(self, picture: av.VideoFrame) -> int:
        """The picture's pts by the rule in the class's docstring; moves the clock on."""
        pts = picture.pts if picture.pts is not None else picture.dts
        if pts is None:
            pts = 0 if self._clock is None else self._clock[0] + self._clock[1]
            self._note("Some pictures have no timestamp; each follows its predecessor by that one's duration.")
        if self._clock is not None and pts <= self._clock[0]:
            pts = self._clock[0] + 1
            self._note("Some timestamps do not rise; each of those is set one tick after its predecessor.")
        self._clock = pts, picture.duration or 1
        return pts

    def _note_headless(self, lost: int) -> None:
        """A recording may begin in the middle of a group of pictures: no decoder can rebuild what leans on the missing ones."""
        if lost:
            pictures = "The first picture leans" if lost == 1 else f"The first {lost} pictures lean"
            self._note(f"{pictures} on pictures before the file begins, cannot be decoded and so are left out.")

    def _note(self, sentence: str) -> None:
        if sentence not in self._notices:
            self._notices.append(sentence)
            _log.warning("%s: %s", self.media.path, sentence)

    def _damaged(self, reason: str) -> DamagedVideoError:
        after = "" if self._last is None else f", after {self._last.seconds:.3f} s"
        return DamagedVideoError(
            f"Frame {self._delivered} of {self.media.path} is damaged{after}: {reason.rstrip('.')}.",
            index=self._delivered,
            seconds=None if self._last is None else self._last.seconds,
        )
