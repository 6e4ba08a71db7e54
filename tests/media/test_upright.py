"""Quarter turns and mirrorings: every display matrix and every EXIF orientation, against FFmpeg and by the definition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from vidrestore.media.input.probe import probe
from vidrestore.media.upright import Upright

ONE = 1 << 16
CORNERS = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)


@pytest.mark.parametrize("a", [-1, 0, 1])
@pytest.mark.parametrize("b", [-1, 0, 1])
@pytest.mark.parametrize("c", [-1, 0, 1])
@pytest.mark.parametrize("d", [-1, 0, 1])
def test_a_matrix_moves_pixels_as_it_is_defined(a: int, b: int, c: int, d: int) -> None:
    upright = Upright.of_matrix((a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30))
    straight = bool(a and d and not b and not c) or bool(b and c and not a and not d)
    assert (upright is not None) == straight
    if upright is None:
        return
    places = {(a * x + c * y, b * x + d * y): CORNERS[y, x] for y in range(2) for x in range(3)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    shown = upright(CORNERS)
    assert shown.shape[::-1] == upright.size(3, 2)
    assert all(shown[y - top, x - left] == value for (x, y), value in places.items())


def test_no_matrix_changes_nothing_and_a_skewed_one_is_none() -> None:
    assert Upright.of_matrix(None) == Upright() and not Upright().changes
    assert Upright.of_matrix((46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30)) is None


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (4, [[4, 5, 6], [1, 2, 3]]),
        (5, [[1, 4], [2, 5], [3, 6]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (7, [[6, 3], [5, 2], [4, 1]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
        (99, [[1, 2, 3], [4, 5, 6]]),
    ],
)
def test_exif_orientations(orientation: int, shown: list[list[int]]) -> None:
    """The 0th row and column of each are where CIPA DC-008 has them: 6 has the 0th row at the right, for example."""
    assert Upright.of_exif(orientation)(CORNERS).tolist() == shown


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_players_show_the_same(degrees: int, make_clip: Callable[..., Path], tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    clip = make_clip("clip.mp4", frames=1, rotation=degrees)
    ffmpeg("-i", clip, "-frames:v", "1", "-pix_fmt", "gray", tmp_path / "shown.png")
    with av.open(str(tmp_path / "shown.png")) as container:
        shown = next(container.decode(video=0)).to_ndarray()
    with av.open(str(clip)) as container:
        stored = next(container.decode(video=0)).reformat(format="gray", dst_color_range=2).to_ndarray()
    upright = Upright.of_matrix(probe(clip).display_matrix)
    assert upright is not None
    turned = upright(stored)
    assert turned.shape == shown.shape and abs(turned.astype(int) - shown).max() <= 2
