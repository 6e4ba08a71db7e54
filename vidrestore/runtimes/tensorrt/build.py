"""A graph compiled: ONNX bytes, ranges of shapes and compute capabilities in, the plan's bytes out."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeAlias

from vidrestore.errors import CompilationError, OutOfMemoryError, RuntimeUnavailableError, UsageError
from vidrestore.runtimes.tensorrt.product import Product, present_gpu

__all__ = ["Built", "Progress", "Range", "Said", "Shape", "build_plan", "failure_of", "logger_of"]

Shape: TypeAlias = tuple[int, ...]
Range: TypeAlias = tuple[Shape, Shape, Shape]
"""The smallest, the typical and the largest shape of an input; a plan serves all between, and the typical one best."""
Progress: TypeAlias = Callable[[float, str], None]
"""Is told how much is done, 0..1, and what is being done, in TensorRT's words."""

Said: TypeAlias = Sequence[tuple[str, str]]
"""What TensorRT has said: (severity, text)."""
_KEPT = ("INTERNAL_ERROR", "ERROR", "WARNING")
_DRIVER = "catchCudaError"
_MEMORY = re.compile(r"out of memory|bad_alloc|cannot allocate memory|OutOfMemory", re.IGNORECASE)


@dataclass(frozen=True)
class Built:
    """What a compilation gave."""

    plan: bytes
    seconds: float
    messages: tuple[str, ...]
    """TensorRT's warnings and errors, in order."""


def build_plan(
    model: bytes, ranges: Mapping[str, Range], targets: Sequence[str], product: Product, progress: Progress | None = None
) -> Built:
    """Compile a graph. Number formats are those of the graph; what is fp32 there is computed in fp32, not in TF32.

    Args:
        model: ONNX bytes.
        ranges: for each input of the graph.
        targets: compute capabilities (SM89): some of `product.targets`, or the one of the GPU that is there.
        product: what compiles.
        progress: told from within; what it raises ends the compilation and is raised here. So do SIGINT and SIGTERM, once
            TensorRT tells of its next step.

    Raises:
        UsageError: the product does not compile for one of `targets`, or there is none.
        RuntimeUnavailableError: it compiles only for the GPU that is there, and none of these is.
        CompilationError: the bytes are no graph, or one that it cannot compile for these shapes.
        OutOfMemoryError: host or GPU memory was used up.
    """
    _check_targets(targets, product)
    meter = _Meter(progress)
    with _signals_held(meter):
        built = _compiled(model, ranges, targets, product, meter)
    return built


def _compiled(model: bytes, ranges: Mapping[str, Range], targets: Sequence[str], product: Product, meter: _Meter) -> Built:
    trt = product.module
    logger = logger_of(trt)
    logger.said.clear()
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    _parse(parser, network, model, product, logger.said)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.add_optimization_profile(_profile(builder, network, ranges))
    if product.targets:
        config.num_compute_capabilities = len(targets)
        for place, target in enumerate(targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, target), place)
    monitor = _monitor(trt, meter)
    config.progress_monitor = monitor
    began = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - began
    config.progress_monitor = None  # TensorRT does not keep it alive
    if meter.raised is not None:
        raise meter.raised
    if plan is None:
        raise failure_of(product, logger.said, f"cannot compile this graph for {', '.join(targets)}")
    return Built(bytes(plan), seconds, tuple(_one_line(text) for _, text in logger.said))


def _check_targets(targets: Iterable[str], product: Product) -> None:
    wanted = tuple(targets)
    if not wanted:
        raise UsageError("There is no compute capability to build for.", "Name one: SM89.")
    if product.targets:
        if strangers := [target for target in wanted if target not in product.targets]:
            raise UsageError(
                f"{product.title} does not compile for {', '.join(strangers)}.", f"It compiles for {', '.join(product.targets)}."
            )
        return
    gpu = present_gpu()
    if gpu is None or wanted != (gpu.target,):
        there = "no GPU is here" if gpu is None else f"the GPU here is {gpu.name} ({gpu.target})"
        raise RuntimeUnavailableError(
            f"{product.title} compiles only for the GPU that is there: {there}, not {', '.join(wanted)}.",
            "Build on the machine that will run the plan.",
        )


