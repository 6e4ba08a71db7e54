"""Constant rate: whether a source has one, and how `--cfr` makes one of a source that has not, keeping time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING

from vidrestore.config import LimitsConfig
from vidrestore.errors import ConfigError, LimitExceededError
from vidrestore.types import Frame

if TYPE_CHECKING:
    from vidrestore.media.output.sink import Sink
    from vidrestore.media.proof.verify import VerifyReport

__all__ = ["ConstantRate", "average_rate", "constant_rate", "is_constant", "parse_rate"]

_STANDARD = tuple(
    sorted({Fraction(rate) for rate in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 72, 90, 100, 120, 144, 200, 240)})
) + tuple(Fraction(rate * 1000, 1001) for rate in (12, 24, 30, 48, 60, 72, 120, 240))
"""Rates that cameras and standards use (SMPTE ST 2036-1, ITU-R BT.709 and BT.2020, and common ones of screens)."""

_SHORTHAND = Fraction(5, 1000)
"""23.98 means 24000/1001."""


def parse_rate(text: str, limits: LimitsConfig | None = None) -> Fraction:
    """Frames a second from `25`, `23.976` or `30000/1001`; the shorthands of NTSC rates (29.97) mean the exact rate.

    Raises:
        ConfigError: not a positive number.
        LimitExceededError: more than the limit.
    """
    try:
        rate = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise ConfigError(f"{text!r} is no frame rate.", "Write it as 25, 23.976 or 30000/1001.")
    highest = (limits or LimitsConfig()).frame_rate
    if rate > highest:
        raise LimitExceededError(f"A frame rate of {float(rate):g} is more than the limit of {highest:g}.")
    return next((near for near in _STANDARD if near.denominator == 1001 and abs(near - rate) < _SHORTHAND), rate)


def is_constant(pts: Sequence[int], rate: Fraction, tick: Fraction) -> bool:
    """Whether picture n is due at n/rate after some beginning, as exactly as the clock can tell.

    A clock that rounds puts every time within half a tick of where it is due, one that cuts within a tick before it: either
    way the differences lie within one tick of one another. They also have to lie within half a picture, so that where a tick
    is as long as a picture, one that is left out is noticed.

    Args:
        pts: times in ticks, rising.
        rate: frames a second.
        tick: seconds.
    """
    if not pts:
        return True
    step = 1 / (rate * tick)  # ticks a picture, a fraction
    n, d = step.numerator, step.denominator
    differences = [value * d - index * n for index, value in enumerate(pts)]
    spread = Fraction(max(differences) - min(differences), d)
    return spread <= 1 and spread < step / 2


def constant_rate(pts: Sequence[int], tick: Fraction, stated: Fraction | None) -> Fraction | None:
    """The rate at which `pts` are constant, None if they are not: the stated one if it fits, else a standard one, else measured.

    Containers' stated averages are often off by a little (a clock of milliseconds, an odd last duration), so a stated rate
    is never believed against the timestamps. Arguments as for `is_constant`; a single picture has the stated rate, else 25.
    """
    if len(pts) < 2:
        return stated or Fraction(25)
    measured = Fraction(len(pts) - 1) / ((pts[-1] - pts[0]) * tick)
    near = sorted(_STANDARD, key=lambda rate: abs(rate - measured))[:2]
    candidates = [*([stated] if stated else []), *near, measured.limit_denominator(1001), measured]
    return next((rate for rate in candidates if rate > 0 and is_constant(pts, rate, tick)), None)


def average_rate(pts: Sequence[int], tick: Fraction, stated: Fraction | None) -> Fraction:
    """The average rate of `pts`, as the nearest standard rate if it is within 1 % of that; 25 where nothing is known.

    Arguments as for `is_constant`; fewer than two pictures have the stated rate.
    """
    average = Fraction(len(pts) - 1) / ((pts[-1] - pts[0]) * tick) if len(pts) > 1 else stated or Fraction(25)
    near = min(_STANDARD, key=lambda rate: abs(rate - average))
    return near if abs(near - average) * 100 <= near else average.limit_denominator(1001)


class ConstantRate:
    """A sink in front of another: takes pictures at any times, hands them on at shift + n/rate.

    A picture begins at the grid's tick nearest to its own time (half a tick rounds up) and stays until the next one begins.
    So it is repeated where the source is slower, and left out where two begin at the same tick: then the later one is shown.
    No picture is ever off by more than half a tick, and errors do not add up, so sound stays in step. The last picture
    stays for its duration, at least for one tick.

    Args:
        sink: made for pictures whose time base is 1/rate.
        rate: frames a second.
        from_zero: the output's clock begins with its first picture (y4m); else the first picture keeps its time.
    """

    def __init__(self, sink: Sink, rate: Fraction, from_zero: bool = False) -> None:
        self._sink, self._rate, self._from_zero = sink, rate, from_zero
        self._origin: Fraction | None = None if from_zero else sink.shift
        self._waiting: Frame | None = None
        self._begins = 0
        self._next_index = 0
        self.repeated = 0
        """Extra copies handed on."""
        self.left_out = 0
        """Pictures never handed on."""

    @property
    def notices(self) -> tuple[str, ...]:
        """The sink's, and what was done to the pictures so far."""
        return (*self._sink.notices, *self._changes())

    @property
    def shift(self) -> Fraction:
        """Seconds taken off every source timestamp."""
        return self._sink.shift

    def __enter__(self) -> ConstantRate:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, frame: Frame) -> None:
        """Take the next picture; it is handed on when the one after it is known."""
        tick = self._tick(frame.pts * frame.time_base)
        if self._waiting is not None:
            if tick == self._begins:
                self.left_out += 1
            else:
                self._hand_on(tick)
        self._waiting, self._begins = frame, tick

    def finish(self, before_naming: Callable[[], None] | None = None) -> VerifyReport:
        """Hand on the last picture, and finish the sink: it verifies exactly this grid."""
        if self._waiting is not None:
            last = self._waiting
            end = self._tick((last.pts + (last.duration or 0)) * last.time_base)
            self._hand_on(max(end, self._begins + 1))
            self._waiting = None
        report = self._sink.finish(before_naming)
        return replace(report, constant_rate=float(self._rate), notices=(*report.notices, *self._changes()))

    def cancel(self) -> None:
        """Wake the sink where it waits for a reader; called from another thread when the job is stopped."""
        cancel = getattr(self._sink, "cancel", None)
        if cancel is not None:
            cancel()

    def close(self) -> None:
        """Let go of the sink, and of the picture that waits."""
        self._waiting = None
        self._sink.close()

    def _tick(self, moment: Fraction) -> int:
        """The grid's tick nearest to a time of the source, in seconds."""
        if self._origin is None:
            self._origin = moment
        return math.floor((moment - self._origin) * self._rate + Fraction(1, 2))

    def _hand_on(self, end: int) -> None:
        """The waiting picture, once for every tick until `end`."""
        assert self._waiting is not None and self._origin is not None
        period = 1 / self._rate
        scale = math.lcm(period.denominator, self._origin.denominator)
        self.repeated += end - self._begins - 1
        for tick in range(self._begins, end):
            moment = self._origin + tick * period
            placed = replace(
                self._waiting,
                index=self._next_index,
                pts=int(moment * scale),
                time_base=Fraction(1, scale),
                duration=int(period * scale),
            )
            self._next_index += 1
            self._sink.write(placed)

    def _changes(self) -> list[str]:
        if not self.repeated and not self.left_out:
            return []
        rate = f"{float(self._rate):.3f}".rstrip("0").rstrip(".")
        return [f"To reach {rate} frames a second, {self.repeated} pictures were repeated and {self.left_out} left out."]
