"""Where there is no Ray, no cluster, or a node that sees something else: one sentence each."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.recorder import Recorder
from vidrestore.cluster.check import Sight, complaint, look, versions
from vidrestore.cluster.connection import Connection, Node, _own_signal_handlers
from vidrestore.cluster.pool import RayPool
from vidrestore.cluster.work import Need
from vidrestore.errors import ClusterError, RuntimeUnavailableError
from vidrestore.pipeline.machine import processor_kind

NODE = Node("n1", "tower", "10.0.0.7", 8, 0)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'vidrestore\[ray\]'"):
        RayPool()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:9", "Nothing answers at 127.0.0.1:9"),
        ("tower", "tower is no address of a Ray cluster"),
        ("ray://tower:10001", "Run on a node of the cluster"),
    ],
)
def test_an_address_without_a_cluster(address: str, sentence: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
    with pytest.raises(ClusterError, match=sentence):
        Connection(address)


def test_signal_handlers_survive_ray() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with _own_signal_handlers():
        signal.signal(signal.SIGTERM, lambda *_: None)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_node_sees(tmp_path: Path) -> None:
    spec = Recorder(tmp_path).spec()
    (tmp_path / "token").write_text("token")
    assert look(spec, "token", "mark", 0).problem == ""
    assert (tmp_path / "mark").read_text() == "mark"
    absent = tmp_path / "absent.mkv"
    assert look(replace(spec, source=str(absent)), "token", "mark", 0).problem == f"cannot see the source {absent}"
    assert "sees another file as the source" in look(replace(spec, source_size=7), "token", "mark", 0).problem
    elsewhere = replace(spec, folder=tmp_path / "elsewhere")
    assert look(elsewhere, "token", "mark", 0).problem == f"cannot see the job's folder {tmp_path / 'elsewhere'}"
    (tmp_path / "elsewhere").mkdir()
    assert "cannot see the job's folder" in look(elsewhere, "token", "mark", 0).problem, (
        "a folder of the same name is another one"
    )
    assert "cannot write in" in look(spec, "token", "no/such/mark", 0).problem
    engines = replace(spec, engines_dir=str(absent), engines=(("rdtn-x2", "0" * 64),))
    assert "does not have the job's engines" in look(engines, "token", "mark", 0).problem
    assert "has another engine rdtn-x2" in look(replace(engines, engines_dir=None), "token", "mark", 0).problem


def test_a_pattern_of_images_is_a_source(tmp_path: Path) -> None:
    spec = replace(Recorder(tmp_path).spec(), source=str(tmp_path / "%04d.png"), source_size=0)
    (tmp_path / "token").write_text("token")
    assert "cannot see the source" in look(spec, "token", "mark", 0).problem
    (tmp_path / "0001.png").touch()
    assert look(spec, "token", "mark", 0).problem == ""


def test_complaints_name_the_node() -> None:
    here = Sight("", versions(), "CPU AVX512, bf16")
    assert complaint(NODE, here, here) is None
    blind = complaint(NODE, replace(here, problem="cannot see the source /a.mkv"), here)
    assert blind is not None and blind.message == "Node tower (10.0.0.7) cannot see the source /a.mkv."
    other = tuple((name, "0.1" if name == "torch" else version) for name, version in here.versions)
    old = complaint(NODE, replace(here, versions=other), here)
    assert old is not None and old.message.startswith("Node tower (10.0.0.7) has torch 0.1, this machine ")
    odd = complaint(NODE, replace(here, kind="CPU MADE-UP, fp32"), here)
    assert odd is not None and odd.message == (
        "Node tower (10.0.0.7) has a processor of another kind (CPU MADE-UP, fp32) than this machine (CPU AVX512, bf16):"
        " its results could differ in their bits."
    )


def test_processors_are_compared_as_far_as_bits_depend_on_them(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    assert look(Recorder(tmp_path).spec(), "token", "mark", 0).kind == processor_kind("cpu")
    assert look(Recorder(tmp_path).spec(device="cuda"), "token", "mark", 0).kind == "", "a GPU is not known before"


def test_workers_of_a_node() -> None:
    """Cores are shared out by the job's threads, GPUs by whole ones."""
    cases = [(Need(False, 2), 8, 0, 4, 2), (Need(False, 8), 2, 0, 1, 2), (Need(False, 1), 0, 4, 0, 0)]
    cases += [(Need(True, 2), 16, 2, 2, 4), (Need(True, 2), 2, 4, 4, 0), (Need(True, 8), 8, 0, 0, 4)]
    for need, cpus, gpus, slots, booked in cases:
        node = replace(NODE, cpus=cpus, gpus=gpus)
        assert (need.slots(node), need.cpus(node)) == (slots, booked), (need, cpus, gpus)
