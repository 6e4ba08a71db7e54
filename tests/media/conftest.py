"""Small clips made on the spot, and the real ones where the data folder stands beside the checkout."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vidrestore.config import EncodeConfig, RunConfig
from vidrestore.media import MediaInfo, VerifyReport, VideoDecoder, VideoWriter
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.media.input.probe import probe
from vidrestore.media.input.source import open_source
from vidrestore.media.output.sink import check_sink, open_sink

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def picture(index: int, width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, 3): a gradient that moves, in colours well inside the gamut."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin((x + 3 * index) / 9.0), np.cos((y + 2 * index) / 7.0), np.sin((x + y - index) / 11.0)]
    return np.stack([128 + 60 * wave for wave in waves], axis=-1).astype(np.uint8)


def _write_picture(container: Any, stream: Any, index: int, pts: int, time_base: Fraction) -> None:
    frame = av.VideoFrame.from_ndarray(picture(index, stream.width, stream.height), format="rgb24")
    frame = frame.reformat(format=stream.pix_fmt, dst_colorspace="itu709", dst_color_range=2 if stream.color_range == 2 else 1)
    frame.pts, frame.time_base = pts, time_base
    container.mux(stream.encode(frame))


def _safe(codec: str, options: dict[str, str], width: int) -> dict[str, str]:
    """x265 without its block tree, which writes past its memory where pictures are small."""
    if codec != "libx265" or width > 48:
        return options
    return {**options, "x265-params": f"{options.get('x265-params', 'log-level=error')}:cutree=0"}


def _write_tone(container: Any, stream: Any, seconds: float) -> None:
    for number in range(int(seconds * 48000 / 1024)):
        t = (np.arange(1024) + number * 1024) / 48000
        wave = (0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * 1024, Fraction(1, 48000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """make_clip(name, **settings) -> path of a small clip; `pts` in ticks of `time_base`."""

    def make(
        name: str = "clip.mp4",
        *,
        size: tuple[int, int] = (64, 48),
        frames: int = 12,
        pts: Sequence[int] | None = None,
        time_base: Fraction = Fraction(1, 25),
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        options: dict[str, str] | None = None,
        tags: dict[str, int] | None = None,
        audio: bool = False,
        rotation: int | None = None,
        metadata: dict[str, str] | None = None,
        chapters: Sequence[tuple[int, int, str]] = (),
        subtitles: Sequence[tuple[int, int, str]] = (),
    ) -> Path:
        path = tmp_path / name
        free = {"movflags": "use_metadata_tags"} if path.suffix in (".mp4", ".mov") and metadata else {}
        with av.open(str(path), "w", container_options=free) as container:
            video: Any = container.add_stream(codec, rate=25, options=_safe(codec, options or {}, size[0]), time_base=time_base)
            video.width, video.height, video.pix_fmt = *size, pixel_format
            for tag, value in (tags or {}).items():
                setattr(video.codec_context, tag, value)
            if rotation is not None:
                video.set_display_rotation(rotation)
            sound = container.add_stream("aac", rate=48000) if audio else None
            text: Any = container.add_mux_stream("subrip") if subtitles else None
            if text is not None:
                text.time_base = Fraction(1, 1000)
            container.metadata.update(metadata or {})
            container.set_chapters(
                [
                    {"id": n, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                    for n, (a, b, title) in enumerate(chapters)
                ]
            )
            stamps = list(pts) if pts is not None else list(range(frames))
            for index, stamp in enumerate(stamps):
                _write_picture(container, video, index, stamp, time_base)
            last = video.encode(None)
            for packet in last if codec == "libx265" and len(stamps) < 3 else ():
                packet.dts = packet.pts  # x265 takes them from memory that it never wrote
            container.mux(last)
            if sound is not None:
                _write_tone(container, sound, float((stamps[-1] - stamps[0] + 1) * time_base))
            for begin, end, words in subtitles:
                packet = av.Packet(words.encode())
                packet.pts = packet.dts = begin
                packet.duration, packet.time_base, packet.stream = end - begin, Fraction(1, 1000), text
                container.mux(packet)
        return path

    return make


@pytest.fixture
def restore(tmp_path: Path) -> Callable[..., tuple[MediaInfo, Path, VerifyReport]]:
    """restore(source, name, codec=..., **settings): the whole way with an engine that changes nothing."""

    def run(source: Path, name: str = "out.mp4", codec: str = "h264", **settings: Any) -> tuple[MediaInfo, Path, VerifyReport]:
        info, target = probe(source), tmp_path / name
        span = {key: settings[key] for key in ("start", "duration") if key in settings}
        encode = EncodeConfig.model_validate({"codec": codec})
        with (
            VideoDecoder(info, DecodeOptions(**span)) as decoder,
            VideoWriter(target, info, info.video, encode, **settings) as writer,
        ):
            for frame in decoder:
                writer.write(frame)
            report = writer.finish()
        return info, target, report

    return run


@pytest.fixture
def through() -> Callable[..., VerifyReport]:
    """through(source, target, overwrite=False, **settings): open_source to open_sink with an engine that changes nothing."""

    def run(source: str | Path, target: str | Path, overwrite: bool = False, **settings: Any) -> VerifyReport:
        config = RunConfig.model_validate(settings)
        opened = open_source(source, limits=config.limits, protocols=config.protocols, frame_rate=config.frame_rate)
        media = opened.media
        check_sink(target, media, media.video, config, overwrite)
        span = {"start": config.start, "duration": config.duration, "on_damage": config.on_damage}
        with (
            opened.decoder(DecodeOptions(**span, deinterlace=config.deinterlace)) as decoder,
            open_sink(target, media, media.video, config, overwrite=overwrite, comment="Restored by vidrestore") as sink,
        ):
            for frame in decoder:
                sink.write(frame)
            return sink.finish()

    return run


@pytest.fixture
def ffmpeg() -> Callable[..., None]:
    """ffmpeg(*arguments): the independent FFmpeg of the imageio-ffmpeg wheel; skips where it is missing."""
    binary = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()

    def run(*arguments: str | Path) -> None:
        subprocess.run([binary, "-v", "error", "-y", *map(str, arguments)], check=True, capture_output=True)

    return run


@pytest.fixture
def rich(tmp_path: Path, make_clip: Callable[..., Path], ffmpeg: Callable[..., None]) -> Callable[[str], Path]:
    """A file with sound in German, subtitles, chapters, cover art; timecode (mp4) or a font (mkv)."""

    def make(name: str) -> Path:
        base = make_clip("base.mkv", frames=25, subtitles=[(200, 700, "Hello")], chapters=[(0, 500, "One"), (500, 1000, "Two")])
        cover, font, path = tmp_path / "cover.jpg", tmp_path / "font.ttf", tmp_path / name
        ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32:d=0.04", "-frames:v", "1", cover)
        font.write_bytes(b"not a font, but bytes")
        inputs = ["-i", base, "-f", "lavfi", "-i", "sine=d=1"]
        words = ["-c", "copy", "-c:a", "aac", "-metadata:s:a:0", "language=deu"]
        if name.endswith("mkv"):
            attached = ["-attach", cover, "-metadata:s:t:0", "mimetype=image/jpeg"]
            attached += ["-attach", font, "-metadata:s:t:1", "mimetype=font/ttf"]
            ffmpeg(*inputs, "-map", "0", "-map", "1", *words, "-disposition:s:0", "forced", *attached, path)
        else:
            maps = ["-i", cover, "-map", "0", "-map", "1", "-map", "2"]
            ffmpeg(
                *inputs, *maps, *words, "-c:s", "mov_text", "-disposition:v:1", "attached_pic", "-timecode", "01:00:00:00", path
            )
        return path

    return make


@pytest.fixture
def real() -> Iterator[Callable[[str], Path]]:
    """real(name): a file of the data folder, or a skip that says why."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.is_file():
            pytest.skip(f"needs the data folder: {path} is absent")
        return path

    yield find


def stamps_of(path: Path) -> list[Fraction]:
    """Presentation times of the picture, in seconds, by demuxing."""
    info = probe(path)
    with av.open(str(path)) as container:
        packets = container.demux(container.streams[info.video_index])
        return sorted(p.pts * info.video.time_base for p in packets if p.pts is not None and not p.is_discard)


@pytest.fixture
def seconds_of() -> Callable[[Path], list[Fraction]]:
    """seconds_of(path): presentation times of the picture, sorted."""
    return stamps_of
