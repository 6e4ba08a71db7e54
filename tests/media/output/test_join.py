"""Muxed outputs made of segments: the same bits whoever encoded them, exact times, whole and clean for another FFmpeg."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest

from tests.media.output.segments import COMMENT, Work
from vidrestore.errors import (
    DamagedSegmentError,
    EmptyVideoError,
    MediaError,
    OutputExistsError,
    VerificationError,
)
from vidrestore.media.input.probe import probe
from vidrestore.media.output.mark import read_mark
from vidrestore.media.output.packet_file import PacketReader, Trailer
from vidrestore.media.output.segment_encoder import SegmentEncoder

Make = Callable[..., Path]
JUDGE = imageio_ffmpeg.get_ffmpeg_exe()

FILES = [
    ("a.mp4", "h264"),
    ("a.mp4", "hevc"),
    ("a.mp4", "av1"),
    ("a.mp4", "vp9"),
    ("a.mov", "h264"),
    ("a.mov", "hevc"),
    ("a.mov", "prores"),
    ("a.mkv", "h264"),
    ("a.mkv", "hevc"),
    ("a.mkv", "av1"),
    ("a.mkv", "vp9"),
    ("a.mkv", "prores"),
    ("a.mkv", "ffv1"),
    ("a.webm", "vp9"),
    ("a.webm", "av1"),
    ("a.ts", "h264"),
    ("a.ts", "hevc"),
    ("a.m2ts", "h264"),
    ("a.avi", "h264"),
    ("a.avi", "ffv1"),
    ("a.h264", "h264"),
    ("a.hevc", "hevc"),
    ("a.obu", "av1"),
    ("a.ivf", "av1"),
]
RAW = (".avi", ".h264", ".hevc", ".obu")


def work_of(source: Path, name: str, codec: str, **settings: Any) -> Work:
    encode = {"codec": codec, **settings.pop("encode", {})}
    return Work(str(source), str(source.with_name(name)), {"encode": encode, **settings}, settings.pop("comment", COMMENT))


def packets_of(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(container.streams.video[0]) if packet.size]


def pictures_of(path: Path) -> list[bytes]:
    """sha256 of every picture that a decoder shows."""
    with av.open(str(path)) as container:
        return [hashlib.sha256(frame.to_ndarray().tobytes()).digest() for frame in container.decode(video=0)]


def judged(path: Path) -> tuple[int, str]:
    """Pictures that another FFmpeg decodes, and everything that it warns of."""
    command = [JUDGE, "-v", "warning", "-err_detect", "+crccheck+bitstream+buffer+careful", "-i", str(path), "-map", "0:v:0"]
    done = subprocess.run(
        [*command, "-fps_mode", "passthrough", "-f", "framemd5", "-"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return sum(1 for line in done.stdout.splitlines() if not line.startswith("#")), done.stderr


@pytest.mark.parametrize(("name", "codec"), FILES)
def test_joined_files_are_whole_and_clean(make_clip: Make, name: str, codec: str) -> None:
    source = make_clip("in.mkv", size=(128, 96), frames=26)
    rate = {"frame_rate": "25", "cfr": True} if name.endswith(".obu") else {}
    work = work_of(source, name, codec, **rate)
    segments = work.encode_all([7, 8, 1, 4])
    report = work.join(segments)
    target = Path(work.target)
    assert report.frames == 26 and report.verdict != "differs"
    found, said = judged(target)
    assert (found, said) == (26, "")
    packets = packets_of(target)
    if not name.endswith(RAW):
        dts = [packet.dts for packet in packets if packet.dts is not None]
        assert all(earlier < later for earlier, later in pairwise(dts))
        assert all(packet.dts is None or packet.pts is None or packet.dts <= packet.pts for packet in packets)
        times = sorted(packet.pts * packet.time_base for packet in packets if packet.pts is not None)
        first = times[0]
        assert [time - first for time in times] == [Fraction(n, 25) for n in range(26)]
    assert [entry.name for entry in work.folder.iterdir() if entry not in segments] == []
    assert read_mark(probe(target)) == COMMENT


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", codec) for codec in ("h264", "hevc", "av1", "vp9", "prores", "ffv1")])
def test_each_segment_decodes_alone_and_the_joined_file_shows_the_same(make_clip: Make, name: str, codec: str) -> None:
    source = make_clip("in.mkv", size=(128, 96), frames=30)
    work = work_of(source, name, codec)
    segments = work.encode_all(10)
    work.join(segments)
    whole = pictures_of(Path(work.target))
    alone: list[bytes] = []
    for segment in segments:
        with PacketReader(segment) as reader:
            records = list(reader.records())
            assert records[0].key and records[0].picture == 0
            assert sorted(record.picture for record in records) == list(range(10))
        single = Path(work.target).with_name(f"{segment.stem}.mkv")
        Work(work.source, str(single), work.settings).join([segment])
        alone += pictures_of(single)
    assert whole == alone and len(whole) == 30


def test_reordered_pictures_at_every_join(make_clip: Make) -> None:
    source = make_clip("in.mkv", size=(128, 96), frames=40)
    work = work_of(source, "a.mp4", "h264", encode={"options": {"bf": "5", "x264-params": "b-adapt=0:b-pyramid=normal"}})
    segments = work.encode_all([9, 2, 13, 1, 15])
    with PacketReader(segments[2]) as reader:
        assert reader.trailer.depth >= 2
    with PacketReader(segments[3]) as reader:
        assert reader.trailer.depth == 0
    work.join(segments)
    packets = packets_of(Path(work.target))
    assert any(packet.pts != packet.dts for packet in packets)
    assert judged(Path(work.target)) == (40, "")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "prores"), ("a.mkv", "vp9"), ("a.mkv", "ffv1"), ("a.mkv", "hevc"), ("a.avi", "h264")]
)
def test_one_segment_is_the_single_pass(make_clip: Make, name: str, codec: str) -> None:
    source = make_clip("in.mp4", size=(128, 96), frames=20, audio=codec != "h264")
    work = work_of(source, name, codec)
    work.join(work.encode_all(100))
    other = Path(work.target).with_name("single" + name)
    work.single_pass(str(other))
    if codec == "hevc":  # but for the hint which pictures nobody refers to, which PyAV cannot set
        assert [bytes(p) for p in packets_of(other)] == [bytes(p) for p in packets_of(Path(work.target))]
    else:
        assert other.read_bytes() == Path(work.target).read_bytes()


_ELSEWHERE = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.media.output.segments import Work
work = Work(sys.argv[2], sys.argv[3], eval(sys.argv[4]))
for first in (20, 10, 0):
    work.encode(first, 10)
"""


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "h264"), ("a.mkv", "hevc"), ("a.webm", "vp9"), ("a.mp4", "av1"), ("a.mov", "prores")]
)
def test_the_same_bits_from_another_process_in_another_order(make_clip: Make, tmp_path: Path, name: str, codec: str) -> None:
    source = make_clip("in.mkv", size=(128, 96), frames=30)
    work = work_of(source, name, codec)
    segments = work.encode_all(10)
    work.join(segments)
    here, first = [segment.read_bytes() for segment in segments], Path(work.target).read_bytes()
    for segment in segments:
        segment.unlink()
    command = [sys.executable, "-c", _ELSEWHERE, str(Path(__file__).parents[3]), work.source, work.target, repr(work.settings)]
    root = str(Path(__file__).parents[3])
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "PYTHONPATH": root})
    assert [segment.read_bytes() for segment in segments] == here
    work.join(segments, overwrite=True)
    assert Path(work.target).read_bytes() == first


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "h264"), ("a.mp4", "hevc"), ("a.mov", "h264"), ("a.mkv", "h264"), ("a.ts", "h264"), ("a.webm", "vp9")],
)
def test_variable_rates_and_a_change_of_duration_at_the_join(make_clip: Make, name: str, codec: str) -> None:
    stamps = [7, 47, 77, 167, 168, 307, 487, 507, 784, 907, 2000, 2010, 2020, 2031, 2040, 5000]
    source = make_clip("in.mp4", pts=[90 * value for value in stamps], time_base=Fraction(1, 90000), size=(128, 96))
    work = work_of(source, name, codec)
    report = work.join(work.encode_all([5, 5, 1, 3]))
    target = Path(work.target)
    times = sorted(packet.pts * packet.time_base for packet in packets_of(target) if packet.pts is not None)
    moved = Fraction(report.shift).limit_denominator(90000)
    assert [time + moved for time in times] == [Fraction(value, 1000) for value in stamps]
    assert judged(target) == (16, "")
    assert report.pts_exact is not name.endswith(("mkv", "webm")) or moved.denominator == 1


