"""Which pictures belong together by their times: rounding is no difference, and a neighbour is no partner."""

from __future__ import annotations

import random
import time
import tracemalloc
from array import array
from fractions import Fraction

import pytest

from vidrestore.media.input.partners import CHUNK, Walk, first_stray
from vidrestore.media.proof.inventory import Timeline

FILM, FINE, COARSE = Fraction(1, 25), Fraction(1, 90000), Fraction(1, 1000)


def line(pts: list[int], tick: Fraction) -> Timeline:
    return Timeline(array("q", pts), tick)


def walked(one: Timeline, other: Timeline) -> int | None:
    walk = Walk((one.time_base, other.time_base))
    found = [walk.step(number, pts) for number, pts in enumerate(zip(one.pts, other.pts, strict=True))]
    return next((stray.number for stray in (*found, walk.end()) if stray is not None), None)


SAME = {
    "two close ones": ([0, 3000, 6000, 6060, 9000], FINE, [0, 33, 67, 68, 100], COARSE),
    "two close ones at the end": ([0, 3000, 6000, 6060], FINE, [0, 33, 67, 68], COARSE),
    "close ones with one time": ([0, 3000, 6010, 6035, 6044, 6070, 9000], FINE, [0, 33, 67, 67, 67, 67, 100], COARSE),
    "a shift": ([5, 6, 7], FILM, [3, 4, 5], FILM),
    "none": ([], FILM, [], FILM),
    "one": ([7], FILM, [12345], FINE),
    "two of other lengths, within a tick": ([0, 10], COARSE, [0, 11], COARSE),
    "times of years": ([2**40, 2**40 + 3003], Fraction(1, 90000), [0, 1], Fraction(1, 30)),
}
LOST = {
    "a tick is a picture": ([0, 1, 2, 3, 4, 5], FILM, [0, 1, 3, 4, 5, 6], FILM, 2),
    "the last but one": ([0, 1, 2, 3], FILM, [0, 1, 2, 4], FILM, 3),
    "the second": ([0, 1, 2, 3], FILM, [0, 2, 3, 4], FILM, 1),
    "more than rounding": ([0, 40, 80], COARSE, [0, 43, 80], COARSE, 1),
    "beside close ones": ([0, 3000, 6000, 6060, 9000, 12000], FINE, [0, 33, 67, 68, 133, 167], COARSE, 4),
    "drops at 30 a second": ([0, 1, 2, 3], Fraction(1, 30), [0, 33, 100, 133], COARSE, 2),
}


@pytest.mark.parametrize("case", sorted(SAME))
def test_rounding_is_no_difference(case: str) -> None:
    here, tick, there, other = SAME[case]
    assert first_stray(line(here, tick), line(there, other)) is None
    assert first_stray(line(there, other), line(here, tick)) is None
    assert walked(line(here, tick), line(there, other)) is None
    assert walked(line(there, other), line(here, tick)) is None


@pytest.mark.parametrize("case", sorted(LOST))
def test_a_neighbour_is_no_partner(case: str) -> None:
    here, tick, there, other, at = LOST[case]
    for pair in ((line(here, tick), line(there, other)), (line(there, other), line(here, tick))):
        assert first_stray(*pair) == at
        assert walked(*pair) == at


def test_both_ways_agree_wherever_a_piece_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    from vidrestore.media.input import partners

    chance = random.Random(4)
    found = []
    for _ in range(400):
        ticks = chance.choice([(FILM, FILM), (FINE, COARSE), (Fraction(1, 30), COARSE), (Fraction(1001, 30000), FINE)])
        pts, other = [0], []
        for _ in range(chance.randrange(1, 30)):
            pts.append(pts[-1] + max(1, round(chance.choice([0.0007, 0.04, 0.1]) / float(ticks[0]))))
        at = chance.randrange(2 * len(pts))
        moved = [*pts[:at], *pts[at + 1 :], pts[-1] + (pts[-1] - pts[-2])] if at < len(pts) else pts
        for stamp in moved:
            other.append(max(round(stamp * ticks[0] / ticks[1]), other[-1] + 1 if other else 0))
        one, two = line(pts, ticks[0]), line(other, ticks[1])
        for chunk in (1, 3, CHUNK):
            monkeypatch.setattr(partners, "CHUNK", chunk)
            assert first_stray(one, two) == walked(one, two), (pts, other, ticks)
        found.append(first_stray(one, two) is None)
    assert 50 < sum(found) < 350


def test_numbers_too_large_for_64_bits() -> None:
    here, there = line([0, 2**62, 2**62 + 1], Fraction(1, 3)), line([0, 2**62, 2**62 + 1], Fraction(1, 3))
    fine = Timeline(array("q", [0, 2**61]), Fraction(1, 1_000_003))
    assert first_stray(here, there) is None
    assert first_stray(fine, Timeline(array("q", [0, 2**61 + 5]), Fraction(1, 1_000_003))) == 1
    assert first_stray(fine, fine) is None


def test_an_hour_at_60_a_second_costs_little() -> None:
    one = line([1001 * number for number in range(216_000)], Fraction(1, 60000))
    other = line([round(number * 1001 / 60) for number in range(216_000)], COARSE)
    began = time.process_time()
    assert first_stray(one, other) is None
    assert time.process_time() - began < 0.5
    tracemalloc.start()
    first_stray(one, other)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8_000_000
