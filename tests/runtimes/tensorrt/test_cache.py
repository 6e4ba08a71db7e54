"""The folder of plans: what is found, what is compiled again and why, and what is removed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vidrestore
from vidrestore.errors import CompilationError, NotWritableError, StorageError
from vidrestore.runtimes.tensorrt import cache
from vidrestore.runtimes.tensorrt.build import Built
from vidrestore.runtimes.tensorrt.cache import VARIABLE, Kept, PlanCache, PlanKey, default_folder

KEY = PlanKey(
    engines=("flare-fast", "day-fast"),
    weights_sha256=("a" * 64, "b" * 64),
    kind="whole",
    onnx_sha256="c" * 64,
    precision="fp16",
    ranges={"frames": ((1, 3, 64, 64), (4, 3, 720, 1280), (4, 3, 2160, 3840))},
    product="tensorrt_rtx",
    version="1.7.1.116",
    targets=("SM86", "SM89"),
)
PLAN = b"the plan" * 1000


class Compiler:
    """Counts what it compiles."""

    def __init__(self, plan: bytes = PLAN) -> None:
        self.plan, self.calls = plan, 0

    def __call__(self) -> Built:
        self.calls += 1
        return Built(self.plan, 1.5, ("a warning",))


@pytest.fixture
def plans(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "cache" / "plans")


def never() -> Built:
    raise AssertionError("nothing is to be compiled")


def other(**changes: Any) -> PlanKey:
    return KEY.model_copy(update=changes)


def test_a_plan_is_compiled_once(plans: PlanCache) -> None:
    told: list[str] = []
    first = plans.get(KEY, Compiler(), told.append)
    assert not first.reused and first.read() == PLAN
    again = PlanCache(plans.folder).get(other(), never, told.append)
    assert again.reused and again.read() == PLAN and again.record == first.record
    assert told == []  # a first plan and one that is there need no words


def test_beside_the_plan_lies_all_it_was_made_of(plans: PlanCache) -> None:
    kept = plans.get(KEY, Compiler())
    told = json.loads(kept.path.with_suffix(".json").read_text())
    assert told["key"] == KEY.model_dump(mode="json")
    assert (told["plan_bytes"], told["build_seconds"], told["messages"]) == (len(PLAN), 1.5, ["a warning"])
    assert kept.path.stem == KEY.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"engines": ("flare-fast", "night-fast")},
        {"engines": ("day-fast", "flare-fast")},
        {"weights_sha256": ("a" * 64, "d" * 64)},
        {"kind": "look"},
        {"options": ("16 bit",)},
        {"onnx_sha256": "d" * 64},
        {"precision": "fp32"},
        {"ranges": {"frames": ((1, 3, 64, 64), (4, 3, 720, 1280), (8, 3, 2160, 3840))}},
        {"ranges": {"pictures": KEY.ranges["frames"]}},
        {"product": "tensorrt"},
        {"version": "1.8.0"},
        {"targets": ("SM86", "SM120")},
        {"targets": ("SM86", "SM89", "SM120")},
        {"gpu": "a GPU"},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_every_part_of_the_key_counts(plans: PlanCache, changes: dict[str, Any]) -> None:
    plans.get(KEY, Compiler())
    assert set(changes) <= set(PlanKey.model_fields)
    assert plans.find(other(**changes)) is None
    compiler = Compiler(b"another plan")
    assert plans.get(other(**changes), compiler).read() == b"another plan" and compiler.calls == 1
    assert plans.get(KEY, never).read() == PLAN  # the first one is still there


def test_no_part_of_the_key_was_forgotten_above() -> None:
    marks = [mark for mark in test_every_part_of_the_key_counts.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert {name for changes in marks[0].args[1] for name in changes} == set(PlanKey.model_fields)


def test_a_plan_for_more_gpus_serves_fewer(plans: PlanCache) -> None:
    wide = plans.get(KEY, Compiler())
    assert plans.get(other(targets=("SM89",)), never).path == wide.path
    assert plans.find(other(targets=("SM89",), precision="fp32")) is None
    wide.path.write_bytes(b"x")
    assert plans.find(other(targets=("SM89",))) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": "1.8.0"}, "made with tensorrt_rtx 1.7.1.116."),
        ({"weights_sha256": ("a" * 64, "d" * 64), "onnx_sha256": "d" * 64}, "made with other weights."),
        ({"onnx_sha256": "d" * 64}, "made with another version of the graph."),
        ({"version": "1.8.0", "onnx_sha256": "d" * 64}, "made with tensorrt_rtx 1.7.1.116 and another version of the graph."),
    ],
)
def test_why_an_older_plan_does_not_serve_is_told(plans: PlanCache, changes: dict[str, Any], why: str) -> None:
    told: list[str] = []
    plans.get(KEY, Compiler())
    plans.get(other(**changes), Compiler(), told.append)
    assert told == [f"The plan of flare-fast + day-fast (whole, fp16) is built again: the one in the cache was {why}"]


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("suffix", "damage", "why"),
    [
        (".plan", shorten, "damaged (7999 bytes instead of 8000)"),
        (".plan", flip, "damaged (its sha256 is another)"),
        (".plan", empty, "damaged (0 bytes instead of 8000)"),
        (".plan", Path.unlink, "cannot be read (No such file or directory)"),
        (".json", shorten, None),  # the last line's end
        (".json", empty, "what the cache says of it cannot be read"),
        (".json", Path.unlink, "what the cache says of it cannot be read"),
    ],
)
def test_a_damaged_file_is_found_told_and_replaced(
    plans: PlanCache, suffix: str, damage: Callable[[Path], None], why: str | None
) -> None:
    told: list[str] = []
    kept = plans.get(KEY, Compiler())
    damage(kept.path.with_suffix(suffix))
    compiler = Compiler()
    assert plans.get(KEY, compiler, told.append).read() == PLAN
    assert compiler.calls == len(told) == (0 if why is None else 1)
    assert why is None or (
        why in told[0] and told[0].startswith("The plan of flare-fast + day-fast (whole, fp16) is built again:")
    )
    assert plans.get(KEY, never).reused


def test_a_description_of_another_plan_is_not_believed(plans: PlanCache) -> None:
    mine, theirs = plans.get(KEY, Compiler()), plans.get(other(kind="look"), Compiler(b"another"))
    for suffix in (".json", ".plan"):
        theirs.path.with_suffix(suffix).replace(mine.path.with_suffix(suffix))
    assert plans.find(KEY) is None
    assert plans.entries() == []


def test_reading_checks_again(plans: PlanCache) -> None:
    kept = plans.get(KEY, Compiler())
    flip(kept.path)
    with pytest.raises(StorageError, match=r"is damaged: its sha256 is another\. .*cache clear"):
        kept.read()
    kept.path.unlink()
    with pytest.raises(StorageError, match="No such file"):
        kept.read()


def test_a_compilation_that_fails_leaves_nothing(plans: PlanCache) -> None:
    def fail() -> Built:
        raise CompilationError("It cannot be.")

    with pytest.raises(CompilationError):
        plans.get(KEY, fail)
    assert [path.suffix for path in plans.folder.iterdir()] in ([], [".lock"])
    assert plans.get(KEY, Compiler()).read() == PLAN


RACER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.runtimes.tensorrt.test_cache import KEY, PLAN
from vidrestore.runtimes.tensorrt.build import Built
from vidrestore.runtimes.tensorrt.cache import PlanCache

def compile_plan():
    print("compiles", flush=True)
    sys.stdin.readline()
    return Built(PLAN, 1.0, ())

kept = PlanCache(Path(sys.argv[2])).get(KEY, compile_plan, lambda sentence: print(sentence, flush=True))
print(kept.reused, kept.read() == PLAN, flush=True)
"""


