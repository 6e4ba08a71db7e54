"""NV12 and P010 to RGB and back on a GPU, held to the CPU's pass, to what reads other formats, and to exact numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vidrestore.kernels import yuv as cpu
from vidrestore.kernels.sampling import reducing_taps, upsampling_taps
from vidrestore.media import convert, matrices
from vidrestore.media.convert import FromRGB, ToRGB
from vidrestore.types import ColorSpec, StreamInfo

gpu = pytest.importorskip("vidrestore.kernels.gpu.yuv", reason="Triton is not installed", exc_type=ImportError)

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
SITINGS = [(True, True), (False, True), (False, False)]
"""Centre, left, top left: whether chroma lies between two pixels across and down."""
CAPABILITIES = (86, 89, 90, 120)


def soft_picture(height: int, width: int, depth: int = 8, seed: int = 3) -> NDArray:
    """Soft and hard edges: (H, W, 3), of 8 bits or full scale of 16."""
    small = np.random.default_rng(seed).integers(20, 236, (height // 6 + 2, width // 6 + 2, 3)).astype(np.float32)
    wide = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return wide.astype(np.uint8) if depth == 8 else (wide * 257).astype(np.uint16)


def any_planes(height: int, width: int, dtype: type = np.uint8, step: int = 1) -> tuple[NDArray, NDArray]:
    """Levels of luma (H, W) and chroma (H / 2, W / 2, 2) that no picture has, all of them multiples of `step`."""
    random = np.random.default_rng(height * width)
    top = (np.iinfo(dtype).max + 1) // step
    sizes = (height, width), (height // 2, width // 2, 2)
    luma, chroma = ((random.integers(0, top, size) * step).astype(dtype) for size in sizes)
    return luma, chroma


def eight_bit_matrix(full_range: bool = False) -> NDArray[np.float32]:
    matrix = matrices.to_rgb_matrix("bt709", full_range, 8) * np.float32(1 / 257)
    matrix[:, :3] *= 256
    return matrix


def on(device: str, *arrays: NDArray) -> list[torch.Tensor]:
    return [torch.from_numpy(array)[None].to(device) for array in arrays]


def rgb_by_cpu(luma: NDArray, chroma: NDArray, matrix: NDArray, across: NDArray, down: NDArray) -> NDArray:
    out = np.empty((*luma.shape, 3), np.uint8)
    cb, cr = (np.ascontiguousarray(chroma[..., place]) for place in (0, 1))
    cpu.yuv420_to_rgb(luma, cb, cr, matrix, across, down, out)
    return out


def planes_by_cpu(picture: NDArray, matrix: NDArray, across: NDArray, down: NDArray) -> tuple[NDArray, NDArray]:
    height, width = picture.shape[:2]
    luma, cb, cr = (np.empty((height // part, width // part), np.uint8) for part in (1, 2, 2))
    cpu.rgb_to_yuv420(picture, 257 if picture.dtype == np.uint8 else 1, matrix, across, down, luma, cb, cr)
    return luma, np.stack([cb, cr], axis=2)


def exact_rgb(luma: NDArray, chroma: NDArray, matrix: NDArray, across: NDArray, down: NDArray) -> NDArray:
    """What P010 is in RGB, in double precision and not rounded: chroma by the filter, then the matrix."""
    full = chroma.astype(float)
    for axis, taps in ((0, down.astype(float)), (1, across.astype(float))):
        count = full.shape[axis]
        around = np.clip(np.arange(count)[:, None] + np.arange(-2, 3), 0, count - 1)
        lines = np.moveaxis(full, axis, 0)
        both = np.stack([np.einsum("t,it...->i...", taps[phase], lines[around]) for phase in (0, 1)], axis=1)
        full = np.moveaxis(both.reshape(2 * count, *lines.shape[1:]), 0, axis)
    samples = np.dstack([luma.astype(float), full.clip(0, 65535), np.ones(luma.shape)])
    return np.clip(samples @ matrix.astype(float).T, 0, 65535)


def exact_planes(picture: NDArray, matrix: NDArray, across: NDArray, down: NDArray) -> tuple[NDArray, NDArray]:
    """Levels of luma and chroma, in double precision and not rounded."""
    full = np.dstack([picture.astype(float), np.ones(picture.shape[:2])]) @ matrix.astype(float).T
    chroma = full[..., 1:]
    for axis, taps in ((1, across.astype(float)), (0, down.astype(float))):
        count = chroma.shape[axis] // 2
        around = np.clip(2 * np.arange(count)[:, None] + np.arange(-3, 5), 0, 2 * count - 1)
        chroma = np.moveaxis(np.einsum("t,it...->i...", taps, np.moveaxis(chroma, axis, 0)[around]), 0, axis)
    return full[..., 0], chroma


def most(result: NDArray, expected: NDArray) -> tuple[int, float]:
    """The largest difference and the share of samples that differ."""
    difference = np.abs(result.astype(int) - expected)
    return int(difference.max()), float(np.mean(difference > 0))


@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("size", [(2, 2), (4, 10), (2 * gpu.ROWS + 4, 12), (2, 2 * gpu.BLOCK + 4)])
def test_interpreted_nv12_to_rgb_is_the_cpus(siting: tuple[bool, bool], size: tuple[int, int], interpreted: Any) -> None:
    """Levels of every kind: chroma that overshoots, colours that RGB cannot hold."""
    taps = [upsampling_taps(centred) for centred in siting]
    luma, chroma = any_planes(*size)
    result = interpreted(gpu.yuv420_to_rgb, *on("cpu", luma, chroma), eight_bit_matrix(), *taps)[0].numpy()
    largest, share = most(result, rgb_by_cpu(luma, chroma, eight_bit_matrix(), *taps))
    assert largest <= 1 and share < 0.01


@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("size", [(2, 2), (4, 10), (2 * gpu.ROWS + 4, 12), (2, 2 * gpu.BLOCK + 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_interpreted_rgb_to_nv12_is_the_cpus(
    siting: tuple[bool, bool], size: tuple[int, int], dtype: type, interpreted: Any
) -> None:
    taps = [reducing_taps(centred) for centred in siting]
    matrix = matrices.from_rgb_matrix("bt601", False, 8, 0)
    picture = np.random.default_rng(4).integers(0, np.iinfo(dtype).max + 1, (*size, 3)).astype(dtype)
    luma, chroma = planes_by_cpu(picture, matrix, *taps)
    written = interpreted(_planes_of, *on("cpu", picture), matrix, taps, 8)
    for result, expected in zip(written, (luma, chroma), strict=True):
        largest, share = most(result[0].numpy(), expected)
        assert largest <= 1 and share < 0.01


def _planes_of(frames: torch.Tensor, matrix: NDArray, taps: list[NDArray], bits: int) -> list[torch.Tensor]:
    """What `rgb_to_yuv420` writes."""
    count, height, width = frames.shape[:3]
    dtype = torch.uint8 if bits == 8 else torch.uint16
    sizes = (count, height, width), (count, height // 2, width // 2, 2)
    planes = [torch.empty(size, dtype=dtype, device=frames.device) for size in sizes]
    gpu.rgb_to_yuv420(frames, matrix, *taps, *planes, bits)
    return planes


@pytest.mark.parametrize("siting", SITINGS)
def test_interpreted_p010_is_exact(siting: tuple[bool, bool], interpreted: Any) -> None:
    """To half a level of 16 bits, and half a level of 10 bits back."""
    taps = [upsampling_taps(centred) for centred in siting]
    luma, chroma = any_planes(8, 12, np.uint16, 64)
    matrix = matrices.to_rgb_matrix("bt2020", False, 10)
    result = interpreted(gpu.yuv420_to_rgb, *on("cpu", luma, chroma), matrix, *taps)[0].numpy()
    assert np.abs(result - exact_rgb(luma, chroma, matrix, *taps)).max() <= 0.55
    taps, matrix = [reducing_taps(centred) for centred in siting], matrices.from_rgb_matrix("bt2020", False, 10, 0)
    picture = soft_picture(8, 12, 16)
    written = interpreted(_planes_of, *on("cpu", picture), matrix, taps, 10)
    for plane, expected in zip(written, exact_planes(picture, matrix, *taps), strict=True):
        stored = plane[0].numpy()
        assert not (stored % 64).any(), "10 bits lie in the upper bits of 16"
        assert np.abs(stored / 64 - expected).max() <= 0.505


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("depth", [8, 10])
def test_interpreted_pictures_agree_with_what_reads_files(depth: int, full_range: bool, interpreted: Any) -> None:
    """Within one level of the depth; RGB of 10 bits at the border, where swscale goes its own way, within 1/255."""
    color = ColorSpec(matrix="bt709", full_range=full_range, bit_depth=depth)
    height, width = 36, 64
    picture = soft_picture(height, width, depth)
    name, dtype = ("yuv420p", np.uint8) if depth == 8 else ("yuv420p10le", np.uint16)
    frame = FromRGB(width, height, name, color)(picture)
    step = 1 if depth == 8 else 64
    read = [convert._samples(plane, depth).astype(int) * step for plane in frame.planes[:3]]
    luma, chroma = read[0].astype(dtype), np.stack(read[1:], axis=2).astype(dtype)
    matrix = eight_bit_matrix(full_range) if depth == 8 else matrices.to_rgb_matrix("bt709", full_range, depth)
    result = interpreted(gpu.yuv420_to_rgb, *on("cpu", luma, chroma), matrix, *[upsampling_taps(True)] * 2)[0].numpy()
    info = StreamInfo(width, height, Fraction(1, 25), color, name)
    expected = ToRGB(info)(frame)[0]
    assert most(result[4:-4, 4:-4], expected[4:-4, 4:-4])[0] <= step
    assert most(result, expected)[0] <= (1 if depth == 8 else 257)
    matrix = matrices.from_rgb_matrix("bt709", full_range, depth, 0)
    written = interpreted(_planes_of, *on("cpu", picture), matrix, [reducing_taps(True)] * 2, depth)
    for plane, expected in zip(written, (luma, chroma), strict=True):
        assert most(plane[0].numpy(), expected)[0] <= step


def test_interpreted_batches_and_lines_further_apart(interpreted: Any) -> None:
    """A decoder's surface: chroma under luma in one allocation, lines 32 bytes apart; frames follow each other."""
    frames = [any_planes(6, 10, step=step) for step in (1, 3)]
    surface = torch.full((2, 9, 32), 77, dtype=torch.uint8)
    for target, (luma, chroma) in zip(surface, frames, strict=True):
        target[:6, :10], target[6:, :10] = torch.from_numpy(luma), torch.from_numpy(chroma.reshape(3, 10))
    planes = surface[:, :6, :10], surface[:, 6:, :10].unflatten(2, (5, 2))
    taps = [upsampling_taps(True)] * 2
    result = interpreted(gpu.yuv420_to_rgb, *planes, eight_bit_matrix(), *taps)
    for one, (luma, chroma) in zip(result, frames, strict=True):
        assert most(one.numpy(), rgb_by_cpu(luma, chroma, eight_bit_matrix(), *taps))[0] <= 1


