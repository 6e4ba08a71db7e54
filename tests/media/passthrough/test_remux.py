"""What goes along: every container against every kind of stream, judged by an FFmpeg that is not ours."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from vidrestore.errors import DamagedVideoError, MediaError, UnsupportedStreamError, UsageError
from vidrestore.media import MediaInfo, VerifyReport, VideoDecoder
from vidrestore.media.input.probe import probe
from vidrestore.media.output.containers import CONTAINERS, FORMATS
from vidrestore.media.passthrough.digest import PacketDigest
from vidrestore.media.passthrough.stream_check import check_streams
from vidrestore.media.passthrough.streams import kept_streams

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


@pytest.mark.parametrize("codec", ["aac", "mp3"])
def test_avi_cannot_say_what_is_not_played(sounding: Callable[..., Path], restore: Restore, codec: str) -> None:
    """The packet before the beginning, which only sets a decoder going, is left out; the others stay in step."""
    source = sounding(codec)
    _, target, report = restore(source, "out.avi", codec="ffv1")
    before, after = packets_of(source, "audio"), packets_of(target, "audio")
    assert [payload for _, payload in after] == [payload for _, payload in before[1:]]
    assert after[0][0] == 0 and before[1][0] is not None and abs(before[1][0]) <= Fraction(1, 500)
    assert any("sets its decoder going (1 packet)" in notice for notice in report.notices)


def test_played_sound_before_the_first_picture_is_told(restore: Restore, tmp_path: Path) -> None:
    """With B-frames AVI's first picture shows one later than its header says: sound of 24 ms packets is 40 ms ahead."""
    words = {"c:v": "mpeg4", "bf": 2, "c:a": "mp3", "write_xing": 0}
    source = judge(picture(), tone(), path=tmp_path / "in.avi", **words)
    _, target, report = restore(source, "out.avi", codec="ffv1")
    assert len(packets_of(source, "audio")) - len(packets_of(target, "audio")) == 2
    assert "Stream 1 begins before the picture; what is over by then is left out (packets: 2)." in report.notices


def test_sound_that_begins_between_ticks_of_the_picture(restore: Restore, tmp_path: Path) -> None:
    """1/15360 s and 1/44100 s together need a movie timescale of 11,289,600."""
    late = ffmpeg.input("sine=d=0.6:r=44100", f="lavfi", itsoffset=0.137).audio
    source = judge(picture(rate="30"), late, path=tmp_path / "in.mp4", **{"c:v": "libx264", "c:a": "aac"})
    _, target, report = restore(source)
    assert report.pts_exact
    times = [[pts for pts, _ in packets_of(path, "audio")] for path in (source, target)]
    assert times[0] == times[1] and times[0][0] not in (None, 0)


@pytest.mark.parametrize("late", [-0.3, 0.3])
def test_avi_cannot_say_when_sound_begins(sounding: Callable[..., Path], tmp_path: Path, late: float) -> None:
    clip = str(sounding("ac3"))
    source = tmp_path / "apart.mkv"
    judge(ffmpeg.input(clip).video, ffmpeg.input(clip, itsoffset=late).audio, path=source, c="copy")
    info = probe(source)
    told = rf"begins 0\.\d+ s {'before' if late < 0 else 'after'} the picture: an AVI file has no timestamps"
    with pytest.raises(UnsupportedStreamError, match=told):
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
    assert [stream.language for stream in streams] == ["deu", "eng"]
    assert [any("converted" in notice for notice in report.notices)] == [written != codec]
    for number in range(2):
        assert cues_of(target, tmp_path, number) == cues_of(source, tmp_path, number)
    assert ("forced" in streams[0].disposition) == (name != "mov")
    assert any("marks of stream 1 (forced)" in notice for notice in report.notices) == (name == "mov")


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


# -- pictures, files, data --------------------------------------------------------------------------------------


