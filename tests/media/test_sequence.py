"""Image sequences both ways: nothing missing, nothing added, the same pixels and the same times."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.media.conftest import picture
from vidrestore.config import LimitsConfig, RunConfig
from vidrestore.errors import (
    DamagedVideoError,
    EmptyVideoError,
    FolderMissingError,
    LimitExceededError,
    MediaError,
    NotAVideoError,
    OutputExistsError,
    SameFileError,
    SourceMissingError,
    StorageError,
    UnsupportedStreamError,
    UsageError,
    VerificationError,
)
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.media.input.probe import probe
from vidrestore.media.input.source import open_source
from vidrestore.media.output.sequence_sink import SequenceSink
from vidrestore.media.output.sink import check_sink, open_sink
from vidrestore.media.sequence import Pattern, list_images
from vidrestore.types import Frame


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., Path]:
    """images(name pattern, numbers, kind, folder) -> the folder of small, different pictures written by OpenCV."""

    def make(pattern: str = "%06d.png", numbers: Any = range(1, 6), kind: str = "rgb8", folder: str = "in") -> Path:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for number in numbers:
            cv2.imwrite(str(place / (pattern % number)), pixels_of(number, kind))
        return place

    return make


def pixels_of(number: int, kind: str = "rgb8", width: int = 20, height: int = 14) -> Any:
    """(H, W, C) in OpenCV's order; deeper kinds use their low bits, transparent ones every opacity."""
    bgr = picture(number, width, height)[..., ::-1]
    if kind.startswith("gray"):
        bgr = bgr[..., :1]
    if "a" in kind.removeprefix("gray"):
        ramp = np.linspace(0, 255, width * height).reshape(height, width, 1).astype(np.uint8)
        bgr = np.concatenate([bgr, ramp], axis=-1)
    return bgr if kind.endswith("8") else bgr.astype(np.uint16) * 257 + np.arange(width, dtype=np.uint16)[None, :, None]


def decoded(address: str | Path, **settings: Any) -> list[Frame]:
    with open_source(address).decoder(DecodeOptions(**settings)) as decoder:
        return list(decoder)


def hidden(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


# Which files, in which order ----------------------------------------------------------------------------------------


def test_patterns() -> None:
    assert Pattern.parse("shot.png") is None and Pattern.parse("%d_%d.png") is None and Pattern.parse("%s.png") is None
    padded, plain = Pattern.parse("a%03d.png"), Pattern.parse("%d.jpg")
    assert padded is not None and plain is not None
    assert (padded.name(7), padded.name(1234), str(padded)) == ("a007.png", "a1234.png", "a%03d.png")
    assert (padded.number("a007.png"), padded.number("a7.png"), padded.number("b007.png")) == (7, None, None)
    assert (plain.number("10.jpg"), plain.number("010.jpg"), plain.number("x.jpg")) == (10, None, None)


def test_numbers_count_as_numbers(images: Callable[..., Path]) -> None:
    folder = images("f%d.png", range(8, 12))
    assert [file.name for file in list_images(folder).files] == ["f8.png", "f9.png", "f10.png", "f11.png"]
    assert list_images(folder / "f%d.png").files == list_images(folder).files


@pytest.mark.parametrize(("numbers", "missing"), [([1, 2, 4], "Image 3 of"), ([8, 9, 13], "Images 10 to 12 of")])
@pytest.mark.parametrize("by_pattern", [True, False])
def test_a_gap_is_refused_by_its_number(numbers: list[int], missing: str, by_pattern: bool, images: Callable[..., Path]) -> None:
    folder = images("%04d.png", numbers)
    with pytest.raises(MediaError, match=missing):
        open_source(folder / "%04d.png" if by_pattern else folder)


def test_names_without_a_common_number_are_sorted_and_told_of(images: Callable[..., Path]) -> None:
    folder = images("a%d.png", [1])
    images("b%d.png", [20, 3])
    listing = list_images(folder)
    assert [file.name for file in listing.files] == ["a1.png", "b3.png", "b20.png"]
    assert "cannot be noticed" in listing.notices[0]


def test_folders_that_are_no_sequence(tmp_path: Path, images: Callable[..., Path], make_clip: Callable[..., Path]) -> None:
    folder = images()
    shutil.copy(make_clip("clip.mp4", frames=1), folder / "clip.mp4")
    with pytest.raises(NotAVideoError, match=r"holds images and videos \(000001\.png, clip\.mp4\)"):
        open_source(folder)
    assert len(list_images(folder / "%06d.png").files) == 5
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotAVideoError, match="a folder without images"):
        open_source(tmp_path / "empty")
    with pytest.raises(NotAVideoError, match="a folder of videos"):
        open_source(tmp_path)
    with pytest.raises(SourceMissingError, match="no image %03d"):
        open_source(folder / "%03d.png")
    with pytest.raises(SourceMissingError, match="no folder"):
        open_source(tmp_path / "nowhere" / "%03d.png")
    images("%03d.png", [1], folder="twice")
    images("%d.png", [1], folder="twice")
    with pytest.raises(MediaError, match="is there twice"):
        open_source(tmp_path / "twice")


