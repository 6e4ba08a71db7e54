"""TemporalBlend: calmer, as sharp, without trails; the same bits wherever a segment starts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.temporal.shots import TIME_BASE, drive, frames, noisy, pictures, texture
from vidrestore.config import TemporalConfig
from vidrestore.metrics.noise import temporal_noise
from vidrestore.metrics.psnr import psnr
from vidrestore.metrics.sharpness import edge_gain, sharpness_ratio
from vidrestore.metrics.warping import warping_error
from vidrestore.temporal.blend import TemporalBlend
from vidrestore.types import Clip, Frame, StreamInfo


def blend(clip: list[np.ndarray], **settings: float) -> list[np.ndarray]:
    return pictures(TemporalBlend(TemporalConfig(**settings)).process(frames(clip)))


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_static_noisy_shot_gets_calm_and_closer_to_the_truth() -> None:
    clean = texture()
    shot = noisy([clean] * 12)
    blended = blend(shot)
    assert temporal_noise(blended) <= 0.6 * temporal_noise(shot)
    assert min(psnr(clean, b) - psnr(clean, s) for b, s in zip(blended, shot, strict=True)) > 2.0


def test_noise_in_the_dark_is_averaged_too() -> None:
    clean = texture() // 8
    shot = noisy([clean] * 8, sigma=5)
    assert temporal_noise(blend(shot)) <= 0.65 * temporal_noise(shot)


def test_clean_moving_clip_stays_sharp() -> None:
    clip = drive(9)
    blended = blend(clip)
    assert not same(blended, clip)
    assert np.mean([sharpness_ratio(b, c) for b, c in zip(blended, clip, strict=True)]) >= 0.98
    assert np.mean([edge_gain(b, c) for b, c in zip(blended, clip, strict=True)]) >= 0.98
    assert min(psnr(b, c) for b, c in zip(blended, clip, strict=True)) > 36


def test_noisy_moving_clip_gets_steadier_and_closer_to_the_truth() -> None:
    clean = drive(9)
    clip = noisy(clean)
    blended = blend(clip)
    assert warping_error(blended, clip).ratio <= 0.8
    assert all(psnr(b, t) > psnr(c, t) + 0.5 for b, c, t in zip(blended, clip, clean, strict=True))


def test_flicker_of_exposure_is_steadied() -> None:
    gains = np.random.default_rng(3).uniform(0.97, 1.03, 12)
    shot = [np.clip(texture() * g, 0, 255).astype(np.uint8) for g in gains]
    before, after = (np.std([p.mean() for p in clip[2:-2]]) for clip in (shot, blend(shot)))
    assert after <= 0.6 * before


@pytest.mark.parametrize(("darkness", "limit"), [(0, 2), (16, 2), (5, 4)])
@pytest.mark.parametrize("soft", [0.0, 2.0])
@pytest.mark.parametrize("speed", [3, 9])
def test_bright_object_leaves_no_trail(darkness: int, limit: int, soft: float, speed: int) -> None:
    """2/255 in the dark; beside strong texture (up to 43/255) flow that leaks from the object may shift it by up to 4/255."""
    scene = (texture() // darkness if darkness else np.full((96, 128, 3), 12, np.uint8)).astype(np.float32)
    shot, masks = [], []
    for k in range(10):
        lamp = np.zeros(scene.shape[:2], np.float32)
        cv2.circle(lamp, (10 + speed * k, 48), 7, 1.0, -1)
        masks.append(cv2.dilate((lamp > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        glow = cv2.GaussianBlur(lamp, (0, 0), soft) if soft else lamp
        if soft:
            masks[-1] |= glow > 0.004  # the glow belongs to the object; a trail would lie outside it
        shot.append((scene + (240 - scene) * glow[..., None]).round().astype(np.uint8))
    for original, result, mask in zip(shot, blend(shot), masks, strict=True):
        difference = np.abs(original.astype(int) - result)[~mask]
        assert difference.max() <= limit
        assert np.mean(difference > 2) <= 0.002


def test_cut_mixes_nothing() -> None:
    one, two = noisy([texture(seed=1)] * 5), noisy([texture(seed=2)] * 5, seed=9)
    assert same(blend([*one, *two]), [*blend(one), *blend(two)])


def test_one_frame_between_two_cuts_passes_untouched() -> None:
    one, flash, two = noisy([texture(seed=1)] * 3), [texture(seed=7)], noisy([texture(seed=2)] * 3)
    assert np.array_equal(blend([*one, *flash, *two])[3], flash[0])


@pytest.mark.parametrize("off", [{"strength": 0.0}, {"enabled": False}])
def test_off_is_the_identity(off: dict) -> None:
    stream = frames(noisy([texture()] * 4))
    stage = TemporalBlend(TemporalConfig(**off))
    assert stage.halo == 0
    assert all(a is b for a, b in zip(stream, stage.process(stream), strict=True))
    assert [f.index for f in stage.process_segment(stream, 1, 1)] == [1, 2]


@pytest.fixture(scope="module")
def long_shot() -> list[Frame]:
    """14 frames with motion, noise and a cut before frame 6."""
    return frames(noisy([*drive(6, seed=3), *drive(8, seed=4)]))


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_segments_with_a_halo_give_the_bits_of_the_whole(long_shot: list[Frame], radius: int) -> None:
    config = TemporalConfig(radius=radius)
    whole = pictures(TemporalBlend(config).process(long_shot))
    assert TemporalBlend(config).halo == radius
    for start in range(0, 14, 3):
        for stop in (start + 1, min(start + 5, 14)):
            before, after = min(radius, start), min(radius, 14 - stop)
            clip = Clip(tuple(long_shot[start - before : stop + after]), before, after)
            emitted = list(TemporalBlend(config).process_clip(clip))
            assert [f.index for f in emitted] == list(range(start, stop))
            assert same(pictures(emitted), whole[start:stop])


def test_a_halo_longer_than_needed_changes_nothing(long_shot: list[Frame]) -> None:
    whole = pictures(TemporalBlend().process(long_shot))
    assert same(pictures(TemporalBlend().process_segment(long_shot, 5, 4)), whole[5:10])


def test_opencv_threads_do_not_change_bits(long_shot: list[Frame]) -> None:
    threads = cv2.getNumThreads()
    try:
        results = []
        for count in (1, 2, 5):
            cv2.setNumThreads(count)
            results.append(pictures(TemporalBlend().process(long_shot[:5])))
    finally:
        cv2.setNumThreads(threads)
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_memory_is_bounded(long_shot: list[Frame]) -> None:
    pulled, lead = 0, []

    def source():
        nonlocal pulled
        for frame in long_shot:
            pulled += 1
            yield frame

    for emitted, _ in enumerate(TemporalBlend(TemporalConfig(radius=2)).process(source())):
        lead.append(pulled - emitted)
    assert max(lead) <= 3


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 9),
    radius=st.integers(1, 4),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    cuts=st.sets(st.integers(1, 8)),
    strength=st.sampled_from([0.0, 0.7]),
)
def test_every_frame_leaves_in_its_place(count: int, radius: int, before: int, after: int, cuts: set, strength: float) -> None:
    shots = np.cumsum([k in cuts for k in range(count)])
    stream = frames([texture(24, 32, seed=int(s)) for s in shots], first=5)
    stage = TemporalBlend(TemporalConfig(radius=radius, strength=strength))
    out = list(stage.process_segment(iter(stream), before, after))
    expected = stream[before : max(before, count - after)]
    assert [(f.index, f.pts, f.duration, f.time_base) for f in out] == [(f.index, f.pts, f.duration, TIME_BASE) for f in expected]
    assert all(f.data.shape == (3, 24, 32) and f.data.dtype == np.uint8 for f in out)


def test_memory_layout_and_kind_do_not_change_bits() -> None:
    shot = noisy(drive(4))
    reference = list(TemporalBlend().process(frames(shot)))
    assert all(f.data.transpose(1, 2, 0).flags["C_CONTIGUOUS"] for f in reference)
    planar = [f.with_data(np.ascontiguousarray(f.data)) for f in frames(shot)]
    tensors = [f.with_data(torch.from_numpy(np.ascontiguousarray(f.data))) for f in frames(shot)]
    last = [f.with_data(torch.from_numpy(np.ascontiguousarray(f.data.transpose(1, 2, 0))).permute(2, 0, 1)) for f in frames(shot)]
    assert same(pictures(TemporalBlend().process(planar)), pictures(reference))
    for given_frames in (tensors, last):
        out = list(TemporalBlend().process(given_frames))
        assert all(isinstance(f.data, torch.Tensor) and f.data.dtype == torch.uint8 for f in out)
        assert all(f.data.permute(1, 2, 0).is_contiguous() for f in out)
        assert same([f.data.permute(1, 2, 0).numpy() for f in out], pictures(reference))


def test_sixteen_bits_follow_eight() -> None:
    shot = noisy(drive(4))
    deep = [f.with_data(f.data.astype(np.uint16) * 257) for f in frames(shot)]
    out = list(TemporalBlend().process(deep))
    assert all(f.data.dtype == np.uint16 for f in out)
    for eight, sixteen in zip(blend(shot), out, strict=True):
        assert np.abs(sixteen.data.transpose(1, 2, 0) / 257.0 - eight).max() <= 1.5


def test_sixteen_bits_keep_what_eight_cannot_hold() -> None:
    """Differences far below an 8-bit level (257 of 65535) are averaged as such: no step, no bias, less noise."""
    clean = texture().astype(np.float64) * 257
    random = np.random.default_rng(4)
    shot = [np.round(clean + random.normal(0, 60, clean.shape)).astype(np.uint16) for _ in range(5)]
    given = [Frame(p.transpose(2, 0, 1), k, k, TIME_BASE) for k, p in enumerate(shot)]
    out = [f.data.transpose(1, 2, 0) for f in TemporalBlend().process(given)]
    middle, before = out[2] - clean, shot[2] - clean
    assert np.abs(middle.mean()) < 2 and middle.std() < 0.65 * before.std()
    assert np.unique(out[2] % 257).size == 257


def test_a_still_picture_keeps_every_sixteen_bit_level() -> None:
    """No rounding on the way through float32: 65536 levels in, the same out."""
    levels = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
    given = [Frame(np.repeat(levels, 3, axis=0), k, k, TIME_BASE) for k in range(5)]
    for frame in TemporalBlend().process(given):
        assert np.array_equal(frame.data, given[0].data)


def test_one_channel_and_tiny_pictures() -> None:
    shot = [Frame(p[..., :1].transpose(2, 0, 1), k, k, TIME_BASE) for k, p in enumerate(noisy([texture(20, 18)] * 4))]
    out = list(TemporalBlend().process(shot))
    assert [f.data.shape for f in out] == [(1, 20, 18)] * 4


def test_input_frames_are_not_written_to() -> None:
    stream = frames(noisy([texture()] * 5))
    copies = [f.data.copy() for f in stream]
    list(TemporalBlend().process(stream))
    assert all(np.array_equal(f.data, c) for f, c in zip(stream, copies, strict=True))


def test_wrong_samples_and_sizes_are_refused() -> None:
    with pytest.raises(TypeError, match="float32"):
        list(TemporalBlend().process([Frame(np.zeros((3, 8, 8), np.float32), 0, 0, TIME_BASE)]))
    with pytest.raises(ValueError, match="frame 1"):
        list(TemporalBlend().process([*frames([texture(32, 32)]), *frames([texture(32, 40)], first=1)]))


def test_stage_protocol() -> None:
    info = StreamInfo(128, 96, TIME_BASE)
    stage = TemporalBlend()
    assert stage.open(info) == info
    list(stage.process(frames([texture()] * 2)))
    stage.close()
    assert len(list(stage.process(iter([])))) == 0
