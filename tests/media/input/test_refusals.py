from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av.error
import numpy as np
import pytest

from vidrestore.config import EncodeConfig
from vidrestore.errors import (
    DiskFullError,
    EmptyVideoError,
    FolderMissingError,
    NotWritableError,
    OutOfMemoryError,
    OutputExistsError,
    SameFileError,
    UnsupportedStreamError,
    UsageError,
)
from vidrestore.media import MediaInfo, VerifyReport, VideoDecoder, VideoWriter, check_target
from vidrestore.media.input.probe import probe
from vidrestore.media.output import target as target_module

Make = Callable[..., Path]
Restore = Callable[..., tuple[MediaInfo, Path, VerifyReport]]
H264 = EncodeConfig()


def leftovers(folder: Path) -> list[str]:
    return [name.name for name in folder.iterdir() if ".part" in name.name]


def test_targets_are_checked_first(make_clip: Make, tmp_path: Path) -> None:
    source = make_clip("in.mp4")
    with pytest.raises(UsageError, match="extension"):
        check_target(tmp_path / "out.wmv", source)
    with pytest.raises(FolderMissingError):
        check_target(tmp_path / "absent" / "out.mp4", source)
    with pytest.raises(SameFileError):
        check_target(source, source, overwrite=True)
    for link, kind in (("soft.mp4", os.symlink), ("hard.mp4", os.link)):
        kind(source, tmp_path / link)
        with pytest.raises(SameFileError):
            check_target(tmp_path / link, source, overwrite=True)
    (tmp_path / "there.mp4").touch()
    with pytest.raises(OutputExistsError):
        check_target(tmp_path / "there.mp4", source)
    check_target(tmp_path / "there.mp4", source, overwrite=True)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        check_target(tmp_path / "folder.mp4", source)


def test_a_folder_that_may_not_be_written(make_clip: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, sealed = make_clip(), tmp_path / "sealed"
    sealed.mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write anywhere: let the system's answer be no
        monkeypatch.setattr(target_module.os, "access", lambda *_: False)
    with pytest.raises(NotWritableError):
        check_target(sealed / "out.mp4", source)


def test_overwrite_replaces_only_when_whole(make_clip: Make, restore: Restore, tmp_path: Path) -> None:
    source, old = make_clip("in.mp4"), tmp_path / "out.mp4"
    old.write_bytes(b"old")
    with pytest.raises(OutputExistsError):
        restore(source, "out.mp4")
    info = probe(source)
    with pytest.raises(RuntimeError, match="engine"), VideoWriter(old, info, info.video, H264, overwrite=True) as writer:
        writer.write(next(iter(VideoDecoder(info))))
        raise RuntimeError("the engine failed")
    assert old.read_bytes() == b"old" and not leftovers(tmp_path)
    restore(source, "out.mp4", overwrite=True)
    assert probe(old).video.frames == 12 and not leftovers(tmp_path)


def test_nothing_written_is_no_video(make_clip: Make, tmp_path: Path) -> None:
    info = probe(make_clip())
    with pytest.raises(EmptyVideoError), VideoWriter(tmp_path / "out.mp4", info, info.video, H264) as writer:
        writer.finish()
    assert not (tmp_path / "out.mp4").exists() and not leftovers(tmp_path)


def test_streams_a_container_cannot_hold(make_clip: Make, tmp_path: Path, rich: Callable[[str], Path]) -> None:
    info = probe(make_clip("subs.mkv", subtitles=[(0, 100, "Hello")]))
    with pytest.raises(UnsupportedStreamError, match=r"cannot hold stream 1 subtitle subrip: .*--drop-streams 1"):
        VideoWriter(tmp_path / "out.ts", info, info.video, H264)
    info = probe(rich("rich.mkv"))
    with pytest.raises(UnsupportedStreamError):
        VideoWriter(tmp_path / "out.mp4", info, info.video, H264)
    info = probe(make_clip("plain.mp4"))
    for name, codec in (("out.mov", "ffv1"), ("out.mp4", "ffv1"), ("out.mov", "av1")):
        with pytest.raises(UnsupportedStreamError, match=codec):
            VideoWriter(tmp_path / name, info, info.video, EncodeConfig.model_validate({"codec": codec}))
    with pytest.raises(UsageError, match="crf"):
        VideoWriter(tmp_path / "out.mp4", info, info.video, EncodeConfig(crf=60))
    assert not leftovers(tmp_path)


def test_wrong_frames_are_the_callers_fault(make_clip: Make, tmp_path: Path) -> None:
    info = probe(make_clip())
    with VideoWriter(tmp_path / "out.mp4", info, info.video, H264) as writer:
        frame = next(iter(VideoDecoder(info)))
        with pytest.raises(ValueError, match="takes uint8"):
            writer.write(frame.with_data(frame.data[:, :10]))
        with pytest.raises(ValueError, match="takes uint8"):
            writer.write(frame.with_data(frame.data.astype(np.float32)))
        writer.write(frame)
        with pytest.raises(ValueError, match="does not rise"):
            writer.write(frame)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 KiB; skips where none may be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_a_full_disk(make_clip: Make, small_disk: Path, name: str) -> None:
    info = probe(make_clip("in.mp4", size=(320, 240), frames=30))
    with (
        pytest.raises(DiskFullError, match="no space left"),
        VideoWriter(small_disk / name, info, info.video, EncodeConfig(crf=0)) as writer,
    ):
        noise = np.random.default_rng(0)
        for frame in VideoDecoder(info):
            writer.write(frame.with_data(noise.integers(0, 256, frame.data.shape, dtype=np.uint8)))
        writer.finish()
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize("when", ["encode", "verify"])
def test_memory_that_is_used_up_is_said_as_such(
    make_clip: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def starve(*_: Any, **__: Any) -> None:
        raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")

    info = probe(make_clip())
    with (
        pytest.raises(OutOfMemoryError, match="memory is used up"),
        VideoWriter(tmp_path / "o.mp4", info, info.video, H264) as writer,
    ):
        if when == "encode":
            monkeypatch.setattr(writer, "_mux", starve)
        else:
            monkeypatch.setattr("vidrestore.media.proof.verify.take_inventory", starve)
        for frame in VideoDecoder(info):
            writer.write(frame)
        writer.finish()
    assert not (tmp_path / "o.mp4").exists() and not leftovers(tmp_path)


def test_a_folder_that_cannot_be_flushed(make_clip: Make, restore: Restore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and some network file systems: the output has its name already, so this is no failure."""

    flush = os.fsync

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "a folder cannot be flushed")
        flush(descriptor)

    monkeypatch.setattr(target_module.os, "fsync", refuse)
    _, target, _ = restore(make_clip("in.mp4"))
    assert target.is_file() and not leftovers(target.parent)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EACCES, NotWritableError)])
def test_the_systems_refusals_are_translated(
    make_clip: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    info = probe(make_clip())

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(kind), VideoWriter(tmp_path / "out.mp4", info, info.video, H264) as writer:
        for frame in VideoDecoder(info):
            writer.write(frame)
        monkeypatch.setattr(target_module.os, "fsync", refuse)
        writer.finish()
    assert not (tmp_path / "out.mp4").exists() and not leftovers(tmp_path)
