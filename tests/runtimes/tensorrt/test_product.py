"""Which TensorRT is there: found, missing, broken; and what it builds for."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from tests.runtimes.tensorrt.small import needs_rtx
from vidrestore.errors import RuntimeUnavailableError, UsageError
from vidrestore.runtimes.tensorrt import product
from vidrestore.runtimes.tensorrt.product import PRODUCTS, availability, find_product, present_gpu, product_for, targets_of


def hide(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As if a product were not installed."""
    for module in PRODUCTS[name][1]:
        monkeypatch.setitem(sys.modules, module, None)


@needs_rtx
def test_rtx_is_found_with_its_version_and_what_it_builds_for() -> None:
    found = find_product("tensorrt_rtx")
    assert found.version == metadata.version("tensorrt-rtx-cu13-bindings")
    assert found.title == f"TensorRT-RTX {found.version}"
    assert {"SM86", "SM89", "SM120"} <= set(found.targets)
    assert list(found.targets) == sorted(found.targets, key=lambda target: int(target[2:]))
    assert availability("tensorrt_rtx") is None


def test_a_missing_one_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "tensorrt_rtx")
    assert availability("tensorrt_rtx") == "it is not installed"
    with pytest.raises(
        RuntimeUnavailableError, match=r"TensorRT-RTX cannot be used: it is not installed\. .*vidrestore\[tensorrt\]"
    ):
        find_product("tensorrt_rtx")
    with pytest.raises(RuntimeUnavailableError, match=r"vidrestore\[tensorrt\]"):
        product_for(("SM89",))


def test_bindings_whose_libraries_do_not_load_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_bindings.py").write_text('raise OSError("libnvinfer.so.10: cannot open shared object file")')
    (tmp_path / "needy_bindings.py").write_text("import package_that_is_nowhere")
    (tmp_path / "lean_bindings.py").write_text('__version__ = "10.0"')
    monkeypatch.syspath_prepend(tmp_path)
    for module, reason in {
        "broken_bindings": "broken_bindings does not load (libnvinfer.so.10: cannot open shared object file)",
        "needy_bindings": "needy_bindings needs package_that_is_nowhere, which is not installed",
        "lean_bindings": "lean_bindings has no builder",
    }.items():
        monkeypatch.setitem(PRODUCTS, "tensorrt", ("TensorRT", (module,)))
        assert availability("tensorrt") == reason


@pytest.mark.parametrize(
    ("text", "targets"),
    [("SM89", ("SM89",)), ("8.9", ("SM89",)), ("sm_120, 86,8.9,SM86", ("SM86", "SM89", "SM120")), ("12.0", ("SM120",))],
)
def test_compute_capabilities_are_read_as_people_write_them(text: str, targets: tuple[str, ...]) -> None:
    assert targets_of(text) == targets


@pytest.mark.parametrize("text", ["", "gpu", "SM", "SM8", "SM89,", "89.0.0", "RTX4090", "SM1234"])
def test_what_is_no_compute_capability_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no compute capability"):
        targets_of(text)


def test_without_any_it_is_the_gpu_that_is_there() -> None:
    if not torch.cuda.is_available():
        assert present_gpu() is None
        with pytest.raises(RuntimeUnavailableError, match="no GPU here"):
            targets_of(None)
        return
    gpu = present_gpu()
    assert gpu is not None and targets_of(None) == (gpu.target,)


@needs_rtx
def test_rtx_compiles_where_it_can_and_nothing_takes_its_place_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert product_for(("SM86", "SM120")).name == "tensorrt_rtx"
    monkeypatch.setattr(product, "present_gpu", lambda: None)
    with pytest.raises(UsageError, match=r"does not compile for SM90\. It compiles for SM75, "):
        product_for(("SM89", "SM90"))
    # The card of a data centre, which TensorRT-RTX does not know, where TensorRT is not installed.
    hide(monkeypatch, "tensorrt")
    monkeypatch.setattr(product, "present_gpu", lambda: product.Gpu("a GPU", "SM90"))
    with pytest.raises(RuntimeUnavailableError, match=r"does not compile for SM90.*TensorRT: it is not installed.*torch runtime"):
        product_for(("SM90",))
