"""Two videos side by side: the same moments, exactly, in order and by seeking; and what is said where one has no partner."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vidrestore.errors import EmptyVideoError, MediaError, UsageError
from vidrestore.media.convert import ToRGB
from vidrestore.media.input.packet_scan import scan_packets
from vidrestore.media.input.pairs import Pair, open_pairs
from vidrestore.media.input.probe import probe

Make = Callable[..., Path]
Restore = Callable[..., tuple[Any, Path, Any]]
UNEVEN = [0, 40, 75, 160, 200, 233, 300, 340, 420, 433, 500, 580, 620, 640, 700, 777, 800, 850, 900, 990]
GROUPS = {"g": "6", "bf": "2", "sc_threshold": "0"}


def close(pair: Pair) -> bool:
    """Whether both show the same picture, up to what coding loses."""
    one, other = (picture.astype(int) for picture in pair.pictures)
    return bool(np.abs(one - other).mean() < 6)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_uneven_times_pair_in_order_and_after_a_seek(make_clip: Make, restore: Restore, name: str) -> None:
    source = make_clip("in.mp4", pts=UNEVEN, time_base=Fraction(1, 1000), options=GROUPS)
    _, output, _ = restore(source, name)
    with open_pairs(source, output) as pairs:
        assert pairs.frames == len(UNEVEN)
        assert pairs.quick
        everything = list(pairs)
        assert [pair.reference.index for pair in everything] == list(range(len(UNEVEN)))
        assert [pair.reference.pts * pair.reference.time_base * 1000 for pair in everything] == UNEVEN
        assert all(close(pair) for pair in everything)
        runs = list(pairs.at([1, 4, 13, 17, 2], 3))
    for begin, run in zip([1, 4, 13, 17, 2], runs, strict=True):
        assert [pair.output.index for pair in run] == [begin, begin + 1, begin + 2]
        for pair, straight in zip(run, everything[begin : begin + 3], strict=True):
            assert np.array_equal(pair.reference.data, straight.reference.data)
            assert np.array_equal(pair.output.data, straight.output.data)
            assert pair.output.pts == straight.output.pts


def test_b_frames_are_there_and_reading_goes_on_until_a_key_picture(make_clip: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_clip("in.mp4", frames=30, options=GROUPS)
    with av.open(str(source)) as container:
        assert any(p.pts != p.dts for p in container.demux(container.streams.video[0]) if p.pts is not None)
    assert len(scan_packets(probe(source)).keys) >= 5
    with open_pairs(source, source) as pairs:
        assert list(pairs.entries[1]) == [0, 6, 12, 18, 24]
        entered: list[int] = []
        enter = pairs._output._enter
        monkeypatch.setattr(pairs._output, "_enter", lambda number: (entered.append(number), enter(number)))
        got = [run[0].output.index for run in pairs.at([0, 3, 5, 20, 22, 29])]
        assert got == [0, 3, 5, 20, 22, 29]
    assert entered[0] == 0
    assert 3 not in entered
    assert 5 not in entered
    assert 20 in entered


def test_a_part_with_the_output_of_that_part_and_of_all(make_clip: Make, restore: Restore) -> None:
    source = make_clip("in.mp4", pts=UNEVEN, time_base=Fraction(1, 1000), options=GROUPS)
    _, whole, _ = restore(source, "whole.mp4")
    _, part, _ = restore(source, "part.mp4", start=0.3, duration=0.4)
    wanted = [stamp for stamp in UNEVEN if 300 <= stamp < 700]
    for output in (part, whole):
        with open_pairs(source, output, start=0.3, duration=0.4) as pairs:
            got = list(pairs)
            assert [int(pair.reference.seconds * 1000 + 0.5) for pair in got] == wanted
            assert [pair.output.index for pair in got] == list(range(len(wanted)))
            assert all(close(pair) for pair in got)
            (run,) = pairs.at([len(wanted) - 2], 2)
            assert np.array_equal(run[1].output.data, got[-1].output.data)


def test_sizes_and_depths_may_differ(make_clip: Make, ffmpeg: Callable[..., None], tmp_path: Path) -> None:
    source, output = make_clip("in.mp4", frames=5), tmp_path / "large.mkv"
    ffmpeg("-i", source, "-vf", "scale=128:96", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", output)
    with open_pairs(source, output) as pairs:
        for pair in pairs:
            one, other = pair.pictures
            assert one.shape == (48, 64, 3)
            assert one.dtype == np.uint8
            assert other.shape == (96, 128, 3)
            assert other.dtype == np.uint16


def test_pictures_are_upright_on_both_sides(make_clip: Make, through: Callable[..., Any], tmp_path: Path) -> None:
    source = make_clip("in.mov", frames=4, rotation=90)
    through(source, tmp_path / "frames" / "%06d.png")
    through(source, tmp_path / "out.mp4")
    for output in (tmp_path / "frames" / "%06d.png", tmp_path / "out.mp4"):
        with open_pairs(source, output, frame_rate="25") as pairs:
            got = list(pairs)
            assert [pair.pictures[0].shape for pair in got] == [(64, 48, 3)] * 4
            assert [pair.pictures[1].shape for pair in got] == [(64, 48, 3)] * 4
            assert all(close(pair) for pair in got)


def test_a_file_that_cannot_be_entered_is_read_from_its_beginning(make_clip: Make) -> None:
    source = make_clip("in.avi", codec="mpeg4", frames=12, options={"g": "4"})
    copy = make_clip("out.mp4", frames=12)
    with open_pairs(source, copy) as pairs:
        assert not pairs.quick
        assert pairs.frames is None
        everything = list(pairs)
        assert len(everything) == 12
        ((pair,), (earlier,)) = pairs.at([9, 2])
        assert np.array_equal(pair.reference.data, everything[9].reference.data)
        assert np.array_equal(earlier.output.data, everything[2].output.data)
        with pytest.raises(ValueError, match="fewer than 13"):
            list(pairs.at([11], 2))


@pytest.mark.parametrize(("lost", "told"), [(0, "Frame 0 of"), (5, "Frame 5 of"), (19, "Frame 19 of")])
def test_a_lost_picture_is_named(make_clip: Make, lost: int, told: str) -> None:
    source = make_clip("in.mp4", pts=UNEVEN, time_base=Fraction(1, 1000))
    less = make_clip("out.mp4", pts=[pts for n, pts in enumerate(UNEVEN) if n != lost], time_base=Fraction(1, 1000))
    with pytest.raises(MediaError, match=rf"{told} .*in.mp4 \({UNEVEN[lost] / 1000:.3f} s\) has no partner in .*out.mp4"):
        open_pairs(source, less)
    with pytest.raises(MediaError, match=rf"{told} .*in.mp4 .* has no partner in .*out.mp4"):
        open_pairs(less, source)


def test_a_lost_picture_is_named_while_decoding_too(make_clip: Make) -> None:
    source = make_clip("in.avi", codec="mpeg4", frames=12)
    less = make_clip("out.mp4", pts=[n for n in range(12) if n != 4])
    with open_pairs(source, less) as pairs, pytest.raises(MediaError, match=r"Frame 4 of .*in.avi \(0.160 s\) has no partner"):
        list(pairs)
    with open_pairs(less, source) as pairs, pytest.raises(MediaError, match=r"Frame 4 of .*in.avi \(0.160 s\) has no partner"):
        list(pairs)
    short = make_clip("short.mp4", frames=11)
    with open_pairs(source, short) as pairs, pytest.raises(MediaError, match=r"Frame 11 of .*in.avi \(0.440 s\) has no partner"):
        list(pairs)


def test_pipes_and_parts_that_hold_nothing_are_refused(make_clip: Make) -> None:
    source = make_clip("in.mp4")
    with pytest.raises(UsageError, match="pipe"):
        open_pairs(source, "-")
    with pytest.raises(EmptyVideoError):
        open_pairs(source, source, start=100.0)


def test_runs_beyond_the_end_are_refused(make_clip: Make) -> None:
    source = make_clip("in.mp4")
    with open_pairs(source, source) as pairs, pytest.raises(ValueError, match="12 pairs"):
        list(pairs.at([11], 2))


def test_pictures_on_the_way_are_not_converted(make_clip: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_clip("in.mp4", frames=40, options={"g": "100", "sc_threshold": "0"})
    with open_pairs(source, source) as pairs:
        straight = [pair.reference.data.copy() for pair in pairs]
    converted = 0
    convert = ToRGB.__call__

    def count(self: ToRGB, picture: Any) -> Any:
        nonlocal converted
        converted += 1
        return convert(self, picture)

    monkeypatch.setattr(ToRGB, "__call__", count)
    with open_pairs(source, source) as pairs:
        for moment, run in zip((3, 20, 38), pairs.at((3, 20, 38), 2), strict=True):
            assert all(np.array_equal(pair.reference.data, straight[moment + k]) for k, pair in enumerate(run))
    assert converted == 2 * 3 * 2


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_frames_closer_than_the_output_can_tell(make_clip: Make, restore: Restore, name: str) -> None:
    times = [0, 3000, 6000, 6060, 9000, 12000]
    source = make_clip("in.mp4", pts=times, time_base=Fraction(1, 90000), options={"video_track_timescale": "90000"})
    _, output, _ = restore(source, name)
    with open_pairs(source, output) as pairs:
        assert [pair.output.index for pair in pairs] == list(range(len(times)))
    coarse = [0, 33, 67, 68, 100, 133]
    written = make_clip("written.mkv", pts=coarse, time_base=Fraction(1, 1000))
    with open_pairs(source, written) as pairs:
        assert pairs.quick
        assert [pair.output.index for pair in pairs] == list(range(len(times)))
    less = make_clip("less.mkv", pts=coarse[:4] + coarse[5:], time_base=Fraction(1, 1000))
    with pytest.raises(MediaError, match=r"Frame 4 of .*in.mp4 \(0.100 s\) has no partner"):
        open_pairs(source, less)
    other = make_clip("other.mkv", pts=[*coarse[:4], *coarse[5:], 167], time_base=Fraction(1, 1000))
    with pytest.raises(MediaError, match=r"Frame 4 of .*in.mp4 \(0.100 s\) has no partner"):
        open_pairs(source, other)
