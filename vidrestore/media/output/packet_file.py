"""Packet files: the coded pictures of one segment, in a plain format of our own, readable a packet at a time.

A file is written from its beginning to its end and never changed behind the writing place, so that a digest of it is known
when it is whole. Numbers are little-endian.

    beginning   8 bytes, VRPACKET
    record      PKT1, picture (u32), encoder's duration (i64), flags (u8; 1: a key picture), number of side data (u8),
                length (u32); for each side data: length of its name (u8), name, length (u32), bytes; then the payload;
                CRC-32 of all this (u32)
    ...         further records
    trailer     END1, length (u32), JSON in UTF-8, CRC-32 of all this (u32)
    end         where the trailer begins (u64), VRWHOLE.

Packets lie in decoding order; `picture` counts from 0 in the order of display, and the trailer has every picture's time. Names of
side data are FFmpeg's (`matroska_block_additional`), or `layout`, `alpha` and `captions` of pictures that are kept, not coded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

from vidrestore.errors import DamagedSegmentError
from vidrestore.media.output.target import storage_error

__all__ = ["PacketFileSummary", "PacketReader", "PacketWriter", "Record", "Trailer"]

FORMAT = 1
_BEGIN, _WHOLE = b"VRPACKET", b"VRWHOLE."
_RECORD = struct.Struct("<4sIqBBI")
_TRAILER = struct.Struct("<4sI")
_CRC = struct.Struct("<I")
_LENGTH = struct.Struct("<I")
_END = struct.Struct("<Q8s")
_KEY = 1


@dataclass(frozen=True)
class Record:
    """One coded picture."""

    picture: int
    """Counted from 0 in the order of display, within the file."""
    payload: bytes
    key: bool = True
    duration: int = 0
    """Of the encoder, in its ticks; 0: not said."""
    side: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Trailer:
    """What a packet file says of its pictures as a whole."""

    kind: Literal["coded", "kept"]
    """coded: packets of the output's encoder; kept: lossless pictures for outputs that are not muxed."""
    codec: str
    width: int
    height: int
    pixel_format: str
    time_base: Fraction
    """Seconds of a tick of `pts` and `durations`."""
    origin: Fraction
    """Seconds of the source's timeline at which `pts` are 0."""
    first: int
    """Index in the job of the first source picture; -1: there was none."""
    frames: int
    """Source pictures."""
    pts: tuple[int, ...]
    """Of every picture in the order of display, rising."""
    durations: tuple[int | None, ...]
    """As the source says."""
    depth: int = 0
    """Pictures by which decoding runs ahead of display."""
    extradata: bytes = b""
    """Parameter sets that the container's header has to hold."""
    repeated: int = 0
    """Extra copies made for a constant rate."""
    left_out: int = 0
    notices: tuple[str, ...] = ()
    layouts: tuple[tuple[str, bytes], ...] = ()
    """Of kept pictures: pixel formats, and the parameter sets of their decoders."""

    def as_json(self) -> bytes:
        """Fractions as text, bytes as hexadecimal digits."""
        values = asdict(self) | {
            "format": FORMAT,
            "time_base": str(self.time_base),
            "origin": str(self.origin),
            "extradata": self.extradata.hex(),
            "layouts": [[name, data.hex()] for name, data in self.layouts],
        }
        return json.dumps(values, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Trailer:
        """Raises ValueError, KeyError or TypeError for anything else than `as_json` wrote."""
        values = json.loads(text)
        if values.pop("format") != FORMAT or values.keys() != {field.name for field in fields(cls)}:
            raise ValueError("another format")
        return cls(
            **values
            | {
                "time_base": Fraction(values["time_base"]),
                "origin": Fraction(values["origin"]),
                "extradata": bytes.fromhex(values["extradata"]),
                "pts": tuple(map(int, values["pts"])),
                "durations": tuple(values["durations"]),
                "notices": tuple(map(str, values["notices"])),
                "layouts": tuple((str(name), bytes.fromhex(data)) for name, data in values["layouts"]),
            }
        )


@dataclass(frozen=True)
class PacketFileSummary:
    """A packet file that is whole and flushed to the disk."""

    path: Path
    frames: int
    """Source pictures."""
    pictures: int
    """Written pictures: others than `frames` where a constant rate was made."""
    size: int
    sha256: str
    notices: tuple[str, ...] = field(default=())


class PacketWriter:
    """Writes one packet file: `write` records, then `finish`. Until then the file is not whole, and `close` removes it.

    Raises:
        DiskFullError, NotWritableError, StorageError: the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digest, self._size, self._packets = hashlib.sha256(), 0, 0
        try:
            self._file: BinaryIO | None = path.open("wb")
        except OSError as error:
            raise storage_error(error, path) from None
        self._put(_BEGIN)

    def write(self, record: Record) -> None:
        """Append one packet."""
        head = _RECORD.pack(b"PKT1", record.picture, record.duration, _KEY * record.key, len(record.side), len(record.payload))
        parts = [head]
        for name, data in record.side:
            parts += [bytes([len(name)]), name.encode("ascii"), _LENGTH.pack(len(data)), data]
        self._put_checked([*parts, record.payload])
        self._packets += 1

    def finish(self, trailer: Trailer) -> PacketFileSummary:
        """Write the trailer, and flush the file to the disk."""
        place, text = self._size, trailer.as_json()
        self._put_checked([_TRAILER.pack(b"END1", len(text)), text])
        self._put(_END.pack(place, _WHOLE))
        assert self._file is not None
        file, self._file = self._file, None
        try:
            with file:
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self.path.unlink(missing_ok=True)
            raise storage_error(error, self.path) from None
        return PacketFileSummary(
            path=self.path,
            frames=trailer.frames,
            pictures=len(trailer.pts),
            size=self._size,
            sha256=self._digest.hexdigest(),
            notices=trailer.notices,
        )

    def close(self) -> None:
        """Let go; removes what was written unless it was finished."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # it is thrown away
                file.close()
            self.path.unlink(missing_ok=True)

    def _put_checked(self, parts: Sequence[bytes]) -> None:
        crc = 0
        for part in parts:
            crc = zlib.crc32(part, crc)
        self._put(*parts, _CRC.pack(crc))

    def _put(self, *parts: bytes) -> None:
        if self._file is None:
            raise ValueError("the packet file is closed")
        try:
            for part in parts:
                self._file.write(part)
                self._digest.update(part)
                self._size += len(part)
        except OSError as error:
            self.close()
            raise storage_error(error, self.path) from None


class PacketReader:
    """Reads one packet file: its trailer at once, its records one at a time. A context manager.

    Raises:
        DamagedSegmentError: the file is cut short, changed, or of another version's format; from reading records, too.
        StorageError: the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except FileNotFoundError:
            raise DamagedSegmentError(f"The segment {path} is gone.") from None
        except OSError as error:
            raise storage_error(error, path) from None
        try:
            self.trailer = self._read_trailer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PacketReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def records(self) -> Iterator[Record]:
        """Every packet in decoding order."""
        self._file.seek(len(_BEGIN))
        while (at := self._file.tell()) < self._place:
            yield self._read_record(at)

    def _read_trailer(self) -> Trailer:
        try:
            size = os.fstat(self._file.fileno()).st_size
            if self._file.read(len(_BEGIN)) != _BEGIN or size < len(_BEGIN) + _TRAILER.size + _CRC.size + _END.size:
                raise self._damaged("it does not begin as one")
            self._file.seek(size - _END.size)
            self._place, whole = _END.unpack(self._file.read(_END.size))
            last = size - _END.size - _CRC.size
            if whole != _WHOLE or not len(_BEGIN) <= self._place <= last - _TRAILER.size:
                raise self._damaged("it is cut short")
            self._file.seek(self._place)
            head = self._file.read(_TRAILER.size)
            mark, length = _TRAILER.unpack(head)
            if mark != b"END1" or self._place + _TRAILER.size + length != last:
                raise self._damaged("its end is not where it should be")
            text = self._file.read(length)
            self._check(zlib.crc32(text, zlib.crc32(head)))
            return Trailer.from_json(text)
        except OSError as error:
            raise storage_error(error, self.path) from None
        except (ValueError, KeyError, TypeError):
            raise self._damaged("its end says nothing that could be understood") from None

    def _read_record(self, at: int) -> Record:
        try:
            head = self._take(_RECORD.size)
            mark, picture, duration, flags, sides, length = _RECORD.unpack(head)
            if mark != b"PKT1":
                raise self._damaged(f"byte {at} begins no packet")
            crc, side = zlib.crc32(head), []
            for _ in range(sides):
                size = self._take(1)
                name = self._take(size[0])
                count = self._take(_LENGTH.size)
                data = self._take(_LENGTH.unpack(count)[0])
                for part in (size, name, count, data):
                    crc = zlib.crc32(part, crc)
                side.append((name.decode("ascii"), data))
            payload = self._take(length)
            self._check(zlib.crc32(payload, crc))
        except OSError as error:
            raise storage_error(error, self.path) from None
        except UnicodeDecodeError:
            raise self._damaged(f"the packet at byte {at} is changed") from None
        return Record(picture, payload, bool(flags & _KEY), duration, tuple(side))

    def _take(self, count: int) -> bytes:
        """The next bytes, which have to lie before the trailer: a changed length shall not ask for the machine's memory."""
        if count > self._place - self._file.tell():
            raise self._damaged("a packet reaches beyond its end")
        data = self._file.read(count)
        if len(data) != count:
            raise self._damaged("it is cut short")
        return data

    def _check(self, crc: int) -> None:
        if _CRC.unpack(self._file.read(_CRC.size).ljust(_CRC.size, b"\0"))[0] != crc:
            raise self._damaged("its checksum differs")

    def _damaged(self, why: str) -> DamagedSegmentError:
        return DamagedSegmentError(f"The segment {self.path} is not what was written: {why}.")
