from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vidrestore.errors import FolderMissingError, OutputExistsError, SameFileError, UsageError
from vidrestore.media import MediaInfo, VerifyReport
from vidrestore.media.input.probe import probe
from vidrestore.media.output.target import PendingFile, check_place, check_target, constant_rate_only, muxer_of

Make = Callable[..., Path]
Restore = Callable[..., tuple[MediaInfo, Path, VerifyReport]]


@pytest.mark.parametrize(
    ("name", "container", "muxer"),
    [
        ("a.mp4", None, "mp4"),
        ("A.MKV", None, "matroska"),
        ("a.m2ts", None, "m2ts"),
        ("a.265", None, "hevc"),
        ("a.mp4", "mkv", "matroska"),
        ("a.mp4", ".MKV", "matroska"),
        ("no_extension", "webm", "webm"),
    ],
)
def test_the_container_of_a_name(name: str, container: str | None, muxer: str) -> None:
    assert muxer_of(Path(name), container) == muxer


def test_what_no_container_is() -> None:
    with pytest.raises(UsageError, match=r"a\.wmv has no extension.*\.mkv"):
        muxer_of(Path("a.wmv"))
    with pytest.raises(UsageError, match="--container wmv"):
        muxer_of(Path("a.mp4"), "wmv")


@pytest.mark.parametrize(
    ("extension", "constant"), [(".avi", True), ("h264", True), (".265", True), (".obu", True), (".ivf", False), (".mkv", False)]
)
def test_which_know_a_constant_rate_only(extension: str, constant: bool) -> None:
    assert constant_rate_only(extension) is constant


def test_other_writers_have_extensions_of_their_own(tmp_path: Path) -> None:
    check_target(tmp_path / "a.gif", None, extensions={".gif"})
    check_target(tmp_path / "a", None, extensions={".gif"}, container="gif")
    with pytest.raises(UsageError, match="extension"):
        check_target(tmp_path / "a.mp4", None, extensions={".gif"})
    check_place(tmp_path / "whatever", None)
    with pytest.raises(FolderMissingError):
        check_place(tmp_path / "absent" / "whatever", None)
    (tmp_path / "there").touch()
    with pytest.raises(OutputExistsError):
        check_place(tmp_path / "there", None)
    with pytest.raises(SameFileError):
        check_place(tmp_path / "there", tmp_path / "there", overwrite=True)


def test_the_container_may_differ_from_the_name(make_clip: Make, restore: Restore) -> None:
    source = make_clip("in.mp4", audio=True)
    for name, container, found in (("out.mp4", "mkv", "matroska"), ("out", "ts", "mpegts"), ("out.bin", "avi", "avi")):
        settings = {"drop_streams": ["audio"], "codec": "ffv1"} if container == "avi" else {}
        _, target, _ = restore(source, name, container=container, **settings)
        assert target.name == name and found in probe(target).container
        target.unlink()


@pytest.mark.parametrize("stem", ["x" * 251, "é" * 125 + "x", "映" * 83 + "xx"])
def test_names_as_long_as_the_file_system_allows(make_clip: Make, restore: Restore, tmp_path: Path, stem: str) -> None:
    name = f"{stem}.mp4"
    assert len(os.fsencode(name)) == 255
    _, target, _ = restore(make_clip("in.mp4"), name)
    assert target.name == name and sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.mp4", name])


def test_long_names_that_begin_alike_do_not_meet(tmp_path: Path) -> None:
    files = [PendingFile(tmp_path / f"{'x' * 240}{end}.mp4", overwrite=False) for end in ("a", "b")]
    assert files[0].path != files[1].path and all(len(os.fsencode(file.path.name)) <= 255 for file in files)
    for file in files:
        file.discard()
    assert not list(tmp_path.iterdir())
