from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vidrestore.media import MediaInfo, VerifyReport
from vidrestore.media.input.probe import probe
from vidrestore.media.output.quicktime import write_languages
from vidrestore.media.proof.verify import compare

BINARY = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
LANGUAGES = ["deu", "jpn", "eng", "zho", "ger", "fry"]


@pytest.fixture
def spoken(tmp_path: Path, ffmpeg: Callable[..., None]) -> Path:
    """A film that is spoken in many languages."""
    path = tmp_path / "spoken.mkv"
    words = [word for n, code in enumerate(LANGUAGES) for word in (f"-metadata:s:a:{n}", f"language={code}")]
    sound = [word for _ in LANGUAGES for word in ("-map", "1")]
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=64x48:d=1",
        "-f",
        "lavfi",
        "-i",
        "sine=d=1",
        "-map",
        "0",
        *sound,
        *words,
        "-c:a",
        "aac",
        path,
    )
    return path


def test_any_language_in_mov(spoken: Path, restore: Callable[..., tuple[MediaInfo, Path, VerifyReport]]) -> None:
    _, target, report = restore(spoken, "out.mov")
    assert next(row.verdict for row in report.rows if row.name == "languages") == "ok"
    assert not any("language" in notice for notice in report.notices)
    assert compare(spoken, target).verdict != "differs"
    told = subprocess.run([BINARY, "-hide_banner", "-i", target], capture_output=True, text=True, check=False).stderr
    found = re.findall(r"\((\w{3})\): Audio", told)
    assert len(found) == len(LANGUAGES)
    assert [found[n] for n in (0, 1, 2, 5)] == ["deu", "jpn", "eng", "fry"]


def test_only_what_is_unsaid_is_written(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    path = make_clip("clip.mov", audio=True)
    before = path.read_bytes()
    write_languages(path, {0: "und", 1: "de-DE", 7: "deu"})
    assert path.read_bytes() == before
    write_languages(path, {1: "deu"})
    assert [stream.language for stream in probe(path).streams] == [None, "deu"]
    assert sum(one != other for one, other in zip(before, path.read_bytes(), strict=True)) <= 2
    write_languages(path, {1: "jpn"})
    assert [stream.language for stream in probe(path).streams] == [None, "deu"]


def test_what_is_no_quicktime_file_stays_as_it_is(tmp_path: Path) -> None:
    for content in (b"", b"\0" * 64, b"\0\0\0\x10moov\0\0\0\0trak", b"\0\0\0\x01moov", b"\0\0\0\0moov" + bytes(9)):
        path = tmp_path / "x.mov"
        path.write_bytes(content)
        write_languages(path, {0: "deu"})
        assert path.read_bytes() == content
