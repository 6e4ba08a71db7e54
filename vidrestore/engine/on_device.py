"""The engine's work on a device: batches of integer frames, everything between upload and download put there without waiting.

Frames go up beside the work on those before them, and come down beside the work on those behind them (`device.Transfers`). Where
maps are steadied on the host in between, they travel by themselves: some hundred kilobytes a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidrestore.config import Rectangle
from vidrestore.device.base import Seat
from vidrestore.device.transfers import Pending, Transfers, Uploaded
from vidrestore.engine.device_pass import DevicePass
from vidrestore.engine.device_passes import as_planes, mixed
from vidrestore.engine.passes import Clock, Observed
from vidrestore.engine.processing import enlarge, from_frames, to_frames
from vidrestore.engine.stream import Entered, Held
from vidrestore.models.pixel_maps import PixelMaps
from vidrestore.types import Batch, Frame

__all__ = ["DEPTH", "DeviceWork", "Submitted"]

DEPTH = 2
"""Batches that are under way while a third one's result is waited for."""
ALIGNED = 4
"""Floats: where a map may begin in memory that several share, so that kernels read it as they read memory of its own."""


class Submitted:
    """A batch that is being restored."""

    def __init__(self, uploaded: Uploaded, pending: Pending[NDArray[Any]]) -> None:
        self._uploaded, self._pending = uploaded, pending

    def wait(self) -> None:
        """Return when the batch's own memory may be written again."""
        self._uploaded.wait()

    def result(self) -> NDArray[np.integer]:
        """Wait for it: (N, 3, scale * H, scale * W), each frame's rows contiguous, in page-locked memory."""
        return self._pending.result().transpose(0, 3, 1, 2)