@pytest.mark.parametrize("lengths", [4, 2, 1, [3, 1]])
def test_the_last_duration_is_kept(make_clip: Make, lengths: int | list[int]) -> None:
    source = make_clip("in.mkv", pts=[0, 40, 80, 120], time_base=Fraction(1, 1000), size=(128, 96))
    work = work_of(source, "a.mp4", "h264")
    last = work.frames[-1]
    work.frames[-1] = type(last)(last.data, last.index, last.pts, last.time_base, 500)
    work.join(work.encode_all(lengths))
    data = Path(work.target).read_bytes()
    at = data.index(b"elst") + 12  # the edit list; the media's own duration is counted in decoding times
    assert int.from_bytes(data[at : at + 4], "big") == 620  # in 1/1000 s


def test_sound_goes_along_over_all_joins(make_clip: Make) -> None:
    source = make_clip("in.mp4", frames=50, audio=True, size=(128, 96))
    work = work_of(source, "a.mp4", "h264")
    report = work.join(work.encode_all(12))
    single = Path(work.target).with_name("b.mp4")
    alike = work.single_pass(str(single))
    assert report.streams == alike.streams and report.streams[0].packets > 80
    with av.open(work.target) as one, av.open(str(single)) as other:
        sounds = [[(p.pts, bytes(p)) for p in file.demux(file.streams.audio[0]) if p.size] for file in (one, other)]
    assert sounds[0] == sounds[1]
    assert judged(Path(work.target)) == (50, "")


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.mkv", "a.avi"])
def test_a_part_of_the_source_begins_at_zero(make_clip: Make, name: str) -> None:
    source = make_clip("in.mp4", frames=50, audio=True, size=(128, 96))
    work = work_of(source, name, "h264", start=0.6)
    report = work.join(work.encode_all(12))
    single = work.single_pass(str(Path(work.target).with_name("b" + name)))
    assert (report.frames, report.shift, report.first_seconds) == (single.frames, single.shift, single.first_seconds)
    assert report.streams == single.streams


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.h264"])
@pytest.mark.parametrize("lengths", [[3, 1, 1, 4, 1, 1], [1] * 16, [20]])
def test_a_constant_rate_is_the_grid_of_the_single_pass(make_clip: Make, name: str, lengths: Sequence[int]) -> None:
    stamps = [3, 40, 70, 75, 78, 300, 480, 500, 777, 900, 903, 907, 910, 1200, 1201, 1500]
    audio = name.endswith(("mp4", "mkv", "ts"))
    source = make_clip("in.mp4", pts=[90 * v for v in stamps], time_base=Fraction(1, 90000), size=(128, 96), audio=audio)
    work = work_of(source, name, "h264", cfr=True, frame_rate="20")
    report = work.join(work.encode_all(lengths))
    single = Path(work.target).with_name("b" + name)
    alike = work.single_pass(str(single))
    assert report.constant_rate == 20 and report.frames == alike.frames
    assert (
        [note for note in report.notices if "20 frames a second" in note]
        == [note for note in alike.notices if "20 frames a second" in note]
        != []
    )
    here, there = packets_of(Path(work.target)), packets_of(single)
    assert sorted(p.pts or 0 for p in here) == sorted(p.pts or 0 for p in there)
    assert report.shift == alike.shift