@pytest.fixture
def covered(tmp_path: Path) -> Callable[[str, str], Path]:
    """covered(container, image) -> a clip with cover art, made by the judge."""

    def make(container: str, image: str) -> Path:
        still = judge(ffmpeg.input("color=red:s=32x32:d=0.04", f="lavfi"), path=tmp_path / f"cover.{image}", **{"frames:v": 1})
        path = tmp_path / f"covered.{container}"
        words: dict[str, Any] = {"c:v:0": "libx264", "pix_fmt:v:0": "yuv420p"}
        if container == "mkv":
            kind = f"image/{image.replace('jpg', 'jpeg')}"
            return judge(picture(), path=path, attach=str(still), **{"metadata:s:t": f"mimetype={kind}"}, **words)
        art = ffmpeg.input(str(still)).video
        return judge(picture(), art, path=path, **{"c:v:1": "copy", "disposition:v:1": "attached_pic"}, **words)

    return make


@pytest.mark.parametrize("image", ["jpg", "png"])
@pytest.mark.parametrize(("there", "here"), [("mkv", "mp4"), ("mp4", "mkv"), ("mkv", "mkv"), ("mp4", "mp4")])
def test_cover_art_goes_both_ways(
    covered: Callable[[str, str], Path], restore: Restore, tmp_path: Path, there: str, here: str, image: str
) -> None:
    _, target, report = restore(covered(there, image), f"out.{here}")
    found = [stream for stream in probe(target).streams if stream.attached_picture]
    assert [stream.codec for stream in found] == ["mjpeg" if image == "jpg" else "png"]
    with av.open(str(target)) as container:
        payload = next(bytes(p) for p in container.demux(container.streams[found[0].index]) if p.size)
    assert payload == (tmp_path / f"cover.{image}").read_bytes()
    assert [check.packets for check in report.streams] == [1]


@pytest.mark.parametrize("name", ["mov", "webm", "ts", "avi", "h264"])
def test_cover_art_that_is_not_held_is_refused(covered: Callable[[str, str], Path], name: str) -> None:
    info = probe(covered("mkv", "jpg"))
    with pytest.raises(UnsupportedStreamError, match=r"stream 1 video mjpeg") as caught:
        check_streams(info, info.video, CONTAINERS[f".{name}"])
    assert ".mkv or .mp4" in caught.value.next_step
    assert not check_streams(info, info.video, CONTAINERS[f".{name}"], drop_streams=["cover"]).copied


def test_fonts_are_attached_files_of_matroska(rich: Callable[[str], Path], restore: Restore) -> None:
    source = rich("rich.mkv")
    info = probe(source)
    for name in ("mp4", "mov", "webm", "ts", "avi"):
        with pytest.raises(UnsupportedStreamError):
            check_streams(info, info.video, CONTAINERS[f".{name}"], drop_streams=["cover", "subtitle", "chapters", "audio"])
        check_streams(
            info, info.video, CONTAINERS[f".{name}"], drop_streams=["cover", "subtitle", "chapters", "audio", "attachment"]
        )


def test_chapters_that_are_not_held_are_refused(make_clip: Make, restore: Restore) -> None:
    source = make_clip("in.mkv", frames=25, chapters=[(0, 500, "One"), (500, 1000, "Two")])
    for name in ("out.ts", "out.avi", "out.h264"):
        with pytest.raises(UnsupportedStreamError, match=r"cannot hold chapters, and in\.mkv has 2.*--drop-streams chapters"):
            restore(source, name)
        _, target, report = restore(source, name, drop_streams=["chapters"], codec="ffv1" if name.endswith("avi") else "h264")
        assert report.chapters == 0 and "chapters are left out, as asked for" in " ".join(report.notices)
    _, target, report = restore(source, "out.webm", codec="av1")
    assert report.chapters == 2 and [c.metadata["title"] for c in probe(target).chapters] == ["One", "Two"]


