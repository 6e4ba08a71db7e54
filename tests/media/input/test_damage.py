"""Damage made on purpose in real streams: where it is found, and what stands in its place."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vidrestore.errors import DamagedVideoError, MediaError
from vidrestore.media import VideoDecoder
from vidrestore.media.input import packet_pass
from vidrestore.media.input.damage import Damage
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.media.input.probe import probe
from vidrestore.types import Frame

Make = Callable[..., Path]
Change = Callable[[int, bytes], bytes | None]

NUMBER = 12
"""Of the packet that is damaged, in order of decoding."""


def changed(source: Path, target: Path, change: Change) -> Path:
    """Copy a video by packet, each changed by `change(number, data)`; None leaves it out."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        template = old.streams.video[0]
        stream = new.add_stream_from_template(template, opaque=True)
        for number, packet in enumerate(packet for packet in old.demux(template) if packet.size):
            data = change(number, bytes(packet))
            if data is None:
                continue
            copy: Any = av.Packet(data)
            copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
            copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, packet.is_keyframe, stream
            new.mux(copy)
    return target


def noise(number: int, data: bytes, at: int = NUMBER) -> bytes:
    """The second quarter of packet `at` overwritten."""
    if number != at:
        return data
    begin, end = len(data) // 4, len(data) // 2
    return data[:begin] + random.Random(7).randbytes(end - begin) + data[end:]


def decode(path: Path, **settings: Any) -> tuple[list[Frame], tuple[Damage, ...]]:
    with VideoDecoder(path, DecodeOptions(**settings)) as decoder:
        return list(decoder), decoder.damage


CODECS = [
    ("h264.mkv", "libx264", {"bf": "3", "g": "100", "crf": "10"}),
    ("hash.mkv", "libx265", {"x265-params": "log-level=error:keyint=100:hash=1"}),
    ("mpeg4.mkv", "mpeg4", {"bf": "2"}),
    ("mpeg2.mkv", "mpeg2video", {"bf": "2"}),
    ("av1.mkv", "libsvtav1", {"preset": "12", "crf": "20"}),
    ("prores.mov", "prores_ks", {}),
    ("sums.mkv", "ffv1", {"level": "3", "slicecrc": "1", "slices": "4"}),
    ("png.mov", "png", {}),
]


