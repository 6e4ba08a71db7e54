import numpy as np
import pytest

from vidrestore.training.degradations.windscreen import (
    cover_with_tile,
    draw_reflection,
    light_in_drops,
    render_drops,
    render_film,
    render_streak,
    smear_lights,
    stretch_tile,
)


@pytest.mark.parametrize("render", [render_streak, render_film, render_drops])
def test_tiles_are_repeatable_varied_and_in_range(render):
    tiles = [render(np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(tiles[0], tiles[1])
    assert not np.array_equal(tiles[0], tiles[2])
    for tile in tiles:
        assert tile.dtype == np.float32
        assert 0 <= tile.min() <= tile.max() <= 1
        assert tile.max() > 0.5


def test_a_streak_is_long_and_thin_and_ends_in_nothing():
    for seed in range(10):
        streak = render_streak(np.random.default_rng(seed)).mean(axis=-1)
        height, width = streak.shape
        along, across = streak.max(axis=0), streak[:, width // 2 - 8 : width // 2 + 8].max(axis=1)
        assert (along > 0.01).mean() * width > 4 * (across > 0.25).mean() * height
        assert abs(int(along.argmax()) - width // 2) < width // 4
        assert max(streak[0].max(), streak[-1].max(), streak[:, 0].max(), streak[:, -1].max()) < 0.02


def test_a_film_has_its_ridges_along_the_rows():
    film = render_film(np.random.default_rng(2))
    assert np.abs(np.diff(film, axis=0)).mean() > 4 * np.abs(np.diff(film, axis=1)).mean()


def test_a_tile_lies_where_it_is_put_and_as_long_as_asked():
    tile = np.zeros((9, 33), dtype=np.float32)
    tile[4] = 1.0
    flat = stretch_tile(tile, (40.5, 20.5), 0.0, 2.0, 0.5, (60, 100))
    upright = stretch_tile(tile, (40.5, 20.5), np.pi / 2, 1.0, 1.0, (60, 100))
    rows, columns = np.nonzero(flat > 0.5)
    assert set(rows) == {20}
    assert columns.min() == pytest.approx(40 - 32, abs=2)
    assert columns.max() == pytest.approx(40 + 32, abs=2)
    rows, columns = np.nonzero(upright > 0.5)
    assert set(columns) == {40}
    assert rows.max() == pytest.approx(20 + 16, abs=1)


def test_a_pattern_covers_the_whole_picture():
    tile = np.full((32, 32), 0.5, dtype=np.float32)
    for turn in (0.0, 1.0):
        cover = cover_with_tile(np.random.default_rng(0), tile, turn, 1.5, (90, 160))
        assert cover.shape == (90, 160)
        assert np.allclose(cover, 0.5, atol=1e-3)


def test_rain_draws_lights_out_up_and_down():
    scene = np.full((96, 96, 3), 0.01, dtype=np.float32)
    scene[46:50, 46:50] = (1.0, 0.5, 0.2)
    smear = smear_lights(np.random.default_rng(3), scene, 0.0)
    light = smear.mean(axis=-1)
    rows, columns = (np.nonzero(light.max(axis=axis) > 0.1 * light.max())[0] for axis in (1, 0))
    assert np.ptp(rows) > 3 * np.ptp(columns)
    assert smear.mean() == pytest.approx(1.0, rel=0.1)
    colour = smear.sum(axis=(0, 1)) / smear.sum()
    assert colour[0] > 1.5 * colour[1] > 1.5 * colour[2]
    leaning = smear_lights(np.random.default_rng(3), scene, 0.5).mean(axis=-1)
    upper, lower = (np.average(np.arange(96), weights=part.sum(axis=0)) for part in (leaning[:40], leaning[56:]))
    assert abs(upper - lower) > 4


def test_a_dark_scene_has_nothing_to_smear():
    assert not smear_lights(np.random.default_rng(0), np.full((64, 64, 3), 0.05, dtype=np.float32), 0.1).any()


def test_drops_glow_near_light_and_hardly_away_from_it():
    drops = np.zeros((64, 128), dtype=np.float32)
    drops[30:34, 20:24] = drops[30:34, 100:104] = 1.0
    light = np.zeros((64, 128, 3), dtype=np.float32)
    light[24:40, 12:30] = (1.0, 0.2, 0.1)
    glow = light_in_drops(drops, light)
    assert glow[32, 22].sum() > 2 * glow[32, 102].sum() > 0
    assert glow[32, 22, 0] > 2 * glow[32, 22, 1]
    assert not glow[drops == 0].any()


def test_a_reflection_is_upright_below_its_beginning_and_has_the_lamps_colour():
    scene = np.zeros((80, 80, 3), dtype=np.float32)
    draw_reflection(np.random.default_rng(4), scene, (40.0, 30.0), np.array((1.0, 0.5, 0.0)), 2.0, 40.0)
    assert not scene[:30].any()
    assert not scene[70:].any()
    assert not scene[..., 2].any()
    assert np.allclose(scene[..., 0], 2 * scene[..., 1], atol=1e-5)
    rows, columns = np.nonzero(scene[..., 0] > 0.05)
    assert np.ptp(rows) > 2 * np.ptp(columns)
    before = scene.copy()
    draw_reflection(np.random.default_rng(4), scene, (-500.0, 30.0), np.ones(3), 2.0, 40.0)  # out of view
    assert np.array_equal(scene, before)