def telemetry(path: Path, folder: Path, make_clip: Make, tag: bytes = b"gpmd") -> Path:
    """A chapter track of a clip made into the telemetry track of an action camera, byte by byte."""
    base = make_clip("base.mkv", frames=50, chapters=[(0, 1000, "One"), (1000, 2000, "Two")])
    judge(ffmpeg.input(str(base)), path=path, c="copy")
    content = path.read_bytes()
    for old, new in (
        (b"chap", b"free"),
        (b"\0\0\0\0text\0\0\0\0", b"\0\0\0\0meta\0\0\0\0"),
        (b"Otext\0", b"O" + tag + b"\0"),
        (b"\0\3One\0\0\0\x0cencd", b"GPS-1\0\0\0\x0cencd"),
        (b"\0\3Two\0\0\0\x0cencd", b"GPS-2\0\0\0\x0cencd"),
    ):
        assert content.count(old) == 1
        content = content.replace(old, new)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["mp4", "mov"])
def test_telemetry_is_copied_with_its_tag(make_clip: Make, restore: Restore, tmp_path: Path, name: str) -> None:
    source = telemetry(tmp_path / "in.mp4", tmp_path, make_clip)
    _, target, _ = restore(source, f"out.{name}")
    assert packets_of(target, "data") == packets_of(source, "data") and len(packets_of(target, "data")) == 2
    assert b"gpmd" in target.read_bytes()
    before, after = (next(s for s in probe(path).streams if s.type == "data") for path in (source, target))
    assert after.metadata["handler_name"] == before.metadata["handler_name"] and after.codec == before.codec


@pytest.mark.parametrize("name", ["mkv", "webm", "ts", "avi", "hevc"])
def test_telemetry_that_is_not_held_is_refused(make_clip: Make, tmp_path: Path, name: str) -> None:
    info = probe(telemetry(tmp_path / "in.mp4", tmp_path, make_clip))
    with pytest.raises(UnsupportedStreamError, match="stream 1 data bin_data") as caught:
        check_streams(info, info.video, CONTAINERS[f".{name}"], drop_streams=["chapters"])
    assert "Write to .mp4 or .mov" in caught.value.next_step


def test_several_pictures_go_along(make_clip: Make, restore: Restore, tmp_path: Path) -> None:
    front, rear = make_clip("front.mp4", frames=20), make_clip("rear.mp4", frames=20, size=(32, 32), options={"bf": "2"})
    both = (ffmpeg.input(str(front)).video, ffmpeg.input(str(rear)).video)
    source = judge(*both, path=tmp_path / "both.mp4", c="copy")
    for name in ("mp4", "mov", "mkv", "ts"):
        _, target, report = restore(source, f"out.{name}")
        assert [(check.type, check.codec, check.packets) for check in report.streams] == [("video", "h264", 20)]
        shift = Fraction(report.shift).limit_denominator(10**7)
        before, after = (sorted(m for m, _ in packets_of(p, "video", 1) if m is not None) for p in (source, target))
        assert all(abs(a - shift - b) <= Fraction(1, 2000) for a, b in zip(before, after, strict=True))
        assert digest_of("h264", packets_of(source, "video", 1)) == digest_of("h264", packets_of(target, "video", 1))
    for name in ("avi", "m2ts"):
        with pytest.raises(UnsupportedStreamError, match="stream 1 video h264"):
            check_streams(probe(source), probe(source).video, CONTAINERS[f".{name}"])


@pytest.mark.parametrize("tag", ["hev1", "hvc1"])
def test_copied_pictures_keep_their_tag(make_clip: Make, restore: Restore, tmp_path: Path, tag: str) -> None:
    front, rear = make_clip("front.mp4"), make_clip("rear.mp4", codec="libx265", options={"x265-params": "log-level=0"})
    both = (ffmpeg.input(str(front)).video, ffmpeg.input(str(rear)).video)
    source = judge(*both, path=tmp_path / "both.mp4", c="copy", **{"tag:v:1": tag})
    for name in ("mp4", "mov"):
        _, target, _ = restore(source, f"out.{name}")
        with av.open(str(target)) as container:
            assert container.streams.video[1].codec_context.codec_tag == tag


