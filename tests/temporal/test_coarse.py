"""CoarseBlend: what flickers slowly across the picture is steadied, detail stays, and rounding favours no side."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.temporal.shots import TIME_BASE, drive, frames, noisy, pictures, texture
from vidrestore.kernels import correct, steady
from vidrestore.metrics.flow import FlowEstimator
from vidrestore.metrics.flow import visible as slow_visible
from vidrestore.metrics.sharpness import edge_gain
from vidrestore.temporal.blend import TemporalBlend
from vidrestore.temporal.coarse import CoarseBlend, block_side
from vidrestore.temporal.motion import BOUNDARY, Motion, chain
from vidrestore.types import Frame


def patchy_flicker(count: int, size: tuple[int, int], seed: int = 5) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A drive, and the same with a smooth field of light that changes from frame to frame, as engines leave it behind."""
    generator = np.random.default_rng(seed)
    clean = [cv2.resize(p, size, interpolation=cv2.INTER_CUBIC) for p in drive(count)]
    fields = [cv2.resize(generator.normal(0, 6, (4, 5, 3)), size, interpolation=cv2.INTER_CUBIC) for _ in clean]
    return clean, [np.clip(p + f, 0, 255).round().astype(np.uint8) for p, f in zip(clean, fields, strict=True)]


def test_flicker_of_places_is_steadied_as_well_as_at_full_size() -> None:
    clean, shot = patchy_flicker(9, (640, 480))
    errors = {}
    for kind in (TemporalBlend, CoarseBlend):
        out = pictures(kind().process(frames(shot)))
        errors[kind] = np.mean([np.square(o.astype(float) - c).mean() for o, c in zip(out[2:-2], clean[2:-2], strict=True)])
    before = np.mean([np.square(s.astype(float) - c).mean() for s, c in zip(shot[2:-2], clean[2:-2], strict=True)])
    assert errors[CoarseBlend] < 0.5 * before
    assert errors[CoarseBlend] < 1.25 * errors[TemporalBlend]
    assert np.mean([edge_gain(o, s) for o, s in zip(out, shot, strict=True)]) > 0.98


def test_detail_is_left_alone() -> None:
    """Where the picture moves, what differs between input and output has nothing finer than a block in it."""
    wide = cv2.resize(texture(), (540, 384))
    shot = noisy([np.ascontiguousarray(wide[:, 4 * k : 4 * k + 512]) for k in range(5)])
    middle = pictures(CoarseBlend().process(frames(shot)))[2]
    correction = middle.astype(np.float32) - shot[2]
    assert np.abs(correction).max() > 0
    fine = correction - cv2.blur(correction, (5, 5))
    assert fine.std() < 0.5, "of a noise of 6 levels; rounding alone gives 0.29"


