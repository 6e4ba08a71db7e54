"""`vidrestore engines build` and `engines cache`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.engine.small import make_baseline
from tests.runtimes.tensorrt.small import needs_rtx
from vidrestore.cli import cli
from vidrestore.runtimes.tensorrt import product
from vidrestore.runtimes.tensorrt.product import find_product


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where plans are kept; and engines of our own, one of them without fp16."""
    make_baseline(tmp_path / "engines", "plain", precisions=("fp32",))
    make_baseline(tmp_path / "engines", "half", precisions=("fp32", "fp16"))
    monkeypatch.setenv("VIDRESTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VIDRESTORE_ENGINES", str(tmp_path / "engines"))
    return tmp_path / "cache" / "plans"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["engines", *arguments], prog_name="vidrestore")


def refused(result: Result, code: int) -> str:
    """The one sentence of a command that did nothing."""
    assert result.exit_code == code, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("vidrestore: ") and not result.stdout
    return lines[0]


@needs_rtx
def test_build_list_clear(folder: Path) -> None:
    built = run("build", "plain", "--for", "SM89,8.6", "--json")
    assert built.exit_code == 0, built.output
    (plan,) = json.loads(built.stdout)
    assert plan["key"]["engines"] == ["plain"] and plan["key"]["targets"] == ["SM86", "SM89"] and not plan["reused"]
    assert plan["key"]["ranges"]["frames"] == [[1, 3, 64, 64], [4, 3, 720, 1280], [4, 3, 4096, 4096]]
    assert Path(plan["path"]).stat().st_size == plan["plan_bytes"] > 0

    again = run("build", "plain", "--for", "SM89")  # a part of what is there already
    assert again.exit_code == 0, again.output
    assert "before" in again.stdout and "1-4 of 64x64 to 4096x4096" in again.stdout
    assert find_product("tensorrt_rtx").title in again.stdout and str(folder) in again.stdout

    assert json.loads(run("cache", "list", "--json").stdout) == [{key: value for key, value in plan.items() if key != "reused"}]
    listed = run("cache", "list").stdout
    assert "SM86,SM89" in listed and f"1 in {folder}" in listed and "And 1 exported graph, " in listed

    told = run("cache", "clear").stdout
    assert told.startswith(f"Removed 1 compiled graph from {folder}: ")
    assert list(folder.iterdir()) == []
    assert run("cache", "list").stdout == f"There are no compiled engines in {folder}.\n"
    cleared = json.loads(run("cache", "clear", "--json").stdout)
    assert cleared == {"folder": str(folder), "plans": 0, "bytes": 0, "busy": 0}


@needs_rtx
def test_a_chain_for_one_size_and_a_damaged_plan_that_is_built_again(folder: Path) -> None:
    arguments = ("build", "--fused", "half, plain", "--for", "SM89", "--size", "96x64", "--batch", "2")
    built = run(*arguments)
    assert built.exit_code == 0, built.output
    assert "half + plain" in built.stdout and "whole, 96x64 only" in built.stdout and "1-2 of 96x64" in built.stdout
    assert "fp16, fp32" in built.stdout and built.stderr == ""
    (plan,) = folder.glob("*.plan")
    plan.write_bytes(b"x")
    mended = run(*arguments)
    assert mended.exit_code == 0, mended.output
    assert mended.stderr.startswith("Note: The plan of half + plain (whole, fp16, fp32, 96x64 only) is built again: ")
    assert plan.stat().st_size > 1


@needs_rtx
def test_what_cannot_be_built_is_told_in_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--fused flare,day" in refused(run("build"), 2)
    assert "--fused flare,day" in refused(run("build", "--fused", "plain,,half"), 2)
    assert "no engine 'nothing'" in refused(run("build", "nothing", "--for", "SM89"), 4)
    assert "'RTX4090' is no compute capability" in refused(run("build", "plain", "--for", "RTX4090"), 2)
    assert "plain does not allow fp16" in refused(run("build", "plain", "--for", "SM89", "--precision", "fp16"), 2)
    assert "cannot have the size 0x64" in refused(run("build", "plain", "--for", "SM89", "--size", "0x64"), 2)
    monkeypatch.setattr(product, "present_gpu", lambda: None)
    assert "no GPU here to build for. Say which" in refused(run("build", "plain"), 5)
    assert "does not compile for SM90" in refused(run("build", "plain", "--for", "SM90"), 2)
    assert not folder.exists()


def test_without_tensorrt_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _, modules in product.PRODUCTS.values():
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)
    assert "pip install 'vidrestore[tensorrt]'" in refused(run("build", "plain", "--for", "SM89"), 5)
    assert run("cache", "list").exit_code == run("cache", "clear").exit_code == 0  # these need none
