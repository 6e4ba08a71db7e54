"""The kernel over integers does what the reference in torch does over floats."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vidrestore.kernels import pixel_maps as kernel
from vidrestore.kernels.pixel_maps import restore_pixels
from vidrestore.models import pixel_maps as reference
from vidrestore.models.pixel_maps import PixelMaps, apply_maps
from vidrestore.models.transform_head import KNEES

KINDS = [
    (), ("flare",), ("affine",), ("affine", "noise"), ("flare", "affine"), ("flare", "affine", "noise"), ("guided",),
    ("flare", "guided", "noise"),
]  # fmt: skip
CHANNELS = {"flare": 3, "affine": 12, "guided": 25, "noise": 1}


def noise_frame(height: int, width: int, dtype: type = np.uint8, seed: int = 0) -> NDArray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, 3)).astype(dtype)


def random_maps(
    kinds: tuple[str, ...], height: int, width: int, seed: int = 0, knees: tuple[float, float] = (-0.05, 0.55)
) -> dict[str, NDArray]:
    """Rougher than any network's: flare up to 1, transforms that leave 0..1, thresholds from 0; knees from below 0."""
    rng = np.random.default_rng(seed)
    maps = {kind: rng.random((CHANNELS[kind], height, width), np.float32) for kind in kinds}
    if "affine" in maps:
        maps["affine"] = maps["affine"] * 1.6 - 0.6
    if "noise" in maps:
        maps["noise"] = np.maximum(0, maps["noise"] * 0.4 - 0.1)
    if "guided" in maps:  # an affine map of more channels
        guided = maps.pop("guided")
        guided[:24] = guided[:24] * 1.6 - 0.6
        guided[24] = guided[24] * (knees[1] - knees[0]) + knees[0]
        maps["affine"] = guided
    return maps


def by_torch(frame: NDArray, maps: dict[str, NDArray]) -> NDArray:
    """Code values in the frame's units, clipped and not rounded. In double precision: where stray light leaves little of
    a pixel's, float32 has errors of its own, as large as the kernel's."""
    peak = np.iinfo(frame.dtype).max
    picture = torch.from_numpy(frame.astype(np.float64) / peak).permute(2, 0, 1).unsqueeze(0)
    output = apply_maps(picture, PixelMaps(**{kind: torch.from_numpy(values)[None].double() for kind, values in maps.items()}))
    return output[0].permute(1, 2, 0).clamp(0, 1).numpy() * peak


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_it_is_the_reference(kinds: tuple[str, ...], dtype: type) -> None:
    """To a hundredth of an 8-bit level before rounding, at 8 and at 16 bits."""
    frame, maps = noise_frame(45, 83, dtype), random_maps(kinds, 7, 11)
    difference = np.abs(restore_pixels(frame, **maps) - by_torch(frame, maps))
    assert difference.max() <= 0.5 + 0.01 * np.iinfo(dtype).max / 255


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(KINDS), st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(1, 50), st.integers(0, 99),
    st.sampled_from([np.uint8, np.uint16]),
)  # fmt: skip
def test_any_size_of_frame_and_map(
    kinds: tuple[str, ...], height: int, width: int, rows: int, columns: int, seed: int, dtype: type
) -> None:
    """To 0.02 of an 8-bit level; guided, 0.05: a guide makes more of the error in what stray light left of a pixel (in 9,000
    draws the largest was 0.036, at 16 bits, with the least knee a network can ask for)."""
    frame, maps = noise_frame(height, width, dtype, seed), random_maps(kinds, rows, columns, seed, KNEES)
    difference = np.abs(restore_pixels(frame, **maps) - by_torch(frame, maps))
    assert difference.max() <= 0.5 + (0.05 if "guided" in kinds else 0.02) * np.iinfo(dtype).max / 255


@pytest.mark.parametrize("level", [0, 1, 254, 255])
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_extremes(level: int, kinds: tuple[str, ...], value: float) -> None:
    frame = np.full((5, 6, 3), level, np.uint8)
    maps = {kind.replace("guided", "affine"): np.full((CHANNELS[kind], 2, 2), value, np.float32) for kind in kinds}
    assert np.abs(restore_pixels(frame, **maps) - by_torch(frame, maps)).max() <= 0.51


def test_without_maps_every_level_comes_back() -> None:
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    sixteen = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    assert np.array_equal(restore_pixels(eight), eight)
    assert np.array_equal(restore_pixels(sixteen), sixteen)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength(dtype: type) -> None:
    frame, maps = noise_frame(20, 30, dtype), random_maps(("flare", "affine"), 5, 6)
    full = by_torch(frame, maps)
    assert np.array_equal(restore_pixels(frame, **maps, strength=0.0), frame)
    half = restore_pixels(frame, **maps, strength=0.5)
    assert np.abs(half - (full + frame) / 2).max() <= 0.5 + 0.01 * np.iinfo(dtype).max / 255