def test_an_odd_image_is_named_before_work(images: Callable[..., Path]) -> None:
    folder = images()
    cv2.imwrite(str(folder / "000004.png"), pixels_of(4, "rgb16"))
    with pytest.raises(MediaError, match=r"000004\.png is 16-bit RGB png, 20x14; the images before it are 8-bit RGB png, 20x14"):
        open_source(folder)
    cv2.imwrite(str(folder / "000004.png"), pixels_of(4, width=22))
    with pytest.raises(MediaError, match=r"000004\.png is 8-bit RGB png, 22x14"):
        open_source(folder)


def test_large_images_meet_the_limit(images: Callable[..., Path]) -> None:
    with pytest.raises(LimitExceededError, match="20x14"):
        open_source(images(), limits=LimitsConfig(pixels=100))


# Pixels -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rgb8", "rgb16", "rgba8", "rgba16", "gray8", "gray16"])
@pytest.mark.parametrize("extension", ["png", "tif"])
def test_pixels_are_the_images_own_and_come_back(
    kind: str, extension: str, images: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]
) -> None:
    folder = images(f"%03d.{extension}", kind=kind)
    source = open_source(folder)
    assert source.media.video.color.bit_depth == (16 if "16" in kind else 8) and source.media.video.alpha == ("rgba" in kind)
    report = through(folder, tmp_path / "out" / f"%03d.{extension}")
    assert (report.frames, report.verdict, report.pts_exact) == (5, "ok", True)
    for number in range(1, 6):
        wanted = pixels_of(number, kind)
        file = tmp_path / "out" / f"{number:03d}.{extension}"
        found = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if (kind, extension) == ("rgba8", "tif"):  # OpenCV multiplies its colours with the opacity
            found = np.asarray(Image.open(file))[..., [2, 1, 0, 3]]
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted if wanted.shape[2] >= 3 else np.repeat(wanted, 3, axis=2))


@pytest.mark.parametrize("name", ["%d.bmp", "%d.webp", "%d.jpg"])
def test_other_kinds_are_read_as_another_library_reads_them(name: str, images: Callable[..., Path]) -> None:
    folder = images(name, range(1, 3))
    for number, frame in enumerate(decoded(folder), start=1):
        other = cv2.imread(str(folder / (name % number)))[..., ::-1]
        # jpg and webp: decoders may round their transform differently, and interpolate chroma in their own way.
        assert abs(frame.data.transpose(1, 2, 0).astype(int) - other).mean() < (2 if "bmp" not in name else 0.001)


def test_jpg_is_full_range_bt601(images: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]) -> None:
    color = open_source(images("%d.jpg")).media.video.color
    assert (color.matrix, color.full_range, color.transfer, color.primaries) == ("bt601", True, "iec61966-2-1", "bt709")
    through(tmp_path / "in", tmp_path / "out" / "%d.jpg")
    for number in range(1, 6):
        first, second = (cv2.imread(str(tmp_path / place / f"{number}.jpg")).astype(int) for place in ("in", "out"))
        assert abs(first - second).mean() < 1.5


def test_images_are_srgb_unless_they_say_otherwise(images: Callable[..., Path]) -> None:
    color = open_source(images()).media.video.color
    assert (color.full_range, color.tagged_matrix, color.primaries, color.transfer) == (True, "gbr", "bt709", "iec61966-2-1")


