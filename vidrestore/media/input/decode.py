"""Decode: every picture of a video as RGB, with the source's own timestamps; damage is reported, never passed over."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av

from vidrestore.config import LimitsConfig
from vidrestore.errors import DamagedVideoError, EmptyVideoError, LimitExceededError, MediaError, RuntimeUnavailableError
from vidrestore.media.convert import ToRGB
from vidrestore.media.convert_on_device import LAYOUTS, ToDeviceRGB, layout_of
from vidrestore.media.input.clock import Clock
from vidrestore.media.input.damage import Damage
from vidrestore.media.input.decoders import side_data
from vidrestore.media.input.deinterlace import deinterlaced
from vidrestore.media.input.ledger import Slot
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.nvdec import UNTOLD_DAMAGE, doubted
from vidrestore.media.input.packet_pass import PacketPass
from vidrestore.media.input.picture_decoder import WHOLE, DecodeOptions, PictureDecoder, Window
from vidrestore.media.input.probe import probe, require_restorable
from vidrestore.types import Frame

__all__ = ["VideoDecoder", "pts_range", "windowed_range"]

_log = logging.getLogger(__name__)


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


def windowed_range(info: MediaInfo, options: DecodeOptions, window: Window | None) -> tuple[int | None, int | None]:
    """[first, end) in ticks: the window's moments; what it leaves open is the range's."""
    first, end = pts_range(info, options.start, options.duration)
    if window is None:
        return first, end
    ends = [moment for moment in (end, window.end_pts) if moment is not None]
    return (first if window.first_pts is None else window.first_pts), (min(ends) if ends else None)


@dataclass
class _Shown:
    """A picture and its place in time; `fault` says why it is not as it was recorded."""

    picture: av.VideoFrame
    pts: int
    duration: int | None
    key: bool
    captions: bytes | None = None
    kind: Literal["concealed", "repeated", "missing"] | None = None
    reason: str | None = None


class VideoDecoder(PictureDecoder):
    """Iterate over the pictures of a video, in display order.

    Use it as a context manager. Each `Frame` holds an own (3, H, W) numpy array, uint8 or (more than 8 bits a sample) uint16
    full scale, RGB, that is a view of an (H, W, 3) array (channels last in memory), or such a tensor on `options.device`, written
    behind what that device's default stream does; `index` counts from 0 at the first picture yielded; `pts` and `duration` are
    the source's, in the stream's time base.

    Timestamps follow the rule of `media.input.clock.Clock`, pictures are matched with packets as the ledger says. A picture is
    damaged if its container marks its packet, if its decoder refuses the packet or marks the picture, or if none comes for the
    packet, be it because the picture it leans on is not in the file. Damage in a codec without checksums that still decodes
    cannot be told from a picture.

    Args:
        source: path, or what `probe` said of it.
        options: the range and how to decode it. Concealed damage: the decoder's best guess stays in its place; where it has
            none, the picture before (at the beginning: the one after) is repeated, so that as many pictures come as there
            are packets. All are listed in `damage`.
        window: only this part of it.
        limits: what the file may ask of the machine; None: those it was probed with.

    Raises:
        DamagedVideoError: a picture is damaged or missing; carries its index and time. A file that is known to be cut
            short within the range is refused when opened, before any work.
        EmptyVideoError: not one picture (in the range).
        LimitExceededError: a picture took too long.
        RuntimeUnavailableError: the GPU gave up on a picture that the CPU decodes.
        MediaError: interlaced video, a picture size or format that changes, or timestamps that jump back.
    """

    def __init__(
        self,
        source: str | Path | MediaInfo,
        options: DecodeOptions = WHOLE,
        window: Window | None = None,
        *,
        limits: LimitsConfig | None = None,
    ) -> None:
        super().__init__(source if isinstance(source, MediaInfo) else probe(source, limits=limits))
        self._first, self._end = windowed_range(self.media, options, window)
        self._window = window
        self._begin = window.first_index if window else 0
        self._passing = self._begin if window and window.first_pts is None else 0
        self._threads = options.threads
        self._on_damage = options.on_damage
        self._deinterlace = options.deinterlace
        self._device = options.device
        self._limits = limits or self.media.limits
        self._notices: list[str] = [UNTOLD_DAMAGE] if options.device else []
        self._pass = PacketPass(
            self.media, self._limits, options.threads, options.on_damage == "conceal", self._note, self._too_slow, options.device
        )
        self._delivered = self._begin
        self._unwanted = 0
        self._layout: tuple[int, int, str] | None = None
        require_restorable(self.media, deinterlace=options.deinterlace)
        if options.on_damage == "stop":
            self._refuse_missing_part()

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know: the file's own notices, then those of the decoding so far."""
        return (*self.media.notices, *self._notices)

    @property
    def busy_since(self) -> float | None:
        return self._pass.busy_since

    def pass_over(self, count: int) -> int:
        """They are decoded, as others lean on them, and not converted."""
        self._unwanted = count
        return count

    def close(self) -> None:
        """Give the file back; may be called more than once. A file that FFmpeg hangs in is left to it."""
        self._pass.close()

    def __iter__(self) -> Iterator[Frame]:
        """Decode from the start of the range; a second iteration begins anew."""
        to_rgb, on_device = ToRGB(self.info), ToDeviceRGB(self.info) if self._device is not None else None
        for shown in self._delivery():
            if self._unwanted:
                self._unwanted -= 1
                continue
            alpha = None
            if on_device is not None and layout_of(shown.picture) in LAYOUTS.values():
                data = self.media.cropped(on_device(shown.picture)).permute(2, 0, 1)
            else:
                pixels, alpha = to_rgb(shown.picture)
                data = self.media.cropped(pixels).transpose(2, 0, 1)
            yield Frame(
                data=data,
                index=self._delivered - 1,
                pts=shown.pts,
                time_base=self.info.time_base,
                duration=shown.duration,
                alpha=None if alpha is None else self.media.cropped(alpha),
                captions=shown.captions,
            )
        if not self._delivered and self._window is None:
            where = "" if self._first is None and self._end is None else " in the range asked for"
            raise EmptyVideoError(f"{self.media.path} has not one picture{where}.")

    def pictures(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """Pictures of the range as the decoder made them, uncropped, with their pts: for callers that convert only some."""
        for shown in self._delivery():
            yield shown.picture, shown.pts

    # What is handed out -------------------------------------------------------------------------

    def _delivery(self) -> Iterator[_Shown]:
        """The pictures of the range, each checked; damage stops here or is listed."""
        self._delivered, self._layout = self._begin - self._passing, None
        if self._window is not None and self._window.first_pts is not None:
            # Who entered just behind a change would not see it: the pictures before it are another's.
            self._layout = *self.media.coded_size, self._layout_named(self.info.pixel_format)
        self._damage.clear()
        leaning: _Shown | None = None
        for shown in self._shown():
            if self._end is not None and shown.pts >= self._end:
                return
            if self._first is not None and shown.pts < self._first:
                leaning = shown if shown.kind else None if shown.key else leaning
                continue
            if shown.kind is None and leaning is not None:
                shown.kind, shown.reason = "concealed", f"it leans on a picture before the range: {leaning.reason}"
            leaning = None
            if shown.kind is not None:
                self._meet_damage(shown)
            if shown.kind != "missing":
                self._check_picture(shown)
                self._delivered += 1
                if self._delivered > self._begin:
                    yield shown
        self._meet_cut()

    def _meet_damage(self, shown: _Shown) -> None:
        assert shown.kind is not None and shown.reason is not None
        missing = shown.kind == "missing"
        if self._on_damage == "stop":
            raise self._damaged(shown.reason, None if missing else shown.pts)
        pts = None if missing else shown.pts
        count = None if missing else 1
        if self._delivered >= self._begin:
            self._damage.append(Damage(self._delivered, pts, self.info.time_base, shown.kind, shown.reason, count))

    def _check_picture(self, shown: _Shown) -> None:
        """The size and the kind of pictures hold from the first to the last."""
        picture = shown.picture
        size = self.media.coded_size
        at = f"at frame {self._delivered} ({float(shown.pts * self.info.time_base):.3f} s)"
        if (picture.width, picture.height) != size:
            raise MediaError(
                f"The picture size of {self.media.path} changes from {size[0]}x{size[1]} to "
                f"{picture.width}x{picture.height} {at}.",
                "Cut the video there and restore the parts.",
            )
        layout = picture.width, picture.height, self._layout_named(layout_of(picture))
        self._layout = self._layout or layout
        if layout != self._layout:
            raise MediaError(
                f"The pixel format of {self.media.path} changes from {self._layout[2]} to {layout[2]} {at}.",
                "Cut the video there and restore the parts.",
            )
        if picture.interlaced_frame and not self._deinterlace:
            raise MediaError(f"{self.media.path} is interlaced {at}.", "Add --deinterlace.")

    def _layout_named(self, pixel_format: str) -> str:
        """What pictures of a pixel format must all be, by one name for those that differ only in range or in who decoded them."""
        return LAYOUTS.get(pixel_format, pixel_format) if self._device else pixel_format.replace("yuvj", "yuv")

    def _refuse_missing_part(self) -> None:
        cut = self.media.truncation
        if cut is None:
            return
        seconds = cut.at[1] if cut.at else cut.seconds
        if self._end is not None and (seconds is None or seconds / self.info.time_base >= self._end):
            return
        if cut.at is not None:
            index, seconds = cut.at
            raise DamagedVideoError(
                f"{self.media.path} is cut short: pictures are missing from frame {index} ({seconds:.3f} s) on.",
                index=index,
                seconds=seconds,
            )
        what = f"Pictures are missing at the end of {self.media.path}" if cut.pictures else f"{self.media.path} is not whole"
        raise DamagedVideoError(f"{what}: {cut.sentence[0].lower()}{cut.sentence[1:]}", seconds=seconds)

    def _meet_cut(self) -> None:
        """The end of the file came before the end of the range; was more promised?"""
        cut = self.media.truncation
        if cut is None or not cut.pictures:
            return
        if self._on_damage == "stop":
            raise self._damaged(cut.sentence, None)
        promised = self.media.promised_frames
        whole = self._first is None and self._end is None
        count = promised - self._delivered if promised and whole and promised > self._delivered else None
        self._damage.append(Damage(self._delivered, None, self.info.time_base, "missing", cut.sentence.rstrip("."), count))

    # From packets to pictures in their places -----------------------------------------------------

    def _shown(self) -> Iterator[_Shown]:
        """Pictures in their places, from one before the range on; those are decoded because others lean on them."""
        shown = self._timed(self._from_start())
        return deinterlaced(shown, self.media.unmarked_field_order) if self._deinterlace else shown

    def _from_start(self) -> Iterator[Slot]:
        """The moments of display from one before the range on, as far as the file can be entered there.

        Frame threads are quick, but where a packet is refused PyAV may lose pictures that are sound. So at the first trouble
        the file is decoded again from there without them, and what is told of it is exact.
        """
        # The deinterlacer looks at the picture before, too.
        first = None if self._first is None else self._first - int(self._deinterlace)
        if self._device is not None:
            slots = self._pass.slots(first, False)
            yield from doubted(slots, lambda at: self._pass.slots(first if at is None else at, False, True), self._gave_up)
            return
        frame_threads = self._on_damage == "stop" and self._threads > 1
        last: Slot | None = None
        for slot in self._pass.slots(first, frame_threads):
            if frame_threads and slot.reason is not None and (last is None or last.pts is not None):
                break
            last = slot
            yield slot
        else:
            return
        if last is None or last.pts is None:
            yield from self._pass.slots(first, False)
            return
        behind = False
        for slot in self._pass.slots(last.pts, False):
            if behind or (slot.pts is not None and slot.pts > last.pts):
                yield slot
            behind = behind or (slot.pts is not None and slot.pts >= last.pts)

    def _timed(self, slots: Iterator[Slot]) -> Iterator[_Shown]:
        """Give each moment a picture and a pts: its own, else a neighbour's (the one before; at the beginning the one after)."""
        clock = Clock(self.media, self._note)
        latest: av.VideoFrame | None = None
        waiting: list[Slot] = []
        for slot in clock.stamped(slots):
            if slot.picture is None and latest is None:
                waiting.append(slot)
                continue
            if slot.picture is not None:
                latest = slot.picture
                for early in waiting:
                    yield self._in_place(early, latest)
                waiting = []
            assert latest is not None
            yield self._in_place(slot, latest)
        if waiting:
            early = waiting[0]
            raise self._damaged(f"{early.reason}, and no picture can be decoded after it", early.pts)

    def _in_place(self, slot: Slot, picture: av.VideoFrame) -> _Shown:
        """`slot` as it is shown, with its own picture or, if it has none, `picture`."""
        assert slot.pts is not None
        own = slot.picture is not None
        kind: Literal["concealed", "repeated", "missing"] | None
        kind = "missing" if slot.gap else "repeated" if not own else "concealed" if slot.reason else None
        captions = side_data(picture, "A53_CC") if own else None
        return _Shown(picture, slot.pts, slot.duration, picture.key_frame, captions, kind, slot.reason)

    # Sentences ----------------------------------------------------------------------------------

    def _note(self, sentence: str) -> None:
        if sentence not in self._notices:
            self._notices.append(sentence)
            _log.warning("%s: %s", self.media.path, sentence)

    def _damaged(self, reason: str, pts: int | None) -> DamagedVideoError:
        seconds = None if pts is None else float(pts * self.info.time_base)
        at = "" if seconds is None else f" ({seconds:.3f} s)"
        return DamagedVideoError(
            f"Frame {self._delivered} of {self.media.path}{at} is damaged: {reason.rstrip('.')}.",
            index=self._delivered,
            seconds=seconds,
        )

    def _gave_up(self, reason: str) -> RuntimeUnavailableError:
        return RuntimeUnavailableError(
            f"NVDEC gave up at frame {self._delivered} of {self.media.path}, which the CPU decodes: {reason}.",
            "Use --decoder cpu.",
        )

    def _too_slow(self) -> LimitExceededError:
        return LimitExceededError(
            f"Decoding frame {self._delivered} of {self.media.path} takes longer than {self._limits.decode_seconds:g} s."
        )
