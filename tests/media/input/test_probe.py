from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from tests.media.boxes import SAMPLE_ENTRY, box, with_more
from vidrestore.errors import MediaError, NotAVideoError, NoVideoStreamError, SourceMissingError, UnknownCodecError
from vidrestore.media import VideoDecoder
from vidrestore.media.input.probe import probe

Make = Callable[..., Path]


def test_importing_media_loads_no_av() -> None:
    code = "import sys, vidrestore.media; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_describes_a_clip(make_clip: Make) -> None:
    path = make_clip(
        "clip.mp4", audio=True, metadata={"title": "A drive"}, chapters=[(0, 200, "One"), (200, 480, "Two")], rotation=90
    )
    info = probe(path)
    assert (info.video.width, info.video.height, info.video.frames) == (64, 48, 12)
    assert info.video.codec == "h264" and info.video.frame_rate == 25
    assert info.video.rotation == 90 and info.display_matrix is not None
    assert [stream.type for stream in info.streams][:2] == ["video", "audio"]
    assert [chapter.metadata["title"] for chapter in info.chapters] == ["One", "Two"]
    assert info.metadata["title"] == "A drive"
    assert info.start_time <= 0 and info.size_bytes == path.stat().st_size
    assert not info.interlaced and info.damaged_from is None and info.notices == ()


def test_colour_is_read_or_left_open(make_clip: Make) -> None:
    plain = probe(make_clip("plain.mp4")).video.color
    assert (plain.tagged_matrix, plain.tagged_range, plain.matrix, plain.full_range) == (None, None, "bt601", False)
    tags = {"colorspace": 1, "color_range": 2, "color_primaries": 1, "color_trc": 13}
    told = probe(make_clip("told.mp4", tags=tags)).video.color
    assert (told.tagged_matrix, told.tagged_range, told.primaries, told.transfer) == ("bt709", "pc", "bt709", "iec61966-2-1")
    assert told.matrix == "bt709" and told.full_range


