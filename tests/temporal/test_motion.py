"""Motion: known displacements are found, hidden places are not trusted, steps chain."""

from __future__ import annotations

import numpy as np

from tests.temporal.shots import texture
from vidrestore.metrics.flow import warp
from vidrestore.temporal.motion import FLOW_SIDE, MotionEstimator, chain


def panned(step: int, count: int) -> list[np.ndarray]:
    wide = texture(96, 200)
    return [np.ascontiguousarray(wide[:, step * k : step * k + 128]) for k in range(count)]


def test_pan_is_found_both_ways_and_the_lost_border_distrusted() -> None:
    estimator = MotionEstimator()
    a, b = (estimator.reduce(p) for p in panned(4, 2))
    forward, backward = estimator.between(a, b)
    inside = (slice(8, -8), slice(16, -16))
    assert np.abs(np.median(forward.flow[inside], axis=(0, 1)) - [-4, 0]).max() < 0.1
    assert np.abs(np.median(backward.flow[inside], axis=(0, 1)) - [4, 0]).max() < 0.1
    assert forward.trust[inside].mean() > 240
    assert forward.trust[8:-8, :3].max() == 0  # has left the picture
    assert backward.trust[8:-8, -3:].max() == 0


def test_chained_steps_reach_the_second_neighbour() -> None:
    estimator = MotionEstimator()
    a, b, c = (estimator.reduce(p) for p in panned(3, 3))
    motion = chain(estimator.between(a, b)[0], estimator.between(b, c)[0])
    inside = (slice(8, -8), slice(16, -16))
    assert np.abs(np.median(motion.flow[inside], axis=(0, 1)) - [-6, 0]).max() < 0.15
    assert np.abs(warp(c, motion.flow)[inside].astype(int) - a[inside]).mean() < 2
    assert motion.trust[8:-8, :5].max() == 0


def test_large_pictures_are_reduced_small_ones_kept() -> None:
    estimator = MotionEstimator()
    assert estimator.reduce(np.zeros((540, 960, 3), np.uint8)).shape == (270, FLOW_SIDE)
    assert estimator.reduce(np.zeros((64, 80, 3), np.uint8)).shape == (64, 80)
