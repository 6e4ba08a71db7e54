from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from vidrestore.errors import VerificationError
from vidrestore.media import MediaInfo, VerifyReport, VideoDecoder, VideoWriter
from vidrestore.media.probe import probe
from vidrestore.media.remux import CopiedStream
from vidrestore.media.verify import verify

Make = Callable[..., Path]
Restore = Callable[..., tuple[MediaInfo, Path, VerifyReport]]


@pytest.fixture
def expected() -> list[tuple[int, Fraction]]:
    return [(512 * index, Fraction(1, 12800)) for index in range(12)]


def test_a_sound_file_passes(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    report = verify(probe(path), path, expected)
    assert report.frames == 12 and report.pts_exact and report.first_seconds == 0
    assert "12 frames" in report.lines()[0]
    assert json.loads(json.dumps(report.as_dict()))["frames"] == 12


def test_a_lost_frame(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    with pytest.raises(VerificationError, match=r"13 frames .* 12 were written"):
        verify(probe(path), path, [*expected, (7000, Fraction(1, 12800))])


def test_a_moved_frame(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    expected[5] = (expected[5][0] + 1, expected[5][1])
    with pytest.raises(VerificationError, match="Frame 5"):
        verify(probe(path), path, expected)


def test_wrong_colour_tags(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    color = probe(path).video.color
    with pytest.raises(VerificationError, match="colour tag matrix"):
        verify(probe(path), path, expected, color=replace(color, tagged_matrix="bt709"))
    with pytest.raises(VerificationError, match="range"):
        verify(probe(path), path, expected, color=replace(color, full_range=True))


def test_missing_chapters(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    with pytest.raises(VerificationError, match="2 chapters"):
        verify(probe(path), path, expected, chapters=2)


def test_lost_and_changed_packets(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip(audio=True)
    info = probe(path)
    track = CopiedStream(info.streams[1], None, 1)
    with pytest.raises(VerificationError, match="0 packets"):
        verify(info, path, expected, copied=[track])
    for _ in range(22):
        track.digest.update(b"other bytes")
    count = track.digest.packets
    with pytest.raises(VerificationError, match=f"{count} packets|changed on the way"):
        verify(info, path, expected, copied=[track])


def test_a_file_that_cannot_be_read(tmp_path: Path, make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(VerificationError, match="cannot be read again"):
        verify(probe(make_clip()), broken, expected)


def test_a_failed_verification_leaves_nothing(make_clip: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidrestore.config import EncodeConfig
    from vidrestore.media import encode

    def fail(*_: object, **__: object) -> VerifyReport:
        raise VerificationError("A frame is missing.")

    monkeypatch.setattr(encode, "verify", fail)
    info = probe(make_clip("in.mp4"))
    with pytest.raises(VerificationError), VideoWriter(tmp_path / "out.mp4", info, info.video, EncodeConfig()) as writer:
        for frame in VideoDecoder(info):
            writer.write(frame)
        writer.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]
