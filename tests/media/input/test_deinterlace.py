"""Fields made by the judge from a moving picture: combed before, whole after, and each in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidrestore.errors import MediaError
from vidrestore.media import VideoDecoder
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.media.input.probe import probe
from vidrestore.types import Frame

# A bar that moves 3 pixels a field: 50 whole pictures a second, woven into 25 of two fields.
MOVING = "color=black:s=160x96:r=50:d=1,drawbox=x='0':y=0:w=iw:h=ih:color=gray:t=fill,format=yuv420p"
BAR = "geq=lum='if(between(mod(X-3*N,160),0,40),200,60)':cb=128:cr=128"


@pytest.fixture
def fields(tmp_path: Path, ffmpeg: Callable[..., None]) -> Callable[..., Path]:
    """fields(first, codec, name): 25 interlaced pictures, `first` is tff or bff."""

    def make(first: str, codec: str = "libx264", name: str = "fields.mkv", *more: str) -> Path:
        path = tmp_path / name
        weave = f"{MOVING},{BAR},tinterlace=interleave_{'top' if first == 'tff' else 'bottom'},setfield={first}"
        own = {
            "libx264": ["-x264-params", f"{first}=1:keyint=8:bframes=2", "-crf", "4"],
            "mpeg2video": ["-flags", "+ilme+ildct", "-q:v", "1", "-g", "8"],
            "ffvhuff": [],
        }[codec]
        ffmpeg("-f", "lavfi", "-i", weave, "-c:v", codec, *own, *more, path)
        return path

    return make


def combing(frame: Frame) -> float:
    """How much lines differ from both neighbours in the same direction: 0 in whole pictures of vertical bars."""
    luma = frame.data[1].astype(np.int32)
    up, down = luma[1:-1] - luma[:-2], luma[1:-1] - luma[2:]
    return float(np.mean(np.where(up * down > 0, np.minimum(np.abs(up), np.abs(down)), 0)))


def decode(path: Path, **settings: Any) -> list[Frame]:
    with VideoDecoder(path, DecodeOptions(**settings)) as decoder:
        return list(decoder)


@pytest.mark.parametrize("first", ["tff", "bff"])
@pytest.mark.parametrize(("codec", "name"), [("libx264", "fields.mkv"), ("mpeg2video", "fields.ts")])
def test_combing_is_gone_and_every_picture_is_there(
    fields: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, first: str, codec: str, name: str
) -> None:
    path = fields(first, codec, name)
    assert probe(path).interlaced
    with pytest.raises(MediaError, match=r"interlaced.*--deinterlace"):
        VideoDecoder(path)
    whole = decode(path, deinterlace=True)
    monkeypatch.setattr("vidrestore.media.input.decode.deinterlaced", lambda shown, order: shown)
    combed = decode(path, deinterlace=True)
    assert [(f.pts, f.duration) for f in whole] == [(f.pts, f.duration) for f in combed] and len(whole) == 25
    # The last field has no successor to be compared with; bwdif keeps it as it can.
    assert min(map(combing, combed)) > 2
    assert max(map(combing, whole[1:-1])) < 0.15 * min(map(combing, combed))


@pytest.mark.parametrize("first", ["tff", "bff"])
def test_the_field_shown_first_is_the_one_kept(fields: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    path = fields(first)
    whole = decode(path, deinterlace=True)
    monkeypatch.setattr("vidrestore.media.input.decode.deinterlaced", lambda shown, order: shown)
    combed = decode(path, deinterlace=True)
    kept = slice(0, None, 2) if first == "tff" else slice(1, None, 2)
    other = slice(1, None, 2) if first == "tff" else slice(0, None, 2)
    for after, before in zip(whole[2:-2], combed[2:-2], strict=True):
        same = np.abs(after.data[1, kept].astype(int) - before.data[1, kept]).mean()
        moved = np.abs(after.data[1, other].astype(int) - before.data[1, other]).mean()
        assert same < 0.5 < moved


def test_a_part_has_the_pictures_of_the_whole(fields: Callable[..., Path]) -> None:
    path = fields("tff")
    whole = decode(path, deinterlace=True)
    for start, duration in ((0.32, 0.2), (0.4, None), (0.0, 0.2)):  # 0.32 s is a key picture
        part = decode(path, start=start, duration=duration, deinterlace=True)
        first = round(start * 25)
        assert [f.pts for f in part] == [f.pts for f in whole[first : first + len(part)]]
        assert len(part) == (25 - first if duration is None else 5)
        assert all(np.array_equal(a.data, b.data) for a, b in zip(part, whole[first:], strict=False))


def test_whole_pictures_pass_untouched(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    path = tmp_path / "whole.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", "-c:v", "libx264", path)
    plain, asked = decode(path), decode(path, deinterlace=True)
    assert all(np.array_equal(a.data, b.data) and a.pts == b.pts for a, b in zip(plain, asked, strict=True))


def test_fields_that_begin_later_are_refused_at_their_picture(
    fields: Callable[..., Path], tmp_path: Path, ffmpeg: Callable[..., None]
) -> None:
    """The header and the first pictures say progressive; no picture may go through combed for that."""
    whole, part, both = tmp_path / "whole.ts", fields("tff", "mpeg2video", "fields.ts", "-bf", "0"), tmp_path / "both.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96:r=25:d=0.4", "-c:v", "mpeg2video", "-q:v", "2", "-bf", "0", whole)
    (tmp_path / "list.txt").write_text(f"file '{whole}'\nfile '{part}'\n")
    ffmpeg("-f", "concat", "-safe", "0", "-i", tmp_path / "list.txt", "-c", "copy", both)
    assert not probe(both).interlaced
    with pytest.raises(MediaError, match=r"interlaced at frame 10 \(.*--deinterlace"):
        decode(both)
    frames = decode(both, deinterlace=True)
    assert len(frames) == 35 and max(map(combing, frames[12:-1])) < 0.5


def test_a_codec_that_does_not_mark_its_pictures(fields: Callable[..., Path]) -> None:
    """FFVHUFF in mov: only the container's `fiel` atom tells the order of fields."""
    path = fields("bff", "ffvhuff", "fields.mov", "-field_order", "bb")
    assert probe(path).interlaced
    assert max(map(combing, decode(path, deinterlace=True)[1:-1])) < 0.5


def test_pictures_too_small_for_the_filter(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    path = tmp_path / "tiny.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=2x2:r=25:d=0.2", "-c:v", "ffv1", path)
    with pytest.raises(MediaError, match="too small to deinterlace"):
        decode(path, deinterlace=True)
