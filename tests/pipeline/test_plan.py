"""Plans: estimates, words for people, and what a job checks at its end."""

from __future__ import annotations

import hashlib
import platform
from fractions import Fraction
from pathlib import Path

import pytest

import vidrestore
from vidrestore.engine.catalog import Catalog
from vidrestore.errors import DiskFullError, EmptyVideoError, VerificationError
from vidrestore.media.output.mark_text import Mark, parse_mark
from vidrestore.pipeline.machine import available_cores, load_average, peak_memory, processor_name, return_free_memory
from vidrestore.pipeline.pipeline import Tally
from vidrestore.pipeline.plan import Progress, check_space, clock, estimate_bytes, expected_frames, size_text
from vidrestore.pipeline.prepare import marking
from vidrestore.pipeline.single_pass import check_count
from vidrestore.types import StreamInfo

INFO = StreamInfo(640, 360, Fraction(1, 15360), frame_rate=Fraction(30), frames=300, duration=10.0)


def test_a_disk_without_room_is_refused_before_work(tmp_path: Path) -> None:
    assert (check_space(str(tmp_path / "a.mp4"), 1) or 0) > 0
    assert (check_space(str(tmp_path / "a.mp4"), None) or 0) > 0
    assert check_space("-", 10**18) is None
    with pytest.raises(DiskFullError, match="will need about"):
        check_space(str(tmp_path / "a.mp4"), 10**18)


def test_the_size_grows_with_pixels_frames_and_quality() -> None:
    usual = estimate_bytes(INFO, "h264", None, 100)
    assert usual is not None and 100_000 < usual < 5_000_000
    assert estimate_bytes(INFO.scaled(2), "h264", None, 100) == 4 * usual
    assert estimate_bytes(INFO, "h264", 24, 100) == usual // 2
    assert estimate_bytes(INFO, "h264", None, None) is None
    for codec in ("hevc", "av1", "vp9"):
        assert estimate_bytes(INFO, codec, None, 100) < usual
    for codec in ("prores", "ffv1", "png", "rawvideo"):
        assert estimate_bytes(INFO, codec, None, 100) > usual


@pytest.mark.parametrize(
    ("start", "duration", "frames"), [(0.0, None, 300), (2.0, None, 240), (0.0, 1.5, 45), (9.0, 5.0, 30), (20.0, None, 1)]
)
def test_expected_frames(start: float, duration: float | None, frames: int) -> None:
    assert expected_frames(INFO, start, duration) == frames


def test_nothing_is_expected_of_a_silent_header() -> None:
    silent = StreamInfo(64, 48, Fraction(1, 1000))
    assert expected_frames(silent, 0, None) is None and expected_frames(silent, 1, 2) is None


def test_words() -> None:
    assert [clock(s) for s in (0.2, 12.4, 185, 7384)] == ["1 s", "12 s", "3:05 min", "2:03:04 h"]
    assert [size_text(n) for n in (12, 1500, 2_600_000, 78_600_000_000)] == ["12 B", "2 KB", "3 MB", "78.6 GB"]
    assert Progress(30, 60, 2.0).fps == 15 and Progress(0, None, 0.0).fps == 0


def test_the_mark_names_versions_of_engines() -> None:
    catalog = Catalog.find()
    cards = [catalog.card("bicubic-x2"), catalog.card("night-fast")]
    digest = hashlib.sha256((catalog.folder / "night-fast" / "weights.safetensors").read_bytes()).hexdigest()
    mark = parse_mark(marking(cards))
    assert mark == Mark(vidrestore.__version__, (("bicubic-x2", None), ("night-fast", digest[:8])), ("night-fast",), True)
    told = f": bicubic-x2, night-fast ({digest[:8]}). Detail was invented by night-fast: no evidence."
    assert marking(cards).endswith(told)
    assert marking(cards[:1]).endswith(": bicubic-x2.")


def test_as_many_frames_out_as_in() -> None:
    check_count(Tally(5, 5, 0, 0, 0, 0), "in.mp4")
    with pytest.raises(VerificationError, match="5 frames were read but 4 written"):
        check_count(Tally(5, 4, 0, 0, 0, 0), "in.mp4")
    with pytest.raises(EmptyVideoError):
        check_count(Tally(0, 0, 0, 0, 0, 0), "in.mp4")


@pytest.mark.skipif(not Path("/proc/self/statm").exists() or platform.libc_ver()[0] != "glibc", reason="needs glibc on Linux")
def test_free_memory_goes_back_to_the_system() -> None:
    """Blocks below the size that glibc maps one by one, with a small one kept behind them, stay resident until told."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    blocks = [bytearray(b"x" * 100_000) for _ in range(800)]
    kept = [bytearray(600) for _ in range(2000)]
    full = resident()
    del blocks
    assert return_free_memory()
    assert full - resident() > 40_000_000 and len(kept) == 2000


def test_the_machine_is_described() -> None:
    assert available_cores() >= 1 and processor_name() and peak_memory() > 0
    load = load_average()
    assert load is None or load >= 0
