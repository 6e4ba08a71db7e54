"""Chains of engines to plans: compiled for real for a GPU that is not here, and found again without exporting."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.small import make_baseline, make_engine
from tests.runtimes.tensorrt.small import is_malformed, needs_rtx
from vidrestore.engine import plans as plans_module
from vidrestore.engine.card import Card
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.graph import Chain, Graph
from vidrestore.engine.plans import MOST, PlanWish, chain_plans, exported
from vidrestore.errors import RuntimeUnavailableError, UsageError
from vidrestore.runtimes.tensorrt.cache import Kept, PlanCache
from vidrestore.runtimes.tensorrt.product import find_product

pytestmark = needs_rtx

CHAIN = ("flare-fast", "day-fast")
PLAIN = {"channels": 8, "layers": 1, "scale": 2, "fold": 1}


def wish(**changes: Any) -> PlanWish:
    return PlanWish(**{"product": find_product("tensorrt_rtx"), "targets": ("SM89",), **changes})


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.find()


@pytest.fixture(scope="module")
def kept_chain(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog) -> tuple[PlanCache, Kept]:
    """The shipped fast engines for flare and day, compiled as one."""
    folder = PlanCache(tmp_path_factory.mktemp("plans"))
    told: list[tuple[float, str]] = []
    cards = [catalog.card(name) for name in CHAIN]
    found = chain_plans(cards, catalog, wish(), folder, kinds=("whole",), progress=lambda *step: told.append(step))
    assert told[0] == (0.0, "Exporting flare-fast + day-fast (whole)") and max(share for share, _ in told) > 0.5
    return folder, found["whole"]


@pytest.fixture
def small(tmp_path: Path) -> tuple[PlanCache, Catalog, Card]:
    """An engine without weights, which is exported in a moment."""
    card = make_baseline(tmp_path / "engines", "plain", precisions=("fp32",))
    return PlanCache(tmp_path / "plans"), Catalog(tmp_path / "engines"), card


def refuse(what: str) -> Callable[..., Any]:
    def stop(*arguments: Any, **named: Any) -> Any:
        raise AssertionError(what)

    return stop


def test_a_chain_is_one_plan(kept_chain: tuple[PlanCache, Kept], catalog: Catalog) -> None:
    _, kept = kept_chain
    key = kept.record.key
    assert not kept.reused and not is_malformed(kept.read())
    assert key.title == "flare-fast + day-fast (whole, fp16)"
    assert key.weights_sha256 == tuple(catalog.card(name).sha256 for name in CHAIN)
    assert key.ranges["frames"] == ((1, 3, 64, 64), (1, 3, 720, 1280), (1, 3, *MOST))
    assert (key.product, key.version, key.targets) == ("tensorrt_rtx", wish().product.version, ("SM89",))


def test_it_is_found_again_without_exporting(
    kept_chain: tuple[PlanCache, Kept], catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, kept = kept_chain
    cards = [catalog.card(name) for name in CHAIN]
    monkeypatch.setattr(Graph, "export", refuse("exported"))
    for module in ("onnx_ir", "onnxscript", "onnxscript.optimizer"):  # and where nothing could be
        monkeypatch.setitem(sys.modules, module, None)
    found = chain_plans(cards, catalog, wish(), folder, kinds=("whole",), tell=refuse("told"))["whole"]
    assert found.reused and (found.path, found.record) == (kept.path, kept.record)
    for changes in ({"precision": "fp32"}, {"mixes": True}, {"deep": True}, {"size": (48, 64)}):
        with pytest.raises(AssertionError, match="exported"):
            chain_plans(cards, catalog, wish(**changes), folder, kinds=("whole",))
    monkeypatch.setattr(plans_module, "build_plan", refuse("compiled"))
    for same_graph in ({"batch": 2}, {"targets": ("SM86",)}):
        with pytest.raises(AssertionError, match="compiled"):
            chain_plans(cards, catalog, wish(**same_graph), folder, kinds=("whole",))
    with pytest.raises(AssertionError, match="exported"):
        chain_plans(cards[::-1], catalog, wish(), folder, kinds=("whole",))


def test_code_that_makes_the_same_graph_needs_no_other_plan(
    small: tuple[PlanCache, Catalog, Card], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, engines, card = small
    first = chain_plans([card], engines, wish(), folder)["whole"]
    monkeypatch.setattr(plans_module, "_code_digest", lambda: "0" * 64)
    monkeypatch.setattr(plans_module, "build_plan", refuse("compiled"))
    again = chain_plans([card], engines, wish(), folder)["whole"]
    assert again.reused and again.path == first.path
    assert len(list(folder.folder.glob("*.graph"))) == 2
    monkeypatch.setattr(Graph, "export", refuse("exported"))
    assert chain_plans([card], engines, wish(), folder)["whole"].reused


def test_exported_graphs_are_kept(small: tuple[PlanCache, Catalog, Card], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, engines, card = small
    graph = Chain.load([card], engines).graph("whole")
    told: list[tuple[float, str]] = []
    model = exported(graph, [card], "fp32", folder, progress=lambda *step: told.append(step))
    assert told == [(0.0, "Exporting plain (whole)")]
    with monkeypatch.context() as patch:
        patch.setattr(Graph, "export", refuse("exported"))
        assert exported(graph, [card], "fp32", folder) == model
        (path,) = folder.graphs()
        path.write_bytes(model[:-1])
        with pytest.raises(AssertionError, match="exported"):
            exported(graph, [card], "fp32", folder)
    assert exported(graph, [card], "fp32", folder) == model == path.read_bytes()


def test_a_network_filled_otherwise_is_another_graph(tmp_path: Path) -> None:
    """Whatever its card says: one without weights may have made-up ones."""
    card = make_baseline(tmp_path / "engines", "made-up", "plain", hyperparameters=PLAIN, task="sr", scale=2, tile_halo=16)
    catalog, folder = Catalog(tmp_path / "engines"), PlanCache(tmp_path / "plans")
    models = [exported(Chain.load([card], catalog).graph("whole"), [card], "fp32", folder) for _ in range(2)]
    assert models[0] != models[1] and len(folder.graphs()) == 2


def test_where_graphs_cannot_be_kept_they_are_exported_and_that_is_told(
    small: tuple[PlanCache, Catalog, Card], tmp_path: Path
) -> None:
    _, engines, card = small
    (tmp_path / "file").write_text("")
    graph, told = Chain.load([card], engines).graph("whole"), list[str]()
    model = exported(graph, [card], "fp32", PlanCache(tmp_path / "file" / "plans"), told.append)
    assert model == exported(graph, [card], "fp32", None, told.append) == graph.export()
    (sentence,) = told
    assert sentence.startswith("The exported graph is not kept, and is exported again when it is needed. The folder ")


def test_sizes_bits_and_strength_are_part_of_it(tmp_path: Path) -> None:
    card = make_engine(tmp_path / "engines", "tiny")
    asked = wish(size=(48, 64), batch=2, deep=True, mixes=True)
    kept = chain_plans([card], Catalog(tmp_path / "engines"), asked, PlanCache(tmp_path / "plans"))["whole"]
    assert kept.record.key.title == "tiny (whole, fp32, 64x48 only, 16 bit, strength)"
    assert kept.record.key.ranges == {"frames": ((1, 3, 48, 64), (2, 3, 48, 64), (2, 3, 48, 64)), "strength": ((1,),) * 3}
    assert not is_malformed(kept.read())


def test_without_the_exporter_the_extra_is_named(small: tuple[PlanCache, Catalog, Card], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, engines, card = small
    for module in ("onnx_ir", "onnxscript", "onnxscript.optimizer"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeUnavailableError, match=r"vidrestore\[onnx\]"):
        chain_plans([card], engines, wish(), folder)
    assert folder.entries() == []


def test_what_cannot_be_is_refused_before_any_work(small: tuple[PlanCache, Catalog, Card]) -> None:
    folder, engines, card = small
    for cards, asked, why in (
        ([], wish(), "no engine to build"),
        ([card], wish(batch=0), "batch cannot have 0 frames"),
        ([card], wish(size=(0, 64)), "cannot have the size 64x0"),
        ([card], wish(precision="fp16"), "plain does not allow fp16"),
        ([card], wish(precision="int8"), "precision 'int8'"),
    ):
        with pytest.raises(UsageError, match=why):
            chain_plans(cards, engines, asked, folder)
    with pytest.raises(UsageError, match=r"no graph .look."):
        chain_plans([card], engines, wish(), folder, kinds=("look",))
    assert not folder.folder.exists()
