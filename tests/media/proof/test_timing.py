"""Rounding to a clock and a constant shift are found for any timestamps; nothing else passes for them."""

from __future__ import annotations

from array import array
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from vidrestore.media.proof.inventory import NO_PTS, Timeline
from vidrestore.media.proof.timing import align, find_shift, largest_error, steady_interval

CLOCKS = st.sampled_from([Fraction(1, 90000), Fraction(1, 12800), Fraction(1, 1000), Fraction(1001, 30000), Fraction(1, 1000000)])
COARSE = st.sampled_from([Fraction(1, 1000), Fraction(1, 90000), Fraction(1, 100)])


def timeline(steps: list[int], first: int, clock: Fraction, shortest: Fraction = Fraction(1, 40)) -> Timeline:
    """Pictures `shortest` seconds apart and a few ticks more, so that no rounding makes two of them one."""
    least = int(shortest / clock) + 1
    stamps = [first]
    for step in steps:
        stamps.append(stamps[-1] + least + step)
    return Timeline(array("q", stamps), clock)


def rounded(source: Timeline, clock: Fraction, shift: Fraction) -> Timeline:
    return Timeline(array("q", (round((pts * source.time_base - shift) / clock) for pts in source.pts)), clock)


steps = st.lists(st.integers(0, 9000), min_size=3, max_size=40)


@given(steps, st.integers(-9000, 90000), CLOCKS, COARSE, st.fractions(-3, 3, max_denominator=90000))
@settings(max_examples=60, deadline=None)
def test_rounding_and_a_shift_are_found(gaps: list[int], first: int, clock: Fraction, coarse: Fraction, shift: Fraction) -> None:
    source = timeline(gaps, first, clock)
    written = rounded(source, coarse, shift)
    found = find_shift(source, written)
    paired = align(source, written, found)
    assert paired.whole and paired.common == len(source) and paired.worst <= coarse / 2
    assert abs(found - shift) <= coarse


@given(steps, st.integers(-9000, 90000), CLOCKS, COARSE)
@settings(max_examples=60, deadline=None)
def test_no_shift_is_made_up_where_rounding_explains_all(gaps: list[int], first: int, clock: Fraction, coarse: Fraction) -> None:
    source = timeline(gaps, first, clock)
    assert find_shift(source, rounded(source, coarse, Fraction(0))) == 0


@given(steps, CLOCKS, COARSE, st.data())
@settings(max_examples=60, deadline=None)
def test_lost_pictures_are_named(gaps: list[int], clock: Fraction, coarse: Fraction, data: st.DataObject) -> None:
    source = timeline(gaps, 0, clock)
    gone = data.draw(st.sets(st.integers(1, len(source) - 2), min_size=1, max_size=len(source) - 2))
    written = rounded(source, coarse, Fraction(0))
    left = Timeline(array("q", (pts for index, pts in enumerate(written.pts) if index not in gone)), coarse)
    assert align(source, left, find_shift(source, left)).missing == tuple(sorted(gone))
    assert align(left, source, Fraction(0)).common <= len(left)


@given(steps, CLOCKS, COARSE, st.data())
@settings(max_examples=60, deadline=None)
def test_one_picture_moved_by_a_tick_is_no_rounding(
    gaps: list[int], clock: Fraction, coarse: Fraction, data: st.DataObject
) -> None:
    source = timeline(gaps, 0, clock)
    written = rounded(source, coarse, Fraction(0))
    at = data.draw(st.integers(0, len(source) - 1))
    written.pts[at] += data.draw(st.sampled_from([-2, 2]))
    shift = find_shift(source, written)
    assert not align(source, written, shift).whole


def test_a_drift_is_no_shift() -> None:
    """A clock that is 0.1 percent too fast: each step is within half a tick, the sum is not."""
    source = Timeline(array("q", range(0, 40 * 1000, 40)), Fraction(1, 1000))
    written = Timeline(array("q", (round(pts * 1.001) for pts in source.pts)), Fraction(1, 1000))
    paired = align(source, written, find_shift(source, written))
    assert len(paired.missing) > 900 and not paired.whole


def test_errors_of_packets_leave_out_those_without_a_time() -> None:
    wanted, written = array("q", [0, NO_PTS, 20, 30]), array("q", [0, 10, 21, NO_PTS])
    assert largest_error(wanted, Fraction(1, 1000), written, Fraction(1, 1000), Fraction(0)) == (Fraction(1, 1000), 2)
    assert largest_error(wanted, Fraction(1, 1000), wanted, Fraction(1, 1000), Fraction(0)) == (0, None)


def test_intervals() -> None:
    shown = Timeline(array("q", [0, 40, 90, 120]), Fraction(1, 1000))
    assert steady_interval(shown) == (Fraction(30, 1000), Fraction(50, 1000))
