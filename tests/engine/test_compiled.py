"""Engines whose chain is compiled: what FusedEngine makes of them, through ONNX Runtime; and what is compiled for TensorRT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.engine.small import make_baseline, make_engine
from tests.engine.test_graph import real
from tests.engine.test_stream import AsTheyAre, Doubled, batches
from tests.runtimes.tensorrt.small import is_malformed, needs_rtx
from vidrestore.config import Rectangle
from vidrestore.device import HostSeat, Seat
from vidrestore.engine import compiled as compiled_module
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.compiled import SIZES, CompiledPass, Telling, compiled_passes
from vidrestore.engine.fused import FusedEngine
from vidrestore.engine.graph import Chain, Graph
from vidrestore.errors import RuntimeUnavailableError, UsageError
from vidrestore.runtimes import runtime_class
from vidrestore.runtimes.base import GraphRuntime
from vidrestore.runtimes.onnx_session import OnnxSession
from vidrestore.runtimes.session import Session
from vidrestore.runtimes.tensorrt.cache import VARIABLE
from vidrestore.runtimes.tensorrt.product import Gpu, Product, find_product

MISSING = runtime_class("onnx").availability("cpu")
needs_onnx = pytest.mark.skipif(MISSING is not None, reason=f"onnx: {MISSING}")
SHIPPED = Catalog.find()
TRANSLATING = ("flare-fast", "day-fast")
ENLARGING = ("flare-fast", "day-fast", "sr-x2-fast")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Engines that are exported in a moment."""
    folder = tmp_path_factory.mktemp("engines")
    small = {"widths": [4, 8], "thumbnail_size": 32}
    make_baseline(folder, "wipe", "fast-flare", task="flare", hyperparameters=small, tile_halo=4)
    make_baseline(folder, "clean", "fast-translator", task="day", hyperparameters=small, tile_halo=4)
    make_engine(folder, "large")
    make_baseline(folder, "plain")
    return Catalog(folder)


def fused(catalog: Catalog, *ids: str, runtime: str = "onnx", **options: Any) -> FusedEngine:
    torch.manual_seed(2)  # networks without weights of their own
    return FusedEngine([catalog.card(name) for name in ids], catalog, "cpu", runtime=runtime, precision="fp32", **options)


def furthest(a: Tensor, b: Tensor) -> int:
    assert a.shape == b.shape and a.dtype == b.dtype
    return int((a.to(torch.int32) - b.to(torch.int32)).abs().max())


@needs_onnx
@pytest.mark.parametrize("ids", [TRANSLATING, ENLARGING], ids="+".join)
def test_real_frames_come_out_as_from_torch(ids: tuple[str, ...]) -> None:
    """Within a level of 255, on photographs; at 16 bits, since at 8 kernels hand rounded levels to the network that enlarges."""
    frames = (real(2, 90, 160).to(torch.int32) * 257).to(torch.uint16)
    compiled, plain = fused(SHIPPED, *ids), fused(SHIPPED, *ids, runtime="torch")
    restored = compiled.restore(frames)
    assert furthest(restored, plain.restore(frames)) <= 257
    assert furthest(restored[:, :, ::2, ::2] if len(ids) > 2 else restored, frames) > 2000, "something was done"
    assert "(onnx, cpu, fp32, ONNX Runtime " in compiled.describe()
    assert compiled.compiled_by is not None and "onnxscript" in compiled.compiled_by and plain.compiled_by is None


@needs_onnx
def test_eight_bits_too() -> None:
    frames = real(2, 72, 128)
    assert (
        furthest(fused(SHIPPED, *TRANSLATING).restore(frames), fused(SHIPPED, *TRANSLATING, runtime="torch").restore(frames)) <= 1
    )


CHAINS = [("wipe", "clean", "large"), ("large", "wipe"), ("plain",)]


