"""Times beside images: exact for every clock, readable by others, refused where they do not fit."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidrestore.errors import MediaError
from vidrestore.media.timecodes import Timecodes, read_timecodes, timecodes_text


def written(folder: Path, text: str) -> Path:
    path = folder / "timecodes.txt"
    path.write_text(text, encoding="utf-8")
    return path


@given(
    st.sampled_from([Fraction(1, 15360), Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 10**7), Fraction(1, 1000)]),
    st.lists(st.integers(1, 10**6), min_size=2, max_size=40),
    st.booleans(),
)
def test_times_come_back_as_the_same_numbers(
    tmp_path_factory: pytest.TempPathFactory, base: Fraction, steps: list[int], end: bool
) -> None:
    pts = [sum(steps[:n]) for n in range(len(steps))]
    text = timecodes_text(pts, base, sum(steps) if end else None)
    path = written(tmp_path_factory.mktemp("t"), text)
    assert read_timecodes(path, len(pts)) == Timecodes(tuple(pts), base, sum(steps) if end else None)
    for line, ticks in zip([line for line in text.splitlines() if line[0] != "#"], pts, strict=False):
        assert abs(Fraction(line) / 1000 - ticks * base) <= Fraction(1, 2 * 10**9)


def test_files_of_other_programs_are_read(tmp_path: Path) -> None:
    mkvextract = "# timestamp format v2\n0\n33.367\n66.733\n100.1\n"
    codes = read_timecodes(written(tmp_path, mkvextract), 3)
    assert codes == Timecodes((0, 33367, 66733), Fraction(1, 10**6), 100100)
    nanoseconds = "# timecode format v2\n\n# a remark\n0.000000\n33.366667\n"
    assert read_timecodes(written(tmp_path, nanoseconds), 2) == Timecodes((0, 333667), Fraction(1, 10**7))


def test_a_stated_clock_that_was_edited_away_from_is_not_believed(tmp_path: Path) -> None:
    text = timecodes_text([0, 512, 1024], Fraction(1, 15360), None).replace("33.333333", "34.000000")
    assert read_timecodes(written(tmp_path, text), 3).pts == (0, 340000, 666667)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no timecodes file of format v2"),
        ("# timecode format v1\nAssume 25\n", "no timecodes file of format v2"),
        ("0\n40\n", "no timecodes file of format v2"),
        ("# timecode format v2\n0\n", "1 times for 3 images"),
        ("# timecode format v2\n0\n1\n2\n3\n4\n", "5 times for 3 images"),
        ("# timecode format v2\n0\n40\n40\n", "Time 2 of .* does not rise"),
        ("# timecode format v2\n0\nforty\n80\n", "Line 3 of .* is no time: 'forty'"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=reason):
        read_timecodes(written(tmp_path, text), 3)
