"""What holds for every way of blending: the same bits wherever a segment starts, no trails, every frame in its place."""

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
from vidrestore.temporal.blend import TemporalBlend
from vidrestore.temporal.coarse import CoarseBlend
from vidrestore.types import Clip, Frame, StreamInfo

Kind = type[TemporalBlend] | type[CoarseBlend]
both = pytest.mark.parametrize("kind", [TemporalBlend, CoarseBlend])


def blend(kind: Kind, clip: list[np.ndarray], **settings: float) -> list[np.ndarray]:
    return pictures(kind(TemporalConfig(**settings)).process(frames(clip)))


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@both
def test_static_noisy_shot_gets_calm_and_closer_to_the_truth(kind: Kind) -> None:
    clean = texture(192, 256)
    shot = noisy([clean] * 12)
    blended = blend(kind, shot)
    assert temporal_noise(blended) <= 0.6 * temporal_noise(shot)
    assert min(psnr(clean, b) - psnr(clean, s) for b, s in zip(blended, shot, strict=True)) > 2.0


@both
def test_noise_in_the_dark_is_averaged_too(kind: Kind) -> None:
    clean = texture(192, 256) // 8
    shot = noisy([clean] * 8, sigma=5)
    assert temporal_noise(blend(kind, shot)) <= (0.65 if kind is TemporalBlend else 0.75) * temporal_noise(shot)


@both
@pytest.mark.parametrize("contrast", [8, 12, 20])
@pytest.mark.parametrize("speed", [3, 9, 20])
def test_a_faint_thing_in_the_dark_is_not_averaged_away(kind: Kind, contrast: int, speed: int) -> None:
    """Where flow finds nothing to hold on to: the thing stays as it is, and leaves nothing behind."""
    shot, masks = [], []
    for k in range(9):
        thing = np.zeros((96, 256), np.uint8)
        cv2.rectangle(thing, (20 + speed * k, 40), (36 + speed * k, 56), 1, -1)
        masks.append(thing > 0)
        shot.append(np.repeat((6 + contrast * thing)[..., None], 3, axis=2).astype(np.uint8))
    for original, result, mask in zip(shot, blend(kind, shot), masks, strict=True):
        apart = np.abs(result.astype(int) - original)
        assert apart[~cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)].max() <= 2
        assert apart[mask].mean() <= 0.1 * contrast


@both
@pytest.mark.parametrize("level", [60, 90, 150, 240])
@pytest.mark.parametrize(("darkness", "limit", "share"), [(0, 1, 0.0), (8, 4, 0.001), (3, 5, 0.007), (1, 7, 0.012)])
@pytest.mark.parametrize("speed", [3, 11])
def test_a_thin_thing_before_a_still_scene(kind: Kind, darkness: int, limit: int, share: float, level: int, speed: int) -> None:
    """A pixel wide: the mean of a block hardly shows it. A coarse correction reaches a block further than what it corrects.

    Over a flat dark scene it leaves nothing. Over texture (up to 27 levels at an eighth, 72 at a third) a wire of about its own
    brightness confuses flow beside it, which costs some levels on few pixels.
    """
    margin = np.ones((3, 3) if kind is TemporalBlend else (9, 9), np.uint8)
    scene = texture(192, 256) // darkness if darkness else np.full((192, 256, 3), 12, np.uint8)
    shot, masks = [], []
    for k in range(9):
        wire = np.zeros(scene.shape[:2], np.uint8)
        cv2.line(wire, (30 + speed * k, 0), (60 + speed * k, 191), 1, 1)
        masks.append(cv2.dilate(wire, margin) > 0)
        shot.append(np.where(wire[..., None] > 0, level, scene).astype(np.uint8))
    for original, result, mask in zip(shot, blend(kind, shot), masks, strict=True):
        apart = np.abs(result.astype(int) - original)[~mask]
        assert apart.max() <= limit
        assert np.mean(apart > 2) <= share


@both
def test_clean_moving_clip_stays_sharp(kind: Kind) -> None:
    clip = drive(9)
    blended = blend(kind, clip)
    assert not same(blended, clip)
    assert np.mean([sharpness_ratio(b, c) for b, c in zip(blended, clip, strict=True)]) >= 0.98
    assert np.mean([edge_gain(b, c) for b, c in zip(blended, clip, strict=True)]) >= 0.98
    assert min(psnr(b, c) for b, c in zip(blended, clip, strict=True)) > 36


