"""What every runtime of graphs keeps to: what a session computes is what the graph says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vidrestore.device import Seat, open_seat
from vidrestore.engine.graph import Chain, Graph, Kind, Size
from vidrestore.errors import CompilationError, RuntimeFailure, UsageError
from vidrestore.models import build
from vidrestore.runtimes import RUNTIMES, runtime_class
from vidrestore.runtimes.base import GraphRuntime
from vidrestore.runtimes.session import Session
from vidrestore.runtimes.tensorrt.build import build_plan

PLACES = {"onnx": "cpu", "tensorrt": "cuda"}
LEAST, MOST = (1, 32, 32), (3, 128, 160)


def marks(name: str) -> list[pytest.MarkDecorator]:
    place = PLACES[name]
    if place == "cuda" and not torch.cuda.is_available():
        return [pytest.mark.skipif(True, reason="needs a CUDA GPU that TensorRT knows")]
    reason = runtime_class(name).availability(place)
    return [pytest.mark.skipif(reason is not None, reason=f"{name}: {reason}")]


OF_GRAPHS = [pytest.param(name, marks=marks(name)) for name in sorted(RUNTIMES) if runtime_class(name).executes == "chains"]


@pytest.fixture(params=OF_GRAPHS)
def runtime(request: pytest.FixtureRequest) -> GraphRuntime:
    cls = runtime_class(request.param)
    assert issubclass(cls, GraphRuntime)
    return cls(PLACES[request.param])


@pytest.fixture
def seat(runtime: GraphRuntime) -> Iterator[Seat]:
    with open_seat(runtime.device) as seat:
        yield seat


def small_chain(deep: bool = False, mixes: bool = False) -> Chain:
    """A network of maps and one that enlarges, with weights of their own."""
    torch.manual_seed(4)
    translating = build("cyclegan-affine", {"base": 4, "blocks": 1, "thumbnail_size": 32})
    enlarging = build("rdn", {"blocks": 1, "convolutions": 1, "growth": 4, "features": 4})
    return Chain([translating.eval(), enlarging.eval()], deep=deep, mixes=mixes)


@cache
def small_graph(kind: Kind, deep: bool = False, mixes: bool = False) -> tuple[Graph, bytes]:
    """A graph, and as ONNX."""
    graph = small_chain(deep, mixes).graph(kind)
    return graph, graph.export()


def loaded(runtime: GraphRuntime, graph: Graph, model: bytes, seat: Seat, folder: Path) -> Session:
    if runtime.loads == "onnx":
        return runtime.session(model, seat)
    from vidrestore.runtimes.tensorrt.session import TensorRTRuntime

    assert isinstance(runtime, TensorRTRuntime)
    plan = build_plan(model, graph.ranges(LEAST, (2, 64, 96), MOST), [runtime.gpu.target], runtime.product).plan
    return runtime.session(plan, seat, folder / "small.plan")


def frames_of(size: Size, deep: bool = False) -> Tensor:
    count, height, width = size
    noise = torch.randint(65536 if deep else 256, (count, 3, height, width), generator=torch.Generator().manual_seed(9))
    return noise.to(torch.int32 if deep else torch.uint8)


def inputs_of(graph: Graph, frames: Tensor) -> dict[str, Tensor]:
    """All that a graph takes, on the host: maps of one level, half the effect."""
    count, _, height, width = frames.shape
    shapes = graph.input_shapes((count, height, width))
    given = {"frames": frames, "strength": torch.tensor([0.5]), **graph.matrices(height, width)}
    return {port.name: given.get(port.name, torch.full(shapes[port.name], 0.25)) for port in graph.inputs}


def computed(session: Session, graph: Graph, frames: Tensor, seat: Seat) -> dict[str, Tensor]:
    stream = seat.stream("compute")
    count, _, height, width = frames.shape
    with stream.use():
        given = {name: tensor.to(seat.place) for name, tensor in inputs_of(graph, frames).items()}
        shapes = graph.output_shapes((count, height, width))
        out = {port.name: torch.zeros(shapes[port.name], dtype=port.dtype, device=seat.place) for port in graph.outputs}
        session.run(given, out, stream)
    stream.synchronize()
    return {name: tensor.cpu() for name, tensor in out.items()}


def furthest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape and a.dtype == b.dtype
    return float((a.double() - b.double()).abs().max())


@pytest.mark.parametrize("deep", [False, True], ids=["8 bit", "16 bit"])
@pytest.mark.parametrize("kind", ["whole", "look", "carry_out"])
def test_a_session_does_what_its_graph_says(runtime: GraphRuntime, seat: Seat, tmp_path: Path, kind: Kind, deep: bool) -> None:
    """At sizes and batches in any order, and the same bits again."""
    graph, model = small_graph(kind, deep, True)
    session = loaded(runtime, graph, model, seat, tmp_path)
    assert {port.name for port in session.inputs} == {port.name for port in graph.inputs}
    assert {(port.name, port.dtype) for port in session.outputs} == {(port.name, port.dtype) for port in graph.outputs}
    first: dict[Size, dict[str, Tensor]] = {}
    for size in [(2, 48, 64), (1, 64, 40), (2, 48, 64), (3, 32, 32), (1, 64, 40)]:
        frames = frames_of(size, deep)
        results = computed(session, graph, frames, seat)
        with torch.inference_mode():
            expected = graph(*(inputs_of(graph, frames)[port.name] for port in graph.inputs))
        for port, values in zip(graph.outputs, expected, strict=True):
            limit = 1e-3 if port.dtype == torch.float32 else 257 if deep else 1
            assert furthest(results[port.name], values) <= limit, (port.name, size)
            assert values.float().std() > 0, "nothing to be wrong in"
        before = first.setdefault(size, results)
        assert all(torch.equal(before[name], values) for name, values in results.items())
    session.close()
    session.close()


def test_tensors_that_are_none_of_its_own_are_refused(runtime: GraphRuntime, seat: Seat, tmp_path: Path) -> None:
    graph, model = small_graph("whole")
    session, stream = loaded(runtime, graph, model, seat, tmp_path), seat.stream("compute")
    given = {name: tensor.to(seat.place) for name, tensor in inputs_of(graph, frames_of((1, 32, 48))).items()}
    out = {"restored": torch.zeros(1, 3, 64, 96, dtype=torch.uint8, device=seat.place)}
    wrong = [
        (given | {"frames": given["frames"].float()}, out, "frames is .* torch.float32"),
        (given | {"frames": given["frames"].flip(1).permute(0, 1, 3, 2)}, out, "frames is .* not contiguous"),
        (given | {"stranger": given["frames"]}, out, "but was given .*stranger"),
        (given, {}, "the graph has restored"),
    ]
    for inputs, outputs, why in wrong:
        with pytest.raises(ValueError, match=why):
            session.run(inputs, outputs, stream)
    session.run(given, out, stream)
    stream.synchronize()
    assert out["restored"].any()
    session.close()


def test_outputs_of_another_size_are_refused(runtime: GraphRuntime, seat: Seat, tmp_path: Path) -> None:
    graph, model = small_graph("whole")
    session, stream = loaded(runtime, graph, model, seat, tmp_path), seat.stream("compute")
    given = {name: tensor.to(seat.place) for name, tensor in inputs_of(graph, frames_of((1, 32, 48))).items()}
    small = {"restored": torch.zeros(1, 3, 32, 48, dtype=torch.uint8, device=seat.place)}
    with pytest.raises((ValueError, RuntimeFailure)):
        session.run(given, small, stream)
    session.close()


def test_what_a_run_takes(runtime: GraphRuntime, seat: Seat, tmp_path: Path) -> None:
    graph, model = small_graph("whole")
    session = loaded(runtime, graph, model, seat, tmp_path)
    little, much = (session.device_bytes(graph.input_shapes(size)) for size in ((1, 32, 32), (3, 128, 160)))
    assert 0 <= little <= much
    assert (much > 0) == (seat.name != "host"), "on the host it is not known"
    session.close()


def test_bytes_that_are_no_graph(runtime: GraphRuntime, seat: Seat) -> None:
    with pytest.raises(CompilationError, match=f"{runtime.title.split()[0]}.* cannot load this .*: "):
        runtime.session(b"no graph at all", seat)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU that TensorRT knows")
def test_sizes_that_a_plan_does_not_serve(tmp_path: Path) -> None:
    cls = runtime_class("tensorrt")
    if (reason := cls.availability("cuda")) is not None:
        pytest.skip(f"TensorRT: {reason}")
    assert issubclass(cls, GraphRuntime)
    graph, model = small_graph("whole")
    with open_seat("cuda") as seat:
        session = loaded(cls("cuda"), graph, model, seat, tmp_path)
        with pytest.raises(UsageError, match="does not serve 1 frame of 400x300"):
            computed(session, graph, frames_of((1, 300, 400)), seat)
        assert computed(session, graph, frames_of((1, 48, 64)), seat)["restored"].any()
        session.close()
