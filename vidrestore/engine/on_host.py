"""The engine's work on a CPU: one frame at a time, in kernels over its integers where there are any (engine/passes.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidrestore.config import Rectangle
from vidrestore.engine.passes import Clock, EnlargePass, MapPass, Observed, Pass, Picture, as_floats, as_integers
from vidrestore.engine.processing import enlarge
from vidrestore.engine.stream import Entered, Held
from vidrestore.models.pixel_maps import PixelMaps
from vidrestore.types import Batch, Frame

__all__ = ["HostWork"]


class HostWork:
    """Does to frames what passes do; see `stream.FrameWork`.

    Args:
        passes: in order.
        scale: of all of them together.
        strength: 0 gives the input back (enlarged as bicubic does), 1 the engines' full effect.
        protect: rectangles of the source picture that come out as they went in.
    """

    looks_at_groups = False
    looks_ahead = 0
    under_way = 0

    def __init__(self, passes: Sequence[Pass], scale: int, strength: float, protect: Sequence[Rectangle]) -> None:
        self.passes = tuple(passes)
        self.clock = Clock()
        self._scale, self._strength, self._protected = scale, strength, tuple(protect)

    def restore(self, frames: Tensor, out: Tensor) -> Tensor:
        """(N, 3, H, W) into `out`, (N, 3, scale * H, scale * W) in channels_last memory."""
        # One picture at a time stays in the caches, needs a batch's part of the memory, and is not changed by its neighbours.
        for source, target in zip(frames.cpu().permute(0, 2, 3, 1), out.permute(0, 2, 3, 1), strict=True):
            self._restore_frame(np.ascontiguousarray(source.numpy()), target.numpy())
        return out

    def enter(self, batch: Batch, distance: Callable[[Frame], int | None]) -> Entered:
        held = []
        for frame, data in zip(batch.frames, batch.data.permute(0, 2, 3, 1), strict=False):
            source = data.cpu().numpy().copy()
            shape = (source.shape[0] * self._scale, source.shape[1] * self._scale, 3)
            held.append(Held(frame, distance(frame), source, source, np.empty(shape, source.dtype)))
        return Entered(held)

    def look(self, place: int, group: Sequence[Held]) -> Callable[[], list[Observed]]:
        step = self.passes[place]
        assert isinstance(step, MapPass)
        seen = [step.observe(held.picture, self.clock) for held in group]
        return lambda: seen

    def advance(self, place: int, held: Held, layers: Sequence[PixelMaps] | None) -> Picture:
        step, out = self.passes[place], self._out_of(place, held.source, held.target)
        if layers is not None and isinstance(step, MapPass):
            return step.carry_out(held.picture, layers, self.clock, out, self._strength_within)
        return step.apply(held.picture, self.clock, out, self._strength_within)

    def leave(self, held: Held) -> Callable[[], NDArray[Any]]:
        self._finish(held.source, held.picture, held.target)
        return lambda: held.target.transpose(2, 0, 1)

    def _restore_frame(self, frame: NDArray[np.integer], target: NDArray[np.integer]) -> None:
        """One frame (H, W, 3), into `target`."""
        picture: Picture = frame
        for place, step in enumerate(self.passes):
            picture = step.apply(picture, self.clock, self._out_of(place, frame, target), self._strength_within)
        self._finish(frame, picture, target)

    @property
    def _within(self) -> bool:
        """Whether the only pass mixes with its source itself."""
        return len(self.passes) == 1 and self.passes[0].mixes

    @property
    def _strength_within(self) -> float:
        return self._strength if self._within else 1.0

    def _out_of(self, place: int, frame: NDArray[np.integer], target: NDArray[np.integer]) -> NDArray[np.integer] | None:
        """Where a pass is to write: the last one into `target`, unless its result is to be mixed with the source."""
        if place == len(self.passes) - 1:
            return target if self._strength == 1.0 or self._within else None
        if place == 0 and isinstance(self.passes[0], MapPass) and isinstance(self.passes[1], EnlargePass):
            return np.empty_like(frame)  # one kernel hands to the next what it will write: levels of the frame's own type
        return None

    def _finish(self, frame: NDArray[np.integer], picture: Picture, target: NDArray[np.integer]) -> None:
        """What the last pass left, mixed with the source, as integers, in `target`, with what is protected."""
        with self.clock.counting("other"):
            if self._strength < 1.0 and not self._within:
                original = enlarge(as_floats(frame), self._scale)
                picture = torch.lerp(original, as_floats(picture).clamp(0, 1), self._strength)
            if picture is not target:
                as_integers(picture, target.dtype, target)
            self._protect(frame, target)

    def _protect(self, frame: NDArray[np.integer], target: NDArray[np.integer]) -> None:
        """Put back what is protected."""
        if not self._protected:
            return
        original = frame if self._scale == 1 else as_integers(enlarge(as_floats(frame), self._scale), frame.dtype)
        for box in self._protected:
            rows = slice(box.y * self._scale, (box.y + box.height) * self._scale)
            columns = slice(box.x * self._scale, (box.x + box.width) * self._scale)
            target[rows, columns] = original[rows, columns]
