"""One pass through a file: packets into the decoder, moments of display out of the ledger, from the beginning or an entry on.

A file is entered at a packet that its container calls a key: nothing before it is sent to the decoder, and of what comes out
only the pictures shown from the key picture on count (those that follow it in the file and precede it on the screen may lean
on the group before). Where the key picture does not come out sound, the entry is none, and an earlier one is tried; in the end
the file is decoded from its beginning.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from itertools import chain

import av
import av.error
import psutil

from vidrestore.config import LimitsConfig
from vidrestore.errors import LimitExceededError
from vidrestore.media.input.checksums import Ffv1Checksums
from vidrestore.media.input.decoders import Decoder, open_decoder
from vidrestore.media.input.ledger import Ledger, Slot
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.nvdec import decoder_like, hwaccel_on
from vidrestore.media.input.probe import open_input

__all__ = ["PacketPass"]

_log = logging.getLogger(__name__)

# How far before the wished moment a seek may have to go, in seconds, until a key picture is found that is shown no later:
# containers index decoding times, and open groups of pictures need the group before.
_SEEK_MARGINS = (0, 2, 10, 60)
# A reader that fails this often without one packet between is at the end of what can be read.
_READ_FAILURES = 20
# FFmpeg also says "out of memory" of sizes that are damaged (a negative packet in IVF, a huge picture in VP9): with this many
# bytes to be had, it is the file that is to blame.
_ENOUGH_MEMORY = 1 << 30


class PacketPass:
    """Reads and decodes a file as often as asked, one pass at a time.

    Args:
        media: the file.
        limits: what it may ask of the machine.
        threads: of the decoder.
        keep_corrupt: hand out pictures that lean on missing ones, once a sound one has come.
        note: called with a sentence for people.
        too_slow: makes the error for a picture that takes too long.
        device: the GPU that decodes; None: the CPU.
    """

    def __init__(
        self,
        media: MediaInfo,
        limits: LimitsConfig,
        threads: int,
        keep_corrupt: bool,
        note: Callable[[str], None],
        too_slow: Callable[[], LimitExceededError],
        device: str | None = None,
    ) -> None:
        self.busy_since: float | None = None
        """`time.monotonic()` when FFmpeg was given something to do; None: it has nothing."""
        self._media = media
        self._limits = limits
        self._threads = threads
        self._keep_corrupt = keep_corrupt
        self._note = note
        self._too_slow = too_slow
        self._device = device
        self._container: av.container.InputContainer | None = None

    def close(self) -> None:
        """Give the file back; may be called more than once. A file that FFmpeg hangs in is left to it."""
        if self._container is not None and self.busy_since is None:
            self._container.close()
        self._container = None

    def slots(self, moment: int | None, frame_threads: bool, on_cpu: bool = False) -> Iterator[Slot]:
        """The moments of display from a sound key picture at or before `moment` on; from the beginning where there is no entry.

        Args:
            moment: in ticks of the stream's time base; None: the beginning.
            frame_threads: quick, but told less exactly where packets are refused.
            on_cpu: not on the device, if there is one.
        """
        device = None if on_cpu else self._device
        if moment is None:
            return self._decode(None, frame_threads, device)
        for margin in _SEEK_MARGINS:
            slots = self._decode(moment, frame_threads, device, int(margin / self._media.video.time_base))
            found = next(slots, None)
            if found is not None:
                return chain([found], slots)
        return self._decode(None, frame_threads, device)  # no index, no timestamps, or the range begins with the first picture

    def _decode(self, moment: int | None, frame_threads: bool, device: str | None, margin: int = 0) -> Iterator[Slot]:
        """Open the file anew and decode it; nothing comes where it cannot be entered `margin` ticks before `moment`."""
        self.close()
        self._container = container = open_input(self._media)
        stream = container.streams[self._media.video_index]
        assert isinstance(stream, av.VideoStream)
        if device is None:
            decoder = open_decoder(stream, self._media.video, self._limits, self._threads, frame_threads)
        else:
            decoder = Decoder(decoder_like(stream, hwaccel_on(device), self._limits))
        ledger = Ledger(self._media.video.codec)
        packets = self._packets(container, stream, ledger)
        entry: int | None = None
        if moment is not None:
            key = self._enter(container, stream, packets, moment, margin)
            entry = None if key is None else key.pts if key.pts is not None else key.dts
            if key is None or entry is None or entry > moment:
                return
            packets = chain([key], packets)
        slots = self._matched(packets, decoder, ledger)
        for slot in _forewarned(slots, ledger) if frame_threads else chain.from_iterable(slots):
            if entry is not None:
                if slot.pts is None or slot.pts < entry:
                    continue
                if slot.picture is None or slot.reason is not None:
                    return
                entry = None
            if slot.picture is not None and self._keep_corrupt:
                decoder.keep_corrupt()
            yield slot
        if ledger.left_out:
            self._note(
                f"The file begins with {ledger.left_out} pictures that have no timestamp and lean on ones that are not in it; "
                "no player can show them, and they are left out."
            )
        if ledger.disordered:
            self._note("The timestamps contradict the order of the pictures; the n-th picture has the n-th timestamp.")

    def _enter(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        packets: Iterator[av.Packet[av.VideoStream]],
        moment: int,
        margin: int,
    ) -> av.Packet[av.VideoStream] | None:
        """The first key packet that a seek to `margin` before `moment` leads to; None if there is none, or no way to seek."""
        try:
            container.seek(moment - margin, stream=stream, backward=True)
        except (av.error.FFmpegError, OverflowError):  # OverflowError: a moment beyond all timestamps
            _log.info("%s cannot seek; decoding from its beginning", self._media.path)
            return None
        for packet in packets:
            if packet.is_keyframe:
                return packet
            if packet.dts is not None and packet.dts > moment:  # all that follow are shown later
                return None
        return None

    def _matched(self, packets: Iterator[av.Packet[av.VideoStream]], decoder: Decoder, ledger: Ledger) -> Iterator[list[Slot]]:
        """Every packet through the decoder, every picture through the ledger: what is settled by each packet."""
        context = decoder.context
        checksums = Ffv1Checksums() if self._media.video.codec == "ffv1" else None
        for packet in packets:
            if not context.is_open:
                decoder.prepare(packet)
            reason = "the container marks its data as damaged" if packet.is_corrupt else None
            if checksums is not None and checksums.damaged(bytes(packet)):
                reason = reason or "a checksum in it does not match"
            number = ledger.send(packet, reason)
            pictures = self._pictures_of(context, packet, number, ledger)
            yield [slot for picture in pictures for slot in ledger.arrive(picture)]
        pictures = self._pictures_of(context, None, -1, ledger)
        yield [slot for picture in pictures for slot in ledger.arrive(picture)]
        yield list(ledger.finish())

    def _packets(
        self, container: av.container.InputContainer, stream: av.VideoStream, ledger: Ledger
    ) -> Iterator[av.Packet[av.VideoStream]]:
        """The stream's packets. An empty one (AVI, Ogg) shows nothing new, and the decoder would take it for the end."""
        failures = 0
        packets = container.demux(stream)
        while failures < _READ_FAILURES:
            try:
                self.busy_since = time.monotonic()
                packet = next(packets, None)
            except av.error.ExitError:
                raise self._too_slow() from None
            except (av.error.FFmpegError, MemoryError) as error:
                if isinstance(error, MemoryError) and psutil.virtual_memory().available < _ENOUGH_MEMORY:
                    raise
                failures += 1
                if failures == 1:
                    what = "a packet has an impossible size" if isinstance(error, MemoryError) else _reason(error)
                    ledger.lose(f"the container cannot be read here ({what})")
                packets = container.demux(stream)
                continue
            finally:
                self.busy_since = None
            if packet is None:
                return
            if packet.size:
                failures = 0
                yield packet

    def _pictures_of(
        self, context: av.VideoCodecContext, packet: av.Packet[av.VideoStream] | None, number: int, ledger: Ledger
    ) -> list[av.VideoFrame]:
        """What the decoder has ready after a packet, or at the end (None)."""
        self.busy_since = began = time.monotonic()
        try:
            return context.decode(packet)
        except MemoryError:
            if psutil.virtual_memory().available < _ENOUGH_MEMORY:
                raise
            ledger.fail(number, "it asks for more memory than a picture can need")
            return []
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            ledger.fail(number, _reason(error))
            return []
        finally:
            self.busy_since = None
            if time.monotonic() - began > self._limits.decode_seconds:
                raise self._too_slow()


def _forewarned(slots: Iterator[list[Slot]], ledger: Ledger) -> Iterator[Slot]:
    """Moments settled by each packet, those of one packet held until the next has passed the decoder.

    With frame threads FFmpeg hands out a damaged picture first, and only when asked again the error that belongs to it. So a
    complaint comes as a gap before what is held.
    """
    held: list[Slot] = []
    complaints = 0
    for settled in slots:
        if ledger.complaints > complaints:
            complaints = ledger.complaints
            yield Slot(None, None, None, ledger.complaint, gap=True)
        yield from held
        held = settled
    yield from held


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".")
