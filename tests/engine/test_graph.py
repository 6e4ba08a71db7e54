"""A graph does what FusedEngine does; ONNX Runtime, given the exported graph, does what torch does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.engine.small import make_baseline
from vidrestore.device import HostSeat
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.device_passes import plan_device_passes
from vidrestore.engine.fused import FusedEngine
from vidrestore.engine.graph import Chain, Graph, Kind, thumbnail_matrix
from vidrestore.engine.processing import from_frames
from vidrestore.errors import RuntimeUnavailableError, UsageError
from vidrestore.models import build
from vidrestore.models.full_precision import FullPrecisionConv2d
from vidrestore.runtimes.onnx import compare, run

SHIPPED = Catalog.find()
REAL = Path(__file__).resolve().parents[2] / "benchmarks" / "data" / "real"
PICTURES = ("night_street_1", "night_yokohama_1", "day_highway_1")
ALONE = [(engine_id,) for engine_id in SHIPPED.ids()]
FAST = ("flare-fast", "day-fast", "sr-x2-fast")
BEST = ("flare-unetpp", "day-cyclegan", "rdtn-x2")
TRANSLATING = ("flare-fast", "day-fast")
"""A chain of two networks, with all three kinds of maps, at two sizes of thumbnail."""


def named(ids: Sequence[str]) -> str:
    return "+".join(ids)


def chain(*ids: str, precision: str = "fp32", catalog: Catalog = SHIPPED, **options: Any) -> Chain:
    return Chain.load([catalog.card(name) for name in ids], catalog, precision, **options)


def real(count: int, height: int, width: int, deep: bool = False) -> Tensor:
    """(count, 3, height, width) photographs made small: whole scenes, with their lights; deep: as 16 bits in int32."""
    pictures = [cv2.imread(str(REAL / f"{name}.jpg"))[:, :, ::-1] for name in PICTURES[:count]]
    small = np.stack([cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in pictures])
    frames = torch.from_numpy(small).permute(0, 3, 1, 2).contiguous()
    return frames.to(torch.int32) * 257 if deep else frames


def given(graph: Graph, frames: Tensor, strength: float = 1.0, **maps: Tensor) -> list[Tensor]:
    """What a graph takes, for frames."""
    height, width = frames.shape[-2:]
    tensors = {"frames": frames, "strength": torch.tensor([strength]), **graph.matrices(height, width), **maps}
    return [tensors[port.name] for port in graph.inputs]


@torch.inference_mode()
def computed(graph: Graph, frames: Tensor, strength: float = 1.0, **maps: Tensor) -> dict[str, Tensor]:
    outputs = graph(*given(graph, frames, strength, **maps))
    return {port.name: output for port, output in zip(graph.outputs, outputs, strict=True)}


def furthest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a.double() - b.double()).abs().max())


# -- thumbnails as matrices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 7, 90, 191, 192, 193, 720])
@pytest.mark.parametrize("made", [8, 108, 192])
def test_a_matrix_is_what_torch_does(length: int, made: int) -> None:
    samples = torch.rand(1, 3, length, generator=torch.Generator().manual_seed(1))
    averages = F.interpolate(samples, size=made, mode="area")
    between = F.interpolate(samples, size=made, mode="linear", align_corners=False)
    for expected, way in ((averages, True), (between, False)):
        matrix = torch.from_numpy(thumbnail_matrix(length, made, way))
        assert matrix.shape == (made, length)
        assert furthest(samples @ matrix.T, expected) < 2e-6


# -- against FusedEngine --------------------------------------------------------------------------------------------


def fused(*ids: str, **options: Any) -> FusedEngine:
    return FusedEngine([SHIPPED.card(name) for name in ids], SHIPPED, device="cpu", precision="fp32", **options)


@pytest.mark.parametrize("ids", [*ALONE, FAST, BEST], ids=named)
def test_a_graph_does_what_the_kernels_do(ids: tuple[str, ...]) -> None:
    """Within a level of 255; at 16 bits, since kernels hand levels on to the next network, which makes more of their rounding."""
    frames = real(2, 90, 160, deep=True)
    expected = fused(*ids).restore(frames.to(torch.uint16)).to(torch.int32)
    assert furthest(computed(chain(*ids, deep=True).graph("whole"), frames)["restored"], expected) <= 257


@pytest.mark.parametrize("ids", [TRANSLATING, FAST, BEST, ("sr-x2-fast", "day-fast")], ids=named)
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_a_graph_does_what_a_gpu_is_given_to_do(ids: tuple[str, ...], strength: float) -> None:
    """The same passes over floats; at 16 bits, so that what is below a level of 255 shows. They differ in how maps are read off
    and thumbnails are averaged, which is the same sum in another order."""
    frames = real(2, 90, 160, deep=True)
    engine = fused(*ids, strength=strength, seat=HostSeat())
    expected = engine.resident(frames.to(torch.uint16)).to(torch.int32)
    graph = chain(*ids, deep=True, mixes=True).graph("whole")
    assert furthest(computed(graph, frames, strength)["restored"], expected) <= 8, "of 65535"


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (40, 300), (300, 40)])
@pytest.mark.parametrize("ids", [TRANSLATING, ("flare-unetpp", "day-cyclegan")], ids=named)
def test_small_and_long_frames(ids: tuple[str, ...], size: tuple[int, int]) -> None:
    frames = real(1, *size)
    assert furthest(computed(chain(*ids).graph("whole"), frames)["restored"], fused(*ids).restore(frames)) <= 1


@pytest.mark.parametrize("ids", [TRANSLATING, FAST, BEST, ("day-fast", "flare-fast"), ("night-fast",)], ids=named)
def test_looking_and_carrying_out_are_the_whole(ids: tuple[str, ...]) -> None:
    """Bit for bit: they are the same operators."""
    frames, parts = real(2, 90, 160), chain(*ids)
    look, carry_out, whole = (parts.graph(kind) for kind in ("look", "carry_out", "whole"))
    seen = computed(look, frames)
    view = seen.pop("view")
    assert [port.name for port in carry_out.inputs] == ["frames", *seen]
    assert torch.equal(computed(carry_out, frames, **seen)["restored"], computed(whole, frames)["restored"])
    step, *_ = plan_device_passes(fused(*ids)._steps, "cpu", 1280)
    with torch.inference_mode():
        layers, seen_here = step.look(frames.permute(0, 2, 3, 1))
    assert furthest(view, seen_here) < 1e-5
    expected = {
        f"{effect}_{layer}": values
        for layer, maps in enumerate(layers)
        for effect in ("flare", "affine", "noise")
        if (values := getattr(maps, effect)) is not None
    }
    assert expected.keys() == seen.keys()
    assert all(furthest(seen[name], values) < 1e-3 for name, values in expected.items())


def test_maps_can_be_changed_in_between() -> None:
    frames, parts = real(1, 64, 90).clamp(min=8), chain(*TRANSLATING)  # less light than that is never left
    seen = computed(parts.graph("look"), frames)
    del seen["view"]
    nothing = {**seen, "flare_0": torch.zeros_like(seen["flare_0"]), "noise_0": torch.zeros_like(seen["noise_0"])}
    identity = torch.zeros_like(seen["affine_0"])
    identity[:, :12] = torch.eye(3, 4).reshape(1, 12, 1, 1)
    restored = computed(parts.graph("carry_out"), frames, **{**nothing, "affine_0": identity})["restored"]
    # The affine map works on square roots, and what comes of it is not squared again.
    assert furthest(restored, from_frames(frames).sqrt().mul(255).round()) <= 1


def test_no_strength_gives_the_frame_back() -> None:
    frames = real(1, 64, 90)
    assert torch.equal(computed(chain(*TRANSLATING, mixes=True).graph("whole"), frames, 0.0)["restored"], frames)


def test_a_chain_of_one_size_needs_no_matrices() -> None:
    frames = real(2, 64, 90)
    fixed = chain(*TRANSLATING, size=(64, 90)).graph("whole")
    assert [(port.name, port.dims) for port in fixed.inputs] == [("frames", ("frames", 3, 64, 90))]
    assert fixed.matrices(64, 90) == {}
    assert torch.equal(computed(fixed, frames)["restored"], computed(chain(*TRANSLATING).graph("whole"), frames)["restored"])


@pytest.mark.parametrize("ids", [("sr-x2-fast", "day-fast"), ("day-fast", "sr-x2-fast", "flare-fast"), ("rdtn-x2",)], ids=named)
def test_what_cannot_be_steadied_in_parts_says_so(ids: tuple[str, ...]) -> None:
    assert not chain(*ids).steadied
    for kind in ("look", "carry_out"):
        with pytest.raises(UsageError, match=f"no graph '{kind}'.*Put engines that enlarge last"):
            chain(*ids).graph(kind)


def test_precisions_that_a_graph_or_a_card_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"precision 'bf16'.*Use fp32, fp16 or auto"):
        chain("flare-fast", precision="bf16")
    make_baseline(tmp_path, "exact", precisions=("fp32",))
    with pytest.raises(UsageError, match="exact does not allow fp16"):
        chain("exact", precision="fp16", catalog=Catalog(tmp_path))


# -- shapes ---------------------------------------------------------------------------------------------------------


def kinds(parts: Chain) -> Iterator[Graph]:
    for kind in ("whole", "look", "carry_out") if parts.steadied else ("whole",):
        yield parts.graph(kind)


@pytest.mark.parametrize("ids", [TRANSLATING, FAST, BEST, ("sr-x2-fast", "day-fast")], ids=named)
def test_shapes_are_those_of_the_tensors(ids: tuple[str, ...]) -> None:
    seen: dict[str, Tensor] = {}
    parts, frames = chain(*ids), real(2, 66, 120)
    for graph in kinds(parts):
        tensors = given(graph, frames, **seen)
        assert graph.input_shapes((2, 66, 120)) == {p.name: tuple(t.shape) for p, t in zip(graph.inputs, tensors, strict=True)}
        assert [port.dtype for port in graph.inputs] == [tensor.dtype for tensor in tensors]
        outputs = computed(graph, frames, **seen)
        assert graph.output_shapes((2, 66, 120)) == {name: tuple(tensor.shape) for name, tensor in outputs.items()}
        assert [port.dtype for port in graph.outputs] == [tensor.dtype for tensor in outputs.values()]
        seen |= outputs


@pytest.mark.parametrize("ids", [FAST, ("sr-x2-fast", "day-fast")], ids=named)
def test_ranges_hold_every_size_between(ids: tuple[str, ...]) -> None:
    least, most = (1, 64, 48), (8, 2160, 4096)
    for graph in kinds(chain(*ids)):
        ranges = graph.ranges(least, (4, 720, 1280), most)
        assert {name: middle for name, (_, middle, _) in ranges.items()} == graph.input_shapes((4, 720, 1280))
        reached: dict[str, list[tuple[int, ...]]] = {}
        for size in itertools.product((1, 8), (64, 65, 1000, 2160), (48, 49, 1000, 4096)):
            for name, shape in graph.input_shapes(size).items():
                low, _, high = ranges[name]
                assert all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)), (name, size)
                reached.setdefault(name, []).append(shape)
        for name, shapes in reached.items():  # and they are no wider than that
            sides = list(zip(*shapes, strict=True))
            assert (tuple(map(min, sides)), tuple(map(max, sides))) == (ranges[name][0], ranges[name][2])


# -- exported -------------------------------------------------------------------------------------------------------


@cache
def exported(kind: Kind, ids: tuple[str, ...], **options: Any) -> tuple[Graph, bytes]:
    """A graph and its ONNX, made once for all tests."""
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    graph = chain(*ids, **options).graph(kind)
    return graph, graph.export()


def differences(graph: Graph, model: bytes, frames: Tensor, strength: float = 1.0, **maps: Tensor) -> dict[str, float]:
    return compare(model, graph, graph.inputs, graph.outputs, given(graph, frames, strength, **maps))


@pytest.mark.parametrize("ids", [*ALONE, FAST], ids=named)
def test_onnx_runtime_does_what_torch_does(ids: tuple[str, ...], record_property: Callable[[str, object], None]) -> None:
    """At 16 bits, to see what 8 would round away; at sizes other than the one that the graph was written down with."""
    graph, model = exported("whole", ids, deep=True, mixes=True)
    for count, height, width, strength in ((1, 90, 160, 1.0), (3, 120, 66, 1.0), (1, 21, 34, 1.0), (1, 40, 60, 0.4)):
        difference = differences(graph, model, real(count, height, width, deep=True), strength)["restored"] / 65535
        record_property(f"{count}x{height}x{width} at {strength}", difference)
        assert difference <= 1e-3


def test_looking_and_carrying_out_in_onnx_runtime() -> None:
    ids = FAST
    frames = real(3, 90, 160)
    look, model = exported("look", ids)
    assert max(differences(look, model, frames).values()) <= 1e-3
    seen = computed(look, frames)
    del seen["view"]
    carry_out, model = exported("carry_out", ids)
    assert differences(carry_out, model, frames, **seen)["restored"] <= 1


def test_a_graph_of_one_size_in_onnx_runtime() -> None:
    graph, model = exported("whole", TRANSLATING, size=(64, 90))
    for count in (1, 3):
        assert differences(graph, model, real(count, 64, 90))["restored"] <= 1


def test_blocks_that_do_not_fit_are_padded() -> None:
    """A network that works on blocks of 2 x 2, on frames of odd sizes."""
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    torch.manual_seed(3)
    network = build("plain", {"channels": 8, "layers": 1, "fold": 2}).eval()
    graph = Chain([network], deep=True).graph("whole")
    for size in ((33, 47), (34, 48)):
        frames = real(1, *size, deep=True)
        assert differences(graph, exported_small(graph), frames)["restored"] <= 2
        assert graph(frames)[0].shape == (1, 3, 2 * size[0], 2 * size[1])


@cache
def exported_small(graph: Graph) -> bytes:
    return graph.export()


def test_in_fp16_the_networks_are_half_and_what_says_the_maps_is_not() -> None:
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    ids = FAST
    graph, model = exported("whole", ids, precision="fp16")
    heads = [name for name, module in graph.named_modules() if isinstance(module, FullPrecisionConv2d)]
    assert len(heads) == 2
    kinds_of = {values.name: values.data_type for values in onnx.load_from_string(model).graph.initializer}
    weights = {name: kinds_of[name] for name in kinds_of if name.endswith(".weight")}
    assert len(weights) > 40
    for name, kind in weights.items():
        single = name.removesuffix(".weight") in heads
        assert kind == (onnx.TensorProto.FLOAT if single else onnx.TensorProto.FLOAT16), name
    frames = real(2, 64, 90)
    outputs = run(model, dict(zip([port.name for port in graph.inputs], given(graph, frames), strict=True)))["restored"]
    exact = computed(chain(*ids).graph("whole"), frames)["restored"]
    assert furthest(outputs, exact) <= 8
    assert (outputs.double() - exact.double()).abs().mean() <= 0.5


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript.optimizer", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'vidrestore\[onnx\]'"):
        chain("identity").graph("whole").export()
