"""Warping error: zero for pure motion, grows with flicker, and is always measured along the input's flow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.temporal.shots import drive, noisy, texture
from vidrestore.metrics.flow import FlowEstimator, luma, resize_flow, visible, warp
from vidrestore.metrics.warping import warping_error


def test_flicker_and_noise_raise_it_motion_alone_hardly() -> None:
    clip = drive(5)
    calm = warping_error(clip, clip)
    assert calm.ratio == 1.0
    assert (calm.pairs, calm.skipped) == (4, 0)
    assert 0.3 < calm.visible <= 1.0
    flicker = [np.clip(p * (1.0 + 0.05 * (-1) ** k), 0, 255).astype(np.uint8) for k, p in enumerate(clip)]
    assert warping_error(flicker, clip).output > 2 * calm.output
    assert warping_error(noisy(clip), clip).output > 1.5 * calm.output


def test_known_value_for_a_static_shot() -> None:
    still = [texture()] * 2
    changed = [still[0], np.clip(still[1].astype(int) + 10, 0, 255).astype(np.uint8)]
    result = warping_error(changed, still)
    assert result.reference == 0.0
    assert np.isnan(result.ratio)
    assert result.output == pytest.approx(3 * (10 / 255) ** 2, rel=1e-3)


def test_flow_comes_from_the_input_alone() -> None:
    clip = drive(4)
    frozen = [clip[0]] * 4  # calm in itself, but wrong: the input moves
    assert warping_error(frozen, clip).output > 3 * warping_error(clip, clip).output


def test_larger_output_is_measured_along_the_scaled_flow() -> None:
    clip = drive(4)
    larger = [cv2.resize(p, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for p in clip]
    assert warping_error(larger, clip).ratio == pytest.approx(1.0, abs=1e-6)
    assert warping_error(noisy(larger), clip).ratio > 2


def test_pairs_over_a_cut_are_left_out() -> None:
    one, two = drive(3, seed=1), drive(3, seed=2)
    result = warping_error([*one, *two], [*one, *two])
    assert result.skipped <= 1
    assert result.output < 3 * max(warping_error(one, one).output, warping_error(two, two).output)


def test_unsound_clips_are_refused() -> None:
    clip = drive(3)
    with pytest.raises(ValueError):
        warping_error(clip[:2], clip)
    with pytest.raises(ValueError, match="two consecutive"):
        warping_error(clip[:1], clip[:1])


def test_occlusion_mask_hides_what_an_object_covers() -> None:
    a, b = texture(), texture()
    patch = texture(30, 30, seed=5)
    a[30:60, 40:70], b[30:60, 46:76] = patch, patch
    estimate = FlowEstimator()
    forward, backward = estimate(luma(a), luma(b)), estimate(luma(b), luma(a))
    mask = visible(forward, backward)
    assert mask[:20].mean() > 0.95
    assert mask[34:56, 71:75].mean() < 0.4  # background that the patch covers in b
    assert visible(forward, backward, boundary=0.002).sum() < mask.sum()


def test_warp_and_resize_agree_with_a_shift() -> None:
    picture = texture(40, 60)
    flow = np.full((20, 30, 2), (1.0, 0.5), np.float32)
    full = resize_flow(flow, 40, 60)
    assert np.allclose(full, (2.0, 1.0))
    assert np.array_equal(warp(picture, full)[:-1, :-2], picture[1:, 2:])
    with pytest.raises(ValueError):
        FlowEstimator()(luma(picture), luma(picture)[:-1])


def test_flow_does_not_depend_on_opencv_threads() -> None:
    a, b = (luma(p) for p in drive(2))
    threads, results = cv2.getNumThreads(), []
    try:
        for count in (1, 2, 7):
            cv2.setNumThreads(count)
            results.append(FlowEstimator()(a, b))
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
