from dataclasses import replace

import numpy as np
import pytest

from vidrestore.training.degradations import flare
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


LAMP = (98.0, 26.0)
PARTS = {
    "streak": ("p_streak", flare._Streak, "add"),
    "veil": ("p_veil", flare._Veil, "add"),
    "ghosts": ("p_ghosts", flare._Ghosts, "add"),
    "scene glow": ("p_scene_glow", flare, "_scene_glow"),
    "smear": ("p_rain", flare, "smear_lights"),
    "drops": ("p_rain", flare, "light_in_drops"),
}
"""Part of a flare -> the setting that says how often it is there, and what draws it."""


def one_lamp():
    """(128, 128, 3) a dark picture with one lamp, off the middle: x and y are `LAMP`."""
    night = np.full((128, 128, 3), 0.05, dtype=np.float32)
    night[24:28, 96:100] = 1.0
    return night


def composed(bank, seed, part, monkeypatch, p=1.0, silent=False):
    """(H, W, 3) light of a flare before it is scaled, and what the part was drawn with (empty where it was not).

    A silent part draws its random numbers, and all else is as with it, but its light is left out.
    """
    setting, owner, name = PARTS[part]
    draw, calls = getattr(owner, name), []

    def watched(*given):
        calls.append(given)
        if not silent:
            return draw(*given)
        made = draw(*(value.copy() if isinstance(value, np.ndarray) else value for value in given))
        return None if made is None else np.zeros_like(made)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, watched)
        patch.setattr(flare, "_choose_gain", lambda *_: 1.0)
        settings = replace(PLAIN, **{setting: p})
        light = composite_flare(np.random.default_rng(seed), one_lamp(), bank, lights=(1, 1), settings=settings).flare
    return light.astype(np.float64), calls


def light_of(bank, part, monkeypatch, seeds=16):
    """Of every flare in which the part is drawn: (H, W) light that it adds, its share of all light, what it was drawn with."""
    for seed in range(seeds):
        whole, calls = composed(bank, seed, part, monkeypatch)
        rest, _ = composed(bank, seed, part, monkeypatch, silent=True)
        if calls:
            assert (whole >= rest).all()
            yield (whole - rest).sum(axis=-1), float((whole - rest).sum() / whole.sum()), calls[0]


def places(around=LAMP):
    """(H, W) how far right and down of a point each pixel's middle lies."""
    rows, columns = np.mgrid[0:128, 0:128] + 0.5
    return columns - around[0], rows - around[1]


def spreads(light):
    """How far the light reaches from the lamp, standard deviations: across its longest direction, along it; right, down."""
    x, y = places()
    moments = np.array([[(light * a * b).sum() for a in (x, y)] for b in (x, y)]) / light.sum()
    return *np.sqrt(np.linalg.eigvalsh(moments)), *np.sqrt(np.diag(moments))


def rings(light):
    """Mean light near the lamp, at some distance and far away."""
    away = np.hypot(*places())
    return [light[(away >= low) & (away < high)].mean() for low, high in ((0, 8), (16, 24), (50, 70))]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_flare_is_there_as_often_as_asked(bank, part, monkeypatch):
    never, half, always = (
        sum(bool(composed(bank, seed, part, monkeypatch, p)[1]) for seed in range(24)) for p in (0.0, 0.5, 1.0)
    )
    assert never == 0
    assert 6 <= half <= 18
    assert always > half
    assert always == 24 or part == "drops", "not all rain leaves drops"


def test_a_streak_is_a_line_through_the_lamp(bank, monkeypatch):
    found = list(light_of(bank, "streak", monkeypatch))
    assert np.median([share for _, share, _ in found]) > 0.05
    for light, _, _ in found:
        across, along, _, _ = spreads(light)
        assert along > 15 and along > 5 * across


def test_a_veil_lies_all_around_the_lamp_and_fades(bank, monkeypatch):
    found = list(light_of(bank, "veil", monkeypatch))
    assert np.median([share for _, share, _ in found]) > 0.3
    for light, _, _ in found:
        across, along, _, _ = spreads(light)
        near, aside, far = rings(light)
        assert along < 2 * across
        assert near > 1.5 * aside > 3 * far > 0


def test_ghosts_lie_on_the_line_through_lamp_and_lens(bank, monkeypatch):
    """Nowhere else, and mostly beyond the lens's centre; the lamp's own small image is as far beyond it as the lamp is before."""
    found = list(light_of(bank, "ghosts", monkeypatch, seeds=32))
    beyond, images = [], []
    for light, _, (ghosts, _, _, lamp, _) in found:
        assert (lamp.x, lamp.y) == LAMP
        x, y = places(ghosts.centre)
        towards = np.subtract(LAMP, ghosts.centre) / np.hypot(*np.subtract(LAMP, ghosts.centre))
        aside = np.abs(x * towards[1] - y * towards[0])
        assert light[aside > max(*ghosts.sizes, 0.02) * 128 + 2].max() == 0
        if light.any():
            beyond.append(light[x * towards[0] + y * towards[1] < 0].sum() / light.sum())
        column, row = (int(2 * middle - place) for middle, place in zip(ghosts.centre, LAMP, strict=True))
        if ghosts.image > 0 and 0 <= row < 128 and 0 <= column < 128:
            images.append(light[row, column])
    assert len(beyond) >= 24, "ghosts are mostly in the picture"
    assert np.median(beyond) > 0.9
    assert len(images) >= 5 and min(images) > 0


def test_what_is_bright_in_the_scene_glows(bank, monkeypatch):
    """The lamp alone is."""
    found = list(light_of(bank, "scene glow", monkeypatch))
    assert np.median([share for _, share, _ in found]) > 0.1
    for light, _, _ in found:
        across, along, _, _ = spreads(light)
        near, aside, far = rings(light)
        assert along < 1.3 * across
        assert near > 3 * aside > 3 * far > 0


def test_a_wet_windscreen_draws_the_lamp_out_up_and_down(bank, monkeypatch):
    found = list(light_of(bank, "smear", monkeypatch))
    assert np.median([share for _, share, _ in found]) > 0.1
    shapes = [spreads(light) for light, _, _ in found]
    assert all(down > right for _, _, right, down in shapes)
    assert np.median([down / right for _, _, right, down in shapes]) > 1.5


def test_drops_glow_and_nothing_between_them(bank, monkeypatch):
    found = list(light_of(bank, "drops", monkeypatch))
    assert np.median([share for _, share, _ in found]) > 0.02
    for light, _, (drops, _) in found:
        assert 0 < (drops == 0).mean() < 1
        assert not light[drops == 0].any()
        assert (light[drops > 0.3] > 0).all()


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
