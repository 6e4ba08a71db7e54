"""The catalogue: engines found by task and id, checked before they are used, and never trusted with code."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from tests.engine.small import RDN, make_baseline, make_engine
from vidrestore.engine import catalog as catalog_module
from vidrestore.engine.catalog import Catalog, default_engines_dir
from vidrestore.errors import InvalidCardError, TierUnavailableError, UnknownEngineError, WeightsError
from vidrestore.models import build


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A slow and a fast engine for sr, a fast one for flare, and the identity."""
    make_engine(tmp_path, "large")
    make_engine(tmp_path, "light", tier="fast")
    make_baseline(tmp_path, "plain")
    make_baseline(tmp_path, "wipe", task="flare")
    return Catalog(tmp_path)


def test_ids_are_folders_with_a_card(catalog: Catalog) -> None:
    (catalog.folder / "notes").mkdir()
    (catalog.folder / "README.md").touch()
    assert catalog.ids() == ["large", "light", "plain", "wipe"]
    assert [card.id for card in catalog.cards()] == catalog.ids()
    assert catalog.broken() == {}


def test_by_task(catalog: Catalog) -> None:
    assert catalog.resolve("sr", "best").id == "large"
    assert catalog.resolve("sr", "fast").id == "light"


def test_auto_is_fast_on_a_cpu_and_best_on_a_gpu(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidrestore.runtimes.pick_device", lambda wanted: "cpu" if wanted == "auto" else wanted)
    assert catalog.resolve("sr").id == catalog.resolve("sr", "auto", "cpu").id == "light"
    assert catalog.resolve("sr", "auto", "cuda:1").id == "large"
    assert catalog.resolve("sr", "best", "cpu").id == "large" and catalog.resolve("sr", "fast", "cuda").id == "light"
    assert catalog.resolve("light", "auto", "cuda").id == "light", "an engine asked for by its id"


def test_by_factor(catalog: Catalog) -> None:
    """`sr` alone is twice the size, whatever else there is."""
    make_engine(catalog.folder, "aaa-four", scale=4, hyperparameters={**RDN, "scale": 4})
    assert catalog.resolve("sr", "best").id == catalog.resolve("sr:2", "best").id == "large"
    assert [catalog.resolve("sr:4", tier).id for tier in ("best", "auto")] == ["aaa-four", "aaa-four"]
    with pytest.raises(TierUnavailableError, match=r"fast tier for 'sr:4' yet \(there is: best\)"):
        catalog.resolve("sr:4", "fast")


def test_a_factor_that_no_engine_has(catalog: Catalog) -> None:
    with pytest.raises(UnknownEngineError, match=r"enlarges 4 times \(there are engines for: 2\)"):
        catalog.resolve("sr:4")
    for name in ("sr:", "sr:0", "sr:x", "flare:2"):
        with pytest.raises(UnknownEngineError, match=f"There is no engine '{name}'"):
            catalog.resolve(name)


def test_auto_takes_the_tier_there_is(catalog: Catalog) -> None:
    assert catalog.resolve("flare").id == catalog.resolve("flare", "fast").id == "wipe"
    make_engine(catalog.folder, "dusk", task="night", tier="best")
    assert catalog.resolve("night", "auto", "cpu").id == "dusk"


def test_by_id_whatever_the_tier(catalog: Catalog) -> None:
    assert catalog.resolve("light").id == catalog.resolve("light", "best").id == "light"
    assert catalog.resolve("plain", "best").id == "plain"


def test_a_tier_that_is_missing_says_what_there_is(catalog: Catalog) -> None:
    with pytest.raises(TierUnavailableError, match=r"no engine of the best tier for 'flare' yet \(there is: fast\)"):
        catalog.resolve("flare", "best")


def test_unknown(catalog: Catalog) -> None:
    with pytest.raises(UnknownEngineError, match=r"no engine 'magic' in .* \(there are: large, light, plain, wipe\)"):
        catalog.resolve("magic")
    with pytest.raises(UnknownEngineError, match="no engine for 'night'"):
        catalog.resolve("night")
    with pytest.raises(UnknownEngineError):
        catalog.resolve("baseline")  # what baselines are asked for by is their id
    with pytest.raises(UnknownEngineError, match="there are: none"):
        Catalog(catalog.folder / "wipe").resolve("plain")


@pytest.mark.parametrize("name", ["../large", "large/../light", "/etc", ".", ""])
def test_ids_are_no_paths(catalog: Catalog, name: str) -> None:
    with pytest.raises(UnknownEngineError):
        Catalog(catalog.folder).card(name)


def test_a_broken_card_is_an_error_only_when_asked_for(catalog: Catalog) -> None:
    (catalog.folder / "wipe" / "card.toml").write_text("task = 3")
    assert catalog.resolve("sr", "best").id == "large"
    assert [card.id for card in catalog.cards()] == ["large", "light", "plain"]
    assert list(catalog.broken()) == ["wipe"]
    with pytest.raises(InvalidCardError, match="wipe"):
        catalog.resolve("wipe")


def test_a_loaded_network_is_ready_to_restore(catalog: Catalog) -> None:
    network = catalog.load(catalog.card("large"))
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    torch.manual_seed(1)
    expected = build("rdn", RDN)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in network.state_dict().items())


