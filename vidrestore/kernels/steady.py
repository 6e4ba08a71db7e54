"""Coarse steadying of integer frames: reduce a frame to blocks, weigh what its neighbours say. `correct` adds it.

Every kernel runs in one thread and holds no lock. Pictures are (H, W, C) in memory, C 1 or 3; small ones are float32 in 8-bit
levels (0..255) whatever the frame's depth, one sample for each block of `factor` x `factor` pixels, the last ones cut off by
the picture's edge.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = [
    "add_moved",
    "agreement",
    "calm_detail",
    "chain",
    "differ",
    "gather",
    "grey",
    "mean_of",
    "reduce_blocks",
    "settle",
    "still",
    "visible",
]

_FAST: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": {"contract", "nsz", "arcp", "nnan", "ninf"},
}
"""No reassociation: sums keep their order, so that bits do not depend on how wide the processor's registers are."""

HALF, ONE = np.float32(0.5), np.float32(1.0)
NOISE_STEP = 8
"""Steps a level of the histogram from which the noise is read."""


@njit(**_FAST)
def reduce_blocks(picture, factor, unit, small):  # type: ignore[no-untyped-def]
    """Area average of blocks.

    Args:
        picture: (H, W, C) uint8 or uint16, contiguous.
        factor: pixels a side of a block, at most 256.
        unit: what a sample counts: 1 for uint8, 1/257 for uint16.
        small: (ceil(H / factor), ceil(W / factor), C) float32, written to.
    """
    height, width, channels = picture.shape
    rows = picture.reshape(height, width * channels)
    sums = np.empty(width * channels, np.uint32)
    for i in range(small.shape[0]):
        top, bottom = i * factor, min(i * factor + factor, height)
        sums[:] = 0
        for y in range(top, bottom):
            for x in range(width * channels):
                sums[x] += rows[y, x]
        for j in range(small.shape[1]):
            left, right = j * factor, min(j * factor + factor, width)
            scale = np.float32(unit) / np.float32((bottom - top) * (right - left))
            for c in range(channels):
                total = np.uint32(0)
                for x in range(left, right):
                    total += sums[x * channels + c]
                small[i, j, c] = np.float32(total) * scale


@njit(**_FAST)
def grey(small, out):  # type: ignore[no-untyped-def]
    """Luma (BT.601) of a small picture (h, w, C) float32 into (h, w) uint8, rounded."""
    height, width, channels = small.shape
    for y in range(height):
        for x in range(width):
            if channels == 1:
                level = small[y, x, 0]
            else:
                level = (
                    np.float32(0.299) * small[y, x, 0] + np.float32(0.587) * small[y, x, 1] + np.float32(0.114) * small[y, x, 2]
                )
            out[y, x] = np.uint8(min(level + HALF, np.float32(255.0)))


@njit(inline="always")
def _place(target, last):  # type: ignore[no-untyped-def]
    """A coordinate held inside the picture: the sample before it, the one behind it, and the part of the way between."""
    target = min(max(target, np.float32(0.0)), np.float32(last))
    first = int(target)
    return first, min(first + 1, last), target - np.float32(first)


