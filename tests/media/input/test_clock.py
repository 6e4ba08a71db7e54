"""Timestamps are data: what the judge wrote is what comes out, and where it wrote none, the stated rule."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vidrestore.errors import DamagedVideoError, MediaError
from vidrestore.media import VideoDecoder
from vidrestore.media.input.clock import Clock
from vidrestore.media.input.ledger import Slot
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.media.input.probe import probe

Make = Callable[..., Path]
Judge = Callable[..., None]
SOURCE = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2")


def decode(path: Path, **settings: Any) -> tuple[list[tuple[int, int | None]], Fraction, tuple[str, ...]]:
    """(pts, duration) of all pictures, the tick, the notices."""
    with VideoDecoder(path, DecodeOptions(**settings)) as decoder:
        return [(frame.pts, frame.duration) for frame in decoder], decoder.info.time_base, decoder.notices


def first_sound(path: Path) -> Fraction:
    """Seconds at which the sound begins, by demuxing."""
    with av.open(str(path)) as container:
        stamps = [packet.pts * packet.time_base for packet in container.demux(audio=0) if packet.pts is not None]
    return Fraction(min(stamps))


@pytest.mark.parametrize("rate", ["60000/1001", "60", "24000/1001"])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_rates_are_not_rounded(tmp_path: Path, ffmpeg: Judge, rate: str, name: str) -> None:
    path = tmp_path / name
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=64x48:r={rate}:d=3", "-c:v", "libx264", "-preset", "ultrafast", path)
    stamps, tick, _ = decode(path)
    begin = stamps[0][0] * tick
    for number, (pts, _) in enumerate(stamps):
        assert abs(pts * tick - begin - number / Fraction(rate)) <= tick  # never cumulatively
    assert len(stamps) == int(Fraction(rate) * 3) + (Fraction(rate) * 3 % 1 > 0)


def test_variable_durations_are_the_files(make_clip: Make) -> None:
    pts = [0, 40, 70, 160, 161, 300, 480, 500, 777, 900]
    stamps, tick, notices = decode(make_clip("vfr.mp4", pts=pts, time_base=Fraction(1, 1000), options={"bf": "2"}))
    assert [round(p * tick * 1000) for p, _ in stamps] == pts
    lengths = [round((d or 0) * tick * 1000) for _, d in stamps]
    assert lengths[:-1] == np.diff(pts).tolist() and notices == ()


def test_an_edit_list_moves_and_hides(tmp_path: Path, ffmpeg: Judge) -> None:
    """Cut by copy inside a group of pictures: what is before the cut is in the file, hidden; the sound stays where it was."""
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    ffmpeg(*SOURCE, "-f", "lavfi", "-i", "sine=d=2", "-c:v", "libx264", "-g", "50", "-bf", "2", "-c:a", "aac", whole)
    ffmpeg("-ss", "0.6", "-i", whole, "-c", "copy", cut)
    with av.open(str(cut)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert sum(packet.is_discard for packet in packets) == 15
    stamps, _, notices = decode(cut)
    assert [pts for pts, _ in stamps] == sorted(packet.pts for packet in packets if not packet.is_discard)
    assert len(stamps) == 35 and stamps[0][0] == 0 and notices == ()


def test_a_picture_that_begins_after_the_sound_stays_behind(tmp_path: Path, ffmpeg: Judge) -> None:
    for name in ("late.mp4", "late.mkv", "late.ts"):
        path = tmp_path / name
        ffmpeg("-itsoffset", "0.48", *SOURCE, "-f", "lavfi", "-i", "sine=d=2", "-c:v", "libx264", "-c:a", "aac", path)
        stamps, tick, _ = decode(path)
        # AAC's priming (1024 samples) is before the sound.
        assert float(stamps[0][0] * tick - first_sound(path)) == pytest.approx(0.48 + 1024 / 44100, abs=0.003)


@pytest.mark.parametrize("name", ["negative.mkv", "negative.mp4"])
def test_negative_timestamps_are_kept(make_clip: Make, tmp_path: Path, name: str) -> None:
    """Matroska blocks before their cluster; in mp4 the edit list takes care that shown time begins at 0."""
    path = make_clip(name, pts=range(-3, 12), options={"bf": "0"})
    with av.open(str(path)) as container:
        shown = sorted(packet.pts for packet in container.demux(video=0) if packet.size and not packet.is_discard)
    assert [pts for pts, _ in decode(path)[0]] == shown


@pytest.mark.parametrize(("name", "ticks"), [("long.mp4", 90000), ("long.mkv", 1000)])
def test_beyond_32_bits(make_clip: Make, name: str, ticks: int) -> None:
    """13.3 hours into a 90 kHz clock: 2**32 ticks are passed between the pictures."""
    far = (1 << 32) // 3600
    pts = [0, *range(far - 3, far + 7)]
    path = make_clip(name, pts=pts, time_base=Fraction(1, 25))
    stamps, tick, notices = decode(path)
    assert [pts * tick for pts, _ in stamps] == [Fraction(p, 25) for p in pts] and notices == ()
    if name.endswith("mp4"):
        assert stamps[-1][0] > 1 << 29


def test_a_transport_streams_clock_wraps(tmp_path: Path, ffmpeg: Judge) -> None:
    """33 bits at 90 kHz wrap after 26.5 hours: time goes on, for pictures and sound alike, also after a seek."""
    wrap = Fraction(1 << 33, 90000)
    path = tmp_path / "wrap.ts"
    sound = ("-f", "lavfi", "-i", "sine=d=2")
    offset = f"{float(wrap - 2):.3f}"  # the muxer begins 1.4 s later: it wraps after 0.6 s
    ffmpeg(*SOURCE, *sound, "-c:v", "libx264", "-g", "5", "-c:a", "mp2", "-output_ts_offset", offset, path)
    with path.open("rb") as file:
        assert file.read(188)[0] == 0x47
    stamps, tick, notices = decode(path)
    assert len(stamps) == 50 and notices == ()
    assert np.diff([pts for pts, _ in stamps]).tolist() == [3600] * 49
    assert float(stamps[0][0] * tick - first_sound(path)) == pytest.approx(0, abs=0.06)
    assert [pts for pts, _ in decode(path, start=1.2)[0]] == [pts for pts, _ in stamps[30:]]


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("libx264", "raw.h264"),
        ("libx265", "raw.hevc"),
        ("libsvtav1", "raw.obu"),
        ("libvpx-vp9", "raw.ivf"),
        ("mpeg2video", "raw.m2v"),
    ],
)
def test_raw_streams_run_at_the_rate_they_state(make_clip: Make, tmp_path: Path, ffmpeg: Judge, codec: str, name: str) -> None:
    options = {"libx265": {"x265-params": "log-level=error"}, "libsvtav1": {"preset": "12"}, "libvpx-vp9": {"cpu-used": "8"}}
    whole = make_clip("whole.mkv", codec=codec, frames=20, options=options.get(codec, {}))
    raw = tmp_path / name
    ffmpeg("-i", whole, "-c", "copy", raw)
    stamps, tick, notices = decode(raw)
    assert np.diff([float(pts * tick) for pts, _ in stamps]) == pytest.approx(1 / 25, abs=1e-6) and len(stamps) == 20
    assert any("no timestamp" in notice for notice in notices) == (codec in ("libx264", "libx265"))


def test_a_gif_keeps_its_delays(tmp_path: Path, ffmpeg: Judge) -> None:
    path = tmp_path / "clip.gif"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=32x32:r=10:d=1", "-vf", "select='not(eq(n,3))'", "-fps_mode", "vfr", path)
    stamps, tick, _ = decode(path)
    assert [round(pts * tick * 10) for pts, _ in stamps] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_tells_the_order_of_decoding_only(make_clip: Make, tmp_path: Path, ffmpeg: Judge, codec: str, b_frames: int) -> None:
    """The n-th picture shown is shown at the n-th moment, and the right one: each is held against the original."""
    whole, path = make_clip("whole.mkv", codec=codec, frames=20, options={"bf": str(b_frames)}), tmp_path / "clip.avi"
    ffmpeg("-i", whole, "-c", "copy", *(["-bsf:v", "h264_mp4toannexb"] if codec == "libx264" else []), "-r", "25", path)
    with VideoDecoder(whole) as original, VideoDecoder(path) as decoder:
        pairs = list(zip(original, decoder, strict=True))
    assert all(np.array_equal(a.data, b.data) for a, b in pairs)
    assert np.diff([frame.seconds for _, frame in pairs]) == pytest.approx(1 / 25, abs=1e-9)


# The rule, on slots -----------------------------------------------------------------------------------


@pytest.fixture
def stamped(make_clip: Make) -> Callable[..., tuple[list[int | None], list[str]]]:
    """stamped(*slots): the pts that the clock gives to (pts, duration) pairs, at 1000 ticks a second, and its notes."""
    media = probe(make_clip("any.mkv"))

    def run(*slots: tuple[int | None, int | None]) -> tuple[list[int | None], list[str]]:
        notes: list[str] = []
        clock = Clock(media, notes.append)
        return [slot.pts for slot in clock.stamped(Slot(None, pts, duration) for pts, duration in slots)], notes

    return run


def test_own_timestamps_pass_untouched(stamped: Callable[..., Any]) -> None:
    assert stamped((-80, 40), (0, 40), (17, None), (5_000_000_000, 40)) == ([-80, 0, 17, 5_000_000_000], [])


def test_without_a_timestamp_a_picture_follows_its_predecessor(stamped: Callable[..., Any]) -> None:
    stamps, notes = stamped((0, 40), (None, 20), (None, None), (None, 40), (200, 40))
    assert stamps == [0, 40, 60, 100, 200] and "no timestamp" in notes[0]


def test_pictures_before_the_first_timestamp_precede_it(stamped: Callable[..., Any]) -> None:
    """Not at 0: a recording that begins at 10 s has sound there, too."""
    assert stamped((None, 40), (None, 30), (10_000, 40))[0] == [9930, 9970, 10_000]


def test_a_timestamp_that_does_not_rise(stamped: Callable[..., Any]) -> None:
    stamps, notes = stamped((0, 40), (40, 40), (40, 40), (30, 40), (80, 40))
    assert stamps == [0, 40, 41, 42, 80] and len(set(notes)) == 1 and "do not rise" in notes[0]


def test_a_jump_back_is_refused(stamped: Callable[..., Any]) -> None:
    with pytest.raises(MediaError, match=r"jump back from 5\.000 s to 4\.000 s"):
        stamped((5000, 40), (4000, 40))


def test_an_impossible_timestamp_is_damage(stamped: Callable[..., Any]) -> None:
    with pytest.raises(DamagedVideoError, match="impossible timestamp"):
        stamped((0, 40), (1 << 62, 40))
