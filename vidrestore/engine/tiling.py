"""Feathered tiles: bounded memory for large frames, and no seam.

Tiles overlap by twice the halo. Of the overlap, the outer quarters (where a network misses its context) are thrown
away and the middle half is cross-faded, so that what is left of a difference never shows as a line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vidrestore.models.base import Whole

__all__ = ["Tile", "plan_tiles", "run_tiled", "smallest_tile"]


@dataclass(frozen=True)
class Tile:
    """A rectangle of the padded frame, in pixels."""

    top: int
    left: int
    height: int
    width: int


def smallest_tile(halo: int, multiple: int) -> int:
    """The least tile size, in pixels, that leaves something between the two halos."""
    return -(-2 * halo // multiple) * multiple + multiple


def _spans(length: int, tile: int, halo: int, multiple: int) -> list[tuple[int, int]]:
    """(start, size) along one side; starts and sizes are multiples of `multiple`, neighbours overlap >= 2 halo."""
    tile = max(multiple, tile // multiple * multiple)
    if length <= tile:
        return [(0, length)]
    step = (tile - 2 * halo) // multiple * multiple
    if step < multiple:
        raise ValueError(f"tiles of {tile} pixels are too small for a halo of {halo}")
    starts = list(range(0, length - tile, step))
    last = (length - tile + multiple - 1) // multiple * multiple
    return [(start, tile) for start in starts] + [(last, length - last)]


def plan_tiles(height: int, width: int, tile: int, halo: int, multiple: int) -> list[Tile]:
    """Tiles that cover a frame whose sides are multiples of `multiple`.

    Raises:
        ValueError: `tile` leaves no room between two halos.
    """
    rows, columns = _spans(height, tile, halo, multiple), _spans(width, tile, halo, multiple)
    return [Tile(top, left, tall, wide) for top, tall in rows for left, wide in columns]


def _ramp(start: int, size: int, length: int, halo: int, scale: int, device: torch.device) -> Tensor:
    """Weights along one side of a tile: 0 in the outer half of the halo, rising over its inner half's double to 1.

    Made where they are used: a copy from the host would wait for all that a GPU has to do before it.
    """
    position = torch.arange(size * scale, dtype=torch.float32, device=device) + 0.5
    weight = torch.ones(size * scale, device=device)
    if halo:
        if start > 0:
            weight *= ((position / scale - halo / 2) / halo).clamp(0, 1)
        if start + size < length:
            weight *= (((size * scale - position) / scale - halo / 2) / halo).clamp(0, 1)
    return weight


def run_tiled(
    run: Callable[[Tensor, Whole], Tensor], picture: Tensor, *, tile: int, halo: int, multiple: int, scale: int
) -> Tensor:
    """Run a network over a frame tile by tile.

    Args:
        run: (tile (N, 3, h, w), where it lies) -> (N, 3, scale * h, scale * w), float32.
        picture: (N, 3, H, W), sides multiples of `multiple`.
        tile: longest side of a tile, pixels. A frame that fits into one is run whole.
        halo: context, pixels.

    Returns:
        (N, 3, scale * H, scale * W) float32.
    """
    height, width = picture.shape[-2:]
    tiles = plan_tiles(height, width, tile, halo, multiple)
    if len(tiles) == 1:
        return run(picture, Whole(height, width))
    shape = (len(picture), 3, height * scale, width * scale)
    total = torch.zeros(shape, device=picture.device).to(memory_format=torch.channels_last)
    weights = torch.zeros(shape[-2:], device=picture.device)
    for part in tiles:
        view = picture[..., part.top : part.top + part.height, part.left : part.left + part.width]
        output = run(view.contiguous(memory_format=torch.channels_last), Whole(height, width, part.top, part.left))
        down = _ramp(part.top, part.height, height, halo, scale, picture.device)
        across = _ramp(part.left, part.width, width, halo, scale, picture.device)
        weight = down[:, None] * across[None, :]
        where = (
            slice(part.top * scale, (part.top + part.height) * scale),
            slice(part.left * scale, (part.left + part.width) * scale),
        )
        total[(..., *where)] += output * weight
        weights[where] += weight
    return total.div_(weights)
