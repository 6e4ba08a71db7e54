"""A few damaged variants through the whole program; `python -m benchmarks.media.fuzz` runs 2,000 of real files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.media.fuzz import DAMAGES, EXIT_CODES, Source, Worker, damage, fuzz, judge, only
from vidrestore.errors import VerificationError

Make = Callable[..., Path]


def test_a_variant_follows_from_its_seed_and_number() -> None:
    content = bytes(range(256)) * 64
    made = [damage(content, 1, number) for number in range(200)]
    assert made == [damage(content, 1, number) for number in range(200)]
    assert made != [damage(content, 2, number) for number in range(200)]
    assert {name for name, _ in made} == set(DAMAGES)
    changed = sum(data != content for _, data in made)
    assert changed > 190  # a swap may meet two equal places


def test_even_the_smallest_file_can_be_damaged() -> None:
    assert all(damage(bytes(2), 1, number) for number in range(200))


def test_forty_variants_of_generated_clips(make_clip: Make, tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    gif = tmp_path / "clip.gif"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=32x32:r=10:d=0.5", gif)
    small = {"size": (64, 64), "frames": 8}  # x265 crashes on smaller ones
    sources = [
        Source(make_clip("clip.mp4", audio=True, chapters=[(0, 100, "One")], **small)),
        Source(make_clip("clip.mkv", codec="libx265", options={"x265-params": "log-level=error"}, **small)),
        Source(make_clip("clip.ts", codec="mpeg2video", **small)),
        Source(make_clip("clip.webm", codec="libvpx-vp9", options={"cpu-used": "8"}, **small)),
        Source(gif),
    ]
    tally = fuzz(sources, 40, seed=3, jobs=2)
    assert tally.variants == 40 and sum(tally.exit_codes.values()) == 40
    assert tally.findings == []
    assert set(tally.exit_codes) <= EXIT_CODES
    assert tally.exit_codes[0] > 0 and tally.exit_codes[3] > 0  # some live, some are refused


def test_what_counts_as_wrong(tmp_path: Path) -> None:
    output = tmp_path / "restored.mkv"
    assert judge({"code": 3, "said": "vidrestore: X is damaged."}, tmp_path, output) == []
    assert [kind for kind, _ in judge({"hung": True}, tmp_path, output)] == ["hangs"]
    assert [kind for kind, _ in judge({"signal": 11}, tmp_path, output)] == ["crashes"]
    assert [kind for kind, _ in judge({"code": 7, "said": ""}, tmp_path, output)] == ["undocumented"]
    assert [kind for kind, _ in judge({"code": 1, "said": "Something unforeseen went wrong: X"}, tmp_path, output)] == [
        "tracebacks"
    ]
    assert [kind for kind, _ in judge({"code": 6, "said": "vidrestore: X is full."}, tmp_path, output)] == ["blamed"]
    assert [kind for kind, _ in judge({"code": 3, "said": VerificationError.next_step}, tmp_path, output)] == ["unverified"]
    assert [kind for kind, _ in judge({"code": 0, "said": ""}, tmp_path, output)] == ["partial"]  # success without a file
    (tmp_path / ".restored.1.part.mkv").touch()
    assert [kind for kind, _ in judge({"code": 3, "said": ""}, tmp_path, output)] == ["partial"]


@pytest.mark.timeout(120)
def test_one_variant_alone(make_clip: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Source(make_clip())
    assert only([source, source], 7, 5, tmp_path) == []
    assert (tmp_path / "7.mp4").read_bytes() == damage(source.path.read_bytes(), 5, 7)[1]
    assert "variant 7: clip.mp4" in capsys.readouterr().out


@pytest.mark.timeout(120)
def test_a_crash_and_a_hang_are_seen() -> None:
    """A worker that dies, and one that does not answer in time."""
    worker = Worker()
    worker.process.kill()
    worker.process.wait()
    assert worker.run(["--version"], 30) == {"signal": 9} and not worker.usable
    slow = Worker()
    assert slow.run(["--version"], 0.0) == {"hung": True} and not slow.usable
    again = Worker()
    try:
        assert again.run(["--version"], 100)["code"] == 0
    finally:
        again.close()
