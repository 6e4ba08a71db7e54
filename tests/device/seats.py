"""The seats that tests run over, each with what it needs."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

__all__ = ["GPU_SEATS", "needs_gpu"]

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
needs_pycuda = pytest.mark.skipif(find_spec("pycuda") is None, reason="needs PyCUDA")
GPU_SEATS = [pytest.param("torch", marks=needs_gpu), pytest.param("pycuda", marks=[needs_gpu, needs_pycuda])]
