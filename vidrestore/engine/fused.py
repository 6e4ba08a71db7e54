"""FusedEngine: several engines as one, integers in and integers out, nothing leaves the device between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vidrestore.config import Rectangle
from vidrestore.engine.card import Card
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.processing import enlarge, from_frames, make_thumbnail, pad_to_multiple, to_frames
from vidrestore.engine.tiling import run_tiled, smallest_tile
from vidrestore.errors import InvalidCardError, MediaError, UsageError
from vidrestore.models.base import Whole
from vidrestore.runtimes import pick_device, runtime_class
from vidrestore.runtimes.base import Runtime
from vidrestore.types import StreamInfo

if TYPE_CHECKING:
    from vidrestore.models.base import RestorationNetwork

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
        self._steps: list[tuple[Card, RestorationNetwork, Runtime]] = []
        for card in self.cards:
            network = catalog.load(card)
            chosen = _precision(card, precision, factory.native_precision(self.device))
            self._steps.append((card, network, factory(network, self.device, chosen)))

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
        return self._steps[0][2].precision if self._steps else "fp32"

    @property
    def temporal_halo(self) -> int:
        """Frames before and after a frame that its result depends on."""
        return sum(card.temporal_halo for card in self.cards)

    @property
    def generative(self) -> bool:
        """Whether any of the engines invents detail."""
        return any(card.generative for card in self.cards)

    def describe(self) -> str:
        """The engines in words: `flare-unetpp + day-cyclegan (torch, cpu, bf16)`."""
        runtime = self._steps[0][2].name if self._steps else "none"
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
    def restore(self, frames: Tensor) -> Tensor:
        """Restore a batch.

        Args:
            frames: uint8 or uint16 (N, 3, H, W), RGB, on any device.

        Returns:
            (N, 3, scale * H, scale * W), same dtype, in channels_last memory on the CPU.
        """
        if self.device == "cpu" and len(frames) > 1:
            # One picture at a time stays in the caches, and needs a batch's part of the memory.
            whole = torch.empty(
                (len(frames), frames.shape[1], frames.shape[2] * self.scale, frames.shape[3] * self.scale),
                dtype=frames.dtype,
                memory_format=torch.channels_last,
            )
            for place in range(len(frames)):
                whole[place] = self._restore(frames[place : place + 1])[0]
            return whole
        return self._restore(frames)

    def _restore(self, frames: Tensor) -> Tensor:
        source = from_frames(frames.to(self.device, memory_format=torch.channels_last, non_blocking=True))
        picture = source
        for card, network, runtime in self._steps:
            picture = self._step(card, network, runtime, picture)
        picture = self._keep(source, picture.contiguous(memory_format=torch.channels_last))
        if picture is source:  # the identity: `to_frames` works in place
            picture = picture.clone()
        return to_frames(picture, frames.dtype).cpu()

    def close(self) -> None:
        """Give the networks' memory back."""
        for _, _, runtime in self._steps:
            runtime.close()
        self._steps = []

    def _step(self, card: Card, network: RestorationNetwork, runtime: Runtime, picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        thumbnail = make_thumbnail(picture, network.thumbnail_size)
        padded = pad_to_multiple(picture, card.size_multiple)

        def run(tile: Tensor, whole: Whole) -> Tensor:
            return runtime.run(tile, thumbnail, whole)

        output = run_tiled(run, padded, tile=self.tile_size, halo=card.tile_halo, multiple=card.size_multiple, scale=card.scale)
        return output[..., : height * card.scale, : width * card.scale]

    def _keep(self, source: Tensor, picture: Tensor) -> Tensor:
        """Mix in what strength and protected rectangles leave of the source."""
        if self.strength == 1.0 and not self.protect:
            return picture
        original = enlarge(source, self.scale)
        if self.strength < 1.0:
            picture = torch.lerp(original, picture.clamp(0, 1), self.strength)
        for box in self.protect:
            rows = slice(box.y * self.scale, (box.y + box.height) * self.scale)
            columns = slice(box.x * self.scale, (box.x + box.width) * self.scale)
            picture[..., rows, columns] = original[..., rows, columns]
        return picture


def _precision(card: Card, wanted: str, native: str) -> str:
    """What an engine runs in: the card names the precisions it was measured in."""
    if wanted == "auto":
        return native if native in card.precisions else "fp32"
    if wanted not in card.precisions:
        raise UsageError(f"The engine {card.id} does not allow {wanted}.", f"Its card allows {', '.join(card.precisions)}.")
    return wanted
