"""What all decoders are to their callers, whether they read a file, images or a pipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from vidrestore.media.input.damage import Damage
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.types import Frame, StreamInfo

__all__ = ["PictureDecoder"]


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

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Decode the range asked for; a second iteration begins anew, but for a pipe."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is open; may be called more than once."""