def test_a_rate_that_varies_is_refused_where_there_are_no_times(make_clip: Make) -> None:
    source = make_clip("in.mkv", pts=[0, 40, 80, 120, 160, 200], time_base=Fraction(1, 1000), size=(128, 96))
    work = work_of(source, "a.avi", "h264")
    late = work.frames[4]
    work.frames[4] = type(late)(late.data, late.index, late.pts + 20, late.time_base, late.duration)
    segments = work.encode_all(2)
    with pytest.raises(MediaError, match="frame 4 comes at"):
        work.join(segments)
    assert not Path(work.target).exists() and {*work.folder.iterdir()} == {*segments}


def test_transparency_in_webm(make_clip: Make) -> None:
    source = make_clip("in.mkv", codec="ffv1", pixel_format="yuva420p", frames=12, size=(128, 96))
    work = Work(str(source), str(source.with_name("a.webm")), {})
    assert work.frames[0].alpha is not None
    for index, frame in enumerate(work.frames):
        frame.alpha[:] = 20 * index
    work.join(work.encode_all(5))
    other = source.with_name("b.webm")
    work.single_pass(str(other))
    sides = [[p.has_sidedata("matroska_block_additional") for p in packets_of(path)] for path in (Path(work.target), other)]
    assert sides == [[True] * 12] * 2
    codec = av.CodecContext.create("libvpx-vp9", "r")
    shown = [frame for packet in packets_of(Path(work.target)) for frame in codec.decode(packet)]  # type: ignore[attr-defined]
    assert [shown[n].format.name for n in (0, 11)] == ["yuva420p"] * 2
    opacity = [int(np.asarray(frame.planes[3])[0]) for frame in shown]
    assert opacity == pytest.approx([20 * n for n in range(12)], abs=3)


