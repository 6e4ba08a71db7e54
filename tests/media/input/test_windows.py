"""The same bits wherever decoding begins: by windows and in one go, for every file there is and many kinds made here."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.media.conftest import DATA, picture
from vidrestore.errors import DamagedVideoError, EmptyVideoError, MediaError, NotAVideoError
from vidrestore.media import write_image
from vidrestore.media.input.entries import entry_check
from vidrestore.media.input.picture_decoder import DecodeOptions, Window
from vidrestore.media.input.probe import probe
from vidrestore.media.input.source import Source, open_source
from vidrestore.types import Frame

Make = Callable[..., Path]
Judge = Callable[..., None]
MOVING = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=2.4,noise=alls=12:all_seed=3")
"""60 pictures that no decoder can guess from each other."""
REAL = sorted(
    str(path.relative_to(DATA))
    for folder in ("codecs", "cine", "dashcam/day", "dashcam/night", "dashcam/rain")
    for path in (DATA / folder).rglob("*")
    if path.suffix in (".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif", ".ivf", ".264", ".265")
)


def look(frame: Frame) -> tuple[Any, ...]:
    """All that a frame says, its pixels as a sum."""
    opacity = None if frame.alpha is None else zlib.crc32(frame.alpha.tobytes())
    pixels = zlib.crc32(frame.data.transpose(1, 2, 0).tobytes())
    return frame.pts, frame.duration, frame.time_base, frame.data.dtype, pixels, opacity, frame.captions


def decoded(source: Source, options: DecodeOptions, window: Window | None = None, limit: int | None = None) -> list[Any]:
    with source.decoder(options, window) as decoder:
        found = []
        for frame in decoder:
            found.append((frame.index, *look(frame)))
            if len(found) == limit:
                break
        return found


def hold_to_it(source: Source, options: DecodeOptions, places: int | None = None, length: int = 3) -> bool:
    """Compare windows with one go, at all places or `places` of them; returns whether there is an index."""
    whole = decoded(source, options)
    index = source.index(options)
    count = len(whole)
    begins = list(range(count))
    if places is not None and count > places:
        begins = sorted({1, count // 2, count - 1, *random.Random(count).sample(begins, places - 3)})
    for begin in begins if index is None else begins[:: max(1, len(begins) // 3)]:
        assert decoded(source, options, Window(begin), length) == whole[begin : begin + length]
    if index is None:
        return False
    assert list(index) == [entry[1] for entry in whole]
    for begin in begins:
        end = begin + length
        window = Window(begin, index[begin], index[end] if end < count else None)
        assert decoded(source, options, window) == whole[begin:end], f"picture {begin}"
    return True


@pytest.mark.parametrize("name", REAL)
def test_real_files(real: Callable[[str], Path], name: str) -> None:
    source = open_source(real(name))
    large = source.media.video.width * source.media.video.height > 700_000
    options = DecodeOptions(duration=4.0) if large else DecodeOptions()
    indexed = hold_to_it(source, options, places=7)
    told_nothing = name.endswith((".264", ".265", ".gif", "transparent.webm", "bitmap.mp4", "mzimmer_night_1080p.mp4"))
    assert indexed != told_nothing


X264_OPEN = ("-c:v", "libx264", "-x264-params", "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3:b-pyramid=normal:ref=4")
X265 = "log-level=error:keyint=12:min-keyint=12:scenecut=0:bframes=3"
MADE: list[tuple[str, tuple[str, ...], bool]] = [
    ("closed.mp4", ("-c:v", "libx264", "-g", "12", "-bf", "2"), True),
    ("one_group.mp4", ("-c:v", "libx264", "-g", "600", "-bf", "2"), True),
    ("open.mp4", X264_OPEN, True),
    ("open.mkv", X264_OPEN, True),
    ("open.mov", X264_OPEN, True),
    ("open.ts", X264_OPEN, True),
    ("open.flv", X264_OPEN, True),
    ("fragments.mp4", (*X264_OPEN, "-movflags", "frag_keyframe+empty_moov+default_base_moof"), True),
    (
        "weighted.mp4",
        ("-c:v", "libx264", "-g", "15", "-bf", "3", "-x264-params", "weightp=2:weightb=1:direct=temporal:open-gop=1"),
        True,
    ),
    ("deep.mkv", ("-c:v", "libx264", "-g", "10", "-pix_fmt", "yuv444p10le"), True),
    ("varying.mp4", ("-vf", "select='not(eq(mod(n\\,7)\\,3))'", "-fps_mode", "vfr", *X264_OPEN), True),
    ("low_delay.avi", ("-c:v", "libx264", "-g", "9", "-bf", "0"), True),
    ("reordered.avi", ("-c:v", "libx264", "-g", "9", "-bf", "2"), False),  # AVI knows no times of display
    ("intra_refresh.mp4", ("-c:v", "libx264", "-x264-params", "intra-refresh=1:keyint=12:bframes=0"), False),
    ("intra_refresh.ts", ("-c:v", "libx264", "-x264-params", "intra-refresh=1:keyint=12:bframes=0"), False),
    ("cra.mp4", ("-c:v", "libx265", "-x265-params", X265 + ":open-gop=1"), True),
    ("cra.mkv", ("-c:v", "libx265", "-x265-params", X265 + ":open-gop=1"), True),
    ("cra.ts", ("-c:v", "libx265", "-x265-params", X265 + ":open-gop=1:repeat-headers=1"), True),
    ("idr.mp4", ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", X265 + ":open-gop=0"), True),
    ("radl.mkv", ("-c:v", "libx265", "-x265-params", X265 + ":open-gop=0:radl=2:hash=1"), True),
    ("svt.mkv", ("-c:v", "libsvtav1", "-preset", "10", "-g", "12"), True),
    ("svt.mp4", ("-c:v", "libsvtav1", "-preset", "10", "-g", "12", "-svtav1-params", "film-grain=20"), True),
    ("aom.webm", ("-c:v", "libaom-av1", "-cpu-used", "8", "-g", "12", "-lag-in-frames", "19"), True),
    ("alt_ref.webm", ("-c:v", "libvpx-vp9", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "16"), True),
    ("alt_ref_8.webm", ("-c:v", "libvpx", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-b:v", "300k"), True),
    ("vp9.mp4", ("-c:v", "libvpx-vp9", "-g", "12", "-pix_fmt", "yuv422p"), True),
    ("motion.avi", ("-c:v", "mjpeg", "-q:v", "3"), True),
    ("motion.mp4", ("-c:v", "mjpeg", "-q:v", "3"), True),
    ("huffman.mkv", ("-c:v", "mjpeg", "-q:v", "3", "-huffman", "optimal"), True),
    ("slices.mkv", ("-c:v", "ffv1", "-level", "3", "-g", "1"), True),
    ("leaning.mkv", ("-c:v", "ffv1", "-level", "3", "-g", "8"), True),
    ("prores.mov", ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"), True),
    ("stills.mov", ("-c:v", "png"), True),
    ("raw.avi", ("-c:v", "rawvideo", "-pix_fmt", "yuv420p"), True),
    ("huff.avi", ("-c:v", "huffyuv", "-pix_fmt", "yuv422p"), True),
    ("ut.avi", ("-c:v", "utvideo", "-pix_fmt", "yuv420p"), True),
    ("groups.ts", ("-c:v", "mpeg2video", "-g", "12", "-bf", "2"), True),
    ("groups.mkv", ("-c:v", "mpeg2video", "-g", "12", "-bf", "2"), True),
    ("closed.ts", ("-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-flags", "+cgop", "-sc_threshold", "1000000000"), True),
    ("mpeg1.ts", ("-c:v", "mpeg1video", "-g", "12", "-bf", "2"), True),
    ("old.mkv", ("-c:v", "mpeg4", "-g", "12", "-bf", "2"), False),
    ("theora.ogv", ("-c:v", "libtheora", "-g", "12"), False),
    ("programme.mpg", ("-c:v", "mpeg2video", "-g", "12", "-bf", "2"), False),
]


@pytest.mark.parametrize(("name", "options", "indexed"), MADE, ids=[entry[0] for entry in MADE])
def test_kinds(ffmpeg: Judge, tmp_path: Path, name: str, options: tuple[str, ...], indexed: bool) -> None:
    layout = () if "-pix_fmt" in options or "png" in options else ("-pix_fmt", "yuv420p")
    ffmpeg(*MOVING, *options, *layout, "-threads", "1", tmp_path / name)
    source = open_source(tmp_path / name)
    assert hold_to_it(source, DecodeOptions()) is indexed


def test_a_range_is_indexed_by_itself(ffmpeg: Judge, tmp_path: Path) -> None:
    ffmpeg(*MOVING, *X264_OPEN, "-pix_fmt", "yuv420p", tmp_path / "open.mkv")
    source = open_source(tmp_path / "open.mkv")
    whole = decoded(source, DecodeOptions())
    part = DecodeOptions(start=0.7, duration=0.9)
    assert [entry[1:] for entry in decoded(source, part)] == [entry[1:] for entry in whole if 700 <= entry[1] < 1600]
    assert hold_to_it(source, part)


def test_an_edit_list_hides_the_beginning(ffmpeg: Judge, tmp_path: Path) -> None:
    ffmpeg(*MOVING, "-c:v", "libx264", "-g", "12", "-bf", "2", "-pix_fmt", "yuv420p", tmp_path / "all.mp4")
    ffmpeg("-ss", "0.9", "-i", tmp_path / "all.mp4", "-c", "copy", tmp_path / "cut.mp4")
    with av.open(str(tmp_path / "cut.mp4")) as container:
        assert any(packet.is_discard for packet in container.demux(video=0))
    assert hold_to_it(open_source(tmp_path / "cut.mp4"), DecodeOptions())


def test_two_recordings_in_one_file_are_decoded_from_the_beginning(ffmpeg: Judge, tmp_path: Path) -> None:
    for name, options in (("a.264", ("-crf", "20")), ("b.264", ("-crf", "30", "-x264-params", "ref=1:cabac=0"))):
        ffmpeg(*MOVING, "-c:v", "libx264", "-g", "12", "-bf", "0", *options, "-pix_fmt", "yuv420p", tmp_path / name)
    (tmp_path / "both.264").write_bytes((tmp_path / "a.264").read_bytes() + (tmp_path / "b.264").read_bytes())
    ffmpeg("-r", "25", "-i", tmp_path / "both.264", "-c", "copy", tmp_path / "both.ts")
    assert not hold_to_it(open_source(tmp_path / "both.ts"), DecodeOptions(), places=8)


def test_pictures_that_only_claim_to_be_key(ffmpeg: Judge, tmp_path: Path) -> None:
    """An mp4 file whose table of key pictures names others."""
    ffmpeg(*MOVING, "-c:v", "libx264", "-g", "12", "-bf", "0", "-pix_fmt", "yuv420p", tmp_path / "true.mp4")
    content = bytearray((tmp_path / "true.mp4").read_bytes())
    assert content.count(b"stss") == 1
    table = content.index(b"stss") + 12
    for number in range(1, int.from_bytes(content[table - 4 : table], "big")):
        content[table + 4 * number + 3] += 5
    (tmp_path / "lie.mp4").write_bytes(content)
    with av.open(str(tmp_path / "lie.mp4")) as container:
        container.seek(20 * 512, stream=container.streams.video[0])
        assert next(iter(container.demux(video=0))).pts == 17 * 512
    hold_to_it(open_source(tmp_path / "lie.mp4"), DecodeOptions())


def test_damage_is_told_with_its_index_in_the_job(make_clip: Make) -> None:
    path = make_clip("clip.mp4", codec="libx264", frames=30, size=(160, 128), options={"g": "10", "bf": "0", "crf": "10"})
    with av.open(str(path)) as container:
        place = [(packet.pos, packet.size) for packet in container.demux() if packet.size][25]
    content = bytearray(path.read_bytes())
    content[place[0] + 30 : place[0] + place[1]] = random.Random(7).randbytes(place[1] - 30)
    path.write_bytes(content)
    source = open_source(path)
    index = source.index()
    assert index is not None
    for window in (Window(22, index[22]), Window(22)):
        with pytest.raises(DamagedVideoError, match="Frame 25 of ") as caught:
            decoded(source, DecodeOptions(), window)
        assert caught.value.index == 25
    assert len(decoded(source, DecodeOptions(), Window(20, index[20], index[25]))) == 5
    with pytest.raises(DamagedVideoError, match="Frame 27"):  # entered behind it, in the same group
        decoded(source, DecodeOptions(), Window(27, index[27]))


def test_where_nothing_tells_there_is_no_index(make_clip: Make) -> None:
    source = open_source(make_clip())
    assert source.index() is not None
    assert source.index(DecodeOptions(on_damage="conceal")) is None
    assert source.index(DecodeOptions(deinterlace=True)) is None


def test_a_window_may_be_empty_and_a_range_may_not(make_clip: Make) -> None:
    source = open_source(make_clip(frames=12))
    assert decoded(source, DecodeOptions(), Window(12)) == []
    assert decoded(source, DecodeOptions(), Window(40, 10_000_000)) == []
    with pytest.raises(EmptyVideoError):
        decoded(source, DecodeOptions(start=50.0))


def test_concealed_damage_before_a_window_is_not_listed_again(make_clip: Make) -> None:
    path = make_clip("clip.mp4", codec="libx264", frames=30, size=(160, 128), options={"g": "10", "bf": "0", "crf": "10"})
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux() if packet.size]
    content = bytearray(path.read_bytes())
    for number in (5, 25):
        at, size = places[number]
        content[at + 30 : at + size] = random.Random(7).randbytes(size - 30)
    path.write_bytes(content)
    source, conceal = open_source(path), DecodeOptions(on_damage="conceal")
    with source.decoder(conceal) as decoder:
        whole = [(frame.index, *look(frame)) for frame in decoder]
        listed = decoder.damage
    with source.decoder(conceal, Window(15)) as decoder:
        assert [(frame.index, *look(frame)) for frame in decoder] == whole[15:]
        assert decoder.damage == tuple(entry for entry in listed if entry.index >= 15) != ()


def test_files_are_all_that_is_read(make_clip: Make, tmp_path: Path) -> None:
    path = make_clip()
    assert open_source(path).files == (path,)
    assert probe(path).path == path


def test_a_change_of_format_is_met_by_who_enters_behind_it(ffmpeg: Judge, tmp_path: Path) -> None:
    for name, layout in (("a", "rgb24"), ("b", "gray")):
        ffmpeg(*MOVING, "-c:v", "png", "-pix_fmt", layout, "-frames:v", "10", tmp_path / f"{name}.mov")
    packets = []
    for name in "ab":
        with av.open(str(tmp_path / f"{name}.mov")) as container:
            packets += [bytes(packet) for packet in container.demux(video=0) if packet.size]
    with av.open(str(tmp_path / "a.mov")) as first, av.open(str(tmp_path / "both.mov"), "w") as out:
        stream = out.add_stream_from_template(first.streams.video[0])
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.duration, packet.time_base, packet.stream, packet.is_keyframe = 1, Fraction(1, 25), stream, True
            out.mux(packet)
    source = open_source(tmp_path / "both.mov")
    index = source.index()
    assert index is not None and len(index) == 20
    assert len(decoded(source, DecodeOptions(), Window(0, index[0], index[10]))) == 10
    for window in (None, Window(10, index[10]), Window(10)):
        with pytest.raises(MediaError, match="at frame 10 "):
            decoded(source, DecodeOptions(), window)


@pytest.mark.parametrize("stated", [True, False])
def test_image_sequences(tmp_path: Path, stated: bool) -> None:
    for number in range(9):
        write_image(tmp_path / f"{number:04d}.png", picture(number, 24, 16))
    if stated:
        (tmp_path / "timecodes.txt").write_text("# timestamp format v2\n" + "".join(f"{40 * n + n * n}\n" for n in range(9)))
    source = open_source(tmp_path)
    assert hold_to_it(source, DecodeOptions()) and hold_to_it(source, DecodeOptions(start=0.1, duration=0.2))
    assert len(source.files) == 9 + stated and all(file.is_file() for file in source.files)
    (tmp_path / "0003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    source = open_source(tmp_path)
    with pytest.raises(DamagedVideoError, match="Frame 3 "):
        decoded(source, DecodeOptions(), Window(2, source.media.pts[2]))  # type: ignore[attr-defined]
    assert not hold_to_it(source, DecodeOptions(on_damage="conceal"))


def test_y4m(ffmpeg: Judge, tmp_path: Path) -> None:
    ffmpeg(*MOVING, "-pix_fmt", "yuv420p", tmp_path / "in.y4m")
    source = open_source(tmp_path / "in.y4m")
    assert hold_to_it(source, DecodeOptions()) and hold_to_it(source, DecodeOptions(start=0.5, duration=1.0))
    assert source.files == (tmp_path / "in.y4m",)
    content = (tmp_path / "in.y4m").read_bytes()
    (tmp_path / "in.y4m").write_bytes(content[:-100])
    source = open_source(tmp_path / "in.y4m")
    assert source.index(DecodeOptions()) is None
    assert not hold_to_it(source, DecodeOptions(on_damage="conceal"))


@given(
    st.binary(max_size=200), st.sampled_from(["h264", "hevc", "av1", "vp8", "vp9", "mjpeg", "mpeg2video", "ffv1"]), st.booleans()
)
@example(b"\x08", "av1", False)  # a sequence header without content
def test_no_bytes_are_too_odd_to_be_looked_at(data: bytes, codec: str, key: bool) -> None:
    for head in (b"", b"\1", b"\0\0\1", b"\0\0\1\x67", b"\xff\xd8\xff"):
        stream = SimpleNamespace(
            codec_context=SimpleNamespace(
                codec=SimpleNamespace(canonical_name=codec), extradata=head + data, pix_fmt="yuv420p", has_b_frames=1
            )
        )
        check = entry_check(stream)  # type: ignore[arg-type]
        for _ in range(2):
            check.see(SimpleNamespace(is_keyframe=key), head + data)  # type: ignore[arg-type]


def test_a_recording_that_was_never_finished_is_told_as_such(make_clip: Make, tmp_path: Path) -> None:
    content = make_clip().read_bytes()
    at = content.index(b"moov") - 4
    for name, short in (("stopped.mp4", content[:at]), ("earlier.mp4", content[: at - 50])):
        (tmp_path / name).write_bytes(short)
        with pytest.raises(NotAVideoError, match=r"its index \(moov\) is missing") as caught:
            probe(tmp_path / name)
        assert "untrunc" in str(caught.value)
    (tmp_path / "noise.mp4").write_bytes(b"\0\0\0\x10abcd" + bytes(400))
    with pytest.raises(MediaError) as other:
        probe(tmp_path / "noise.mp4")
    assert "moov" not in str(other.value)
