"""Engines chained: order, sizes, protected rectangles, strength."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.engine.small import batch_of_noise, make_baseline, make_engine
from vidrestore.config import Rectangle
from vidrestore.engine.card import Card
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.errors import InvalidCardError, MediaError, UsageError, WeightsError
from vidrestore.types import ColorSpec, StreamInfo

INFO = StreamInfo(40, 24, Fraction(1, 25))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    make_baseline(tmp_path, "plain")
    make_baseline(tmp_path, "bicubic", "bicubic", hyperparameters={"scale": 2}, scale=2, tile_halo=8)
    make_engine(tmp_path, "small")
    return Catalog(tmp_path)


def fused(catalog: Catalog, *ids: str, **options: Any) -> FusedEngine:
    return FusedEngine([catalog.card(name) for name in ids], catalog, device="cpu", **{"precision": "fp32", **options})


def bicubic(frames: torch.Tensor) -> torch.Tensor:
    """Enlarged twice, by torch itself."""
    large = F.interpolate(frames.float() / 255, scale_factor=2, mode="bicubic", align_corners=False)
    return (large.clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_the_identity_changes_no_level(catalog: Catalog, dtype: torch.dtype) -> None:
    frames = batch_of_noise(24, 40, 2, dtype)
    kept = frames.clone()
    output = fused(catalog, "plain").restore(frames)
    assert output.dtype == dtype and torch.equal(output.to(torch.int32), frames.to(torch.int32))
    assert torch.equal(frames.to(torch.int32), kept.to(torch.int32)), "the input is not written to"


def test_every_16_bit_level_comes_back(catalog: Catalog) -> None:
    levels = torch.arange(65536, dtype=torch.int32).reshape(1, 1, 256, 256).expand(1, 3, -1, -1).to(torch.uint16)
    assert torch.equal(fused(catalog, "plain").restore(levels).to(torch.int32), levels.to(torch.int32))


def test_identity_then_bicubic(catalog: Catalog) -> None:
    engine = fused(catalog, "plain", "bicubic")
    frames = batch_of_noise(24, 40, 2)
    assert engine.scale == 2
    assert engine.open(INFO) == INFO.scaled(2)
    assert torch.equal(engine.restore(frames), bicubic(frames))
    assert engine.describe() == "plain + bicubic (torch, cpu, fp32)"


def test_scales_multiply(catalog: Catalog) -> None:
    engine = fused(catalog, "bicubic", "plain", "small")
    assert engine.scale == 4
    assert engine.restore(batch_of_noise(8, 12)).shape == (1, 3, 32, 48)
    assert (engine.open(INFO).width, engine.open(INFO).height) == (160, 96)


def test_no_engine_gives_the_input(catalog: Catalog) -> None:
    frames = batch_of_noise(8, 8)
    engine = fused(catalog)
    assert torch.equal(engine.restore(frames), frames)
    assert engine.precision == "fp32" and engine.temporal_halo == 0 and not engine.generative


def test_engines_run_in_the_order_given(catalog: Catalog) -> None:
    frames = batch_of_noise(16, 16)
    first, second = (fused(catalog, *ids).restore(frames) for ids in (("bicubic", "small"), ("small", "bicubic")))
    assert not torch.equal(first, second)


def test_a_chain_is_its_engines_one_after_the_other(catalog: Catalog) -> None:
    """But for the rounding to 8 bits that a chain does not do in between."""
    frames = batch_of_noise(16, 16) // 2 + 64  # far from black and white, where the integers in between would clip
    chain = fused(catalog, "small", "bicubic").restore(frames)
    apart = fused(catalog, "bicubic").restore(fused(catalog, "small").restore(frames))
    assert (chain.int() - apart.int()).abs().max() <= 2


def test_what_engines_say_adds_up(tmp_path: Path) -> None:
    cards = [
        make_baseline(tmp_path, "near", temporal_halo=1),
        make_baseline(tmp_path, "far", temporal_halo=2, generative=True),
    ]
    engine = FusedEngine(cards, Catalog(tmp_path), device="cpu")
    assert engine.temporal_halo == 3 and engine.generative


@pytest.mark.parametrize("ids", [("small",), ("bicubic", "small")])
def test_protected_rectangles_keep_their_pixels(catalog: Catalog, ids: tuple[str, ...]) -> None:
    boxes = (Rectangle(x=3, y=2, width=10, height=5), Rectangle(x=30, y=20, width=10, height=4))
    frames = batch_of_noise(24, 40)
    free = fused(catalog, *ids).restore(frames)
    kept = fused(catalog, *ids, protect=boxes).restore(frames)
    scale = kept.shape[-1] // 40
    source = F.interpolate(frames.float() / 255, scale_factor=scale, mode="bicubic", align_corners=False)
    expected = free.clone()
    for box in boxes:
        area = (..., slice(box.y * scale, (box.y + box.height) * scale), slice(box.x * scale, (box.x + box.width) * scale))
        expected[area] = (source.clamp(0, 1) * 255).round().to(torch.uint8)[area]
        assert not torch.equal(free[area], kept[area])
    assert torch.equal(kept, expected)


def test_protected_pixels_of_an_engine_that_keeps_the_size_are_the_very_same(catalog: Catalog, tmp_path: Path) -> None:
    make_baseline(
        tmp_path, "shade", "cyclegan-affine", hyperparameters={"base": 4, "blocks": 1, "thumbnail_size": 32}, task="day"
    )
    frames = batch_of_noise(24, 40)
    box = Rectangle(x=0, y=0, width=7, height=24)
    output = fused(catalog, "shade", protect=(box,)).restore(frames)
    assert torch.equal(output[..., :7], frames[..., :7])
    assert not torch.equal(output[..., 7:], frames[..., 7:])


@pytest.mark.parametrize("box", [(40, 0, 1, 1), (0, 24, 1, 1), (39, 0, 2, 1), (0, 0, 41, 24), (0, 20, 4, 5)])
def test_a_rectangle_outside_the_picture_is_refused(catalog: Catalog, box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    engine = fused(catalog, "plain", protect=(Rectangle(x=x, y=y, width=width, height=height),))
    with pytest.raises(UsageError, match=f"{x},{y},{width},{height} does not lie in the 40x24 picture") as caught:
        engine.open(INFO)
    assert caught.value.exit_code == 2


def test_a_rectangle_may_be_the_whole_picture(catalog: Catalog) -> None:
    engine = fused(catalog, "small", protect=(Rectangle(x=0, y=0, width=40, height=24),))
    engine.open(INFO)
    frames = batch_of_noise(24, 40)
    assert torch.equal(engine.restore(frames), bicubic(frames))


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.5, 0.75])
def test_strength_mixes_source_and_result(catalog: Catalog, strength: float) -> None:
    frames = batch_of_noise(24, 40) // 2 + 64
    none, full = bicubic(frames).float(), fused(catalog, "small").restore(frames).float()
    mixed = fused(catalog, "small", strength=strength).restore(frames).float()
    assert (mixed - (none + strength * (full - none))).abs().max() <= 1
    if strength == 0:
        assert torch.equal(mixed, none)


def test_protection_does_not_depend_on_strength(catalog: Catalog) -> None:
    box = Rectangle(x=4, y=4, width=8, height=8)
    frames = batch_of_noise(24, 40)
    half = fused(catalog, "small", strength=0.5, protect=(box,)).restore(frames)
    assert torch.equal(half[..., 8:24, 8:24], bicubic(frames)[..., 8:24, 8:24])


def test_wrong_weights_are_found_when_the_engine_is_made(catalog: Catalog) -> None:
    (catalog.folder / "small" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError):
        fused(catalog, "plain", "small")


def test_closing_twice_is_safe(catalog: Catalog) -> None:
    engine = fused(catalog, "plain", "small")
    engine.close()
    engine.close()


def test_the_network_pads_where_the_picture_does_not_fit(catalog: Catalog, tmp_path: Path) -> None:
    """UNet++ takes multiples of 32; what was padded is cut off again."""
    hyperparameters = {"decoder_channels": [4, 4, 4, 4, 4]}
    card: Card = make_baseline(tmp_path, "nets", "unetpp", hyperparameters=hyperparameters, size_multiple=32, task="flare")
    assert fused(catalog, card.id).restore(batch_of_noise(25, 41)).shape == (1, 3, 25, 41)


def test_tiles_too_small_for_their_halos_are_refused_before_the_run(catalog: Catalog, tmp_path: Path) -> None:
    card = make_baseline(catalog.folder, "wide", tile_halo=100, size_multiple=1)
    with pytest.raises(UsageError, match=r"too small for wide.*Set it to 201 or more"):
        FusedEngine([card], catalog, device="cpu", tile_size=200)
    frames = batch_of_noise(210, 410)
    assert torch.equal(FusedEngine([card], catalog, device="cpu", tile_size=201).restore(frames), frames)


def test_the_card_limits_the_precision(catalog: Catalog) -> None:
    card = make_engine(catalog.folder, "exact", precisions=("fp32",))
    assert FusedEngine([card], catalog, device="cpu").precision == "fp32"
    with pytest.raises(UsageError, match="exact does not allow bf16"):
        FusedEngine([card], catalog, device="cpu", precision="bf16")


def test_an_engine_that_wants_neighbours_is_refused(catalog: Catalog) -> None:
    card = make_baseline(catalog.folder, "pair", temporal_halo=1)
    engine = FusedEngine([card], catalog, device="cpu")
    with pytest.raises(InvalidCardError, match="pair looks at neighbouring frames"):
        engine.open(StreamInfo(width=8, height=8, time_base=Fraction(1, 25)))


# -- 16 bits and HDR ------------------------------------------------------------------------------------------------


def deep_noise(height: int, width: int) -> torch.Tensor:
    return batch_of_noise(height, width, 1, torch.uint16)


def test_strength_at_16_bits(catalog: Catalog) -> None:
    """Half of the effect is the mean of the input and the full effect, to one level of 65535."""
    frames = (deep_noise(24, 40).to(torch.int32) // 3 + 20000).to(torch.uint16)  # bicubic stays within 0..65535
    full = fused(catalog, "small").restore(frames).double()
    half = fused(catalog, "small", strength=0.5).restore(frames).double()
    none = fused(catalog, "small", strength=0.0).restore(frames).double()
    assert torch.unique(half).numel() > 2000, "no 8-bit steps"
    assert (half - (full + none) / 2).abs().max() <= 1.5


def test_a_protected_rectangle_keeps_every_16_bit_level(catalog: Catalog, tmp_path: Path) -> None:
    box = Rectangle(x=3, y=5, width=17, height=9)
    make_engine(tmp_path, "other")
    frames = deep_noise(24, 40)
    kept = fused(catalog, "plain", protect=(box,)).restore(frames)
    assert torch.equal(kept.to(torch.int32), frames.to(torch.int32))
    enlarged = fused(catalog, "small", protect=(box,)).restore(frames).to(torch.int32)
    wanted = fused(catalog, "bicubic").restore(frames).to(torch.int32)
    rows, columns = slice(10, 28), slice(6, 40)
    assert torch.equal(enlarged[..., rows, columns], wanted[..., rows, columns])


def test_tiles_leave_no_seam_at_16_bits(catalog: Catalog) -> None:
    """Identity and bicubic in tiles: the same levels but for the last bit of float32 sums."""
    frames = deep_noise(200, 300)
    for name, slack in (("plain", 0), ("bicubic", 1)):
        whole, tiled = fused(catalog, name).restore(frames), fused(catalog, name, tile_size=128).restore(frames)
        assert (whole.to(torch.int32) - tiled.to(torch.int32)).abs().max() <= slack


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_needs_an_engine_that_accepts_it(catalog: Catalog, tmp_path: Path, transfer: str) -> None:
    make_baseline(tmp_path, "wide", hdr=True)
    hdr = StreamInfo(40, 24, Fraction(1, 25), ColorSpec("bt2020", bit_depth=10, transfer=transfer), "yuv420p10le")
    assert fused(catalog, "wide").open(hdr) == hdr
    with pytest.raises(MediaError, match=rf"engine small cannot restore HDR video \({transfer}\)"):
        fused(catalog, "wide", "small").open(hdr)


def test_the_baselines_accept_hdr_and_no_other_engine_does() -> None:
    cards = Catalog.find().cards()
    assert {card.id for card in cards if card.hdr} == {"identity", "bicubic-x2", "bicubic-x4"}
