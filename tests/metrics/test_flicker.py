"""Flicker: known jitter is found, motion, trend, noise and cuts are not taken for it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.temporal.shots import drive, noisy, texture
from vidrestore.metrics.flicker import FlickerMeter, flicker


def shifted(clip: list[np.ndarray], offsets: np.ndarray) -> list[np.ndarray]:
    """Levels added to whole frames, (N,) or (N, 3), in float: no rounding, no clipping."""
    return [(p / 255.0 + np.asarray(o) / 255.0).astype(np.float32) for p, o in zip(clip, offsets, strict=True)]


def test_known_jitter_of_a_static_shot() -> None:
    still = [texture()] * 80
    offsets = np.random.default_rng(3).normal(0, 2.0, 80)
    told = flicker(shifted(still, offsets), still)
    seconds = (offsets[:-2] + offsets[2:]) / 2 - offsets[1:-1]
    assert told.luma == pytest.approx(np.sqrt((seconds**2).mean() / 1.5), rel=1e-4)
    assert told.luma == pytest.approx(2.0, rel=0.25)
    assert told.luma_in == told.colour_in == 0.0
    assert told.colour == pytest.approx(0.0, abs=1e-3)
    assert np.isnan(told.ratio)
    assert (told.frames, told.skipped) == (78, 0)


def test_alternation_and_colour_by_hand() -> None:
    still = [texture()] * 6
    sign = np.array([1.0, -1.0] * 3)
    told = flicker(shifted(still, 3 * sign), still)
    assert told.luma == pytest.approx(6 / np.sqrt(1.5), rel=1e-4)
    blue = flicker(shifted(still, np.outer(sign, (0.0, 0.0, 3.0))), still)
    assert blue.luma == pytest.approx(0.114 * 6 / np.sqrt(1.5), rel=1e-3)
    assert blue.colour == pytest.approx(np.hypot(0.5, 0.081312) * 6 / np.sqrt(1.5), rel=1e-3)


def test_a_steady_trend_is_no_flicker() -> None:
    still = [texture()] * 8
    assert flicker(shifted(still, np.arange(8) * 4.0), still).luma == pytest.approx(0.0, abs=1e-3)


def test_motion_and_noise_hardly_count() -> None:
    clip = drive(8)
    calm = flicker(clip, clip)
    assert calm.ratio == pytest.approx(1.0)
    assert calm.luma < 0.6
    assert flicker(noisy(clip, 6.0), clip).luma < 0.8
    assert flicker(shifted(clip, 2.0 * (-1.0) ** np.arange(8)), clip).luma == pytest.approx(4 / np.sqrt(1.5), rel=0.1)


def test_brightness_alone_is_no_flicker() -> None:
    clip = drive(8)
    restless = [np.clip(p * (1 + 0.06 * (-1) ** k), 0, 255).astype(np.uint8) // 2 for k, p in enumerate(clip)]
    double = [p.astype(np.float32) / 127.5 for p in restless]
    assert flicker(double, restless).luma == pytest.approx(2 * flicker(double, restless).luma_in, rel=0.01)
    assert flicker(double, restless).ratio == pytest.approx(1.0, rel=0.01)


def test_cuts_are_left_out_and_sizes_may_differ() -> None:
    one, two = drive(5, seed=1), drive(5, seed=2)
    both = flicker([*one, *two], [*one, *two])
    assert both.luma < 6 * max(flicker(one, one).luma, flicker(two, two).luma)
    larger = [cv2.resize(p, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for p in one]
    assert flicker(larger, one).ratio == pytest.approx(1.0, abs=0.05)
    deep = [p.astype(np.uint16) * 257 for p in one]
    assert flicker(deep, one).ratio == pytest.approx(1.0, abs=1e-3)


def test_too_few_frames_are_refused_and_figures_belong_to_the_middle_one() -> None:
    clip = drive(3)
    with pytest.raises(ValueError, match="three consecutive"):
        flicker(clip[:2], clip[:2])
    meter = FlickerMeter()
    assert meter.update(clip[0], clip[0]) is None
    assert meter.update(clip[1], clip[1]) is None
    told = meter.update(clip[2], clip[2])
    assert told == pytest.approx((meter.result().luma, meter.result().luma_in))
