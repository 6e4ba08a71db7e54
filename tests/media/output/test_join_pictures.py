"""Outputs without a muxer made of segments: the bytes of the single pass, from pictures kept without a loss."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.media.output.segments import COMMENT, Work
from vidrestore.errors import DamagedSegmentError, OutputExistsError, VerificationError
from vidrestore.media.output.lossless import PictureKeeper, PictureRestorer
from vidrestore.media.output.packet_file import Trailer
from vidrestore.media.output.segment_encoder import SegmentEncoder
from vidrestore.types import Frame

Make = Callable[..., Path]


def content_of(output: Path) -> dict[str, bytes]:
    if output.is_dir():
        return {entry.name: entry.read_bytes() for entry in sorted(output.iterdir())}
    return {"": output.read_bytes()}


NAMES = ["a.gif", "a.y4m", "png/", "tif/%03d.tif", "jpg/%d.jpg"]


def work_of(source: Path, name: str, comment: str = COMMENT, **settings: Any) -> Work:
    target = source.parent / name.rstrip("/")
    folder = target.parent if "%" in name else target
    folder.parent.mkdir(exist_ok=True)
    return Work(str(source), str(target) + ("/" if name.endswith("/") else ""), settings, comment, folder)


def other_name(work: Work, name: str) -> tuple[str, Path, Path]:
    """The target of a second output, and the places of both."""
    if "%" in name:
        first, second = Path(work.target).parent, Path(work.target).parent.with_name("other")
        return str(second / Path(work.target).name), first, second
    first = Path(work.target.rstrip("/"))
    second = first.with_name("other" + first.name)
    return str(second) + ("/" if name.endswith("/") else ""), first, second


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lengths", [5, [1, 9, 2], 100])
def test_the_bytes_of_the_single_pass(make_clip: Make, name: str, lengths: int | list[int]) -> None:
    work = work_of(make_clip("in.mkv", frames=14, size=(48, 32)), name)
    segments = work.encode_all(lengths)
    report = work.join(segments)
    target, here, there = other_name(work, name)
    single = work.single_pass(target)
    assert content_of(here) == content_of(there)
    assert (report.frames, report.notices, report.rows) == (single.frames, single.notices, single.rows)
    assert sorted(work.folder.iterdir()) == sorted(segments)


@pytest.mark.parametrize(
    ("name", "pixel_format"), [("png/", "gbrp12le"), ("tif/%03d.tif", "gbrap10le"), ("png/", "bgra"), ("a.gif", "bgra")]
)
def test_depth_and_transparency(make_clip: Make, name: str, pixel_format: str) -> None:
    work = work_of(make_clip("in.mkv", frames=6, size=(48, 32), codec="ffv1", pixel_format=pixel_format), name)
    random = np.random.default_rng(3)
    for frame in work.frames:
        frame.data[:] = random.integers(0, np.iinfo(frame.data.dtype).max, frame.data.shape, frame.data.dtype, endpoint=True)
        if frame.alpha is not None:
            frame.alpha[:] = random.integers(0, np.iinfo(frame.alpha.dtype).max, frame.alpha.shape, frame.alpha.dtype)
    assert (work.frames[0].alpha is not None) == ("a" in pixel_format)
    assert work.frames[0].data.dtype == (np.uint8 if pixel_format == "bgra" else np.uint16)
    work.join(work.encode_all(4))
    target, here, there = other_name(work, name)
    work.single_pass(target)
    assert content_of(here) == content_of(there)


@pytest.mark.parametrize("name", ["a.gif", "a.y4m", "png/"])
@pytest.mark.parametrize("lengths", [2, 100])
def test_a_constant_rate(make_clip: Make, name: str, lengths: int) -> None:
    stamps = [3, 40, 70, 75, 78, 300, 480, 500, 777, 900]
    source = make_clip("in.mkv", pts=stamps, time_base=Fraction(1, 1000), size=(48, 32))
    work = work_of(source, name, cfr=True, frame_rate="20")
    report = work.join(work.encode_all(lengths))
    target, here, there = other_name(work, name)
    single = work.single_pass(target)
    assert content_of(here) == content_of(there) and report == single and report.constant_rate == 20


@pytest.mark.parametrize("name", ["a.gif", "a.y4m", "png/"])
def test_before_the_name(make_clip: Make, name: str) -> None:
    work = work_of(make_clip("in.mkv", frames=5, size=(48, 32)), name, cfr=True)
    segments, seen = work.encode_all(2), []

    def before(path: Path, report: Any) -> None:
        seen.append((path, report, path.exists(), Path(work.target).exists()))

    report = work.join(segments, before_naming=before)
    (path, told, there, named), *more = seen
    assert path.parent == work.folder and (told, there, named, more) == (report, True, False, [])
    with pytest.raises(OutputExistsError):
        work.join(segments)

    def refuse(path: Path, report: Any) -> None:
        raise VerificationError("No.")

    before_it = content_of(Path(work.target))
    with pytest.raises(VerificationError):
        work.join(segments, before_naming=refuse, overwrite=True)
    assert content_of(Path(work.target)) == before_it and sorted(work.folder.iterdir()) == sorted(segments)


def test_what_a_killed_join_left_is_replaced(make_clip: Make) -> None:
    work = work_of(make_clip("in.mkv", frames=5, size=(48, 32)), "png/")
    (work.folder / "joined.part").mkdir()
    (work.folder / "joined.part" / "000009.png").write_bytes(b"half")
    work.join(work.encode_all(2))
    assert sorted(content_of(Path(work.target))) == [f"{n:06d}.png" for n in range(1, 6)] + ["timecodes.txt"]


@pytest.mark.parametrize("size", [(1, 1), (17, 3), (64, 48), (333, 7)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pictures_come_back_as_they_were(size: tuple[int, int], kind: type) -> None:
    width, height = size
    random, top = np.random.default_rng(1), np.iinfo(kind).max
    keeper, stored, given = PictureKeeper(width, height), [], []
    for number in range(4):
        data = random.integers(0, top, (3, height, width), kind, endpoint=True)
        if number == 1:  # not laid out as the encoder wants it
            data = np.ascontiguousarray(data.transpose(1, 2, 0)).transpose(2, 0, 1)
        alpha = random.integers(0, top, (max(1, height // 2), max(1, width // 2)), kind) if number % 2 else None
        given.append((data.copy(), alpha, b"cc" if number == 2 else None))
        stored.append(keeper.keep(number, data, alpha, given[-1][2]))
    restorer = PictureRestorer(trailer_of(keeper, width, height), "x")
    for record, (data, alpha, captions) in zip(stored, given, strict=True):
        found = restorer.restore(record)
        assert found[0].dtype == kind and np.array_equal(found[0], data) and found[2] == captions
        assert (found[1] is None) == (alpha is None) and (alpha is None or np.array_equal(found[1], alpha))
        assert alpha is None or found[1].dtype == alpha.dtype


def trailer_of(keeper: PictureKeeper, width: int, height: int) -> Trailer:
    return Trailer(
        kind="kept",
        codec="ffv1",
        width=width,
        height=height,
        pixel_format="",
        time_base=Fraction(1, 25),
        origin=Fraction(0),
        first=0,
        frames=4,
        pts=(0, 1, 2, 3),
        durations=(None,) * 4,
        layouts=keeper.layouts,
    )


def test_pictures_that_cannot_be_read_back() -> None:
    keeper = PictureKeeper(32, 16)
    record = keeper.keep(0, np.zeros((3, 16, 32), np.uint8), np.zeros((16, 32), np.uint8), None)
    trailer = trailer_of(keeper, 32, 16)
    side = dict(record.side)
    broken = [
        record.__class__(0, b"", side=record.side),
        record.__class__(0, record.payload[:-9], side=record.side),
        record.__class__(0, record.payload),
        record.__class__(0, record.payload, side=(("layout", b"gbrp16le"),)),
        record.__class__(0, record.payload, side=(("layout", side["layout"]), ("alpha", b"\x05" + side["alpha"][1:]))),
        record.__class__(0, record.payload, side=(("layout", side["layout"]), ("alpha", side["alpha"][:4]))),
        record.__class__(0, record.payload, side=(("layout", side["layout"]), ("alpha", side["alpha"][:-4]))),
    ]
    for wrong in broken:
        with pytest.raises(DamagedSegmentError, match="cannot be read back"):
            PictureRestorer(trailer, "x").restore(wrong)


def test_frames_that_are_refused(make_clip: Make) -> None:
    work = work_of(make_clip("in.mkv", frames=3, size=(48, 32)), "a.gif")
    first = work.frames[0]

    def frame(data: Any = first.data, index: int = 1, pts: int = first.pts + 40, tick: Fraction = first.time_base) -> Frame:
        return Frame(data, index, pts, tick)

    for wrong in (frame(data=first.data[:, 1:]), frame(index=2), frame(pts=first.pts), frame(tick=Fraction(1, 77))):
        with (
            pytest.raises(ValueError, match=r"frame \d"),
            SegmentEncoder(work.folder / "x", work.target, work.media, work.media.video, work.config) as encoder,
        ):
            encoder.write(first)
            encoder.write(wrong)
        assert not (work.folder / "x").exists()
    with pytest.raises(ValueError, match="pipe"):
        SegmentEncoder(work.folder / "x", "-", work.media, work.media.video, work.config)