def test_chroma_location_is_read(make_clip: Make) -> None:
    located = make_clip("located.mp4", options={"chroma_sample_location": "topleft"})
    assert probe(located).video.color.chroma_location == "topleft"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="There is no file"):
        probe(tmp_path / "absent.mp4")


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(NotAVideoError, match="is a folder"):
        probe(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(20)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(NotAVideoError, match="pipe"):
        probe(tmp_path / "pipe.mp4")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("noise.mp4", bytes(range(256)) * 40),
        ("empty.mp4", b""),
        ("words.txt", b"only words\n" * 50),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nclip.ts\n#EXT-X-ENDLIST\n"),
    ],
)
def test_not_a_video(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(NotAVideoError):
        probe(path)


def test_a_still_image_is_no_video(tmp_path: Path) -> None:
    import numpy as np

    from vidrestore.media import write_image

    write_image(tmp_path / "still.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(NotAVideoError):
        probe(tmp_path / "still.png")


def test_sound_alone(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", tmp_path / "tone.wav")
    with pytest.raises(NoVideoStreamError):
        probe(tmp_path / "tone.wav")


def test_cover_art_is_not_the_picture(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    cover, song = tmp_path / "cover.png", tmp_path / "song.mp3"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32:d=0.04", "-frames:v", "1", cover)
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-i", cover, "-map", "0", "-map", "1", "-disposition:v", "attached_pic", song)
    with pytest.raises(NoVideoStreamError):
        probe(song)


def test_unknown_codec(make_clip: Make) -> None:
    path = make_clip("clip.mkv")
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    with pytest.raises(UnknownCodecError, match="no decoder"):
        probe(path)


def test_the_default_and_larger_picture_is_taken(real: Callable[[str], Path]) -> None:
    info = probe(real("codecs/torchcodec_nasa_13013.mp4"))
    assert info.video_index == 3 and (info.video.width, info.video.height) == (480, 270)


def test_real_phone_clip(real: Callable[[str], Path]) -> None:
    info = probe(real("cine/moviepy_fire2.mp4"))
    assert info.video.time_base == Fraction(1, 90000)
    assert abs(info.video.rotation) == 180 and "location" in info.metadata


# What only pictures tell ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "depth", "alpha"),
    [
        ("ten.mkv", "libx265", "yuv420p10le", 10, False),
        ("twelve.mkv", "ffv1", "yuv444p12le", 12, False),
        ("sixteen.mkv", "ffv1", "rgba64le", 16, True),
        ("glass.mov", "prores_ks", "yuva444p10le", 12, True),  # FFmpeg decodes ProRes 4444 to 12 bits
        ("glass.mkv", "ffv1", "yuva420p", 8, True),
        ("padded.mov", "rawvideo", "bgr0", 8, False),
    ],
)
def test_depth_and_transparency(
    tmp_path: Path, ffmpeg: Callable[..., None], name: str, codec: str, pixel_format: str, depth: int, alpha: bool
) -> None:
    path = tmp_path / name
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=64x48:r=25:d=0.1,format={pixel_format}", "-c:v", codec, path)
    info = probe(path)
    assert (info.video.color.bit_depth, info.video.alpha) == (depth, alpha) and info.notices == ()


def test_vp9_and_vp8_keep_their_transparency(tmp_path: Path, ffmpeg: Callable[..., None], real: Callable[[str], Path]) -> None:
    """FFmpeg's own decoders drop it; the opacity is compared with what the judge drew."""
    import numpy as np

    for codec in ("libvpx-vp9", "libvpx"):
        path = tmp_path / f"{codec}.webm"
        ramp = "testsrc2=s=64x48:r=25:d=0.2,format=yuva420p,geq=lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)':a='4*X'"
        ffmpeg("-f", "lavfi", "-i", ramp, "-c:v", codec, "-auto-alt-ref", "0", "-b:v", "2M", path)
        info = probe(path)
        assert info.video.alpha and info.video.pixel_format == "yuva420p"
        with VideoDecoder(info) as decoder:
            frames = list(decoder)
        assert len(frames) == 5
        drawn = np.broadcast_to(np.arange(64) * 4, (48, 64))
        assert max(np.abs(frame.alpha.astype(int) - drawn).mean() for frame in frames) < 3
    opaque = tmp_path / "opaque.webm"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.2", "-c:v", "libvpx-vp9", opaque)
    assert not probe(opaque).video.alpha
    assert probe(real("codecs/moviepy_transparent.webm")).video.alpha


def test_a_gif_is_transparent_only_if_a_pixel_is(
    tmp_path: Path, ffmpeg: Callable[..., None], real: Callable[[str], Path]
) -> None:
    opaque = tmp_path / "opaque.gif"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=32x32:r=10:d=1", opaque)
    assert not probe(opaque).video.alpha
    late = tmp_path / "late.gif"  # whole at first; then a picture that clears it and is transparent itself
    first, second = (_gif(index, transparent) for index, transparent in ((1, 3), (2, 2)))
    late.write_bytes(first[:-1] + second[second.index(b"\x21\xf9") :])
    with av.open(str(late)) as container:
        assert [int(frame.to_ndarray(format="rgba")[..., 3].min()) for frame in container.decode(video=0)] == [255, 0]
    assert probe(late).video.alpha
    assert probe(real("codecs/moviepy_pigs_in_a_polka.gif")).video.alpha


def _gif(index: int, transparent: int) -> bytes:
    """A GIF of one picture, all of one palette index; it is cleared before the next (disposal 2)."""
    image, file = Image.new("P", (8, 8), index), io.BytesIO()
    image.putpalette([0, 0, 0, 200, 90, 10, 10, 90, 200, 255, 255, 255])
    image.save(file, "GIF", optimize=False, disposal=2, duration=100, transparency=transparent)
    return file.getvalue()


def test_hdr10s_display_and_light_are_read(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    path = tmp_path / "hdr.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.2,format=yuv420p10le", "-c:v", "libx265", "-x265-params"),
        "log-level=error:hdr10=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)",
        path,
    )
    color = probe(path).video.color
    assert color.hdr and color.content_light == (1000, 400)
    assert color.mastering_display == (34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450, 10000000, 50)


@pytest.mark.parametrize(("profile", "compatible"), [(5, 0), (8, 1)])
def test_dolby_vision(make_clip: Make, tmp_path: Path, profile: int, compatible: int) -> None:
    """`dvcC` after the sample entry (Dolby Vision Streams Within the ISO Base Media File Format, 3.2), put there by hand."""
    from vidrestore.media.input.probe import require_restorable

    plain = make_clip("plain.mp4", codec="libx265", size=(64, 64), options={"x265-params": "log-level=error"})
    record = bytes([1, 0, profile << 1, 1 << 3 | 0b101, compatible << 4]) + bytes(19)
    content = plain.read_bytes()
    entry = "hev1" if b"hev1" in content else "hvc1"
    path = tmp_path / "dolby.mp4"
    path.write_bytes(with_more(content, (*SAMPLE_ENTRY, entry), box("dvcC", record)))
    info = probe(path)
    assert any("Dolby Vision" in notice for notice in info.notices)
    assert info.dolby_vision_only == (profile == 5)
    if profile == 5:
        with pytest.raises(MediaError, match="profile 5"):
            require_restorable(info)
    else:
        require_restorable(info)


# Geometry ------------------------------------------------------------------------------------------


def matroska_cropped(source: Path, target: Path, left: int, top: int) -> Path:
    """Matroska's DisplayWidth and DisplayHeight overwritten with PixelCropLeft and PixelCropTop."""
    content = bytearray(source.read_bytes())
    for old, new, value in ((b"\x54\xb0", b"\x54\xcc", left), (b"\x54\xba", b"\x54\xbb", top)):
        at = content.index(old)
        length = content[at + 2] & 0x7F
        content[at : at + 3 + length] = new + content[at + 2 : at + 3] + value.to_bytes(length, "big")
    target.write_bytes(content)
    return target


def test_matroskas_crop_is_applied(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    import numpy as np

    whole = tmp_path / "whole.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.2,setsar=4/3", "-c:v", "libx264", whole)
    cropped = matroska_cropped(whole, tmp_path / "cropped.mkv", 7, 3)
    info = probe(cropped)
    assert (info.video.width, info.video.height, info.coded_size) == (57, 45, (64, 48))
    assert "left 7, top 3" in info.notices[0]
    with VideoDecoder(whole) as all_of_it, VideoDecoder(info) as part:
        for before, after in zip(all_of_it, part, strict=True):
            assert np.array_equal(after.data, before.data[:, 3:, 7:])


def test_mp4s_clean_aperture_is_applied(make_clip: Make, tmp_path: Path) -> None:
    """`clap` (ISO 14496-12, 12.1.4) of 48x40 around the middle of 64x48."""
    plain = make_clip("plain.mp4")
    aperture = b"".join(number.to_bytes(4, "big") for number in (48, 1, 40, 1, 0, 1, 0, 1))
    path = tmp_path / "cropped.mp4"
    path.write_bytes(with_more(plain.read_bytes(), (*SAMPLE_ENTRY, "avc1"), box("clap", aperture)))
    info = probe(path)
    assert (info.video.width, info.video.height) == (48, 40)
    assert info.crop is not None and (info.crop.left, info.crop.top) == (8, 4)


def test_a_crop_of_everything_is_refused(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    whole = tmp_path / "whole.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.2,setsar=4/3", "-c:v", "libx264", whole)
    with pytest.raises(NotAVideoError):
        probe(matroska_cropped(whole, tmp_path / "cropped.mkv", 64, 3))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("size", [(66, 50), (63, 49), (1, 1)])
def test_odd_sizes(tmp_path: Path, ffmpeg: Callable[..., None], codec: str, size: tuple[int, int]) -> None:
    """The codec's own cropping to whole blocks is undone; odd and tiny pictures need 4:4:4."""
    if codec == "libx265" and size == (1, 1):
        codec = "ffv1"  # x265 makes no pictures below 16x16
    path = tmp_path / "odd.mkv"
    quiet = ["-x265-params", "log-level=error"] if codec == "libx265" else []
    picture = f"testsrc2=s=128x128:r=25:d=0.2,scale={size[0]}:{size[1]},format=yuv444p"
    ffmpeg("-f", "lavfi", "-i", picture, "-c:v", codec, *quiet, path)
    info = probe(path)
    assert (info.video.width, info.video.height) == size
    with VideoDecoder(info) as decoder:
        assert {frame.data.shape for frame in decoder} == {(3, size[1], size[0])}


def test_8k(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    path = tmp_path / "8k.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=7680x4320:r=25:d=0.04", "-c:v", "libx264", "-preset", "ultrafast", path)
    with VideoDecoder(path) as decoder:
        assert [frame.data.shape for frame in decoder] == [(3, 4320, 7680)]


@pytest.mark.parametrize(("sar", "flip"), [("4/3", None), ("16/15", "hflip"), ("1", "vflip")])
def test_aspect_and_flips(make_clip: Make, tmp_path: Path, ffmpeg: Callable[..., None], sar: str, flip: str | None) -> None:
    shaped, path = tmp_path / "shaped.mp4", tmp_path / "clip.mp4"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=64x48:r=25:d=0.2,setsar={sar}", "-c:v", "libx264", shaped)
    ffmpeg(*([f"-display_{flip}"] if flip else []), "-i", shaped, "-c", "copy", path)
    info = probe(path)
    assert info.video.sample_aspect_ratio == Fraction(sar)
    assert (info.display_matrix is not None) == (flip is not None)
    if flip:
        one = 1 << 16
        assert info.display_matrix is not None
        assert (info.display_matrix[0], info.display_matrix[4]) == ((-one, one) if flip == "hflip" else (one, -one))


@pytest.mark.parametrize("ending", ["avi", "mov", "mkv"])
def test_side_data_that_pyav_has_no_name_for(make_clip: Make, tmp_path: Path, ending: str) -> None:
    """EXIF in Motion JPEG, as cameras write it: its orientation is kept, and every picture comes."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)  # orientation 6: turn clockwise by 90 degrees
    exif = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    plain, path = make_clip("plain.mkv", codec="mjpeg", pixel_format="yuvj420p"), tmp_path / f"camera.{ending}"
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        template = old.streams.video[0]
        stream = new.add_stream_from_template(template, opaque=True)
        for packet in (packet for packet in old.demux(template) if packet.size):
            payload = bytes(packet)
            copy = av.Packet(payload[:2] + exif + payload[2:])
            copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.pts, packet.time_base, stream
            copy.duration, copy.is_keyframe = packet.duration, True
            new.mux(copy)
    with av.open(str(path)) as container, pytest.raises(ValueError, match="not a valid Type"):
        assert next(container.decode(video=0)).side_data
    info = probe(path)
    assert info.video.rotation == -90
    with VideoDecoder(info) as decoder:
        assert len(list(decoder)) == 12


def test_a_display_matrix_that_is_no_turn_is_said(make_clip: Make, tmp_path: Path) -> None:
    """One flipped byte of a `tkhd` shears the picture: no player follows it."""
    content = bytearray(make_clip("turned.mp4", rotation=90).read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # version 0: the matrix is behind 40 bytes
    assert probe(tmp_path / "turned.mp4").video.rotation == 90
    content[at] ^= 0x20
    path = tmp_path / "sheared.mp4"
    path.write_bytes(content)
    info = probe(path)
    assert info.display_matrix is None and info.video.rotation == 0
    assert "neither turns nor mirrors" in info.notices[0]