def racer(folder: Path) -> subprocess.Popen[str]:
    root = str(Path(vidrestore.__file__).parents[1])
    command = [sys.executable, "-c", RACER, root, str(folder)]
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_of_two_processes_one_compiles_and_the_other_waits(plans: PlanCache) -> None:
    with racer(plans.folder) as first:
        assert first.stdout is not None and first.stdout.readline() == "compiles\n"
        cleared = plans.clear()
        assert (cleared.plans, cleared.busy) == (0, 1)  # and nobody takes it away meanwhile
        with racer(plans.folder) as second:
            assert second.stdout is not None
            assert second.stdout.readline().startswith("Another process is building the plan of flare-fast + day-fast")
            told, _ = first.communicate("\n", timeout=60)
            assert told == "False True\n"
            told, _ = second.communicate(timeout=60)
            assert told == "True True\n"


def test_who_waits_for_a_process_that_is_killed_compiles_itself(plans: PlanCache) -> None:
    with racer(plans.folder) as first:
        assert first.stdout is not None and first.stdout.readline() == "compiles\n"
        with racer(plans.folder) as second:
            assert second.stdout is not None and second.stdout.readline().startswith("Another process")
            first.kill()
            assert second.stdout.readline() == "compiles\n"
            told, _ = second.communicate("\n", timeout=60)
            assert told == "False True\n"


