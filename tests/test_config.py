"""Settings: frozen, unknown keys refused, precedence, and a page that lists them all."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from pydantic import ValidationError

from vidrestore.config import RunConfig, read_toml, settle
from vidrestore.errors import ConfigError, UsageError

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        RunConfig().strength = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"sharpness": 1}, "unknown key 'sharpness'"),
        ({"encode": {"quality": 1}}, "unknown key 'encode.quality'"),
        ({"strength": 2}, "strength is wrong"),
        ({"tier": "best-ever"}, "tier is wrong"),
        ({"batch_size": -1}, "batch_size is wrong"),
        ({"duration": float("inf")}, "duration is wrong"),
        ({"start": float("nan")}, "start is wrong"),
        ({"protect": [{"x": 0, "y": 0, "width": 0, "height": 3}]}, "protect.0.width is wrong"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        settle(settings)


def test_tables_are_merged_key_by_key(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('engines = ["flare"]\n[encode]\ncodec = "hevc"\ncrf = 24\n')
    run = settle({"encode": {"crf": 30}}, config=file)
    assert (run.encode.codec, run.encode.crf, run.engines) == ("hevc", 30, ("flare",))


def test_preset_and_file_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not both"):
        settle({}, preset="dashcam", config=tmp_path / "a.toml")


def test_unreadable_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path / "bytes.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path)


def test_the_page_lists_every_key_as_it_is() -> None:
    spec = importlib.util.spec_from_file_location("make_configuration", DOCS / "make_configuration.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert written == module.page(), "run: python docs/make_configuration.py"
    for key in RunConfig.model_fields:
        assert f"`{key}`" in written
