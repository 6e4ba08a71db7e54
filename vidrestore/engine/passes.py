"""What a chain of engines costs on a CPU: passes over a frame. Engines that predict maps share one.

A pass takes a frame as integers or as floats and gives whichever it makes; `as_floats` and `as_integers` go between, and
where both sides agree nothing is converted. `MapPass` and `EnlargePass` are kernels over integer frames, `NetworkPass` is a
network over floats, in tiles. What they share with the passes of a device (engine/device_passes.py) is here, too.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidrestore.engine.card import Card
from vidrestore.engine.processing import from_frames, make_thumbnail, pad_to_multiple
from vidrestore.engine.tiling import run_tiled
from vidrestore.models.base import Whole
from vidrestore.models.pixel_maps import MapNetwork, PixelMaps, apply_maps
from vidrestore.models.plain import PlainNetwork

if TYPE_CHECKING:
    from vidrestore.models.base import RestorationNetwork
    from vidrestore.runtimes.base import Runtime

__all__ = [
    "Clock",
    "EnlargePass",
    "MapPass",
    "NetworkPass",
    "Observed",
    "Pass",
    "Picture",
    "Step",
    "as_floats",
    "as_integers",
    "merge_maps",
    "plan_passes",
    "predict_layers",
    "predicts_maps",
    "thumbnails_of",
]

Picture: TypeAlias = "NDArray[np.integer] | Tensor"
"""One frame as (H, W, 3) uint8 or uint16, or as (1, 3, H, W) float32 in 0..1."""


@dataclass(frozen=True)
class Step:
    """An engine of a chain: its card, its network and what executes it."""

    card: Card
    network: RestorationNetwork
    runtime: Runtime


@dataclass(frozen=True)
class Observed:
    """What was seen of a frame that is not restored yet."""

    layers: tuple[PixelMaps, ...]
    """What the networks want done to it, on the CPU."""
    view: NDArray[np.float32]
    """(3, h, w), code values 0..1: the largest thumbnail that they saw."""


class Clock:
    """Seconds spent in each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def counting(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began


class Pass(ABC):
    """One way over the frame.

    Attributes:
        scale: output size / input size.
        mixes: whether it can mix with its source on the way.
        looks: whether it first sees what it is to do, as maps, which may be steadied.
    """

    scale: int = 1
    looks: bool = False
    mixes: bool = False

    @abstractmethod
    def apply(self, picture: Picture, clock: Clock, out: NDArray[np.integer] | None = None, strength: float = 1.0) -> Picture:
        """Restore a picture.

        Args:
            picture: integers or floats, whichever.
            clock: is told where the time goes.
            out: where a pass over integers may write its result, and in which type; None: it decides.
            strength: how much of the effect; only for passes that mix.

        Returns:
            `out`, or a picture of the pass's own.
        """


class NetworkPass(Pass):
    """A network that sees the full frame, in tiles.

    Args:
        step: the engine.
        tile_size: longest side of a tile, pixels.
    """

    def __init__(self, step: Step, tile_size: int) -> None:
        self.step = step
        self.tile_size = tile_size
        self.scale = step.card.scale

    def apply(self, picture: Picture, clock: Clock, out: NDArray[np.integer] | None = None, strength: float = 1.0) -> Tensor:
        card, network, runtime = self.step.card, self.step.network, self.step.runtime
        with clock.counting("other"):
            floats = _in_range(picture)
            height, width = floats.shape[-2:]
            padded = pad_to_multiple(floats, card.size_multiple)
        with clock.counting("network"):
            grain = isinstance(network, MapNetwork) and network.wants_grain
            thumbnail = make_thumbnail(floats, network.thumbnail_size, grain)

            def run(tile: Tensor, whole: Whole) -> Tensor:
                return runtime.run(tile, thumbnail, whole)

            multiple = card.size_multiple
            output = run_tiled(run, padded, tile=self.tile_size, halo=card.tile_halo, multiple=multiple, scale=card.scale)
        return output[..., : height * card.scale, : width * card.scale]


class MapPass(Pass):
    """Consecutive map networks: all look at small pictures, then the frame is gone over once (if what they do can be merged).

    The second network has to see the frame as the first one leaves it. What the first one does to the frame is done to the
    second one's thumbnail instead: averaging first and restoring then, which for smooth maps is the same but for a little
    around edges. The grain of the frame, which is no colour, stays the source's.

    Args:
        steps: engines with a MapNetwork each.
    """

    looks = mixes = True

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)

    def apply(self, picture: Picture, clock: Clock, out: NDArray[np.integer] | None = None, strength: float = 1.0) -> Picture:
        layers, _ = self._look(picture, clock)
        return self.carry_out(picture, layers, clock, out, strength)

    def observe(self, picture: Picture, clock: Clock) -> Observed:
        """Only look: what the networks want done to a frame, so that it may be steadied before `carry_out` does it."""
        layers, view = self._look(picture, clock)
        return Observed(tuple(maps.of(0) for maps in layers), view[0].numpy())

    def carry_out(
        self,
        picture: Picture,
        layers: Sequence[PixelMaps],
        clock: Clock,
        out: NDArray[np.integer] | None = None,
        strength: float = 1.0,
    ) -> Picture:
        """Do to a frame what layers from `observe` say, as `apply` does."""
        from vidrestore.kernels.pixel_maps import restore_pixels

        with clock.counting("other"):
            frame = as_integers(picture, np.dtype(np.uint16))
        with clock.counting("kernel"):
            source = frame
            for place, maps in enumerate(layers):
                last = place == len(layers) - 1
                target = out if last and out is not None else np.empty(frame.shape, np.uint16)
                mixed = strength if len(layers) == 1 else 1.0
                frame = restore_pixels(frame, _cells(maps.flare), _cells(maps.affine), _cells(maps.noise), mixed, target)
            if len(layers) > 1 and strength < 1.0:
                mixture = torch.lerp(as_floats(source), as_floats(frame), strength)
                as_integers(mixture, frame.dtype, frame)
        return frame

    def _look(self, picture: Picture, clock: Clock) -> tuple[list[PixelMaps], Tensor]:
        """What to do, in as few layers as it can be done, and the largest thumbnail's colours, (1, 3, h, w)."""
        from vidrestore.kernels.thumbnail import make_thumbnail_of

        with clock.counting("other"):
            frame = as_integers(picture, np.dtype(np.uint16))
        with clock.counting("network"):
            networks = [step.network for step in self.steps if isinstance(step.network, MapNetwork)]
            small = {
                side: torch.from_numpy(make_thumbnail_of(frame, side, grain)).unsqueeze(0)
                for side, grain in thumbnails_of(networks).items()
            }
            layers = predict_layers(networks, [step.runtime.maps for step in self.steps], small)
            return layers, small[max(small)][:, :3]


