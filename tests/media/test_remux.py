"""What goes along: every container against every kind of stream, judged by an FFmpeg that is not ours."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from vidrestore.config import EncodeConfig
from vidrestore.errors import DamagedVideoError, MediaError, UnsupportedStreamError, UsageError
from vidrestore.media import MediaInfo, VerifyReport, VideoDecoder, VideoWriter
from vidrestore.media.containers import CONTAINERS, FORMATS
from vidrestore.media.digest import PacketDigest
from vidrestore.media.probe import probe
from vidrestore.media.remux import check_streams, kept_streams
from vidrestore.media.timecode import moved_timecode

ffmpeg = pytest.importorskip("ffmpeg")
BINARY = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()

Make = Callable[..., Path]
Restore = Callable[..., tuple[MediaInfo, Path, VerifyReport]]

MUXED = ("mp4", "mov", "mkv", "webm", "ts", "m2ts", "avi")
CODEC = {"webm": "av1", "avi": "ffv1"}
# Judge's encoder and a container of its own that every codec survives in.
SOUND = {
    "aac": ("aac", "mkv"),
    "mp3": ("libmp3lame", "mkv"),
    "mp2": ("mp2", "mkv"),
    "ac3": ("ac3", "mkv"),
    "eac3": ("eac3", "mkv"),
    "dts": ("dca", "mkv"),
    "opus": ("libopus", "mkv"),
    "vorbis": ("libvorbis", "mkv"),
    "flac": ("flac", "mkv"),
    "alac": ("alac", "mkv"),
    "truehd": ("truehd", "mkv"),
    "wavpack": ("wavpack", "mkv"),
    "pcm_s16le": ("pcm_s16le", "mkv"),
    "pcm_s24le": ("pcm_s24le", "mkv"),
    "pcm_s16be": ("pcm_s16be", "mkv"),
    "pcm_f32le": ("pcm_f32le", "mkv"),
    "pcm_u8": ("pcm_u8", "mkv"),
    "pcm_mulaw": ("pcm_mulaw", "mov"),
    "adpcm_ms": ("adpcm_ms", "avi"),
}
HELD = {
    "mp4": {"aac", "mp3", "mp2", "ac3", "eac3", "dts", "opus", "vorbis", "flac", "alac"}
    | {"pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_f32le"},
    "mov": {"aac", "mp3", "mp2", "ac3", "eac3", "dts", "alac", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_f32le", "pcm_u8"}
    | {"pcm_mulaw"},
    "mkv": set(SOUND) - {"pcm_mulaw", "adpcm_ms"},
    "webm": {"opus", "vorbis"},
    "ts": {"aac", "mp3", "mp2", "ac3", "eac3", "dts", "opus"},
    "m2ts": {"aac", "mp3", "mp2", "ac3", "eac3", "dts"},
    "avi": {"aac", "mp3", "mp2", "ac3", "flac", "pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_u8", "pcm_mulaw"},
}


def judge(*streams: Any, path: Path, **settings: Any) -> Path:
    """Write a file with the outside FFmpeg."""
    ffmpeg.run(ffmpeg.output(*streams, str(path), strict=-2, **settings), cmd=BINARY, overwrite_output=True, quiet=True)
    return path


def picture(seconds: float = 0.6, rate: str = "25") -> Any:
    return ffmpeg.input(f"testsrc=s=64x48:d={seconds}:r={rate}", f="lavfi").video


def tone(seconds: float = 0.6, hertz: int = 440) -> Any:
    return ffmpeg.input(f"sine=f={hertz}:d={seconds}:r=48000", f="lavfi").audio


@pytest.fixture(scope="module")
def sounding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """sounding(codec) -> a short clip with sound in it, made once; lead=False: without the packet that starts a decoder."""
    folder = tmp_path_factory.mktemp("sound")
    made: dict[tuple[str, bool], Path] = {}

    def make(codec: str, lead: bool = True) -> Path:
        if (codec, lead) not in made:
            encoder, extension = SOUND[codec]
            sound = tone()
            words = {"c:v": "libx264", "bf": 2, "pix_fmt": "yuv420p", "c:a": encoder, "metadata:s:a:0": "language=deu"}
            if not lead:
                plain = {"write_xing": 0} if codec == "mp3" else {}
                raw = judge(sound, path=folder / f"raw.{codec}", **{"c:a": encoder}, **plain)  # has no clock: begins at 0
                sound, words["c:a"] = ffmpeg.input(str(raw)).audio, "copy"
            path = folder / f"{codec}{'' if lead else '_plain'}.{extension}"
            made[codec, lead] = judge(picture(), sound, path=path, **words)
        return made[codec, lead]

    yield make


def packets_of(path: Path, kind: str, number: int = 0) -> list[tuple[Fraction | None, bytes]]:
    with av.open(str(path)) as container:
        stream = [stream for stream in container.streams if stream.type == kind][number]
        return [
            (None if packet.pts is None else packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(stream)
            if packet.size
        ]


def digest_of(codec: str, packets: list[tuple[Fraction | None, bytes]]) -> tuple[int, str]:
    digest = PacketDigest(codec)
    for _, payload in packets:
        digest.update(payload)
    return digest.packets, digest.hexdigest()


def begin_of(path: Path) -> Fraction:
    """First moment of the picture."""
    info = probe(path)
    with VideoDecoder(info) as decoder:
        return next(iter(decoder)).pts * info.video.time_base


# -- sound ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec"), [(name, codec) for name in MUXED for codec in sorted(HELD[name])])
def test_sound_is_held(sounding: Callable[..., Path], restore: Restore, name: str, codec: str) -> None:
    """Same codec, same packets, and each as far from the picture as before, to the container's tick."""
    source = sounding(codec, lead=not (name == "avi" and codec in ("aac", "mp3")))
    _, target, report = restore(source, f"out.{name}", codec=CODEC.get(name, "auto"))
    assert report.streams[0].codec == codec
    before, after = packets_of(source, "audio"), packets_of(target, "audio")
    if codec.startswith("pcm_"):
        assert b"".join(payload for _, payload in before) == b"".join(payload for _, payload in after)
    else:
        assert digest_of(codec, before) == digest_of(codec, after)
    shift = Fraction(report.shift).limit_denominator(10**7)
    tick = FORMATS[CONTAINERS[f".{name}"]].tick or (Fraction(1024, 48000) if name == "avi" else Fraction(1, 48000))
    slack = tick / 2 + Fraction(1, 2000) + Fraction(1, 10**6)  # the sources' own tick is 1 ms
    moments = [moment for moment, _ in after]
    if len(before) == len(after):
        pairs = zip((moment for moment, _ in before), moments, strict=True)
        assert all(a is not None and b is not None and abs(a - shift - b) <= slack for a, b in pairs)
    assert moments[0] is not None and before[0][0] is not None and abs(before[0][0] - shift - moments[0]) <= slack


