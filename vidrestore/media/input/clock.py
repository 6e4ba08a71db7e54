"""When is a picture shown? The source's own pts; where it has none, or an impossible one, by a stated rule.

1. A picture has the pts its container states (which edit list and time base have been applied to, and nothing else): also a
   negative one, also beyond 2^32.
2. Pictures without pts follow their predecessor by its duration (by that of the average rate, if that is unknown too). Those at
   the very beginning precede, in the same way, the first that has one; if none has, the first is shown at 0. A stream whose
   packets have decoding times only takes those, in their order.
3. A pts that does not rise is set `SMALLEST_STEP` (at least a tick) after its predecessor: less could not be told apart in
   Matroska. If it lies `LARGEST_STEP_BACK` or more before it, the recording was put together of several; there is no right
   place for it in one timeline, and it is refused. So is one beyond `LATEST`, which only damage can have written.

What was changed is noted.

Durations are the container's, but for mp4 and mov: their sample durations are steps of decoding time (ISO 14496-12, 8.6.1.2),
which belong to other pictures where pictures are not decoded in the order they are shown. There each lasts until the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

from vidrestore.errors import DamagedVideoError, MediaError
from vidrestore.media.input.ledger import Slot
from vidrestore.media.input.media_info import MediaInfo

__all__ = ["LARGEST_STEP_BACK", "LATEST", "SMALLEST_STEP", "Clock"]

LARGEST_STEP_BACK = 1
"""Seconds."""
LATEST = 1_000_000_000
"""Seconds (32 years), before or after 0."""
SMALLEST_STEP = Fraction(1, 1000)
"""Seconds."""
_UNTIMED_AT_START = 16
"""Pictures without pts that may wait for the first that has one."""


class Clock:
    """Gives each moment of display its pts.

    Args:
        media: what the moments are of.
        note: called with a sentence for people when the rule was applied.
    """

    def __init__(self, media: MediaInfo, note: Callable[[str], None]) -> None:
        self._media = media
        self._note = note
        self._last: tuple[int, int] | None = None  # pts and duration
        self._step = max(1, math.ceil(SMALLEST_STEP / media.video.time_base))
        rate = media.video.frame_rate
        self._usual = max(self._step, round(1 / rate / media.video.time_base)) if rate else self._step

    def stamped(self, slots: Iterator[Slot]) -> Iterator[Slot]:
        """The same slots, each with a pts above the one before.

        Raises:
            MediaError: the timestamps jump back, or are impossible.
        """
        timed = self._timed(slots)
        return _until_next(timed) if "mp4" in self._media.container.split(",") else timed

    def _timed(self, slots: Iterator[Slot]) -> Iterator[Slot]:
        early: list[Slot] = []
        timed = self._media.streams[self._media.video_index].start is not None
        for slot in slots:
            if slot.pts is None and not slot.gap and timed and self._last is None and len(early) < _UNTIMED_AT_START:
                early.append(slot)
                continue
            yield from self._before(early, slot)
            early = []
            yield self._after(slot)
        yield from self._before(early, None)

    def _before(self, early: list[Slot], first: Slot | None) -> Iterator[Slot]:
        """Slots without pts at the very beginning."""
        if early and first is not None and first.pts is not None:
            self._say_untimed()
            pts = first.pts
            for slot in reversed(early):
                pts -= slot.duration or self._usual
                slot.pts = pts
        for slot in early:
            yield self._after(slot)

    def _after(self, slot: Slot) -> Slot:
        if slot.gap:
            slot.pts = 0 if self._last is None else self._last[0]
            return slot
        if slot.pts is None:
            slot.pts = 0 if self._last is None else self._last[0] + max(self._last[1], self._step)
            self._say_untimed()
        if self._last is not None and slot.pts <= self._last[0]:
            self._refuse_jump(self._last[0], slot.pts)
            slot.pts = self._last[0] + self._step
            self._note("Some timestamps do not rise; each of those is set a millisecond after its predecessor.")
        if abs(slot.pts * self._media.video.time_base) > LATEST:
            raise DamagedVideoError(f"A picture of {self._media.path} has an impossible timestamp ({slot.pts} ticks).")
        self._last = slot.pts, slot.duration or self._usual
        return slot

    def _say_untimed(self) -> None:
        self._note("Some pictures have no timestamp; each follows its predecessor by that one's duration.")

    def _refuse_jump(self, last: int, pts: int) -> None:
        tick = self._media.video.time_base
        if (last - pts) * tick < LARGEST_STEP_BACK:
            return
        raise MediaError(
            f"The timestamps of {self._media.path} jump back from {float(last * tick):.3f} s to {float(pts * tick):.3f} s.",
            "Cut the video there, or give it new timestamps, for example by remuxing it, and restore the result.",
        )


def _until_next(slots: Iterator[Slot]) -> Iterator[Slot]:
    """Each lasts until the next; the last as long as its container says."""
    waiting: list[Slot] = []
    for slot in slots:
        if slot.gap:
            waiting.append(slot)
            continue
        for before in waiting:
            if not before.gap and before.pts is not None and slot.pts is not None:
                before.duration = slot.pts - before.pts
            yield before
        waiting = [slot]
    yield from waiting
