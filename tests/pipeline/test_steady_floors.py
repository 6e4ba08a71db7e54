"""What steadying promises, through the engines and stages of a run as they are by default, in both tiers."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.pipeline.test_steadied import settings, through
from tests.temporal.shots import noisy, texture
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.metrics.noise import temporal_noise
from vidrestore.metrics.psnr import psnr
from vidrestore.metrics.sharpness import edge_gain
from vidrestore.metrics.warping import warping_error

EXAMPLE = Path(__file__).parents[2] / "examples" / "night_drive.mp4"
REACH = 4
"""Frames before and after that a frame depends on by default: two windows."""

both_tiers = pytest.mark.parametrize("tier", ["fast", "best"])


def with_and_without(shot: list[np.ndarray], tier: str, engines: str = "flare,day") -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Blended as by default, and not at all."""
    return through(settings(engines, tier=tier), shot), through(settings(engines, tier=tier, temporal={"enabled": False}), shot)


def crossing(level: int, darkness: int, speed: int, radius: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """An object crosses a flat scene of level 12, or a texture so much darker; and where it is, a pixel more on each side."""
    scene = texture(180, 320) // darkness if darkness else np.full((180, 320, 3), 12, np.uint8)
    shot, masks = [], []
    for k in range(8):
        thing = np.zeros(scene.shape[:2], np.uint8)
        cv2.circle(thing, (60 + speed * k, 90), radius, 1, -1)
        masks.append(cv2.dilate(thing, np.ones((3, 3), np.uint8)) > 0)
        shot.append(np.where(thing[..., None] > 0, np.uint8(level), scene))
    return shot, masks


@both_tiers
@pytest.mark.parametrize(
    ("level", "darkness", "speed", "radius"),
    [(240, 0, 9, 16), (240, 0, 6, 40), (240, 16, 9, 16), (240, 16, 24, 16), (24, 0, 9, 16), (20, 16, 9, 16)],
)
def test_what_crosses_a_dark_scene_leaves_no_trail(tier: str, level: int, darkness: int, speed: int, radius: int) -> None:
    """2/255 outside the object, however much the engines themselves make of its passing.

    Dark is a source below 12 levels in the mean: where it is lighter, what engines make of the passing is flicker to be steadied.
    """
    shot, masks = crossing(level, darkness, speed, radius)
    blended, plain = with_and_without(shot, tier)
    assert not all(np.array_equal(b, p) for b, p in zip(blended, plain, strict=True))
    for k, (one, other) in enumerate(zip(blended, plain, strict=True)):
        apart = np.abs(one.astype(int) - other).max(axis=2)
        path = np.any(masks[max(0, k - REACH) : k + REACH + 1], axis=0) & ~masks[k]
        assert apart[path].max() <= 2, "where the object was or will be"
        assert apart[~masks[k]].max() <= 2, "anywhere else"


@both_tiers
def test_a_drive_at_night_gets_steadier_and_stays_sharp(tier: str) -> None:
    """The floor: a warping error of 0.8 and 98 % of the edges."""
    source = [np.ascontiguousarray(frame.data.transpose(1, 2, 0)) for frame in islice(VideoDecoder(EXAMPLE), 6)]
    blended, plain = with_and_without(source, tier)
    assert warping_error(blended, source).output <= 0.8 * warping_error(plain, source).output
    assert np.mean([edge_gain(b, p) for b, p in zip(blended, plain, strict=True)]) >= 0.98


@both_tiers
@pytest.mark.parametrize("engines", ["flare,day", "sr"])
def test_a_static_shot_with_noise_gets_calm_and_closer_to_the_truth(tier: str, engines: str) -> None:
    """The truth is what the engines make of the shot without noise."""
    clean = texture(180, 320)
    shot = noisy([clean] * 7)
    blended, plain = with_and_without(shot, tier, engines)
    assert temporal_noise(blended) <= 0.6 * temporal_noise(plain)
    (truth,) = through(settings(engines, tier=tier, temporal={"enabled": False}), [clean])
    assert min(psnr(b, truth) - psnr(p, truth) for b, p in zip(blended, plain, strict=True)) > 0
