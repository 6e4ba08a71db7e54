"""A chain of engines as graphs: integer frames in, integer frames out, for runtimes that compile what they run.

What a graph does is what `FusedEngine` does on a GPU, but for two things: frames are seen whole, never in tiles, and rectangles
to protect are left to the caller. The networks' own precision is part of the graph.

There are three, because by default a run steadies maps over time between looking at a frame and changing it (docs/adr/0029):

- `whole`: frames -> restored frames;
- `look`: frames -> what the chain's map networks want done to them, and the largest thumbnail they saw;
- `carry_out`: frames and maps -> restored frames.

A thumbnail is two products with matrices, rows (h, H) @ frame @ columns^T (W, w), whatever the size of the frame: averaging and
bilinear enlargement are both that. As inputs of the graph they let one graph serve every size (docs/adr/0036).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vidrestore.engine.card import Card, precision_of
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.passes import predict_layers, thumbnails_of
from vidrestore.engine.processing import enlarge, from_frames, thumbnail_size, to_frames
from vidrestore.errors import UsageError
from vidrestore.models.base import RestorationNetwork
from vidrestore.models.pixel_maps import MapNetwork, PixelMaps, apply_maps, grain_of
from vidrestore.runtimes.onnx import Port, export

__all__ = ["Chain", "Graph", "Kind", "Shape", "Size", "thumbnail_matrix"]

Kind: TypeAlias = Literal["whole", "look", "carry_out"]
Size: TypeAlias = tuple[int, int, int]
"""Frames in a batch, height, width."""
Shape: TypeAlias = tuple[int, ...]

EXAMPLE: Size = (2, 144, 250)
"""What a graph is written down with. All sizes that come of it differ, so that none is taken for another."""

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
_EFFECTS = ("flare", "affine", "noise")


@dataclass(frozen=True)
class _Map:
    """One map among a chain's layers."""

    layer: int
    effect: str
    """A field of PixelMaps."""
    channels: int
    side: int
    """Longest side of the thumbnail that it is predicted from,"""
    coarser: int
    """and how many times smaller than that it is."""

    @property
    def name(self) -> str:
        return f"{self.effect}_{self.layer}"


