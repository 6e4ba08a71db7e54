"""RDN rewritten for a CPU: the same weights and, up to rounding, the same picture, at the speed of matrix products.

Four changes, each an identity in exact arithmetic (docs/adr/0025-*):

1. A vector register holds 16 float32 sums, and a growth of 24 fills one and a half. Layers are computed in pairs: the sources
   that both see give 48 sums at once; then the first of the pair is added to the second.
2. Nothing is concatenated layer by layer: a convolution of a concatenation is the sum of its parts' convolutions.
3. Bands of rows, with as many rows around as the layers reach, stay in the caches and are freed into memory that is at hand.
4. No nonlinearity lies between the transposed convolution and the last one: together they are one 3x3 convolution to the
   scale**2 phases of the output. The outermost output pixels, where the last convolution pads, are computed as they stand.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrestore.models.base import RestorationNetwork, Whole
from vidrestore.models.fused_convolution import FusedConvolution

if TYPE_CHECKING:
    from vidrestore.models.rdn import RDN, ResidualDenseBlock, _Core

__all__ = ["PreparedRDN", "phases_of"]

BAND_PIXELS = 65536
"""Pixels of a band: about 40 MB of activations in bf16. Measured on a Zen 5 with 32 MiB of L3."""
LANES = 16
"""float32 sums in an AVX-512 register."""


def bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of bands of about equal size."""
    count = max(1, round(height * width / BAND_PIXELS))
    rows = -(-height // count)
    for top in range(0, height, rows):
        yield top, min(height, top + rows)


def _blank_outside(x: Tensor, top: int, height: int) -> Tensor:
    """Zero the rows of `x` that lie outside of a frame of `height` rows, as padding would; `top`: where its first row lies."""
    if top < 0:
        x[:, :, :-top].zero_()
    if top + x.shape[2] > height:
        x[:, :, height - top :].zero_()
    return x


def _inner(x: Tensor, rows: int) -> Tensor:
    """Without `rows` rows above and below: a view without gaps."""
    return x[:, :, rows : x.shape[2] - rows]


def phases_of(core: _Core, scale: int) -> tuple[Tensor, Tensor] | None:
    """The upsampling and the last convolution as one 3x3 convolution to 3 * scale**2 channels, as pixel shuffle orders them.

    Found by what the two make of an impulse in each channel, in float64.

    Returns:
        weight (3 * scale**2, features, 3, 3), bias (3 * scale**2,), float64; None where the two reach further than 3x3.
    """
    up, last = (
        copy.deepcopy(module).to(memory_format=torch.contiguous_format).double() for module in (core.upsampling, core.last)
    )
    features, size, centre = core.last.in_channels, 7, 3
    with torch.no_grad():
        impulses = torch.zeros(features, features, size, size, dtype=torch.float64)
        impulses[torch.arange(features), torch.arange(features), centre, centre] = 1.0
        blank = last(up(torch.zeros(1, features, size, size, dtype=torch.float64)))
        response = F.pixel_unshuffle(last(up(impulses)) - blank, scale)  # (features, 3 * scale**2, size, size)
    inner = response[:, :, centre - 1 : centre + 2, centre - 1 : centre + 2]
    if not torch.isclose(inner.square().sum(), response.square().sum(), rtol=1e-9):
        return None
    bias = F.pixel_unshuffle(blank, scale)[0, :, centre, centre]
    return inner.flip(2, 3).transpose(0, 1).contiguous(), bias


def _blocks(core: _Core) -> list[ResidualDenseBlock]:
    return cast("list[ResidualDenseBlock]", list(core.blocks))


def _layers(block: ResidualDenseBlock) -> list[nn.Conv2d]:
    return cast("list[nn.Conv2d]", list(block.layers))


class _Block:
    """A residual dense block over bands of rows."""

    def __init__(self, block: ResidualDenseBlock, features: int, growth: int, dtype: torch.dtype) -> None:
        self.growth = growth
        self.reach = len(block.layers)
        self.pairs: list[tuple[list[FusedConvolution], FusedConvolution]] = []
        layers = _layers(block)
        for first, second in zip(layers[::2], layers[1::2], strict=True):
            seen = first.in_channels
            both = torch.cat([first.weight, second.weight[:, :seen]])
            biases = torch.cat([cast(Tensor, first.bias), cast(Tensor, second.bias)])
            edges = [0, features, *range(features + 2 * growth, seen + 1, 2 * growth)]
            sources = [
                FusedConvolution(both[:, left:right], biases if left == 0 else None, dtype, (0, 1))
                for left, right in pairwise(edges)
            ]
            within = torch.cat([torch.zeros_like(second.weight[:, seen:]), second.weight[:, seen:]])
            self.pairs.append((sources, FusedConvolution(within, None, dtype, (0, 1))))
        self.fusion = FusedConvolution(block.fusion.weight, block.fusion.bias, dtype)

    def run(self, x: Tensor, output: Tensor, top: int, bottom: int, height: int) -> None:
        """Rows `top` to `bottom` of the frame. `x` and `output` have `reach` rows of zeros above and below the frame."""
        reach = self.reach
        band = x[:, :, top : bottom + 2 * reach]
        parts, margin = [(band, reach)], reach
        for sources, within in self.pairs:
            total: Tensor | None = None
            for convolution, (part, rows) in zip(sources, parts, strict=True):
                view = _inner(part, rows - margin)
                total = convolution(view) if total is None else convolution.add_to(total, view)
            assert total is not None
            first = F.relu(total[:, : self.growth]).contiguous(memory_format=torch.channels_last)
            _blank_outside(first, top - margin + 1, height)
            margin -= 2
            pair = within.add_to(_inner(total, 1), first, relu=True)
            parts.append((_blank_outside(pair, top - margin, height), margin))
        result = output[:, :, top + reach : bottom + reach]
        result.copy_(_inner(band, reach))
        self.fusion.add_to(result, torch.cat([_inner(part, rows) for part, rows in parts], dim=1))


class _PreparedCore:
    """What `_Core` computes, band by band. See the module."""

    def __init__(self, network: RDN, dtype: torch.dtype, weight: Tensor, bias: Tensor) -> None:
        core = network.core
        blocks = _blocks(core)
        features, growth = core.last.in_channels, _layers(blocks[0])[0].out_channels
        fusion1, fusion2 = cast("list[nn.Conv2d]", list(core.fusion))
        self.dtype, self.scale, self.features = dtype, network.scale, features
        self.blocks = [_Block(block, features, growth, dtype) for block in blocks]
        self.reach = self.blocks[0].reach
        self.shallow1 = FusedConvolution(core.shallow1.weight, core.shallow1.bias, dtype, (1, 1))
        self.shallow2 = FusedConvolution(core.shallow2.weight, core.shallow2.bias, dtype, (0, 1))
        self.fusion1 = FusedConvolution(fusion1.weight, fusion1.bias, dtype)
        self.fusion2 = FusedConvolution(fusion2.weight, fusion2.bias, dtype, (0, 1))
        self.phases = FusedConvolution(weight, bias, dtype, (0, 1))
        self.upsampling, self.last = core.upsampling, core.last

    def _rows(self, like: Tensor) -> Tensor:
        """Room for a frame's features, with `reach` rows of zeros above and below."""
        height, width = like.shape[-2:]
        room = torch.empty(1, height + 2 * self.reach, width, self.features, dtype=self.dtype).permute(0, 3, 1, 2)
        room[:, :, : self.reach].zero_()
        room[:, :, self.reach + height :].zero_()
        return room

    def bands(self, picture: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        """(top, bottom, the residual (1, 3, scale * (bottom - top), scale * W) of these rows), from (1, 3, H, W)."""
        reach, (height, width) = self.reach, picture.shape[-2:]
        first = self._rows(picture)
        frame = _inner(first, reach)
        for top, bottom in bands(height, width):
            above, below = min(1, top), min(1, height - bottom)
            rows = self.shallow1(picture[:, :, top - above : bottom + below])
            frame[:, :, top:bottom] = rows[:, :, above : above + bottom - top]
        outputs = [self._rows(picture)]
        for top, bottom in bands(height, width):
            outputs[0][:, :, top + reach : bottom + reach] = self.shallow2(first[:, :, top + reach - 1 : bottom + reach + 1])
        for block in self.blocks:
            outputs.append(self._rows(picture))
            for top, bottom in bands(height, width):
                block.run(outputs[-2], outputs[-1], top, bottom, height)
        del outputs[0]
        for top, bottom in bands(height, width):
            yield top, bottom, self._upsampled(outputs, first, top, bottom, height)

    def _upsampled(self, outputs: list[Tensor], first: Tensor, top: int, bottom: int, height: int) -> Tensor:
        around = slice(top + self.reach - 2, bottom + self.reach + 2)
        x = _blank_outside(self.fusion1(torch.cat([output[:, :, around] for output in outputs], dim=1)), top - 2, height)
        total = self.fusion2(x).add_(_inner(first[:, :, around], 1))
        _blank_outside(total, top - 1, height)
        residual = F.pixel_shuffle(self.phases(total), self.scale)
        inside = total[:, :, max(0, 1 - top) : min(total.shape[2], height - top + 1)]
        self._border(residual, inside, top, bottom, height)
        return residual

    def _border(self, residual: Tensor, x: Tensor, top: int, bottom: int, height: int) -> None:
        """The frame's outermost pixels, where the last convolution sees zeros; `x`: the band and a row around it in the frame."""

        def plain(part: Tensor) -> Tensor:
            return self.last(self.upsampling(part.contiguous(memory_format=torch.channels_last)))

        above, rows = min(1, top) * self.scale, (bottom - top) * self.scale
        residual[..., :1] = plain(x[..., :2])[:, :, above : above + rows, :1]
        residual[..., -1:] = plain(x[..., -2:])[:, :, above : above + rows, -1:]
        if top == 0:
            residual[:, :, :1] = plain(x[:, :, :2])[:, :, :1]
        if bottom == height:
            residual[:, :, -1:] = plain(x[:, :, -2:])[:, :, -1:]


class PreparedRDN(RestorationNetwork):
    """An RDN for inference on the CPU. It reads the network's weights once: later changes do not reach it.

    Args:
        network: weights in float32 or in `dtype`.
        dtype: bfloat16 or float32.
    """

    def __init__(self, network: RDN, dtype: torch.dtype, phases: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.scale, self.base, self.dtype = network.scale, network.base, dtype
        self.core = network.core.to(dtype)
        self._prepared = _PreparedCore(network, dtype, *phases)

    @staticmethod
    def of(network: RDN, dtype: torch.dtype) -> PreparedRDN | None:
        """`network` prepared; None where its shape gains nothing or is not covered."""
        core = network.core
        blocks = [_layers(block) for block in _blocks(core)]
        growths = {layer.out_channels for layers in blocks for layer in layers}
        if dtype not in (torch.float32, torch.bfloat16) or any(len(layers) % 2 for layers in blocks):
            return None
        if core.last.kernel_size != (3, 3) or any(growth % LANES == 0 or 2 * growth % LANES for growth in growths):
            return None
        phases = phases_of(core, network.scale)
        return None if phases is None else PreparedRDN(network, dtype, phases)

    def forward(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        outputs = [self._one(picture[index : index + 1]) for index in range(len(picture))]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _one(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        core = self._prepared
        output = torch.empty(1, 3, height * core.scale, width * core.scale)
        if self.base != "none":
            output = F.interpolate(picture.contiguous(), scale_factor=core.scale, mode=self.base, align_corners=False)
        source = picture.to(self.dtype).contiguous(memory_format=torch.channels_last)
        for top, bottom, residual in core.bands(source):
            rows = output[:, :, top * core.scale : bottom * core.scale]
            if self.base == "none":
                rows.copy_(residual)
            else:
                rows.add_(residual)
        return output
