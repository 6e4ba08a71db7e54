"""Networks as ONNX graphs: what another runtime compiles. Export, and the check of what was exported by ONNX Runtime.

torch's own exporter writes the graph (`dynamo=True`). Its optimiser is left out, and three of its steps are taken by hand:
see docs/adr/0036. Needs the extra `onnx`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from vidrestore.errors import RuntimeUnavailableError

__all__ = ["OPSET", "Port", "compare", "export", "run"]

OPSET = 20
"""The version of ONNX's operators that graphs are written in; fixed, so that the same weights give the same bytes."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph."""

    name: str
    dtype: torch.dtype
    dims: tuple[int | str, ...]
    """The size of each dimension; a name stands for one that is settled only when the graph runs."""


def export(module: nn.Module, inputs: Sequence[Port], outputs: Sequence[Port], examples: Sequence[Tensor]) -> bytes:
    """A module as an ONNX model, weights included.

    The bytes are set by the module, its weights, the ports and the versions of torch and onnxscript: no time, no path, and
    the same in every process.

    Args:
        module: `forward` takes as many tensors as there are inputs, and returns a tuple of as many as there are outputs.
        inputs: what goes in, in order.
        outputs: what comes out, in order.
        examples: tensors for the inputs, as the module is called with while it is written down. A dimension with a name
            should be at least 2 and differ from others that it need not be equal to.

    Raises:
        RuntimeUnavailableError: without the extra `onnx`.
        ValueError: the module settles a size that a port leaves open, or the other way round; or an example is of another type
            or size than its port.
    """
    ir, optimizer = _part("onnx_ir"), _part("onnxscript.optimizer")
    _check(inputs, examples)
    named = tuple(
        {place: torch.export.Dim.DYNAMIC for place, dim in enumerate(port.dims) if isinstance(dim, str)} for port in inputs
    )
    with _quiet():
        program = torch.onnx.export(
            module,
            tuple(examples),
            None,
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=OPSET,
            input_names=[port.name for port in inputs],
            output_names=[port.name for port in outputs],
            # forward's only parameter may be *tensors: then all of them stand for one.
            dynamic_shapes=(named,) if _takes_any_number(module) else named,
        )
        assert program is not None
        model = program.model
        optimizer.inline(model)
        optimizer.fold_constants(model, onnx_shape_inference=False)
        optimizer.remove_unused_nodes(model)
    _forget_origins(model)
    _name_dims(model, [*zip(model.graph.inputs, inputs, strict=True), *zip(model.graph.outputs, outputs, strict=True)])
    return ir.to_proto(model).SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def run(model: bytes, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What ONNX Runtime makes of a model on the CPU.

    Args:
        model: as from `export`.
        feed: input name -> tensor.

    Returns:
        Output name -> tensor.

    Raises:
        RuntimeUnavailableError: without the extra `onnx`.
    """
    runtime = _part("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    results = session.run(names, {name: tensor.contiguous().numpy() for name, tensor in feed.items()})
    return {name: torch.from_numpy(result) for name, result in zip(names, results, strict=True)}


@torch.inference_mode()
def compare(
    model: bytes, module: nn.Module, inputs: Sequence[Port], outputs: Sequence[Port], tensors: Sequence[Tensor]
) -> dict[str, float]:
    """How far what ONNX Runtime computes is from what torch does.

    Args:
        model: `export(module, inputs, outputs, ...)`.
        tensors: for the inputs, in order.

    Returns:
        Output name -> largest absolute difference, in the unit of the output.

    Raises:
        RuntimeUnavailableError: without the extra `onnx`.
    """
    results = run(model, {port.name: tensor for port, tensor in zip(inputs, tensors, strict=True)})
    expected = zip(outputs, module(*tensors), strict=True)
    return {port.name: float((results[port.name].double() - values.double()).abs().max()) for port, values in expected}


def _part(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"Graphs cannot be exported or checked: {error}.", "Install the extra: pip install 'vidrestore[onnx]'."
        ) from None


def _check(inputs: Sequence[Port], examples: Sequence[Tensor]) -> None:
    for port, tensor in zip(inputs, examples, strict=True):
        fits = len(port.dims) == tensor.dim() and all(
            isinstance(dim, str) or dim == size for dim, size in zip(port.dims, tensor.shape, strict=True)
        )
        if not fits or tensor.dtype != port.dtype:
            raise ValueError(f"the example for {port.name} is {tuple(tensor.shape)} {tensor.dtype}, not {port.dims} {port.dtype}")


def _takes_any_number(module: nn.Module) -> bool:
    return bool(module.forward.__code__.co_flags & 0x04)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter and its optimiser say to their developers; errors are raised, not logged."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx", "torch.export")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _forget_origins(model: Any) -> None:
    """Where each node came from (files, lines, stack traces) is no part of the graph, and differs from machine to machine."""
    model.metadata_props.clear()
    model.doc_string = None
    for graph in [model.graph, *(function.graph for function in model.functions.values())]:
        graph.metadata_props.clear()
        graph.doc_string = None
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
        for value in [*graph.inputs, *graph.initializers.values()]:
            value.metadata_props.clear()


def _name_dims(model: Any, ports: Sequence[tuple[Any, Port]]) -> None:
    """Call the open sizes of inputs and outputs what the ports call them; they are what another runtime's errors name."""
    ir = _part("onnx_ir")
    for value, port in ports:
        found = list(value.shape)
        settled = [isinstance(dim, int) for dim in found] == [isinstance(dim, int) for dim in port.dims]
        if not settled or any(isinstance(dim, int) and dim != size for dim, size in zip(found, port.dims, strict=True)):
            raise ValueError(f"{port.name} came out as {found}, not as {list(port.dims)}")
        value.shape = ir.Shape(port.dims)
