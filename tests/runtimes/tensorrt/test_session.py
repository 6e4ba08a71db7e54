"""How a session goes about TensorRT: shapes, memory, contexts and kernels; against a stand-in for its bindings on the host."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.runtimes.tensorrt.small import RANGES, needs_rtx, small_graph
from tests.runtimes.tensorrt.stand_in import CLASSES, LARGEST, PLAN, ICudaEngine, make_module
from vidrestore.device import HostSeat
from vidrestore.errors import CompilationError, UsageError
from vidrestore.runtimes.tensorrt.build import build_plan
from vidrestore.runtimes.tensorrt.cache import PlanCache
from vidrestore.runtimes.tensorrt.product import Gpu, Product, find_product
from vidrestore.runtimes.tensorrt.session import CONTEXTS, TensorRTSession, kernels_file


@pytest.fixture(autouse=True)
def no_gpu_is_made_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device", lambda place: nullcontext())


def session_of(plan: bytes = PLAN, kernels: Path | None = None) -> TensorRTSession:
    return TensorRTSession(plan, Product("tensorrt_rtx", "9.9", make_module()), HostSeat(), kernels)


def inverted(session: TensorRTSession, frames: Tensor) -> Tensor:
    restored = torch.zeros_like(frames)
    session.run({"frames": frames}, {"restored": restored}, HostSeat().stream("compute"))
    return restored


def frames(count: int, side: int = 8) -> Tensor:
    return torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


@needs_rtx
def test_the_stand_in_and_the_bindings_have_the_same_names() -> None:
    trt = find_product("tensorrt_rtx").module
    own = {"blob", "strategy", "cache", "config", "shape", "settled", "memory", "addresses", "ran", "contexts"}
    for cls in CLASSES:
        missing = [
            name
            for name in vars(cls)
            if not name.startswith("_") and name not in own and not hasattr(getattr(trt, cls.__name__), name)
        ]
        assert not missing, f"{cls.__name__} of the bindings has no {missing}"
    assert hasattr(trt.IRuntimeConfig, "dynamic_shapes_kernel_specialization_strategy")
    for kind, member in (
        ("ExecutionContextAllocationStrategy", "USER_MANAGED"),
        ("DynamicShapesKernelSpecializationStrategy", "EAGER"),
        ("TensorIOMode", "INPUT"),
    ):
        assert member in getattr(trt, kind).__members__


def test_contexts_in_turn_share_memory_that_grows() -> None:
    session = session_of()
    for count in (2, 2, 2, 4, 1, 1):
        assert torch.equal(inverted(session, frames(count)), 255 - frames(count))
    contexts = ICudaEngine.contexts
    assert len(contexts) == CONTEXTS == 2
    assert [len(context.ran) for context in contexts] == [3, 3]
    sizes = [contexts[place % 2].ran[place // 2][1] for place in range(6)]
    assert [size for _, size in sizes] == [200, 200, 200, 400, 400, 400], "it never shrinks"
    assert len({sizes[0], sizes[1], sizes[2]}) == 1 == len(set(sizes[3:])), "one memory for all"
    assert [context.settled for context in contexts] == [2, 3], "sizes are settled where they change: 2 2 1 and 2 4 1"


class FullSeat(HostSeat):
    """A device with little memory."""

    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        if shape[0] > 200:
            raise torch.OutOfMemoryError("there is no more")
        return super().device_memory(shape, dtype)


def test_where_memory_is_used_up_fewer_frames_go_on() -> None:
    session = TensorRTSession(PLAN, Product("tensorrt_rtx", "9.9", make_module()), FullSeat())
    for _ in range(CONTEXTS):
        inverted(session, frames(2))
    with pytest.raises(torch.OutOfMemoryError):
        inverted(session, frames(4))
    for count in (2, 2, 1):
        assert torch.equal(inverted(session, frames(count)), 255 - frames(count))


def test_it_is_told_how_to_run() -> None:
    session_of()
    for context in ICudaEngine.contexts:
        config = context.config
        assert config.strategy == "USER_MANAGED"
        assert config.dynamic_shapes_kernel_specialization_strategy == "EAGER", "others change bits while they compile"
        assert config.cuda_graph_strategy == "DISABLED", "another thread could spoil what is recorded"
    assert len({id(context.config.cache) for context in ICudaEngine.contexts}) == 1


def test_compiled_kernels_are_kept_beside_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "x.kernels"
    inverted(session_of(kernels=path), frames(1))
    assert path.read_bytes() == b" kernels"
    again = session_of(kernels=path)
    inverted(again, frames(1))
    assert path.read_bytes() == b" kernels kernels", "what was read is what it began with"
    path.unlink()
    inverted(again, frames(1))
    assert not path.exists(), "nothing new was compiled"
    inverted(again, frames(2))
    assert path.exists() and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    session = session_of(kernels=tmp_path / "no" / "such" / "folder" / "x.kernels")
    assert torch.equal(inverted(session, frames(1)), 255 - frames(1))


def test_each_gpu_has_its_own_kernels_and_clearing_removes_them(tmp_path: Path) -> None:
    plan = tmp_path / f"{'a' * 64}.plan"
    one, other = (kernels_file(plan, Gpu(name, "SM89")) for name in ("NVIDIA GeForce RTX 4090", "NVIDIA L40S"))
    assert one != other and one.parent == tmp_path
    stranger = tmp_path / "notes.kernels"
    for path in (plan, one, other, stranger):
        path.write_bytes(b"1234")
    cleared = PlanCache(tmp_path).clear()
    assert (cleared.plans, cleared.bytes) == (1, 12)
    assert list(tmp_path.iterdir()) == [stranger]


def test_sizes_that_it_does_not_serve_are_told_and_others_go_on() -> None:
    session = session_of()
    with pytest.raises(
        UsageError, match=rf"TensorRT-RTX 9.9 does not serve 1 frame of 99x99: frames may be .* to \(4, 3, {LARGEST}"
    ):
        inverted(session, frames(1, 99))
    for _ in range(CONTEXTS):
        assert torch.equal(inverted(session, frames(1)), 255 - frames(1))


def test_outputs_of_another_size() -> None:
    session = session_of()
    with pytest.raises(ValueError, match=r"restored is \(1, 3, 8, 8\) for these inputs, not \(1, 3, 4, 4\)"):
        session.run({"frames": frames(1)}, {"restored": torch.zeros(1, 3, 4, 4, dtype=torch.uint8)}, HostSeat().stream("compute"))
    assert torch.equal(inverted(session, frames(1)), 255 - frames(1))


def test_what_a_run_takes_is_asked_without_harm() -> None:
    session = session_of()
    inverted(session, frames(2))
    assert session.device_bytes({"frames": (3, 3, 8, 8)}) == 300
    for _ in range(CONTEXTS):
        assert torch.equal(inverted(session, frames(2)), 255 - frames(2))


def test_a_plan_that_it_cannot_load() -> None:
    with pytest.raises(CompilationError, match=r"^TensorRT-RTX 9.9 cannot load this plan on cpu: the header is wrong\)?\."):
        session_of(b"no plan")


def test_closing_twice() -> None:
    session = session_of()
    inverted(session, frames(1))
    session.close()
    session.close()


@needs_rtx
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so a plan may load")
def test_a_real_plan_without_a_driver() -> None:
    """What TensorRT-RTX says then becomes one sentence."""
    rtx = find_product("tensorrt_rtx")
    plan = build_plan(small_graph(), RANGES, ["SM89"], rtx).plan
    with pytest.raises(CompilationError) as raised:
        TensorRTSession(plan, rtx, HostSeat())
    assert (
        "cannot load this plan on cpu: " in raised.value.message and "CUDA driver version is insufficient" in raised.value.message
    )
    assert "\n" not in raised.value.message and ".cpp" not in raised.value.message