def test_captions_go_along(make_clip: Make) -> None:
    caption = bytes([0xFC, 0x94, 0x2C, 0xFD, 0x80, 0x80])
    source = make_clip("in.mkv", frames=8, size=(128, 96))
    for codec, kept in (("h264", True), ("vp9", False)):
        work = work_of(source, f"{codec}.mkv", codec)
        work.frames = [type(f)(f.data, f.index, f.pts, f.time_base, f.duration, None, caption) for f in work.frames]
        report = work.join(work.encode_all(3))
        with av.open(work.target) as file:
            found = [any(d.type.name == "A53_CC" for d in frame.side_data) for frame in file.decode(video=0)]
        assert all(found) is kept and sum("captions" in note for note in report.notices) == (not kept)


# -- what is refused ----------------------------------------------------------------------------------------------------


def test_segments_of_other_settings_are_refused(make_clip: Make) -> None:
    source = make_clip("in.mkv", frames=12, size=(128, 96))
    work, other = work_of(source, "a.mp4", "h264"), work_of(source, "a.mp4", "h264", encode={"crf": 30, "options": {"refs": "1"}})
    segments = [work.encode(0, 6).path, other.encode(6, 6).path]
    with pytest.raises(DamagedSegmentError, match="other settings"):
        work.join(segments)
    grid = work_of(source, "a.mp4", "h264", cfr=True)
    assert grid.origin == 0
    grid.origin = Fraction(1, 25)
    with pytest.raises(DamagedSegmentError, match="other settings"):
        grid.join(grid.encode_all(6))
    kept = Work(str(source), str(source.with_name("a.gif")), {})
    with pytest.raises(DamagedSegmentError, match="another kind"):
        kept.join(segments)


def test_gaps_are_refused(make_clip: Make) -> None:
    work = work_of(make_clip("in.mkv", frames=12, size=(128, 96)), "a.mp4", "h264")
    segments = [work.encode(0, 4).path, work.encode(4, 4).path, work.encode(8, 4).path]
    for wrong in (segments[::2], segments[::-1], [segments[0], *segments]):
        with pytest.raises(ValueError, match="begins with frame"):
            work.join(wrong)
    with pytest.raises(EmptyVideoError):
        work.join([])
    assert not Path(work.target).exists()
    with (
        pytest.raises(ValueError, match="follows"),
        SegmentEncoder(work.folder / "x", work.target, work.media, work.media.video, work.config) as encoder,
    ):
        encoder.write(work.frames[0])
        encoder.write(work.frames[2])
    assert not (work.folder / "x").exists()


