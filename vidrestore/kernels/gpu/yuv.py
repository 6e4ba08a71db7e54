"""`vidrestore.kernels.yuv` on a GPU: NV12 and P010, as hardware decodes and encodes them, to RGB and back in one pass each.

A thread does two pixels side by side, which share a chroma sample, and goes down a strip of lines: chroma is filtered across as
it is read, and the filtered lines that the ones below need are carried along in registers. Two samples are read and written as
one word, so that neighbouring threads read and write neighbouring words. The filter, the matrix and the rounding are the CPU
kernel's; only that it filters down before it filters across, and turns colours before it filters, which shows in the last bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from vidrestore.kernels.gpu import OPTIONS, check_place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["rgb_to_yuv420", "yuv420_to_rgb"]

BLOCK, ROWS, WARPS = 128, 8, 4
"""Pairs of pixels across and pairs of lines down that one program does; its threads / 32."""


@triton.jit
def _halves(word, BITS: tl.constexpr):
    """The two samples in a word: the first in memory, the second."""
    mask: tl.constexpr = (1 << BITS) - 1
    word = word.to(tl.int32)
    return (word & mask).to(tl.float32), ((word >> BITS) & mask).to(tl.float32)


@triton.jit
def _joined(first, second, BITS: tl.constexpr, word: tl.constexpr):
    return (first | (second << BITS)).to(word)


@triton.jit
def _level(value, peak: tl.constexpr):
    return (tl.minimum(tl.maximum(value, 0.0), peak) + 0.5).to(tl.int32)


@triton.jit
def _row(matrix, row: tl.constexpr, a, b, c):
    return tl.fma(matrix[4 * row], a, tl.fma(matrix[4 * row + 1], b, tl.fma(matrix[4 * row + 2], c, matrix[4 * row + 3])))


@triton.jit
def _mixed(taps, first: tl.constexpr, a, b, c, d, e):
    value = tl.fma(taps[first + 2], c, tl.fma(taps[first + 1], b, taps[first] * a))
    return tl.fma(taps[first + 4], e, tl.fma(taps[first + 3], d, value))


@triton.jit
def _chroma_line(chroma, line, pitch, pair, last_line, last_pair, across, BITS: tl.constexpr):
    """A line of chroma at the two pixels of each pair: Cb of both, Cr of both."""
    start = chroma + tl.cast(tl.minimum(tl.maximum(line, 0), last_line), tl.int64) * pitch
    cb_a, cr_a = _halves(tl.load(start + tl.maximum(pair - 2, 0)), BITS)
    cb_b, cr_b = _halves(tl.load(start + tl.maximum(pair - 1, 0)), BITS)
    cb_c, cr_c = _halves(tl.load(start + pair), BITS)
    cb_d, cr_d = _halves(tl.load(start + tl.minimum(pair + 1, last_pair)), BITS)
    cb_e, cr_e = _halves(tl.load(start + tl.minimum(pair + 2, last_pair)), BITS)
    return (
        _mixed(across, 0, cb_a, cb_b, cb_c, cb_d, cb_e), _mixed(across, 5, cb_a, cb_b, cb_c, cb_d, cb_e),
        _mixed(across, 0, cr_a, cr_b, cr_c, cr_d, cr_e), _mixed(across, 5, cr_a, cr_b, cr_c, cr_d, cr_e),
    )  # fmt: skip


@triton.jit
def _rgb_line(luma, out, y, pitch, pair, pairs, inside, a, b, c, d, e, down, odd: tl.constexpr, matrix, BITS: tl.constexpr):
    """Line y of a frame, from the five lines of chroma around it."""
    peak: tl.constexpr = (1 << BITS) - 1
    top: tl.constexpr = 65535.0 / 256.0 if BITS == 8 else 65535.0  # where swscale, at 16 bits, clips what the filter makes
    y_first, y_second = _halves(tl.load(luma + tl.cast(y, tl.int64) * pitch + pair), BITS)
    u_first = tl.minimum(tl.maximum(_mixed(down, 5 * odd, a[0], b[0], c[0], d[0], e[0]), 0.0), top)
    u_second = tl.minimum(tl.maximum(_mixed(down, 5 * odd, a[1], b[1], c[1], d[1], e[1]), 0.0), top)
    v_first = tl.minimum(tl.maximum(_mixed(down, 5 * odd, a[2], b[2], c[2], d[2], e[2]), 0.0), top)
    v_second = tl.minimum(tl.maximum(_mixed(down, 5 * odd, a[3], b[3], c[3], d[3], e[3]), 0.0), top)
    red = _level(_row(matrix, 0, y_first, u_first, v_first), peak)
    green = _level(_row(matrix, 1, y_first, u_first, v_first), peak)
    blue = _level(_row(matrix, 2, y_first, u_first, v_first), peak)
    next_red = _level(_row(matrix, 0, y_second, u_second, v_second), peak)
    next_green = _level(_row(matrix, 1, y_second, u_second, v_second), peak)
    next_blue = _level(_row(matrix, 2, y_second, u_second, v_second), peak)
    place = out + tl.cast(y, tl.int64) * pairs * 3 + 3 * pair
    word: tl.constexpr = out.dtype.element_ty
    tl.store(place, _joined(red, green, BITS, word), mask=inside)
    tl.store(place + 1, _joined(blue, next_red, BITS, word), mask=inside)
    tl.store(place + 2, _joined(next_green, next_blue, BITS, word), mask=inside)


@triton.jit(
    do_not_specialize=["luma_pitch", "luma_frame", "chroma_pitch", "chroma_frame", "lines", "pairs"],
    do_not_specialize_on_alignment=["luma", "chroma", "out"],
)
def _to_rgb(
    luma, chroma, out, luma_pitch, luma_frame, chroma_pitch, chroma_frame, lines, pairs, matrix, across, down,
    BITS: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """See `yuv420_to_rgb`; planes and out as words of two samples, pitches in words; lines and pairs of chroma."""
    frame = tl.program_id(2).to(tl.int64)
    luma += frame * luma_frame
    chroma += frame * chroma_frame
    out += frame * lines * pairs * 6
    first = tl.program_id(1) * ROWS
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = column < pairs
    pair = tl.minimum(column, pairs - 1)
    a = _chroma_line(chroma, first - 2, chroma_pitch, pair, lines - 1, pairs - 1, across, BITS)
    b = _chroma_line(chroma, first - 1, chroma_pitch, pair, lines - 1, pairs - 1, across, BITS)
    c = _chroma_line(chroma, first, chroma_pitch, pair, lines - 1, pairs - 1, across, BITS)
    d = _chroma_line(chroma, first + 1, chroma_pitch, pair, lines - 1, pairs - 1, across, BITS)
    for line in range(first, tl.minimum(first + ROWS, lines)):
        e = _chroma_line(chroma, line + 2, chroma_pitch, pair, lines - 1, pairs - 1, across, BITS)
        _rgb_line(luma, out, 2 * line, luma_pitch, pair, pairs, inside, a, b, c, d, e, down, 0, matrix, BITS)
        _rgb_line(luma, out, 2 * line + 1, luma_pitch, pair, pairs, inside, a, b, c, d, e, down, 1, matrix, BITS)
        a = b
        b = c
        c = d
        d = e


@triton.jit
def _pixels(start, pair, BITS: tl.constexpr):
    """The two pixels of each pair of a line: R, G, B and R, G, B."""
    red, green = _halves(tl.load(start + 3 * pair), BITS)
    blue, next_red = _halves(tl.load(start + 3 * pair + 1), BITS)
    next_green, next_blue = _halves(tl.load(start + 3 * pair + 2), BITS)
    return red, green, blue, next_red, next_green, next_blue


@triton.jit
def _beside(start, pair, last_pair, BITS: tl.constexpr):
    """As `_pixels`; outside of the line, the pixel at its end twice."""
    p = _pixels(start, tl.minimum(tl.maximum(pair, 0), last_pair), BITS)
    low, high = pair < 0, pair > last_pair
    return (
        tl.where(high, p[3], p[0]), tl.where(high, p[4], p[1]), tl.where(high, p[5], p[2]),
        tl.where(low, p[0], p[3]), tl.where(low, p[1], p[4]), tl.where(low, p[2], p[5]),
    )  # fmt: skip


@triton.jit
def _eight(taps, a, b, c, d, e, f, g, h):
    value = tl.fma(taps[3], d, tl.fma(taps[2], c, tl.fma(taps[1], b, taps[0] * a)))
    return tl.fma(taps[7], h, tl.fma(taps[6], g, tl.fma(taps[5], f, tl.fma(taps[4], e, value))))


@triton.jit
def _reduced_line(frames, y, pair, last_line, last_pair, across, BITS: tl.constexpr):
    """A line of RGB reduced to a sample a pair, three tensors."""
    start = frames + tl.cast(tl.minimum(tl.maximum(y, 0), last_line), tl.int64) * (last_pair + 1) * 3
    a = _beside(start, pair - 2, last_pair, BITS)
    b = _beside(start, pair - 1, last_pair, BITS)
    c = _pixels(start, pair, BITS)
    d = _beside(start, pair + 1, last_pair, BITS)
    e = _beside(start, pair + 2, last_pair, BITS)
    return (
        _eight(across, a[3], b[0], b[3], c[0], c[3], d[0], d[3], e[0]),
        _eight(across, a[4], b[1], b[4], c[1], c[4], d[1], d[4], e[1]),
        _eight(across, a[5], b[2], b[5], c[2], c[5], d[2], d[5], e[2]),
    )


@triton.jit
def _luma_line(frames, luma, y, pitch, pair, pairs, inside, matrix, BITS: tl.constexpr, LEVELS: tl.constexpr):
    p = _pixels(frames + tl.cast(y, tl.int64) * pairs * 3, pair, BITS)
    shift: tl.constexpr = 0 if LEVELS == 8 else 16 - LEVELS
    peak: tl.constexpr = (1 << LEVELS) - 1
    first = _level(_row(matrix, 0, p[0], p[1], p[2]), peak) << shift
    second = _level(_row(matrix, 0, p[3], p[4], p[5]), peak) << shift
    word: tl.constexpr = luma.dtype.element_ty
    tl.store(luma + tl.cast(y, tl.int64) * pitch + pair, _joined(first, second, LEVELS + shift, word), mask=inside)


@triton.jit(
    do_not_specialize=["luma_pitch", "luma_frame", "chroma_pitch", "chroma_frame", "lines", "pairs"],
    do_not_specialize_on_alignment=["frames", "luma", "chroma"],
)
def _from_rgb(
    frames, luma, chroma, luma_pitch, luma_frame, chroma_pitch, chroma_frame, lines, pairs, matrix, across, down,
    BITS: tl.constexpr, LEVELS: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """See `rgb_to_yuv420`; as `_to_rgb`. BITS: of the frames. LEVELS: bits of the planes' levels."""
    frame = tl.program_id(2).to(tl.int64)
    frames += frame * lines * pairs * 6
    luma += frame * luma_frame
    chroma += frame * chroma_frame
    top = tl.program_id(1) * ROWS
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = column < pairs
    pair = tl.minimum(column, pairs - 1)
    last = 2 * lines - 1
    shift: tl.constexpr = 0 if LEVELS == 8 else 16 - LEVELS
    peak: tl.constexpr = (1 << LEVELS) - 1
    word: tl.constexpr = chroma.dtype.element_ty
    a = _reduced_line(frames, 2 * top - 3, pair, last, pairs - 1, across, BITS)
    b = _reduced_line(frames, 2 * top - 2, pair, last, pairs - 1, across, BITS)
    c = _reduced_line(frames, 2 * top - 1, pair, last, pairs - 1, across, BITS)
    d = _reduced_line(frames, 2 * top, pair, last, pairs - 1, across, BITS)
    e = _reduced_line(frames, 2 * top + 1, pair, last, pairs - 1, across, BITS)
    f = _reduced_line(frames, 2 * top + 2, pair, last, pairs - 1, across, BITS)
    for line in range(top, tl.minimum(top + ROWS, lines)):
        g = _reduced_line(frames, 2 * line + 3, pair, last, pairs - 1, across, BITS)
        h = _reduced_line(frames, 2 * line + 4, pair, last, pairs - 1, across, BITS)
        red = _eight(down, a[0], b[0], c[0], d[0], e[0], f[0], g[0], h[0])
        green = _eight(down, a[1], b[1], c[1], d[1], e[1], f[1], g[1], h[1])
        blue = _eight(down, a[2], b[2], c[2], d[2], e[2], f[2], g[2], h[2])
        cb = _level(_row(matrix, 1, red, green, blue), peak) << shift
        cr = _level(_row(matrix, 2, red, green, blue), peak) << shift
        place = chroma + tl.cast(line, tl.int64) * chroma_pitch + pair
        tl.store(place, _joined(cb, cr, LEVELS + shift, word), mask=inside)
        _luma_line(frames, luma, 2 * line, luma_pitch, pair, pairs, inside, matrix, BITS, LEVELS)
        _luma_line(frames, luma, 2 * line + 1, luma_pitch, pair, pairs, inside, matrix, BITS, LEVELS)
        a = c
        b = d
        c = e
        d = f
        e = g
        f = h


