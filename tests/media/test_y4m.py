"""y4m, in files and in shell pipes: judged by another FFmpeg, cut, spoiled, and left unread."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidrestore.config import LimitsConfig, RunConfig
from vidrestore.errors import (
    DamagedVideoError,
    EmptyVideoError,
    LimitExceededError,
    MediaError,
    NotAVideoError,
    StorageError,
    UnsupportedStreamError,
    UsageError,
)
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.media.input.probe import probe
from vidrestore.media.input.source import open_source
from vidrestore.media.output.sink import check_sink, open_sink
from vidrestore.media.y4m import CutShort, Header, Interrupted, OutOfStep, PipeReader, Tagger, pack, read_frame
from vidrestore.types import Frame

CLI = [sys.executable, "-c", "from vidrestore.cli import main; main()"]
SAMPLINGS = ["420jpeg", "420mpeg2", "420paldv", "411", "422", "444", "mono", "420p10", "422p12", "444p16", "mono10"]


def stream(*frames: bytes, line: str = "YUV4MPEG2 W4 H2 F25:1 Ip A1:1 C420jpeg") -> bytes:
    return line.encode() + b"\n" + b"".join(b"FRAME\n" + samples for samples in frames)


def gray_ramp(tmp_path: Path, frames: int = 4, tail: bytes = b"") -> Path:
    path = tmp_path / "in.y4m"
    path.write_bytes(stream(*(bytes([40 + n % 100] * 8 + [128] * 4) for n in range(frames))) + tail)
    return path


# The format ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_sampling_is_read_and_written_alike(sampling: str) -> None:
    line = f"YUV4MPEG2 W5 H3 F30000:1001 Ip A4:3 C{sampling} XCOLORRANGE=FULL\n".encode()
    header = Header.read(io.BytesIO(line))
    assert header.line() == line
    samples = np.random.default_rng(0).integers(0, 4, header.picture_bytes, dtype=np.uint8).tobytes()
    assert b"".join(pack(Tagger(header)(samples))) == samples


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p12le", "gray", "yuv411p"])
def test_the_judges_stream_is_read_as_the_judge_means_it(pixel_format: str, tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    path, raw = tmp_path / "in.y4m", tmp_path / "in.raw"
    picture = ["-f", "lavfi", "-i", "testsrc=s=50x38:r=24000/1001:d=0.2", "-pix_fmt", pixel_format, "-strict", "-1"]
    ffmpeg(*picture, path)
    ffmpeg(*picture, "-f", "rawvideo", raw)
    with path.open("rb") as file:
        header, samples = Header.read(file), b""
        while (one := read_frame(file, header)) is not None:
            samples += one
    assert (header.pixel_format, header.rate) == (pixel_format, Fraction(24000, 1001))
    assert samples == raw.read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"YUV4MPEG2",
        b"YUV4MPEG3 W4 H2\n",
        b"YUV4MPEG2 H2\n",
        b"YUV4MPEG2 W0 H2\n",
        b"YUV4MPEG2 W-4 H2\n",
        b"YUV4MPEG2 Wx H2\n",
        b"YUV4MPEG2 W4 H2 C9000\n",
        b"YUV4MPEG2 W4 H2 Fx\n",
        b"YUV4MPEG2 W" + b"1" * 9000,
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_no_y4m_is_refused_in_one_sentence(line: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotAVideoError) as refusal:
        Header.read(io.BytesIO(line))
    assert refusal.value.message.count("\n") == 0


def test_where_a_stream_breaks_is_told_apart() -> None:
    header = Header(4, 2, Fraction(25))
    whole = b"FRAME\n" + bytes(12)
    assert read_frame(io.BytesIO(b""), header) is None
    assert read_frame(io.BytesIO(b"FRAME Ip Xhello\n" + bytes(12)), header) == bytes(12)
    for cut in range(1, len(whole)):
        with pytest.raises(CutShort):
            read_frame(io.BytesIO(whole[:cut]), header)
    for wrong in (b"frame\n" + bytes(12), bytes(20), b"FRAME" + b" " * 5000):
        with pytest.raises(OutOfStep):
            read_frame(io.BytesIO(wrong), header)


# Sources ------------------------------------------------------------------------------------------------------------


def test_a_file_is_described_and_decoded(tmp_path: Path) -> None:
    source = open_source(gray_ramp(tmp_path))
    video = source.media.video
    assert (video.frames, video.frame_rate, video.time_base, video.color.full_range) == (4, 25, Fraction(1, 25), False)
    assert not source.live and source.media.streams[0].type == "video"
    with source.decoder() as decoder:
        frames = list(decoder)
    assert [(frame.index, frame.pts, frame.duration) for frame in frames] == [(n, n, 1) for n in range(4)]
    assert [int(frame.data[0, 0, 0]) for frame in frames] == [round((24 + n) * 255 / 219) for n in range(4)]
    with source.decoder(DecodeOptions(start=0.04, duration=0.08)) as decoder:
        assert [(frame.index, frame.pts) for frame in decoder] == [(0, 1), (1, 2)]
    with pytest.raises(EmptyVideoError), source.decoder(DecodeOptions(start=5)) as decoder:
        list(decoder)


def test_the_content_decides_what_a_file_is(tmp_path: Path) -> None:
    other = gray_ramp(tmp_path).rename(tmp_path / "in.dat")
    assert open_source(other).media.container == "yuv4mpegpipe"


def test_a_cut_file_is_refused_before_work_or_concealed(tmp_path: Path) -> None:
    path = gray_ramp(tmp_path, tail=b"FRAME\n12345")
    source = open_source(path)
    assert source.media.damaged_from == (4, 0.16)
    with pytest.raises(DamagedVideoError, match=r"Frame 4 of .*in\.y4m \(0\.160 s\) is damaged") as refusal:
        source.decoder()
    assert (refusal.value.index, refusal.value.seconds) == (4, 0.16)
    with source.decoder(DecodeOptions(duration=0.16)) as decoder:
        assert len(list(decoder)) == 4
    with source.decoder(DecodeOptions(on_damage="conceal")) as decoder:
        assert len(list(decoder)) == 4
        assert [(entry.index, entry.kind) for entry in decoder.damage] == [(4, "missing")]


def test_a_stream_out_of_step_stops_even_when_concealing(tmp_path: Path) -> None:
    path = gray_ramp(tmp_path, frames=2, tail=bytes(18) + b"FRAME\n" + bytes(12))
    with (
        open_source(path).decoder(DecodeOptions(on_damage="conceal")) as decoder,
        pytest.raises(DamagedVideoError, match="Frame 2"),
    ):
        list(decoder)


def test_limits_hold(tmp_path: Path) -> None:
    path = tmp_path / "in.y4m"
    path.write_bytes(b"YUV4MPEG2 W99999 H99999 F25:1\n")
    with pytest.raises(LimitExceededError):
        open_source(path)
    path.write_bytes(b"YUV4MPEG2 W4 H2 F5000:1\n")
    with pytest.raises(LimitExceededError):
        open_source(path, limits=LimitsConfig(frame_rate=1000))


def test_a_stream_without_a_rate_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "in.y4m"
    path.write_bytes(stream(bytes(12), line="YUV4MPEG2 W4 H2 F0:0"))
    media = open_source(path).media
    assert media.video.frame_rate == 25 and "25 frames a second are assumed" in media.notices[0]
    assert open_source(path, frame_rate="50").media.video.frame_rate == 50


def test_fields_are_refused_or_made_whole(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    path = tmp_path / "in.y4m"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=50:d=0.2", "-vf", "interlace,setfield=tff", "-pix_fmt", "yuv420p", path)
    assert b" It " in path.read_bytes()[:80]
    source = open_source(path)
    with pytest.raises(MediaError, match="interlaced"):
        source.decoder()
    with source.decoder(DecodeOptions(deinterlace=True)) as decoder:
        assert [frame.pts for frame in decoder] == list(range(5))
    path.write_bytes(path.read_bytes().replace(b" It ", b" Im ", 1))
    with pytest.raises(MediaError, match="mixes whole pictures and fields"):
        open_source(path).decoder(DecodeOptions(deinterlace=True))


def test_a_waiting_reader_can_be_woken() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file, os.fdopen(writing, "wb"):
        reader = PipeReader(file)
        threading.Timer(0.05, reader.cancel).start()
        with pytest.raises(Interrupted):
            reader.read(10)


# Sinks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pixel_format", "tags"), [("yuv420p", "C420mpeg2"), ("yuv422p10le", "C422p10"), ("yuvj444p", "C444")])
def test_a_file_written_here_is_what_the_judge_reads(
    pixel_format: str,
    tags: str,
    make_clip: Callable[..., Path],
    tmp_path: Path,
    through: Callable[..., Any],
    ffmpeg: Callable[..., None],
) -> None:
    clip = make_clip("clip.mkv", codec="ffv1", pixel_format="yuv444p" if "j" in pixel_format else pixel_format, size=(50, 38))
    if "420" in pixel_format:
        clip = make_clip("clip.mp4", codec="libx264", pixel_format=pixel_format, size=(50, 38), options={"crf": "1"})
    report = through(clip, tmp_path / "out.y4m")
    assert (report.frames, report.pts_exact, report.verdict) == (12, True, "ok")
    line = (tmp_path / "out.y4m").read_bytes().split(b"\n")[0].decode()
    assert tags in line.split() and "XCOLORRANGE=LIMITED" in line and "F25:1" in line
    raws = []
    for path in (clip, tmp_path / "out.y4m"):
        ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", pixel_format.replace("j", ""), tmp_path / "raw")
        raws.append(np.fromfile(tmp_path / "raw", np.uint16 if "10" in pixel_format else np.uint8).astype(int))
    assert raws[0].shape == raws[1].shape
    assert abs(raws[0] - raws[1]).max() <= (2 if "10" in pixel_format else 1)


def test_what_y4m_cannot_say_is_refused_or_told(
    make_clip: Callable[..., Path], tmp_path: Path, rich: Callable[[str], Path]
) -> None:
    def check(clip: Path, **settings: Any) -> Any:
        media = probe(clip)
        return check_sink(tmp_path / "out.y4m", media, media.video, RunConfig.model_validate(settings))

    full = rich("rich.mp4")
    with pytest.raises(
        UnsupportedStreamError,
        match=r"cannot hold stream 1 subtitle mov_text \(nor 2 more\).*--drop-streams audio,cover,subtitle",
    ):
        check(full)
    told = check(full, drop_streams=("audio", "cover", "subtitle")).notices
    assert any("no chapters" in notice for notice in told)
    with pytest.raises(UnsupportedStreamError, match="HDR"):
        check(make_clip("hdr.mp4", codec="libx265", tags={"color_trc": 16, "color_primaries": 9, "colorspace": 9}))
    with pytest.raises(UnsupportedStreamError, match=r"transparency.*--drop-streams alpha"):
        check(make_clip("alpha.mkv", codec="ffv1", pixel_format="yuva420p"))
    assert check(make_clip("alpha.mkv", codec="ffv1", pixel_format="yuva420p"), drop_streams=("alpha",)).pixel_format == "yuv420p"
    with pytest.raises(UsageError, match="--codec h264 and --crf 20 cannot apply"):
        check(make_clip("clip.mp4"), encode={"codec": "h264", "crf": 20})
    wide = check(make_clip("wide.mp4", tags={"colorspace": 9, "color_primaries": 9}))
    assert any("matrix bt2020 and the primaries bt2020" in notice for notice in wide.notices)
    assert check(make_clip("deep.mkv", codec="ffv1", pixel_format="gray10le")).pixel_format == "yuv420p10le"


def test_a_turned_picture_is_written_upright(make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]) -> None:
    clip = make_clip("turned.mp4", rotation=90, frames=3)
    report = through(clip, tmp_path / "out.y4m")
    assert any("turned upright" in notice for notice in report.notices)
    with open_source(clip).decoder() as decoder:
        stored = next(iter(decoder)).data
    with open_source(tmp_path / "out.y4m").decoder() as decoder:
        shown = next(iter(decoder)).data
    assert shown.shape == (3, 64, 48)
    # 90 degrees counter-clockwise, as FFmpeg reports it: the stored right edge is shown at the top.
    assert np.abs(shown.astype(int) - np.rot90(stored, 1, axes=(1, 2)).astype(int)).mean() < 2


def test_an_unfinished_file_leaves_nothing(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    media = probe(make_clip("clip.mp4", frames=2))
    with open_sink(tmp_path / "out.y4m", media, media.video, RunConfig()) as sink:
        sink.write(Frame(np.zeros((3, 48, 64), np.uint8), 0, 0, Fraction(1, 25)))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_full_disk_is_told(make_clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media = probe(make_clip("clip.mp4", frames=2))
    with open_sink(tmp_path / "out.y4m", media, media.video, RunConfig()) as sink:
        monkeypatch.setattr(sink._outlet, "_file", open("/dev/full", "wb", buffering=0))  # noqa: PTH123, SIM115
        with pytest.raises(StorageError, match="no space"):
            sink.write(Frame(np.zeros((3, 48, 64), np.uint8), 0, 0, Fraction(1, 25)))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


# Real pipes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def judge() -> str:
    return str(pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe())


def run_pipe(source: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*CLI, "run", "-", *arguments, "--engine", "identity"], input=source, capture_output=True, timeout=120)


def test_in_a_shell_pipe_between_two_judges(tmp_path: Path, judge: str) -> None:
    picture = "gradients=s=64x48:r=30000/1001:d=1:c0=0x804020:c1=0x406080:speed=0.1:seed=1"
    subprocess.run([judge, "-v", "error", "-f", "lavfi", "-i", picture, "-pix_fmt", "yuv420p", tmp_path / "in.y4m"], check=True)
    vidrestore = f"'{sys.executable}' -c 'from vidrestore.cli import main; main()'"
    command = (
        f"set -o pipefail; '{judge}' -v error -i in.y4m -f yuv4mpegpipe - | {vidrestore} run - -o - --engine identity "
        f"| '{judge}' -v error -i - -f rawvideo out.yuv"
    )
    place = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=place, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert b"Verified: 30 frames" in done.stderr
    subprocess.run([judge, "-v", "error", "-i", "in.y4m", "-f", "rawvideo", "in.yuv"], cwd=tmp_path, check=True)
    there, back = (np.fromfile(tmp_path / name, np.uint8).astype(int) for name in ("in.yuv", "out.yuv"))
    assert there.shape == back.shape == (30 * 64 * 48 * 3 // 2,)
    assert abs(there - back).max() <= 1


def test_the_first_picture_comes_out_before_the_last_goes_in() -> None:
    picture = b"FRAME\n" + bytes([90] * (64 * 48) + [128] * (64 * 48 // 2))
    process = subprocess.Popen(
        [*CLI, "run", "-", "-o", "-", "--engine", "identity", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        # So few that they fit into the pipe and the buffers while nobody reads.
        process.stdin.write(b"YUV4MPEG2 W64 H48 F25:1 Ip C420jpeg\n" + picture * 20)
        process.stdin.flush()
        line = process.stdout.readline()
        assert line.startswith(b"YUV4MPEG2 W64 H48 F25:1") and process.stdout.read(6) == b"FRAME\n"
        rest, _ = process.communicate(picture * 30, timeout=60)
        assert process.returncode == 0 and len(rest) == 50 * len(picture) - 6
    finally:
        process.kill()


def test_a_producer_that_dies_and_one_that_sends_something_else(tmp_path: Path) -> None:
    cut = run_pipe(gray_ramp(tmp_path, frames=40).read_bytes()[:-5], "-o", "-")
    assert (
        cut.returncode == 3
        and b"Frame 39 of Standard input (1.560 s) is damaged" in cut.stderr
        and b"Traceback" not in cut.stderr
    )
    # What came before was sent on, and does not look whole.
    received = io.BytesIO(cut.stdout)
    if cut.stdout:
        header = Header.read(received)
        with pytest.raises(CutShort):
            while read_frame(received, header) is not None:
                pass
    other = run_pipe(b"\x89PNG\r\n\x1a\n" + bytes(100), "-o", str(tmp_path / "out.mkv"))
    assert other.returncode == 3 and b"Standard input does not begin like a y4m stream" in other.stderr
    assert not (tmp_path / "out.mkv").exists()


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    source = gray_ramp(tmp_path, frames=8000)
    assert source.stat().st_size > 2 * 65536  # more than a pipe holds: the writer is still at it, however late the reader goes
    command = [*CLI, "run", str(source), "-o", "-", "--engine", "identity"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(timeout=60) == 6 and b"The program that reads the pipe ended after" in said
    assert b"Traceback" not in said and b"BrokenPipe" not in said


def test_a_terminal_is_no_pipe(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    try:
        reads = subprocess.run(
            [*CLI, "run", "-", "-o", "x.mkv", "--engine", "identity"], stdin=follower, capture_output=True, timeout=60
        )
        assert reads.returncode == 2 and b"Standard input is the terminal" in reads.stderr
        command = [*CLI, "run", str(gray_ramp(tmp_path)), "-o", "-", "--engine", "identity"]
        writes = subprocess.run(command, stdout=follower, stderr=subprocess.PIPE, timeout=60)
        assert writes.returncode == 2 and b"Standard output is the terminal" in writes.stderr
    finally:
        os.close(leader)
        os.close(follower)


def test_a_pipe_can_be_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(stream(bytes(12), bytes(12)))
    with os.fdopen(reading, "rb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
        source = open_source("-")
        assert source.live and source.media.live and source.media.video.frames is None
        with source.decoder() as decoder:
            assert len(list(decoder)) == 2
        with pytest.raises(ValueError, match="once"):
            source.decoder()


@pytest.mark.parametrize("waits_for", ["writer", "reader"])
def test_ctrl_c_ends_a_job_whose_pipe_stands_still(waits_for: str, tmp_path: Path) -> None:
    picture = b"FRAME\n" + bytes(160 * 120 * 3 // 2)
    target = "-" if waits_for == "reader" else str(tmp_path / "out.mkv")
    process = subprocess.Popen(
        [*CLI, "run", "-", "-o", target, "--engine", "identity"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    try:
        process.stdin.write(b"YUV4MPEG2 W160 H120 F25:1 C420jpeg\n" + picture * (6 if waits_for == "writer" else 8))
        process.stdin.flush()
        plan = process.stderr if waits_for == "reader" else process.stdout
        assert b"identity" in plan.readline()  # what is said before work begins
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(timeout=30) == 130 and b"Stopped after" in said and b"Traceback" not in said
    finally:
        process.kill()
    assert not list(tmp_path.iterdir())