class EnlargePass(Pass):
    """A plain network's residual on the integers of the frame, added to its enlargement by a kernel."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.scale = step.card.scale

    def apply(self, picture: Picture, clock: Clock, out: NDArray[np.integer] | None = None, strength: float = 1.0) -> Picture:
        from vidrestore.kernels.enlarge import enlarge

        with clock.counting("other"):
            frame = as_integers(picture, np.dtype(np.uint16) if out is None else out.dtype)
            levels = torch.from_numpy(frame).permute(2, 0, 1).unsqueeze(0)
            if frame.dtype == np.uint16:
                levels = levels.float().div_(257)
            height, width = (-side % self.step.card.size_multiple for side in frame.shape[:2])
            if height or width:
                levels = pad_to_multiple(levels.float(), self.step.card.size_multiple)
        with clock.counting("network"):
            residual = self.step.runtime.residual(levels)[0].permute(1, 2, 0).contiguous()
        with clock.counting("kernel"):
            bits = residual.view(torch.uint16) if residual.dtype == torch.bfloat16 else residual.float()
            return enlarge(frame, bits.numpy(), out if out is not None and out.dtype == frame.dtype else None)


def thumbnails_of(networks: Sequence[MapNetwork]) -> dict[int, bool]:
    """The thumbnails that networks look at: longest side -> whether it has the grain, too. Smallest first."""
    sides = sorted({network.thumbnail_size for network in networks})
    return {side: any(network.wants_grain and network.thumbnail_size == side for network in networks) for side in sides}


def predict_layers(
    networks: Sequence[MapNetwork], predictors: Sequence[Callable[[Tensor], PixelMaps]], small: Mapping[int, Tensor]
) -> list[PixelMaps]:
    """What consecutive map networks want done to frames, in as few layers as it can be done.

    Args:
        networks: in the order of the chain.
        predictors: what executes `maps` of each.
        small: longest side -> thumbnail (N, 3 or 4, h, w), for all of `thumbnails_of(networks)`.
    """
    layers: list[PixelMaps] = []
    for network, predict in zip(networks, predictors, strict=True):
        seen = small[network.thumbnail_size]
        colours = seen[:, :3]
        for maps in layers:
            colours = apply_maps(colours, maps).clamp(0, 1)
        maps = predict(torch.cat([colours, seen[:, 3:]], dim=1) if network.wants_grain else colours)
        layers = merge_maps([*layers, maps])
    return layers


def merge_maps(layers: Sequence[PixelMaps]) -> list[PixelMaps]:
    """The same effects in fewer layers: flare, then colour, is one."""
    merged: list[PixelMaps] = []
    for maps in layers:
        if merged and maps.flare is None and merged[-1].affine is None:
            merged[-1] = replace(maps, flare=merged[-1].flare)
        else:
            merged.append(maps)
    return merged


def plan_passes(steps: Sequence[Step], tile_size: int) -> list[Pass]:
    """The passes of a chain on a CPU, in order; each engine is in one of them."""
    passes: list[Pass] = []
    for together, group in groupby(steps, predicts_maps):
        if together:
            passes.append(MapPass(list(group)))
        else:
            passes += [EnlargePass(step) if _predicts_residual(step) else NetworkPass(step, tile_size) for step in group]
    return passes


def predicts_maps(step: Step) -> bool:
    """Whether an engine says by maps, from a thumbnail alone, what is to be done: then consecutive ones share a pass."""
    return step.runtime.in_parts and isinstance(step.network, MapNetwork) and step.network.thumbnail_size > 0


def _predicts_residual(step: Step) -> bool:
    """Whether the kernel knows its residual: scale 2, whole or on blocks of 2 x 2. Others go the way of all networks."""
    network = step.network
    return step.runtime.in_parts and isinstance(network, PlainNetwork) and network.scale == 2 and network.size_multiple <= 2


def as_floats(picture: Picture) -> Tensor:
    """(N, 3, H, W) float32 in 0..1, channels last where it was made from integers."""
    if isinstance(picture, Tensor):
        return picture
    return from_frames(torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0))


def _in_range(picture: Picture) -> Tensor:
    """As floats that a network may see. What a pass leaves may lie outside 0..1; where integers are handed on, they end there."""
    return picture.clamp(0, 1) if isinstance(picture, Tensor) else as_floats(picture)


def as_integers(picture: Picture, dtype: np.dtype, out: NDArray[np.integer] | None = None) -> NDArray[np.integer]:
    """One frame as (H, W, 3), contiguous: floats clipped and rounded to `dtype`.

    Integers stay as they are, of whatever type, but where `out`, of type `dtype`, says where the frame is to go.
    """
    if not isinstance(picture, Tensor):
        if out is None:
            return np.ascontiguousarray(picture)
        if picture.dtype == out.dtype:
            out[...] = picture
            return out
        picture = as_floats(picture)
    peak = np.iinfo(dtype).max
    levels = picture[0].permute(1, 2, 0).clamp(0, 1).mul_(peak).round_()
    if out is None:
        out = np.empty(levels.shape, dtype)
    torch.from_numpy(out).copy_(levels)
    return out


def _cells(maps: Tensor | None) -> NDArray[np.float32] | None:
    return None if maps is None else maps[0].numpy()
