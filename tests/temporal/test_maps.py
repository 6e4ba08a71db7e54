"""MapSteadier: what flickers in maps is averaged, what the source gives a reason for is not, and nothing crosses a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch

from tests.temporal.shots import texture
from vidrestore.config import TemporalConfig
from vidrestore.models.pixel_maps import PixelMaps
from vidrestore.temporal.maps import MapSteadier


@dataclass(frozen=True)
class Seen:
    layers: tuple[PixelMaps, ...]
    view: np.ndarray


def view(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) levels -> (3, H, W) code values."""
    return np.ascontiguousarray(picture.astype(np.float32).transpose(2, 0, 1) / 255)


def maps(level: float | np.ndarray, size: tuple[int, int] = (48, 64)) -> PixelMaps:
    cells = np.broadcast_to(np.asarray(level, np.float32), (3, *size)).copy()
    return PixelMaps(flare=torch.from_numpy(cells)[None])


def flares(items: Sequence[Seen], layer: int = 0, **settings: object) -> list[np.ndarray]:
    steadier = MapSteadier(TemporalConfig.model_validate(settings))
    return [cells(layers, layer) for _, layers in steadier.slide(items)]


def cells(layers: Sequence[PixelMaps], layer: int = 0) -> np.ndarray:
    flare = layers[layer].flare
    assert flare is not None
    return flare[0].numpy()


def flickering(count: int, seed: int = 3) -> list[float]:
    return list(np.random.default_rng(seed).uniform(0.1, 0.3, count))


def test_flicker_of_maps_is_averaged_where_the_source_stays_the_same() -> None:
    levels = flickering(12)
    out = flares([Seen((maps(level),), view(texture())) for level in levels])
    assert np.std([o.mean() for o in out[2:-2]]) < 0.55 * np.std(levels[2:-2])
    assert out[5] == pytest.approx(np.mean(levels[3:8]), abs=1e-4), "five of the same weight"


def test_maps_move_with_the_picture() -> None:
    """Maps that belong to things stay with them: nothing is smeared by a pan."""
    wide, belongs = texture(96, 200), cv2.GaussianBlur(texture(96, 200, 5).astype(np.float32), (0, 0), 4)[..., 0] / 255
    items, own = [], []
    for k in range(7):
        x = 6 * k
        part = cv2.resize(belongs[:, x : x + 128], (64, 48), interpolation=cv2.INTER_AREA)
        own.append(part)
        items.append(Seen((maps(part),), view(wide[:, x : x + 128])))
    out = flares(items)
    still = [np.mean([own[k + d] for d in (-2, -1, 0, 1, 2)], axis=0) for k in range(2, 5)]
    inside = (slice(6, -6), slice(10, -10))
    moved = max(np.abs(out[k][0] - own[k])[inside].mean() for k in range(2, 5))
    smeared = min(np.abs(still[k - 2] - own[k])[inside].mean() for k in range(2, 5))
    assert moved < 0.15 * smeared


def test_a_cut_mixes_nothing() -> None:
    one = [Seen((maps(level),), view(texture(seed=1))) for level in flickering(4)]
    two = [Seen((maps(level),), view(texture(seed=2))) for level in flickering(4, seed=8)]
    together, apart = flares([*one, *two]), [*flares(one), *flares(two)]
    assert all(np.array_equal(a, b) for a, b in zip(together, apart, strict=True))


def test_in_the_dark_each_frame_keeps_its_own() -> None:
    """Whether maps differ for a reason cannot be told from a source that is nearly black."""
    picture = texture()
    picture[:, :64] //= 24
    levels = flickering(5)
    out = flares([Seen((maps(level),), view(picture)) for level in levels])
    assert np.array_equal(out[2][:, :, :28], cells([maps(levels[2])])[:, :, :28])
    assert np.abs(out[2][:, :, 44:] - np.mean(levels)).max() < 1e-4


@pytest.mark.parametrize("speed", [4, 9])
def test_a_lamp_leaves_no_trail(speed: int) -> None:
    """What the maps say of a lamp stays where the lamp is."""
    scene, items, own, masks = texture() // 3, [], [], []
    for k in range(9):
        lamp = np.zeros(scene.shape[:2], np.float32)
        cv2.circle(lamp, (16 + speed * k, 48), 7, 1.0, -1)
        items.append((np.where(lamp[..., None] > 0, 240, scene).astype(np.uint8), lamp))
        glow = cv2.resize(cv2.GaussianBlur(lamp, (0, 0), 2), (64, 48), interpolation=cv2.INTER_AREA)
        own.append(0.4 * glow)
        masks.append(glow > 0.002)
    out = flares([Seen((maps(flare),), view(picture)) for (picture, _), flare in zip(items, own, strict=True)])
    for result, flare, mask in zip(out, own, masks, strict=True):
        assert np.abs(result - flare)[:, ~mask].max() <= 2 / 255


def test_each_layer_and_each_map_is_steadied() -> None:
    levels = flickering(5)

    def two(level: float) -> tuple[PixelMaps, ...]:
        affine = torch.full((1, 12, 24, 30), level)
        return PixelMaps(affine=affine, noise=torch.full((1, 1, 24, 30), level)), maps(2 * level)

    items = [Seen(two(level), view(texture())) for level in levels]
    first, second = list(MapSteadier().slide(items))[2][1]
    for values, expected in ((first.affine, 1.0), (first.noise, 1.0), (second.flare, 2.0)):
        assert values is not None and (values - expected * np.mean(levels)).abs().max() < 1e-4
    assert first.flare is None and second.affine is None


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_a_segment_with_a_halo_gives_the_bits_of_the_whole(radius: int) -> None:
    random = np.random.default_rng(0)
    wide = texture(96, 200)
    items = [
        Seen((maps(random.uniform(0, 0.3, (48, 64)).astype(np.float32)),), view(wide[:, 3 * k : 3 * k + 128])) for k in range(12)
    ]
    whole = flares(items, radius=radius)
    steadier = MapSteadier(TemporalConfig(radius=radius))
    assert steadier.halo == radius
    for start, stop in ((0, 5), (4, 6), (7, 12)):
        before, after = min(radius, start), min(radius, 12 - stop)
        part = steadier.slide(items[start - before : stop + after], before, after)
        assert all(np.array_equal(cells(layers), whole[start + k]) for k, (_, layers) in enumerate(part))


def test_no_more_is_held_than_the_radius_asks_for() -> None:
    pulled, lead = 0, []

    def source():
        nonlocal pulled
        for level in flickering(10):
            pulled += 1
            yield Seen((maps(level),), view(texture()))

    for emitted, _ in enumerate(MapSteadier().slide(source())):
        lead.append(pulled - emitted)
    assert max(lead) <= 3


def test_without_strength_maps_stay_as_they_are() -> None:
    levels = flickering(5)
    out = flares([Seen((maps(level),), view(texture())) for level in levels], strength=0.0)
    assert all(np.array_equal(o, cells([maps(level)])) for o, level in zip(out, levels, strict=True))