@needs_onnx
@pytest.mark.parametrize("ids", CHAINS, ids="+".join)
def test_strength_protection_sizes_and_batches(catalog: Catalog, ids: tuple[str, ...]) -> None:
    """As torch has it within a tenth of a level, and the same bits for a frame whatever comes with it, or came before it."""
    options: dict[str, Any] = {"strength": 0.4, "protect": (Rectangle(x=5, y=7, width=10, height=9),)}
    compiled, plain = fused(catalog, *ids, **options), fused(catalog, *ids, runtime="torch", seat=HostSeat(), **options)
    for size in ((40, 56), (33, 64), (40, 56)):
        frames = (real(3, *size).to(torch.int32) * 257).to(torch.uint16)
        restored = compiled.restore(frames)
        assert furthest(restored, plain.restore(frames)) <= 25
        alone = [compiled.restore(frames[place : place + 1]) for place in (2, 0, 1)]
        assert torch.equal(torch.cat([alone[1], alone[2], alone[0]]), restored)


@needs_onnx
@pytest.mark.parametrize("ids", [("wipe", "clean"), ("large", "wipe")], ids="+".join)
def test_a_stream_is_what_restore_gives(catalog: Catalog, ids: tuple[str, ...]) -> None:
    """Looking and carrying out are the whole, bit for bit, where maps are left as they are; and what a steadier says is done.
    The second chain is two graphs, and 16 bits go from one to the other."""
    engine = fused(catalog, *ids)
    assert engine.map_passes == 1
    pictures = real(3, 40, 56)
    expected = engine.restore(pictures).numpy()
    for size in (1, 3):
        streamed = list(engine.stream(batches(pictures, size), AsTheyAre()))
        assert all(np.array_equal(frame.data, picture) for frame, picture in zip(streamed, expected, strict=True))
        changed = list(engine.stream(batches(pictures, size), Doubled()))
        assert not all(np.array_equal(frame.data, picture) for frame, picture in zip(changed, expected, strict=True))


# -- the pass by itself ---------------------------------------------------------------------------------------------


def passes(catalog: Catalog, *ids: str, **options: Any) -> list[CompiledPass]:
    torch.manual_seed(2)
    return compiled_passes([catalog.card(name) for name in ids], catalog, "onnx", HostSeat(), **options)


def frames_of(count: int, height: int = 40, width: int = 56) -> Tensor:
    return real(count, height, width).permute(0, 2, 3, 1).contiguous()


@needs_onnx
def test_a_chain_is_cut_where_maps_follow_something_else(catalog: Catalog) -> None:
    """Only what a graph begins with can be steadied, so such a chain is several."""
    assert [step.looks for step in passes(catalog, "wipe", "clean", "large")] == [True]
    assert [(step.looks, step.scale) for step in passes(catalog, "large", "wipe")] == [(False, 2), (True, 1)]
    assert [step.mixes for step in passes(catalog, "wipe", "large", strength=0.5)] == [True]
    assert [step.mixes for step in passes(catalog, "large", "wipe", strength=0.5)] == [False, False], "the engine mixes then"


@needs_onnx
def test_results_are_not_written_over_by_the_next_ones(catalog: Catalog) -> None:
    (step,) = passes(catalog, "wipe", "clean")
    frames = frames_of(3)
    first, (layers, view) = step.apply(frames[:1]), step.look(frames[:1])
    kept = first.clone(), view.clone(), layers[0].flare.clone() if layers[0].flare is not None else None
    step.apply(frames[1:2])
    step.look(frames[2:])
    assert torch.equal(first, kept[0]) and torch.equal(view, kept[1])
    assert layers[0].flare is not None and kept[2] is not None and torch.equal(layers[0].flare, kept[2])
    assert torch.equal(frames, frames_of(3)), "and frames stay as they are"


@needs_onnx
def test_tensors_of_few_sizes_are_kept_and_given_back(catalog: Catalog) -> None:
    (step,) = passes(catalog, "plain")
    before = {size: step.apply(frames_of(1, 32, size)) for size in range(40, 52, 2)}
    assert len(before) > SIZES == len(step._tensors)
    step.give_back()
    assert not step._tensors and not step._sessions
    assert all(torch.equal(step.apply(frames_of(1, 32, size)), picture) for size, picture in before.items())
    step.close()
    step.close()