def test_interpreted_what_lies_between_lines_is_left_alone(interpreted: Any) -> None:
    picture = soft_picture(6, 10)
    matrix, taps = matrices.from_rgb_matrix("bt709", False, 8, 0), [reducing_taps(True)] * 2
    surface = interpreted(_surface_of, *on("cpu", picture), matrix, taps)
    luma, chroma = planes_by_cpu(picture, matrix, *taps)
    assert most(surface[0, :6, :10].numpy(), luma)[0] <= 1
    assert most(surface[0, 6:, :10].numpy(), chroma.reshape(3, 10))[0] <= 1
    assert (surface[..., 10:] == 77).all()


def _surface_of(frames: torch.Tensor, matrix: NDArray, taps: list[NDArray]) -> torch.Tensor:
    surface = torch.full((len(frames), 9, 32), 77, dtype=torch.uint8)
    gpu.rgb_to_yuv420(frames, matrix, *taps, surface[:, :6, :10], surface[:, 6:, :10].unflatten(2, (5, 2)))
    return surface


@pytest.mark.parametrize(("bits", "capability"), [(8, CAPABILITIES[0]), (10, CAPABILITIES[-1])])
def test_they_compile(bits: int, capability: int, compiled: Any) -> None:
    """For the oldest and the newest GPU: compiling takes seconds."""
    word = "*i16" if bits == 8 else "*i32"
    sizes = {"BLOCK": gpu.BLOCK, "ROWS": gpu.ROWS}
    types: dict[str, Any] = {"luma": word, "chroma": word, "out": word, "frames": word, "matrix": ("fp32",) * 12}
    stored = 8 if bits == 8 else 16
    for kernel, count, constants in ((gpu._to_rgb, 10, {"BITS": stored}), (gpu._from_rgb, 8, {"BITS": stored, "LEVELS": bits})):
        types |= {"across": ("fp32",) * count, "down": ("fp32",) * count}
        parts = compiled(kernel, types, constants | sizes, gpu.WARPS, capability)
        assert len(parts["cubin"]) > 10_000 and ".local" not in parts["ptx"]


