"""Which moments are looked at again, and how a job's speed is kept: both bounded, both by numbers alone."""

from __future__ import annotations

from itertools import pairwise

import pytest

from vidrestore.pipeline.moments import choose_moments
from vidrestore.pipeline.pace import MOST_POINTS, Pace
from vidrestore.pipeline.plan import Progress


def test_without_keys_the_middles_of_equal_stretches() -> None:
    assert choose_moments(100, 4, 2) == (11, 36, 61, 86)
    assert choose_moments(3, 8, 2) == (0,) and choose_moments(2, 8, 2) == (0,)
    assert choose_moments(1, 8, 2) == () and choose_moments(0, 8, 2) == ()


@pytest.mark.parametrize("frames", [2, 5, 16, 17, 99, 1440, 7001])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_runs_rise_fit_and_never_overlap(frames: int, length: int) -> None:
    chosen = choose_moments(frames, 8, length, [range(0, frames, 12), range(0, frames, 240)])
    assert len(chosen) == min(8, frames // length)
    assert all(later - earlier >= length for earlier, later in pairwise(chosen))
    assert not chosen or (chosen[0] >= 0 and chosen[-1] + length <= frames)


def test_places_where_little_is_decoded_win() -> None:
    keys = [range(0, 1440, 24), range(0, 1440, 240)]
    chosen = choose_moments(1440, 8, 2, keys)

    def cost(frame: int) -> int:
        return frame % 24 + frame % 240

    for number, frame in enumerate(chosen):
        stretch = range(1440 * number // 8, 1440 * (number + 1) // 8 - 1)
        assert frame in stretch and cost(frame) == min(map(cost, stretch))


def test_a_key_beyond_the_clip_and_none_at_all_do_no_harm() -> None:
    assert choose_moments(10, 1, 2, [[], [50]]) == (0,)


def test_speed_is_kept_in_few_points() -> None:
    told: list[Progress] = []
    pace = Pace(told.append)
    for number in range(100_000):
        pace(Progress(1000 + number, None, number / 50, resumed=1000))
    assert len(told) == 100_000 and 100 < len(pace.points) <= MOST_POINTS + 1
    assert pace.points[0] == (0.0, 0) and pace.points[-1] == (99_999 / 50, 99_999)
    assert all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(pace.points))
    steps = [b[0] - a[0] for a, b in pairwise(pace.points[:-1])]
    assert max(steps) < 4 * min(steps)


def test_what_was_thrown_away_is_not_kept() -> None:
    pace = Pace()
    for seconds, frames in enumerate((5, 10, 15, 2, 4)):
        pace(Progress(frames, None, float(seconds)))
    assert [frames for _, frames in pace.points] == [2, 4]
    assert Pace().points == ()
