from __future__ import annotations

import errno
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest

from vidrestore.errors import DamagedVideoError, EmptyVideoError, MediaError
from vidrestore.media import VideoDecoder
from vidrestore.media.input import packet_pass
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.media.input.probe import open_input, probe

Make = Callable[..., Path]
VFR = [0, 40, 70, 160, 161, 300, 480, 500, 777, 900]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv"])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_every_frame_with_its_pts(make_clip: Make, name: str, b_frames: int) -> None:
    path = make_clip(name, pts=VFR, time_base=Fraction(1, 1000), options={"bf": str(b_frames)})
    with VideoDecoder(path) as decoder:
        frames = list(decoder)
    assert [round(frame.pts * frame.time_base * 1000) for frame in frames] == VFR
    assert [frame.index for frame in frames] == list(range(len(VFR)))


def test_frames_are_own_channels_last_rgb(make_clip: Make) -> None:
    with VideoDecoder(make_clip()) as decoder:
        frames = list(decoder)
    first = frames[0].data
    assert first.shape == (3, 48, 64) and first.dtype == np.uint8
    assert first.transpose(1, 2, 0).flags["C_CONTIGUOUS"]
    assert not any(np.shares_memory(first, frame.data) for frame in frames[1:])
    assert np.abs(first.astype(int) - frames[-1].data).mean() > 1


def test_decoding_twice_gives_the_same(make_clip: Make) -> None:
    with VideoDecoder(make_clip()) as decoder:
        once, again = list(decoder), list(decoder)
    assert all(np.array_equal(a.data, b.data) and a.pts == b.pts for a, b in zip(once, again, strict=True))


def test_thread_count_changes_nothing(make_clip: Make) -> None:
    path = make_clip()
    with VideoDecoder(path, DecodeOptions(threads=1)) as one, VideoDecoder(path, DecodeOptions(threads=4)) as four:
        assert all(np.array_equal(a.data, b.data) for a, b in zip(one, four, strict=True))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
@pytest.mark.parametrize(("start", "duration"), [(0.0, 0.4), (0.1, None), (0.5, 0.3), (1.24, 0.2), (1.9, None)])
def test_a_range_is_a_part_of_the_whole(make_clip: Make, name: str, start: float, duration: float | None) -> None:
    path = make_clip(name, frames=50, options={"g": "12", "bf": "3"})
    with VideoDecoder(path) as decoder:
        begin = float(decoder.media.start_time)
        end = float("inf") if duration is None else start + duration
        wanted = [frame for frame in decoder if start - 1e-3 <= frame.seconds - begin < end - 1e-3]
    with VideoDecoder(path, DecodeOptions(start, duration)) as decoder:
        found = list(decoder)
    assert [frame.pts for frame in found] == [frame.pts for frame in wanted]
    assert all(np.array_equal(a.data, b.data) for a, b in zip(found, wanted, strict=True))
    assert found[0].index == 0


def test_a_range_without_frames(make_clip: Make) -> None:
    with VideoDecoder(make_clip(), DecodeOptions(start=30.0)) as decoder, pytest.raises(EmptyVideoError, match="in the range"):
        list(decoder)


@pytest.mark.parametrize("sound", [False, True])
def test_zero_frames(make_clip: Make, tmp_path: Path, sound: bool) -> None:
    """A file whose header promises a picture and holds none, with and without sound."""
    path = tmp_path / "none.mkv"
    with av.open(str(make_clip("full.mkv", audio=True))) as full, av.open(str(path), "w") as empty:
        streams: dict[int, Any] = {
            stream.index: empty.add_stream_from_template(stream, opaque=True)
            for stream in full.streams
            if sound or stream.type == "video"
        }
        empty.start_encoding()
        for packet in full.demux(full.streams.audio[0]):
            if packet.dts is not None and sound:
                packet.stream = streams[packet.stream.index]
                empty.mux(packet)
    with pytest.raises(EmptyVideoError), VideoDecoder(path) as decoder:
        list(decoder)


def test_a_flipped_byte_is_found_at_its_frame(make_clip: Make, tmp_path: Path) -> None:
    source = make_clip(frames=40, size=(320, 240), options={"crf": "10", "bf": "0", "g": "100"})
    with av.open(str(source)) as container:
        entry = container.streams.video[0].index_entries[17]
    damaged = bytearray(source.read_bytes())
    middle = entry.pos + entry.size // 2
    damaged[middle : middle + 40] = bytes((value * 7 + 13) % 256 for value in range(40))
    path = tmp_path / "damaged.mp4"
    path.write_bytes(damaged)
    seen = 0
    with pytest.raises(DamagedVideoError) as caught, VideoDecoder(path) as decoder:
        for _ in decoder:
            seen += 1
    assert caught.value.index == seen == 17
    assert caught.value.seconds == pytest.approx(17 / 25)


