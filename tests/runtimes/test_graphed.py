"""Which calls are recorded, which are replayed, and which recordings are kept. What a GPU makes of it is tested where one is."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from vidrestore.models import build
from vidrestore.runtimes.graphed import CudaRecorder, Function, Graphed, Outputs
from vidrestore.runtimes.torch import TorchRuntime

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


class Recording:
    """Records by keeping the function, and notes what it is asked to do."""

    def __init__(self) -> None:
        self.recorded: list[tuple[int, ...]] = []
        self.replayed: list[tuple[int, ...]] = []

    def record(self, function: Function, examples: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], Outputs]:
        shape = tuple(examples[0].shape)
        self.recorded.append(shape)

        def replay(inputs: Sequence[Tensor]) -> Outputs:
            self.replayed.append(shape)
            return function(*inputs)

        return replay


class Refusing(Recording):
    def record(self, function: Function, examples: Sequence[Tensor]) -> Any:
        super().record(function, examples)
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")


def doubled(values: Tensor) -> Outputs:
    return 2 * values, None


def test_from_the_second_call_on_it_is_replayed() -> None:
    recorder = Recording()
    graphed = Graphed(doubled, recorder)
    for number in range(4):
        values, nothing = graphed(torch.full((2, 3), float(number)))
        assert nothing is None and values is not None and values.tolist() == [[2.0 * number] * 3] * 2
    assert recorder.recorded == [(2, 3)] and recorder.replayed == [(2, 3)] * 3


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(torch.zeros(3, 2), id="shape"),
        pytest.param(torch.zeros(2, 3, dtype=torch.float64), id="type"),
        pytest.param(torch.zeros(3, 2).t(), id="layout"),
    ],
)
def test_what_differs_is_recorded_by_itself(other: Tensor) -> None:
    recorder = Recording()
    graphed = Graphed(doubled, recorder)
    for values in (torch.zeros(2, 3), other) * 3:
        graphed(values)
    assert len(recorder.recorded) == 2 and len(recorder.replayed) == 4


def test_what_was_not_used_for_longest_goes() -> None:
    recorder = Recording()
    graphed = Graphed(doubled, recorder, most=2)
    one, two, three = (torch.zeros(length) for length in (1, 2, 3))
    for values in (one, one, two, two, one, three, three):  # three takes the place of two
        graphed(values)
    assert recorder.recorded == [(1,), (2,), (3,)]
    graphed(one)
    assert recorder.recorded == [(1,), (2,), (3,)] and recorder.replayed[-1] == (1,)
    graphed(two)
    graphed(two)
    assert recorder.recorded == [(1,), (2,), (3,), (2,)]


def test_what_cannot_be_recorded_is_called_as_it_is_and_says_why() -> None:
    recorder = Refusing()
    graphed = Graphed(doubled, recorder)
    for _ in range(4):
        values, _ = graphed(torch.ones(2))
        assert values is not None and values.tolist() == [2.0, 2.0]
    assert recorder.recorded == [(2,)], "tried once"
    assert graphed.refusal == "OutOfMemoryError: CUDA out of memory"
    graphed.forget()
    assert graphed.refusal is None


def test_what_the_function_itself_fails_of_is_raised() -> None:
    def failing(values: Tensor) -> Outputs:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Graphed(failing, Recording())(torch.ones(1))


def test_forgotten_shapes_are_recorded_anew() -> None:
    recorder = Recording()
    graphed = Graphed(doubled, recorder)
    for _ in range(2):
        for _ in range(3):
            graphed(torch.ones(2))
        graphed.forget()
    assert recorder.recorded == [(2,), (2,)]


def test_on_a_cpu_nothing_is_recorded() -> None:
    assert TorchRuntime(build("fast-flare", {"widths": [4, 8], "thumbnail_size": 32}), "cpu").describe() == "torch"


def test_what_could_not_be_recorded_is_told() -> None:
    runtime = TorchRuntime(build("fast-flare", {"widths": [4, 8], "thumbnail_size": 32}), "cpu")
    assert runtime.notices == ()
    runtime._maps = Graphed(runtime._fields, Refusing())  # as on a GPU, but for the recorder
    thumbnail = torch.rand(1, 3, 20, 32)
    maps = [runtime.maps(thumbnail) for _ in range(3)]
    with torch.inference_mode():
        expected = runtime.network.maps(thumbnail.contiguous(memory_format=torch.channels_last)).flare
    assert all(each.flare is not None and torch.equal(each.flare, expected) for each in maps)
    (notice,) = runtime.notices
    assert notice.endswith("changes no picture: OutOfMemoryError: CUDA out of memory.")
    assert runtime.describe() == "torch, no CUDA graphs (OutOfMemoryError: CUDA out of memory)"


def test_what_a_failed_recording_held_is_gone_before_it_is_done_without() -> None:
    """It may have failed because memory was used up."""

    class Holding(Recording):
        held: weakref.ref[Tensor]

        def record(self, function: Function, examples: Sequence[Tensor]) -> Any:
            given = torch.ones(4)
            self.held = weakref.ref(given)
            raise torch.OutOfMemoryError("CUDA out of memory")

    recorder, alive = Holding(), []

    def looking(values: Tensor) -> Outputs:
        alive.append(hasattr(recorder, "held") and recorder.held() is not None)
        return (values,)

    graphed = Graphed(looking, recorder)
    for _ in range(2):
        graphed(torch.ones(1))
    assert graphed.refusal is not None and alive == [False, False]


@GPU
def test_on_a_gpu_a_failed_recording_leaves_nothing_behind() -> None:
    """To ask for a value is not allowed while a GPU's work is recorded."""

    def asking(values: Tensor) -> Outputs:
        return (values * values.sum().item(),)

    stream = torch.cuda.Stream()
    graphed = Graphed(asking, CudaRecorder())
    with torch.cuda.stream(stream):
        given = torch.full((64,), 2.0, device="cuda")
        results = [graphed(given)[0] for _ in range(3)]
        assert torch.cuda.current_stream() == stream
    assert graphed.refusal is not None
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    assert all(result is not None and torch.equal(result, torch.full_like(result, 256.0)) for result in results)
    other = Graphed(doubled, CudaRecorder())
    assert [values.sum().item() for _ in range(3) if (values := other(given)[0]) is not None] == [256.0] * 3
    assert other.refusal is None


@GPU
@pytest.mark.parametrize("architecture", ["fast-flare", "fast-translator", "cyclegan-affine"])
def test_on_a_gpu_a_replay_gives_the_same_bits(architecture: str) -> None:
    sizes: dict[str, Any] = {"base": 4, "blocks": 1} if architecture == "cyclegan-affine" else {"widths": [8, 16]}
    torch.manual_seed(3)
    network = build(architecture, {**sizes, "thumbnail_size": 64})
    runtime = TorchRuntime(network, "cuda")
    assert runtime.describe() == "torch, CUDA graphs"
    given = [torch.rand(count, 4 if network.wants_grain else 3, 36, 64, device="cuda") for count in (2, 2, 1, 2, 1, 1)]
    results = [runtime.maps(thumbnail) for thumbnail in given]
    assert runtime.describe() == "torch, CUDA graphs", "nothing was refused"
    runtime.give_back()
    for thumbnail, maps in zip(given, results, strict=True):
        runtime.give_back()  # the first call of a shape is not recorded
        again = runtime.maps(thumbnail)
        for one, other in ((maps.flare, again.flare), (maps.affine, again.affine), (maps.noise, again.noise)):
            assert (one is None and other is None) or (one is not None and other is not None and torch.equal(one, other))
