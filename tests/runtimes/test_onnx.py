"""Graphs are exported with the sizes that their ports leave open, as the same bytes each time, and say nothing of where."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vidrestore.errors import RuntimeUnavailableError
from vidrestore.runtimes.onnx import OPSET, Port, compare, export, run

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

ROOT = Path(__file__).resolve().parents[2]
PICTURES = Port("pictures", torch.uint8, ("count", 3, "height", "width"))
WEIGHT = Port("weight", torch.float32, (1,))
BRIGHTER = Port("brighter", torch.float32, ("count", 4, "height", "width"))
MEAN = Port("mean", torch.float32, ("count", 4))


class Brighter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, pictures: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        brighter = self.layer(pictures.float() / 255).relu() * weight
        return brighter, brighter.mean(dim=(2, 3))


class AnyNumber(Brighter):
    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(*tensors)


def examples(count: int = 2, height: int = 12, width: int = 20) -> list[Tensor]:
    noise = torch.randint(256, (count, 3, height, width), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    return [noise, torch.tensor([1.5])]


def exported(module: nn.Module, outputs: Sequence[Port] = (BRIGHTER, MEAN)) -> bytes:
    return export(module, (PICTURES, WEIGHT), outputs, examples())


@pytest.mark.parametrize("kind", [Brighter, AnyNumber])
def test_open_sizes_stay_open(kind: type[Brighter]) -> None:
    module = kind()
    model = exported(module)
    for size in ((2, 12, 20), (1, 31, 7)):
        differences = compare(model, module, (PICTURES, WEIGHT), (BRIGHTER, MEAN), examples(*size))
        assert differences.keys() == {"brighter", "mean"}
        assert max(differences.values()) < 1e-5


def test_a_difference_is_found() -> None:
    module = Brighter()
    model = exported(module)
    with torch.no_grad():
        assert module.layer.bias is not None
        module.layer.bias += 1
    assert compare(model, module, (PICTURES, WEIGHT), (BRIGHTER, MEAN), examples())["brighter"] == pytest.approx(1.5, abs=0.5)


def test_ports_are_named_as_they_were_given() -> None:
    read = onnx.load_from_string(exported(Brighter()))
    onnx.checker.check_model(read, full_check=True)

    def described(value: object) -> tuple[str, list[int | str]]:
        return value.name, [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]  # type: ignore[attr-defined]

    assert [described(value) for value in (*read.graph.input, *read.graph.output)] == [
        (port.name, list(port.dims)) for port in (PICTURES, WEIGHT, BRIGHTER, MEAN)
    ]
    assert [entry.version for entry in read.opset_import if entry.domain == ""] == [OPSET]


def test_integers_meet_a_cast_first() -> None:
    """TensorRT takes a uint8 input no other way."""
    nodes = onnx.load_from_string(exported(Brighter())).graph.node
    assert {node.op_type for node in nodes if "pictures" in node.input} <= {"Cast", "Shape"}
    assert any(node.op_type == "Cast" for node in nodes if "pictures" in node.input)


def test_the_bytes_are_the_same_in_another_process_and_folder(tmp_path: Path) -> None:
    """Of a chain of small networks of all kinds; and nothing in them says which file a node came from."""
    program = """
import hashlib, torch
from vidrestore.engine.graph import Chain
from vidrestore.models import build
torch.manual_seed(4)
small = {"widths": [4, 8], "thumbnail_size": 32}
kinds = {"fast-flare": small, "fast-translator": {**small, "guided": True}, "plain": {"channels": 4}}
networks = [build(architecture, settings) for architecture, settings in kinds.items()]
for network in networks:
    network.eval().core.half()
model = Chain(networks, mixes=True).graph("whole").export()
print(hashlib.sha256(model).hexdigest())
print(b".py" in model)
"""
    running = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed}
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = []
    for process in running:
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        said.append(out)
    assert said[0] == said[1]
    digest, names_a_file = said[0].split()
    assert len(digest) == 64 and names_a_file == "False"


def test_a_port_that_says_otherwise_than_the_module_is_refused() -> None:
    wrong = Port("mean", torch.float32, ("count", 5))
    with pytest.raises(ValueError, match="mean came out as"):
        exported(Brighter(), (BRIGHTER, wrong))


@pytest.mark.parametrize(
    "given",
    [[torch.zeros(2, 3, 12, 20), torch.ones(1)], [torch.zeros(2, 4, 12, 20, dtype=torch.uint8), torch.ones(1)]],
    ids=["type", "channels"],
)
def test_an_example_that_does_not_fit_its_port_is_refused(given: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="the example for pictures is"):
        export(Brighter(), (PICTURES, WEIGHT), (BRIGHTER, MEAN), given)


@pytest.mark.parametrize("part", ["onnx_ir", "onnxscript.optimizer", "onnxruntime"])
def test_a_missing_part_names_the_extra(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    model = b"" if part == "onnxruntime" else None
    monkeypatch.setitem(sys.modules, part, None)
    with pytest.raises(RuntimeUnavailableError, match=r"(?s)Install the extra: pip install 'vidrestore\[onnx\]'"):
        run(model, {}) if model is not None else exported(Brighter())
