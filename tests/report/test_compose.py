"""Panels: their places, their sizes, their names, and the line of a wipe."""

from __future__ import annotations

import numpy as np
import pytest

from vidrestore.report.compose import BACKGROUND, best_columns, draw_label, fit, side_by_side, wipe


def flat(width: int, height: int, level: int) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_two_in_a_row_keep_every_pixel() -> None:
    random = np.random.default_rng(3)
    a, b = (random.integers(0, 256, (90, 160, 3), dtype=np.uint8) for _ in range(2))
    sheet = side_by_side([a, b])
    assert sheet.shape == (90, 322, 3)
    assert np.array_equal(sheet[:, :160], a) and np.array_equal(sheet[:, 162:], b)
    assert (sheet[:, 160:162] == BACKGROUND).all()


def test_the_last_row_is_centred() -> None:
    sheet = side_by_side([flat(160, 90, level) for level in (60, 120, 180)])
    assert sheet.shape == (182, 322, 3)
    third = np.argwhere((sheet == 180).all(-1))
    assert third.min(0).tolist() == [92, 81] and third.max(0).tolist() == [181, 240]


@pytest.mark.parametrize(
    ("count", "size", "columns"),
    [
        (1, (640, 480), 1),
        (2, (1280, 720), 2),
        (3, (1280, 720), 2),
        (4, (1280, 720), 2),
        (2, (720, 1280), 2),
        (3, (720, 1280), 3),
        (4, (720, 1280), 4),
        (2, (1920, 400), 1),
        (3, (1920, 400), 1),
    ],
)
def test_as_many_in_a_row_as_show_them_largest(count: int, size: tuple[int, int], columns: int) -> None:
    assert best_columns(count, *size) == columns


def test_sizes_that_differ_become_the_largest() -> None:
    small = np.zeros((45, 80, 3), np.uint8)
    small[:, 40:] = 200
    sheet = side_by_side([small, flat(160, 90, 50)])
    assert sheet.shape == (90, 322, 3)
    assert (sheet[:, :76] < 20).all() and (sheet[:, 84:160] > 180).all(), "the edge stays in the middle"
    assert (sheet[:, 162:] == 50).all()


def test_another_shape_gets_bars_and_its_own_shape() -> None:
    panel = fit(flat(60, 90, 200), 160, 90)
    assert panel.shape == (90, 160, 3)
    assert (panel[:, 50:110] == 200).all() and (panel[:, :50] == BACKGROUND).all() and (panel[:, 110:] == BACKGROUND).all()


def test_height_of_a_panel() -> None:
    assert side_by_side([flat(1280, 720, 9)] * 2, height=180).shape == (180, 642, 3)
    assert wipe(flat(1280, 720, 9), flat(1280, 720, 90), 0.5, height=180).shape == (180, 320, 3)


def test_names_are_drawn_where_they_belong_and_nowhere_else() -> None:
    sheet = side_by_side([flat(640, 360, 128), flat(640, 360, 128)], ["input", "ours"])
    for left in (0, 642):
        panel = sheet[:, left : left + 640]
        changed = np.argwhere((panel != 128).any(-1))
        assert changed.max(0)[0] < 60 and changed.max(0)[1] < 160 and changed.min() > 5
        assert panel.max() == 255 and panel.min() < 60, "white on dark"
    assert not np.array_equal(sheet[:, :640], sheet[:, 642:])
    assert (side_by_side([flat(640, 360, 128)], [" "]) == 128).all(), "no name, no plate"


@pytest.mark.parametrize("level", [0, 128, 255])
def test_names_read_on_any_picture(level: int) -> None:
    picture = flat(640, 360, level)
    draw_label(picture, "bicubic")
    plate = picture[16:30, 14:19]
    light = [
        ((value / 255 + 0.055) / 1.055) ** 2.4 if value > 10 else value / 255 / 12.92 for value in (255, float(plate.mean()))
    ]
    assert (light[0] + 0.05) / (light[1] + 0.05) > 4.5


def test_long_names_are_cut_and_tiny_pictures_survive() -> None:
    picture = flat(320, 180, 128)
    draw_label(picture, "a_very_long_name_of_a_file_that_nobody_would_want_to_read_to_its_end.mp4")
    changed = np.argwhere((picture != 128).any(-1))
    assert changed.max(0)[1] < 320 - 4
    for width, height in ((1, 1), (3, 90), (90, 3), (17, 11)):
        draw_label(flat(width, height, 5), "input", right=True)


def test_letters_of_many_scripts_differ() -> None:
    drawn = []
    for name in ("Ночь", "ночЬ", "Éclair", "Eclair"):
        picture = flat(640, 360, 128)
        draw_label(picture, name)
        drawn.append(picture.tobytes())
    assert len(set(drawn)) == 4, "no box in place of a letter"


def test_wipe() -> None:
    a, b = flat(400, 200, 40), flat(400, 200, 200)
    assert np.array_equal(wipe(a, b, 0.0), b) and np.array_equal(wipe(a, b, 1.0), a)
    sheet = wipe(a, b, 0.25)
    assert (sheet[:, :97] == 40).all() and (sheet[:, 103:] == 200).all() and (sheet[:, 100] == 255).all()
    assert (a == 40).all() and (b == 200).all(), "what was given is not touched"
    named = wipe(a, b, 0.02, ["left", "right"])
    assert (named[60:, 12:] == 200).all() and (named[:, 12:200] == 200).all(), "the left name is on the left side only"
    with pytest.raises(ValueError, match="position"):
        wipe(a, b, 1.5)
    with pytest.raises(ValueError, match="labels"):
        side_by_side([a], ["one", "two"])
