"""A convolution that is computed in fp32, whatever number format the network around it runs in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FullPrecisionConv2d"]


class FullPrecisionConv2d(nn.Conv2d):
    """`nn.Conv2d` whose weights are never rounded to fewer bits and whose result is float32.

    For the layer that says the maps: what it says makes a night's code values many times larger, and the last of bf16's 8 bits
    would show. It costs a few percent of a network's time.
    """

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> FullPrecisionConv2d:
        def kept(values: Tensor) -> Tensor:
            changed: Tensor = fn(values)
            return changed if changed.itemsize >= values.itemsize else values.to(changed.device)

        super()._apply(kept, recurse)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) of any float type -> (N, out, H', W') float32, in automatic mixed precision too."""
        kind = x.device.type
        # Operations are counted on torch's `meta` device, which knows no mixed precision.
        with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
            return super().forward(x.to(self.weight.dtype))