@njit(**_FAST)
def visible(flow, back, boundary, out):  # type: ignore[no-untyped-def]
    """Forward-backward check and motion boundaries, as `metrics.flow.visible` has them, in one pass.

    Args:
        flow, back: (h, w, 2) float32, pixels: there and back.
        boundary: see `metrics.flow.visible`.
        out: (h, w) uint8, written to: 255 where the other frame shows the same thing, else 0.
    """
    height, width = flow.shape[:2]
    for y in range(height):
        above, below = max(y - 1, 0), min(y + 1, height - 1)
        rise = ONE / np.float32(max(below - above, 1))
        for x in range(width):
            u, v = flow[y, x, 0], flow[y, x, 1]
            tx, ty = np.float32(x) + u, np.float32(y) + v
            if tx < 0 or ty < 0 or tx > width - 1 or ty > height - 1:
                out[y, x] = 0
                continue
            before, behind = max(x - 1, 0), min(x + 1, width - 1)
            run = ONE / np.float32(max(behind - before, 1))
            bend = np.float32(0.0)
            for c in range(2):
                across = (flow[y, behind, c] - flow[y, before, c]) * run
                down = (flow[below, x, c] - flow[above, x, c]) * rise
                bend += across * across + down * down
            x0, x1, fx = _place(tx, width - 1)
            y0, y1, fy = _place(ty, height - 1)
            miss, length, returned = np.float32(0.0), u * u + v * v, np.float32(0.0)
            for c in range(2):
                top = back[y0, x0, c] + fx * (back[y0, x1, c] - back[y0, x0, c])
                bottom = back[y1, x0, c] + fx * (back[y1, x1, c] - back[y1, x0, c])
                there = top + fy * (bottom - top)
                returned += there * there
                miss += (flow[y, x, c] + there) * (flow[y, x, c] + there)
            seen = miss <= np.float32(0.01) * (length + returned) + HALF
            whole = bend <= np.float32(0.01) * length + np.float32(boundary)
            out[y, x] = 255 if seen and whole else 0


@njit(**_FAST)
def chain(flow, trust, onward, onward_trust, out, out_trust):  # type: ignore[no-untyped-def]
    """Motion a -> c from a -> b and b -> c: flows (h, w, 2) float32, trusts (h, w) uint8; the last two are written to."""
    height, width = trust.shape
    for y in range(height):
        for x in range(width):
            x0, x1, fx = _place(np.float32(x) + flow[y, x, 0], width - 1)
            y0, y1, fy = _place(np.float32(y) + flow[y, x, 1], height - 1)
            for c in range(2):
                top = onward[y0, x0, c] + fx * (onward[y0, x1, c] - onward[y0, x0, c])
                bottom = onward[y1, x0, c] + fx * (onward[y1, x1, c] - onward[y1, x0, c])
                out[y, x, c] = flow[y, x, c] + top + fy * (bottom - top)
            # The least of the four: what one of them does not show is not trusted.
            least = min(min(onward_trust[y0, x0], onward_trust[y0, x1]), min(onward_trust[y1, x0], onward_trust[y1, x1]))
            out_trust[y, x] = min(trust[y, x], least)


@njit(**_FAST)
def differ(warped, small, difference, largest):  # type: ignore[no-untyped-def]
    """`warped` - `small` into `difference`, all (h, w, C) float32, and its largest magnitude over the channels into (h, w)."""
    height, width, channels = small.shape
    for y in range(height):
        for x in range(width):
            most = np.float32(0.0)
            for c in range(channels):
                value = warped[y, x, c] - small[y, x, c]
                difference[y, x, c] = value
                most = max(most, abs(value))
            largest[y, x] = most


