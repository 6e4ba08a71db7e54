"""The documents name what the program knows."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from vidrestore.cli import COMMANDS
from vidrestore.config import Codec
from vidrestore.media.output.containers import CONTAINERS

ROOT = Path(__file__).resolve().parents[1]
FORMATS = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("extension", sorted(CONTAINERS))
def test_every_container_is_listed(extension: str) -> None:
    assert f"`{extension}`" in FORMATS


@pytest.mark.parametrize("codec", get_args(Codec))
def test_every_codec_is_listed(codec: str) -> None:
    assert f"| `{codec}` |" in FORMATS


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"vidrestore {name}" not in readme] == []
