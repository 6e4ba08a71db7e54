"""Damaged real files through the command line: stopped at the frame, or restored whole with every damaged frame listed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vidrestore.cli import cli
from vidrestore.media import VideoDecoder
from vidrestore.media.input.picture_decoder import DecodeOptions

Real = Callable[[str], Path]

FILES = [
    ("codecs/foreman/foreman_h264.mp4", (0.4, 0.7), 800, 60),
    ("codecs/intel_asl_bird.mkv", (0.5,), 1500, 63),
    ("codecs/torchcodec_nasa_13013.mp4", (0.3,), 3000, 390),
]


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def damaged(source: Path, target: Path, places: tuple[float, ...], length: int) -> Path:
    content, generator = bytearray(source.read_bytes()), random.Random(5)
    for place in places:
        begin = int(len(content) * place)
        content[begin : begin + length] = generator.randbytes(length)
    target.write_bytes(content)
    return target


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "places", "length", "frames"), FILES, ids=[Path(name).name for name, *_ in FILES])
def test_damage_stops_or_is_listed(
    real: Real, tmp_path: Path, name: str, places: tuple[float, ...], length: int, frames: int
) -> None:
    path = damaged(real(name), tmp_path / f"hurt{Path(name).suffix}", places, length)
    with VideoDecoder(path, DecodeOptions(on_damage="conceal")) as decoder:
        assert sum(1 for _ in decoder.pictures()) == frames
    first = decoder.damage[0]
    whole = ["--engine", "identity", "--quiet"]
    stopped = command("run", path, "-o", tmp_path / "stopped.mkv", *whole)
    assert stopped.exit_code == 3 and f"Frame {first.index} of {path} ({first.seconds:.3f} s) is damaged" in stopped.output
    assert not (tmp_path / "stopped.mkv").exists()

    out, told = tmp_path / "out.mkv", tmp_path / "told.json"
    concealed = command("run", path, "-o", out, "--on-damage", "conceal", "--json", told, *whole)
    assert concealed.exit_code == 0, concealed.output
    listed = json.loads(told.read_text())
    assert listed["frames"] == frames and len(listed["damage"]) == len(decoder.damage)
    for entry in decoder.damage:
        assert str(entry) in concealed.output and entry.as_dict() in listed["damage"]
    checked = command("verify", path, out, "--json", "-")
    assert checked.exit_code == 0, checked.output
    with VideoDecoder(out) as written:
        assert sum(1 for _ in written.pictures()) == frames