def test_clear_says_what_it_freed_and_removes_only_its_own(plans: PlanCache) -> None:
    plans.get(KEY, Compiler())
    plans.get(other(kind="look"), Compiler())
    plans.remember({"any": 1}, b"a graph")
    left_by_a_killed_process = plans.folder / f".{KEY.digest}.123.part"
    left_by_a_killed_process.write_bytes(b"half")
    strangers = [plans.folder / name for name in ("notes.txt", f"{KEY.digest}.txt", "x.plan", f"{KEY.digest[:-1]}.json")]
    for path in strangers:
        path.write_text("mine")
    size = sum(path.stat().st_size for path in plans.folder.iterdir() if path not in strangers)
    cleared = plans.clear()
    assert (cleared.plans, cleared.bytes, cleared.busy) == (2, size, 0)
    assert sorted(plans.folder.iterdir()) == sorted(strangers)
    again = plans.clear()
    assert (again.plans, again.bytes, again.busy) == (0, 0, 0)


def test_a_folder_that_is_not_there_holds_nothing(plans: PlanCache) -> None:
    assert plans.entries() == [] and plans.find(KEY) is None and plans.recall({}) is None
    assert plans.clear().plans == 0
    assert not plans.folder.exists()  # and asking does not make it


def test_entries_come_in_order(plans: PlanCache) -> None:
    for kind in ("whole", "carry_out", "look"):
        plans.get(other(kind=kind), Compiler())
    found = plans.entries()
    assert [kept.record.key.kind for kept in found] == ["carry_out", "look", "whole"]
    assert all(isinstance(kept, Kept) and kept.read() == PLAN for kept in found)


def test_requests_and_their_graphs_are_remembered(plans: PlanCache) -> None:
    digest = plans.remember({"weights": ["a"], "size": None}, b"a graph")
    assert digest == hashlib.sha256(b"a graph").hexdigest() == plans.remember({"weights": ["c"]}, b"a graph")
    assert plans.recall({"size": None, "weights": ["a"]}) == plans.recall({"weights": ["c"]}) == digest
    assert plans.recall({"size": None, "weights": ["b"]}) is None
    assert plans.graph(digest) == b"a graph" and plans.graph("d" * 64) is None
    (path,) = plans.graphs()
    path.write_bytes(b"half a")
    assert plans.graph(digest) is None
    for path in plans.folder.glob("*.graph"):
        path.write_text("nonsense")
    assert plans.recall({"size": None, "weights": ["a"]}) is None


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match=f"of plans cannot be used.*Set {VARIABLE}"):
        PlanCache(blocked / "plans").get(KEY, Compiler())
    full = PlanCache(tmp_path / "plans")
    monkeypatch.setattr(cache.os, "fsync", lambda number: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(NotWritableError, match=f"Set {VARIABLE}"):
        full.get(KEY, Compiler())
    assert not list(full.folder.glob("*.part")) and not list(full.folder.glob("*.plan"))


def test_where_plans_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "own"))
    assert PlanCache().folder == default_folder() == tmp_path / "own" / "plans"
    monkeypatch.delenv(VARIABLE)
    if sys.platform == "win32":
        return
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert default_folder() == tmp_path / "caches" / "vidrestore" / "plans"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "vidrestore" / "plans"