@pytest.mark.parametrize(("name", "codec", "options"), CODECS)
def test_a_damaged_packet_stops_at_its_picture(
    make_clip: Make, tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    pixel_format = {"prores_ks": "yuv422p10le", "png": "rgb24"}.get(codec, "yuv420p")
    sound = make_clip(f"sound_{name}", codec=codec, frames=25, size=(160, 128), options=options, pixel_format=pixel_format)
    whole, _ = decode(sound)
    with av.open(str(sound)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    hurt = sorted(packet.pts for packet in packets).index(packets[NUMBER].pts)
    path = changed(sound, tmp_path / name, noise)
    reached: list[Frame] = []
    with pytest.raises(DamagedVideoError) as caught, VideoDecoder(path) as decoder:
        reached.extend(decoder)
    assert caught.value.index == len(reached)
    assert caught.value.seconds is not None
    # Pictures that lean on the damaged one and are shown before it may be marked too; none of those before is.
    assert caught.value.index <= hurt
    assert caught.value.seconds == pytest.approx(whole[caught.value.index].seconds, abs=1e-6)
    assert all(np.array_equal(a.data, b.data) for a, b in zip(reached, whole, strict=False))

    frames, damage = decode(path, on_damage="conceal")
    assert [frame.pts for frame in frames] == [frame.pts for frame in whole]
    assert damage and damage[0].index == caught.value.index and damage[0].pts == whole[damage[0].index].pts
    assert hurt in [entry.index for entry in damage]
    assert {entry.kind for entry in damage} <= {"concealed", "repeated"}
    for entry in damage:
        if entry.kind == "repeated":
            assert np.array_equal(frames[entry.index].data, frames[entry.index - 1].data)


@pytest.mark.parametrize("threads", [1, 4])
def test_what_is_found_does_not_depend_on_threads(make_clip: Make, tmp_path: Path, threads: int) -> None:
    """Frame threads report an error late; the picture named is the damaged one all the same."""
    sound = make_clip("sound.mkv", codec="libx264", frames=30, size=(160, 128), options={"bf": "0", "crf": "10"})
    path = changed(sound, tmp_path / "hurt.mkv", lambda n, data: b"\0\0\0\4junk" if n == 26 else data)
    with pytest.raises(DamagedVideoError) as caught:
        decode(path, threads=threads)
    assert caught.value.index == 26


def test_a_picture_that_vanishes_without_a_complaint_is_missed(make_clip: Make, tmp_path: Path) -> None:
    """An access unit of parameter sets only: the decoder is content with it, and shows nothing."""
    sound = make_clip("sound.mkv", frames=25, options={"bf": "0"})
    delimiter = b"\0\0\0\2\x09\xf0"  # access unit delimiter, NAL unit type 9
    path = changed(sound, tmp_path / "hurt.mkv", lambda n, data: delimiter if n == NUMBER else data)
    with av.open(str(path)) as container:
        sent = sum(1 for packet in container.demux(video=0) if packet.size)
    assert sent == 25
    with pytest.raises(DamagedVideoError) as caught:
        decode(path)
    assert caught.value.index == NUMBER and caught.value.seconds == pytest.approx(NUMBER / 25)
    frames, damage = decode(path, on_damage="conceal")
    assert len(frames) == 25 and damage[0].index == NUMBER and damage[0].kind == "repeated"
    assert np.array_equal(frames[NUMBER].data, frames[NUMBER - 1].data)


@pytest.mark.parametrize("name", ["headless.mp4", "headless.mkv"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_missing_key_picture_at_the_start(make_clip: Make, tmp_path: Path, name: str, codec: str) -> None:
    """Cut inside a group of pictures: 11 of 29 cannot be decoded."""
    own = {"g": "12", "bf": "0", "x265-params": "log-level=error:keyint=12:min-keyint=12:scenecut=0:bframes=0:open-gop=0"}
    sound = make_clip(
        "whole.mp4", codec=codec, frames=30, options={key: own[key] for key in own if codec[-1] == "5" or "x" not in key}
    )
    path = changed(sound, tmp_path / name, lambda n, data: data if n else None)
    with pytest.raises(DamagedVideoError, match="Frame 0") as caught:
        decode(path)
    assert caught.value.index == 0 and caught.value.seconds is not None
    frames, damage = decode(path, on_damage="conceal")
    assert len(frames) == 29
    assert [entry.index for entry in damage] == list(range(11)) and {entry.kind for entry in damage} == {"repeated"}
    assert all(np.array_equal(frame.data, frames[11].data) for frame in frames[:11])
    assert np.diff([frame.seconds for frame in frames]) == pytest.approx(1 / 25, abs=1e-3)


def test_open_groups_of_pictures_hidden_by_an_edit_list_are_sound(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    """RASL pictures before the cut cannot be decoded and are not meant to be shown."""
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    open_gop = "log-level=error:keyint=25:min-keyint=25:scenecut=0:open-gop=1:bframes=3"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=3", "-c:v", "libx265", "-x265-params", open_gop, whole)
    ffmpeg("-ss", "1.5", "-i", whole, "-c", "copy", cut)
    frames, _ = decode(cut)
    with VideoDecoder(cut) as decoder:
        list(decoder)
        assert decoder.notices == ()
    assert len(frames) > 30 and frames[0].pts == 0


def test_leading_pictures_that_no_player_can_show_are_told_of(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    """The same cut in Matroska: pictures before time 0 have no timestamp there."""
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mkv"
    open_gop = "log-level=error:keyint=25:min-keyint=25:scenecut=0:open-gop=1:bframes=3"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=3", "-c:v", "libx265", "-x265-params", open_gop, whole)
    ffmpeg("-ss", "1.5", "-i", whole, "-c", "copy", cut)
    with VideoDecoder(cut) as decoder:
        frames = list(decoder)
        assert any("begins with 3 pictures that have no timestamp" in notice for notice in decoder.notices)
    assert [round(frame.seconds * 25) for frame in frames] == list(range(50))


@pytest.mark.parametrize(("name", "codec"), [("cut.mp4", "libx264"), ("cut.mkv", "libx264"), ("cut.avi", "mpeg4")])
def test_a_cut_end_is_listed_as_missing(
    make_clip: Make, tmp_path: Path, ffmpeg: Callable[..., None], name: str, codec: str
) -> None:
    whole, path = tmp_path / f"whole_{name}", tmp_path / name
    first = ["-movflags", "+faststart"] if name.endswith("mp4") else []
    ffmpeg("-i", make_clip("base.mkv", codec=codec, frames=40, size=(320, 240), options={"bf": "0"}), "-c", "copy", *first, whole)
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    with pytest.raises(DamagedVideoError, match="cut short"):
        decode(path)
    frames, damage = decode(path, on_damage="conceal")
    assert 5 < len(frames) < 40
    assert damage[-1].kind == "missing" and damage[-1].pts is None
    if name.endswith("mp4"):
        assert damage[-1].index + (damage[-1].count or 0) == 40
    else:
        assert damage[-1].count is None


def test_sound_that_breaks_off_is_refused_before_work(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    """All pictures are there, the last sound is not: copying would lose it in silence."""
    whole, path = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    sources = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=1", "-f", "lavfi", "-i", "sine=d=3")
    ffmpeg(*sources, "-c:v", "libx264", "-c:a", "aac", "-movflags", "+faststart", whole)
    path.write_bytes(whole.read_bytes()[:-2000])
    info = probe(path)
    assert info.damaged_from is None and info.truncation is not None and not info.truncation.pictures
    with pytest.raises(DamagedVideoError, match=r"stream 1 \(audio\) breaks off at [12]\.\d{3} s"):
        decode(path)
    assert len(decode(path, duration=0.8)[0]) == 20
    frames, damage = decode(path, on_damage="conceal")
    assert len(frames) == 25 and damage == ()


def test_an_avi_with_empty_packets_is_read_to_its_end(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    """AVI knows no timestamps: an empty chunk keeps the picture before on the screen. FFmpeg would take it for the end."""
    path = tmp_path / "gaps.avi"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=64x64:r=25:d=1",
        "-vf",
        "select='not(mod(n,3))'",
        "-fps_mode",
        "vfr",
        "-c:v",
        "mpeg4",
        path,
    )
    with av.open(str(path)) as container:
        sizes = [packet.size for packet in container.demux(video=0)][:-1]
    frames, _ = decode(path)
    assert len(frames) == sum(size > 0 for size in sizes) == 9
    assert np.diff([frame.seconds for frame in frames]) == pytest.approx(3 / 25)


def test_a_file_without_one_sound_picture(make_clip: Make, tmp_path: Path) -> None:
    sound = make_clip("sound.mkv", codec="libsvtav1", frames=10, options={"preset": "12"})
    path = changed(sound, tmp_path / "hurt.mkv", lambda n, data: bytes(8) + data[8:])
    for on_damage in ("stop", "conceal"):
        with pytest.raises(MediaError):
            decode(path, on_damage=on_damage)


def test_damage_behind_the_range_is_not_met(make_clip: Make, tmp_path: Path) -> None:
    sound = make_clip("sound.mkv", frames=50, options={"bf": "0", "g": "10", "crf": "10"}, size=(160, 128))
    path = changed(sound, tmp_path / "hurt.mkv", lambda n, data: noise(n, data, at=25))
    assert len(decode(path, duration=0.8)[0]) == 20
    assert len(decode(path, start=1.2)[0]) == 20  # the group of pictures from frame 30 on leans on nothing before
    with pytest.raises(DamagedVideoError) as caught:
        decode(path, start=0.9)
    assert caught.value.index == 25 - 23 and caught.value.seconds == pytest.approx(1.0)


def test_a_range_that_leans_on_damage_before_it(make_clip: Make, tmp_path: Path) -> None:
    sound = make_clip("sound.mkv", frames=50, options={"bf": "0", "g": "50", "crf": "10"}, size=(160, 128))
    path = changed(sound, tmp_path / "hurt.mkv", lambda n, data: noise(n, data, at=25))
    with pytest.raises(DamagedVideoError, match="before the range") as caught:
        decode(path, start=1.2)
    assert caught.value.index == 0
    frames, damage = decode(path, start=1.2, on_damage="conceal")
    assert len(frames) == 20 and [(entry.index, entry.kind) for entry in damage] == [(0, "concealed")]


def test_a_size_that_memory_cannot_hold_is_the_files_fault(real: Callable[[str], Path], tmp_path: Path) -> None:
    """IVF states the size of each packet; FFmpeg answers a negative one with "out of memory"."""
    content = bytearray(real("codecs/foreman/foreman_vp9.ivf").read_bytes())
    at, number = 32, 0
    while number < 10:
        at += 12 + int.from_bytes(content[at : at + 4], "little")
        number += 1
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path = tmp_path / "hurt.ivf"
    path.write_bytes(content)
    with pytest.raises(DamagedVideoError, match="impossible size") as caught:
        decode(path)
    assert caught.value.index == 10


def test_memory_that_is_short_is_said(real: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(real("codecs/foreman/foreman_vp9.ivf").read_bytes())
    size = int.from_bytes(content[32:36], "little")
    content[44 + size : 48 + size] = b"\xff\xff\xff\xff"
    path = tmp_path / "hurt.ivf"
    path.write_bytes(content)
    info = probe(path)
    monkeypatch.setattr(packet_pass, "_ENOUGH_MEMORY", 1 << 62)
    with pytest.raises(MemoryError), VideoDecoder(info) as decoder:
        list(decoder)


def test_what_an_entry_says() -> None:
    tick = Fraction(1, 25)
    assert str(Damage(3, 75, tick, "repeated", "why")) == "frame 3 (3.000 s) repeated: why"
    assert str(Damage(3, None, tick, "missing", "why", 4)) == "frames 3 to 6 missing: why"
    assert str(Damage(3, None, tick, "missing", "why", None)) == "from frame 3 on an unknown number is missing: why"
    assert Damage(3, 75, tick, "concealed", "why").as_dict()["seconds"] == 3.0


@pytest.mark.parametrize("at", range(3, 24, 4))
def test_no_thread_hands_out_a_picture_before_its_error(make_clip: Make, tmp_path: Path, at: int) -> None:
    """With frame threads FFmpeg returns a picture whose checksum is wrong, and the error with the next packet only."""
    options = {"x265-params": "log-level=error:keyint=100:hash=1"}
    sound = make_clip("sound.mkv", codec="libx265", frames=25, size=(160, 128), options=options)
    path = changed(sound, tmp_path / "hurt.mkv", lambda number, data: noise(number, data, at))
    reached = []
    for threads in (1, 2, 4):
        with pytest.raises(DamagedVideoError) as caught:
            decode(path, threads=threads)
        reached.append((caught.value.index, caught.value.seconds))
    assert len(set(reached)) == 1 and reached[0][0] is not None


def indexed(content: bytes, table: bytes, at: int, value: int) -> bytes:
    """An mp4 file with 32 bits of the first `table` overwritten, `at` bytes behind its name."""
    begin = content.index(table) + at
    return content[:begin] + value.to_bytes(4, "big") + content[begin + 4 :]


@pytest.mark.parametrize(
    ("table", "at", "value", "left"),
    [(b"stsz", 12, 4, 4), (b"stts", 12, 1 << 30, 12), (b"stsc", 16, 0, 1)],
    ids=["sizes", "times", "places"],
)
def test_an_index_that_lists_fewer_pictures_than_it_times(
    make_clip: Make, tmp_path: Path, table: bytes, at: int, value: int, left: int
) -> None:
    """FFmpeg plays what is listed, and says nothing of the rest."""
    path = tmp_path / "hurt.mp4"
    path.write_bytes(indexed(make_clip(options={"bf": "0"}).read_bytes(), table, at, value))
    info = probe(path)
    assert info.video.frames == left  # what space is reserved for
    with pytest.raises(DamagedVideoError, match=r"times for .* places for"):
        decode(path)
    frames, damage = decode(path, on_damage="conceal")
    assert len(frames) == left
    assert damage[-1].kind == "missing" and damage[-1].index == left
    if left > 1:
        within, nothing = decode(path, duration=0.04)
        assert len(within) == 1 and nothing == ()


def test_sound_that_the_index_lists_no_places_for(make_clip: Make, tmp_path: Path) -> None:
    content = make_clip(audio=True).read_bytes()
    sound = content.rindex(b"stsz")
    path = tmp_path / "hurt.mp4"
    path.write_bytes(content[:sound] + indexed(content[sound:], b"stsz", 12, 3))
    with pytest.raises(DamagedVideoError, match=r"stream 1 \(audio\) and places for 3"):
        decode(path)
    assert len(decode(path, on_damage="conceal")[0]) == 12


def test_a_duration_that_no_file_of_its_size_can_have(make_clip: Make, tmp_path: Path) -> None:
    """The estimate of what will be written rests on the number of pictures: it must not fill the disk by a lie."""
    content = make_clip("clip.mkv").read_bytes()
    at = content.index(b"\x44\x89\x88") + 3  # Duration, a float of 64 bits
    path = tmp_path / "hurt.mkv"
    path.write_bytes(content[:at] + struct.pack(">d", 1e12) + content[at + 8 :])
    info = probe(path)
    assert info.duration == pytest.approx(1e9) and info.video.frames is None
    assert len(decode(path)[0]) == 12
