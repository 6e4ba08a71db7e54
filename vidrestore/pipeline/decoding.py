"""How the settings want a job's source decoded, by whom, and where its frames wait for the engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vidrestore.buffer import RingBuffer
from vidrestore.config import RunConfig
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.nvdec import require_nvdec
from vidrestore.media.input.picture_decoder import DecodeOptions

if TYPE_CHECKING:
    from vidrestore.device import Seat

__all__ = ["check_decoder", "decode_options", "ring_of", "sample_type"]


def decode_options(config: RunConfig, device: str | None = None) -> DecodeOptions:
    """How the settings want the source decoded.

    Args:
        config: settled settings.
        device: where the engines run, for frames that go nowhere else: they lie on it if its NVDEC is to decode. None: frames
            are wanted on the host.
    """
    return DecodeOptions(
        start=config.start,
        duration=config.duration,
        threads=config.threads,
        on_damage=config.on_damage,
        deinterlace=config.deinterlace,
        device=device if config.decoder == "nvdec" else None,
    )


def check_decoder(config: RunConfig, media: MediaInfo) -> None:
    """Make sure that what is to decode can: asked of the GPU itself.

    Raises:
        UsageError, RuntimeUnavailableError: see `require_nvdec`.
    """
    if config.decoder == "nvdec":
        require_nvdec(media, config.device, on_damage=config.on_damage, deinterlace=config.deinterlace)


def sample_type(bit_depth: int) -> torch.dtype:
    """What a decoded sample is: uint8, or uint16 where the source has more than 8 bits."""
    return torch.uint8 if bit_depth <= 8 else torch.uint16


def ring_of(config: RunConfig, media: MediaInfo, seat: Seat | None, batch_size: int, batches: int) -> RingBuffer:
    """Slots for decoded frames: where the decoder of the settings leaves them, of the engines' own memory.

    Args:
        config: settled settings.
        media: the source.
        seat: the engines' device; None: the CPU.
        batch_size: frames that the engines get at once.
        batches: how many of these are held.
    """
    shape = (3, media.video.height, media.video.width)
    device = seat.device if seat is not None and config.decoder == "nvdec" else "cpu"
    return RingBuffer(batch_size * batches, shape, sample_type(media.video.color.bit_depth), device, seat=seat)
