"""Graphed: work on a GPU that is recorded once for each shape and replayed after that, in one launch instead of hundreds.

A network over a thumbnail is many small kernels, each of which a GPU does faster than Python can ask for it. A CUDA graph holds
them all. What is replayed are the same kernels in the same order, so results are the same bits.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

__all__ = ["CudaRecorder", "Graphed", "Recorder"]

Outputs: TypeAlias = "tuple[Tensor | None, ...]"
Function: TypeAlias = "Callable[..., Outputs]"

MOST = 8
"""Shapes that are kept; each holds the memory that its work needs."""
WARM_UPS = 2
"""Runs before a recording: libraries allocate what they need once, and choose their algorithms, which must not happen in it."""


class Recorder(Protocol):
    """Records what a function does on a device (`CudaRecorder` is one)."""

    def record(self, function: Function, examples: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], Outputs]:
        """What does the same for other inputs of these shapes. Its outputs are the caller's own.

        Raises:
            RuntimeError: the function cannot be recorded.
        """


class Graphed:
    """A function of tensors that is recorded for each combination of shapes and types from its second call on.

    The first call is made as it is: what is seen once (a single frame that is tried again, a last odd batch) is not worth a
    recording. Where recording fails, the function is called as it is from then on, and `refusal` says why.

    Args:
        function: tensors in, a tuple of tensors (or None) out; does the same work for the same shapes, never waits for the host.
        recorder: what records.
        most: combinations that are kept; beyond that, the one that was not used for longest goes.
    """

    def __init__(self, function: Function, recorder: Recorder, most: int = MOST) -> None:
        self._function = function
        self._recorder = recorder
        self._most = most
        self._known: OrderedDict[Hashable, Callable[[Sequence[Tensor]], Outputs] | None] = OrderedDict()
        self.refusal: str | None = None
        """Why nothing is recorded, in words; None: nothing has failed."""

    def __call__(self, *inputs: Tensor) -> Outputs:
        """What `function` gives, in tensors of the caller's own."""
        if self.refusal is not None:
            return self._function(*inputs)
        key = tuple((tuple(values.shape), values.stride(), values.dtype, values.device) for values in inputs)
        if key not in self._known:
            self._keep(key, None)
            return self._function(*inputs)
        self._known.move_to_end(key)
        replay = self._known[key]
        if replay is None:
            replay = self._recorded(inputs)
            if replay is None:
                return self._function(*inputs)
            self._keep(key, replay)
        return replay(inputs)

    def forget(self) -> None:
        """Give the memory of all recordings back, and begin anew."""
        self._known.clear()
        self.refusal = None

    def _recorded(self, inputs: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], Outputs] | None:
        """None: it cannot be recorded. What the attempt held is let go of by then: its traceback has ended."""
        try:
            return self._recorder.record(self._function, inputs)
        except RuntimeError as error:  # memory that is used up included: without a recording less is needed
            self.refusal = f"{type(error).__name__}: {(str(error) or 'no reason given').splitlines()[0].rstrip('.')}"
        self._known.clear()
        return None

    def _keep(self, key: Hashable, replay: Callable[[Sequence[Tensor]], Outputs] | None) -> None:
        self._known[key] = replay
        while len(self._known) > self._most:
            self._known.popitem(last=False)


class CudaRecorder:
    """Records CUDA graphs.

    All of one recorder's graphs share one pool of memory: they are replayed on one stream, one after the other, and what one of
    them leaves is copied out before the next one runs.
    """

    def __init__(self) -> None:
        self._pool: Any = None
        self._aside: torch.cuda.Stream | None = None
        self._failed: list[torch.cuda.CUDAGraph] = []
        """Kept: torch's allocators may still ask whether a stream belongs to one of these recordings."""

    @torch.inference_mode()
    def record(self, function: Function, examples: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], Outputs]:
        """See Recorder. Waits for the device, once."""
        device = examples[0].device
        given = [values.clone() for values in examples]
        with torch.cuda.device(device):
            # Of another priority than the seat's streams: torch has 32 of each and hands them out in turn, again and again.
            self._aside = self._aside or torch.cuda.Stream(device, priority=-1)
            current, aside = torch.cuda.current_stream(device), self._aside
            aside.wait_stream(current)
            with torch.cuda.stream(aside):
                for _ in range(WARM_UPS):
                    function(*given)
            current.wait_stream(aside)
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            # Only this thread is watched while recording: others decode, encode and copy meanwhile.
            try:
                with _no_collection(), torch.cuda.graph(graph, pool=self._pool, stream=aside, capture_error_mode="thread_local"):
                    left = function(*given)
            except BaseException:
                self._leave(graph, current)
                raise

        def replay(inputs: Sequence[Tensor]) -> Outputs:
            for place, values in zip(given, inputs, strict=True):
                place.copy_(values, non_blocking=True)
            graph.replay()
            return tuple(None if values is None else values.clone() for values in left)  # the next replay writes there

        return replay

    def _leave(self, graph: torch.cuda.CUDAGraph, current: torch.cuda.Stream) -> None:
        """Put right what torch before 2.15 leaves behind a recording that failed: its stream stays the current one, and its
        allocator goes on taking all memory of that stream from the recording's pool."""
        torch.cuda.set_stream(current)
        self._failed.append(graph)
        with suppress(RuntimeError, AttributeError):  # it has ended already, or torch calls it by another name now
            torch._C._cuda_endAllocateToPool(current.device.index, self._pool)
        self._pool = None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python collects no garbage: to give memory or an event back to the driver would spoil a recording."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