def test_a_photo_is_turned_upright_and_its_profile_noted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (tmp_path / "in").mkdir()
    for number in range(2):
        image = Image.fromarray(picture(number, 20, 14))
        image.save(tmp_path / "in" / f"{number}.png", exif=exif, icc_profile=profile)
    media = open_source(tmp_path / "in").media
    assert (media.video.width, media.video.height, media.video.rotation) == (14, 20, 0)
    assert any("ICC" in notice for notice in media.notices) and any("EXIF" in notice for notice in media.notices)
    frame = decoded(tmp_path / "in")[0]
    assert np.array_equal(frame.data.transpose(1, 2, 0), np.rot90(picture(0, 20, 14), -1))


def test_pixel_aspect_goes_along(images: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]) -> None:
    with av.open(str(images("%d.png", [1]) / "1.png")) as container:
        frame = next(container.decode(video=0))
    context: Any = av.CodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 20, 14, "rgb24", Fraction(1, 25)
    context.sample_aspect_ratio = Fraction(4, 3)
    (tmp_path / "in" / "1.png").write_bytes(b"".join(bytes(packet) for packet in context.encode(frame)))
    assert open_source(tmp_path / "in").media.video.sample_aspect_ratio == Fraction(4, 3)
    through(tmp_path / "in", tmp_path / "out" / "%d.png")
    assert open_source(tmp_path / "out").media.video.sample_aspect_ratio == Fraction(4, 3)


# Times --------------------------------------------------------------------------------------------------------------


def test_times_of_a_variable_rate_go_out_and_come_back_to_the_tick(
    make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any], seconds_of: Callable[[Path], list[Fraction]]
) -> None:
    stamps = [0, 701, 1399, 4242, 4243, 99999]
    clip = make_clip("vfr.mp4", pts=stamps, time_base=Fraction(1, 15360))
    report = through(clip, f"{tmp_path}/frames/")
    assert report.pts_exact and sorted(path.name for path in (tmp_path / "frames").iterdir())[-2:] == [
        "000006.png",
        "timecodes.txt",
    ]
    media = open_source(tmp_path / "frames").media
    assert media.video.time_base == Fraction(1, 15360) and not [n for n in media.notices if "assumed" in n]
    through(tmp_path / "frames", tmp_path / "back.mp4")
    assert seconds_of(tmp_path / "back.mp4") == [Fraction(stamp, 15360) for stamp in stamps] == seconds_of(clip)
    assert probe(tmp_path / "back.mp4").video.duration == pytest.approx(probe(clip).video.duration, abs=1e-4)


def test_without_times_the_rate_asked_for_counts(images: Callable[..., Path]) -> None:
    folder = images()
    media = open_source(folder).media
    assert media.video.frame_rate == 25 and any("25 frames a second are assumed" in notice for notice in media.notices)
    source = open_source(folder, frame_rate="30000/1001")
    assert source.media.video.time_base == Fraction(1001, 30000) and source.media.notices == ()
    with source.decoder() as decoder:
        assert [(frame.pts, frame.duration) for frame in decoder] == [(n, 1) for n in range(5)]


def test_a_range_becomes_the_beginning(make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]) -> None:
    clip = make_clip("clip.mp4", frames=10)
    report = through(clip, tmp_path / "out" / "%03d.png", start=0.16, duration=0.12)
    assert (report.frames, report.shift) == (3, 0.16)
    assert [frame.seconds for frame in decoded(tmp_path / "out")] == pytest.approx([0, 0.04, 0.08])


def test_a_range_of_images(images: Callable[..., Path]) -> None:
    frames = decoded(images(), start=0.08, duration=0.08)
    assert [(frame.index, frame.pts) for frame in frames] == [(0, 2), (1, 3)]
    with pytest.raises(EmptyVideoError):
        decoded(images(), start=9.0)


def test_cfr_writes_a_grid(make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]) -> None:
    clip = make_clip("vfr.mp4", pts=[0, 1, 5], time_base=Fraction(1, 25))
    report = through(clip, tmp_path / "out" / "%03d.png", cfr=True, frame_rate="25")
    assert [frame.pts * frame.time_base for frame in decoded(tmp_path / "out")] == [Fraction(n, 25) for n in range(report.frames)]
    assert report.frames >= 6


