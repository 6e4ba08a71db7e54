from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidrestore.color import LUMA_WEIGHTS, default_matrix, matrix_of_tag, rgb_to_yuv, rgb_to_yuv_matrix, yuv_to_rgb


@pytest.mark.parametrize(
    ("size", "matrix"),
    [((640, 480), "bt601"), ((1279, 719), "bt601"), ((1280, 544), "bt709"), ((960, 720), "bt709"), ((3840, 2160), "bt709")],
)
def test_untagged_sources_follow_the_written_rule(size: tuple[int, int], matrix: str) -> None:
    assert default_matrix(*size) == matrix
    assert matrix_of_tag(None, *size) == matrix


def test_a_tag_beats_the_size() -> None:
    assert matrix_of_tag("smpte170m", 1920, 1080) == "bt601"
    assert matrix_of_tag("bt709", 320, 240) == "bt709"
    assert matrix_of_tag("bt2020nc", 320, 240) == "bt2020"


@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
def test_grey_has_no_colour_and_primaries_reach_the_ends(matrix: str) -> None:
    weights = rgb_to_yuv_matrix(matrix)
    np.testing.assert_allclose(weights.sum(axis=1), [1, 0, 0], atol=1e-12)
    assert weights[1, 2] == pytest.approx(0.5) and weights[2, 0] == pytest.approx(0.5)


def test_known_values_of_red() -> None:
    red = np.array([[255, 0, 0]], dtype=np.uint8)
    assert rgb_to_yuv(red, "bt709", False).tolist() == [[63, 102, 240]]
    assert rgb_to_yuv(red, "bt601", False).tolist() == [[81, 90, 240]]
    assert rgb_to_yuv(red, "bt601", True).tolist() == [[76, 85, 255]]


@given(
    st.lists(st.integers(0, 255), min_size=3, max_size=3),
    st.sampled_from(sorted(LUMA_WEIGHTS)),
    st.booleans(),
)
def test_there_and_back(rgb: list[int], matrix: str, full_range: bool) -> None:
    color = np.array([rgb], dtype=np.uint8)
    back = yuv_to_rgb(rgb_to_yuv(color, matrix, full_range), matrix, full_range)
    # Rounding YCbCr to 8 bits moves B and R by up to about half a chroma step times 1.9 x 255/224.
    assert np.abs(back.astype(int) - color).max() <= 2


@pytest.mark.parametrize("bit_depth", [10, 12, 16])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
def test_deep_colours_come_back_within_a_level(matrix: str, full_range: bool, bit_depth: int) -> None:
    colors = np.random.default_rng(3).integers(0, 65536, (4096, 3)).astype(np.uint16)
    yuv = rgb_to_yuv(colors, matrix, full_range, bit_depth)
    assert yuv.dtype == np.uint16 and yuv.max() < 1 << bit_depth
    back = yuv_to_rgb(yuv, matrix, full_range, bit_depth)
    assert np.abs(back.astype(int) - colors).max() <= 2 * (1 << (16 - bit_depth))
    assert rgb_to_yuv(back, matrix, full_range, bit_depth)[0].tolist() == pytest.approx(yuv[0].tolist(), abs=1)


def test_white_of_ten_bits() -> None:
    white = np.array([[65535, 65535, 65535]], dtype=np.uint16)
    assert rgb_to_yuv(white, "bt2020", False, 10).tolist() == [[940, 512, 512]]
    assert rgb_to_yuv(white, "bt2020", True, 12).tolist() == [[4095, 2048, 2048]]