@needs_gpu
@pytest.mark.parametrize("siting", SITINGS)
def test_on_a_gpu_it_is_the_cpus(siting: tuple[bool, bool], interpreted: Any) -> None:
    """And bit for bit the interpreter's, which the other tests know."""
    up, down = ([taps(centred) for centred in siting] for taps in (upsampling_taps, reducing_taps))
    luma, chroma = any_planes(214, 538)
    result = gpu.yuv420_to_rgb(*on("cuda", luma, chroma), eight_bit_matrix(), *up)[0].cpu().numpy()
    largest, share = most(result, rgb_by_cpu(luma, chroma, eight_bit_matrix(), *up))
    assert largest <= 1 and share < 0.01
    matrix, picture = matrices.from_rgb_matrix("bt709", False, 8, 0), soft_picture(214, 538)
    for plane, expected in zip(
        _planes_of(*on("cuda", picture), matrix, down, 8), planes_by_cpu(picture, matrix, *down), strict=True
    ):
        assert most(plane[0].cpu().numpy(), expected)[0] <= 1
    luma, chroma = any_planes(6, 14, np.uint16, 64)
    deep = matrices.to_rgb_matrix("bt2020", False, 10)
    result = gpu.yuv420_to_rgb(*on("cuda", luma, chroma), deep, *up).cpu()
    assert torch.equal(result, interpreted(gpu.yuv420_to_rgb, *on("cpu", luma, chroma), deep, *up))


