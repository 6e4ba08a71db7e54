"""What FFmpeg says while it is tried, heard instead of printed."""

from __future__ import annotations

from typing import Any

import av.logging

__all__ = ["Messages"]


class Messages:
    """What FFmpeg's log says at warning level within a `with`, in this thread; `texts` after it. Hold `tags.LOG_LOCK` meanwhile.

    The level is FFmpeg's global one, and is put back. What other threads say meanwhile is nobody's: without this it would not
    be said at all. A message like the last one is heard, too: the same mistake may be made twice.
    """

    def __enter__(self) -> Messages:
        self.texts: list[str] = []
        self._level, self._skips = av.logging.get_level(), av.logging.get_skip_repeated()
        self._others, self._ours = av.logging.Capture(local=False), av.logging.Capture()
        self._others.__enter__()
        self._lines = self._ours.__enter__()
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.WARNING)
        av.logging.set_libav_level(av.logging.WARNING)
        return self

    def __exit__(self, *error: Any) -> None:
        av.logging.set_level(self._level)
        av.logging.set_libav_level(av.logging.INFO)
        av.logging.set_skip_repeated(self._skips)
        self._ours.__exit__(*error)
        self._others.__exit__(*error)
        self.texts = [text.strip().rstrip(".") for _, _, text in self._lines]

    def first(self, error: Exception) -> str:
        """The first thing that was said, which is nearest to the cause; the error's own words where nothing was."""
        own = str(getattr(error, "strerror", None) or error).partition("\n")[0].rstrip(".")
        return next((text for text in self.texts if text), own)