@njit(**_FAST)
def gather(difference, signed, plain, trust, caution, table, noise_cap, fine_share, total, weights):  # type: ignore[no-untyped-def]
    """Add one neighbour's weighted difference.

    Args:
        difference: neighbour minus frame, (h, w, C) float32.
        signed: `difference` averaged over a window: noise cancels, a misplaced thing remains.
        plain: the largest magnitude over the channels and a window, (h, w) float32: sees thin things, and noise.
        trust: (h, w) uint8.
        caution: (h, w) float32, by which mismatch is multiplied.
        table: (256 * NOISE_STEP,) float32: mismatch, in steps of 1 / NOISE_STEP level, to weight.
        noise_cap: levels of the median of `plain` that are taken for noise at most.
        fine_share: part of `plain` above the noise that counts.
        total: (h, w, C) float32, added to.
        weights: (h, w) float32, added to.
    """
    height, width, channels = difference.shape
    last = table.size - 1
    histogram = np.zeros(table.size, np.int64)
    for y in range(height):
        for x in range(width):
            histogram[min(int(plain[y, x] * np.float32(NOISE_STEP)), last)] += 1
    below, step = 0, 0
    while step < last and 2 * (below + histogram[step]) < height * width:
        below += histogram[step]
        step += 1
    noise = min(np.float32(step) / np.float32(NOISE_STEP), np.float32(noise_cap))
    for y in range(height):
        for x in range(width):
            if trust[y, x] == 0:
                continue
            mismatch = (plain[y, x] - noise) * np.float32(fine_share)
            for c in range(channels):
                mismatch = max(mismatch, abs(signed[y, x, c]))
            mismatch = max(mismatch, np.float32(0.0)) * caution[y, x]
            place = min(int(mismatch * np.float32(NOISE_STEP) + HALF), last)
            weight = table[place] * (np.float32(trust[y, x]) * np.float32(1.0 / 255.0))
            weights[y, x] += weight
            for c in range(channels):
                total[y, x, c] += weight * difference[y, x, c]


@njit(**_FAST)
def agreement(signed, trust, table, weight):  # type: ignore[no-untyped-def]
    """What a neighbour's word is worth: `table` of the largest difference over the channels, times trust.

    Args:
        signed: neighbour minus frame, (h, w, C) float32, 8-bit levels.
        trust: (h, w) uint8.
        table: see `gather`.
        weight: (h, w) float32, written to.
    """
    height, width, channels = signed.shape
    last = table.size - 1
    for y in range(height):
        for x in range(width):
            mismatch = np.float32(0.0)
            for c in range(channels):
                mismatch = max(mismatch, abs(signed[y, x, c]))
            place = min(int(mismatch * np.float32(NOISE_STEP) + HALF), last)
            weight[y, x] = table[place] * (np.float32(trust[y, x]) * np.float32(1.0 / 255.0))


@njit(**_FAST)
def add_moved(cells, own, flow, weight, total, weights):  # type: ignore[no-untyped-def]
    """Add one neighbour's map, seen from the frame along the flow, as a weighted difference to the frame's own.

    Args:
        cells, own: (h, w, C) float32: the neighbour's map and the frame's.
        flow: (H, W, 2) float32, from the frame to the neighbour, in pixels of its own grid over the same picture.
        weight: (H, W) float32, on that grid.
        total: (h, w, C) float32, added to.
        weights: (h, w) float32, added to.
    """
    height, width, channels = cells.shape
    tall, wide = weight.shape
    down, across = np.float32(tall) / np.float32(height), np.float32(wide) / np.float32(width)
    for y in range(height):
        v0, v1, fv = _place((np.float32(y) + HALF) * down - HALF, tall - 1)
        for x in range(width):
            u0, u1, fu = _place((np.float32(x) + HALF) * across - HALF, wide - 1)
            top = weight[v0, u0] + fu * (weight[v0, u1] - weight[v0, u0])
            bottom = weight[v1, u0] + fu * (weight[v1, u1] - weight[v1, u0])
            part = top + fv * (bottom - top)
            if part <= np.float32(0.0):
                continue
            left = flow[v0, u0, 0] + fu * (flow[v0, u1, 0] - flow[v0, u0, 0])
            right = flow[v1, u0, 0] + fu * (flow[v1, u1, 0] - flow[v1, u0, 0])
            x0, x1, fx = _place(np.float32(x) + (left + fv * (right - left)) / across, width - 1)
            left = flow[v0, u0, 1] + fu * (flow[v0, u1, 1] - flow[v0, u0, 1])
            right = flow[v1, u0, 1] + fu * (flow[v1, u1, 1] - flow[v1, u0, 1])
            y0, y1, fy = _place(np.float32(y) + (left + fv * (right - left)) / down, height - 1)
            weights[y, x] += part
            for c in range(channels):
                top = cells[y0, x0, c] + fx * (cells[y0, x1, c] - cells[y0, x0, c])
                bottom = cells[y1, x0, c] + fx * (cells[y1, x1, c] - cells[y1, x0, c])
                total[y, x, c] += part * (top + fy * (bottom - top) - own[y, x, c])


