"""The torch runtime: networks on the CPU (bf16 where it is native) or a CUDA GPU (fp16, small ones as CUDA graphs)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from vidrestore.errors import RuntimeUnavailableError
from vidrestore.runtimes.base import Runtime
from vidrestore.runtimes.graphed import CudaRecorder, Graphed

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
        self._on_gpu = device.startswith("cuda")
        self._kind: type[PixelMaps]  # known once a network has said maps
        self._maps = Graphed(self._fields, CudaRecorder()) if self._on_gpu else None

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
        if self._on_gpu:
            with _exact():
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
        if self._maps is None:
            if len(thumbnail) == 1:
                return cast("MapNetwork", self.network).maps(thumbnail)
            each = [self._fields(one) for one in thumbnail.split(1)]  # on a CPU, as `run`
            return self._kind(*(None if values[0] is None else torch.cat(values) for values in zip(*each, strict=True)))
        with _exact():
            values = self._maps(thumbnail.contiguous(memory_format=torch.channels_last))
        return self._kind(*values)

    @torch.inference_mode()
    def residual(self, levels: Tensor) -> Tensor:
        with _exact() if self._on_gpu else nullcontext():
            return cast("PlainNetwork", self.network).residual(levels)

    def describe(self) -> str:
        if self._maps is None:
            return self.name
        return f"{self.name}, {'CUDA graphs' if self._maps.refusal is None else f'no CUDA graphs ({self._maps.refusal})'}"

    @property
    def notices(self) -> tuple[str, ...]:
        if self._maps is None or self._maps.refusal is None:
            return ()
        return (f"Networks run without CUDA graphs, which is slower and changes no picture: {self._maps.refusal}.",)

    def give_back(self) -> None:
        if self._maps is not None:
            self._maps.forget()

    def close(self) -> None:
        self.give_back()
        super().close()

    def _fields(self, thumbnail: Tensor) -> tuple[Tensor | None, ...]:
        maps = cast("MapNetwork", self.network).maps(thumbnail)
        self._kind = type(maps)
        return tuple(getattr(maps, field.name) for field in fields(maps))


@contextmanager
def _exact() -> Iterator[None]:
    """Layers in fp32 are computed in fp32 and not in TF32, whose 10 bits are fp16's; and the same algorithm each time."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
