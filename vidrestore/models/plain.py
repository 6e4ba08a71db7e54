"""Plain networks for super-resolution in real time: 3x3 convolutions in a row, nothing else, and a pixel shuffle.

After ECBSR: Zhang, Zeng, Zhang, "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices",
ACM MM 2021. What is trained has several branches a layer (section 3.2); they are linear, so each layer collapses
exactly into one 3x3 convolution (section 3.3), and that is all an engine folder holds.

Unlike the paper's, the branches are added up before the convolution rather than after it: the same function (but for
its border, where the paper pads each branch), at the training cost of one convolution a layer.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrestore.models.base import RestorationNetwork, Whole
from vidrestore.models.fused_convolution import FusedConvolution

__all__ = ["EdgeOrientedConvolution", "PlainNetwork"]

LEVELS = 255.0
"""The core sees pictures in steps of 8-bit video: these are whole numbers, which bf16 holds exactly."""

BAND_PIXELS = 600_000
"""Pixels that a prepared network works on at a time: up to 20 MB a layer in bf16, which a cache of 32 MiB mostly holds."""

_SOBEL = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
_LAPLACE = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


class EdgeOrientedConvolution(nn.Module):
    """One 3x3 convolution as the sum of six branches (section 3.2): (N, inputs, H, W) -> (N, outputs, H, W).

    The branches: 3x3; 1x1 to `expansion` times the outputs and then 3x3; 1x1 and then a scaled Sobel filter across,
    one down, or a Laplacian; and the input itself.

    Args:
        skip: with the last branch, for which inputs and outputs must be equally many.
    """

    edges: Tensor

    def __init__(self, inputs: int, outputs: int, expansion: int = 2, skip: bool = False) -> None:
        super().__init__()
        self.skip = skip
        self.plain = nn.Conv2d(inputs, outputs, 3, bias=False)
        self.squeeze = nn.Conv2d(inputs, expansion * outputs, 1, bias=False)
        self.widen = nn.Conv2d(expansion * outputs, outputs, 3, bias=False)
        self.mix = nn.ModuleList(nn.Conv2d(inputs, outputs, 1, bias=False) for _ in range(3))
        self.edge_scale = nn.Parameter(torch.randn(3, outputs) * 1e-3)
        self.bias = nn.Parameter(torch.zeros(outputs))  # those of all branches add up to one
        self.register_buffer("edges", torch.stack([_SOBEL, _SOBEL.T, _LAPLACE]), persistent=False)

    def collapsed(self) -> tuple[Tensor, Tensor]:
        """The weight (outputs, inputs, 3, 3) and bias (outputs) of the one convolution that all branches make, fp32."""
        with torch.autocast(self.bias.device.type, enabled=False):
            weight = self.plain.weight + torch.einsum("omyx,mi->oiyx", self.widen.weight, self.squeeze.weight[:, :, 0, 0])
            for mix, scale, edge in zip(self.mix, self.edge_scale, self.edges, strict=True):
                weight = weight + mix.get_parameter("weight") * (scale[:, None, None] * edge)[:, None]
            if self.skip:
                weight = weight + F.pad(torch.eye(len(weight), device=weight.device)[:, :, None, None], (1, 1, 1, 1))
            return weight, self.bias

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.collapsed()
        return F.conv2d(x, weight, bias, padding=1)


class _ContrastConvolution(EdgeOrientedConvolution):
    """The first layer: blind to brightness, its weights for each colour add up to 0, so that flat areas stay as they are.

    Args:
        fold: the `inputs` are 3 colours of fold x fold pixels each.
    """

    def __init__(self, outputs: int, fold: int) -> None:
        super().__init__(3 * fold**2, outputs)

    def collapsed(self) -> tuple[Tensor, Tensor]:
        weight, bias = super().collapsed()
        colours = weight.unflatten(1, (3, -1))
        return (colours - colours.mean((2, 3, 4), keepdim=True)).flatten(1, 2) / LEVELS, bias

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.collapsed()
        return F.conv2d(x, weight, bias)


class _Core(nn.Module):
    """(N, 3, H, W) in 0..255 -> the residual in 0..1, (N, 3 (scale fold)^2, H / fold, W / fold), see PlainNetwork.residual."""

    def __init__(self, channels: int, layers: int, scale: int, fold: int, branches: bool) -> None:
        super().__init__()
        self.fold = fold
        inputs, outputs = 3 * fold**2, 3 * (scale * fold) ** 2
        if not branches:
            widths = [inputs, *[channels] * (layers + 1), outputs]
            self.layers = nn.ModuleList(
                nn.Conv2d(*pair, 3, padding=int(index > 0)) for index, pair in enumerate(pairwise(widths))
            )
            return
        between = (EdgeOrientedConvolution(channels, channels, skip=True) for _ in range(layers))
        last = EdgeOrientedConvolution(channels, outputs)
        for parameter in last.parameters():  # it starts close to the bilinear enlargement
            parameter.data *= 0.1
        self.layers = nn.ModuleList([_ContrastConvolution(channels, fold), *between, last])

    def blocks_of(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3 fold^2, H / fold + 2, W / fold + 2): as the first convolution takes it."""
        # Only the picture itself is continued beyond its border: a black one would be an edge all around it.
        x = F.pad(x, (self.fold,) * 4, mode="replicate")
        if self.fold > 1:
            x = F.pixel_unshuffle(x, self.fold).contiguous(memory_format=torch.channels_last)
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks_of(x)
        for layer in self.layers[:-1]:
            x = F.relu_(layer(x))
        return self.layers[-1](x)


