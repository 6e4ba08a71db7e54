"""Adds what steadying found to an integer frame: a small correction, enlarged, and, where nothing moves, its neighbours' pixels.

The frame is gone over once, a row at a time, in floats that stay in the nearest cache. One thread, no lock held.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["MOST", "add_enlarged", "add_still", "spread_at"]

_FAST: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": {"contract", "nsz", "arcp", "nnan", "ninf"},
}
"""No reassociation: sums keep their order, so that bits do not depend on how wide the processor's registers are."""

HALF, ONE, TWO, NONE = np.float32(0.5), np.float32(1.0), np.float32(2.0), np.float32(0.0)
MOST = 8
"""Neighbours that `add_still` takes: twice the largest radius."""


@njit(inline="always")
def _place(target, last):  # type: ignore[no-untyped-def]
    """A coordinate held inside the picture: the sample before it, the one behind it, and the part of the way between."""
    target = min(max(target, np.float32(0.0)), np.float32(last))
    first = int(target)
    return first, min(first + 1, last), target - np.float32(first)


@njit(**_FAST)
def add_enlarged(picture, correction, factor, unit, out):  # type: ignore[no-untyped-def]
    """`picture` + `correction`, enlarged bilinearly, rounded half up and clipped.

    Args:
        picture: (H, W, C) uint8 or uint16, contiguous.
        correction: (h, w, C) float32, 8-bit levels.
        factor: pixels a side of a block.
        unit: samples in an 8-bit level: 1 for uint8, 257 for uint16.
        out: like `picture`, written to; may be `picture` itself.
    """
    height, width, channels = picture.shape
    small_height, small_width = correction.shape[:2]
    length = width * channels
    source, target = picture.reshape(height, length), out.reshape(height, length)
    # Between the middles of two blocks lie `factor` pixels; the first begin half a block left of the picture.
    parts = (np.arange(factor) + 0.5 * (1 - factor % 2)).astype(np.float32) / np.float32(factor)
    margin = (factor - factor // 2) * channels
    wide = np.empty((2, (small_width + 1) * factor * channels), np.float32)  # two small rows, enlarged across
    row = np.empty(((small_width + 2) * channels), np.float32)
    held = np.full(2, -1, np.int64)
    peak = np.float32(255.0) * np.float32(unit) + HALF
    for y in range(height):
        place = (np.float32(y) + HALF) / np.float32(factor) - HALF
        first, second, down = _place(place, small_height - 1)
        for i in (first, second):
            if held[i & 1] != i:
                held[i & 1] = i
                _scaled_row(correction[i], np.float32(unit), row)
                _enlarge_row(row, channels, parts, wide[i & 1])
        above, below = wide[first & 1, margin : margin + length], wide[second & 1, margin : margin + length]
        _add_row(source[y], above, below, down, peak, target[y])


@njit(**_FAST)
def _scaled_row(correction, unit, row):  # type: ignore[no-untyped-def]
    """A small row of the correction in samples, its two ends repeated once."""
    small_width, channels = correction.shape
    for j in range(small_width + 2):
        k = min(max(j - 1, 0), small_width - 1)
        for c in range(channels):
            row[j * channels + c] = correction[k, c] * unit


@njit(**_FAST)
def _enlarge_row(row, channels, parts, wide):  # type: ignore[no-untyped-def]
    """From the middle of each block to the middle of the next, in `parts` of the way."""
    place = 0
    if channels == 3:
        for j in range(0, row.size - 3, 3):
            red, green, blue = row[j], row[j + 1], row[j + 2]
            to_red, to_green, to_blue = row[j + 3] - red, row[j + 4] - green, row[j + 5] - blue
            for part in parts:
                wide[place] = red + part * to_red
                wide[place + 1] = green + part * to_green
                wide[place + 2] = blue + part * to_blue
                place += 3
        return
    for j in range(row.size - 1):
        for part in parts:
            wide[place] = row[j] + part * (row[j + 1] - row[j])
            place += 1


@njit(**_FAST)
def _add_row(source, above, below, down, peak, target):  # type: ignore[no-untyped-def]
    for x in range(source.size):
        value = np.float32(source[x]) + (above[x] + down * (below[x] - above[x])) + HALF
        target[x] = np.int32(min(max(value, np.float32(0.0)), peak))


@njit(**_FAST)
def spread_at(picture, neighbour, means, weight, factor, unit, histogram):  # type: ignore[no-untyped-def]
    """How far two pictures differ where they may be averaged, beside what their blocks differ; one pixel of every fourth block.

    Which pixel changes from block to block: those in the middle are nearer to the mean than the rest.

    Args:
        picture, neighbour: (H, W, C) uint8 or uint16, contiguous.
        means: (h, w, C) float32, 8-bit levels: by how much the neighbour's blocks are lighter.
        weight: (h, w) float32: blocks where it is 0 are left out.
        factor, unit: see `add_enlarged`.
        histogram: (n,) int64, added to: differences of the middle channel in levels, without sign, the last and more together.
    """
    height, width, channels = picture.shape
    middle = channels // 2
    for i in range(0, weight.shape[0], 2):
        y = min(i * factor + (i // 2) % factor, height - 1)
        for j in range(0, weight.shape[1], 2):
            if weight[i, j] > NONE:
                x = min(j * factor + (j // 2) % factor, width - 1)
                apart = np.float32(neighbour[y, x, middle]) - np.float32(picture[y, x, middle])
                apart = abs(apart / np.float32(unit) - means[i, j, middle])
                histogram[min(int(apart + HALF), histogram.size - 1)] += 1


@njit(**_FAST)
def add_still(picture, n0, n1, n2, n3, n4, n5, n6, n7, weights, means, thresholds, lift, most, correction, factor, unit, out):  # type: ignore[no-untyped-def]
    """`add_enlarged`, and the weighted mean of neighbours' pixels as they lie.

    What two blocks differ by as a whole (`means`) is the correction's to judge. A pixel of a neighbour that, this apart, is
    further from the frame's own than half a threshold counts less, and not at all beyond it (as in a sigma filter, Lee 1983),
    so that a thin thing that passes in front of what is still is not drawn into it.

    Args:
        picture, n0..n7: (H, W, C) uint8 or uint16, contiguous; the frame and its neighbours.
        weights: (n, h, w) float32: one plane for each neighbour that counts; the arrays beyond are not looked at.
        means: (n, h, w, C) float32, 8-bit levels: by how much the neighbours' blocks are lighter.
        thresholds: (n,) float32, samples.
        lift: (h, w, C) float32, 8-bit levels: added to whole blocks, as they lie.
        most: samples by which a pixel is changed at most.
        correction, factor, unit, out: see `add_enlarged`; `out` is none of the pictures.
    """
    height, width, channels = picture.shape
    small_height, small_width = correction.shape[:2]
    count, length = weights.shape[0], width * channels
    source, target = picture.reshape(height, length), out.reshape(height, length)
    flat0, flat1 = n0.reshape(height, length), n1.reshape(height, length)
    flat2, flat3 = n2.reshape(height, length), n3.reshape(height, length)
    flat4, flat5 = n4.reshape(height, length), n5.reshape(height, length)
    flat6, flat7 = n6.reshape(height, length), n7.reshape(height, length)
    parts = (np.arange(factor) + 0.5 * (1 - factor % 2)).astype(np.float32) / np.float32(factor)
    margin = (factor - factor // 2) * channels
    wide = np.empty((2, (small_width + 1) * factor * channels), np.float32)
    row = np.empty(((small_width + 2) * channels), np.float32)
    shares = np.zeros((count, length), np.float32)
    offsets = np.zeros((count, length), np.float32)
    lifted = np.empty(length, np.float32)
    places = np.empty(length, np.uint32)
    for x in range(length):
        places[x] = x // (factor * channels) * channels + x % channels
    counts = np.zeros(count, np.bool_)
    change, mass = np.empty(length, np.float32), np.empty(length, np.float32)
    held = np.full(2, -1, np.int64)
    peak = np.float32(255.0) * np.float32(unit) + HALF
    for y in range(height):
        place = (np.float32(y) + HALF) / np.float32(factor) - HALF
        first, second, down = _place(place, small_height - 1)
        for i in (first, second):
            if held[i & 1] != i:
                held[i & 1] = i
                _scaled_row(correction[i], np.float32(unit), row)
                _enlarge_row(row, channels, parts, wide[i & 1])
        if y % factor == 0:
            _spread_colours(lift[y // factor], np.float32(unit), places, lifted)
            for n in range(count):
                counts[n] = _spread_row(weights[n, y // factor], factor * channels, shares[n])
                if counts[n]:
                    _spread_colours(means[n, y // factor], np.float32(unit), places, offsets[n])
        change[:] = NONE
        mass[:] = ONE
        for n in range(count):
            if not counts[n]:
                continue
            if n == 0:
                _gather_row(source[y], flat0[y], shares[n], offsets[n], thresholds[n], change, mass)
            elif n == 1:
                _gather_row(source[y], flat1[y], shares[n], offsets[n], thresholds[n], change, mass)
            elif n == 2:
                _gather_row(source[y], flat2[y], shares[n], offsets[n], thresholds[n], change, mass)
            elif n == 3:
                _gather_row(source[y], flat3[y], shares[n], offsets[n], thresholds[n], change, mass)
            elif n == 4:
                _gather_row(source[y], flat4[y], shares[n], offsets[n], thresholds[n], change, mass)
            elif n == 5:
                _gather_row(source[y], flat5[y], shares[n], offsets[n], thresholds[n], change, mass)
            elif n == 6:
                _gather_row(source[y], flat6[y], shares[n], offsets[n], thresholds[n], change, mass)
            else:
                _gather_row(source[y], flat7[y], shares[n], offsets[n], thresholds[n], change, mass)
        above, below = wide[first & 1, margin : margin + length], wide[second & 1, margin : margin + length]
        _add_change(source[y], lifted, change, mass, above, below, down, np.float32(most), peak, target[y])


@njit(**_FAST)
def _spread_row(weights, samples, shares):  # type: ignore[no-untyped-def]
    """A row of weights, one a block, for every sample; whether there is any."""
    found = False
    for j in range(weights.size):
        found = found or weights[j] > NONE
        shares[j * samples : min((j + 1) * samples, shares.size)] = weights[j]
    return found


@njit(**_FAST)
def _spread_colours(levels, unit, places, samples):  # type: ignore[no-untyped-def]
    """A row of colours, one a block, for every sample; `places` says which of them is a sample's."""
    row = levels.reshape(levels.size)
    for x in range(samples.size):
        samples[x] = row[places[x]] * unit


@njit(**_FAST)
def _gather_row(source, neighbour, shares, offsets, threshold, change, mass):  # type: ignore[no-untyped-def]
    scale = TWO / threshold
    for x in range(source.size):
        apart = np.float32(neighbour[x]) - np.float32(source[x]) - offsets[x]
        weight = shares[x] * min(ONE, max(NONE, TWO - abs(apart) * scale))
        change[x] += weight * apart
        mass[x] += weight


@njit(**_FAST)
def _add_change(source, lifted, change, mass, above, below, down, most, peak, target):  # type: ignore[no-untyped-def]
    for x in range(source.size):
        added = (above[x] + down * (below[x] - above[x])) + lifted[x] + change[x] / mass[x]
        value = np.float32(source[x]) + min(max(added, -most), most) + HALF
        target[x] = np.int32(min(max(value, np.float32(0.0)), peak))