@both
def test_flicker_of_exposure_is_steadied(kind: Kind) -> None:
    gains = np.random.default_rng(3).uniform(0.97, 1.03, 12)
    shot = [np.clip(texture() * g, 0, 255).astype(np.uint8) for g in gains]
    before, after = (np.std([p.mean() for p in clip[2:-2]]) for clip in (shot, blend(kind, shot)))
    assert after <= 0.6 * before


@both
@pytest.mark.parametrize(("darkness", "limit"), [(0, 2), (16, 2), (5, 3)])
@pytest.mark.parametrize("soft", [0.0, 2.0])
@pytest.mark.parametrize("speed", [3, 9])
def test_bright_object_leaves_no_trail(kind: Kind, darkness: int, limit: int, soft: float, speed: int) -> None:
    """2/255 in the dark; beside stronger texture (up to 43/255) flow that leaks from the object shifts few pixels by 3/255."""
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
    for original, result, mask in zip(shot, blend(kind, shot), masks, strict=True):
        difference = np.abs(original.astype(int) - result)[~mask]
        assert difference.max() <= limit
        assert np.mean(difference > 2) <= 0.001


@both
@pytest.mark.parametrize("amount", [3.0, 6.0])
def test_a_limit_holds_for_light_and_colour_and_noise_is_averaged_all_the_same(kind: Kind, amount: float) -> None:
    """As where maps were steadied before: what blending of pictures changes of a place is 2 levels at most."""
    clean = texture(192, 256)
    shot = [np.clip(clean + amount * (-1.0) ** k, 0, 255).astype(np.uint8) for k in range(7)]
    limited = pictures(kind(None, 2.0).process(frames(shot)))
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(limited, shot, strict=True)) == 2
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(blend(kind, shot), shot, strict=True)) > 2
    grainy = noisy([clean] * 8)
    assert temporal_noise(pictures(kind(None, 2.0).process(frames(grainy)))) <= 0.5 * temporal_noise(grainy)


@both
def test_cut_mixes_nothing(kind: Kind) -> None:
    one, two = noisy([texture(seed=1)] * 5), noisy([texture(seed=2)] * 5, seed=9)
    assert same(blend(kind, [*one, *two]), [*blend(kind, one), *blend(kind, two)])


@both
def test_one_frame_between_two_cuts_passes_untouched(kind: Kind) -> None:
    one, flash, two = noisy([texture(seed=1)] * 3), [texture(seed=7)], noisy([texture(seed=2)] * 3)
    assert np.array_equal(blend(kind, [*one, *flash, *two])[3], flash[0])


@both
@pytest.mark.parametrize("off", [{"strength": 0.0}, {"enabled": False}])
def test_off_is_the_identity(kind: Kind, off: dict) -> None:
    stream = frames(noisy([texture()] * 4))
    stage = kind(TemporalConfig(**off))
    assert stage.halo == 0
    assert all(a is b for a, b in zip(stream, stage.process(stream), strict=True))
    assert [f.index for f in stage.process_segment(stream, 1, 1)] == [1, 2]


@pytest.fixture(scope="module")
def long_shot() -> list[Frame]:
    """14 frames with motion, noise and a cut before frame 6."""
    return frames(noisy([*drive(6, seed=3), *drive(8, seed=4)]))


@both
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_segments_with_a_halo_give_the_bits_of_the_whole(kind: Kind, long_shot: list[Frame], radius: int) -> None:
    config = TemporalConfig(radius=radius)
    whole = pictures(kind(config).process(long_shot))
    assert kind(config).halo == radius
    for start in range(0, 14, 3):
        for stop in (start + 1, min(start + 5, 14)):
            before, after = min(radius, start), min(radius, 14 - stop)
            clip = Clip(tuple(long_shot[start - before : stop + after]), before, after)
            emitted = list(kind(config).process_clip(clip))
            assert [f.index for f in emitted] == list(range(start, stop))
            assert same(pictures(emitted), whole[start:stop])


@both
def test_a_halo_longer_than_needed_changes_nothing(kind: Kind, long_shot: list[Frame]) -> None:
    whole = pictures(kind().process(long_shot))
    assert same(pictures(kind().process_segment(long_shot, 5, 4)), whole[5:10])


@both
def test_opencv_threads_do_not_change_bits(kind: Kind, long_shot: list[Frame]) -> None:
    threads = cv2.getNumThreads()
    try:
        results = []
        for count in (1, 2, 5):
            cv2.setNumThreads(count)
            results.append(pictures(kind().process(long_shot[:5])))
    finally:
        cv2.setNumThreads(threads)
    assert same(results[0], results[1])
    assert same(results[0], results[2])


