"""The key of a job: equal for what gives the same bits, different, and in words, for what does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidrestore.config import LimitsConfig, RunConfig, TemporalConfig
from vidrestore.errors import MediaError, SourceMissingError
from vidrestore.pipeline.journal import faultpoints
from vidrestore.pipeline.journal.fingerprint import Key, Stamp, digest_of, make_key

CONFIG = RunConfig(engines=("day",), device="cpu", threads=2)
ENGINES = (("day-cyclegan", "1" * 64),)


def write(path: Path, content: bytes = b"footage") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def key(tmp_path: Path, config: RunConfig = CONFIG, engines: tuple[tuple[str, str], ...] = ENGINES, **extra: str) -> Key:
    return make_key([write(tmp_path / "in.mp4")], config, engines, extra)


def test_the_same_job_has_the_same_key(tmp_path: Path) -> None:
    one = key(tmp_path)
    assert one == key(tmp_path) and one.digest == key(tmp_path).digest and len(one.digest) == 64
    assert one.differences(key(tmp_path)) == []


def test_an_input_may_be_moved_and_renamed(tmp_path: Path) -> None:
    there = make_key([write(tmp_path / "elsewhere" / "other.mp4")], CONFIG, ENGINES, {})
    assert there == key(tmp_path)


def test_images_may_be_moved_but_not_exchanged(tmp_path: Path) -> None:
    files = [write(tmp_path / "a" / f"{number}.png", bytes([number])) for number in range(3)]
    moved = [write(tmp_path / "b" / f"{number}.png", bytes([number])) for number in range(3)]
    one = make_key(files, CONFIG, (), {})
    assert one == make_key(moved, CONFIG, (), {})
    moved[0].write_bytes(b"\2"), moved[2].write_bytes(b"\0")
    assert one.differences(make_key(moved, CONFIG, (), {})) == ["the input"]
    assert one != make_key(files[:2], CONFIG, (), {})


def test_the_order_of_files_counts(tmp_path: Path) -> None:
    files = [write(tmp_path / name) for name in ("a.png", "b.png")]
    assert make_key(files, CONFIG, (), {}) != make_key(files[::-1], CONFIG, (), {})


@pytest.mark.parametrize(
    "changed",
    [{"buffer_batches": 8}, {"limits": LimitsConfig(decode_seconds=5, streams=3)}, {"seat": "torch"}],
    ids=["buffer", "limits", "seat"],
)
def test_what_cannot_change_the_output_is_left_out(tmp_path: Path, changed: dict) -> None:
    assert key(tmp_path, CONFIG.model_copy(update=changed)) == key(tmp_path)


def test_every_other_setting_counts(tmp_path: Path) -> None:
    """A setting that is added to RunConfig decides the output unless it is named here."""
    names = {name.removeprefix("setting ").partition(".")[0] for name, _ in key(tmp_path).parts if name.startswith("setting ")}
    assert names == set(RunConfig.model_fields) - {"buffer_batches", "limits", "seat"}


def test_differences_are_told_in_words(tmp_path: Path) -> None:
    one = key(tmp_path, **{"the output's format": "mp4"})
    other = CONFIG.model_copy(update={"strength": 0.5, "temporal": TemporalConfig(radius=1)})
    assert one.differences(key(tmp_path, other, **{"the output's format": "mp4"})) == ["the settings (strength, temporal.radius)"]
    assert one.differences(key(tmp_path, CONFIG, (("day-cyclegan", "2" * 64),), **{"the output's format": "mov"})) == [
        "the weights of day-cyclegan",
        "the output's format",
    ]
    assert one.differences(key(tmp_path, CONFIG, (("day-unet", "2" * 64),), **{"the output's format": "mp4"})) == ["the engines"]
    write(tmp_path / "other.mp4", b"other")
    changed = make_key([tmp_path / "other.mp4"], CONFIG, ENGINES, {"the output's format": "mp4"})
    assert one.differences(changed) == ["the input"] == changed.differences(one)


def test_versions_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = key(tmp_path)
    monkeypatch.setattr("vidrestore.__version__", "9.9.9")
    monkeypatch.setattr("torch.__version__", "9.9.9")
    monkeypatch.setattr("av.library_versions", {"libavcodec": (99, 0, 0)})
    assert one.differences(key(tmp_path)) == ["vidrestore's version", "torch's version", "FFmpeg's version"]


def test_an_extra_cannot_hide_a_part(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="input"):
        key(tmp_path, input="nothing")


def test_progress_counts_bytes_of_all_files(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{number}.png", bytes(1000)) for number in range(3)]
    seen: list[tuple[int, int]] = []
    make_key(files, CONFIG, (), {}, lambda done, total: seen.append((done, total)))
    assert seen == [(1000, 3000), (2000, 3000), (3000, 3000)]


def test_a_missing_or_unreadable_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match=r"no file .*gone.mp4"):
        make_key([tmp_path / "gone.mp4"], CONFIG, (), {})
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(MediaError, match="cannot be read"):
        make_key([tmp_path / "folder.mp4"], CONFIG, (), {})


def test_the_digest_of_a_folder_is_of_its_names_and_contents(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name / "1.png", b"1"), write(tmp_path / name / "2.png", b"2")
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    (tmp_path / "b" / "2.png").rename(tmp_path / "b" / "3.png")
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "b")
    with pytest.raises(SourceMissingError):
        digest_of(tmp_path / "c")


def test_a_stamp_notices_changes(tmp_path: Path) -> None:
    files = [write(tmp_path / "1.png"), write(tmp_path / "2.png")]
    stamp = Stamp.of(files)
    assert stamp.changed() is None
    state = files[0].stat()
    files[0].write_bytes(b"Footage")
    os.utime(files[0], ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert stamp.changed() == f"{files[0]} was changed while it was being restored."
    stamp = Stamp.of(files)
    # Replaced by one of the same size and time: as a copy that keeps times does.
    state = files[1].stat()
    twin = write(tmp_path / "twin.png", b"FOOTAGE")
    os.utime(twin, ns=(state.st_atime_ns, state.st_mtime_ns))
    twin.replace(files[1])
    assert "2.png was changed" in (stamp.changed() or "")
    files[0].unlink()
    assert stamp.changed() == f"{files[0]} is no longer there."
    with pytest.raises(SourceMissingError):
        Stamp.of(files)


def test_a_stamp_outlives_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("in.mp4"))
    stamp = Stamp.of([Path("in.mp4")])
    (tmp_path / "else").mkdir()
    monkeypatch.chdir("else")
    assert stamp.changed() is None


def test_fault_points_do_nothing_without_a_hook() -> None:
    faultpoints.reached("segment renamed")
    faultpoints.reached("no such place")  # not looked at: this costs nothing in a job
    seen: list[str] = []
    faultpoints.set_hook(seen.append)
    try:
        for name in faultpoints.FAULT_POINTS:
            faultpoints.reached(name)
        with pytest.raises(ValueError, match="no such place"):
            faultpoints.reached("no such place")
    finally:
        faultpoints.set_hook(None)
    faultpoints.reached("segment renamed")
    assert seen == list(faultpoints.FAULT_POINTS)
