"""Packet files: what is written comes back, and every damage is told as such."""

from __future__ import annotations

import hashlib
import resource
from fractions import Fraction
from pathlib import Path

import pytest

from vidrestore.errors import DamagedSegmentError, DiskFullError, StorageError
from vidrestore.media.output.packet_file import PacketFileSummary, PacketReader, PacketWriter, Record, Trailer

RECORDS = [
    Record(0, b"a key picture", True, 40),
    Record(2, b"", False, 0, (("matroska_block_additional", b"\0\1\2"), ("new_extradata", b""))),
    Record(1, bytes(range(256)) * 40, False, -1),
]
TRAILER = Trailer(
    kind="coded",
    codec="h264",
    width=64,
    height=48,
    pixel_format="yuv420p",
    time_base=Fraction(1001, 30000),
    origin=Fraction(-7, 3),
    first=240,
    frames=3,
    pts=(-5, 0, 1 << 40),
    durations=(5, None, 7),
    depth=1,
    extradata=b"\0\xff sets",
    repeated=2,
    left_out=1,
    notices=("Said.", "ä"),
    layouts=(("bgr0", b"\1"),),
)


def written(path: Path) -> PacketFileSummary:
    writer = PacketWriter(path)
    for record in RECORDS:
        writer.write(record)
    return writer.finish(TRAILER)


def read(path: Path) -> tuple[Trailer, list[Record]]:
    with PacketReader(path) as reader:
        return reader.trailer, list(reader.records())


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    summary = written(tmp_path / "a.seg")
    assert read(tmp_path / "a.seg") == (TRAILER, RECORDS)
    data = (tmp_path / "a.seg").read_bytes()
    assert (summary.frames, summary.pictures, summary.notices) == (3, 3, TRAILER.notices)
    assert (summary.size, summary.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    written(tmp_path / "b.seg")
    assert (tmp_path / "b.seg").read_bytes() == data


def test_a_file_without_packets(tmp_path: Path) -> None:
    empty = Trailer("kept", "ffv1", 1, 1, "", Fraction(1), Fraction(0), -1, 0, (), ())
    PacketWriter(tmp_path / "a").finish(empty)
    assert read(tmp_path / "a") == (empty, [])


def test_a_file_that_is_not_finished_goes(tmp_path: Path) -> None:
    writer = PacketWriter(tmp_path / "a.seg")
    writer.write(RECORDS[0])
    writer.close()
    writer.close()
    assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="closed"):
        writer.write(RECORDS[0])


def test_every_cut_is_told(tmp_path: Path) -> None:
    written(tmp_path / "a.seg")
    data = (tmp_path / "a.seg").read_bytes()
    for length in [*range(200), *range(200, len(data), 97), *range(len(data) - 300, len(data))]:
        (tmp_path / "a.seg").write_bytes(data[:length])
        with pytest.raises(DamagedSegmentError):
            read(tmp_path / "a.seg")
    (tmp_path / "a.seg").write_bytes(data + b"\0")
    with pytest.raises(DamagedSegmentError):
        read(tmp_path / "a.seg")


def test_every_changed_byte_is_told(tmp_path: Path) -> None:
    written(tmp_path / "a.seg")
    data = (tmp_path / "a.seg").read_bytes()
    for at in [*range(200), *range(200, len(data) - 800, 211), *range(len(data) - 800, len(data))]:
        for bit in (1, 128):
            changed = bytearray(data)
            changed[at] ^= bit
            (tmp_path / "a.seg").write_bytes(changed)
            with pytest.raises(DamagedSegmentError, match=r"a\.seg"):
                read(tmp_path / "a.seg")


def test_a_length_cannot_ask_for_the_machines_memory(tmp_path: Path) -> None:
    written(tmp_path / "a.seg")
    data = bytearray((tmp_path / "a.seg").read_bytes())
    data[8 + 18 : 8 + 22] = b"\xff\xff\xff\xff"
    (tmp_path / "a.seg").write_bytes(data)
    with pytest.raises(DamagedSegmentError, match="beyond its end"):
        read(tmp_path / "a.seg")


def test_a_later_format_is_not_misread(tmp_path: Path) -> None:
    text = TRAILER.as_json()
    for other in (text.replace(b'"format":1', b'"format":2'), text.replace(b'"depth":1,', b""), b"[]", b"null", b"\xff"):
        with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
            Trailer.from_json(other)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DamagedSegmentError, match="is gone"):
        PacketReader(tmp_path / "none.seg")
    (tmp_path / "text").write_text("no packets at all, but long enough to hold an end")
    with pytest.raises(DamagedSegmentError, match="begin"):
        PacketReader(tmp_path / "text")
    with pytest.raises(StorageError):
        PacketWriter(tmp_path / "no folder" / "a.seg")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        writer = PacketWriter(tmp_path / "a.seg")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        with pytest.raises(DiskFullError):
            for _ in range(100):
                writer.write(Record(0, bytes(1 << 12)))
        assert not any(tmp_path.iterdir())
        writer = PacketWriter(tmp_path / "b.seg")
        writer.write(Record(0, bytes((1 << 16) - 40)))
        with pytest.raises(DiskFullError):
            writer.finish(TRAILER)
        assert not any(tmp_path.iterdir())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
