"""What is ONNX Runtime's own about its sessions: threads, types, and how its failures are told."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from vidrestore.device import HostSeat
from vidrestore.errors import CompilationError, OutOfMemoryError, RuntimeFailure
from vidrestore.runtimes import runtime_class
from vidrestore.runtimes.onnx_session import OnnxSession

MISSING = runtime_class("onnx").availability("cpu")
if MISSING is not None:
    pytest.skip(f"onnx: {MISSING}", allow_module_level=True)

import onnx  # noqa: E402 - after the skip

HELPER, TYPES = onnx.helper, onnx.TensorProto


def model(operator: str = "Relu", kind: int = TYPES.FLOAT, **attributes: object) -> bytes:
    """One operator on (n, 3, 4, 4)."""
    ports = [HELPER.make_tensor_value_info(name, kind, ["n", 3, 4, 4]) for name in ("frames", "restored")]
    nodes = [HELPER.make_node(operator, ["frames"], ["restored"], name="only", **attributes)]
    graph = HELPER.make_graph(nodes, "small", ports[:1], ports[1:])
    opsets = [HELPER.make_opsetid("", 20)]
    return HELPER.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()  # type: ignore[no-any-return]


def run(session: OnnxSession, frames: Tensor) -> Tensor:
    restored = torch.full_like(frames, 7)
    session.run({"frames": frames}, {"restored": restored}, HostSeat().stream("compute"))
    return restored


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_it_computes_with_as_many_threads_as_torch_has(threads: None) -> None:
    """Also with those that are set after it was loaded, as a job's are: they are part of what decides on bits."""
    torch.set_num_threads(1)
    session = OnnxSession(model())
    frames = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 3, 4, 4)).astype(np.float32))
    for count in (1, 2, 2):
        torch.set_num_threads(count)
        assert torch.equal(run(session, frames), frames.clamp_min(0))
        assert session._session.get_session_options().intra_op_num_threads == count
    assert session.device_bytes({"frames": (2, 3, 4, 4)}) == 0


def test_what_it_cannot_load_is_one_sentence() -> None:
    with pytest.raises(CompilationError, match=r"^ONNX Runtime cannot load this graph: .*Nonsense") as raised:
        OnnxSession(model("Nonsense"))
    assert "ONNXRuntimeError" not in raised.value.message and "\n" not in raised.value.message
    with pytest.raises(CompilationError, match=r"This graph's frames is a tensor\(double\), which no frames or maps are\."):
        OnnxSession(model("Relu", TYPES.DOUBLE))


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for 9 bytes",
            OutOfMemoryError,
            "not enough memory",
        ),
        ("std::bad_alloc", OutOfMemoryError, "not enough memory"),
        (
            "[ONNXRuntimeError] : 1 : FAIL : node 'only'\n went wrong.",
            RuntimeFailure,
            "ONNX Runtime failed: node 'only' went wrong.",
        ),
    ],
)
def test_how_failures_are_told(said: str, error: type[Exception], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words; that it says them where memory is used up would take all there is."""
    session = OnnxSession(model())
    inner = session._session

    class Failing:
        def io_binding(self) -> object:
            return inner.io_binding()

        def run_with_iobinding(self, binding: object) -> None:
            raise RuntimeError(said)

    monkeypatch.setattr(session, "_session", Failing())
    with pytest.raises(error, match=told) as raised:
        run(session, torch.zeros(1, 3, 4, 4))
    assert "--runtime torch" in str(raised.value)