@pytest.mark.parametrize("name", ["ts", "m2ts", "avi", "webm", "mkv", "mov", "mp4", "ivf", "obu", "h264", "hevc"])
def test_another_ffmpeg_has_no_complaint(make_clip: Make, restore: Restore, name: str) -> None:
    """It decodes every picture, and all packets come in order."""
    raw = name in ("ivf", "obu", "h264", "hevc")
    source = make_clip("in.mp4", frames=30, audio=not raw, options={"bf": "2"})
    codec = {"ivf": "av1", "obu": "av1", "hevc": "hevc", "webm": "vp9"}.get(name, "h264")
    drop = ["audio"] if name == "webm" else []
    _, target, _ = restore(source, f"out.{name}", codec=codec, drop_streams=drop)
    run = ffmpeg.output(ffmpeg.input(str(target)), "pipe:", f="framecrc", c="copy")
    _, complaints = ffmpeg.run(run.global_args("-v", "warning"), cmd=BINARY, capture_stdout=True, capture_stderr=True)
    whole = ffmpeg.output(ffmpeg.input(str(target)).video, "pipe:", f="framecrc", fps_mode="passthrough")
    rows, errors = ffmpeg.run(whole.global_args("-v", "error"), cmd=BINARY, capture_stdout=True, capture_stderr=True)
    assert len([line for line in rows.decode().splitlines() if not line.startswith("#")]) == 30
    unclocked = [
        line for line in complaints.decode().splitlines() if "imestamps are unset" not in line and "Can't write" not in line
    ]
    assert not errors and (raw or not unclocked)


def test_transparency_is_told_only_where_it_is_written(real: Callable[[str], Path], restore: Restore) -> None:
    source = real("codecs/moviepy_transparent.webm")
    assert probe(source).video.alpha
    _, target, _ = restore(source, "out.webm", codec="vp9", duration=0.3)
    assert probe(target).video.alpha
    _, target, _ = restore(source, "opaque.webm", codec="vp9", duration=0.3, drop_streams=["alpha"])
    assert not probe(target).video.alpha and not any("alpha_mode" in map(str.lower, s.metadata) for s in probe(target).streams)


# -- what is left out -------------------------------------------------------------------------------------------


def test_streams_are_left_out_by_number_and_kind(rich: Callable[[str], Path], restore: Restore) -> None:
    source = rich("rich.mkv")
    info = probe(source)
    kinds = {"audio": 1, "subtitle": 1, "cover": 1, "attachment": 1}
    everything = len(kept_streams(info))
    assert everything == sum(kinds.values())
    for kind, count in kinds.items():
        assert len(kept_streams(info, [kind])) == everything - count
    for stream in info.streams:
        if stream.index != info.video_index:
            assert stream not in kept_streams(info, [str(stream.index)])
    _, _, report = restore(source, "out.mkv", drop_streams=("audio", "cover", "1"))
    assert len(report.streams) == everything - 3 + (info.streams[1].type == "audio")
    assert sum("as asked for" in notice for notice in report.notices) == 3 - (info.streams[1].type == "audio")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("sound", "no kind of stream"),
        ("9", "has no stream 9"),
        ("0", "is the picture that is restored"),
        ("-1", "no kind"),
        ("", "no kind"),
    ],
)
def test_what_cannot_be_left_out(make_clip: Make, word: str, told: str) -> None:
    info = probe(make_clip(audio=True))
    with pytest.raises(UsageError, match=told):
        kept_streams(info, ("audio", word))


# -- time -------------------------------------------------------------------------------------------------------

UNEVEN = [0, 1, 40, 77, 161, 162, 300, 301, 303, 480, 777, 1100, 1101]


