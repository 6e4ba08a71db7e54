"""Steadiness: brightness alone is no flicker, and every figure follows from its definition."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.temporal.shots import drive, noisy, texture
from vidrestore.metrics.steadiness import Steadiness, SteadinessMeter
from vidrestore.metrics.warping import warping_error


def measured(references: list[np.ndarray], outputs: list[np.ndarray]) -> Steadiness:
    meter = SteadinessMeter()
    meter.add_run(references, outputs)
    return meter.result()


def brightened(clip: list[np.ndarray], gamma: float) -> list[np.ndarray]:
    return [np.rint(255 * (p / 255.0) ** gamma).astype(np.uint8) for p in clip]


def test_a_clip_against_itself() -> None:
    clip = drive(5)
    told = measured(clip, clip)
    assert told.ratio == pytest.approx(1.0, abs=5e-3)
    assert told.gamma == pytest.approx(1.0, abs=1e-3)
    assert (told.pairs, told.skipped) == (4, 0)
    straight = warping_error(clip, clip)
    assert told.warping_in == pytest.approx(straight.reference, rel=0.02)
    assert told.warping_out == pytest.approx(straight.output, rel=0.02)
    assert told.visible == pytest.approx(straight.visible, abs=0.02)


@pytest.mark.parametrize("gamma", [0.4, 0.7, 1.6])
def test_a_brighter_clip_is_no_restless_one(gamma: float) -> None:
    clip = noisy([p // 3 for p in drive(5)], 3.0)
    told = measured(clip, brightened(clip, gamma))
    assert told.gamma == pytest.approx(gamma, rel=0.01)
    assert told.ratio == pytest.approx(1.0, abs=0.03)
    assert (told.warping_out / told.warping_in > 1.2) == (gamma < 1)


def test_flicker_of_a_brighter_clip_is_found() -> None:
    clip = drive(6)
    restless = [np.clip(p * (1 + 0.05 * (-1) ** k), 0, 255).astype(np.uint8) for k, p in enumerate(brightened(clip, 0.5))]
    assert measured(clip, restless).ratio > 3
    calm = brightened(clip, 0.5)
    flickering = [np.clip(p * (1 + 0.05 * (-1) ** k), 0, 255).astype(np.uint8) for k, p in enumerate(clip)]
    assert measured(flickering, calm).ratio < 0.5


def test_known_values_of_a_static_shot() -> None:
    """Input steps from 51 to 102, output from 102 to 153, of 255: errors by hand. gamma: 2 means of 0.2 and 0.4 give 0.5."""
    references = [np.full((64, 64, 3), level, np.uint8) for level in (51, 102)]
    outputs = [np.full((64, 64, 3), level, np.uint8) for level in (102, 153)]
    told = measured(references, outputs)
    assert told.warping_in == pytest.approx(3 * 0.2**2, rel=1e-6)
    assert told.warping_out == pytest.approx(3 * 0.2**2, rel=1e-6)
    assert (0.2**told.gamma + 0.4**told.gamma) / 2 == pytest.approx(0.5, abs=1e-6)
    assert told.warping_in_matched == pytest.approx(3 * (0.4**told.gamma - 0.2**told.gamma) ** 2, rel=1e-6)
    assert told.ratio == pytest.approx(told.warping_out / told.warping_in_matched)


def test_frame_by_frame_it_tells_each_pair() -> None:
    meter, clip = SteadinessMeter(), drive(3)
    assert meter.add(clip[0], clip[0]) is None
    told = [meter.add(p, p) for p in clip[1:]]
    assert [pair[0] == pair[1] > 0 for pair in told if pair] == [True, True]
    meter.cut()
    assert meter.add(clip[0], clip[0]) is None
    assert meter.result().pairs == 2
    assert meter.result().warping_out == pytest.approx(measured(clip, clip).warping_out)


def test_an_input_that_never_changes_has_no_ratio() -> None:
    still = [texture()] * 3
    told = measured(still, noisy(still))
    assert told.warping_in == told.warping_in_matched == 0.0
    assert np.isnan(told.ratio)
    assert told.warping_out > 0


def test_one_gamma_over_all_runs_and_memory_does_not_grow() -> None:
    clip = drive(6)
    one, two = SteadinessMeter(), SteadinessMeter()
    one.add_run(clip[:3], brightened(clip[:3], 0.5))
    one.add_run(clip[3:], brightened(clip[3:], 0.5))
    assert one.result().pairs == 4
    assert one.result().gamma == pytest.approx(0.5, rel=0.01)
    two.add_run(clip[3:], brightened(clip[3:], 0.5))
    two.add_run(clip[:3], brightened(clip[:3], 0.5))
    assert two.result().ratio == pytest.approx(one.result().ratio, rel=1e-9)
    held = sum(value.nbytes for value in vars(one).values() if isinstance(value, np.ndarray))
    assert held == sum(value.nbytes for value in vars(SteadinessMeter()).values() if isinstance(value, np.ndarray)) < 10 << 20


def test_larger_and_deeper_outputs() -> None:
    clip = drive(4)
    larger = [cv2.resize(p, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for p in clip]
    assert measured(clip, larger).ratio == pytest.approx(1.0, abs=5e-3)
    assert measured(clip, [p.astype(np.uint16) * 257 for p in clip]).ratio == pytest.approx(1.0, abs=5e-3)
    reduced = SteadinessMeter(longest=64)
    reduced.add_run(larger, larger)
    assert reduced.result().ratio == pytest.approx(1.0, abs=5e-3)


def test_cuts_and_unsound_runs() -> None:
    one, two = drive(2, seed=1), drive(2, seed=2)
    told = measured([*one, *two], [*one, *two])
    assert told.pairs + told.skipped == 3
    with pytest.raises(ValueError, match="two consecutive"):
        measured(one[:1], one[:1])
    with pytest.raises(ValueError):
        measured(one, one[:1])
