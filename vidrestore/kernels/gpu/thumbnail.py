"""`vidrestore.kernels.thumbnail` on a GPU: whole frames made small, straight from their integers, and their grain beside them.

A program does some neighbouring samples of a line of the thumbnail. Its threads lie side by side over the pixels of these cells
and go down their lines, so that each pixel is fetched from memory once, but for those that two cells share. Colours are summed as
integers, exactly; for the grain the lines above and below are carried along in registers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from vidrestore.kernels.gpu import OPTIONS, check_place
from vidrestore.kernels.sampling import thumbnail_size

__all__ = ["make_thumbnails_of"]

TILE, WIDEST, WARPS = 512, 64, 4
"""Pixels that a program looks at together; of one cell, at most; its threads / 32."""


@triton.jit
def _colours(source, place, inside):
    red = tl.load(source + place, mask=inside, other=0).to(tl.uint32)
    green = tl.load(source + place + 1, mask=inside, other=0).to(tl.uint32)
    blue = tl.load(source + place + 2, mask=inside, other=0).to(tl.uint32)
    return red, green, blue


@triton.jit
def _roots(source, place, inside, to_code: tl.constexpr):
    red, green, blue = _colours(source, place, inside)
    return (
        tl.sqrt_rn(red.to(tl.float32) * to_code), tl.sqrt_rn(green.to(tl.float32) * to_code),
        tl.sqrt_rn(blue.to(tl.float32) * to_code),
    )  # fmt: skip


@triton.jit
def _line(source, y, x, width, inside, to_code: tl.constexpr):
    """A line's square roots, each summed with its two neighbours'; the roots; all of R, then G, then B."""
    start = source + tl.cast(y, tl.int64) * width * 3
    before = _roots(start, 3 * tl.maximum(x - 1, 0), inside, to_code)
    here = _roots(start, 3 * x, inside, to_code)
    behind = _roots(start, 3 * tl.minimum(x + 1, width - 1), inside, to_code)
    return (
        before[0] + here[0] + behind[0], before[1] + here[1] + behind[1], before[2] + here[2] + behind[2],
        here[0], here[1], here[2],
    )  # fmt: skip


@triton.jit
def _roughness(above, here, below, channel: tl.constexpr):
    smooth = (above[channel] + here[channel] + below[channel]) * (1 / 9)
    return tl.abs(here[3 + channel] - smooth)


@triton.jit(do_not_specialize=["height", "width", "rows", "columns", "widest"])
def _average(
    source, target, height, width, rows, columns, widest,
    PEAK: tl.constexpr, GRAIN: tl.constexpr, CELLS: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """See `_averaged`. WIDE: pixels of a cell that are looked at together. widest: pixels across the widest cell."""
    frame = tl.program_id(2).to(tl.int64)
    source += frame * height * width * 3
    i = tl.program_id(1)
    j = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
    # Products of a place and a length: both may be above 46,340, and 64 bits once in a program cost nothing.
    top = (tl.cast(i, tl.int64) * height // rows).to(tl.int32)
    bottom = ((tl.cast(i + 1, tl.int64) * height + rows - 1) // rows).to(tl.int32)
    left = (j.to(tl.int64) * width // columns).to(tl.int32)
    right = ((j.to(tl.int64) + 1) * width + columns - 1) // columns
    right = tl.where(j < columns, right.to(tl.int32), left)
    to_code: tl.constexpr = 1.0 / PEAK

    red, green, blue = tl.full((CELLS,), 0, tl.int64), tl.full((CELLS,), 0, tl.int64), tl.full((CELLS,), 0, tl.int64)
    rough = tl.full((CELLS,), 0.0, tl.float32)
    for start in range(0, widest, WIDE):
        x = left[:, None] + start + tl.arange(0, WIDE)[None, :]
        inside = x < right[:, None]
        x = tl.minimum(x, width - 1)
        reds, greens, blues = (
            tl.full((CELLS, WIDE), 0, tl.uint32), tl.full((CELLS, WIDE), 0, tl.uint32), tl.full((CELLS, WIDE), 0, tl.uint32)
        )  # fmt: skip
        grains = tl.full((CELLS, WIDE), 0.0, tl.float32)
        if GRAIN:
            above = _line(source, tl.maximum(top - 1, 0), x, width, inside, to_code)
            here = _line(source, top, x, width, inside, to_code)
        for y in range(top, bottom):
            r, g, b = _colours(source + tl.cast(y, tl.int64) * width * 3, 3 * x, inside)
            reds += r
            greens += g
            blues += b
            if GRAIN:
                below = _line(source, tl.minimum(y + 1, height - 1), x, width, inside, to_code)
                grains += (
                    _roughness(above, here, below, 0) + _roughness(above, here, below, 1) + _roughness(above, here, below, 2)
                )
                above = here
                here = below
        red += tl.sum(reds.to(tl.int64), axis=1)
        green += tl.sum(greens.to(tl.int64), axis=1)
        blue += tl.sum(blues.to(tl.int64), axis=1)
        if GRAIN:
            rough += tl.sum(tl.where(inside, grains, 0.0), axis=1)

    pixels = tl.maximum(right - left, 1).to(tl.float64) * tl.cast(bottom - top, tl.float64)
    channels: tl.constexpr = 4 if GRAIN else 3
    area = rows * columns
    place = target + frame * channels * area + i * columns + j
    tl.store(place, (red.to(tl.float64) / (pixels * PEAK)).to(tl.float32), mask=j < columns)
    tl.store(place + area, (green.to(tl.float64) / (pixels * PEAK)).to(tl.float32), mask=j < columns)
    tl.store(place + 2 * area, (blue.to(tl.float64) / (pixels * PEAK)).to(tl.float32), mask=j < columns)
    if GRAIN:
        tl.store(place + 3 * area, (rough.to(tl.float64) / (pixels * 3.0)).to(tl.float32), mask=j < columns)


def make_thumbnails_of(frames: Tensor, longest_side: int, grain: bool = False) -> Tensor:
    """Whole frames with that longest side, sides multiples of 4 and at least 8; smaller frames are enlarged.

    Area averaging as torch's adaptive average pooling does it. The work is put on the current stream of the frames' device and
    not waited for.

    Args:
        frames: (N, H, W, 3) uint8 or uint16, RGB, on a CUDA device; at most 65,537 pixels high.
        longest_side: pixels.
        grain: with a fourth channel, `models.pixel_maps.grain_of` the frames, averaged alike.

    Returns:
        (N, 3 or 4, h, w) float32 on the same device, code values 0..1.

    Raises:
        ValueError: shapes, types or devices other than these.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape or frames.dtype not in (torch.uint8, torch.uint16):
        raise ValueError(f"frames are (N, H, W, 3) uint8 or uint16, not {tuple(frames.shape)} {frames.dtype}")
    check_place(frames)
    height, width = frames.shape[1:3]
    size = thumbnail_size(height, width, longest_side)
    if longest_side < max(height, width):
        return _averaged(frames, size, grain)
    return F.interpolate(_averaged(frames, (height, width), grain), size=size, mode="bilinear", align_corners=False)


def _averaged(frames: Tensor, size: tuple[int, int], grain: bool) -> Tensor:
    """Cell i of n over a side of L pixels is the mean of pixels floor(i L / n) to ceil((i + 1) L / n)."""
    count, height, width = frames.shape[:3]
    rows, columns = size
    output = torch.empty((count, 4 if grain else 3, rows, columns), dtype=torch.float32, device=frames.device)
    widest = max(-(-(j + 1) * width // columns) - j * width // columns for j in range(columns))
    wide = min(WIDEST, triton.next_power_of_2(widest))
    cells = TILE // wide
    with torch.cuda.device_of(frames):
        _average[(triton.cdiv(columns, cells), rows, count)](
            frames.contiguous(), output, height, width, rows, columns, widest,
            PEAK=255.0 if frames.dtype == torch.uint8 else 65535.0, GRAIN=grain, CELLS=cells, WIDE=wide, num_warps=WARPS,
            **OPTIONS,
        )  # fmt: skip
    return output
