"""What all decoders are to their callers, whether they read a file, images or a pipe, and what can be asked of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from vidrestore.config import Damage as OnDamage
from vidrestore.media.input.damage import Damage
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.types import Frame, StreamInfo

__all__ = ["WHOLE", "DecodeOptions", "PictureDecoder", "Window"]


@dataclass(frozen=True)
class DecodeOptions:
    """Which pictures of a source a job is about, and how they are decoded."""

    start: float = 0.0
    """Seconds of the source's timeline; only pictures with start <= time < start + duration come."""
    duration: float | None = None
    """None: to the end."""
    threads: int = 2
    """Decoder threads; they change the speed, not the pictures."""
    on_damage: OnDamage = "stop"
    """conceal: the decoder's best guess stays in a damaged picture's place, else a neighbour; all are listed."""
    deinterlace: bool = False
    """Make whole pictures of fields instead of refusing interlaced video."""
    device: str | None = None
    """The GPU (`cuda`, `cuda:1`) whose NVDEC decodes, for a source that `require_nvdec` lets pass: `Frame.data` are then torch
    tensors there. None: the CPU, and numpy arrays."""


WHOLE = DecodeOptions()
"""All of it, by the defaults."""


@dataclass(frozen=True)
class Window:
    """A part of a job's pictures, for who restores only that part. Moments are ticks of the source's time base.

    With `first_pts` the source is entered there, near it if possible; without, it is decoded from the beginning of the job's
    range, and the pictures before `first_index` are passed over. Both give the same bits where `Source.index` has a list.
    """

    first_index: int = 0
    """Index, in the job, of the first picture of the window: frames count on from it, and errors name that number."""
    first_pts: int | None = None
    """Its pts, as `Source.index` told it: only pictures from there on come."""
    end_pts: int | None = None
    """Only pictures before it come; None: to the end of the job's range."""


class PictureDecoder(ABC):
    """The pictures of a source in display order: a context manager and an iterator of `Frame`.

    A decoder that may wait for another program also has `cancel()`, which ends the wait from any thread.
    """

    def __init__(self, media: MediaInfo) -> None:
        self.media = media
        self._damage: list[Damage] = []
        self._busy_since: float | None = None

    @property
    def info(self) -> StreamInfo:
        """The stream as its header describes it."""
        return self.media.video

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know: the source's own notices, then those of the decoding so far."""
        return self.media.notices

    @property
    def damage(self) -> tuple[Damage, ...]:
        """The damaged places found so far, in the order of pictures; empty unless damage is concealed."""
        return tuple(self._damage)

    @property
    def busy_since(self) -> float | None:
        """`time.monotonic()` when the work on one picture began, None between two: for a watch in another thread."""
        return self._busy_since

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def pass_over(self, count: int) -> int:
        """Leave out `count` pictures that come next, where that saves work; returns how many will be left out."""
        return 0

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Decode the range asked for; a second iteration begins anew, but for a pipe."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is open; may be called more than once."""