def test_from_8_bits_to_16_and_back() -> None:
    frame, maps = noise_frame(20, 30), random_maps(("affine",), 5, 6)
    deep = restore_pixels(frame, **maps, out=np.empty((20, 30, 3), np.uint16))
    assert np.abs(deep / 257 - by_torch(frame, maps)).max() <= 0.01
    assert np.array_equal(
        restore_pixels(frame, strength=0.3, out=np.empty((20, 30, 3), np.uint16)), frame.astype(np.uint16) * 257
    )
    assert np.array_equal(restore_pixels(frame.astype(np.uint16) * 257, out=np.empty((20, 30, 3), np.uint8)), frame)


def test_memory_of_any_order_is_read_and_never_written_to() -> None:
    frame, maps = noise_frame(20, 30), random_maps(("flare", "affine", "noise"), 5, 6)
    expected = restore_pixels(frame, **maps)
    planar = np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0)
    locked = frame.copy()
    locked.flags.writeable = False
    strided = {kind: values.repeat(2, axis=2)[:, :, ::2] for kind, values in maps.items()}
    for source in (planar, locked, frame.repeat(2, axis=1)[:, ::2]):
        kept = source.copy()
        assert np.array_equal(restore_pixels(source, **strided), expected)
        assert np.array_equal(source, kept)


def test_the_result_goes_where_it_is_wanted() -> None:
    frame, maps = noise_frame(20, 30), random_maps(("affine",), 5, 6)
    out = np.empty_like(frame)
    assert restore_pixels(frame, **maps, out=out) is out
    assert np.array_equal(out, restore_pixels(frame, **maps))


def test_what_does_not_fit_is_refused() -> None:
    frame = noise_frame(8, 9)
    maps = random_maps(("flare", "affine", "noise"), 2, 2)
    with pytest.raises(ValueError, match="needs an affine map"):
        restore_pixels(frame, noise=maps["noise"])
    with pytest.raises(ValueError, match=r"flare map is \(3, h, w\)"):
        restore_pixels(frame, flare=maps["affine"])
    with pytest.raises(ValueError, match="affine map is"):
        restore_pixels(frame, affine=np.empty((12, 0, 3), np.float32))
    with pytest.raises(ValueError, match="uint8 or uint16"):
        restore_pixels(frame.astype(np.float32))
    with pytest.raises(ValueError, match="a frame is"):
        restore_pixels(frame[..., :1])
    with pytest.raises(ValueError, match="out is a contiguous"):
        restore_pixels(frame, out=np.empty((9, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="shares memory"):
        restore_pixels(frame, out=frame)


def test_threads_do_not_disturb_each_other() -> None:
    frames = [noise_frame(60, 70, seed=seed) for seed in range(8)]
    maps = random_maps(("flare", "affine", "noise"), 5, 6)
    alone = [restore_pixels(frame, **maps) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda frame: restore_pixels(frame, **maps), frames))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_constants_are_the_references() -> None:
    mine = (kernel.GAMMA, float(kernel.KEPT), float(kernel.TRUST), float(kernel.BURNED))
    assert mine == pytest.approx((reference.GAMMA, reference.KEPT, reference.TRUST, reference.BURNED), rel=1e-6)
    assert float(kernel.LEAST_KNEE) == pytest.approx(reference.LEAST_KNEE)
    assert kernel.GUIDED == reference.GUIDED
    assert [float(v) for v in (kernel.RED, kernel.GREEN, kernel.BLUE)] == pytest.approx(reference.LUMINANCE, rel=1e-6)


def test_powers() -> None:
    x = np.concatenate([np.geomspace(1e-9, 1, 4000), np.linspace(0, 1, 4000)[1:]]).astype(np.float32)
    for exponent in (2.2, 1 / 2.2, 0.5 / 2.2):
        got = np.array([kernel._power(value, np.float32(exponent)) for value in x])
        assert np.abs(got / x.astype(np.float64) ** exponent - 1).max() < 1e-5


def test_help_and_the_room_itself_do_not_load_numba() -> None:
    code = "import sys, vidrestore.cli, vidrestore.kernels; sys.exit('numba' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """A read-only installation: numba keeps what it compiled in the user's cache, or nowhere."""
    package = tmp_path / "vidrestore"
    (package / "kernels").mkdir(parents=True)
    for name in ("__init__.py", "sampling.py", "thumbnail.py"):
        shutil.copy(Path(kernel.__file__).parent / name, package / "kernels" / name)
    (package / "__init__.py").touch()
    code = (
        "import numpy as np; from vidrestore.kernels import thumbnail as t;"
        "t.make_thumbnail_of(np.zeros((40, 40, 3), np.uint8), 16); print(t._average._cache._cache_path)"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    (tmp_path / "home").mkdir()
    environment.pop("NUMBA_CACHE_DIR", None)
    (package / "kernels" / "__pycache__").write_text("a file where numba's folder would lie")
    told = subprocess.run([sys.executable, "-B", "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert str(package) not in told.stdout
