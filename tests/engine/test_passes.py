"""Engines that predict maps are one kernel over the integers; what comes out is what torch over floats gives."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.engine.small import batch_of_noise, make_baseline, make_engine
from vidrestore.config import Rectangle
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.device_passes import FloatMapPass
from vidrestore.engine.fused import FusedEngine
from vidrestore.engine.passes import Clock, MapPass, NetworkPass, Pass, Step, merge_maps, plan_passes
from vidrestore.engine.processing import from_frames, make_thumbnail, restore_picture
from vidrestore.models.pixel_maps import MapNetwork, PixelMaps, apply_maps
from vidrestore.runtimes.fake import FakeRuntime
from vidrestore.runtimes.torch import TorchRuntime

SHIPPED = Catalog.find()
MAPPED = [card.id for card in SHIPPED.cards() if isinstance(SHIPPED.load(card), MapNetwork)]
GOLDEN = cv2.imread(str(SHIPPED.folder / "flare-unetpp" / "golden" / "input.png"))[:, :, ::-1].copy()


def frames_of(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def fused(*ids: str, catalog: Catalog = SHIPPED, **options: Any) -> FusedEngine:
    torch.manual_seed(2)  # of networks without weights of their own
    return FusedEngine([catalog.card(name) for name in ids], catalog, device="cpu", **{"precision": "fp32", **options})


def passes(engine: FusedEngine) -> list[Pass]:
    return list(engine._work.passes)


@pytest.mark.parametrize("engine_id", MAPPED)
def test_a_shipped_engine_does_what_its_network_does_in_floats(engine_id: str) -> None:
    expected = restore_picture(SHIPPED.load(SHIPPED.card(engine_id)), GOLDEN)
    engine = fused(engine_id)
    assert [type(step) for step in passes(engine)] == [MapPass]
    output = engine.restore(frames_of(GOLDEN))[0].permute(1, 2, 0).numpy()
    assert np.abs(output.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize(
    "pair", [pair for pair in itertools.permutations(MAPPED, 2) if {"flare", "day"} == {p.split("-")[0] for p in pair}]
)
def test_two_engines_are_one_after_the_other(pair: tuple[str, str]) -> None:
    """Within 2/255: the second looks at the first's effect on the thumbnail, not on the frame.

    One that wants grain is given the source's, where flare still counts as texture: there it is within 2/255 nearly everywhere.
    """
    deep = (frames_of(GOLDEN).to(torch.int32) * 257).to(torch.uint16)  # so that no rounding in between is measured
    together, apart = fused(*pair).restore(deep), fused(pair[1]).restore(fused(pair[0]).restore(deep))
    difference = (together.float() - apart.float()).abs() / 257
    assert difference.mean() < 0.1
    if SHIPPED.load(SHIPPED.card(pair[1])).wants_grain:
        assert (difference > 2).float().mean() < 0.001 and difference.max() < 8
    else:
        assert difference.max() <= 2


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Untrained networks, made to do something that shows."""
    from vidrestore.engine.card import Card

    small = {"widths": [4, 8], "thumbnail_size": 32}
    for name, architecture, task, hyperparameters in (
        ("wipe", "fast-flare", "flare", small),
        ("shade", "cyclegan-affine", "day", {"base": 4, "blocks": 1, "thumbnail_size": 64}),
        ("clean", "fast-translator", "day", small),
    ):
        card: Card = make_baseline(tmp_path, name, architecture, task=task, hyperparameters=hyperparameters, tile_halo=4)
        assert card.sha256 is None
    make_engine(tmp_path, "large")
    make_baseline(tmp_path, "plain")
    return Catalog(tmp_path)


def kinds(engine: FusedEngine) -> list[tuple[str, int]]:
    return [(type(step).__name__, len(step.steps) if isinstance(step, MapPass) else 1) for step in passes(engine)]


def test_neighbours_share_a_pass(catalog: Catalog) -> None:
    assert kinds(fused("wipe", "shade", catalog=catalog)) == [("MapPass", 2)]
    assert kinds(fused("wipe", "large", "shade", "clean", catalog=catalog)) == [
        ("MapPass", 1),
        ("NetworkPass", 1),
        ("MapPass", 2),
    ]
    assert kinds(fused("plain", "large", catalog=catalog)) == [("NetworkPass", 1), ("NetworkPass", 1)]