@pytest.mark.parametrize("name", ["mp4", "mov", "mkv", "webm", "ts", "m2ts", "ivf"])
@pytest.mark.parametrize("first", [0, -77, 12345])
def test_uneven_pictures_and_sound_keep_their_distances(
    make_clip: Make, restore: Restore, seconds_of: Any, name: str, first: int
) -> None:
    """Every pts of picture and sound, less one shift, to the container's tick; B-frames and a negative start included."""
    base = Fraction(1, 1000)
    drop = ("audio",) if name in ("ivf", "webm") else ()
    source = make_clip("in.mp4", pts=[first + at for at in UNEVEN], time_base=base, options={"bf": "3"}, audio=True)
    _, target, report = restore(source, f"out.{name}", codec={"webm": "av1", "ivf": "av1"}.get(name, "h264"), drop_streams=drop)
    shift = Fraction(report.shift).limit_denominator(10**7)
    slack = (FORMATS[CONTAINERS[f".{name}"]].tick or Fraction(0)) / 2
    before, after = seconds_of(source), seconds_of(target)
    assert len(after) == len(before)  # mp4 hides what comes before its timeline
    assert all(abs(a - shift - b) <= slack for a, b in zip(before, after, strict=True))
    if name in ("mp4", "mov"):
        assert shift == 0
    if not drop:
        sound = [[m for m, _ in packets_of(path, "audio")] for path in (source, target)]
        assert len(sound[0]) == len(sound[1])
        near = slack + Fraction(1, 96000)  # the shift is a whole number of the picture's ticks, not of the sound's
        assert all(abs(a - shift - b) <= near for a, b in zip(*sound, strict=True) if a is not None and b is not None)


@pytest.mark.parametrize(
    ("base", "stamps"),
    [
        (Fraction(1, 90000), [2**33 + 3000 * n + n % 3 for n in range(8)]),
        (Fraction(1001, 60000), list(range(0, 16, 2))),
        (Fraction(1, 1), [0, 1, 5, 6]),
        (Fraction(1, 1_000_000), [2**31 * 5 + 33_333 * n for n in range(8)]),
    ],
)
@pytest.mark.parametrize("name", ["mp4", "mov", "mkv", "ts"])
def test_odd_clocks(make_clip: Make, restore: Restore, seconds_of: Any, base: Fraction, stamps: list[int], name: str) -> None:
    source = make_clip("in.mp4", pts=stamps, time_base=base, options={"bf": "2"})
    _, target, report = restore(source, f"out.{name}")
    shift = Fraction(report.shift).limit_denominator(10**7)
    tick = FORMATS[CONTAINERS[f".{name}"]].tick or Fraction(0)
    assert all(abs(a - shift - b) <= tick / 2 for a, b in zip(seconds_of(source), seconds_of(target), strict=True))


@pytest.mark.parametrize("name", ["avi", "h264", "hevc"])
@pytest.mark.parametrize("rate", ["25", "30000/1001", "24000/1001", "60"])
def test_a_constant_rate_is_all_that_some_can_say(restore: Restore, tmp_path: Path, name: str, rate: str) -> None:
    source = judge(picture(1, rate), path=tmp_path / "in.mkv", **{"c:v": "libx264", "bf": 2, "pix_fmt": "yuv420p"})
    _, target, report = restore(source, f"out.{name}", codec={"hevc": "hevc", "avi": "ffv1"}.get(name, "h264"))
    assert report.frames == len(packets_of(source, "video"))
    found = probe(target)
    assert found.video.frame_rate == Fraction(rate)


@pytest.mark.parametrize("name", ["avi", "h264", "hevc"])
def test_a_varying_rate_is_refused_where_it_cannot_be_said(make_clip: Make, restore: Restore, tmp_path: Path, name: str) -> None:
    source = make_clip("in.mp4", pts=UNEVEN, time_base=Fraction(1, 1000))
    with pytest.raises(MediaError, match=r"needs pictures at a constant rate.*--cfr"):
        restore(source, f"out.{name}", codec={"hevc": "hevc", "avi": "ffv1"}.get(name, "h264"))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_raw_av1_stream_states_no_rate(make_clip: Make, restore: Restore) -> None:
    assert restore(make_clip("in.mp4"), "out.obu", codec="av1")[2].frames == 12
    source = make_clip("fast.mp4", pts=range(12), time_base=Fraction(1, 50))
    with pytest.raises(UnsupportedStreamError, match=r"states no picture rate.*\.ivf"):
        restore(source, "fast.obu", codec="av1")