def _network_flags(trt: Any) -> int:
    """Number formats as the graph has them: TensorRT-RTX knows no other way, of TensorRT it has to be asked."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parse(parser: Any, network: Any, model: bytes, product: Product, said: Said) -> None:
    if parser.parse(model) and network.num_outputs:
        return
    if not parser.num_errors:  # bytes that are no graph are read as one without nodes
        raise failure_of(product, said, f"reads no graph in these {len(model)} bytes")
    error = parser.get_error(0)
    node = f"node {error.node()} ({error.node_operator()} {error.node_name()!r})" if error.node_operator() else "this graph"
    raise CompilationError(f"{product.title} cannot read {node}: {_sentence(error.desc())}.")


def _profile(builder: Any, network: Any, ranges: Mapping[str, Range]) -> Any:
    """The shapes of every input.

    Raises:
        CompilationError: other inputs than the graph has, or shapes that are none of theirs.
    """
    profile = builder.create_optimization_profile()
    inputs = {tensor.name: tuple(tensor.shape) for tensor in (network.get_input(n) for n in range(network.num_inputs))}
    if set(inputs) != set(ranges):
        raise CompilationError(f"The graph has the inputs {', '.join(inputs)}, but shapes are given for {', '.join(ranges)}.")
    for name, shape in inputs.items():
        least, typical, most = ranges[name]
        if not len(shape) == len(least) == len(typical) == len(most):
            raise CompilationError(
                f"The input {name} has {len(shape)} dimensions, but its shapes are {least}, {typical}, {most}."
            )
        for fixed, low, middle, high in zip(shape, least, typical, most, strict=True):
            if not 1 <= low <= middle <= high or (fixed >= 0 and (low, high) != (fixed, fixed)):
                raise CompilationError(f"The input {name} {_dims(shape)} cannot have the shapes {least}, {typical}, {most}.")
        profile.set_shape(name, least, typical, most)
    return profile


def _dims(shape: Shape) -> str:
    return f"({', '.join('?' if side < 0 else str(side) for side in shape)})"


def failure_of(product: Product, said: Said, what: str) -> CompilationError | OutOfMemoryError:
    """The error that TensorRT's words mean; `what` it was about, as in `TensorRT 11 cannot compile this graph`."""
    errors = [text for severity, text in said if severity != "WARNING"]
    for error in errors:
        if _MEMORY.search(error):
            return OutOfMemoryError(
                f"{product.title} {what}: memory is used up ({_sentence(error)}).",
                "Build for a smaller size or batch, or close other programs.",
            )
    causes = [error for error in errors if _DRIVER not in error] or errors  # the first is nearest to the cause
    return CompilationError(f"{product.title} {what}: {_sentence(causes[0]) if causes else 'it does not say why'}.")


def _sentence(text: str) -> str:
    """One line of at most two that TensorRT says, without places in its own source and the full stop.

    That there is no driver it says along with whatever else is wrong, where it compiles without a GPU: that is left out.
    """
    lines = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    lines = [line for line in lines if _DRIVER not in line] or lines
    return re.sub(r"[.\s]*\(?\bIn \S+ at /\S+:\d+\b", "", "; ".join(lines[:2])).rstrip(". ")


def _one_line(text: str) -> str:
    return " ".join(text.split())


_loggers: dict[int, tuple[Any, Any]] = {}
"""By the address of the bindings: they, and their logger."""


def logger_of(trt: Any) -> Any:
    """The logger that keeps what it is told, as (severity, text), in `said`: there is one for the whole process.

    TensorRT reports to the logger that it was given first for as long as anything of it lives, whichever it is given later.
    So who wants to know what is said of a piece of work empties `said` before it. (Its class exists only once the bindings are
    loaded.)
    """
    if id(trt) not in _loggers:
        _loggers[id(trt)] = trt, _new_logger(trt)
    return _loggers[id(trt)][1]


def _new_logger(trt: Any) -> Any:

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[tuple[str, str]] = []

        def log(self, severity: Any, text: str) -> None:
            if severity.name in _KEPT:
                self.said.append((severity.name, text))

    return Logger()


def _monitor(trt: Any, meter: _Meter) -> Any:
    """What TensorRT tells of its phases, handed to `meter`."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            meter.starts(phase, parent, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            return meter.stepped(phase, step)

        def phase_finish(self, phase: str) -> None:
            meter.ends(phase)

    return Monitor()


@contextmanager
def _signals_held(meter: _Meter) -> Iterator[None]:
    """SIGINT and SIGTERM stop the compilation and are answered after it: a KeyboardInterrupt within C++ would end the process."""
    if threading.current_thread() is not threading.main_thread():  # no other thread is given any
        yield
        return
    came: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        came.append(number)
        meter.stopped = True

    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in former.items():
        if handler not in (None, signal.SIG_IGN):
            signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in former.items():
            if handler not in (None, signal.SIG_IGN):
                signal.signal(number, handler)
        for held in came[:1]:
            signal.raise_signal(held)


class _Meter:
    """How much of nested phases is done, told to `progress`; what that raises is kept in `raised`, for C++ must not see it."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._open: dict[str, tuple[str | None, int, int]] = {}
        """Phase -> its parent, its steps and those done."""
        self._told = 0.0
        self._lock = threading.Lock()  # TensorRT may call from threads of its own
        self.raised: BaseException | None = None
        self.stopped = False

    def starts(self, phase: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._open[phase] = (parent, max(1, steps), 0)
            self._tell(phase)

    def stepped(self, phase: str, step: int) -> bool:
        """Whether to go on."""
        with self._lock:
            if phase in self._open:
                parent, steps, _ = self._open[phase]
                self._open[phase] = (parent, steps, min(step + 1, steps))
            self._tell(phase)
            return not self.stopped

    def ends(self, phase: str) -> None:
        with self._lock:
            self._open.pop(phase, None)

    def _tell(self, phase: str) -> None:
        if self._progress is None or self.stopped:
            return
        share, name = 0.0, phase
        while name in self._open:
            parent, steps, done = self._open[name]
            share = min(1.0, (done + share) / steps)
            if not parent:
                break
            name = parent
        self._told = max(self._told, share)
        try:
            self._progress(self._told, phase)
        except BaseException as error:
            self.raised, self.stopped = error, True