def yuv420_to_rgb(
    luma: Tensor,
    chroma: Tensor,
    matrix: NDArray[np.float32],
    across: NDArray[np.float32],
    down: NDArray[np.float32],
    out: Tensor | None = None,
) -> Tensor:
    """NV12 (8 bits) or P010 and P016 (10 to 16 bits, in the upper bits of 16) to RGB.

    The work is put on the current stream of the planes' device and not waited for.

    Args:
        luma: (N, H, W) uint8 or uint16 on a CUDA device; H and W even; lines may be further apart than W.
        chroma: (N, H / 2, W / 2, 2), Cb and Cr, of the same type.
        matrix: (3, 4) float32 on the host: stored levels of Y, Cb, Cr and 1 to RGB 0..255 (0..65535 for uint16).
        across, down: from `vidrestore.kernels.sampling.upsampling_taps`, on the host.
        out: (N, H, W, 3), contiguous, of the planes' type: where the result goes. None: new frames.

    Returns:
        `out`: RGB, clipped and rounded.

    Raises:
        ValueError: shapes, types or devices other than these.
    """
    count, height, width = _check_planes(luma, chroma)
    if out is None:
        out = torch.empty((count, height, width, 3), dtype=luma.dtype, device=luma.device)
    _check_frames(out, luma, (luma.dtype,))
    check_place(luma, chroma, out)
    if not luma.numel():
        return out
    luma_words, chroma_words, words = _words(luma), _words(chroma), _words(out.view(count, height, -1))
    with torch.cuda.device_of(luma):
        _to_rgb[(triton.cdiv(width // 2, BLOCK), triton.cdiv(height // 2, ROWS), count)](
            luma_words, chroma_words, words, luma_words.stride(1), luma_words.stride(0), chroma_words.stride(1),
            chroma_words.stride(0), height // 2, width // 2, _numbers(matrix, 12), _numbers(across, 10), _numbers(down, 10),
            BITS=8 * luma.element_size(), BLOCK=BLOCK, ROWS=ROWS, num_warps=WARPS, **OPTIONS,
        )  # fmt: skip
    return out


def rgb_to_yuv420(
    frames: Tensor,
    matrix: NDArray[np.float32],
    across: NDArray[np.float32],
    down: NDArray[np.float32],
    luma: Tensor,
    chroma: Tensor,
    bits: int = 8,
) -> None:
    """RGB to NV12 (8 bits) or P010 and P016 (10 to 16 bits, in the upper bits of 16).

    The work is put on the current stream of the frames' device and not waited for.

    Args:
        frames: (N, H, W, 3) uint8 or uint16 on a CUDA device; H and W even.
        matrix: (3, 4) float32 on the host: RGB 0..65535 (white) and 1 to levels of Y, Cb, Cr, 0..2^bits - 1.
        across, down: from `vidrestore.kernels.sampling.reducing_taps`, on the host.
        luma: (N, H, W), written to: uint8 for 8 bits, else uint16; lines may be further apart than W.
        chroma: (N, H / 2, W / 2, 2), Cb and Cr, of the same type; written to.
        bits: of the planes' levels.

    Raises:
        ValueError: shapes, types or devices other than these.
    """
    count, height, width = _check_planes(luma, chroma)
    if (bits != 8 and not 8 < bits <= 16) or (bits == 8) != (luma.dtype == torch.uint8):
        raise ValueError(f"planes of {bits} bits are not {luma.dtype}: 8 bits are uint8, 9 to 16 are uint16")
    _check_frames(frames, luma, (torch.uint8, torch.uint16))
    check_place(frames, luma, chroma)
    if not luma.numel():
        return
    if frames.dtype == torch.uint8:
        matrix = matrix.copy()
        matrix[:, :3] *= 257
    words, luma_words, chroma_words = _words(frames.view(count, height, -1)), _words(luma), _words(chroma)
    with torch.cuda.device_of(frames):
        _from_rgb[(triton.cdiv(width // 2, BLOCK), triton.cdiv(height // 2, ROWS), count)](
            words, luma_words, chroma_words, luma_words.stride(1), luma_words.stride(0), chroma_words.stride(1),
            chroma_words.stride(0), height // 2, width // 2, _numbers(matrix, 12), _numbers(across, 8), _numbers(down, 8),
            BITS=8 * frames.element_size(), LEVELS=bits, BLOCK=BLOCK, ROWS=ROWS, num_warps=WARPS, **OPTIONS,
        )  # fmt: skip


def _check_planes(luma: Tensor, chroma: Tensor) -> tuple[int, int, int]:
    """N, H, W."""
    if luma.ndim != 3 or luma.dtype not in (torch.uint8, torch.uint16):
        raise ValueError(f"luma is (N, H, W) uint8 or uint16, not {tuple(luma.shape)} {luma.dtype}")
    count, height, width = luma.shape
    if height % 2 or width % 2:
        raise ValueError(f"4:2:0 pictures of {width} x {height} are not for this kernel: both sides must be even")
    if chroma.shape != (count, height // 2, width // 2, 2) or chroma.dtype != luma.dtype:
        wanted = (count, height // 2, width // 2, 2)
        raise ValueError(f"chroma is {wanted} {luma.dtype} beside this luma, not {tuple(chroma.shape)} {chroma.dtype}")
    return count, height, width


def _check_frames(frames: Tensor, luma: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    if frames.shape != (*luma.shape, 3) or frames.dtype not in dtypes or not frames.is_contiguous():
        wanted = f"contiguous {(*luma.shape, 3)} {' or '.join(map(str, dtypes))}"
        raise ValueError(f"the frames are {wanted} beside this luma, not {tuple(frames.shape)} {frames.dtype}")


def _words(samples: Tensor) -> Tensor:
    """The same memory with two samples as one number: (N, H, W) or (N, H, W, 2) -> (N, H, words)."""
    wide = torch.int16 if samples.element_size() == 1 else torch.int32
    try:
        words = samples.view(wide)
        aligned = words.data_ptr() % words.element_size() == 0 and (samples.ndim == 3 or words.stride(2) == 1)
    except RuntimeError:
        aligned = False
    if not aligned:
        raise ValueError(
            f"samples of shape {tuple(samples.shape)}, strides {samples.stride()}, do not lie in memory by twos: "
            "lines are without gaps and begin at an even sample"
        )
    return words.squeeze(3) if samples.ndim == 4 else words


def _numbers(values: NDArray[np.float32], count: int) -> tuple[float, ...]:
    if values.size != count:
        raise ValueError(f"{count} numbers are wanted where there are {values.shape}")
    return tuple(map(float, values.reshape(-1)))
