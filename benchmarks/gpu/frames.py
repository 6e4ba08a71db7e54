"""Real frames to measure on: from the whole of the example drive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from vidrestore.bench.clip import example_clip
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.types import Batch, Frame, StreamInfo

__all__ = ["batches_of", "example_frames"]


def example_frames(count: int, size: tuple[int, int] | None = None, together: bool = False) -> tuple[StreamInfo, list[Frame]]:
    """Frames of the example drive.

    Args:
        count: how many; at least 1, at most as many as there are.
        size: (width, height), to which they are scaled; None: their own.
        together: the first ones, one after the other; otherwise they lie evenly over the whole of it.

    Returns:
        The stream and the frames, (3, H, W) uint8.
    """
    with VideoDecoder(example_clip()) as decoder:
        info = decoder.media.video
        frames = list(decoder)
    places = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    taken = frames[:count] if together else [frames[place] for place in places]
    if size is None or size == (info.width, info.height):
        return info, taken
    shrinks = size[0] < info.width
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    scaled = [cv2.resize(np.ascontiguousarray(frame.data.transpose(1, 2, 0)), size, interpolation=kind) for frame in taken]
    return replace(info, width=size[0], height=size[1]), [
        frame.with_data(data.transpose(2, 0, 1)) for frame, data in zip(taken, scaled, strict=True)
    ]


def batches_of(frames: Sequence[Frame], size: int) -> list[Batch]:
    """Batches of `size`; the last one is padded with its last frame."""
    batches = []
    for first in range(0, len(frames), size):
        part = frames[first : first + size]
        pictures = [torch.from_numpy(np.ascontiguousarray(frame.data.transpose(1, 2, 0))) for frame in part]
        pictures += [pictures[-1]] * (size - len(part))
        batches.append(Batch(torch.stack(pictures).permute(0, 3, 1, 2), tuple(part)))
    return batches
