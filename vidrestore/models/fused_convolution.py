"""Convolutions for inference on a CPU: weights laid out once, the sum and the ReLU done while the result is in registers.

oneDNN does this inside torch (`torch.ops.mkldnn`, what torch.compile emits too); where a torch build lacks it, plain
operators give the same result in more passes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["FusedConvolution"]


def _has_onednn(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16):
        return False
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise_")):
        return False
    return weight.dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class FusedConvolution:
    """A convolution of stride 1 whose weights do not change any more.

    Args:
        weight: (out, in, k, k), any float type.
        bias: (out,), or None.
        dtype: what it runs in.
        padding: zeros (above and below, left and right).
        typical: (height, width) of what it will mostly see: oneDNN picks the layout of the weights for it.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        padding: tuple[int, int] = (0, 0),
        typical: tuple[int, int] = (64, 1280),
    ) -> None:
        self.weight = weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.padding = list(padding)
        self._onednn = _has_onednn(self.weight)
        if self._onednn:
            size = [1, weight.shape[1], *typical]
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(self.weight, self.padding, [1, 1], [1, 1], 1, size)

    def __call__(self, x: Tensor, relu: bool = False) -> Tensor:
        """(N, in, H, W) -> (N, out, H', W'), channels_last."""
        if self._onednn:
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, self.padding, [1, 1], [1, 1], 1, "relu" if relu else "none", [], ""
            )
        result = F.conv2d(x, self.weight, self.bias, padding=self.padding)
        return result.relu_() if relu else result

    def add_to(self, total: Tensor, x: Tensor, relu: bool = False) -> Tensor:
        """Add the convolution of `x` to `total` in place (then ReLU), and return `total`.

        `total` is rounded once: oneDNN adds before it leaves float32.

        Raises:
            ValueError: `total` is not channels_last without gaps, and could not be written in place.
        """
        if not total.is_contiguous(memory_format=torch.channels_last):
            raise ValueError("only what is channels_last without gaps can be added to in place")
        if self._onednn:
            return torch.ops.mkldnn._convolution_pointwise_(
                total, x, self.weight, self.bias, self.padding, [1, 1], [1, 1], 1, "add", 1.0, "relu" if relu else None, [], ""
            )
        total.add_(F.conv2d(x, self.weight, self.bias, padding=self.padding))
        return total.relu_() if relu else total