def test_the_order_of_the_end(make_clip: Make) -> None:
    work = work_of(make_clip("in.mkv", frames=12, size=(128, 96)), "a.mp4", "h264")
    segments, told = work.encode_all(5), []
    (work.folder / "joined.part.mp4").write_bytes(b"left by a killed join")

    def before(path: Path, report: Any) -> None:
        assert path == work.folder / "joined.part.mp4" and not Path(work.target).exists() and report.frames == 12
        told.append(hashlib.sha256(path.read_bytes()).hexdigest())

    work.join(segments, before_naming=before)
    assert told == [hashlib.sha256(Path(work.target).read_bytes()).hexdigest()]
    with pytest.raises(OutputExistsError):
        work.join(segments)

    def refuse(path: Path, report: Any) -> None:
        raise VerificationError("No.")

    Path(work.target).unlink()
    with pytest.raises(VerificationError):
        work.join(segments, before_naming=refuse)
    assert not Path(work.target).exists() and sorted(work.folder.iterdir()) == sorted(segments)


@pytest.mark.parametrize("codec", ["hevc", "av1", "vp9"])
def test_segments_whose_pictures_are_all_left_out(make_clip: Make, codec: str) -> None:
    stamps = [0, 2, 4, 100, 101, 102, 200]
    source = make_clip("in.mkv", pts=stamps, time_base=Fraction(1, 1000), size=(128, 96))
    work = work_of(source, "a.mkv", codec, cfr=True, frame_rate="10")
    segments = work.encode_all(1)
    assert [len(trailer_of(segment).pts) for segment in segments] == [0, 0, 1, 0, 0, 1, 1]
    assert work.join(segments).frames == 3
    assert judged(Path(work.target)) == (3, "")


def trailer_of(segment: Path) -> Trailer:
    with PacketReader(segment) as reader:
        return reader.trailer


def test_all_that_a_single_pass_copies_is_copied(make_clip: Make) -> None:
    source = make_clip(
        "in.mkv",
        frames=50,
        size=(128, 96),
        audio=True,
        rotation=90,
        subtitles=[(200, 700, "Hello"), (900, 1500, "World")],
        chapters=[(0, 1000, "One"), (1000, 2000, "Two")],
        metadata={"title": "A drive", "comment": "old words"},
    )
    for name in ("a.mkv", "a.mp4"):
        work = work_of(source, name, "h264")
        report = work.join(work.encode_all(12))
        single = Path(work.target).with_name("b" + name)
        alike = work.single_pass(str(single))
        here, there = probe(Path(work.target)), probe(single)
        assert (here.metadata, here.chapters, here.display_matrix) == (there.metadata, there.chapters, there.display_matrix)
        assert [(s.codec, s.language, s.disposition) for s in here.streams] == [
            (s.codec, s.language, s.disposition) for s in there.streams
        ]
        assert (report.streams, report.chapters, report.notices) == (alike.streams, alike.chapters, alike.notices)
        assert report.chapters == 2 and len(report.streams) == 2


def test_segments_of_several_jobs_in_threads_at_once(make_clip: Make) -> None:
    source = make_clip("in.mkv", frames=24, size=(128, 96))
    works = [work_of(source, f"{codec}.mkv", codec) for codec in ("h264", "hevc", "av1", "vp9", "ffv1", "prores")]
    alone = [segment.read_bytes() for work in works for segment in work.encode_all(6)]
    with ThreadPoolExecutor(6) as pool:
        parts = list(pool.map(lambda work: work.encode_all(6), works))
        assert [segment.read_bytes() for segments in parts for segment in segments] == alone
        reports = list(pool.map(lambda pair: pair[0].join(pair[1]), zip(works, parts, strict=True)))
    assert [report.frames for report in reports] == [24] * 6
