"""Scene cuts: found between dark shots, not seen in lamps, flicker, noise and driving."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from tests.temporal.shots import drive, noisy, texture
from vidrestore.config import TemporalConfig
from vidrestore.temporal.cuts import cut_score, is_cut, thumbnail

THRESHOLD = TemporalConfig().cut_threshold


def score(a: np.ndarray, b: np.ndarray) -> float:
    return cut_score(thumbnail(a), thumbnail(b))


@pytest.mark.parametrize("brightness", [1.0, 0.25, 0.12])
def test_two_shots_are_told_apart_even_in_the_dark(brightness: float) -> None:
    for seed in range(0, 20, 2):
        a, b = noisy([(texture(180, 320, s) * brightness) for s in (seed, seed + 1)], sigma=2)
        assert score(a, b) > THRESHOLD


def test_levels_alone_make_a_cut() -> None:
    black, grey = np.zeros((90, 160, 3), np.uint8), np.full((90, 160, 3), 120, np.uint8)
    assert score(black, grey) > THRESHOLD
    assert score(black, black) == 0


def test_night_noise_is_no_cut() -> None:
    a, b = noisy([np.full((180, 320, 3), 6, np.uint8)] * 2, sigma=6)
    assert score(a, b) < THRESHOLD / 2


def test_driving_flicker_and_headlights_are_no_cut() -> None:
    clip = noisy(drive(6, pan=3.0))
    assert max(score(a, b) for a, b in pairwise(clip)) < THRESHOLD / 2
    for gain in (0.6, 0.8, 1.25):
        assert score(clip[0], np.clip(clip[0] * gain, 0, 255).astype(np.uint8)) < THRESHOLD
    dark = texture(180, 320) // 6
    lamp = np.zeros((180, 320, 1), np.float32)
    cv2.circle(lamp, (200, 90), 14, 1.0, -1)
    lit = np.clip(dark + 255 * lamp + 60 * cv2.GaussianBlur(lamp, (0, 0), 20)[..., None], 0, 255).astype(np.uint8)
    assert score(dark, lit) < THRESHOLD


def test_threshold_is_strict_and_score_symmetric() -> None:
    a, b = thumbnail(texture(seed=1)), thumbnail(texture(seed=2))
    assert not is_cut(a, a, 1e-6)
    assert is_cut(a, b, THRESHOLD)
    assert cut_score(a, b) == pytest.approx(cut_score(b, a), abs=1e-4)