def test_a_truncated_mp4_is_refused_before_work(make_clip: Make, tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    whole = tmp_path / "whole.mp4"
    ffmpeg("-i", make_clip(frames=40, size=(320, 240)), "-c", "copy", "-movflags", "+faststart", whole)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    info = probe(cut)
    assert info.damaged_from is not None and "cut short" in info.notices[0]
    with pytest.raises(DamagedVideoError, match="cut short") as caught:
        VideoDecoder(info)
    assert caught.value.index == info.damaged_from[0] > 0
    with VideoDecoder(info, DecodeOptions(duration=0.2)) as decoder:  # the sound part may be restored
        assert len(list(decoder)) == 5


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi"])
def test_truncated_mkv_and_avi(make_clip: Make, name: str) -> None:
    codec = "libx264" if name.endswith("mkv") else "mpeg4"
    path = make_clip(name, codec=codec, frames=40, size=(320, 240))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.6)])
    with pytest.raises(DamagedVideoError, match="cut short"):  # the whole is asked for: refused before any work
        VideoDecoder(path)
    with VideoDecoder(path, DecodeOptions(duration=0.2)) as decoder:
        assert len(list(decoder)) == 5
    with pytest.raises(DamagedVideoError) as caught, VideoDecoder(path, DecodeOptions(duration=60.0)) as decoder:
        list(decoder)
    assert caught.value.index and caught.value.index > 5


def test_whole_files_say_nothing_of_their_beginning(make_clip: Make) -> None:
    for options in ({"bf": "0"}, {"bf": "3", "g": "6"}):
        with VideoDecoder(make_clip(pts=range(-3, 20), options=options)) as decoder:  # the edit list hides what is before 0
            assert len(list(decoder)) == 20 and decoder.notices == ()


def test_memory_that_is_used_up_is_no_damage(make_clip: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Starved:
        def __init__(self, container: Any) -> None:
            self._container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self._container, name)

        def demux(self, *_: Any) -> Any:
            raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")
            yield

    monkeypatch.setattr(packet_pass, "open_input", lambda path: Starved(open_input(path)))
    monkeypatch.setattr(packet_pass, "_ENOUGH_MEMORY", 1 << 62)  # more than there is: memory is short indeed
    with VideoDecoder(make_clip()) as decoder, pytest.raises(MemoryError):
        list(decoder)


def test_pictures_without_timestamps_follow_each_other(make_clip: Make, tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    raw = tmp_path / "raw.264"
    ffmpeg("-i", make_clip(frames=20), "-c", "copy", "-bsf:v", "h264_mp4toannexb", raw)
    with VideoDecoder(raw) as decoder:
        seconds = [frame.seconds for frame in decoder]
        assert any("no timestamp" in notice for notice in decoder.notices)
    np.testing.assert_allclose(np.diff(seconds), 1 / 25, atol=1e-6)


def test_ten_bits_come_out_as_sixteen(make_clip: Make) -> None:
    path = make_clip("ten.mp4", pixel_format="yuv420p10le")
    with VideoDecoder(path) as decoder:
        assert decoder.info.color.bit_depth == 10 and decoder.notices == ()
        first = next(iter(decoder)).data
    assert first.dtype == np.uint16 and first.max() > 255 * 64


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_for_the_engine_to_judge(make_clip: Make, transfer: int) -> None:
    path = make_clip("hdr.mp4", pixel_format="yuv420p10le", tags={"color_trc": transfer, "color_primaries": 9, "colorspace": 9})
    with VideoDecoder(path) as decoder:
        assert decoder.info.color.hdr and len(list(decoder)) == 12


@pytest.mark.parametrize(("name", "codec"), [("fields.mpg", "mpeg2video"), ("fields.mp4", "mpeg4")])
def test_interlaced_is_refused(tmp_path: Path, ffmpeg: Callable[..., None], name: str, codec: str) -> None:
    """MPEG-4 part 2 says it in each picture only, not in its header."""
    path = tmp_path / name
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.4", "-vf", "setfield=tff"),
        *("-flags", "+ilme+ildct", "-c:v", codec, path),
    )
    with pytest.raises(MediaError, match="interlaced"):
        VideoDecoder(path)


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("cine/moviepy_fire2.mp4", 25),
        ("codecs/torchcodec_nasa_13013.mp4", 390),
        ("codecs/torchcodec_av1_video.mkv", 125),
        ("codecs/torchcodec_h265_10bits.mp4", 30),
        ("codecs/torchcodec_h265_video.mp4", 10),
        ("codecs/foreman/foreman_h264.264", 60),
    ],
)
def test_real_files_come_out_whole(real: Callable[[str], Path], name: str, frames: int) -> None:
    with VideoDecoder(real(name)) as decoder:
        stamps = [frame.pts for frame in decoder]
    assert len(stamps) == frames and stamps == sorted(set(stamps))


@pytest.mark.parametrize(
    ("change", "said"), [("scale=32:24", "size .* from 64x48 to 32x24"), ("format=yuv444p", "format .* yuv420p to yuv444p")]
)
def test_pictures_that_change_in_the_middle(tmp_path: Path, ffmpeg: Callable[..., None], change: str, said: str) -> None:
    """Refused at the picture that does it, with its number and time."""
    parts = []
    for number, filters in enumerate(("null", change)):
        part = tmp_path / f"part{number}.ts"
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=64x48:r=25:d=0.4,{filters}", "-c:v", "libx264", "-bf", "0", part)
        parts.append(f"file '{part}'\n")
    (tmp_path / "list.txt").write_text("".join(parts))
    path = tmp_path / "both.ts"
    ffmpeg("-f", "concat", "-safe", "0", "-i", tmp_path / "list.txt", "-c", "copy", path)
    seen = 0
    with pytest.raises(MediaError, match=said + r" at frame 10 \(\d+\.\d{3} s\)"), VideoDecoder(path) as decoder:
        for _ in decoder:
            seen += 1
    assert seen == 10
