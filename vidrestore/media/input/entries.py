"""May a stream be entered in the middle, and will the pictures from there on be the same, bit for bit?

A container's mark "key" is no answer: it stands on pictures from which a decoder only recovers over time, on ones that need
headers sent once and long ago, and on plain lies. So each packet is looked at as its codec's specification says. What is not
known to be sound is doubted; then a video is decoded from its beginning, which is slower and always right.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import av

from vidrestore.media.input.bits import Bits, messages, nal_units, parameter_sets, unescaped

__all__ = ["EntryCheck", "entry_check"]

_STILLS = frozenset(
    {"prores", "dnxhd", "rawvideo", "v210", "huffyuv", "ffvhuff", "utvideo", "png", "dvvideo", "jpeg2000", "magicyuv"}
)
"""Every picture stands alone, and its packet or the stream's header holds all that it needs."""
_FILM_GRAIN = 19
"""An SEI message (H.274 8.5): FFmpeg adds noise that depends on the pictures and key pictures before."""
_RECOVERY_POINT = 6
_X264 = re.compile(rb"x264 - core (\d+)")
_X264_WITH_FLAWS = 33, 165
"""FFmpeg imitates flaws of old encoders that name themselves in the first packet only: up to the first number in the prediction
of B pictures, below the second in lossless 4:4:4."""


class EntryCheck:
    """Looks at all packets of one stream in their order; `doubt` says why it cannot be entered at each of its key packets."""

    def __init__(self, doubt: str | None = None) -> None:
        self.doubt = doubt
        self.open = False
        """Whether pictures may follow a key picture in the file and precede it on the screen."""
        self.leans_forward = False
        """Whether there are pictures that are not stored in the order they are shown, as far as the codec tells."""

    def see(self, packet: av.Packet[av.VideoStream], data: bytes) -> None:
        """Look at the next packet, whose content is `data`."""
        if self.doubt is None:
            self.doubt = self._doubt_of(data, bool(packet.is_keyframe))

    def _doubt_of(self, data: bytes, key: bool) -> str | None:
        raise NotImplementedError


def entry_check(stream: av.VideoStream) -> EntryCheck:
    """The check for the codec of an open stream."""
    context = stream.codec_context
    codec = context.codec.canonical_name
    extradata = bytes(context.extradata or b"")
    if codec in ("h264", "hevc"):
        layout = context.pix_fmt or ""
        return _NalCheck(extradata, codec == "hevc", layout, bool(context.has_b_frames))
    if codec in ("mpeg1video", "mpeg2video"):
        return _MpegCheck()
    if codec == "mjpeg":
        return _JpegCheck()
    if codec == "av1":
        return _Av1Check()
    if codec in ("vp8", "vp9"):
        return _KeyBitCheck(_vp8_key if codec == "vp8" else _vp9_key)
    if codec == "ffv1":
        return _KeyBitCheck(None)
    if codec in _STILLS and context.pix_fmt != "pal8":
        return _StillCheck()
    return EntryCheck(f"{codec} may need what was decoded before its key pictures")


class _StillCheck(EntryCheck):
    def _doubt_of(self, data: bytes, key: bool) -> str | None:
        return None if key else "a picture is not marked as standing alone"


class _KeyBitCheck(EntryCheck):
    """Key pictures that reset all there is; `header`: what must not change from one to the next, None where it is no key."""

    def __init__(self, header: Callable[[bytes], bytes | None] | None) -> None:
        super().__init__()
        self._header = header
        self._first: bytes | None = None

    def _doubt_of(self, data: bytes, key: bool) -> str | None:
        if not key or self._header is None:
            return None
        header = self._header(data)
        if header is None:
            return "a packet that is marked as key holds no key picture"
        if self._first is None:
            self._first = header
        return None if header == self._first else "the size or format of pictures changes"


def _vp8_key(data: bytes) -> bytes | None:
    """RFC 6386 9.1: frame type, start code, width and height."""
    return data[6:10] if len(data) > 9 and not data[0] & 1 and data[3:6] == b"\x9d\x01\x2a" else None


