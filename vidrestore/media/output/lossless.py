"""Pictures kept as they are until the output is written: RGB in FFV1 (RFC 9043), opacity and captions beside it.

Every picture is a key picture. Opacity, which may have another size than the picture, is compressed with zlib (RFC 1950).
"""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from vidrestore.errors import DamagedSegmentError
from vidrestore.media.output.packet_file import Record, Trailer
from vidrestore.media.passthrough.packets import coded_packet

__all__ = ["PictureKeeper", "PictureRestorer"]

_LAYOUTS = {"uint8": "bgr0", "uint16": "gbrp16le"}
"""FFmpeg's pixel formats that FFV1 takes, by numpy's type."""
_PLANES = 1, 2, 0
"""Channels of RGB in the order of the deep format's planes: green, blue, red."""
_SHAPE = struct.Struct("<BII")
_THREADS = 2
"""Of FFV1's slices; their number decides the bits, not that of the threads."""


class PictureKeeper:
    """Turns pictures into records without a loss.

    Args:
        width, height: of every picture.
    """

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._encoders: dict[str, Any] = {}

    @property
    def layouts(self) -> tuple[tuple[str, bytes], ...]:
        """Pixel formats used so far, and the parameter sets that their decoders need."""
        return tuple((name, encoder.extradata or b"") for name, encoder in sorted(self._encoders.items()))

    def keep(self, number: int, data: NDArray[Any], alpha: NDArray[Any] | None, captions: bytes | None) -> Record:
        """One picture: (3, H, W) RGB, uint8 or uint16; opacity (h, w) of either type."""
        layout = _LAYOUTS[data.dtype.name]
        encoder = self._encoders.get(layout) or self._encoder(layout)
        picture = av.VideoFrame(*self._size, layout)
        if layout == "bgr0":
            _fill(picture.planes[0], np.dstack([data[2], data[1], data[0], np.zeros(data.shape[1:], np.uint8)]))
        else:
            for plane, channel in zip(picture.planes, _PLANES, strict=True):
                _fill(plane, np.ascontiguousarray(data[channel], "<u2"))
        picture.pts, picture.time_base = number, Fraction(1, 25)
        packets = encoder.encode(picture)
        if len(packets) != 1:
            raise RuntimeError(f"FFV1 made {len(packets)} packets of one picture")
        side = [("layout", layout.encode())]
        if alpha is not None:
            opacity = np.ascontiguousarray(alpha)
            head = _SHAPE.pack(opacity.itemsize, *opacity.shape)
            side.append(("alpha", head + zlib.compress(opacity.astype(opacity.dtype.newbyteorder("<")).tobytes(), 1)))
        if captions:
            side.append(("captions", captions))
        return Record(number, bytes(packets[0]), side=tuple(side))

    def _encoder(self, layout: str) -> Any:
        context: Any = av.CodecContext.create("ffv1", "w")
        context.width, context.height, context.pix_fmt = *self._size, layout
        context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
        context.thread_count = _THREADS
        context.flags |= av.codec.context.Flags.bitexact
        context.options = {"level": "3", "slices": "1" if min(self._size) < 16 else "4", "slicecrc": "1", "g": "1"}
        context.open()
        self._encoders[layout] = context
        return context


class PictureRestorer:
    """Turns records back into exactly the arrays that `PictureKeeper` was given.

    Args:
        trailer: of the file that the records are from.
        name: of that file, for errors.
    """

    def __init__(self, trailer: Trailer, name: str) -> None:
        self._size, self._name = (trailer.width, trailer.height), name
        self._layouts = dict(trailer.layouts)
        self._decoders: dict[str, Any] = {}

    def restore(self, record: Record) -> tuple[NDArray[Any], NDArray[Any] | None, bytes | None]:
        """(3, H, W) RGB, the opacity or None, the captions or None.

        Raises DamagedSegmentError.
        """
        side = dict(record.side)
        try:
            layout = side["layout"].decode("ascii")
            pictures = self._decoder(layout).decode(coded_packet(record.payload))
            if len(pictures) != 1 or (pictures[0].width, pictures[0].height) != self._size or pictures[0].format.name != layout:
                raise ValueError
            pixels = _pixels(pictures[0])
            opacity = _opacity(side["alpha"]) if "alpha" in side else None
        except (av.error.FFmpegError, KeyError, ValueError, struct.error, zlib.error):
            raise DamagedSegmentError(f"Picture {record.picture} of the segment {self._name} cannot be read back.") from None
        return pixels, opacity, side.get("captions")

    def _decoder(self, layout: str) -> Any:
        if layout not in self._decoders:
            context: Any = av.CodecContext.create("ffv1", "r")
            context.width, context.height = self._size
            context.extradata = self._layouts[layout]
            context.thread_count, context.thread_type = _THREADS, "SLICE"
            context.options = {"err_detect": "crccheck+explode"}
            self._decoders[layout] = context
        return self._decoders[layout]


def _fill(plane: Any, samples: NDArray[Any]) -> None:
    """Copy rows of samples into a plane, whose lines may be longer."""
    rows = samples.reshape(samples.shape[0], -1).view(np.uint8)
    np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: rows.shape[0], : rows.shape[1]] = rows


def _rows(plane: Any, height: int, count: int) -> NDArray[np.uint8]:
    """The first `count` bytes of each line."""
    return np.ascontiguousarray(np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :count])


def _pixels(picture: av.VideoFrame) -> NDArray[Any]:
    width, height = picture.width, picture.height
    if picture.format.name == "bgr0":
        rows = _rows(picture.planes[0], height, width * 4).reshape(height, width, 4)
        return np.ascontiguousarray(rows[..., 2::-1].transpose(2, 0, 1))
    data = np.empty((3, height, width), np.uint16)
    for plane, channel in zip(picture.planes, _PLANES, strict=True):
        data[channel] = _rows(plane, height, width * 2).view("<u2")
    return data


def _opacity(stored: bytes) -> NDArray[Any]:
    itemsize, height, width = _SHAPE.unpack_from(stored)
    unpacked = zlib.decompressobj()
    samples = unpacked.decompress(stored[_SHAPE.size :], itemsize * height * width + 1)
    if not unpacked.eof:
        raise ValueError("cut short, or too long")
    kind = {1: np.uint8, 2: np.uint16}[itemsize]
    return np.frombuffer(samples, np.dtype(kind).newbyteorder("<")).reshape(height, width).astype(kind)
