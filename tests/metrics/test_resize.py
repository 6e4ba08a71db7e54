"""One rule by which a picture is brought to the size of another."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vidrestore.metrics.resize import grows, match_size

PICTURE = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "method"),
    [
        (80, 120, cv2.INTER_CUBIC),
        (20, 30, cv2.INTER_AREA),
        (41, 30, cv2.INTER_CUBIC),
        (20, 61, cv2.INTER_CUBIC),
        (40, 59, cv2.INTER_AREA),
    ],
)
def test_bicubic_if_a_side_grows_else_by_area(height: int, width: int, method: int) -> None:
    assert np.array_equal(match_size(PICTURE, height, width), cv2.resize(PICTURE, (width, height), interpolation=method))
    assert grows(PICTURE.shape, height, width) == (method == cv2.INTER_CUBIC)


def test_the_same_size_is_the_same_picture() -> None:
    assert match_size(PICTURE, 40, 60) is PICTURE
    planes = np.ascontiguousarray(PICTURE.transpose(2, 0, 1))
    assert np.array_equal(match_size(planes.transpose(1, 2, 0), 20, 31), match_size(PICTURE, 20, 31))


def test_all_that_measure_and_show_take_it() -> None:
    """A change of size that enlarges one side and reduces the other: once three rules, each with figures of its own."""
    from vidrestore.report.compose import fit
    from vidrestore.report.pass_over import bigger

    after = np.zeros((42, 50, 3), np.uint8)
    assert np.array_equal(bigger(PICTURE, after), match_size(PICTURE, 42, 50))
    assert np.array_equal(fit(PICTURE, 30, 20), match_size(PICTURE, 20, 30))
    assert np.array_equal(fit(PICTURE, 120, 80), match_size(PICTURE, 80, 120))