@needs_onnx
def test_what_a_pass_does_not_do_is_refused(catalog: Catalog) -> None:
    (step,) = passes(catalog, "large")
    with pytest.raises(UsageError, match="large has no graph 'look'"):
        step.look(frames_of(1))
    with pytest.raises(ValueError, match="made for the full effect"):
        step.apply(frames_of(1), 0.5)
    with pytest.raises(ValueError, match=r"the graph takes the maps .*flare_0.*, not affine_0"):
        (mapping,) = passes(catalog, "wipe", "clean")
        layers, _ = mapping.look(frames_of(1))
        mapping.carry_out(frames_of(1), [type(layers[0])(affine=layers[0].affine)])
    cards = [catalog.card("wipe")]
    with pytest.raises(UsageError, match="executes networks, not compiled chains"):
        compiled_passes(cards, catalog, "torch", HostSeat())
    with pytest.raises(RuntimeUnavailableError, match="The tensorrt runtime cannot use the device 'cpu': it runs on cuda alone"):
        compiled_passes(cards, catalog, "tensorrt", HostSeat())
    with pytest.raises(UsageError, match="cannot have the precision 'bf16'"):
        compiled_passes(cards, catalog, "onnx", HostSeat(), precision="bf16")


@needs_onnx
def test_who_waits_is_told(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    told: list[tuple[float, str]] = []
    (step,) = passes(catalog, "plain", telling=Telling(progress=lambda share, doing: told.append((share, doing))))
    assert not told, "nothing is exported before it is needed"
    step.apply(frames_of(1))
    step.apply(frames_of(1))
    assert told == [(0.0, "Exporting plain (whole)")]
    del told[:]
    (again,) = passes(catalog, "plain", telling=Telling(progress=lambda share, doing: told.append((share, doing))))
    assert torch.equal(again.apply(frames_of(1)), step.apply(frames_of(1))) and not told, "what was exported is kept"


# -- plans ----------------------------------------------------------------------------------------------------------


class Loader(GraphRuntime):
    """Has plans compiled for a GPU that is not here, and keeps what it would load."""

    name = "tensorrt"
    loads = "plan"

    def __init__(self) -> None:
        self.gpu = Gpu("a GPU", "SM89")
        self.product: Product = find_product("tensorrt_rtx")
        self.loaded: list[tuple[bytes, Path]] = []

    @classmethod
    def availability(cls, device: str) -> str | None:
        return None

    @classmethod
    def native_precision(cls, device: str) -> str:
        return "fp16"

    @property
    def title(self) -> str:
        return self.product.title

    def session(self, graph: bytes, seat: Seat, beside: Path | None = None) -> Session:
        assert beside is not None
        self.loaded.append((graph, beside))
        raise KeyError("no GPU")


@pytest.fixture
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from contextlib import nullcontext

    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device", lambda place: nullcontext())
    yield tmp_path / "plans"


@needs_rtx
@needs_onnx
def test_plans_are_compiled_when_they_are_needed_and_kept(catalog: Catalog, plans: Path) -> None:
    """Compiled for real. Any size is one plan; sizes beyond it have their own; 8 and 16 bits, looking and carrying out, too."""
    told: list[str] = []
    torch.manual_seed(2)
    cards = [catalog.card("wipe")]
    loader, chain = Loader(), Chain.load(cards, catalog, "fp32")
    telling = Telling(progress=lambda share, doing: told.append(doing))
    step = CompiledPass(cards, chain, loader, HostSeat(), "fp32", 4, telling)  # type: ignore[arg-type]
    wanted = [
        (step.apply, frames_of(1, 64, 64)),
        (step.apply, frames_of(2, 64, 96)),
        (step.look, frames_of(1, 64, 64)),
        (step.apply, frames_of(1, 40, 56)),
        (step.apply, frames_of(1, 64, 64).to(torch.uint16)),
    ]
    for do, frames in wanted:
        with pytest.raises(KeyError, match="no GPU"):
            do(frames)
    paths = [path for _, path in loader.loaded]
    assert paths[0] == paths[1] and len(set(paths)) == 4 == len(list(plans.glob("*.plan")))
    assert all(path.read_bytes() == plan and not is_malformed(plan) for plan, path in loader.loaded)
    assert "Exporting wipe (whole)" in told and "Exporting wipe (look)" in told
    del told[:]
    again = CompiledPass(cards, chain, loader, HostSeat(), "fp32", 4, telling)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="no GPU"):
        again.apply(frames_of(1, 64, 64))
    assert loader.loaded[-1] == loader.loaded[0] and not told, "found without exporting"