class DeviceWork:
    """Does to frames what passes do; see `stream.FrameWork`. For one thread.

    Between two passes a frame has 16 bits, so that nothing is rounded to 8 on the way.

    Args:
        passes: in order, on the seat's device.
        seat: the device. The caller closes it.
        scale: of all passes together.
        strength: 0 gives the input back (enlarged as bicubic does), 1 the engines' full effect.
        protect: rectangles of the source picture that come out as they went in.
        depth: batches under way.
    """

    looks_at_groups = True
    looks_ahead = 1

    def __init__(
        self,
        passes: Sequence[DevicePass],
        seat: Seat,
        scale: int,
        strength: float,
        protect: Sequence[Rectangle],
        depth: int = DEPTH,
    ) -> None:
        self.passes = tuple(passes)
        self.clock = Clock()
        """Counts nothing: how long a device works only its own events tell."""
        self.depth = depth
        self._seat, self._compute = seat, seat.stream("compute")
        self._transfers = Transfers(seat, max(1, depth))
        self._scale, self._strength, self._protected = scale, strength, tuple(protect)
        self._within = len(self.passes) == 1 and self.passes[0].mixes
        self._strength_within = strength if self._within else 1.0
        self._largest = 1
        seat.synchronize()  # weights were put there by work of another stream

    @property
    def under_way(self) -> int:
        """Frames that may be on their way back to the host before the first of them is waited for."""
        return self.depth * self._largest

    def restore(self, frames: Tensor, out: Tensor) -> Tensor:
        """(N, 3, H, W), wherever it lies, into `out`, (N, 3, scale * H, scale * W) on the host."""
        return out.copy_(torch.from_numpy(self.submit(frames).result()))

    @torch.inference_mode()
    def submit(self, frames: Tensor) -> Submitted:
        """Have (N, 3, H, W) restored; on the host or on the device. Does not wait."""
        uploaded = self._transfers.upload(frames)
        with self._compute.use():
            restored = self._restored(uploaded.frames)
        submitted = Submitted(uploaded, self._transfers.download(restored))
        uploaded.release()
        return submitted

    @torch.inference_mode()
    def resident(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) on the device -> (N, 3, scale * H, scale * W) there, as work of the stream `compute`; does not wait."""
        with self._compute.use():
            return as_planes(self._restored(frames.permute(0, 2, 3, 1).contiguous()))

    @torch.inference_mode()
    def enter(self, batch: Batch, distance: Callable[[Frame], int | None]) -> Entered:
        """The batch's frames and what pads it, so that all groups have one shape: a copy that is theirs alone."""
        uploaded = self._transfers.upload(batch.data)
        self._largest = max(self._largest, len(batch.data))
        with self._compute.use():
            frames = uploaded.frames.clone()
        uploaded.release()
        held = []
        for place in range(len(frames)):
            real = place < len(batch.frames)
            frame = batch.frames[place] if real else batch.frames[-1]
            picture = frames[place : place + 1]
            held.append(Held(frame, distance(frame) if real else None, picture, picture))
        return Entered(held, uploaded.wait)

    @torch.inference_mode()
    def look(self, place: int, group: Sequence[Held]) -> Callable[[], list[Observed]]:
        """See FrameWork. Everything that was seen comes down in one piece."""
        with self._compute.use():
            layers, view = self.passes[place].look(_together([held.picture for held in group]))
        fields = [[values is not None for values in _fields(maps)] for maps in layers]
        tensors = [values for maps in layers for values in _fields(maps) if values is not None]
        pending = self._transfers.download_together([view, *tensors])

        def observed() -> list[Observed]:
            views, *maps = pending.result()
            return [Observed(_unpacked(maps, fields, n), views[n]) for n in range(len(views))]

        return observed

    @torch.inference_mode()
    def advance(self, place: int, held: Held, layers: Sequence[PixelMaps] | None) -> Tensor:
        step = self.passes[place]
        with self._compute.use():
            picture = self._entering(held.source) if place == 0 else held.picture
            if layers is None:
                return step.apply(picture, self._strength_within)
            return step.carry_out(picture, self._sent(layers), self._strength_within)

    @torch.inference_mode()
    def leave(self, held: Held) -> Callable[[], NDArray[Any]]:
        with self._compute.use():
            finished = self._finished(held.source, held.picture)
        pending = self._transfers.download(finished)
        return lambda: pending.result()[0].transpose(2, 0, 1)

    def give_back(self) -> None:
        """Let go of what is kept for batches of one size; what is needed is made again."""
        self._seat.synchronize()
        self._transfers = Transfers(self._seat, max(1, self.depth))
        self._largest = 1
        for step in self.passes:
            step.give_back()
        self._seat.give_back()

    def close(self) -> None:
        """Give back what the passes hold. Harmless a second time."""
        for step in self.passes:
            step.close()
        self.passes = ()

    def _restored(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) through all passes."""
        picture = self._entering(frames)
        for step in self.passes:
            picture = step.apply(picture, self._strength_within)
        return self._finished(frames, picture)

    def _entering(self, frames: Tensor) -> Tensor:
        """Frames as the first pass is to see them."""
        more = len(self.passes) > 1 or (self._strength < 1.0 and not self._within)
        if frames.dtype == torch.uint16 or not more:
            return frames
        return frames.to(torch.int16).mul_(257).view(torch.uint16)  # wraps where it must; torch multiplies no uint16

    def _finished(self, source: Tensor, picture: Tensor) -> Tensor:
        """What the last pass left, mixed with the source and of its type, with what is protected."""
        if self._strength < 1.0 and not self._within:
            picture = mixed(source, from_frames(as_planes(picture)), self._strength)
        if picture.dtype != source.dtype:
            picture = picture.to(torch.int32).add_(128).div_(257, rounding_mode="floor").to(source.dtype)
        if self._protected and picture is not source:
            self._protect(source, picture)
        return picture

    def _protect(self, source: Tensor, picture: Tensor) -> None:
        """Put back what is protected."""
        original = source
        if self._scale > 1:
            large = enlarge(from_frames(as_planes(source)), self._scale)
            original = to_frames(large, source.dtype).permute(0, 2, 3, 1)
        for box in self._protected:
            rows = slice(box.y * self._scale, (box.y + box.height) * self._scale)
            columns = slice(box.x * self._scale, (box.x + box.width) * self._scale)
            picture[:, rows, columns].copy_(original[:, rows, columns])

    def _sent(self, layers: Sequence[PixelMaps]) -> list[PixelMaps]:
        """Layers from the host on the device, by one copy."""
        places: list[slice] = []
        end = 0
        tensors = [values for maps in layers for values in _fields(maps) if values is not None]
        for values in tensors:
            places.append(slice(end, end + values.numel()))
            end += -(-values.numel() // ALIGNED) * ALIGNED
        host = self._seat.host_memory((end,), torch.float32)
        for values, place in zip(tensors, places, strict=True):
            host[place].view(values.shape).copy_(values)
        there = self._seat.device_memory((end,), torch.float32)
        self._seat.copy(there, host, self._compute)
        coming = iter(there[place].view(values.shape) for values, place in zip(tensors, places, strict=True))
        return [PixelMaps(*(None if values is None else next(coming) for values in _fields(maps))) for maps in layers]


def _together(pictures: Sequence[Tensor]) -> Tensor:
    """Frames (1, H, W, 3) as one batch."""
    if len(pictures) == 1:
        return pictures[0]
    batch = torch.empty((len(pictures), *pictures[0].shape[1:]), dtype=pictures[0].dtype, device=pictures[0].device)
    for place, picture in enumerate(pictures):
        batch[place].copy_(picture[0])
    return batch


def _fields(maps: PixelMaps) -> tuple[Tensor | None, ...]:
    """In the order in which PixelMaps takes them."""
    return maps.flare, maps.affine, maps.noise


def _unpacked(arrays: Sequence[NDArray[Any]], fields: Sequence[Sequence[bool]], n: int) -> tuple[PixelMaps, ...]:
    """The layers of frame n; `fields`: which maps each of them has, of which `arrays` are all frames', in that order."""
    coming = iter(arrays)
    return tuple(PixelMaps(*(torch.from_numpy(next(coming)[n : n + 1]) if there else None for there in of)) for of in fields)
