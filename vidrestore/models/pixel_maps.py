"""What to do with every pixel of a frame, told by small maps: the reference in torch, which is also what a GPU runs.

A network that predicts such maps from a thumbnail (`MapNetwork`) never touches the full frame: its maps are read off
bilinearly at each pixel and applied there, so that detail is not thrown away, however small the network. `vidrestore.kernels`
does the same to integer frames in one pass on a CPU; both agree within one level of 255.

Flare is light that was added to the scene's, so it is subtracted in linear light. Day and night are affine transforms of
colour, as in HDRNet (Gharbi et al., "Deep Bilateral Learning for Real-Time Image Enhancement", SIGGRAPH 2017), of the
square root of the picture, which spreads the dark tones. A guided transform also depends on how bright the pixel is, so that
a branch and the sky behind it, which share a place of a small map, are not treated alike: HDRNet's grid has eight slices
along brightness; here two are mixed by a saturating curve (`guide_of`), whose bend the network puts where it is needed.

The noise that a brighter picture would show is taken out by a sigma filter (Lee, "Digital image smoothing and the sigma
filter", 1983) with soft weights: pixels further away in value than the threshold have no part in it, so that no edge above
the noise is smeared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vidrestore.models.base import RestorationNetwork, Whole, sample_map

__all__ = [
    "GAMMA",
    "GUIDED",
    "MapNetwork",
    "PixelMaps",
    "apply_maps",
    "grain_of",
    "guide_of",
    "sigma_filter",
    "spare_lights",
    "subtract_flare",
]

GAMMA = 2.2
"""Display gamma: light adds up, code values do not."""
KEPT = 0.08
"""Share of a pixel's light that is never taken away."""
TRUST = 0.5
"""Share of a pixel's light that must be left for its colour to be believed entirely."""
BURNED = 0.9
"""Mean code value above which a pixel counts as part of a light, fully at 1."""
GUIDED = 25
"""Channels of a guided affine map."""
LEAST_KNEE = 1e-3
LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class PixelMaps:
    """Maps of N frames. Each covers its frame whatever its size, with pixel centres at (i + 1/2) / length.

    Flare is applied first, then noise, then affine; None: nothing is done.
    """

    flare: Tensor | None = None
    """(N, 3, h, w) float32: stray light, code values 0..1."""
    affine: Tensor | None = None
    """(N, 12 or GUIDED, h, w) float32: the rows of a 3x4 matrix A, applied to the square root of the code values 0..1.
    Guided: the matrix is A + g B, with g from `guide_of`; the next 12 are the rows of B, the last is the knee, above 0."""
    noise: Tensor | None = None
    """(N, 1, h, w) float32, 0 or more: threshold of the sigma filter, in square roots of code values. Needs `affine`."""

    def of(self, frame: int) -> PixelMaps:
        """Those of one frame, N = 1, contiguous."""
        fields = (self.flare, self.affine, self.noise)
        return PixelMaps(*(None if values is None else values[frame : frame + 1].contiguous() for values in fields))