class Chain:
    """The networks of a chain, cut into passes as `FusedEngine` cuts them, and the graphs they make.

    Args:
        networks: in order, in evaluation mode; the core's number format is what it will run in.
        deep: frames of 16 bits, in int32 (0..65535), since other runtimes know no uint16; otherwise uint8.
        mixes: whether the graphs have an input `strength`: 0 gives the frame back (enlarged as bicubic does), 1 is the full
            effect. Without it the effect is full, and that costs nothing.
        size: (height, width) of all frames; the thumbnail's matrices are constants of the graph then. None: any size.
    """

    def __init__(
        self,
        networks: Sequence[RestorationNetwork],
        *,
        deep: bool = False,
        mixes: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.networks = tuple(networks)
        self.deep, self.mixes, self.size = deep, mixes, size
        self.passes: list[tuple[RestorationNetwork, ...]] = []
        """Consecutive map networks are one; every other network is one of its own."""
        for network in self.networks:
            if self.passes and _predicts_maps(network) and _predicts_maps(self.passes[-1][0]):
                self.passes[-1] = (*self.passes[-1], network)
            else:
                self.passes.append((network,))
        self.scale = 1
        for network in self.networks:
            self.scale *= network.scale

    @classmethod
    def load(
        cls,
        cards: Sequence[Card],
        catalog: Catalog,
        precision: str = "fp32",
        *,
        deep: bool = False,
        mixes: bool = False,
        size: tuple[int, int] | None = None,
    ) -> Chain:
        """The chain of engines, with networks of its own.

        Args:
            cards: the engines, in order.
            catalog: where their weights lie.
            precision: of the networks' cores: `fp32`, `fp16`, or `auto`: fp16 where a card allows it, else fp32. Last layers
                that say maps, and what is done to the frame, are fp32 in either.
            deep, mixes, size: as for the class.

        Raises:
            EngineError: see Catalog.load.
            UsageError: a precision that graphs do not have, or that a card does not allow.
        """
        if precision not in ("auto", *_DTYPES):
            raise UsageError(f"A graph cannot have the precision {precision!r}.", "Use fp32, fp16 or auto.")
        networks = []
        for card in cards:
            network = catalog.load(card)
            network.core.to(_DTYPES[precision_of(card, precision, "fp16")])
            networks.append(network)
        return cls(networks, deep=deep, mixes=mixes, size=size)

    @property
    def steadied(self) -> bool:
        """Whether there are maps to steady, all of them before anything else is done: whether it has `look` and `carry_out`."""
        return [_predicts_maps(networks[0]) for networks in self.passes].count(True) == 1 and _predicts_maps(self.networks[0])

    def graph(self, kind: Kind) -> Graph:
        """One of the three graphs. They share the networks.

        Raises:
            UsageError: `look` or `carry_out` of a chain that is not `steadied`.
        """
        if kind != "whole" and not self.steadied:
            raise UsageError(
                f"This chain has no graph {kind!r}: only one that begins with all its engines for flare, day and night has.",
                "Put engines that enlarge last, or use the graph 'whole'.",
            )
        return Graph(self, kind)


class Graph(nn.Module):
    """One of a chain's graphs.

    Attributes:
        kind: which of them.
        inputs: what `forward` takes, in order:
            `frames` (N, 3, H, W);
            `rows_S` (h, H) and `columns_S` (w, W) float32 for each thumbnail with longest side S, unless the chain has a size
            (for a later pass over frames K times as large, `rows_S_xK` of K H);
            `flare_0`, `affine_0`, `noise_0`, `flare_1` ... (N, C, h, w) float32, for carry_out: see PixelMaps; the number is
            that of the layer;
            `strength` (1,) float32 0..1, if the chain mixes; not for look.
        outputs: what it returns, as a tuple, in order:
            `restored` (N, 3, scale * H, scale * W), as the frames;
            look: the maps by the names above, and `view` (N, 3, h, w) float32, code values 0..1.
    """

    def __init__(self, chain: Chain, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.chain = chain
        self.networks = nn.ModuleList(chain.networks)
        self._maps = _maps_of(chain.passes[0]) if chain.steadied else []
        self._thumbnails = [] if kind == "carry_out" else _thumbnails(chain)
        if chain.size is not None:
            for name, matrix in self._matrices(*chain.size).items():
                self.register_buffer(name, matrix, persistent=False)
        self.inputs = tuple(self._inputs())
        self.outputs = tuple(self._outputs())
        self.eval()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = {port.name: tensor for port, tensor in zip(self.inputs, tensors, strict=True)}
        source = from_frames(given["frames"])
        if self.kind == "look":
            layers, view = self._look(self.chain.passes[0], source, 1, given)
            return *(_map_in(layers, wanted) for wanted in self._maps), view
        picture, scale = source, 1
        for place, networks in enumerate(self.chain.passes):
            if place:
                picture = picture.clamp(0, 1)  # as integers would end there
            if not _predicts_maps(networks[0]):
                picture = _enhanced(networks[0], picture)
            else:
                carried = self.kind == "carry_out"
                layers = _layers_of(self._maps, given) if carried else self._look(networks, picture, scale, given)[0]
                for maps in layers:
                    picture = apply_maps(picture, maps)
            scale *= networks[-1].scale
        if self.chain.mixes:
            picture = torch.lerp(enlarge(source, scale), picture.clamp(0, 1), given["strength"])
        # The identity leaves the source itself, which is not to be written over.
        return (to_frames(picture.clone(), given["frames"].dtype),)

    def _look(
        self, networks: Sequence[RestorationNetwork], picture: Tensor, scale: int, given: Mapping[str, Tensor]
    ) -> tuple[list[PixelMaps], Tensor]:
        """What map networks want done to a picture, and the largest thumbnail's colours."""
        seers = [network for network in networks if isinstance(network, MapNetwork)]
        wanted = thumbnails_of(seers)
        seen = torch.cat([picture, grain_of(picture)], dim=1) if any(wanted.values()) else picture
        small = {}
        for side, grain in wanted.items():
            rows, columns = (given.get(name, getattr(self, name, None)) for name in _matrix_names(side, scale))
            assert rows is not None and columns is not None
            small[side] = rows @ (seen if grain else picture) @ columns.T
        return predict_layers(seers, [network.maps for network in seers], small), small[max(small)][:, :3]

    # What goes in and comes out ------------------------------------------------------------------------

    def layers(self, tensors: Mapping[str, Tensor]) -> list[PixelMaps]:
        """The maps among tensors by their names, as layers."""
        return _layers_of(self._maps, tensors)

    def maps(self, layers: Sequence[PixelMaps]) -> dict[str, Tensor]:
        """The maps of layers by the names that the graph knows them by.

        Raises:
            ValueError: layers without a map that it wants, or with one that it does not know.
        """
        found = {
            f"{effect}_{place}": values
            for place, maps in enumerate(layers)
            for effect in _EFFECTS
            if (values := getattr(maps, effect)) is not None
        }
        if set(found) != (wanted := {wanted.name for wanted in self._maps}):
            raise ValueError(f"the graph takes the maps {', '.join(sorted(wanted))}, not {', '.join(sorted(found))}")
        return found

    def _inputs(self) -> list[Port]:
        ports = [self._port("frames", self._integers, ("frames", 3, "height", "width"))]
        if self.chain.size is None:
            for side, scale in self._thumbnails:
                rows, columns = _matrix_names(side, scale)
                ports.append(self._port(rows, torch.float32, (f"{rows}_made", _times("height", scale))))
                ports.append(self._port(columns, torch.float32, (f"{columns}_made", _times("width", scale))))
        if self.kind == "carry_out":
            ports += self._map_ports()
        if self.chain.mixes and self.kind != "look":
            ports.append(self._port("strength", torch.float32, (1,)))
        return ports

    def _outputs(self) -> list[Port]:
        if self.kind == "look":
            rows, columns = _matrix_names(max(side for side, _ in self._thumbnails), 1)
            return [*self._map_ports(), self._port("view", torch.float32, ("frames", 3, f"{rows}_made", f"{columns}_made"))]
        scale = self.chain.scale
        return [self._port("restored", self._integers, ("frames", 3, _times("height", scale), _times("width", scale)))]

    def _map_ports(self) -> list[Port]:
        return [
            self._port(wanted.name, torch.float32, ("frames", wanted.channels, f"{wanted.name}_height", f"{wanted.name}_width"))
            for wanted in self._maps
        ]

    @property
    def _integers(self) -> torch.dtype:
        return torch.int32 if self.chain.deep else torch.uint8

    def _port(self, name: str, dtype: torch.dtype, dims: tuple[int | str, ...]) -> Port:
        """A port whose sizes are settled as far as the chain's is."""
        if self.chain.size is not None:
            sizes = self._sizes((1, *self.chain.size))
            dims = tuple(dim if dim == "frames" else sizes.get(str(dim), dim) for dim in dims)
        return Port(name, dtype, dims)

    def input_shapes(self, size: Size) -> dict[str, Shape]:
        """The shape of each input for so many frames of that size."""
        return _shapes(self.inputs, self._sizes(size))

    def output_shapes(self, size: Size) -> dict[str, Shape]:
        """The shape of each output for so many frames of that size."""
        return _shapes(self.outputs, self._sizes(size))

    def ranges(self, least: Size, typical: Size, most: Size) -> dict[str, tuple[Shape, Shape, Shape]]:
        """The least, the typical and the largest shape of each input, for any frames from `least` to `most`, side by side.

        A thumbnail is highest where the frame is high and narrow, and widest where it is low and wide.
        """
        flat, upright = (least[1], most[2]), (most[1], least[2])
        low = _shapes(self.inputs, self._sizes(least, flat, upright))
        high = _shapes(self.inputs, self._sizes(most, upright, flat))
        middle = self.input_shapes(typical)
        return {name: (low[name], middle[name], high[name]) for name in middle}

    def _sizes(self, size: Size, rows_of: Shape | None = None, columns_of: Shape | None = None) -> dict[str, int]:
        """What the names of dimensions stand for; thumbnails with the rows and columns of those of frames of other sizes."""
        count, height, width = size
        sizes = {"frames": count, "height": height, "width": width}
        scales = {self.chain.scale, *(scale for _, scale in self._thumbnails)} - {1}
        for scale in scales:
            sizes |= {_times("height", scale): scale * height, _times("width", scale): scale * width}

        def small(side: int) -> tuple[int, int]:
            by_rows, by_columns = rows_of or (height, width), columns_of or (height, width)
            return thumbnail_size(by_rows[0], by_rows[1], side)[0], thumbnail_size(by_columns[0], by_columns[1], side)[1]

        for side, scale in self._thumbnails:
            sizes |= {f"{name}_made": made for name, made in zip(_matrix_names(side, scale), small(side), strict=True)}
        for wanted in self._maps:
            down, across = small(wanted.side)
            sizes |= {f"{wanted.name}_height": down // wanted.coarser, f"{wanted.name}_width": across // wanted.coarser}
        return sizes

    def matrices(self, height: int, width: int) -> dict[str, Tensor]:
        """The inputs that frames of a size need, whatever they show: float32, on the host. None if the chain has a size."""
        return {} if self.chain.size is not None else self._matrices(height, width)

    def _matrices(self, height: int, width: int) -> dict[str, Tensor]:
        made: dict[str, Tensor] = {}
        for side, scale in self._thumbnails:
            down, across = thumbnail_size(height, width, side)
            averages = side < scale * max(height, width)
            rows, columns = _matrix_names(side, scale)
            made[rows] = torch.from_numpy(thumbnail_matrix(scale * height, down, averages))
            made[columns] = torch.from_numpy(thumbnail_matrix(scale * width, across, averages))
        return made

    def export(self) -> bytes:
        """The graph as an ONNX model: see `runtimes.onnx.export`.

        Raises:
            RuntimeUnavailableError: without the extra `onnx`.
        """
        count, height, width = EXAMPLE if self.chain.size is None else (EXAMPLE[0], *self.chain.size)
        matrices = self.matrices(height, width)
        shapes = self.input_shapes((count, height, width))
        given = [matrices.get(port.name, torch.zeros(shapes[port.name], dtype=port.dtype)) for port in self.inputs]
        return export(self, self.inputs, self.outputs, given)


def thumbnail_matrix(length: int, made: int, averages: bool) -> NDArray[np.float32]:
    """(made, length) float32: what makes `made` samples of `length`, as torch does.

    Args:
        averages: by averaging (`area`; sample i is the mean of those from floor(i L / n) to ceil((i + 1) L / n)); otherwise
            bilinear.
    """
    matrix = np.zeros((made, length), np.float32)
    places = np.arange(made)
    if averages:
        first, last = places * length // made, -(-(places + 1) * length // made)
        for place in places:
            matrix[place, first[place] : last[place]] = np.float32(1) / np.float32(last[place] - first[place])
        return matrix
    step = np.float32(length) / np.float32(made)  # in float32 from here on, as torch has it
    position = np.maximum(step * (places.astype(np.float32) + np.float32(0.5)) - np.float32(0.5), np.float32(0))
    before = np.minimum(position.astype(np.int64), length - 1)
    share = position - before.astype(np.float32)
    np.add.at(matrix, (places, before), np.float32(1) - share)
    np.add.at(matrix, (places, np.minimum(before + 1, length - 1)), share)
    return matrix


def _predicts_maps(network: RestorationNetwork) -> bool:
    return isinstance(network, MapNetwork) and network.thumbnail_size > 0


def _enhanced(network: RestorationNetwork, picture: Tensor) -> Tensor:
    """A network that sees the whole picture; padded to what it takes and cut again."""
    multiple = network.size_multiple
    if multiple == 1:
        return network(picture)  # type: ignore[no-any-return]
    height, width = picture.shape[-2:]
    down, right = ((side + multiple - 1) // multiple * multiple - side for side in (height, width))  # ONNX divides towards 0
    padded = F.pad(picture, (0, right, 0, down), mode="replicate")
    output: Tensor = network(padded)
    return output[..., : height * network.scale, : width * network.scale]


def _thumbnails(chain: Chain) -> list[tuple[int, int]]:
    """(longest side, how many times as large as the source the frame is there), each once."""
    wanted: dict[tuple[int, int], None] = {}
    scale = 1
    for networks in chain.passes:
        if _predicts_maps(networks[0]):
            seers = [network for network in networks if isinstance(network, MapNetwork)]
            wanted |= {(side, scale): None for side in thumbnails_of(seers)}
        scale *= networks[-1].scale
    return list(wanted)


def _matrix_names(side: int, scale: int) -> tuple[str, str]:
    return _times(f"rows_{side}", scale), _times(f"columns_{side}", scale)


def _times(name: str, scale: int) -> str:
    return name if scale == 1 else f"{name}_x{scale}"


def _shapes(ports: Sequence[Port], sizes: Mapping[str, int]) -> dict[str, Shape]:
    return {port.name: tuple(dim if isinstance(dim, int) else sizes[dim] for dim in port.dims) for port in ports}


@torch.inference_mode()
def _maps_of(networks: Sequence[RestorationNetwork]) -> list[_Map]:
    """Which maps consecutive networks make: found out on black thumbnails, as small as they may be."""
    seers = [network for network in networks if isinstance(network, MapNetwork)]
    length = 32
    made_by: dict[int, int] = {}

    def noting(network: MapNetwork, thumbnail: Tensor) -> PixelMaps:
        maps = network.maps(thumbnail)
        made_by.update({id(getattr(maps, effect)): network.thumbnail_size for effect in _EFFECTS})
        return maps

    black = {side: torch.zeros(1, 4, length, length) for side in thumbnails_of(seers)}
    layers = predict_layers(seers, [partial(noting, network) for network in seers], black)
    found = []
    for layer, maps in enumerate(layers):
        for effect in _EFFECTS:
            values = getattr(maps, effect)
            if values is not None:
                found.append(_Map(layer, effect, values.shape[1], made_by[id(values)], length // values.shape[2]))
    return found


def _map_in(layers: Sequence[PixelMaps], wanted: _Map) -> Tensor:
    values: Tensor = getattr(layers[wanted.layer], wanted.effect)
    return values


def _layers_of(maps: Sequence[_Map], given: Mapping[str, Tensor]) -> list[PixelMaps]:
    """The layers again, of the tensors by their names."""
    count = 1 + max(wanted.layer for wanted in maps)
    return [
        PixelMaps(**{wanted.effect: given[wanted.name] for wanted in maps if wanted.layer == layer}) for layer in range(count)
    ]