def test_one_changed_byte_of_the_weights_is_noticed(catalog: Catalog) -> None:
    path = catalog.folder / "large" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    card = catalog.card("large")
    with pytest.raises(WeightsError, match="has the sha256") as caught:
        catalog.load(card)
    assert str(card.sha256)[:12] in caught.value.message


def test_missing_weights(catalog: Catalog) -> None:
    (catalog.folder / "large" / "weights.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        catalog.load(catalog.card("large"))


def rewrite(catalog: Catalog, weights: bytes, **fields: object) -> None:
    """Give `large` other weights and a card that vouches for them."""
    import hashlib

    from vidrestore.training.export import write_card

    folder = catalog.folder / "large"
    (folder / "weights.safetensors").write_bytes(weights)
    card = catalog.card("large").model_copy(update={"sha256": hashlib.sha256(weights).hexdigest(), **fields})
    write_card(folder, card)


@pytest.mark.parametrize(
    "weights",
    [
        save(build("rdn", {**RDN, "features": 8}).state_dict()),
        save({"other": torch.zeros(3)}),
        save({}),
        b"no safetensors",
        b"",
        pickle.dumps({"core": [1, 2, 3]}),
    ],
    ids=["wider", "other names", "none", "text", "empty", "pickle"],
)
def test_weights_that_do_not_fit(catalog: Catalog, weights: bytes) -> None:
    rewrite(catalog, weights)
    with pytest.raises(WeightsError, match="do not fit") as caught:
        catalog.load(catalog.card("large"))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"architecture": "transformer"}, "architecture 'transformer'"),
        ({"hyperparameters": {"depth": 3}}, "hyperparameters"),
        ({"hyperparameters": {"upsampling": "magic"}}, "hyperparameters"),
        ({"architecture": "unetpp", "hyperparameters": {"encoder": "tu-no_such_encoder"}}, "hyperparameters"),
        ({"architecture": "unetpp", "hyperparameters": {"encoder": "no-such-encoder"}}, "hyperparameters"),
        ({"scale": 3}, "scale"),
        ({"size_multiple": 8}, "size multiple"),
    ],
)
def test_cards_that_do_not_describe_their_network(catalog: Catalog, fields: dict[str, object], words: str) -> None:
    rewrite(catalog, (catalog.folder / "large" / "weights.safetensors").read_bytes(), **fields)
    with pytest.raises(InvalidCardError, match=words):
        catalog.load(catalog.card("large"))


def test_the_environment_names_the_folder(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDRESTORE_ENGINES", str(catalog.folder))
    assert default_engines_dir() == catalog.folder
    assert Catalog.find().ids() == catalog.ids()


def test_a_folder_that_is_asked_for_wins_over_the_environment(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("VIDRESTORE_ENGINES", str(tmp_path_factory.mktemp("elsewhere")))
    assert Catalog.find(catalog.folder).ids() == catalog.ids()


def test_without_either_the_shipped_engines_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDRESTORE_ENGINES", raising=False)
    assert {"identity", "bicubic-x2"} <= set(Catalog.find().ids())
    assert Path(catalog_module.__file__).parents[2] in default_engines_dir().parents


def test_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDRESTORE_ENGINES", str(tmp_path / "none"))
    with pytest.raises(UnknownEngineError, match="There is no engines folder") as caught:
        Catalog.find()
    assert "--engines-dir" in caught.value.next_step


class _Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_no_code_of_an_engine_folder_is_run(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    sprung = catalog.folder / "sprung"
    trap = f"import pathlib; pathlib.Path({str(sprung)!r}).touch()\n"
    for folder in (catalog.folder, catalog.folder / "large"):
        for name in ("__init__.py", "model.py", "rdn.py", "large.py", "conftest.py", "card.py"):
            (folder / name).write_text(trap)
        for name in ("weights.pt", "weights.pth", "weights.pkl", "weights.bin", "model.pickle"):
            (folder / name).write_bytes(pickle.dumps(_Trap(sprung)))
    monkeypatch.chdir(catalog.folder)

    catalog.cards()
    catalog.load(catalog.resolve("sr"))
    rewrite(catalog, pickle.dumps(_Trap(sprung)))  # a pickle in the place of the weights, and a card that vouches for it
    with pytest.raises(WeightsError):
        catalog.load(catalog.card("large"))
    assert not sprung.exists()

    pickle.loads(pickle.dumps(_Trap(sprung)))
    assert sprung.exists(), "the trap itself works"
