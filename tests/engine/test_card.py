"""Cards: what they must say, and how a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.small import ORIGIN, make_baseline, make_engine
from vidrestore.engine.card import Card, read_card
from vidrestore.errors import InvalidCardError
from vidrestore.training.export import write_card

GOOD = """
id = "plain"
task = "baseline"
tier = "fast"
description = "for tests"
architecture = "identity"
licence = "Apache-2.0"
"""


def card_of(tmp_path: Path, text: str | bytes, folder: str = "plain") -> Path:
    path = tmp_path / folder
    path.mkdir()
    (path / "card.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def complaint(folder: Path) -> str:
    """What is said of a wrong card: one sentence that names the file or the folder, and exit code 4."""
    with pytest.raises(InvalidCardError) as caught:
        read_card(folder)
    message = caught.value.message
    assert caught.value.exit_code == 4
    assert "\n" not in message and message.endswith(".")
    assert str(folder) in message
    return message


def test_a_small_card_has_defaults(tmp_path: Path) -> None:
    card = read_card(card_of(tmp_path, GOOD))
    assert (card.scale, card.size_multiple, card.tile_halo, card.temporal_halo) == (1, 1, 0, 0)
    assert card.precisions == ("fp32",)
    assert card.sha256 is None and card.origin is None and not card.generative and card.quality == {}


def test_written_and_read_again_it_is_the_same(tmp_path: Path) -> None:
    card = make_engine(tmp_path, "small", quality={"set5": 37.3}, precisions=("fp32", "bf16"), generative=True)
    assert read_card(tmp_path / "small") == card
    plain = make_baseline(tmp_path, "plain")
    assert read_card(tmp_path / "plain") == plain


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('colour = "red"', "colour"),
        ("scale = 0", "scale"),
        ('scale = "two"', "scale"),
        ('range = "0..255"', "range"),
        ("tile_halo = -1", "tile_halo"),
        ('precisions = ["fp8"]', "precisions"),
        ('sha256 = "abc"', "sha256"),
        ('quality = { set5 = "good" }', "quality"),
    ],
)
def test_a_wrong_value_names_its_key(tmp_path: Path, line: str, key: str) -> None:
    assert key in complaint(card_of(tmp_path, GOOD + line))


@pytest.mark.parametrize("key", ["id", "task", "tier", "description", "architecture", "licence"])
def test_a_missing_value_names_its_key(tmp_path: Path, key: str) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(key))
    assert f": {key}: Field required." in complaint(card_of(tmp_path, text))


@pytest.mark.parametrize(
    "line", ['task = "sharpen"', 'tier = "auto"', 'id = "Plain"', 'id = "../plain"', 'id = "a b"', 'id = ""']
)
def test_names_that_are_not_allowed(tmp_path: Path, line: str) -> None:
    key = line.partition(" ")[0]
    text = "\n".join(line if old.startswith(f"{key} ") else old for old in GOOD.splitlines())
    assert f": {key}: " in complaint(card_of(tmp_path, text))


def test_the_id_is_the_folders_name(tmp_path: Path) -> None:
    message = complaint(card_of(tmp_path, GOOD, folder="copy-of-plain"))
    assert "'plain'" in message and "'copy-of-plain'" in message


def test_weights_without_origin_and_origin_without_weights(tmp_path: Path) -> None:
    assert "origin" in complaint(card_of(tmp_path, GOOD + f'sha256 = "{"0" * 64}"'))
    origin = "\n".join(f"{key} = {value!r}" for key, value in ORIGIN.model_dump(exclude_none=True).items())
    assert "sha256" in complaint(card_of(tmp_path, f"{GOOD}[origin]\n{origin}".replace("plain", "other"), folder="other"))


def test_an_origin_must_be_whole(tmp_path: Path) -> None:
    text = f'{GOOD}sha256 = "{"0" * 64}"\n[origin]\ncommand = "x"\n'
    assert "origin.commit" in complaint(card_of(tmp_path, text))


@pytest.mark.parametrize("text", [b"id = ", b"\xff\xfe", b'id = "a"\nid = "b"'])
def test_what_is_not_toml(tmp_path: Path, text: bytes) -> None:
    assert "cannot be read" in complaint(card_of(tmp_path, text))


def test_no_card_at_all(tmp_path: Path) -> None:
    assert "has no card.toml" in complaint(tmp_path)


def test_cards_cannot_be_changed(tmp_path: Path) -> None:
    card = make_baseline(tmp_path, "plain")
    with pytest.raises(ValueError, match="frozen"):
        card.scale = 4
    assert isinstance(card, Card)


def test_what_is_none_is_not_written(tmp_path: Path) -> None:
    write_card(tmp_path, Card(id="x", task="sr", tier="fast", description="d", architecture="identity", licence="MIT"))
    text = (tmp_path / "card.toml").read_text(encoding="utf-8")
    assert "sha256" not in text and "origin" not in text