class InOnnx(Loader):
    """Executes, in ONNX Runtime, the graphs that plans are made of."""

    def session(self, graph: bytes, seat: Seat, beside: Path | None = None) -> Session:
        return OnnxSession(graph)


class Exported:
    """A graph in the place of its plan."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self.path = graph, None

    def read(self) -> bytes:
        return self._graph.export()


@needs_rtx
@needs_onnx
def test_batches_of_plans_and_plans_of_one_size(catalog: Catalog, plans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five frames go by four and one; frames too small for other plans have the thumbnail's matrices within the graph."""
    monkeypatch.setattr(compiled_module, "graph_plan", lambda graph, *others: Exported(graph))
    cards = [catalog.card("wipe")]
    torch.manual_seed(2)
    chain = Chain.load(cards, catalog, "fp32")
    step = CompiledPass(cards, chain, InOnnx(), HostSeat(), "fp32", 4, Telling())  # type: ignore[arg-type]
    reference = CompiledPass(cards, chain, runtime_class("onnx")("cpu"), HostSeat(), "fp32", 4, Telling())  # type: ignore[arg-type]
    for height, width in ((64, 80), (40, 56)):
        frames = torch.cat([frames_of(3, height, width), frames_of(2, height, width).flip(1)])
        restored = step.apply(frames)
        assert {size[2] for size in step._tensors} >= {4, 1}
        assert furthest(restored, reference.apply(frames)) <= 1
        layers, view = step.look(frames)
        expected, seen = reference.look(frames)
        assert view.shape == seen.shape and torch.allclose(view, seen, atol=1e-4)
        assert layers[0].flare is not None and expected[0].flare is not None
        assert layers[0].flare.shape[0] == 5 and torch.allclose(layers[0].flare, expected[0].flare, atol=1e-3)
        assert torch.equal(step.carry_out(frames, layers), restored)
    assert {form[2] for form in step._made} == {None, (40, 56)}


# -- on a GPU -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU that TensorRT knows")
@pytest.mark.parametrize("ids", [TRANSLATING, ENLARGING], ids="+".join)
def test_tensorrt_restores_real_frames_as_the_cpu_does(
    ids: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp16 there against fp32 here, at 16 bits: 50 dB; the same bits again; looking and carrying out within a level."""
    if (reason := runtime_class("tensorrt").availability("cuda")) is not None:
        pytest.skip(f"TensorRT: {reason}")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    frames = (real(3, 180, 320).to(torch.int32) * 257).to(torch.uint16)
    engine = FusedEngine([SHIPPED.card(name) for name in ids], SHIPPED, "cuda", runtime="tensorrt")
    restored, expected = engine.restore(frames), fused(SHIPPED, *ids, runtime="torch").restore(frames)
    error = (restored.to(torch.float64) - expected.to(torch.float64)).square().mean()
    assert 10 * torch.log10(65535**2 / error) >= 50
    assert torch.equal(engine.restore(frames), restored)
    streamed = [torch.from_numpy(frame.data) for frame in engine.stream(batches(frames, 3), AsTheyAre())]
    assert furthest(torch.stack(streamed), restored) <= 257
    assert list((tmp_path / "plans").glob("*.plan"))
    engine.close()
