"""What a chain of networks costs on a device: passes over integer frames there. Engines that predict maps share one.

`KernelMapPass` goes over a frame in one kernel, where Triton is there; `FloatMapPass` does the same in torch, over floats.
`NetworkDevicePass` is a network over floats, in tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from vidrestore.engine.device_pass import DevicePass
from vidrestore.engine.passes import Step, predict_layers, predicts_maps, thumbnails_of
from vidrestore.engine.processing import enlarge, from_frames, make_thumbnail, pad_to_multiple, to_frames
from vidrestore.engine.tiling import run_tiled
from vidrestore.models.base import Whole
from vidrestore.models.pixel_maps import MapNetwork, PixelMaps, apply_maps

__all__ = ["FloatMapPass", "KernelMapPass", "NetworkDevicePass", "as_planes", "as_rows", "plan_device_passes"]


class _MapPass(DevicePass):
    """Consecutive map networks: all look at small pictures, then the frame is gone over once for each layer (mostly: one).

    Args:
        steps: engines with a MapNetwork each, and a runtime that works in parts.
    """

    looks = mixes = True

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)

    def apply(self, frames: Tensor, strength: float = 1.0) -> Tensor:
        layers, _ = self.look(frames)
        return self.carry_out(frames, layers, strength)

    def give_back(self) -> None:
        for step in self.steps:
            step.runtime.give_back()

    def _predict(self, thumbnail_of: Callable[[int, bool], Tensor]) -> tuple[list[PixelMaps], Tensor]:
        networks = [step.network for step in self.steps if isinstance(step.network, MapNetwork)]
        small = {side: thumbnail_of(side, grain) for side, grain in thumbnails_of(networks).items()}
        layers = predict_layers(networks, [step.runtime.maps for step in self.steps], small)
        return layers, small[max(small)][:, :3]


class KernelMapPass(_MapPass):
    """Map networks whose thumbnails and layers are kernels over the integers of frames (`vidrestore.kernels.gpu`)."""

    words = "Triton kernels"

    def look(self, frames: Tensor) -> tuple[list[PixelMaps], Tensor]:
        from vidrestore.kernels.gpu.thumbnail import make_thumbnails_of

        return self._predict(lambda side, grain: make_thumbnails_of(frames, side, grain))

    def carry_out(self, frames: Tensor, layers: Sequence[PixelMaps], strength: float = 1.0) -> Tensor:
        from vidrestore.kernels.gpu.pixel_maps import restore_frames

        if len(layers) == 1:
            maps = layers[0]
            return restore_frames(frames, maps.flare, maps.affine, maps.noise, strength)
        restored = frames
        for place, maps in enumerate(layers):
            last = place == len(layers) - 1 and strength == 1.0  # between layers, 16 bits
            out = torch.empty_like(frames, dtype=frames.dtype if last else torch.uint16)
            restored = restore_frames(restored, maps.flare, maps.affine, maps.noise, out=out)
        return restored if strength == 1.0 else mixed(frames, from_frames(as_planes(restored)), strength)


class FloatMapPass(_MapPass):
    """Map networks on a device without kernels: torch, over floats.

    Args:
        steps: see above.
        tile_size: longest side of what is gone over at once, pixels.
        reason: why there are no kernels.
    """

    def __init__(self, steps: Sequence[Step], tile_size: int, reason: str) -> None:
        super().__init__(steps)
        self.tile_size = tile_size
        self.words = f"no Triton kernels ({reason})"

    def look(self, frames: Tensor) -> tuple[list[PixelMaps], Tensor]:
        floats = from_frames(as_planes(frames))

        def thumbnail_of(side: int, grain: bool) -> Tensor:
            thumbnail = make_thumbnail(floats, side, grain)
            assert thumbnail is not None  # the networks of this pass have a thumbnail size
            return thumbnail

        return self._predict(thumbnail_of)

    def carry_out(self, frames: Tensor, layers: Sequence[PixelMaps], strength: float = 1.0) -> Tensor:
        picture = from_frames(as_planes(frames))
        for maps in layers:

            def run(tile: Tensor, whole: Whole, maps: PixelMaps = maps) -> Tensor:
                return apply_maps(tile, maps, whole)

            # Twice the neighbourhood's reach is what the tiles' cross-fading leaves untouched.
            halo = 2 if maps.noise is not None else 0
            picture = run_tiled(run, picture, tile=self.tile_size, halo=halo, multiple=1, scale=1)
        return mixed(frames, picture, strength)


class NetworkDevicePass(DevicePass):
    """A network that sees the full frame, in tiles.

    Args:
        step: the engine.
        tile_size: longest side of a tile, pixels.
    """

    mixes = True

    def __init__(self, step: Step, tile_size: int) -> None:
        self.step = step
        self.tile_size = tile_size
        self.scale = step.card.scale

    def apply(self, frames: Tensor, strength: float = 1.0) -> Tensor:
        card, network, runtime = self.step.card, self.step.network, self.step.runtime
        floats = from_frames(as_planes(frames))
        height, width = floats.shape[-2:]
        thumbnail = make_thumbnail(floats, network.thumbnail_size, isinstance(network, MapNetwork) and network.wants_grain)

        def run(tile: Tensor, whole: Whole) -> Tensor:
            return runtime.run(tile, thumbnail, whole)

        multiple = card.size_multiple
        padded = pad_to_multiple(floats, multiple)
        output = run_tiled(run, padded, tile=self.tile_size, halo=card.tile_halo, multiple=multiple, scale=self.scale)
        return mixed(frames, output[..., : height * self.scale, : width * self.scale], strength)

    def give_back(self) -> None:
        self.step.runtime.give_back()


def mixed(frames: Tensor, picture: Tensor, strength: float) -> Tensor:
    """What became of frames, mixed with the frames themselves (enlarged, if need be), as integers.

    Args:
        frames: (N, H, W, 3) uint8 or uint16.
        picture: (N, 3, scale * H, scale * W) float32, 1 for white, not clipped.
        strength: of `picture`.

    Returns:
        (N, scale * H, scale * W, 3) of the frames' type, contiguous.
    """
    picture = picture.clamp(0, 1)  # a new one: a network may give back its very input
    if strength < 1.0:
        original = enlarge(from_frames(as_planes(frames)), picture.shape[-1] // frames.shape[2])
        picture = torch.lerp(original, picture, strength)
    return as_rows(to_frames(picture, frames.dtype))


def as_planes(frames: Tensor) -> Tensor:
    """(N, H, W, 3) -> (N, 3, H, W): a view."""
    return frames.permute(0, 3, 1, 2)


def as_rows(frames: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, H, W, 3), contiguous: a view of channels_last memory."""
    return frames.permute(0, 2, 3, 1).contiguous()


def plan_device_passes(steps: Sequence[Step], device: str, tile_size: int) -> list[DevicePass]:
    """The passes of a chain on a device, in order; each engine is in one of them."""
    from vidrestore.kernels.gpu import availability

    passes: list[DevicePass] = []
    for together, group in groupby(steps, predicts_maps):
        if not together:
            passes += [NetworkDevicePass(step, tile_size) for step in group]
        elif (reason := availability(device)) is None:
            passes.append(KernelMapPass(list(group)))
        else:
            passes.append(FloatMapPass(list(group), tile_size, reason))
    return passes
