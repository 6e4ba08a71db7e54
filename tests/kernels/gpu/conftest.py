"""Triton's compiler for GPUs that need not be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Compiles a kernel for a GPU: `compiled(kernel, types, constants, warps, capability)` gives its parts (`cubin`, `ptx`, ...).

    types: Triton's names for the arguments' types; what is not named is int32. capability: 89 is that of an RTX 40.
    """
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def run(
        kernel: Any, types: Mapping[str, str | tuple[str, ...]], constants: Mapping[str, Any], warps: int, capability: int
    ) -> dict[str, Any]:
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        from vidrestore.kernels.gpu import OPTIONS

        signature = {name: types.get(name, "i32") for name in kernel.arg_names} | dict.fromkeys(constants, "constexpr")
        source = ASTSource(kernel, signature=signature, constexprs=dict(constants))
        parts: dict[str, Any] = triton.compile(
            source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps, **OPTIONS}
        ).asm
        return parts

    return run
