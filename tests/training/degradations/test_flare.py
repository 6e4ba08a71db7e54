from dataclasses import replace

import numpy as np
import pytest

from vidrestore.training.degradations.common import linear_to_srgb, psnr, srgb_to_linear
from vidrestore.training.degradations.flare import FlareSettings, composite_flare
from vidrestore.training.degradations.flare_patterns import FlareBank


@pytest.fixture(scope="module")
def bank():
    return FlareBank(np.random.default_rng(0), count=8, size=128)


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(1)
    noise = [np.clip(level + rng.normal(0, 0.1, (96, 128, 3)), 0, 1) for level in (0.15, 0.3, 0.5, 0.7)]
    return [scene.astype(np.float32) for scene in noise]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pairs_are_repeatable_in_range_and_leave_the_clean_picture_alone(bank, scenes, dtype):
    clean = scenes[2].astype(dtype)
    before = clean.copy()
    first, second = (composite_flare(np.random.default_rng(4), clean, bank) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.shape == clean.shape
        assert one.dtype == dtype
        assert np.isfinite(one).all()
        assert np.array_equal(one, other)
    for picture in first[:2]:
        assert 0 <= picture.min() <= picture.max() <= 1
    assert first.flare.min() >= 0
    assert np.array_equal(clean, before)


def test_only_flare_differs(bank, scenes):
    """Where the target is not clipped, input = target + flare in linear light: the noise is the same in both."""
    pair = composite_flare(np.random.default_rng(5), scenes[1], bank, settings=FlareSettings(p_compress=0.0))
    target = srgb_to_linear(pair.target)
    inside = (target > 0.001) & (target + pair.flare < 0.98)
    assert inside.mean() > 0.3
    assert np.abs(srgb_to_linear(pair.input) - target - pair.flare)[inside].max() < 1e-4
    assert (pair.input >= pair.target - 1e-6).all()


def test_severity_is_as_asked(bank, scenes):
    rng = np.random.default_rng(6)
    values = [psnr(pair.input, pair.target) for pair in (composite_flare(rng, scenes[k % 4], bank) for k in range(80))]
    assert 17 < np.mean(values) < 21
    assert np.mean([14 <= value <= 26 for value in values]) > 0.85
    assert np.std(values) > 1.5


def test_burned_out_area_is_limited(bank, scenes):
    rng = np.random.default_rng(7)
    settings = FlareSettings(psnr_mean=5.0, psnr_limits=(5.0, 6.0), burned_limit=0.03)
    for scene in scenes:
        flare = composite_flare(rng, scene, bank, settings=settings).flare
        assert (flare.max(axis=-1) > 1.01).mean() < 0.06


def test_clean_pairs(bank, scenes):
    rng = np.random.default_rng(8)
    pair = composite_flare(rng, scenes[0], bank, p_clean=1.0)
    assert np.array_equal(pair.input, pair.target)
    assert pair.input is not pair.target
    assert not pair.flare.any()
    clean = [not composite_flare(rng, scenes[k % 4], bank, p_clean=0.3).flare.any() for k in range(120)]
    assert 0.15 < np.mean(clean) < 0.45


def test_lamps_stay_in_the_target(bank):
    """Lamps drawn in are part of the scene: the target has saturated spots, in the place where the flare peaks."""
    night = np.full((128, 128, 3), 0.08, dtype=np.float32)
    found = 0
    for seed in range(12):
        pair = composite_flare(np.random.default_rng(seed), night, bank, lights=(1, 1))
        found += bool(pair.target.max() > 0.95)
    assert found >= 8  # the rest lies just outside the picture


def test_without_a_bank(scenes):
    pair = composite_flare(np.random.default_rng(9), scenes[0][:48, :64], lights=(1, 1))
    assert pair.flare.any()
    assert psnr(pair.input, pair.target) < 40


def test_flare_of_a_black_picture_is_the_flare_itself(bank):
    pair = composite_flare(np.random.default_rng(10), np.zeros((64, 64, 3), dtype=np.float32), bank)
    assert np.isfinite(pair.input).all()
    assert pair.input.mean() == pytest.approx(float(linear_to_srgb(pair.flare).mean()), abs=0.1)


PLAIN = FlareSettings(
    p_ghosts=0.0, p_scene_glow=0.0, p_weak=0.0, p_streak=0.0, p_veil=0.0, p_rain=0.0, p_wet_road=0.0, p_distant=0.0,
    p_denoised=0.0, p_compress=0.0,
)  # fmt: skip


def mean_flare(bank, seeds=16, **parts):
    """(128, 128, 3) mean of the flares of single lamps on a dark picture, each with mean 1."""
    night = np.full((128, 128, 3), 0.05, dtype=np.float32)
    total = np.zeros_like(night)
    for seed in range(seeds):
        flare = composite_flare(np.random.default_rng(seed), night, bank, lights=(1, 1), settings=replace(PLAIN, **parts)).flare
        total += flare / flare.mean() / seeds
    return total


@pytest.mark.parametrize("part", ["p_streak", "p_veil", "p_rain", "p_ghosts"])
def test_every_part_adds_light_of_its_own(bank, part):
    """With the part switched on the light lies elsewhere, and the probability says how often."""
    without, with_part = mean_flare(bank), mean_flare(bank, **{part: 1.0})
    assert np.abs(with_part - without).mean() > 0.1
    night = np.full((64, 64, 3), 0.05, dtype=np.float32)
    counts = [
        composite_flare(np.random.default_rng(9), night, bank, settings=replace(PLAIN, **{part: p})).flare for p in (0.0, 1.0)
    ]
    assert not np.array_equal(*counts)


def test_a_long_streak_reaches_much_farther_than_the_glow(bank):
    """Light far from the lamp lies in few directions: the brightest pixels at a distance stand out of their ring."""
    night = np.full((128, 128, 3), 0.05, dtype=np.float32)

    def contrast(settings):
        values = []
        for seed in range(24):
            pair = composite_flare(np.random.default_rng(seed), night, bank, lights=(1, 1), settings=settings)
            light = pair.flare.mean(axis=-1)
            y, x = np.unravel_index(light.argmax(), light.shape)
            rows, columns = np.mgrid[0:128, 0:128]
            ring = light[np.abs(np.hypot(rows - y, columns - x) - 40) < 3]
            values.append(ring.max() / (np.median(ring) + 1e-6 * light.max()))
        return np.median(values)

    assert contrast(replace(PLAIN, p_streak=1.0)) > 1.5 * contrast(PLAIN)


def test_a_veil_is_wide_and_its_colour_changes_outwards(bank):
    night = np.full((128, 128, 3), 0.05, dtype=np.float32)
    changes = {0.0: [], 1.0: []}
    for p, values in changes.items():
        for seed in range(24):
            settings = replace(PLAIN, p_veil=p)
            light = composite_flare(np.random.default_rng(seed), night, bank, lights=(1, 1), settings=settings).flare
            y, x = np.unravel_index(light.mean(axis=-1).argmax(), light.shape[:2])
            rows, columns = np.mgrid[0:128, 0:128]
            away = np.hypot(rows - y, columns - x)
            near, far = (light[(away > a) & (away < b)].mean(axis=0) for a, b in ((4, 8), (24, 40)))
            values.append(np.abs(near / near.sum() - far / far.sum()).sum())
    assert np.mean(changes[1.0]) > 2 * np.mean(changes[0.0])


def test_a_red_lamp_gives_a_red_veil(bank):
    night = np.zeros((128, 128, 3), dtype=np.float32)
    night[60:66, 60:66] = (1.0, 0.05, 0.05)
    reds = []
    for seed in range(12):
        settings = replace(PLAIN, p_veil=1.0)
        light = composite_flare(np.random.default_rng(seed), night, bank, lights=(1, 1), settings=settings).flare
        share = light.sum(axis=(0, 1)) / light.sum()
        reds.append(share[0])
    assert np.median(reds) > 0.6


def test_compression_is_of_the_input_alone_unless_there_is_no_flare(bank, scenes):
    settings = FlareSettings(p_compress=1.0, quality=(30, 31))
    pair, plain = (
        composite_flare(np.random.default_rng(3), scenes[1], bank, settings=s)
        for s in (settings, replace(settings, quality=(99, 100)))
    )
    assert np.array_equal(pair.target, plain.target)
    assert np.array_equal(pair.flare, plain.flare)
    assert psnr(pair.input, plain.input) < 40
    clean, fine = (
        composite_flare(np.random.default_rng(3), scenes[1], bank, p_clean=1.0, settings=s)
        for s in (settings, replace(settings, quality=(99, 100)))
    )
    assert np.array_equal(clean.input, clean.target)
    assert not np.array_equal(clean.target, fine.target)


def test_a_burned_out_day_sky_gets_no_flare(bank):
    day = np.full((96, 96, 3), 0.5, dtype=np.float32)
    day[:24] = 1.0
    by_day = replace(PLAIN, p_darken=0.0)
    # The exposure varies by up to a tenth: a sky that is brought below white may get flare.
    for seed in range(20):
        pair = composite_flare(np.random.default_rng(seed), day, bank, settings=by_day)
        burned = (pair.target[:24] > 0.985).mean() > 0.9
        assert not (burned and pair.flare.any())
    assert any(not composite_flare(np.random.default_rng(seed), day, bank, settings=by_day).flare.any() for seed in range(20))
    assert composite_flare(np.random.default_rng(0), day * 0.5, bank, settings=by_day).flare.any()


def test_reflections_on_a_wet_road_are_in_the_target(bank):
    """They lie below the lamps and are the same in target and input: the flare is not what differs."""
    night = np.full((128, 128, 3), 0.02, dtype=np.float32)
    lit = []
    for p in (0.0, 1.0):
        settings = replace(PLAIN, p_wet_road=p)
        pairs = [
            composite_flare(np.random.default_rng(seed), night, bank, lights=(2, 2), settings=settings) for seed in range(24)
        ]
        # Lit, but not burned out as the lamps are.
        lit.append(np.mean([((pair.target[64:] > 0.12) & (pair.target[64:] < 0.9)).any(axis=-1).mean() for pair in pairs]))
        for pair in pairs:
            assert (pair.input >= pair.target - 1e-6).all()
    assert lit[1] > 3 * lit[0]


def test_distant_lights_do_not_flare_and_stay(bank):
    night = np.full((128, 128, 3), 0.02, dtype=np.float32)
    spots = []
    for p in (0.0, 1.0):
        pairs = [
            composite_flare(np.random.default_rng(seed), night, bank, lights=(1, 1), settings=replace(PLAIN, p_distant=p))
            for seed in range(12)
        ]
        spots.append(np.mean([(pair.target.max(axis=-1) > 0.4).mean() for pair in pairs]))
        assert all((pair.input >= pair.target - 1e-6).all() for pair in pairs)
    assert spots[1] > 2 * spots[0]


def test_a_denoised_picture_has_hardly_any_colour_in_its_noise(bank):
    night = np.full((128, 128, 3), 0.2, dtype=np.float32)
    colour = []
    for p in (0.0, 1.0):
        settings = replace(PLAIN, p_denoised=p, shot=(1e-3, 1.001e-3))
        targets = [composite_flare(np.random.default_rng(seed), night, bank, settings=settings).target for seed in range(8)]
        colour.append(np.mean([np.median(np.abs(target[..., 0] - target[..., 2])) for target in targets]))
    assert colour[1] < 0.6 * colour[0]


def test_it_rains_by_night_alone(bank):
    day = np.full((64, 64, 3), 0.6, dtype=np.float32)
    rain, dry = (
        composite_flare(np.random.default_rng(2), day, bank, settings=replace(PLAIN, p_darken=0.0, p_rain=p)).flare
        for p in (1.0, 0.0)
    )
    assert rain.any()
    assert np.array_equal(rain, dry)