def test_what_does_not_fit_is_refused(interpreted: Any) -> None:
    luma, chroma = on("cpu", *any_planes(4, 6))
    matrix, up, down = eight_bit_matrix(), [upsampling_taps(True)] * 2, [reducing_taps(True)] * 2
    frames = torch.empty((1, 4, 6, 3), dtype=torch.uint8)
    with pytest.raises(ValueError, match="both sides must be even"):
        gpu.yuv420_to_rgb(luma[:, :3], chroma, matrix, *up)
    with pytest.raises(ValueError, match="chroma is"):
        gpu.yuv420_to_rgb(luma, chroma[:, :1], matrix, *up)
    with pytest.raises(ValueError, match="luma is"):
        gpu.yuv420_to_rgb(luma.float(), chroma, matrix, *up)
    with pytest.raises(ValueError, match="the frames are"):
        gpu.yuv420_to_rgb(luma, chroma, matrix, *up, frames[:, :2])
    with pytest.raises(ValueError, match="CUDA device, not on cpu"):
        gpu.yuv420_to_rgb(luma, chroma, matrix, *up)
    with pytest.raises(ValueError, match="planes of 10 bits"):
        gpu.rgb_to_yuv420(frames, matrix, *down, luma, chroma, 10)
    with pytest.raises(ValueError, match="10 numbers are wanted"):
        interpreted(gpu.yuv420_to_rgb, luma, chroma, matrix, *down)
    odd = torch.empty((1, 4, 7), dtype=torch.uint8)[..., 1:]
    with pytest.raises(ValueError, match="by twos"):
        interpreted(gpu.yuv420_to_rgb, odd, chroma, matrix, *up)


def test_a_stream_of_nv12_has_these_planes() -> None:
    """The layout that the tests above take for granted is FFmpeg's."""
    frame = av.VideoFrame(16, 8, "nv12")
    assert [(plane.width, plane.height) for plane in frame.planes] == [(16, 8), (8, 4)]
