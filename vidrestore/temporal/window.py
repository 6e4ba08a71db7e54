"""What all blending over time has in common: a window of frames that slides along, is cut at scene cuts, and knows its halo.

out(k) depends on frames k - radius .. k + radius as they came, and on nothing else: a finite window, never over blended
frames. So a segment with a halo of `radius` frames gives the bits that the whole video gives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from vidrestore.config import TemporalConfig
from vidrestore.temporal.cuts import is_cut
from vidrestore.temporal.motion import Motion
from vidrestore.types import Clip, Frame, StreamInfo

__all__ = ["Entry", "FrameEntry", "SlidingWindow", "WindowBlend", "to_kind", "to_picture"]


class Entry(Protocol):
    """What a window holds, with all that its neighbours need of it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the picture as it came."""

    @property
    def thumbnail(self) -> np.ndarray:
        """See `cuts.thumbnail`."""


class FrameEntry(Entry, Protocol):
    """A frame in a window."""

    @property
    def frame(self) -> Frame: ...


T = TypeVar("T")
E = TypeVar("E", bound=Entry)
F = TypeVar("F", bound=FrameEntry)
R = TypeVar("R")
Link = tuple[Motion, Motion]
"""Motion between two consecutive frames of one shot: forward and backward."""


class SlidingWindow(ABC, Generic[T, E, R]):
    """As many results out as items in, in the same order; each is made of an item and its neighbours of the same shot.

    Holds at most 2 x radius + 1 items and the flows between them. One instance serves one thread.
    """

    def __init__(self, config: TemporalConfig | None = None) -> None:
        self.config = config or TemporalConfig()

    @property
    def halo(self) -> int:
        """Items of context a segment needs on each side."""
        return self.config.radius

    def slide(self, items: Iterable[T], halo_before: int = 0, halo_after: int = 0) -> Iterator[R]:
        """Results of all but the first `halo_before` and the last `halo_after` items, which are context only.

        With `halo` items on each side (fewer only where the stream itself ends) the result is the whole stream's, bit for bit.

        Raises:
            ValueError: an item's size differs from the one before it.
        """
        ahead = max(self.config.radius, halo_after)
        window: deque[E] = deque()
        links: deque[Link | None] = deque()
        due, passed = 0, 0  # place in the window of the next item to come out; items already behind it
        for item in items:
            entry = self._prepare(item)
            if window:
                links.append(self._link(window[-1], entry))
            window.append(entry)
            if len(window) - due > ahead:
                if passed >= halo_before:
                    yield self._result_at(window, links, due)
                due, passed = due + 1, passed + 1
            if due > self.config.radius:
                window.popleft()
                links.popleft()
                due -= 1
        for place in range(due, len(window) - halo_after):
            if passed >= halo_before:
                yield self._result_at(window, links, place)
            passed += 1

    def _link(self, first: E, second: E) -> Link | None:
        """Motion between two consecutive items; None where a cut parts them."""
        if first.shape != second.shape:
            raise ValueError(f"{self._name(second)} is {second.shape}, the one before {first.shape}")
        if is_cut(first.thumbnail, second.thumbnail, self.config.cut_threshold):
            return None
        return self._motions(first, second)

    def _result_at(self, window: deque[E], links: deque[Link | None], place: int) -> R:
        return self._blend(window[place], [list(self._reach(window, links, place, step)) for step in (-1, +1)])

    def _reach(self, window: deque[E], links: deque[Link | None], place: int, step: int) -> Iterator[tuple[E, Motion]]:
        """Neighbours of one side within the radius, nearest first, up to a cut or the clip's end."""
        motion: Motion | None = None
        for distance in range(1, self.config.radius + 1):
            other = place + step * distance
            if not 0 <= other < len(window):
                return
            link = links[min(other, other - step)]
            if link is None:
                return
            leg = link[0] if step > 0 else link[1]
            motion = leg if motion is None else self._chain(motion, leg)
            yield window[other], motion

    def _name(self, entry: E) -> str:
        """For messages."""
        return "a frame"

    @abstractmethod
    def _prepare(self, item: T) -> E:
        """All that will be needed of an item."""

    @abstractmethod
    def _motions(self, first: E, second: E) -> Link:
        """Motion first -> second and second -> first."""

    @abstractmethod
    def _chain(self, first: Motion, second: Motion) -> Motion:
        """Motion a -> c from a -> b and b -> c."""

    @abstractmethod
    def _blend(self, entry: E, sides: list[list[tuple[E, Motion]]]) -> R:
        """What an item becomes beside its neighbours before and behind it, each with the motion to it; there may be none."""