# -- the same bits, the same looks ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ts", "m2ts", "avi", "webm", "h264", "hevc", "ivf", "obu", "mov"])
def test_every_container_has_the_same_bits_each_time(make_clip: Make, restore: Restore, name: str) -> None:
    source = make_clip("in.mp4", frames=12, metadata={"title": "A drive"})
    codec = {"webm": "av1", "ivf": "av1", "obu": "av1", "hevc": "hevc", "avi": "ffv1"}.get(name, "h264")
    runs = [restore(source, f"out{turn}.{name}", codec=codec, comment="Restored by vidrestore")[1] for turn in range(2)]
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in runs}) == 1


@pytest.mark.parametrize("name", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("matrix", [(0, -1, 1, 0), (-1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 0, -1)])
def test_turned_and_mirrored_pictures(
    make_clip: Make, restore: Restore, tmp_path: Path, name: str, matrix: tuple[int, ...]
) -> None:
    a, b, c, d = (value << 16 for value in matrix)
    source = turned(make_clip("plain.mp4"), (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    info, target, _ = restore(source, f"out.{name}", codec=CODEC.get(name, "auto"))
    assert info.display_matrix is not None and info.display_matrix[:2] + info.display_matrix[3:5] == (a, b, c, d)
    found = probe(target).display_matrix
    assert found is not None and found[:2] + found[3:5] == (a, b, c, d)


@pytest.mark.parametrize("name", ["ts", "avi", "h264", "ivf"])
def test_a_turned_picture_that_would_lie_on_its_side_is_refused(make_clip: Make, name: str) -> None:
    info = probe(make_clip(rotation=90))
    with pytest.raises(UnsupportedStreamError, match="cannot hold that the picture is turned"):
        check_streams(info, info.video, CONTAINERS[f".{name}"])
    plain = probe(make_clip("plain.mp4"))
    check_streams(plain, plain.video, CONTAINERS[f".{name}"])


def turned(path: Path, matrix: tuple[int, ...]) -> Path:
    """The same clip under another display matrix."""
    target = path.with_name("turned.mp4")
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.set_display_matrix(matrix)
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return target


# -- damage -----------------------------------------------------------------------------------------------------


@pytest.fixture
def torn(sounding: Callable[..., Path], tmp_path: Path) -> Path:
    """A transport stream that lost a part of its sound on the way: its continuity counter jumps."""
    whole = judge(ffmpeg.input(str(sounding("ac3"))), path=tmp_path / "whole.ts", c="copy")
    content = bytearray(whole.read_bytes())
    sound = [at for at in range(0, len(content), 188) if (content[at + 1] & 0x1F) << 8 | content[at + 2] == 0x101]
    for at in sound[len(sound) // 2 :]:
        content[at + 3] = content[at + 3] & 0xF0 | (content[at + 3] + 5) & 0x0F
    path = tmp_path / "torn.ts"
    path.write_bytes(content)
    return path


def test_damaged_sound_stops_the_run(torn: Path, restore: Restore, tmp_path: Path) -> None:
    with pytest.raises(DamagedVideoError, match="A packet of stream 1"):
        restore(torn, "out.mkv")
    assert not (tmp_path / "out.mkv").exists()


def test_damaged_sound_is_copied_as_it_is_when_asked(torn: Path, restore: Restore) -> None:
    _, target, report = restore(torn, "out.mkv", on_damage="conceal")
    assert digest_of("ac3", packets_of(target, "audio")) == digest_of("ac3", packets_of(torn, "audio"))
    assert any("packets of stream 1 are damaged" in notice for notice in report.notices)


@pytest.mark.parametrize("name", ["mkv", "mp4", "mov"])
def test_sound_that_no_decoder_likes_is_copied(real: Callable[[str], Path], restore: Restore, name: str) -> None:
    source = real("codecs/moviepy_video_with_failing_audio.mp4")
    _, target, report = restore(source, f"out.{name}", duration=1.0)
    kept = report.streams[0].packets
    assert kept > 10
    assert digest_of("aac", packets_of(source, "audio")[:kept]) == digest_of("aac", packets_of(target, "audio"))