def _vp9_key(data: bytes) -> bytes | None:
    """VP9 bitstream specification 6.2: marker, profile, show_existing_frame, frame_type; then what a key picture's header
    begins with: the colours and the size.
    """
    bits = Bits(data[:16])
    if bits.read(2) != 2:
        return None
    profile = bits.read(1) | bits.read(1) << 1
    if profile == 3:
        bits.read(1)
    if bits.read(1) or bits.read(1):  # an older picture shown again; not a key picture
        return None
    bits.read(2)
    if bits.read(24) != 0x498342:
        return None
    depth = bits.read(1) if profile >= 2 else 0
    space = bits.read(3)
    if space == 7:
        sampling = bits.read(2) if profile & 1 else 0
    else:
        sampling = bits.read(1)
        sampling = sampling << 3 | (bits.read(3) if profile & 1 else 0)
    return bytes((profile, depth, space, sampling)) + bits.read(32).to_bytes(4, "big")


class _NalCheck(EntryCheck):
    """H.264 and HEVC."""

    def __init__(self, extradata: bytes, hevc: bool, layout: str, reorders: bool) -> None:
        super().__init__()
        self._hevc, self._layout, self._reorders = hevc, layout, reorders
        self._length_size, header = parameter_sets(extradata, hevc)
        self._header = frozenset(unit for unit in header if self._is_set(unit))
        self._sets = set(self._header)
        self._begun = self._look_for_encoder(extradata)

    def _kind(self, unit: bytes) -> int:
        return unit[0] >> 1 & 63 if self._hevc else unit[0] & 31

    def _is_set(self, unit: bytes) -> bool:
        return self._kind(unit) in ((32, 33, 34) if self._hevc else (7, 8, 13, 15))

    def _look_for_encoder(self, data: bytes) -> bool:
        found = None if self._hevc else _X264.search(data)
        if found and (int(found[1]) <= _X264_WITH_FLAWS[0] or ("444" in self._layout and int(found[1]) < _X264_WITH_FLAWS[1])):
            self.doubt = "only its first packet names the old encoder whose flaws its decoder imitates"
        return found is not None

    def _doubt_of(self, data: bytes, key: bool) -> str | None:
        if not self._begun:
            self._begun = True
            self._look_for_encoder(data)
        units = list(nal_units(data, self._length_size))
        here = {unit for unit in units if self._is_set(unit)}
        if key and self._sets - self._header - here:
            return "a key picture needs parameters that are sent elsewhere"
        self._sets |= here
        if sum(self._kind(unit) == (33 if self._hevc else 7) for unit in self._sets) > 1:
            return "the stream's parameters change"
        for unit in units:
            if self._kind(unit) in ((39, 40) if self._hevc else (6,)):
                for kind, _ in messages(unit, 2 if self._hevc else 1):
                    if kind == _FILM_GRAIN:
                        return "film grain depends on all pictures before"
        slices = [unit for unit in units if (self._kind(unit) < 32 if self._hevc else 1 <= self._kind(unit) <= 5)]
        slices = [unit for unit in slices if len(unit) > 2]
        if not slices:
            return "a packet holds no picture"
        if self._hevc:
            return self._hevc_doubt(slices, key)
        return self._h264_doubt(units, slices, key) or self.doubt

    def _hevc_doubt(self, slices: list[bytes], key: bool) -> str | None:
        kinds = {self._kind(unit) for unit in slices if not (unit[0] & 1 or unit[1] >> 3)}  # of the base layer
        self.leans_forward = self._reorders
        if not key:
            return None
        self.open = self.open or bool(kinds & {16, 17, 18, 21})  # BLA, CRA (H.265 7.4.2.2)
        return None if kinds and kinds <= {16, 17, 18, 19, 20, 21} else "a packet that is marked as key holds no key picture"

    def _h264_doubt(self, units: list[bytes], slices: list[bytes], key: bool) -> str | None:
        types = set()
        for unit in slices:
            bits = Bits(unescaped(unit[1:24]))
            bits.golomb()  # first_mb_in_slice
            types.add(bits.golomb() % 5)
        self.leans_forward = self.leans_forward or 1 in types
        kinds = {self._kind(unit) for unit in slices}
        if kinds & {2, 3, 4}:
            return "its pictures are partitioned"
        if not key or kinds == {5}:
            return None
        self.open = True
        for unit in units:
            for kind, payload in messages(unit, 1) if self._kind(unit) == 6 else ():
                bits = Bits(payload)
                if kind == _RECOVERY_POINT and bits.golomb() == 0 and bits.read(1) and types == {2}:
                    return None
        return "a decoder that begins at a key picture recovers only over time"


