"""Cutting into segments, and feeding them to one pipeline: every picture once, halos complete, batches whole."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidrestore.errors import IndexMismatchError
from vidrestore.media.input.picture_decoder import DecodeOptions, Window
from vidrestore.pipeline.segment import Segment, cut_into_segments
from vidrestore.pipeline.segment_feed import SegmentFeed, SegmentFrame
from vidrestore.pipeline.segment_runner import SegmentStage
from vidrestore.pipeline.workers.inline import unindexed_segments
from vidrestore.types import Frame, StreamInfo

TICK = Fraction(1, 1000)


class Memory:
    """A source of `pts`; counts how often it is entered."""

    def __init__(self, pts: list[int]) -> None:
        self.pts = pts
        self.entered: list[Window | None] = []

    def decoder(self, options: DecodeOptions, window: Window | None = None) -> MemoryDecoder:
        self.entered.append(window)
        return MemoryDecoder(self.pts, window)


class MemoryDecoder:
    busy_since = None
    notices = ()
    damage = ()

    def __init__(self, pts: list[int], window: Window | None) -> None:
        self._pts, self._window = pts, window

    def __iter__(self) -> Iterator[Frame]:
        first = 0 if self._window is None else self._window.first_index
        if self._window is not None and self._window.first_pts is not None:
            assert self._pts[first] == self._window.first_pts
        for index in range(first, len(self._pts)):
            yield Frame(np.full((3, 2, 2), index % 256, np.uint8), index, self._pts[index], TICK)

    def close(self) -> None:
        pass


def feed_of(source: Memory, segments: list[Segment], batch: int = 4, stopping: object = None) -> SegmentFeed:
    left = iter(segments)
    return SegmentFeed(source, DecodeOptions(), batch, lambda: next(left, None), stopping or (lambda: False))  # type: ignore[arg-type]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 4))
def test_cores_cover_every_picture_once_and_halos_end_only_with_the_source(total: int, length: int, halo: int) -> None:
    pts = [7 * n + n * n for n in range(total)]
    segments = cut_into_segments(pts, length, halo)
    cores = [n for s in segments for n in range(s.first, s.first + s.count)]
    assert cores == list(range(total))
    for number, s in enumerate(segments):
        assert s.number == number and s.pts is not None
        assert s.before == min(halo, s.first) and s.after == min(halo, total - s.first - s.count)
        stop = s.first + s.count + s.after
        assert list(s.pts) == pts[s.window_first : stop]
        assert s.end_pts == (pts[stop] if stop < total else None)


def test_nothing_is_cut_into_nothing() -> None:
    assert cut_into_segments((), 240, 2) == []


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 3), st.integers(1, 5), st.randoms())
def test_the_feed_gives_each_segment_whole_in_any_order(total: int, length: int, halo: int, batch: int, random: object) -> None:
    source = Memory([3 * n for n in range(total)])
    segments = cut_into_segments(source.pts, length, halo)
    random.shuffle(segments)  # type: ignore[attr-defined]
    fed = list(feed_of(source, segments, batch))
    groups = [(number, list(frames)) for number, frames in groupby(fed, key=lambda frame: frame.segment)]  # type: ignore[attr-defined]
    assert [number for number, _ in groups] == [segment.number for segment in segments]
    for (_, frames), segment in zip(groups, segments, strict=True):
        real = [frame for frame in frames if frame.place != "padding"]  # type: ignore[attr-defined]
        assert len(frames) % batch == 0 and len(frames) - len(real) < batch
        assert [frame.pts for frame in real] == list(segment.pts or ())
        core = [frame.index for frame in real if frame.place == "core"]  # type: ignore[attr-defined]
        assert core == list(range(segment.first, segment.first + segment.count))


def test_a_decoder_that_stands_there_goes_on() -> None:
    source = Memory(list(range(100)))
    list(feed_of(source, cut_into_segments(source.pts, 30, 2)))
    assert source.entered == [None]


def test_a_decoder_that_has_gone_by_leaves_no_gap() -> None:
    """The second of these lies whole in what was kept of the first; the third needs what the first had decoded behind it."""
    source = Memory(list(range(7)))
    segments = cut_into_segments(source.pts, 1, 2)
    fed = list(feed_of(source, [segments[number] for number in (1, 0, 2)], batch=1))
    assert [frame.index for frame in fed] == [0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 4]


def test_a_gap_is_entered_anew() -> None:
    source = Memory(list(range(100)))
    segments = cut_into_segments(source.pts, 20, 2)
    list(feed_of(source, [segments[1], segments[3], segments[4]]))
    assert source.entered == [Window(first_index=18, first_pts=18), Window(first_index=58, first_pts=58)]


@pytest.mark.parametrize("halo", [0, 2])
@pytest.mark.parametrize("total", [1, 19, 20, 21, 40, 41])
def test_a_source_without_an_index_ends_where_it_ends(total: int, halo: int) -> None:
    source = Memory(list(range(total)))
    segments = unindexed_segments(20, halo, done=())
    feed = SegmentFeed(source, DecodeOptions(), 4, lambda: next(segments), lambda: False)  # type: ignore[arg-type]
    core = [frame.index for frame in feed if frame.place == "core"]  # type: ignore[attr-defined]
    assert core == list(range(total)) and feed.total == total and source.entered == [None]


def test_what_an_earlier_run_has_done_is_passed_over_without_an_index() -> None:
    source = Memory(list(range(70)))
    segments = unindexed_segments(20, 2, done={0, 2})
    feed = SegmentFeed(source, DecodeOptions(), 4, lambda: next(segments), lambda: False)  # type: ignore[arg-type]
    core = [frame.index for frame in feed if frame.place == "core"]  # type: ignore[attr-defined]
    assert core == [*range(20, 40), *range(60, 70)]
    assert source.entered == [Window(first_index=18)]  # and from there on it goes on


@pytest.mark.parametrize("change", ["other", "fewer", "more"])
def test_an_index_that_decoding_contradicts_is_told(change: str) -> None:
    truth = [10 * n for n in range(50)]
    claimed = {"other": [*truth[:30], truth[30] + 1, *truth[31:]], "fewer": [*truth, 999], "more": truth[:-1]}[change]
    with pytest.raises(IndexMismatchError):
        list(feed_of(Memory(truth), cut_into_segments(claimed, 20, 2)))


def test_stopping_gives_up_what_nobody_has_begun() -> None:
    source = Memory(list(range(60)))
    stop = False
    feed = feed_of(source, cut_into_segments(source.pts, 20, 0), 4, lambda: stop)
    taken = []
    assert feed.begin(0)
    for frame in feed:
        taken.append(frame)
        if frame.index == 25:  # the second segment is being decoded, and none of it restored
            stop = True
    assert [frame.index for frame in taken] == list(range(26))
    assert not feed.begin(1)


def test_stopping_completes_what_is_begun() -> None:
    source = Memory(list(range(60)))
    stop = False
    feed = feed_of(source, cut_into_segments(source.pts, 20, 0), 4, lambda: stop)
    taken = []
    for frame in feed:
        taken.append(frame)
        assert feed.begin(frame.segment)  # type: ignore[attr-defined]
        if frame.index == 25:
            stop = True
    assert [frame.index for frame in taken] == list(range(40))


def test_the_stage_begins_anew_with_every_segment_and_drops_padding() -> None:
    """A stage that remembers would show where a segment begins; here one that adds up what it has seen."""

    class Sum:
        def open(self, info: StreamInfo) -> StreamInfo:
            return info

        def process(self, frames: Iterator[Frame]) -> Iterator[Frame]:
            for seen, frame in enumerate(frames, start=1):
                yield frame.with_data(np.full((3, 2, 2), seen, np.uint8))

        def close(self) -> None:
            pass

    source = Memory(list(range(25)))
    feed = feed_of(source, cut_into_segments(source.pts, 10, 1), 4)
    told: list[tuple[int, int]] = []
    stage = SegmentStage([Sum()], lambda number, frames: told.append((number, frames)))
    out = list(stage.process(iter(feed)))
    assert all(isinstance(frame, SegmentFrame) and frame.place != "padding" for frame in out)
    firsts = [int(frame.data[0, 0, 0]) for frame in out if frame.index in (0, 9, 10, 19, 20)]
    assert firsts == [1, 10, 11, 1, 2, 11, 12, 1, 2]
    assert told[-1] == (2, 5) and (0, 10) in told and (1, 10) in told


def test_segments_are_named_by_place_not_by_path(tmp_path: Path) -> None:
    assert [s.number for s, _ in zip(unindexed_segments(5, 2, {1}), range(3), strict=False)] == [0, 2, 3]