@pytest.mark.parametrize(("name", "codec"), [(name, codec) for name in MUXED for codec in sorted(set(SOUND) - HELD[name])])
def test_sound_that_is_not_held_is_refused_before_work(
    sounding: Callable[..., Path], tmp_path: Path, name: str, codec: str
) -> None:
    info = probe(sounding(codec))
    index = next(stream.index for stream in info.streams if stream.type == "audio")
    with pytest.raises(UnsupportedStreamError) as caught:
        check_streams(info, info.video, CONTAINERS[f".{name}"])
    assert f"stream {index} audio {codec}" in caught.value.message
    assert f"--drop-streams {index}" in caught.value.next_step
    plan = check_streams(info, info.video, CONTAINERS[f".{name}"], drop_streams=("audio",))
    assert not plan.copied and "left out, as asked for" in plan.notices[0]


@pytest.mark.parametrize("name", ["h264", "hevc", "ivf"])
def test_raw_streams_hold_the_picture_alone(sounding: Callable[..., Path], restore: Restore, name: str) -> None:
    codec = {"hevc": "hevc", "ivf": "av1"}.get(name, "h264")
    with pytest.raises(UnsupportedStreamError, match="nothing but its pictures"):
        restore(sounding("aac"), f"refused.{name}", codec=codec)


def test_avi_cannot_say_when_sound_begins(sounding: Callable[..., Path], tmp_path: Path) -> None:
    info = probe(sounding("aac"))
    with pytest.raises(UnsupportedStreamError, match=r"begins 0\.021 s before the picture: an AVI file has no timestamps"):
        check_streams(info, info.video, "avi")


# -- text -------------------------------------------------------------------------------------------------------

CUES = [
    (Fraction(1, 5), Fraction(1, 2), "Hällo <i>wörld</i>\nsecond line"),
    (Fraction(4, 5), Fraction(7, 10), "<b>Bye</b> & all"),
    (Fraction(7, 4), Fraction(1, 5), "東京 🎬"),
]


def clock(seconds: Fraction) -> str:
    return f"00:00:{int(seconds):02},{round(seconds % 1 * 1000):03}"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """texts(codec) -> a clip with two subtitle tracks of a codec, German (forced) and English."""
    folder = tmp_path_factory.mktemp("text")

    def make(codec: str) -> Path:
        listed = folder / "cues.srt"
        rows = [f"{n}\n{clock(a)} --> {clock(a + d)}\n{text}\n" for n, (a, d, text) in enumerate(CUES, 1)]
        listed.write_text("\n".join(rows), encoding="utf-8")
        path = folder / f"{codec}.{'mp4' if codec == 'mov_text' else 'mkv'}"
        words = {"c:v": "libx264", "pix_fmt": "yuv420p", "c:s": codec, "metadata:s:s:0": "language=deu"}
        words |= {"metadata:s:s:1": "language=eng", "disposition:s:0": "forced"}
        return judge(picture(2), ffmpeg.input(str(listed)), ffmpeg.input(str(listed)), path=path, **words)

    return make


