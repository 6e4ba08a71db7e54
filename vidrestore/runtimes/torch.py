"""The torch runtime: eager networks on the CPU (bf16 where it is native) or a CUDA GPU (fp16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from vidrestore.errors import RuntimeUnavailableError
from vidrestore.runtimes.base import Runtime

if TYPE_CHECKING:
    from vidrestore.models.base import RestorationNetwork, Whole
    from vidrestore.models.pixel_maps import MapNetwork, PixelMaps
    from vidrestore.models.plain import PlainNetwork

__all__ = ["TorchRuntime"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchRuntime(Runtime):
    """Runs the network's core in the device's fastest precision; what it predicts is applied in fp32.

    Args:
        network: on the CPU, in fp32; it is moved and converted in place. What runs is its `prepared` form on a CPU.
        device: `cpu`, `cuda` or `cuda:1`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
    """

    name = "torch"
    in_parts = True

    def __init__(self, network: RestorationNetwork, device: str, precision: str = "auto") -> None:
        super().__init__(network, device, precision)
        self.precision = self.native_precision(device) if precision == "auto" else precision
        if self.precision not in _DTYPES:
            raise RuntimeUnavailableError(f"The torch runtime has no precision {precision!r}.", "Use fp32, bf16 or fp16.")
        network.eval().to(device).to(memory_format=torch.channels_last)
        if device == "cpu":  # from the weights as they are, before they are rounded
            self.network = network.prepared(_DTYPES[self.precision])
        network.core.to(_DTYPES[self.precision])

    @classmethod
    def availability(cls, device: str) -> str | None:
        if device == "cpu":
            return None
        if not device.startswith("cuda"):
            return "it knows only cpu and cuda"
        return None if torch.cuda.is_available() else "torch sees no CUDA device"

    @classmethod
    def native_precision(cls, device: str) -> str:
        """fp16 on CUDA; on a CPU bf16 where it has AVX512-bf16 (3x the speed of fp32 there), else fp32."""
        if device.startswith("cuda"):
            return "fp16"
        return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"

    @torch.inference_mode()
    def run(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        if picture.is_cuda:
            return self.network(picture, thumbnail, whole)
        # On a CPU one picture at a time stays in the caches; and a batch's size cannot change its bits.
        outputs = [
            self.network(picture[index : index + 1], None if thumbnail is None else thumbnail[index : index + 1], whole)
            for index in range(len(picture))
        ]
        if len(outputs) == 1 and outputs[0].data_ptr() != picture.data_ptr():  # the identity gives the picture itself back
            return outputs[0]
        return torch.cat(outputs)

    @torch.inference_mode()
    def maps(self, thumbnail: Tensor) -> PixelMaps:
        return cast("MapNetwork", self.network).maps(thumbnail)

    @torch.inference_mode()
    def residual(self, levels: Tensor) -> Tensor:
        return cast("PlainNetwork", self.network).residual(levels)
