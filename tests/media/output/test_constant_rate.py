"""Constant rate: recognised within the clock's resolution, and made by --cfr without losing time."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidrestore.config import LimitsConfig, RunConfig
from vidrestore.errors import ConfigError, LimitExceededError, MediaError, UnsupportedStreamError
from vidrestore.media.input.probe import probe
from vidrestore.media.output.constant_rate import ConstantRate, average_rate, constant_rate, is_constant, parse_rate
from vidrestore.media.output.sink import check_sink
from vidrestore.types import Frame

NTSC = Fraction(30000, 1001)
MILLISECOND = Fraction(1, 1000)


class Recorder:
    """Notes which picture it is shown when."""

    notices: tuple[str, ...] = ()

    def __init__(self, shift: Fraction = Fraction(0)) -> None:
        self.shift = shift
        self.shown: list[tuple[int, Fraction, Fraction]] = []
        self.closed = False

    def write(self, frame: Frame) -> None:
        assert frame.duration is not None
        self.shown.append((int(frame.data[0, 0, 0]), frame.pts * frame.time_base, frame.duration * frame.time_base))

    def finish(self, before_naming: Callable[[], None] | None = None) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


def frame(number: int, pts: int, time_base: Fraction, duration: int | None = None) -> Frame:
    return Frame(np.full((3, 1, 1), number, np.uint8), number, pts, time_base, duration)


def shown_at(pts: list[int], time_base: Fraction, rate: Fraction, last: int, **kwargs: Any) -> tuple[ConstantRate, Recorder]:
    recorder = Recorder(kwargs.pop("shift", Fraction(0)))
    sink = ConstantRate(recorder, rate, **kwargs)
    for number, stamp in enumerate(pts):
        sink.write(frame(number, stamp, time_base, last if stamp == pts[-1] else None))
    with pytest.raises(NotImplementedError):
        sink.finish()
    return sink, recorder


def test_rates_are_read_as_people_write_them() -> None:
    assert parse_rate("25") == 25
    assert parse_rate("30000/1001") == parse_rate("29.97") == NTSC
    assert parse_rate("23.976") == parse_rate("23.98") == Fraction(24000, 1001)
    assert parse_rate("12.5") == Fraction(25, 2)
    for wrong in ("", "fast", "0", "-25", "1/0", "nan"):
        with pytest.raises(ConfigError):
            parse_rate(wrong)
    with pytest.raises(LimitExceededError):
        parse_rate("1001", LimitsConfig(frame_rate=1000))


@pytest.mark.parametrize("rounding", [round, int])
def test_a_clock_of_milliseconds_hides_no_constant_rate_and_no_other(rounding: Callable[[Fraction], int]) -> None:
    stamps = [rounding(n / NTSC / MILLISECOND) for n in range(20000)]
    assert is_constant(stamps, NTSC, MILLISECOND)
    assert not is_constant(stamps, Fraction(30), MILLISECOND)
    stamps[9000] += 2
    assert not is_constant(stamps, NTSC, MILLISECOND)


def test_the_rate_is_found_where_the_header_is_a_little_off() -> None:
    stamps = [round(n / NTSC / MILLISECOND) for n in range(20000)]
    assert constant_rate(stamps, MILLISECOND, Fraction(2997, 100)) == NTSC
    assert constant_rate(stamps, MILLISECOND, None) == NTSC
    assert constant_rate([0, 7, 14, 21], Fraction(1, 90), None) == Fraction(90, 7)
    assert constant_rate([0, 40, 81, 120], MILLISECOND, Fraction(25)) == 25
    assert constant_rate([0, 40, 90, 120], MILLISECOND, Fraction(25)) is None
    assert constant_rate([5], MILLISECOND, None) == 25


def test_the_average_is_taken_as_the_standard_rate_it_is_near() -> None:
    assert average_rate([0, 33, 70, 99, 134], MILLISECOND, None) == NTSC
    assert average_rate([0, 1000, 2000], MILLISECOND, None) == 1


def test_pictures_are_repeated_and_left_out_by_the_nearest_tick() -> None:
    # 25 a second; at 0, 1.2, 1.4 (same tick: left out), 4.5 (half rounds up: 5) ticks; the last stays two ticks.
    sink, recorder = shown_at([0, 48, 56, 180], MILLISECOND, Fraction(25), last=80)
    assert [number for number, _, _ in recorder.shown] == [0, 2, 2, 2, 2, 3, 3]
    assert [at for _, at, _ in recorder.shown] == [Fraction(n, 25) for n in range(7)]
    assert {stays for _, _, stays in recorder.shown} == {Fraction(1, 25)}
    assert (sink.repeated, sink.left_out) == (4, 1)
    assert "4 pictures were repeated and 1 left out" in sink.notices[-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.sampled_from([Fraction(24), NTSC, Fraction(50)]))
def test_no_picture_is_ever_more_than_half_a_tick_off(steps: list[int], rate: Fraction) -> None:
    stamps = [sum(steps[:n]) for n in range(len(steps) + 1)]
    sink, recorder = shown_at(stamps, MILLISECOND, rate, last=10)
    starts: dict[int, Fraction] = {}
    for number, at, _ in recorder.shown:
        starts.setdefault(number, at)
    assert all(abs(at - stamps[number] * MILLISECOND) <= 1 / rate / 2 for number, at in starts.items())
    assert len(starts) + sink.left_out == len(stamps)
    assert len(recorder.shown) == len(starts) + sink.repeated
    moments = [at for _, at, _ in recorder.shown]
    assert moments == [moments[0] + n / rate for n in range(len(moments))]


def test_the_grid_begins_where_the_output_does() -> None:
    # The output's zero is at 1 s of the source; its first picture comes 90 ms later, which is nearest to tick 2.
    _, recorder = shown_at([1090, 1130], MILLISECOND, Fraction(25), last=40, shift=Fraction(1))
    assert [at - 1 for _, at, _ in recorder.shown] == [Fraction(2, 25), Fraction(3, 25)]
    _, recorder = shown_at([1090, 1130], MILLISECOND, Fraction(25), last=40, from_zero=True)
    assert [at for _, at, _ in recorder.shown] == [Fraction(1090, 1000), Fraction(1130, 1000)]


def test_closing_closes_the_sink_behind() -> None:
    recorder = Recorder()
    with ConstantRate(recorder, Fraction(25)):  # type: ignore[arg-type]
        pass
    assert recorder.closed


def test_variable_rate_goes_into_a_constant_sink_with_cfr_only(
    make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]
) -> None:
    clip = make_clip("vfr.mp4", pts=[0, 400, 500, 1300], time_base=Fraction(1, 10000))
    media = probe(clip)
    for name in ("out.y4m", "out.avi", "out.h264"):
        with pytest.raises(UnsupportedStreamError, match=r"vfr\.mp4 last from 0\.0100 to 0\.0800 s.*--cfr"):
            check_sink(tmp_path / name, media, media.video, RunConfig())
    report = through(clip, tmp_path / "out.y4m", cfr=True, frame_rate="100")
    assert report.frames == 17 and any("13 pictures were repeated" in notice for notice in report.notices)
    # 0, 0.04, 0.05 and 0.13 s, and the last stays for 0.04 s.
    assert through(clip, tmp_path / "kept.mkv").frames == 4


def test_cfr_keeps_sound_in_step_in_a_container(
    make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any], seconds_of: Callable[[Path], list[Fraction]]
) -> None:
    clip = make_clip("vfr.mp4", pts=[0, 700, 800, 2900, 3600, 8000], time_base=Fraction(1, 10000), audio=True)
    report = through(clip, tmp_path / "out.mp4", cfr=True, frame_rate="25")
    stamps = seconds_of(tmp_path / "out.mp4")
    assert stamps == [Fraction(n, 25) for n in range(len(stamps))]
    assert len(stamps) == 21  # the last begins at 0.8 s and stays for one tick
    assert report.streams[0].type == "audio" and report.shift == 0


def test_a_source_that_is_not_constant_after_all_stops_the_writer(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    from vidrestore.media.output.y4m_sink import Y4mSink, plan_y4m

    media = probe(make_clip("clip.mp4"))
    plan = plan_y4m(media, media.video, RunConfig(), Fraction(25))
    with Y4mSink(tmp_path / "out.y4m", media, media.video, plan, False) as sink:
        picture = np.zeros((3, 48, 64), np.uint8)
        sink.write(Frame(picture, 0, 0, Fraction(1, 25)))
        with pytest.raises(MediaError, match="Frame 1 comes at"):
            sink.write(Frame(picture, 1, 2, Fraction(1, 25)))
    assert not list(tmp_path.glob("*.y4m")) and not list(tmp_path.glob(".*"))