@njit(**_FAST)
def settle(own, total, weights, mean):  # type: ignore[no-untyped-def]
    """`own` + `total` / (1 + `weights`), (h, w, C), into `mean`, (C, h, w): the frame's own map has weight 1."""
    height, width, channels = own.shape
    for y in range(height):
        for x in range(width):
            scale = ONE / (ONE + weights[y, x])
            for c in range(channels):
                mean[c, y, x] = own[y, x, c] + total[y, x, c] * scale


@njit(**_FAST)
def mean_of(total, weights):  # type: ignore[no-untyped-def]
    """`total` / (1 + `weights`) in place: the frame itself has weight 1 and differs from itself by nothing."""
    height, width, channels = total.shape
    for y in range(height):
        for x in range(width):
            scale = ONE / (ONE + weights[y, x])
            for c in range(channels):
                total[y, x, c] *= scale


@njit(**_FAST)
def calm_detail(correction, soft, flow, pixels, still, moving, keep):  # type: ignore[no-untyped-def]
    """Take away, where the picture moves, what is finer than a window from a correction, in place.

    Args:
        correction: (h, w, C) float32.
        soft: `correction` averaged over the window.
        flow: (h, w, 2) float32, to a neighbouring frame.
        pixels: of the full picture in one of the flow's.
        still, moving: pixels a frame up to which nothing, and from which on all of it, counts as moving.
        keep: share of the fine part that is left where it moves.
    """
    height, width, channels = correction.shape
    for y in range(height):
        for x in range(width):
            u, v = flow[y, x, 0], flow[y, x, 1]
            speed = np.float32(np.sqrt(u * u + v * v)) * np.float32(pixels)
            part = min(max((speed - np.float32(still)) / np.float32(moving - still), np.float32(0.0)), ONE) * np.float32(
                ONE - keep
            )
            for c in range(channels):
                correction[y, x, c] += part * (soft[y, x, c] - correction[y, x, c])


@njit(**_FAST)
def still(signed, plain, flow, trust, caution, limits, noise, agree, strength, difference, total, weights):  # type: ignore[no-untyped-def]
    """Where a neighbour shows the same thing at the same place, so that its pixels may be averaged as they lie.

    Args:
        signed: neighbour minus frame, averaged over a window, (h, w, C) float32.
        plain: see `gather`.
        flow: (h, w, 2) float32, to the neighbour.
        trust: (h, w) uint8.
        caution: see `gather`.
        limits: lengths of flow up to which a place counts as still entirely, and from which on not at all.
        noise: levels of `plain` that are noise.
        agree: levels of difference at which the weight has fallen to 0.
        strength: weight of a perfectly matching neighbour.
        difference: neighbour minus frame, (h, w, C) float32.
        total: (h, w, C) float32: weighted differences are added.
        weights: (h, w) float32, written to.
    """
    height, width, channels = signed.shape
    first, last = np.float32(limits[0]), np.float32(limits[1])
    for y in range(height):
        for x in range(width):
            u, v = flow[y, x, 0], flow[y, x, 1]
            speed = np.float32(np.sqrt(u * u + v * v))
            part = min(max((last - speed) / (last - first), np.float32(0.0)), ONE)
            mismatch = plain[y, x] - np.float32(noise)
            for c in range(channels):
                mismatch = max(mismatch, abs(signed[y, x, c]))
            part *= max(np.float32(0.0), ONE - mismatch * caution[y, x] / np.float32(agree)) * np.float32(strength)
            part *= np.float32(trust[y, x]) * np.float32(1.0 / 255.0)
            weights[y, x] = part
            for c in range(channels):
                total[y, x, c] += part * difference[y, x, c]
