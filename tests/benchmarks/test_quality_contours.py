"""Contours without counterpart: what is found, and what is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.quality.contours import gamma_matched, hold_against, plant, without_counterpart


def night(height: int = 120, width: int = 200) -> np.ndarray:
    """A dark street with faint walls, windows and a lamp, uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    picture = np.full((height, width, 3), 8.0, np.float32)
    picture[20:90, 20:70] += (10, 8, 6)
    picture[20:100, 120:180] += (5, 7, 12)
    for top in (30, 55):
        picture[top : top + 12, 130:145] += 25
    picture += 180 * np.exp(-((x - 95) ** 2 + (y - 30) ** 2) / 60)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def brightened(picture: np.ndarray) -> np.ndarray:
    """Another colour and a brightness that changes slowly over the picture, as the day engines make it."""
    slope = np.linspace(0.35, 0.6, picture.shape[1], dtype=np.float32)[None, :, None]
    lit = 255 * (picture.astype(np.float32) / 255) ** slope
    return np.clip(lit * (0.9, 1.0, 1.1), 0, 255).astype(np.uint8)


def test_brightening_and_recolouring_makes_no_new_contours() -> None:
    source = night()
    found = hold_against(brightened(source), source)
    assert found.new == pytest.approx(0.0, abs=0.005)
    assert found.kept == pytest.approx(1.0, abs=0.02)


def test_what_is_painted_in_is_found_where_it_lies_and_nowhere_else() -> None:
    source = night()
    output = brightened(source)
    painted = cv2.rectangle(output.copy(), (80, 70), (110, 100), (250, 250, 250), -1)
    _, new = without_counterpart(painted, source)
    box = np.zeros(new.shape, bool)
    box[70 - 15 : 100 + 15, 80 - 15 : 110 + 15] = True  # the window in which gradients must agree reaches that far
    assert new.sum() > 200
    assert not (new & ~box).any()
    assert hold_against(painted, source).new > 0.1


def test_contours_that_were_blurred_away_are_not_kept() -> None:
    source = night()
    blurred = cv2.GaussianBlur(brightened(source), (0, 0), 25)
    flat = np.full_like(source, 128)
    assert hold_against(flat, source).kept == 0.0
    assert hold_against(blurred, source).kept < hold_against(brightened(source), source).kept


def test_a_picture_without_visible_contours_has_no_share() -> None:
    flat = np.full((40, 60, 3), 90, np.uint8)
    assert np.isnan(hold_against(flat, night(40, 60)).new)


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        without_counterpart(night(), night(40, 60))


@pytest.mark.parametrize("level", [20, 60, 150])
def test_one_gamma_brings_the_mean_luma_to_that_of_another_picture(level: int) -> None:
    matched = gamma_matched(night(), np.full((10, 10, 3), level, np.uint8))
    luma = cv2.cvtColor(matched.astype(np.float32), cv2.COLOR_RGB2GRAY).mean()
    assert luma == pytest.approx(level, abs=1.0)


def test_a_planted_thing_lies_in_its_place_and_is_mostly_found() -> None:
    source = night()
    generator = np.random.default_rng(3)
    thing = cv2.resize(generator.integers(0, 255, (9, 12, 3), dtype=np.uint8), (240, 180), interpolation=cv2.INTER_NEAREST)
    output = brightened(source)
    planted, place = plant(output, thing, 1.0)
    assert (planted[~place] == output[~place]).all() and place.sum() == 40 * 66
    visible, new = without_counterpart(planted, source)
    assert (new & place).sum() / (visible & place).sum() > 0.6