def test_rounding_has_no_bias_and_gradients_no_steps() -> None:
    ramp = np.tile(np.linspace(40, 90, 640, dtype=np.float32)[None, :, None], (360, 1, 3))
    offsets = (-1.5, 1.5, -1.5, 1.5, -1.5)
    shot = [np.floor(ramp + o + 0.5).astype(np.uint8) for o in offsets]
    out = pictures(CoarseBlend().process(frames(shot)))[2].astype(int)
    for axis in (0, 1):
        steps = np.abs(np.diff(out, axis=axis))
        assert steps.max() <= 2 and np.mean(steps > 1) < 0.001
    generator = np.random.default_rng(0)
    picture = generator.integers(20, 230, (64, 96, 3), dtype=np.uint8)
    for level in (-0.75, -0.5, -0.25, 0.25, 0.5, 0.75):
        correction = generator.normal(level, 2.0, (16, 24, 3)).astype(np.float32)
        result = np.empty_like(picture)
        correct.add_enlarged(picture, correction, 4, 1.0, result)
        assert abs((result.astype(float) - picture).mean() - correction.mean()) < 0.05


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "size"), [(4, (40, 64)), (4, (42, 63)), (5, (45, 60)), (8, (33, 70))])
def test_reducing_and_enlarging_are_what_they_say(side: int, size: tuple[int, int], channels: int, dtype: type) -> None:
    peak = np.iinfo(dtype).max
    unit = peak / 255
    random = np.random.default_rng(1)
    picture = random.integers(0, peak + 1, (*size, channels)).astype(dtype)
    height, width = (-(-n // side) for n in size)
    small = np.empty((height, width, channels), np.float32)
    steady.reduce_blocks(picture, side, 1 / unit, small)
    for i in range(height):
        for j in range(width):
            block = picture[i * side : (i + 1) * side, j * side : (j + 1) * side].astype(float)
            assert np.allclose(small[i, j], block.mean(axis=(0, 1)) / unit, rtol=1e-5, atol=1e-4)
    correction = random.normal(0, 20, (height, width, channels)).astype(np.float32)
    out = np.empty_like(picture)
    correct.add_enlarged(picture, correction, side, unit, out)
    enlarged = cv2.resize(correction, (width * side, height * side), interpolation=cv2.INTER_LINEAR)
    enlarged = enlarged.reshape(height * side, width * side, channels)[: size[0], : size[1]]
    exact = np.clip(picture + enlarged.astype(float) * unit, 0, peak)
    assert np.abs(out - exact).max() <= 0.51 * max(1.0, unit / 200)


def test_kernels_agree_with_the_plain_forms() -> None:
    shot = [cv2.cvtColor(cv2.resize(p, (320, 240)), cv2.COLOR_RGB2GRAY) for p in noisy(drive(3, pan=2.0), sigma=2)]
    estimate = FlowEstimator("fast")
    there, back, on = estimate(shot[0], shot[1]), estimate(shot[1], shot[0]), estimate(shot[1], shot[2])
    mask = np.empty(there.shape[:2], np.uint8)
    steady.visible(there, back, BOUNDARY, mask)
    assert np.mean((mask > 0) != slow_visible(there, back, BOUNDARY)) < 0.005
    trust = np.full_like(mask, 255)
    flow, seen = np.empty_like(there), np.empty_like(mask)
    steady.chain(there, mask, on, trust, flow, seen)
    assert np.abs(flow - chain(Motion(there, mask), Motion(on, trust)).flow).max() < 0.1
    assert np.array_equal(seen, mask)


def test_slow_levels_of_sixteen_bits_are_kept() -> None:
    """A flicker far below an 8-bit level (257) is steadied in 16 bits."""
    clean = texture(192, 256).astype(np.float64) * 257
    shot = [np.round(clean + 60 * (-1) ** k).astype(np.uint16) for k in range(5)]
    out = list(CoarseBlend().process([Frame(p.transpose(2, 0, 1), k, k, TIME_BASE) for k, p in enumerate(shot)]))
    before, after = (float(np.mean(p - clean)) for p in (shot[2], out[2].data.transpose(1, 2, 0)))
    assert abs(after) < 0.5 * abs(before)


def test_a_flow_does_not_depend_on_earlier_ones() -> None:
    """OpenCV's DIS retunes itself for small pictures, and stays so."""
    for size in ((40, 32), (80, 64), (80, 80), (95, 95), (96, 54)):
        shot = [cv2.resize(p, size) for p in (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in noisy(drive(4)))]
        for preset in ("ultrafast", "fast", "medium"):
            used = FlowEstimator(preset)
            used(shot[2], shot[3])
            assert np.array_equal(used(shot[0], shot[1]), FlowEstimator(preset)(shot[0], shot[1]))


def test_the_block_keeps_the_small_picture_small() -> None:
    assert [block_side(h, w) for h, w in ((720, 1280), (1080, 1920), (2160, 3840), (1920, 1080), (48, 64))] == [4, 4, 8, 4, 4]


class WithoutStill(CoarseBlend):
    """Coarse blending that leaves pixels alone where nothing moves: what the correction alone does."""

    def _still(self, *given: object) -> bool:
        return False


@pytest.mark.parametrize("box", [(80, 120, 80, 120), (81, 119, 82, 122)], ids=["on blocks", "across blocks"])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
@pytest.mark.parametrize("step", [3, 4, 6, 10])
def test_a_place_that_flickers_in_a_still_scene_is_steadied(step: int, sigma: float, box: tuple[int, int, int, int]) -> None:
    """Pixels that are not averaged, because they differ by more than noise, take nothing off what the correction does."""
    top, bottom, left, right = box
    shot = []
    for k, picture in enumerate(noisy([texture(192, 256)] * 12, sigma)):
        picture[top:bottom, left:right] += np.uint8(step if k % 2 else 0)
        shot.append(picture)

    def unsteady(clip: list[np.ndarray]) -> float:
        return float(np.std([p[top:bottom, left:right].mean() for p in clip[2:-2]]))

    alone = unsteady(pictures(WithoutStill().process(frames(shot))))
    assert alone <= 0.51 * unsteady(shot)
    # Calmer noise leaves less to chance where levels are rounded: hence the little more.
    assert unsteady(pictures(CoarseBlend().process(frames(shot)))) <= 1.03 * alone + 0.02


def test_a_camera_that_moves_pays_nothing_for_its_still_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive with a bonnet of a quarter of the picture, which stands still; then a picture that stands still as a whole."""
    moving = drive(5, pan=3.0)
    height, width = moving[0].shape[:2]
    bonnet = texture(height // 4, width, seed=9)
    for picture in moving:
        picture[-len(bonnet) :] = bonnet
    averaged: list[int] = []
    plain = correct.add_still

    def add_still(*given: object) -> None:
        averaged.append(1)
        plain(*given)

    monkeypatch.setattr(correct, "add_still", add_still)
    pictures(CoarseBlend().process(frames(noisy(moving))))
    assert not averaged
    still = [moving[0]] * 5
    pictures(CoarseBlend().process(frames(noisy(still))))
    assert len(averaged) == 5
