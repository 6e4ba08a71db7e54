"""FusedEngine: several engines as one, integers in and integers out, nothing leaves the device between them.

A chain is cut into passes over the frame: on a CPU those of engine/passes.py, one frame at a time (engine/on_host.py),
on a device those of engine/device_passes.py, on batches (engine/on_device.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vidrestore.config import Rectangle
from vidrestore.device import Seat, open_seat
from vidrestore.engine.card import Card, precision_of
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.device_pass import DevicePass
from vidrestore.engine.device_passes import plan_device_passes
from vidrestore.engine.on_device import DEPTH, DeviceWork, Submitted
from vidrestore.engine.on_host import HostWork
from vidrestore.engine.passes import Step, plan_passes
from vidrestore.engine.stream import Steadier, restored_stream
from vidrestore.engine.tiling import smallest_tile
from vidrestore.errors import InvalidCardError, MediaError, UsageError
from vidrestore.runtimes import pick_device, runtime_class
from vidrestore.runtimes.base import Runtime
from vidrestore.types import Batch, Frame, StreamInfo

if TYPE_CHECKING:
    from vidrestore.engine.compiled import Telling

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
        seat: the device's memory and streams; the caller closes it. None: opened for a device other than the CPU, where no seat
            is needed: there, frames are done one at a time, by kernels made for it.
        depth: batches under way on a seat; changes no result.
        telling: who is told while the engines are compiled, for a runtime that does that; None: nobody.

    Attributes:
        seat: what the engine works on; None: the CPU, without a seat.
        compiled_by: what made and executes graphs, with versions, which decide on bits; None: networks run one by one.

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
        seat: Seat | None = None,
        depth: int = DEPTH,
        telling: Telling | None = None,
    ) -> None:
        self.cards = tuple(cards)
        self.scale = math.prod(card.scale for card in self.cards)
        self.device = pick_device(device, runtime)
        self.strength = strength
        self.protect = tuple(protect)
        self.tile_size = tile_size
        self._check_tile_size()
        executor = runtime_class(runtime)
        self._runtime, self._precision, self._telling = runtime, "fp32", telling
        self.compiled_by: str | None = None
        self._steps = self._loaded(catalog, executor, precision) if issubclass(executor, Runtime) else []
        self._owns_seat = seat is None
        self.seat = seat
        if seat is None and (self.device != "cpu" or executor.executes == "chains"):
            self.seat = open_seat(self.device)
        self._work: HostWork | DeviceWork
        if self.seat is None:
            self._work = HostWork(plan_passes(self._steps, tile_size), self.scale, strength, self.protect)
        else:
            on_device = self._device_passes(catalog, runtime, precision, self.seat)
            self._work = DeviceWork(on_device, self.seat, self.scale, strength, self.protect, depth)

    def _loaded(self, catalog: Catalog, executor: type[Runtime], precision: str) -> list[Step]:
        """The engines of a runtime that executes networks, one by one."""
        steps = []
        for card in self.cards:
            network = catalog.load(card)
            chosen = precision_of(card, precision, executor.native_precision(self.device))
            steps.append(Step(card, network, executor(network, self.device, chosen)))
        return steps

    def _device_passes(self, catalog: Catalog, runtime: str, precision: str, seat: Seat) -> Sequence[DevicePass]:
        """What is done to frames on the seat's device: by networks, or by chains that a runtime compiles."""
        if runtime_class(runtime).executes == "networks" or not self.cards:
            return plan_device_passes(self._steps, seat.device, self.tile_size)
        from vidrestore.engine.compiled import compiled_passes  # what few need

        strength, telling = self.strength, self._telling
        passes = compiled_passes(self.cards, catalog, runtime, seat, precision=precision, strength=strength, telling=telling)
        self._precision, self.compiled_by = passes[0].precision, passes[0].compiled_by
        return passes

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
        return self._steps[0].runtime.precision if self._steps else self._precision

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
        """Seconds so far in `network` (thumbnails and networks), `kernel` (passes over the full frame) and `other`.

        Empty on a seat: how long a device worked is told by its events alone.
        """
        return dict(self._work.clock.seconds)

    def describe(self) -> str:
        """The engines in words: `flare-unetpp + day-cyclegan (torch, cpu, bf16)`; on a seat also how it goes there."""
        runtime = self._steps[0].runtime.describe() if self._steps else self._runtime
        words = [runtime, self.device, self.precision]
        if self.seat is not None:
            words += dict.fromkeys(step.words for step in self._work.passes if isinstance(step, DevicePass) and step.words)
            words.append(f"{self.seat.name} seat")
        return f"{' + '.join(card.id for card in self.cards)} ({', '.join(words)})"

    @property
    def notices(self) -> tuple[str, ...]:
        """What has turned out since it began to work that the user should know, in sentences."""
        return tuple(dict.fromkeys(notice for step in self._steps for notice in step.runtime.notices))

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
        return self._work.restore(frames, out)

    @property
    def map_passes(self) -> int:
        """How many times on its way a frame is done to what maps say: what `stream` can steady."""
        return sum(step.looks for step in self._work.passes)

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
        return restored_stream(self._work, batches, steadier, distance, keep, guard)

    # On a device ----------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Batches that are best under way (`submit`) while an earlier one's result is waited for; 0 on a CPU."""
        return self._work.depth if isinstance(self._work, DeviceWork) else 0

    def submit(self, frames: Tensor) -> Submitted:
        """Begin to restore a batch, and do not wait for it.

        Args:
            frames: as for `restore`, finished; not to be written again before `Submitted.wait` returns.

        Raises:
            ValueError: the engine works on a CPU, which does one thing after the other.
            torch.OutOfMemoryError: the device's memory is used up; the same engine may be given fewer frames.
        """
        return self._on_device().submit(frames)

    def resident(self, frames: Tensor) -> Tensor:
        """Restore frames that lie on the device; the result stays there. All work is put on its stream `compute`, nothing waits.

        Args:
            frames: uint8 or uint16 (N, 3, H, W), as that stream leaves them; fastest in channels_last memory.

        Returns:
            (N, 3, scale * H, scale * W), same dtype, in channels_last memory; `frames` themselves where nothing is done to them.

        Raises:
            ValueError: the engine works on a CPU.
        """
        return self._on_device().resident(frames)

    def give_back(self) -> None:
        """Let go of memory that is kept for batches of one size. The engine goes on working, and makes what it needs anew."""
        if isinstance(self._work, DeviceWork):
            self._work.give_back()

    def close(self) -> None:
        """Give the networks' memory back. Harmless a second time."""
        if isinstance(self._work, DeviceWork):
            self._work.close()
        for step in self._steps:
            step.runtime.close()
        self._steps = []
        if self.seat is not None and self._owns_seat:
            self.seat.close()

    def _on_device(self) -> DeviceWork:
        if not isinstance(self._work, DeviceWork):
            raise ValueError("this engine works on the CPU, without a seat: only `restore` and `stream` are for it")
        return self._work
