from dataclasses import replace

import numpy as np
import pytest

from vidrestore.training.degradations.common import luminance, srgb_to_linear
from vidrestore.training.degradations.night import (
    Camera,
    NightSettings,
    make_night,
    photograph,
    relight,
    road_night,
    simulate_night,
    stamp_disc,
)


def street(height=120, width=160, dtype=np.float32):
    """A grey road under a bright blue sky."""
    rng = np.random.default_rng(0)
    picture = np.clip(0.45 + rng.normal(0, 0.08, (height, width, 3)), 0, 1)
    picture[: height // 2] = (0.55, 0.75, 0.95)
    return picture.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(120, 160), (33, 47), (8, 8)])
def test_shape_precision_range_and_repeatability(dtype, shape):
    day = street(*shape, dtype=dtype)
    before = day.copy()
    first, second = (simulate_night(np.random.default_rng(5), day) for _ in range(2))
    assert first.shape == day.shape
    assert first.dtype == dtype
    assert np.isfinite(first).all()
    assert 0 <= first.min() <= first.max() <= 1
    assert np.array_equal(first, second)
    assert np.array_equal(day, before), "the day picture must not be changed"


def test_night_is_dark_and_no_two_nights_are_alike():
    day = street()
    rng = np.random.default_rng(6)
    means = [float(simulate_night(rng, day).mean()) for _ in range(30)]
    assert 0.03 < np.mean(means) < 0.25
    assert np.std(means) > 0.02
    assert max(means) < 0.6 * day.mean()


def test_the_sky_is_darkened_more_than_the_ground():
    linear = srgb_to_linear(street())
    ratios = []
    for seed in range(20):
        gain = luminance(relight(np.random.default_rng(seed), linear)) / luminance(linear)
        ratios.append(gain[5:40].mean() / gain[80:].mean())
    assert np.mean(ratios) < 0.7


def test_headlights_light_the_road():
    linear = np.full((100, 100, 3), 0.2)
    dark = NightSettings(headlights=(0.0, 0.0), vignetting=(0.0, 0.0))
    lit = NightSettings(headlights=(5.0, 5.0), vignetting=(0.0, 0.0))
    without, with_lights = (relight(np.random.default_rng(2), linear, settings) for settings in (dark, lit))
    gain = luminance(with_lights) / luminance(without)
    assert gain[60:95, 30:70].mean() > 2 * gain[:10].mean()


def test_lamps_can_be_switched_off():
    settings = NightSettings(lamps=(0, 0), exposure=(1 / 20, 1 / 20), p_road=0.0)
    assert simulate_night(np.random.default_rng(0), street(), settings).max() < 0.8
    settings = NightSettings(lamps=(4, 4), exposure=(1 / 20, 1 / 20), p_compress=0.0, p_road=0.0)
    assert simulate_night(np.random.default_rng(0), street(), settings).max() > 0.99


def test_a_disc_outside_the_picture_changes_nothing():
    picture = np.zeros((20, 20, 3))
    stamp_disc(picture, (-30.0, 5.0), 4.0, np.ones(3))
    stamp_disc(picture, (5.0, 60.0), 4.0, np.ones(3))
    assert not picture.any()
    stamp_disc(picture, (10.0, 10.0), 4.0, np.ones(3))
    assert picture.sum() / 3 == pytest.approx(np.pi * 16, rel=0.05)


def test_lamps_of_the_night_stand_in_the_day_picture_too() -> None:
    """As bright as there, without their glow; without lamps the day stays as it is."""
    day = np.full((120, 160, 3), 0.3, np.float32)
    without = make_night(np.random.default_rng(3), day, NightSettings(lamps=(0, 0), p_road=0.0))
    assert np.allclose(without.day, day, atol=1e-4)
    scene = make_night(np.random.default_rng(3), day, NightSettings(lamps=(6, 6), lamp_size=(0.02, 0.03), p_road=0.0))
    changed = np.abs(scene.day - day).max(axis=2) > 0.02
    assert 0.005 < changed.mean() < 0.1
    lit = scene.light.max(axis=2) >= 0.99  # the lamps' discs
    brightness = scene.day.max(axis=2)[lit]
    assert np.median(brightness) > 0.95 and brightness.min() > 0.4  # at its rim a disc covers pixels in part
    assert changed.sum() < 1.6 * lit.sum()  # no glow


def test_a_camera_cuts_its_shadows_off() -> None:
    light = np.linspace(0, 0.02, 64, dtype=np.float32).reshape(8, 8, 1).repeat(3, axis=2)
    clean = Camera(shot=0.0, read=0.0, grain=0.0, colour=1.0, black=0.005, quality=None)
    picture = photograph(np.random.default_rng(0), light, clean)
    assert picture[light < 0.005].max() == 0 and picture[light > 0.006].min() > 0
    assert photograph(np.random.default_rng(0), np.ones_like(light), clean).min() == pytest.approx(1)


def test_noise_can_be_without_colour_and_as_strong() -> None:
    light = np.full((96, 96, 3), 0.05, np.float32)
    noises = {}
    for colour in (0.0, 1.0):
        camera = Camera(shot=1e-3, read=2e-3, grain=0.0, colour=colour, black=0.0, quality=None)
        picture = photograph(np.random.default_rng(1), light, camera)
        noises[colour] = (np.std(picture[..., 0] - picture[..., 2]), np.std(picture[..., 1]))
    assert noises[0.0][0] < 1e-6 < noises[1.0][0]
    assert noises[0.0][1] == pytest.approx(noises[1.0][1], rel=0.1)


def test_a_road_by_night_has_a_darker_sky_and_brighter_lights_than_other_nights() -> None:
    ground = np.full((120, 160, 3), 0.35, np.float32)
    ground[:50] = (0.7, 0.8, 0.95)  # a sky
    ground[60:, ::8] = 0.8  # something painted on the road
    city = NightSettings(lamps=(0, 0), p_road=0.0)
    road = replace(road_night(city), lamps=(0, 0))
    ratios, peaks = {}, {}
    for name, settings in (("city", city), ("road", road)):
        light = [luminance(make_night(np.random.default_rng(seed), ground, settings).light) for seed in range(40)]
        ratios[name] = np.median([picture[:40].mean() / picture[80:].mean() for picture in light])
        peaks[name] = np.median([np.quantile(picture, 0.99) for picture in light])
    assert ratios["road"] < 0.5 * ratios["city"]
    assert peaks["road"] > peaks["city"]
