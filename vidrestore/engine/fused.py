"""FusedEngine: several engines as one, integers in and integers out, nothing leaves the device between them.

A chain is cut into passes over the frame (engine/passes.py). On a CPU, engines that predict maps are one kernel over the
integers; the rest goes through floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidrestore.config import Rectangle
from vidrestore.engine.card import Card
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.passes import Clock, EnlargePass, MapPass, Observed, Picture, Step, as_floats, as_integers, plan_passes
from vidrestore.engine.processing import enlarge, from_frames, to_frames
from vidrestore.engine.stream import Held, Steadier, restored_stream
from vidrestore.engine.tiling import smallest_tile
from vidrestore.errors import InvalidCardError, MediaError, UsageError
from vidrestore.models.pixel_maps import PixelMaps
from vidrestore.runtimes import pick_device, runtime_class
from vidrestore.types import Batch, Frame, StreamInfo

__all__ = ["FusedEngine"]


class FusedEngine:
    """Restores batches of frames with one or more engines, in the order given.

    Args:
        cards: the engines.
        catalog: where their weights lie.
        device: `auto`, `cpu` or `cuda`.
        strength: 0 gives the input back (enlarged as bicubic does), 1 the engines' full effect.
        protect: rectangles of the source picture that come out as they went in.
        tile_size: longest side that a network sees at once, pixels.
        runtime: a name of `vidrestore.runtimes.RUNTIMES`.
        precision: `fp32`, `bf16`, `fp16`, or `auto`: the device's fastest if the engine's card allows it, else fp32.

    Raises:
        EngineError, RuntimeUnavailableError: see Catalog.load and Runtime.
        UsageError: `tile_size` leaves no room between two halos, or a card does not allow the precision.
    """

    def __init__(
        self,
        cards: Sequence[Card],
        catalog: Catalog,
        device: str = "auto",
        strength: float = 1.0,
        protect: Sequence[Rectangle] = (),
        tile_size: int = 1280,
        runtime: str = "torch",
        precision: str = "auto",
    ) -> None:
        self.cards = tuple(cards)
        self.scale = math.prod(card.scale for card in self.cards)
        self.device = pick_device(device)
        self.strength = strength
        self.protect = tuple(protect)
        self.tile_size = tile_size
        self._check_tile_size()
        factory = runtime_class(runtime)
        self._steps: list[Step] = []
        for card in self.cards:
            network = catalog.load(card)
            chosen = _precision(card, precision, factory.native_precision(self.device))
            self._steps.append(Step(card, network, factory(network, self.device, chosen)))
        self._passes = plan_passes(self._steps, self.device, tile_size)
        self._clock = Clock()

    def _check_tile_size(self) -> None:
        for card in self.cards:
            least = smallest_tile(card.tile_halo, card.size_multiple)
            if self.tile_size < least:
                raise UsageError(
                    f"A tile_size of {self.tile_size} is too small for {card.id}: its tiles overlap by {2 * card.tile_halo}.",
                    f"Set it to {least} or more.",
                )

    @property
    def precision(self) -> str:
        """What the networks run in: fp32, bf16 or fp16."""
        return self._steps[0].runtime.precision if self._steps else "fp32"

    @property
    def temporal_halo(self) -> int:
        """Frames before and after a frame that its result depends on."""
        return sum(card.temporal_halo for card in self.cards)

    @property
    def generative(self) -> bool:
        """Whether any of the engines invents detail."""
        return any(card.generative for card in self.cards)

    @property
    def part_seconds(self) -> dict[str, float]:
        """Seconds so far in `network` (thumbnails and networks), `kernel` (passes over the full frame) and `other`."""
        return dict(self._clock.seconds)

    def describe(self) -> str:
        """The engines in words: `flare-unetpp + day-cyclegan (torch, cpu, bf16)`."""
        runtime = self._steps[0].runtime.name if self._steps else "none"
        return f"{' + '.join(card.id for card in self.cards)} ({runtime}, {self.device}, {self.precision})"

    def open(self, info: StreamInfo) -> StreamInfo:
        """The stream as it comes out.

        Raises:
            UsageError: a protected rectangle does not lie in the picture.
            InvalidCardError: an engine wants neighbouring frames.
            MediaError: HDR pictures (PQ or HLG), for an engine that was made for others.
        """
        strangers = [card.id for card in self.cards if not card.hdr]
        if info.color.hdr and strangers:
            raise MediaError(
                f"The engine {strangers[0]} cannot restore HDR video ({info.color.transfer}): it was made for standard tones.",
                "Convert the video to SDR first, or use an engine whose card says hdr.",
            )
        for card in self.cards:
            if card.temporal_halo:
                raise InvalidCardError(f"The engine {card.id} looks at neighbouring frames, which this version cannot give it.")
        for box in self.protect:
            if box.x + box.width > info.width or box.y + box.height > info.height:
                area = f"{box.x},{box.y},{box.width},{box.height}"
                raise UsageError(
                    f"The protected rectangle {area} does not lie in the {info.width}x{info.height} picture.",
                    "Give X,Y,W,H in pixels of the source picture.",
                )
        return info.scaled(self.scale)

    @torch.inference_mode()
    def restore(self, frames: Tensor, out: Tensor | None = None) -> Tensor:
        """Restore a batch. What a frame becomes does not depend on the others.

        Args:
            frames: uint8 or uint16 (N, 3, H, W), RGB, on any device; fastest in channels_last memory.
            out: where the result goes, of its shape and type, on the CPU and in channels_last memory; None: a new tensor.

        Returns:
            (N, 3, scale * H, scale * W), same dtype, on the CPU, in channels_last memory: `out`, if it was given.

        Raises:
            ValueError: an `out` of another shape, type or layout.
        """
        count, channels, height, width = frames.shape
        shape = (count, channels, height * self.scale, width * self.scale)
        if out is None:
            out = torch.empty(shape, dtype=frames.dtype, memory_format=torch.channels_last)
        if tuple(out.shape) != shape or out.dtype != frames.dtype or not out.permute(0, 2, 3, 1).is_contiguous():
            raise ValueError(f"out is {shape} {frames.dtype} in channels_last memory, not {tuple(out.shape)} {out.dtype}")
        if self.device != "cpu":
            return out.copy_(self._restore_on_device(frames))
        # One picture at a time stays in the caches, needs a batch's part of the memory, and is not changed by its neighbours.
        for source, target in zip(frames.cpu().permute(0, 2, 3, 1), out.permute(0, 2, 3, 1), strict=True):
            self._restore_frame(np.ascontiguousarray(source.numpy()), target.numpy())
        return out

    @property
    def map_passes(self) -> int:
        """How many times on its way a frame is done to what maps say: what `stream` can steady."""
        return sum(isinstance(step, MapPass) for step in self._passes)

    def stream(
        self,
        batches: Iterable[Batch],
        steadier: Steadier,
        distance: Callable[[Frame], int | None] = lambda frame: 0,
        keep: int = 0,
        guard: Callable[[Frame], AbstractContextManager[None]] = lambda frame: nullcontext(),
    ) -> Iterator[Frame]:
        """Restore a stream of one run of frames with maps that are steadied over time.

        Args:
            batches: as for `restore`; each may be written over when the next one is asked for.
            steadier: what steadies maps.
            distance: how far a frame lies outside the part whose results are wanted, in frames; None: it is padding.
            keep: up to which distance results are wanted all the same.
            guard: entered, with a frame, around all work on that frame.

        Yields:
            The frames within `keep`, in order, each as `restore` gives it; held back by `steadier.halo` frames a pass with
            maps. What a frame becomes depends on as many frames before and after it, and on no others.
        """
        return restored_stream(self, self._passes, batches, steadier, distance, keep, guard)

    # What `stream` has done to single frames: see engine/stream.py -------------------------------------

    @property
    def looks_at_groups(self) -> bool:
        """Whether networks look at a batch at once: on a GPU."""
        return self.device != "cpu"

    @torch.inference_mode()
    def enter(self, batch: Batch, distance: Callable[[Frame], int | None]) -> list[Held]:
        """The batch's frames, copied, on the engine's device; where networks see a batch at once, what pads it, too."""
        held = []
        if self.looks_at_groups:
            pictures = batch.data.to(self.device, memory_format=torch.channels_last)
            last = batch.frames[-1]
            for place, picture in enumerate(pictures.split(1)):
                real = place < len(batch.frames)
                frame = batch.frames[place] if real else last
                held.append(Held(frame, distance(frame) if real else None, picture, picture))
            return held
        for frame, data in zip(batch.frames, batch.data.permute(0, 2, 3, 1), strict=False):
            source = data.numpy().copy()
            shape = (source.shape[0] * self.scale, source.shape[1] * self.scale, 3)
            held.append(Held(frame, distance(frame), source, source, np.empty(shape, source.dtype)))
        return held

    @torch.inference_mode()
    def look(self, step: MapPass, group: Sequence[Held]) -> list[Observed]:
        """What the networks of a pass want done to frames; on a GPU they look at all of them at once."""
        if not self.looks_at_groups:
            return [observed for held in group for observed in step.observe(held.picture, self._clock)]
        return step.observe(torch.cat([_floats(held.picture) for held in group]), self._clock)

    @torch.inference_mode()
    def advance(self, place: int, held: Held, layers: Sequence[PixelMaps] | None) -> Picture:
        """A frame through a pass; `layers`: what a pass with maps is to do."""
        step = self._passes[place]
        out = self._out_of(place, held.source, held.target) if self.device == "cpu" else None
        picture = held.picture if self.device == "cpu" else _floats(held.picture)
        if layers is not None and isinstance(step, MapPass):
            return step.carry_out(picture, layers, self._clock, out, self._strength_within)
        return step.apply(picture, self._clock, out, self._strength_within)

    @torch.inference_mode()
    def leave(self, held: Held) -> NDArray[np.integer]:
        """The frame as integers (3, scale * H, scale * W), on the host."""
        if self.device == "cpu":
            self._finish(held.source, held.picture, held.target)
            return held.target.transpose(2, 0, 1)  # type: ignore[no-any-return]
        restored = self._finish_on_device(_floats(held.source), _floats(held.picture), held.source.dtype)
        return restored[0].permute(1, 2, 0).cpu().numpy().transpose(2, 0, 1)

    def _restore_frame(self, frame: NDArray[np.integer], target: NDArray[np.integer]) -> None:
        """One frame (H, W, 3) on the CPU, into `target`."""
        picture: Picture = frame
        for place, step in enumerate(self._passes):
            picture = step.apply(picture, self._clock, self._out_of(place, frame, target), self._strength_within)
        self._finish(frame, picture, target)

    @property
    def _within(self) -> bool:
        """Whether the only pass mixes with its source itself."""
        return len(self._passes) == 1 and self._passes[0].mixes

    @property
    def _strength_within(self) -> float:
        return self.strength if self._within else 1.0

    def _out_of(self, place: int, frame: NDArray[np.integer], target: NDArray[np.integer]) -> NDArray[np.integer] | None:
        """Where a pass is to write: the last one into `target`, unless its result is to be mixed with the source."""
        if place == len(self._passes) - 1:
            return target if self.strength == 1.0 or self._within else None
        if place == 0 and isinstance(self._passes[0], MapPass) and isinstance(self._passes[1], EnlargePass):
            return np.empty_like(frame)  # one kernel hands to the next what it will write: levels of the frame's own type
        return None

    def _finish(self, frame: NDArray[np.integer], picture: Picture, target: NDArray[np.integer]) -> None:
        """What the last pass left, mixed with the source, as integers, in `target`, with what is protected."""
        with self._clock.counting("other"):
            if self.strength < 1.0 and not self._within:
                original = enlarge(as_floats(frame), self.scale)
                picture = torch.lerp(original, as_floats(picture).clamp(0, 1), self.strength)
            if picture is not target:
                as_integers(picture, target.dtype, target)
            self._protect(frame, target)

    def _protect(self, frame: NDArray[np.integer], target: NDArray[np.integer]) -> None:
        """Put back what is protected."""
        if not self.protect:
            return
        original = frame if self.scale == 1 else as_integers(enlarge(as_floats(frame), self.scale), frame.dtype)
        for box in self.protect:
            rows = slice(box.y * self.scale, (box.y + box.height) * self.scale)
            columns = slice(box.x * self.scale, (box.x + box.width) * self.scale)
            target[rows, columns] = original[rows, columns]

    def _restore_on_device(self, frames: Tensor) -> Tensor:
        """A batch on the GPU, as integers."""
        source = from_frames(frames.to(self.device, memory_format=torch.channels_last, non_blocking=True))
        picture: Picture = source
        for step in self._passes:
            picture = step.apply(picture, self._clock)
        return self._finish_on_device(source, picture, frames.dtype)

    def _finish_on_device(self, source: Tensor, picture: Picture, dtype: torch.dtype) -> Tensor:
        """What the last pass left, mixed with the source, as integers, with what is protected."""
        picture = as_floats(picture).contiguous(memory_format=torch.channels_last)
        if self.strength < 1.0 or self.protect:
            original = enlarge(source, self.scale)
            picture = torch.lerp(original, picture.clamp(0, 1), self.strength) if self.strength < 1.0 else picture.clone()
            for box in self.protect:
                rows = slice(box.y * self.scale, (box.y + box.height) * self.scale)
                columns = slice(box.x * self.scale, (box.x + box.width) * self.scale)
                picture[..., rows, columns] = original[..., rows, columns]
        return to_frames(picture.clone() if picture is source else picture, dtype)

    def close(self) -> None:
        """Give the networks' memory back."""
        for step in self._steps:
            step.runtime.close()
        self._steps, self._passes = [], []


def _floats(picture: Picture) -> Tensor:
    """Frames on a device, (N, 3, H, W), as floats 0..1."""
    return from_frames(picture) if isinstance(picture, Tensor) and not picture.is_floating_point() else as_floats(picture)


def _precision(card: Card, wanted: str, native: str) -> str:
    """What an engine runs in: the card names the precisions it was measured in."""
    if wanted == "auto":
        return native if native in card.precisions else "fp32"
    if wanted not in card.precisions:
        raise UsageError(f"The engine {card.id} does not allow {wanted}.", f"Its card allows {', '.join(card.precisions)}.")
    return wanted
