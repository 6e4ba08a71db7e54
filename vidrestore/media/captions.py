"""Closed captions on pictures that are to be encoded.

PyAV can read a picture's side data and cannot set it. But a conversion copies it; so the captions are put into the bitstream of
a tiny H.264 picture (user data registered by ITU-T T.35: ATSC A/53 part 4, section 6.2.3.1), that is decoded, and the
result brought to the size and format wanted: a blank picture with captions, to be painted over.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import av
from av.video.reformatter import Interpolation, VideoReformatter

__all__ = ["CaptionCarrier"]

_START = b"\0\0\1"
_SEI, _KEY_PICTURE = 6, 5
_LARGEST = 31
"""Caption triplets that one picture can hold: `cc_count` has 5 bits."""


class CaptionCarrier:
    """Blank pictures of one size and format that carry captions."""

    def __init__(self, width: int, height: int, pixel_format: str) -> None:
        self._size, self._pixel_format = (width, height), pixel_format
        self._reformatter = VideoReformatter()

    def __call__(self, captions: bytes) -> av.VideoFrame:
        """A new picture with FFmpeg's A53_CC side data `captions`: triplets of 3 bytes, of which at most 31 fit."""
        decoder = av.VideoCodecContext.create("h264", "r")
        units = [unit for unit in _blank_picture() if unit[0] & 31 != _KEY_PICTURE]
        pictures = [unit for unit in _blank_picture() if unit[0] & 31 == _KEY_PICTURE]
        stream = b"".join(_START + unit for unit in (*units, _message(captions[: 3 * _LARGEST]), *pictures))
        (tiny,) = (*decoder.decode(av.Packet(stream)), *decoder.decode(None))
        width, height = self._size
        return self._reformatter.reformat(
            tiny, width=width, height=height, format=self._pixel_format, interpolation=Interpolation.POINT, threads=1
        )


@lru_cache(maxsize=1)
def _blank_picture() -> tuple[bytes, ...]:
    """The NAL units of a 16x16 key picture, without the encoder's own messages."""
    encoder = av.VideoCodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 16, 16, "yuv420p", Fraction(1, 25)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "threads": "1"}
    packets = [*encoder.encode(av.VideoFrame(16, 16, "yuv420p")), *encoder.encode(None)]
    units = [unit.rstrip(b"\0") for packet in packets for unit in bytes(packet).split(_START)]
    return tuple(unit for unit in units if unit and unit[0] & 31 != _SEI)


def _message(captions: bytes) -> bytes:
    """The NAL unit of an SEI message with the captions."""
    count = len(captions) // 3
    user_data = b"\xb5\x00\x31GA94\x03" + bytes([0x40 | count, 0xFF]) + captions[: 3 * count] + b"\xff"
    size = b"\xff" * (len(user_data) // 255) + bytes([len(user_data) % 255])
    return bytes([_SEI]) + _escaped(b"\x04" + size + user_data + b"\x80")


def _escaped(payload: bytes) -> bytes:
    """With a 3 after two zeros where a start code would appear (H.264, 7.4.1)."""
    out, zeros = bytearray(), 0
    for byte in payload:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)
