"""Engines whose chain is compiled: a pass over frames that is a runtime's sessions of the chain's graphs (engine/graph.py).

Frames come and go channels-last; graphs take them channels first, 16 bits as int32. Each size has tensors of its own, made once,
which every run with that size reads and writes: a runtime then has nothing to set anew from run to run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import torch
from torch import Tensor

from vidrestore.device import Seat
from vidrestore.engine.card import Card, precision_of
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.device_pass import DevicePass
from vidrestore.engine.graph import Chain, Graph, Kind
from vidrestore.engine.plans import BATCH, PlanWish, exported, graph_plan, makers, served
from vidrestore.errors import StorageError, UsageError
from vidrestore.models.base import RestorationNetwork
from vidrestore.models.pixel_maps import MapNetwork, PixelMaps
from vidrestore.runtimes import runtime_class
from vidrestore.runtimes.base import GraphRuntime
from vidrestore.runtimes.session import Session
from vidrestore.runtimes.tensorrt.cache import PlanCache

__all__ = ["SIZES", "CompiledPass", "Telling", "compiled_passes"]

SIZES = 4
"""Sizes of batches whose tensors are kept: a run has two, one to look at and one to carry out."""


@dataclass(frozen=True)
class Telling:
    """Who is told while graphs are compiled."""

    tell: Callable[[str], None] = lambda sentence: None
    """Why a plan that once was there is compiled again, and for what is waited; a sentence."""
    progress: Callable[[float, str], None] | None = None
    """How much of a graph is done, 0..1, and what is being done."""


_Form: TypeAlias = tuple[Kind, bool, "tuple[int, int] | None"]
"""A graph: which one, whether its frames have 16 bits, and their size (None: any)."""
_Size: TypeAlias = tuple[Kind, bool, int, int, int]
"""A run: which graph, 16 bits, frames, height, width."""


@dataclass(frozen=True)
class _Made:
    """A graph as a session is made of it."""

    graph: Graph
    data: bytes
    """ONNX, or a plan."""
    path: Path | None


@dataclass(frozen=True)
class _Tensors:
    """What a session reads and writes for one size."""

    session: Session
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class CompiledPass(DevicePass):
    """A chain of engines as a runtime of graphs executes it. Frames are seen whole; any number is cut into batches here.

    Graphs are compiled and loaded when they are first needed: `whole`, or `look` and `carry_out`, for 8 bits or 16.

    Args:
        cards: the engines.
        chain: their networks, for 8 bits and any size.
        runtime: what executes.
        seat: where.
        precision: of the networks: fp32, fp16, or auto: fp16 where a card allows it.
        batch: frames that a plan is compiled for, at most.
        telling: who is told while that is done.

    Attributes:
        precision: of the first engine's network.
        words: what executes it, for people.
        compiled_by: what decides on its bits beside the engines, with versions.
    """

    def __init__(
        self,
        cards: Sequence[Card],
        chain: Chain,
        runtime: GraphRuntime,
        seat: Seat,
        precision: str,
        batch: int,
        telling: Telling,
    ) -> None:
        self.scale, self.looks, self.mixes = chain.scale, chain.steadied, chain.mixes
        self.precision = precision_of(cards[0], precision, "fp16")
        self.words = runtime.title
        self.compiled_by = ", ".join((runtime.title, *makers()))
        self._cards, self._chain, self._runtime, self._seat = tuple(cards), chain, runtime, seat
        self._wanted, self._batch, self._telling = precision, 1 if runtime.singly else batch, telling
        self._made: dict[_Form, _Made] = {}
        self._sessions: dict[_Form, Session] = {}
        self._tensors: OrderedDict[_Size, _Tensors] = OrderedDict()

    @torch.inference_mode()
    def apply(self, frames: Tensor, strength: float = 1.0) -> Tensor:
        return self._restored("whole", frames, [], strength)

    @torch.inference_mode()
    def look(self, frames: Tensor) -> tuple[list[PixelMaps], Tensor]:
        self._check("look")
        seen = []
        for part in frames.split(self._batch):
            outputs = self._run("look", part, {}, 1.0)
            seen.append({name: tensor.clone() for name, tensor in outputs.items()})  # the next run writes there again
        whole = seen[0] if len(seen) == 1 else {name: torch.cat([part[name] for part in seen]) for name in seen[0]}
        view = whole.pop("view")
        return self._graph("look", frames).layers(whole), view

    @torch.inference_mode()
    def carry_out(self, frames: Tensor, layers: Sequence[PixelMaps], strength: float = 1.0) -> Tensor:
        self._check("carry_out")
        return self._restored("carry_out", frames, layers, strength)

    def give_back(self) -> None:
        """Give back what is kept on the device; the next run makes it anew."""
        self._tensors.clear()
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def close(self) -> None:
        self.give_back()
        self._made.clear()

    def _check(self, kind: Kind) -> None:
        if not self.looks:
            raise UsageError(f"{' + '.join(card.id for card in self._cards)} has no graph {kind!r}.", "Restore whole frames.")

    def _restored(self, kind: Kind, frames: Tensor, layers: Sequence[PixelMaps], strength: float) -> Tensor:
        if strength != 1.0 and not self.mixes:
            raise ValueError("this chain was made for the full effect")
        count, height, width, channels = frames.shape
        shape = (count, height * self.scale, width * self.scale, channels)
        restored = torch.empty(shape, dtype=frames.dtype, device=frames.device)
        maps = self._graph(kind, frames).maps(layers) if layers else {}
        for first in range(0, count, self._batch):
            part = slice(first, first + self._batch)
            outputs = self._run(kind, frames[part], {name: values[part] for name, values in maps.items()}, strength)
            restored[part].copy_(outputs["restored"].permute(0, 2, 3, 1))
        return restored

    def _run(self, kind: Kind, frames: Tensor, maps: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
        """One run of a graph: its outputs, valid until the next one."""
        tensors = self._of_size(kind, frames)
        tensors.inputs["frames"].copy_(frames.permute(0, 3, 1, 2))
        for name, values in maps.items():
            tensors.inputs[name].copy_(values)
        if "strength" in tensors.inputs:
            tensors.inputs["strength"].fill_(strength)
        tensors.session.run(tensors.inputs, tensors.outputs, self._seat.stream("compute"))
        return tensors.outputs

    def _of_size(self, kind: Kind, frames: Tensor) -> _Tensors:
        """The tensors of a run, those of the sizes used last being kept."""
        count, height, width, _ = frames.shape
        size: _Size = (kind, frames.dtype == torch.uint16, count, height, width)
        if size not in self._tensors:
            while len(self._tensors) >= SIZES:
                self._tensors.popitem(last=False)
            graph, session = self._graph(kind, frames), self._session(kind, frames)
            matrices = graph.matrices(height, width)
            shapes = graph.input_shapes((count, height, width))
            made = {
                port.name: matrices[port.name].to(frames.device)
                if port.name in matrices
                else torch.empty(shapes[port.name], dtype=port.dtype, device=frames.device)
                for port in graph.inputs
            }
            shapes = graph.output_shapes((count, height, width))
            out = {port.name: torch.empty(shapes[port.name], dtype=port.dtype, device=frames.device) for port in graph.outputs}
            self._tensors[size] = _Tensors(session, made, out)
        self._tensors.move_to_end(size)
        return self._tensors[size]

    # Graphs and sessions -------------------------------------------------------------------------------

    def _form(self, kind: Kind, frames: Tensor) -> _Form:
        _, height, width, _ = frames.shape
        fixed = self._runtime.loads == "plan" and not served(height, width)
        return kind, frames.dtype == torch.uint16, (height, width) if fixed else None

    def _session(self, kind: Kind, frames: Tensor) -> Session:
        form = self._form(kind, frames)
        if form not in self._sessions:
            made = self._source(form)
            self._sessions[form] = self._runtime.session(made.data, self._seat, made.path)
        return self._sessions[form]

    def _graph(self, kind: Kind, frames: Tensor) -> Graph:
        return self._source(self._form(kind, frames)).graph

    def _source(self, form: _Form) -> _Made:
        if form not in self._made:
            kind, deep, size = form
            graph = Chain(self._chain.networks, deep=deep, mixes=self.mixes, size=size).graph(kind)
            self._made[form] = self._exported(graph) if self._runtime.loads == "onnx" else self._compiled(graph, deep, size)
        return self._made[form]

    def _exported(self, graph: Graph) -> _Made:
        try:
            plans = PlanCache()
        except StorageError:  # no home folder: then every run exports
            plans = None
        model = exported(graph, self._cards, self._wanted, plans, self._telling.tell, self._telling.progress)
        return _Made(graph, model, None)

    def _compiled(self, graph: Graph, deep: bool, size: tuple[int, int] | None) -> _Made:
        from vidrestore.runtimes.tensorrt.session import TensorRTRuntime

        runtime = cast(TensorRTRuntime, self._runtime)  # what else loads plans
        wish = PlanWish(runtime.product, (runtime.gpu.target,), self._wanted, self._batch, size=size, deep=deep, mixes=self.mixes)
        with torch.cuda.device(self._seat.device):
            kept = graph_plan(graph, self._cards, wish, PlanCache(), self._telling.tell, self._telling.progress)
        return _Made(graph, kept.read(), kept.path)


def compiled_passes(
    cards: Sequence[Card],
    catalog: Catalog,
    runtime: str,
    seat: Seat,
    *,
    precision: str = "auto",
    strength: float = 1.0,
    batch: int = BATCH,
    telling: Telling | None = None,
) -> list[CompiledPass]:
    """The passes of a chain of engines: one, or as many as its maps are to be steadied in.

    Args:
        cards: the engines, in order; at least one.
        catalog: where their weights lie.
        runtime: a name in `RUNTIMES` that executes chains.
        seat: where it is to run.
        precision: of the networks: fp32, fp16, or auto: fp16 where the runtime is fastest so and a card allows it.
        strength: what `apply` will be asked for: graphs that mix cost a little, so those for 1 do not.
        batch: frames that plans are for; more are cut into so many.
        telling: who is told while graphs are compiled.

    Raises:
        EngineError: see Catalog.load.
        RuntimeUnavailableError: the runtime cannot use the seat's device.
        UsageError: a precision that graphs do not have, or that a card does not allow.
    """
    cls = runtime_class(runtime)
    if not issubclass(cls, GraphRuntime):
        raise UsageError(f"The {runtime} runtime executes networks, not compiled chains.", "Use tensorrt or onnx.")
    executor = cls(seat.device)
    if precision == "auto" and cls.native_precision(seat.device) == "fp32":
        precision = "fp32"
    parts = _parts(Chain.load(cards, catalog, precision).networks)
    mixes = strength != 1.0 and len(parts) == 1
    passes, first = [], 0
    for networks in parts:
        theirs = cards[first : first + len(networks)]
        first += len(networks)
        chain = Chain(networks, mixes=mixes)
        passes.append(CompiledPass(theirs, chain, executor, seat, precision, batch, telling or Telling()))
    return passes


def _parts(networks: Sequence[RestorationNetwork]) -> list[list[RestorationNetwork]]:
    """A chain, cut where networks that predict maps follow others: only at the beginning of a graph can maps be steadied."""
    parts: list[list[RestorationNetwork]] = [[]]
    for place, network in enumerate(networks):
        looks = isinstance(network, MapNetwork) and network.thumbnail_size > 0
        before = networks[place - 1] if place else network
        if place and looks and not (isinstance(before, MapNetwork) and before.thumbnail_size > 0):
            parts.append([])
        parts[-1].append(network)
    return parts