# Damage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("spoil", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"nonsense" * 40])
def test_a_damaged_image_stops_with_its_name_or_is_repeated(
    extension: str, spoil: Callable[[bytes], bytes], images: Callable[..., Path]
) -> None:
    folder = images(f"%d.{extension}")
    victim = folder / f"3.{extension}"
    victim.write_bytes(spoil(victim.read_bytes()))
    with pytest.raises(DamagedVideoError, match=rf"Frame 2 \(0\.080 s\), .*3\.{extension}, is damaged") as refusal:
        decoded(folder)
    assert (refusal.value.index, refusal.value.seconds) == (2, 0.08)
    with open_source(folder).decoder(DecodeOptions(on_damage="conceal")) as decoder:
        frames = list(decoder)
        assert [(entry.index, entry.kind) for entry in decoder.damage] == [(2, "repeated")]
        assert victim.name in decoder.damage[0].reason
    assert [(frame.index, frame.pts) for frame in frames] == [(n, n) for n in range(5)]
    assert np.array_equal(frames[2].data, frames[1].data) and not np.array_equal(frames[3].data, frames[1].data)


def test_flipped_bytes_in_a_png_are_found(images: Callable[..., Path]) -> None:
    folder = images()
    victim = folder / "000002.png"
    stored = bytearray(victim.read_bytes())
    stored[len(stored) // 2] ^= 0x10
    victim.write_bytes(bytes(stored))
    with pytest.raises(DamagedVideoError, match="000002"):
        decoded(folder)


def test_damage_at_the_beginning_shows_the_first_sound_one(images: Callable[..., Path]) -> None:
    folder = images()
    for number in (1, 2):
        (folder / f"00000{number}.png").write_bytes(b"")
    with open_source(folder).decoder(DecodeOptions(on_damage="conceal")) as decoder:
        frames = list(decoder)
    assert [frame.pts for frame in frames] == list(range(5)) and [entry.index for entry in decoder.damage] == [0, 1]
    assert np.array_equal(frames[0].data, frames[2].data)
    for number in range(1, 6):
        (folder / f"00000{number}.png").write_bytes(b"")
    with pytest.raises(MediaError, match="Not one image"):
        open_source(folder)


def test_an_image_that_goes_away_meanwhile(images: Callable[..., Path]) -> None:
    source = open_source(images())
    (source.media.path / "000003.png").unlink()
    with source.decoder() as decoder, pytest.raises(DamagedVideoError, match=r"000003\.png, is damaged: No such file"):
        list(decoder)


# The output folder --------------------------------------------------------------------------------------------------


def check(clip: Path, target: str | Path, overwrite: bool = False, **settings: Any) -> Any:
    media = open_source(clip).media
    return check_sink(target, media, media.video, RunConfig.model_validate(settings), overwrite)


def test_refusals_before_work(
    make_clip: Callable[..., Path], tmp_path: Path, rich: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, sound = make_clip("clip.mp4", frames=2), make_clip("sound.mp4", frames=2, audio=True)
    target = tmp_path / "out" / "%06d.png"
    with pytest.raises(UnsupportedStreamError, match=r"cannot hold stream 1 audio aac.*--container mkv.*--drop-streams audio"):
        check(sound, target)
    assert check(sound, target, drop_streams=("audio",)).codec == "png"
    with pytest.raises(UsageError, match=r"%06d\.gif has no extension"):
        check(clip, tmp_path / "out" / "%06d.gif")
    with pytest.raises(UsageError, match="--container mkv cannot apply"):
        check(clip, target, container="mkv")
    with pytest.raises(UsageError, match="--codec ffv1 cannot apply"):
        check(clip, target, encode={"codec": "ffv1"})
    with pytest.raises(FolderMissingError):
        check(clip, tmp_path / "no" / "where" / "%06d.png")
    with pytest.raises(OutputExistsError, match="not empty"):
        check(clip, f"{tmp_path}/")
    with pytest.raises(OutputExistsError, match=r"holds more than a sequence that vidrestore wrote \("):
        check(clip, f"{tmp_path}/", overwrite=True)
    with pytest.raises(OutputExistsError, match="is a file"):
        check(clip, f"{clip}/")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match="the current folder"):
        check(clip, "%06d.png")
    alpha = make_clip("alpha.mkv", codec="ffv1", pixel_format="yuva420p", frames=2)
    with pytest.raises(UnsupportedStreamError, match="jpg cannot hold transparency"):
        check(alpha, tmp_path / "out" / "%d.jpg")
    hdr = make_clip("hdr.mp4", codec="libx265", tags={"color_trc": 16, "color_primaries": 9, "colorspace": 9})
    with pytest.raises(UnsupportedStreamError, match="HDR"):
        check(hdr, target)
    assert any("no chapters" in notice for notice in check(rich("rich.mkv"), target, drop_streams=KINDS).notices)


KINDS = ("audio", "subtitle", "cover", "attachment", "data")


def test_the_folder_of_the_input_is_never_written_to(images: Callable[..., Path]) -> None:
    folder = images()
    with pytest.raises(SameFileError):
        check(folder, f"{folder}/", overwrite=True)
    with pytest.raises(SameFileError):
        check(folder / "%06d.png", folder / "%06d.png", overwrite=True)


def test_an_empty_folder_is_taken_and_a_sequence_of_ours_replaced(
    make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    through(make_clip("long.mp4", frames=5), out)
    assert len(list(out.glob("*.png"))) == 5
    short = make_clip("short.mp4", frames=2)
    with pytest.raises(OutputExistsError):
        through(short, out)
    through(short, out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["000001.png", "000002.png", "timecodes.txt"]
    (out / "notes.doc").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"notes\.doc"):
        through(short, out, overwrite=True)
    assert (out / "notes.doc").read_text() == "mine" and not hidden(tmp_path)


def test_what_is_not_finished_is_not_there(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    media = probe(make_clip("clip.mp4", frames=2))
    with open_sink(tmp_path / "out" / "%06d.png", media, media.video, RunConfig()) as sink:
        sink.write(Frame(np.zeros((3, 48, 64), np.uint8), 0, 0, Fraction(1, 25)))
        assert hidden(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    with (
        open_sink(tmp_path / "out" / "%06d.png", media, media.video, RunConfig()) as sink,
        pytest.raises(EmptyVideoError),
    ):
        sink.finish()


def test_what_fails_last_leaves_the_old_sequence(
    make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, clip = tmp_path / "out", make_clip("clip.mp4", frames=3)
    through(clip, f"{out}/")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StorageError):
        through(clip, f"{out}/", overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before and not hidden(tmp_path)


def test_an_image_spoiled_on_the_disk_is_found(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    media = probe(make_clip("clip.mp4", frames=2))
    for spoil, reason in ((b"", "cannot be read again"), (None, "not those that were written")):
        with open_sink(tmp_path / "out" / "%06d.png", media, media.video, RunConfig()) as sink:
            assert isinstance(sink, SequenceSink)
            for index in range(2):
                sink.write(Frame(np.full((3, 48, 64), 90 * index, np.uint8), index, index, Fraction(1, 25)))
            first, second = (sink._pending / f"00000{number}.png" for number in (1, 2))
            second.write_bytes(first.read_bytes() if spoil is None else spoil)
            with pytest.raises(VerificationError, match=rf"000002\.png .*{reason}|{reason}"):
                sink.finish()
        assert not (tmp_path / "out").exists() and not hidden(tmp_path)


@pytest.mark.skipif(not Path("/dev/shm").is_dir() or os.name != "posix", reason="needs Linux")
def test_a_full_disk_leaves_nothing(make_clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media = probe(make_clip("clip.mp4", frames=2))
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.suffix == ".png":
            with open("/dev/full", "wb") as device:  # noqa: PTH123
                return device.write(data)
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with (
        open_sink(tmp_path / "out" / "%06d.png", media, media.video, RunConfig()) as sink,
        pytest.raises(StorageError, match="no space"),
    ):
        sink.write(Frame(np.zeros((3, 48, 64), np.uint8), 0, 0, Fraction(1, 25)))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_turned_video_is_written_upright_and_the_same_bits_twice(
    make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any], ffmpeg: Callable[..., None]
) -> None:
    clip = make_clip("turned.mp4", rotation=90, frames=2)
    for name in ("one", "two"):
        report = through(clip, tmp_path / name / "%03d.png")
    assert any("turned upright" in notice for notice in report.notices)
    files = ["001.png", "002.png", "timecodes.txt"]
    assert [(tmp_path / "one" / name).read_bytes() for name in files] == [
        (tmp_path / "two" / name).read_bytes() for name in files
    ]
    ffmpeg("-i", clip, "-frames:v", "1", tmp_path / "judge.png")
    judge, ours = (cv2.imread(str(tmp_path / name)).astype(int) for name in ("judge.png", "one/001.png"))
    assert judge.shape == ours.shape and abs(judge - ours).mean() < 3