@both
def test_memory_is_bounded(kind: Kind, long_shot: list[Frame]) -> None:
    pulled, lead = 0, []

    def source():
        nonlocal pulled
        for frame in long_shot:
            pulled += 1
            yield frame

    for emitted, _ in enumerate(kind(TemporalConfig(radius=2)).process(source())):
        lead.append(pulled - emitted)
    assert max(lead) <= 3


@both
@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 9),
    radius=st.integers(1, 4),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    cuts=st.sets(st.integers(1, 8)),
    strength=st.sampled_from([0.0, 0.7]),
)
def test_every_frame_leaves_in_its_place(
    kind: Kind, count: int, radius: int, before: int, after: int, cuts: set, strength: float
) -> None:
    shots = np.cumsum([k in cuts for k in range(count)])
    stream = frames([texture(24, 32, seed=int(s)) for s in shots], first=5)
    stage = kind(TemporalConfig(radius=radius, strength=strength))
    out = list(stage.process_segment(iter(stream), before, after))
    expected = stream[before : max(before, count - after)]
    assert [(f.index, f.pts, f.duration, f.time_base) for f in out] == [(f.index, f.pts, f.duration, TIME_BASE) for f in expected]
    assert all(f.data.shape == (3, 24, 32) and f.data.dtype == np.uint8 for f in out)


@both
def test_memory_layout_and_kind_do_not_change_bits(kind: Kind) -> None:
    shot = noisy(drive(4))
    reference = list(kind().process(frames(shot)))
    assert all(f.data.transpose(1, 2, 0).flags["C_CONTIGUOUS"] for f in reference)
    planar = [f.with_data(np.ascontiguousarray(f.data)) for f in frames(shot)]
    tensors = [f.with_data(torch.from_numpy(np.ascontiguousarray(f.data))) for f in frames(shot)]
    last = [f.with_data(torch.from_numpy(np.ascontiguousarray(f.data.transpose(1, 2, 0))).permute(2, 0, 1)) for f in frames(shot)]
    assert same(pictures(kind().process(planar)), pictures(reference))
    for given_frames in (tensors, last):
        out = list(kind().process(given_frames))
        assert all(isinstance(f.data, torch.Tensor) and f.data.dtype == torch.uint8 for f in out)
        assert all(f.data.permute(1, 2, 0).is_contiguous() for f in out)
        assert same([f.data.permute(1, 2, 0).numpy() for f in out], pictures(reference))


@both
def test_sixteen_bits_follow_eight(kind: Kind) -> None:
    shot = noisy(drive(4))
    deep = [f.with_data(f.data.astype(np.uint16) * 257) for f in frames(shot)]
    out = list(kind().process(deep))
    assert all(f.data.dtype == np.uint16 for f in out)
    for eight, sixteen in zip(blend(kind, shot), out, strict=True):
        assert np.abs(sixteen.data.transpose(1, 2, 0) / 257.0 - eight).max() <= 1.5


@both
def test_a_still_picture_keeps_every_sixteen_bit_level(kind: Kind) -> None:
    """No rounding on the way through float32: 65536 levels in, the same out."""
    levels = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
    given = [Frame(np.repeat(levels, 3, axis=0), k, k, TIME_BASE) for k in range(5)]
    for frame in kind().process(given):
        assert np.array_equal(frame.data, given[0].data)


@both
def test_one_channel_and_tiny_pictures(kind: Kind) -> None:
    shot = [Frame(p[..., :1].transpose(2, 0, 1), k, k, TIME_BASE) for k, p in enumerate(noisy([texture(20, 18)] * 4))]
    out = list(kind().process(shot))
    assert [f.data.shape for f in out] == [(1, 20, 18)] * 4


@both
def test_input_frames_are_not_written_to(kind: Kind) -> None:
    stream = frames(noisy([texture()] * 5))
    copies = [f.data.copy() for f in stream]
    list(kind().process(stream))
    assert all(np.array_equal(f.data, c) for f, c in zip(stream, copies, strict=True))


@both
def test_wrong_samples_and_sizes_are_refused(kind: Kind) -> None:
    with pytest.raises(TypeError, match="float32"):
        list(kind().process([Frame(np.zeros((3, 8, 8), np.float32), 0, 0, TIME_BASE)]))
    with pytest.raises(ValueError, match="frame 1"):
        list(kind().process([*frames([texture(32, 32)]), *frames([texture(32, 40)], first=1)]))


@both
def test_stage_protocol(kind: Kind) -> None:
    info = StreamInfo(128, 96, TIME_BASE)
    stage = kind()
    assert stage.open(info) == info
    list(stage.process(frames([texture()] * 2)))
    stage.close()
    assert len(list(stage.process(iter([])))) == 0
