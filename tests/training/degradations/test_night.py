import numpy as np
import pytest

from vidrestore.training.degradations.common import luminance, srgb_to_linear
from vidrestore.training.degradations.night import NightSettings, relight, simulate_night, stamp_disc


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
    settings = NightSettings(lamps=(0, 0), exposure=(1 / 20, 1 / 20))
    assert simulate_night(np.random.default_rng(0), street(), settings).max() < 0.8
    settings = NightSettings(lamps=(4, 4), exposure=(1 / 20, 1 / 20), p_compress=0.0)
    assert simulate_night(np.random.default_rng(0), street(), settings).max() > 0.99


def test_a_disc_outside_the_picture_changes_nothing():
    picture = np.zeros((20, 20, 3))
    stamp_disc(picture, (-30.0, 5.0), 4.0, np.ones(3))
    stamp_disc(picture, (5.0, 60.0), 4.0, np.ones(3))
    assert not picture.any()
    stamp_disc(picture, (10.0, 10.0), 4.0, np.ones(3))
    assert picture.sum() / 3 == pytest.approx(np.pi * 16, rel=0.05)