class MapNetwork(RestorationNetwork):
    """A network that looks at a thumbnail of the frame and predicts `PixelMaps`. `thumbnail_size` is not 0."""

    wants_grain: bool = False
    """Whether the thumbnail has a fourth channel: `grain_of` the full frame, averaged as the colours are."""

    def maps(self, thumbnail: Tensor) -> PixelMaps:
        """What to do with the frames that `thumbnail` (N, 3 or 4, h, w) float32 shows."""
        raise NotImplementedError

    def forward(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        if thumbnail is None:
            raise ValueError("this network needs the thumbnail of the whole frame")
        return apply_maps(picture, self.maps(thumbnail), whole)


def apply_maps(picture: Tensor, maps: PixelMaps, whole: Whole | None = None) -> Tensor:
    """Do what the maps say.

    Args:
        picture: (N, 3, H, W) float32, code values 0..1: frames or tiles of them.
        whole: where the tile lies; None: it is the whole frame.

    Returns:
        (N, 3, H, W) float32, not clipped.
    """
    if maps.flare is not None:
        picture = subtract_flare(picture, spare_lights(picture, sample_map(maps.flare, picture, whole)))
    if maps.affine is None:
        return picture
    root = picture.clamp(0, 1).sqrt()
    if maps.noise is not None:
        root = sigma_filter(root, sample_map(maps.noise, picture, whole))
    sampled = sample_map(maps.affine, picture, whole)
    rows = sampled[:, :12]
    if sampled.shape[1] == GUIDED:
        rows = rows + guide_of(root, sampled[:, 24:]) * sampled[:, 12:24]
    rows = rows.unflatten(1, (3, 4))
    return (rows[:, :, :3] * root.unsqueeze(1)).sum(dim=2) + rows[:, :, 3]


def guide_of(root: Tensor, knee: Tensor) -> Tensor:
    """How bright pixels count as, (N, 1, H, W) in 0..1: m / (m + knee), with m the mean of the channels.

    Args:
        root: (N, 3, H, W) float32, square roots of code values 0..1.
        knee: (N, 1, H, W) float32: the m that counts as half bright.
    """
    mean = root.mean(dim=1, keepdim=True)
    return mean / (mean + knee.clamp_min(LEAST_KNEE))


def spare_lights(picture: Tensor, flare: Tensor) -> Tensor:
    """The flare layer without what lies on burned-out pixels: a lamp is smaller than the layer can show, and it stays."""
    burned = ((picture.mean(dim=1, keepdim=True) - BURNED) / (1 - BURNED)).clamp(0, 1)
    return flare * (1 - burned.square() * (3 - 2 * burned))


def subtract_flare(picture: Tensor, flare: Tensor) -> Tensor:
    """Take the flare layer's light away from the picture's, in linear light; both (N, 3, H, W), code values.

    Where nearly all light is flare, what is left is a small difference of two large numbers: it turns black holes
    and coloured specks out of the layer's least error. So a little always stays (a soft floor of `KEPT`), and the
    less is left of a pixel's light, the greyer it becomes (below `TRUST`).
    """
    light = picture.clamp(0, 1).pow(GAMMA)
    scene, floor = light - flare.pow(GAMMA), KEPT * light
    soft = 0.5 * (scene + floor + ((scene - floor).square() + (0.5 * floor).square() + 1e-12).sqrt())
    scene = torch.minimum(soft, light)
    luminance = _luminance(scene)
    left = luminance / (_luminance(light) + 1e-6)
    scene = luminance + (left / TRUST).clamp(0, 1) * (scene - luminance)
    return scene.clamp_min(1e-5).pow(1 / GAMMA)


def _luminance(light: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, 1, H, W). Numbers, no tensor of weights: on a GPU, making one would wait for all work before it."""
    red, green, blue = light[:, 0:1], light[:, 1:2], light[:, 2:3]
    return LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue


def sigma_filter(root: Tensor, threshold: Tensor) -> Tensor:
    """Average each sample with those of its 8 neighbours that are closer in value than the threshold.

    Args:
        root: (N, 3, H, W) float32.
        threshold: (N, 1, H, W) float32; where it is 0 nothing changes.

    Returns:
        r + sum_k w_k (r_k - r) / (1 + sum_k w_k) with w_k = max(0, 1 - |r_k - r| / threshold), channel by channel, the
        border repeated.
    """
    height, width = root.shape[-2:]
    padded = F.pad(root, (1, 1, 1, 1), mode="replicate")
    scale = 1 / threshold.clamp_min(1e-6)
    change, weights = torch.zeros_like(root), torch.ones_like(root)
    for y in range(3):
        for x in range(3):
            if (y, x) != (1, 1):
                difference = padded[..., y : y + height, x : x + width] - root
                weight = (1 - difference.abs() * scale).clamp_min(0)
                change = change + weight * difference
                weights = weights + weight
    return root + change / weights


def grain_of(picture: Tensor) -> Tensor:
    """Noise and fine texture: (N, 3, H, W), code values 0..1 -> (N, 1, H, W), the mean over channels of |r - box3x3(r)|.

    r is the square root of the code values, in which the noise of a sensor is about as large in the dark as in the light.
    A thumbnail of the colours cannot show it, because it averages it away.
    """
    root = picture.clamp(0, 1).sqrt()
    smooth = F.avg_pool2d(F.pad(root, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (root - smooth).abs().mean(dim=1, keepdim=True)