def test_a_runtime_that_gives_no_maps_runs_the_whole_network(catalog: Catalog) -> None:
    card = catalog.card("shade")
    network = catalog.load(card)
    planned = plan_passes([Step(card, network, FakeRuntime(network))], 64)
    assert [type(step) for step in planned] == [NetworkPass]
    frames = batch_of_noise(20, 30)
    engine = fused("wipe", "shade", catalog=catalog, runtime="fake")
    assert torch.equal(engine.restore(frames), frames)


def test_flare_then_colour_is_one_layer_and_no_other_order_is() -> None:
    flare, colour = torch.zeros(1, 3, 2, 2), torch.zeros(1, 12, 2, 2)
    first, second, noisy = (
        PixelMaps(flare=flare),
        PixelMaps(affine=colour),
        PixelMaps(affine=colour, noise=torch.zeros(1, 1, 2, 2)),
    )
    assert merge_maps([first, noisy]) == [PixelMaps(flare, colour, noisy.noise)]
    assert merge_maps([second, first]) == [second, first]
    assert merge_maps([first, first]) == [first, first]
    assert merge_maps([second, first, second]) == [second, PixelMaps(flare, colour)]


@pytest.mark.parametrize(
    "ids", [*itertools.permutations(("wipe", "shade", "clean"), 2), ("clean", "wipe", "shade"), ("clean", "clean")]
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_integers_and_floats_agree(catalog: Catalog, ids: tuple[str, ...], dtype: torch.dtype) -> None:
    """The kernels' way and torch's over floats, through the same networks, for any order of them."""
    frames = batch_of_noise(37, 53, dtype=dtype)
    engine = fused(*ids, catalog=catalog)
    (whole,) = passes(engine)
    assert isinstance(whole, MapPass)
    picture = from_frames(frames)
    with torch.inference_mode():
        for maps in FloatMapPass(whole.steps, 1280, "").look(frames.permute(0, 2, 3, 1).contiguous())[0]:
            picture = apply_maps(picture, maps)
    peak = 255 if dtype == torch.uint8 else 65535
    assert (engine.restore(frames).float() - picture.clamp(0, 1) * peak).abs().max() <= 0.5 + 0.1 * peak / 255


@pytest.mark.parametrize("ids", [("wipe", "shade"), ("shade", "wipe"), ("wipe", "large", "shade")])
def test_strength_and_protection(catalog: Catalog, ids: tuple[str, ...]) -> None:
    frames = batch_of_noise(40, 56) // 2 + 64
    box = Rectangle(x=5, y=7, width=20, height=11)
    full = fused(*ids, catalog=catalog).restore(frames).float()
    none = fused(*ids, catalog=catalog, strength=0.0).restore(frames)
    half = fused(*ids, catalog=catalog, strength=0.5, protect=(box,)).restore(frames)
    scale = full.shape[-1] // 56
    area = (..., slice(7 * scale, 18 * scale), slice(5 * scale, 25 * scale))
    if scale == 1:
        assert torch.equal(none, frames)
    assert torch.equal(half[area], none[area])
    outside = torch.ones(full.shape[-2:], dtype=torch.bool)
    outside[area[1:]] = False
    assert ((half.float() - (full + none.float()) / 2).abs() * outside).max() <= 1


def test_batches_and_memory_layout_change_no_bit(catalog: Catalog) -> None:
    engine = fused("wipe", "clean", catalog=catalog)
    frames = batch_of_noise(40, 56, 3)
    alone = torch.cat([engine.restore(frames[place : place + 1]) for place in range(3)])
    assert torch.equal(engine.restore(frames), alone)
    assert torch.equal(engine.restore(frames.contiguous(memory_format=torch.channels_last)), alone)


def test_the_result_goes_where_it_is_wanted(catalog: Catalog) -> None:
    frames = batch_of_noise(24, 40, 2)
    for ids in (("wipe", "shade"), ("large",), ("plain",)):
        engine = fused(*ids, catalog=catalog)
        shape = (2, 3, 24 * engine.scale, 40 * engine.scale)
        out = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
        assert engine.restore(frames, out).data_ptr() == out.data_ptr()
        assert torch.equal(out, engine.restore(frames))
        with pytest.raises(ValueError, match="channels_last"):
            engine.restore(frames, torch.empty(shape, dtype=torch.uint8))
        with pytest.raises(ValueError, match="channels_last"):
            engine.restore(frames, out[..., :-1])
        with pytest.raises(ValueError, match="channels_last"):
            engine.restore(frames, torch.empty(shape, memory_format=torch.channels_last))


def test_parts_are_clocked(catalog: Catalog) -> None:
    engine = fused("wipe", "shade", catalog=catalog)
    assert engine.part_seconds == {}
    engine.restore(batch_of_noise(24, 40))
    assert set(engine.part_seconds) == {"network", "kernel", "other"}
    assert all(seconds > 0 for seconds in engine.part_seconds.values())


def test_the_second_network_sees_what_the_first_one_leaves(catalog: Catalog) -> None:
    seen = []

    class Watching(TorchRuntime):
        def maps(self, thumbnail: torch.Tensor) -> PixelMaps:
            seen.append(thumbnail)
            if len(seen) == 1:
                return PixelMaps(flare=torch.full((1, 3, 1, 1), 0.5))
            return super().maps(thumbnail)

    steps = []
    for name in ("wipe", "clean"):
        card = catalog.card(name)
        network = catalog.load(card)
        steps.append(Step(card, network, Watching(network, "cpu", "fp32")))
    frames = torch.full((1, 3, 40, 40), 200, dtype=torch.uint8)
    MapPass(steps).apply(frames[0].permute(1, 2, 0).numpy(), Clock())
    thumbnail = make_thumbnail(from_frames(frames), 32)
    assert thumbnail is not None and torch.allclose(seen[0], thumbnail, atol=1e-5)
    assert seen[1].shape[1] == 4 and (seen[1][:, :3] < seen[0] - 0.05).all()


# -- enlargement ----------------------------------------------------------------------------------------------------


@pytest.fixture
def enlarging(catalog: Catalog) -> Catalog:
    for name, fold in (("twice", 1), ("folded", 2)):
        hyperparameters = {"channels": 8, "layers": 1, "scale": 2, "fold": fold}
        make_baseline(
            catalog.folder, name, "plain", task="sr", scale=2, size_multiple=fold, tile_halo=16, hyperparameters=hyperparameters,
            precisions=("fp32", "bf16"),
        )  # fmt: skip
    return catalog


@pytest.mark.parametrize("name", ["twice", "folded"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_enlarging_integers_and_floats_agree(enlarging: Catalog, name: str, dtype: torch.dtype) -> None:
    frames = batch_of_noise(19, 27, 2, dtype)
    for precision in ("fp32", "bf16"):
        engine = fused(name, catalog=enlarging, precision=precision)
        assert kinds(engine) == [("EnlargePass", 1)]
        (step,) = engine._steps
        floats = torch.cat([NetworkPass(step, 1280).apply(from_frames(frame[None]), Clock()) for frame in frames])
        peak = 255 if dtype == torch.uint8 else 65535
        assert (engine.restore(frames).float() - floats.clamp(0, 1) * peak).abs().max() <= 0.5 + 0.01 * peak / 255


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_enlarging_behind_others(enlarging: Catalog, dtype: torch.dtype) -> None:
    """As the engines one after the other, which hand over levels of the frame's own type too."""
    frames = batch_of_noise(20, 30, dtype=dtype)
    assert kinds(fused("wipe", "shade", "twice", catalog=enlarging)) == [("MapPass", 2), ("EnlargePass", 1)]
    first = fused("wipe", catalog=enlarging).restore(frames)
    together = fused("wipe", "twice", catalog=enlarging).restore(frames)
    torch.manual_seed(2)
    fused("wipe", catalog=enlarging)
    second = FusedEngine([enlarging.card("twice")], enlarging, device="cpu", precision="fp32").restore(first)
    assert together.shape == (1, 3, 40, 60)
    difference = (together.float() - second.float()).abs() / (1 if dtype == torch.uint8 else 257)
    assert difference.max() <= 1


@pytest.mark.parametrize(
    "ids", [("twice", "twice"), ("twice", "shade"), ("large", "twice"), ("plain", "twice"), ("twice", "plain")]
)
def test_enlarging_in_any_company(enlarging: Catalog, ids: tuple[str, ...]) -> None:
    box = Rectangle(x=5, y=7, width=10, height=9)
    for dtype in (torch.uint8, torch.uint16):
        frames = (batch_of_noise(20, 30).to(torch.int32) // 2 + 64).to(torch.uint8)
        frames = frames if dtype == torch.uint8 else (frames.to(torch.int32) * 257).to(torch.uint16)
        engine = fused(*ids, catalog=enlarging, strength=0.5, protect=(box,))
        scale = engine.scale
        output, none = engine.restore(frames), fused(*ids, catalog=enlarging, strength=0.0, protect=(box,)).restore(frames)
        assert output.shape == (1, 3, 20 * scale, 30 * scale) and output.dtype == dtype
        area = (..., slice(7 * scale, 16 * scale), slice(5 * scale, 15 * scale))
        assert torch.equal(output.int()[area], none.int()[area])