class _MpegCheck(EntryCheck):
    """MPEG-1 and MPEG-2 (ISO 13818-2 6.2.2, 6.2.3): key pictures follow a sequence header, which resets all there is."""

    def __init__(self) -> None:
        super().__init__()
        self._sequence: bytes | None = None

    def _doubt_of(self, data: bytes, key: bool) -> str | None:
        picture = data.find(b"\0\0\1\0")
        kind = data[picture + 5] >> 3 & 7 if 0 <= picture < len(data) - 5 else 0
        self.leans_forward = self.leans_forward or kind == 3
        if b"\0TMPGEXS\0" in data[:512]:
            return "only its first packet names the encoder whose flaws its decoder imitates"
        if not key:
            return None
        begin, group = data.find(b"\0\0\1\xb3"), data.find(b"\0\0\1\xb8")
        if kind != 1 or not 0 <= begin < picture:
            return "a key picture comes without the sequence's header"
        sequence = data[begin : group if begin < group < picture else picture]
        closed = begin < group < picture and data[group + 7] >> 6 & 1
        self.open = self.open or not closed
        if self._sequence is None:
            self._sequence = sequence
        return None if sequence == self._sequence else "the sequence's header changes"


class _JpegCheck(EntryCheck):
    """Motion JPEG: a picture may use the tables of the one before, and FFmpeg follows comments for good."""

    def __init__(self) -> None:
        super().__init__()
        self._first: tuple[object, ...] | None = None

    def _doubt_of(self, data: bytes, key: bool) -> str | None:
        segments: list[object] = []
        at = 2
        while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
            marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
            frame = marker in (0xC0, 0xC1, 0xC2, 0xC3)
            segments.append((marker, data[at + 4 : at + 2 + size]) if marker == 0xFE or frame else marker)
            at += 2 + size
        seen = tuple(segments)
        if self._first is None:
            self._first = seen
        if not key or seen != self._first or 0xDB not in seen:
            return "its pictures may need tables of ones before"
        return None


class _Av1Check(EntryCheck):
    """AV1 (5.3, 5.9): a shown key frame resets all there is; the sequence header may stand in the file's header only."""

    def __init__(self) -> None:
        super().__init__()
        self._sequence: bytes | None = None

    def _doubt_of(self, data: bytes, key: bool) -> str | None:
        first: int | None = None
        for kind, payload in _obus(data):
            if kind == 1:
                if self._sequence is None:
                    self._sequence = payload
                if payload != self._sequence:
                    return "the sequence's header changes"
            elif kind in (3, 6) and first is None and payload:
                first = payload[0]
        # reduced_still_picture_header follows seq_profile, still; an empty header says nothing
        if not key or (self._sequence and self._sequence[0] >> 3 & 1):
            return None
        # show_existing_frame 0, frame_type 0 (key), show_frame 1
        return None if first is not None and first >> 4 == 0b0001 else "a packet that is marked as key holds no key picture"


def _obus(data: bytes) -> list[tuple[int, bytes]]:
    """(type, payload) of the units of a packet, in the low-overhead format."""
    units, at = [], 0
    while at < len(data):
        kind, extension, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extension
        size, shift = 0, 0
        while sized and at < len(data) and shift < 56:  # leb128: 8 bytes at most
            byte = data[at]
            size, shift, at = size | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                break
        end = at + size if sized else len(data)
        units.append((kind, data[at:end]))
        at = end
    return units
