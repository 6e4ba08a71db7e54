"""The compiled passes between 4:2:0 and RGB against swscale, which all other formats go through."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import pytest

from vidrestore.kernels.yuv import reducing_taps, upsampling_taps
from vidrestore.media import convert
from vidrestore.media.convert import FromRGB, ToRGB
from vidrestore.media.matrices import is_quick
from vidrestore.types import ColorSpec, StreamInfo


def planes(frame: av.VideoFrame) -> list[np.ndarray[Any, Any]]:
    return [np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width] for p in frame.planes[:3]]


def picture(width: int, height: int, seed: int = 3) -> np.ndarray[Any, Any]:
    """Soft and hard edges, no clipping of chroma: (H, W, 3) uint8."""
    random = np.random.default_rng(seed)
    small = random.integers(60, 196, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("location", [None, "center", "left", "topleft"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("size", [(64, 48), (62, 34), (32, 32), (128, 32)])
def test_both_ways_agree_with_swscale(
    location: str | None, full_range: bool, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    color = ColorSpec(matrix="bt601", full_range=full_range, chroma_location=location)
    info = StreamInfo(*size, Fraction(1, 25), color, "yuv420p")
    rgb = picture(*size)
    quick = FromRGB(*size, "yuv420p", color)(rgb)
    monkeypatch.setattr(convert, "_QUICK_FORMATS", frozenset())
    slow = FromRGB(*size, "yuv420p", color)(rgb)
    for a, b in zip(planes(quick), planes(slow), strict=True):
        difference = a.astype(int) - b
        assert np.abs(difference).max() <= 1 and np.mean(difference != 0) < 0.03
    # A picture that carries its location, as a decoder's does: swscale reads it there.
    frame = av.video.reformatter.VideoReformatter().reformat(convert._canvas(*size, location), format="yuv420p")
    for target, source in zip(planes(frame), planes(slow), strict=True):
        target[:] = source
    slow_rgb = ToRGB(info)(frame)[0].astype(int)
    monkeypatch.undo()
    difference = ToRGB(info)(frame)[0] - slow_rgb
    assert np.abs(difference).max() <= 1 and np.mean(difference != 0) < 0.03


@pytest.mark.parametrize("centred", [True, False])
def test_filters_keep_levels_and_places(centred: bool) -> None:
    """A flat line stays flat; a ramp stays where it is, up to the filter's own slight waves."""
    up, down = upsampling_taps(centred).astype(float), reducing_taps(centred).astype(float)
    assert np.allclose(up.sum(axis=1), 1) and np.isclose(down.sum(), 1)
    assert np.allclose(up @ np.arange(-2, 3), [-0.25, 0.25] if centred else [0, 0.5], atol=0.06)
    assert np.isclose(down @ np.arange(-3, 5), 0.5 if centred else 0.0, atol=0.02)


def test_other_sizes_and_places_go_the_general_way() -> None:
    assert is_quick(64, 48, ColorSpec())
    assert not is_quick(16, 16, ColorSpec())
    assert not is_quick(63, 48, ColorSpec())
    assert not is_quick(64, 48, ColorSpec(chroma_location="bottomleft"))