class WindowBlend(SlidingWindow[Frame, F, Frame]):
    """A pipeline stage: as many frames out as in, the same index, pts and duration, in the same order.

    Takes frames (C, H, W), C 1 or 3, uint8 or uint16, numpy or torch on the CPU, in any memory layout; gives the
    same kind, a view of an (H, W, C) array as decoding does. With `enabled` false or `strength` 0 frames pass untouched.

    Args:
        config: the settings; what they leave to the tasks should be settled (`TemporalConfig.for_tasks`).
        limit: 8-bit levels by which light and colour of a place are changed at most, and noise beside; None: as far as it goes.
    """

    def __init__(self, config: TemporalConfig | None = None, limit: float | None = None) -> None:
        super().__init__((config or TemporalConfig()).for_tasks(()))
        self.limit = limit
        assert self.config.strength is not None and self.config.detail is not None
        self.strength: float = self.config.strength
        self.detail: float = self.config.detail

    @property
    def halo(self) -> int:
        """Frames of context a segment needs on each side."""
        return self.config.radius if self._active else 0

    @property
    def _active(self) -> bool:
        return self.config.enabled and self.strength > 0

    def open(self, info: StreamInfo) -> StreamInfo:
        """Size, rate and colour stay as they are."""
        return info

    def close(self) -> None:
        """Let the buffers go. The stage may be used again."""

    def process(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Blend a whole stream; at its two ends the window is cut short."""
        return self.process_segment(frames)

    def process_clip(self, clip: Clip) -> Iterator[Frame]:
        """Blend the core of a clip; its halo frames are context and are not emitted."""
        return self.process_segment(clip.frames, clip.halo_before, clip.halo_after)

    def process_segment(self, frames: Iterable[Frame], halo_before: int = 0, halo_after: int = 0) -> Iterator[Frame]:
        """Blend all but the first `halo_before` and the last `halo_after` frames: see `slide`.

        Raises:
            ValueError: a frame's size differs from the one before it.
            TypeError: samples are neither uint8 nor uint16.
        """
        if not self._active:
            return _core(frames, halo_before, halo_after)
        return self.slide(frames, halo_before, halo_after)

    def _result_at(self, window: deque[F], links: deque[Link | None], place: int) -> Frame:
        sides = [list(self._reach(window, links, place, step)) for step in (-1, +1)]
        return self._blend(window[place], sides) if any(sides) else window[place].frame

    def _name(self, entry: F) -> str:
        return f"frame {entry.frame.index}"


def _core(frames: Iterable[Frame], halo_before: int, halo_after: int) -> Iterator[Frame]:
    """All but the first and last frames of an iterator, held back by no more than `halo_after`."""
    held: deque[Frame] = deque()
    for number, frame in enumerate(frames):
        if number >= halo_before:
            held.append(frame)
        if len(held) > halo_after:
            yield held.popleft()


def to_picture(data: Any) -> np.ndarray:
    """Frame data (C, H, W), numpy or torch -> contiguous (H, W, C), a view where it lies so already.

    Raises:
        TypeError: samples are neither uint8 nor uint16.
    """
    array = data if isinstance(data, np.ndarray) else data.numpy()
    if array.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"temporal blending takes uint8 or uint16 frames, got {array.dtype}")
    return np.ascontiguousarray(array.transpose(1, 2, 0))


def to_kind(picture: np.ndarray, like: Any) -> Any:
    """(H, W[, C]) -> (C, H, W) of the kind of `like`, numpy or torch: a view."""
    planes = picture.reshape(*picture.shape[:2], -1)
    if isinstance(like, np.ndarray):
        return planes.transpose(2, 0, 1)
    import torch  # only reached with a tensor in hand, so it is loaded already

    return torch.from_numpy(planes).permute(2, 0, 1)