class PlainNetwork(RestorationNetwork):
    """`layers` 3x3 convolutions between one that reads the picture and one that writes the residual.

    Args:
        channels: of each convolution between.
        layers: how many there are between.
        scale: 2, 3 or 4.
        fold: the convolutions work on blocks of `fold` x `fold` pixels as channels: a quarter of the places for 2.
        branches: as it is trained, with edge-oriented convolutions; `deployed()` gives the network without.
    """

    core: _Core

    def __init__(self, channels: int = 16, layers: int = 6, scale: int = 2, fold: int = 1, branches: bool = False) -> None:
        super().__init__()
        self.scale = scale
        self.size_multiple = fold
        self.settings: dict[str, Any] = {"channels": channels, "layers": layers, "scale": scale, "fold": fold}
        self.core = _Core(channels, layers, scale, fold, branches)

    def residual(self, levels: Tensor) -> Tensor:
        """What is added to the bilinear enlargement, packed as the core computes it.

        Args:
            levels: (N, 3, H, W) in 0..255, integers or floats, sides multiples of `size_multiple`.

        Returns:
            (N, C, H / fold, W / fold) in the core's number format, 1 for white. With b = scale * fold, the C = 3 b^2
            channels are the b x b pixels of a block of the output, row by row, red, green and blue of each together.
        """
        return self.core(self.as_core(levels))

    def unpack(self, residual: Tensor) -> Tensor:
        """The packed residual as a picture: (N, C, h, w) -> (N, 3, b h, b w)."""
        count, _, height, width = residual.shape
        block = self.scale * self.size_multiple
        pixels = residual.reshape(count, block, block, 3, height, width).permute(0, 3, 4, 1, 5, 2)
        return pixels.reshape(count, 3, height * block, width * block)

    def forward(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        base = F.interpolate(picture, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return base + self.unpack(self.residual(picture * LEVELS)).float()

    def deployed(self) -> PlainNetwork:
        """The same function as plain convolutions; a network of its own."""
        plain = PlainNetwork(**self.settings)
        weights = self.core.state_dict()
        for index, layer in enumerate(self.core.layers):
            if isinstance(layer, EdgeOrientedConvolution):
                weights |= dict(zip((f"layers.{index}.weight", f"layers.{index}.bias"), layer.collapsed(), strict=True))
        plain.core.load_state_dict({name: weights[name].detach() for name in plain.core.state_dict()})
        return plain.train(self.training)

    def prepared(self, dtype: torch.dtype) -> PlainNetwork:
        return _Prepared(self, dtype) if dtype in (torch.float32, torch.bfloat16) else self


class _Prepared(PlainNetwork):
    """For inference on a CPU: ReLU within the convolution, large frames in bands of rows."""

    def __init__(self, network: PlainNetwork, dtype: torch.dtype) -> None:
        super().__init__(**network.settings)
        self.load_state_dict(network.deployed().state_dict())
        self.core.to(dtype)
        self._dtype = dtype
        self._reach = self.size_multiple * len(self.core.layers)
        self._layers = []
        for layer in self.core.layers:
            assert isinstance(layer, nn.Conv2d)
            pad = int(layer.padding[0])
            self._layers.append(FusedConvolution(layer.weight, layer.bias, dtype, (pad, pad), typical=(540, 960)))

    def residual(self, levels: Tensor) -> Tensor:
        if len(levels) == 1:
            return self._one(levels)  # without the copy that joining one would be
        return torch.cat([self._one(levels[index : index + 1]) for index in range(len(levels))])

    def _one(self, levels: Tensor) -> Tensor:
        height, width = levels.shape[-2:]
        fold = self.size_multiple
        rows = -(-height // -(-height * width // BAND_PIXELS))
        rows += -rows % fold
        if rows >= height:
            return self._band(levels)
        bands = []
        for top in range(0, height, rows):
            first, last = max(0, top - self._reach), min(height, top + rows + self._reach)
            # What a band's own border makes of it ends within the rows around that are left out here.
            inner = slice((top - first) // fold, (min(height, top + rows) - first) // fold)
            bands.append(self._band(levels[:, :, first:last])[:, :, inner])
        return torch.cat(bands, dim=2).contiguous(memory_format=torch.channels_last)

    def _band(self, levels: Tensor) -> Tensor:
        x = self.core.blocks_of(levels.to(self._dtype).contiguous(memory_format=torch.channels_last))
        for layer in self._layers[:-1]:
            x = layer(x, relu=True)
        return self._layers[-1](x)