def cues_of(path: Path, folder: Path, number: int = 0) -> list[str]:
    """What the judge makes of a text track: times and words as SubRip, styles included."""
    listed = folder / f"{path.stem}_{number}.srt"
    judge(ffmpeg.input(str(path))[f"s:{number}"], path=listed)
    return [block.strip() for block in listed.read_text(encoding="utf-8").split("\n\n") if block.strip()]


@pytest.mark.parametrize("codec", ["subrip", "ass", "webvtt", "mov_text"])
@pytest.mark.parametrize("name", ["mp4", "mov", "mkv", "webm"])
def test_text_goes_along(texts: Callable[[str], Path], restore: Restore, tmp_path: Path, name: str, codec: str) -> None:
    """Times, words, line breaks, italic and bold are the same whatever the codec on either side."""
    source = texts(codec)
    _, target, report = restore(source, f"out.{name}", codec=CODEC.get(name, "auto"))
    written = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt", "mkv": "subrip" if codec == "mov_text" else codec}[name]
    streams = [stream for stream in probe(target).streams if stream.type == "subtitle"]
    assert [stream.codec for stream in streams] == [written, written]
    # QuickTime's own list of languages, which is all that FFmpeg writes in mov, knows German as `ger` only.
    assert [stream.language for stream in streams] == [None if name == "mov" else "deu", "eng"]
    assert [any("converted" in notice for notice in report.notices)] == [written != codec]
    for number in range(2):
        assert cues_of(target, tmp_path, number) == cues_of(source, tmp_path, number)
    assert "forced" in streams[0].disposition


@pytest.mark.parametrize("name", ["ts", "avi", "h264", "ivf"])
def test_text_that_is_not_held_is_refused(texts: Callable[[str], Path], name: str) -> None:
    info = probe(texts("subrip"))
    with pytest.raises(UnsupportedStreamError) as caught:
        check_streams(info, info.video, CONTAINERS[f".{name}"])
    assert "stream 1 subtitle subrip deu" in caught.value.message
    assert ".mkv" in caught.value.next_step and "--drop-streams 1" in caught.value.next_step
    assert not check_streams(info, info.video, CONTAINERS[f".{name}"], drop_streams=["subtitle"]).copied


def test_cues_that_overlap_are_joined_in_mp4(make_clip: Make, restore: Restore, tmp_path: Path) -> None:
    source = make_clip(
        "in.mkv", frames=75, subtitles=[(200, 1200, "one"), (600, 1000, "two"), (1000, 1500, "three"), (2000, 2100, "x")]
    )
    _, target, _ = restore(source, "out.mp4")
    with av.open(str(target)) as container:
        base = container.streams.subtitles[0].time_base
        found = [
            (float(p.pts * base), float(p.duration * base), bytes(p)[2:].decode())
            for p in container.demux(container.streams.subtitles[0])
            if p.size > 2
        ]
    assert found == [
        (0.2, 0.4, "one"),
        (0.6, 0.4, "one\ntwo"),
        (1.0, pytest.approx(0.2), "one\nthree"),
        (1.2, pytest.approx(0.3), "three"),
        (2.0, pytest.approx(0.1), "x"),
    ]


def test_markup_in_words_is_not_taken_for_markup(make_clip: Make, restore: Restore, tmp_path: Path) -> None:
    source = make_clip("in.mkv", frames=50, subtitles=[(200, 700, "a & b &lt; {c} 3 < 4")])
    _, target, _ = restore(source, "out.mp4")
    with av.open(str(target)) as container:
        words = [bytes(p)[2:] for p in container.demux(container.streams.subtitles[0]) if p.size > 2]
    assert words == [b"a & b &lt; {c} 3 < 4"]


def test_text_with_positions_is_left_out_with_the_location(make_clip: Make, restore: Restore) -> None:
    talk = make_clip("talk.mkv", frames=50, subtitles=[(200, 700, "We are lost at 5.30, check the GPS!")])
    drone = make_clip("drone.mkv", frames=50, subtitles=[(0, 500, "Hello"), (900, 1500, "GPS(16.3725,48.2083,20) D 3m")])
    assert len(restore(talk, "talk_out.mkv", strip_location=True)[2].streams) == 1
    _, target, report = restore(drone, "drone_out.mkv", strip_location=True)
    assert not report.streams and "its text holds positions" in report.notices[0] and b"48.2083" not in target.read_bytes()
    assert len(restore(drone, "drone_kept.mkv")[2].streams) == 1
