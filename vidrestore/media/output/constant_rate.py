"""Constant rate: whether a source has one, and how `--cfr` makes one of a source that has not, keeping time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from vidrestore.config import LimitsConfig
from vidrestore.errors import ConfigError, LimitExceededError
from vidrestore.types import Frame

if TYPE_CHECKING:
    from vidrestore.media.output.sink import Sink
    from vidrestore.media.proof.verify import VerifyReport

__all__ = ["ConstantRate", "Grid", "average_rate", "constant_rate", "grid_changes", "is_constant", "on_grid", "parse_rate"]

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


class Grid:
    """Pictures at any times onto a grid of a constant rate, handed on at origin + n/rate.

    A picture begins at the grid's tick nearest to its own time (half a tick rounds up) and stays until the next one begins.
    So it is repeated where the source is slower, and left out where two begin at the same tick: then the later one is shown.
    No picture is ever off by more than half a tick, and errors do not add up, so sound stays in step. The last picture
    stays for its duration, at least for one tick.

    Args:
        hand_on: takes each picture of the grid.
        rate: frames a second.
        origin: seconds of the source's timeline at which tick 0 lies; None: where the first picture begins.
    """

    def __init__(self, hand_on: Callable[[Frame], None], rate: Fraction, origin: Fraction | None) -> None:
        self.rate = rate
        self._take, self._origin = hand_on, origin
        self._waiting: Frame | None = None
        self._begins = 0
        self._next_index = 0
        self.repeated = 0
        """Extra copies handed on."""
        self.left_out = 0
        """Pictures never handed on."""

    def write(self, frame: Frame) -> None:
        """Take the next picture; it is handed on when the one after it is known."""
        self._end_waiting(frame)
        self._waiting, self._begins = frame, self._tick(frame.pts * frame.time_base)

    def end(self, following: Frame | None = None) -> None:
        """Hand on the last picture: until `following` begins, which is not taken; None: for its duration."""
        if following is not None:
            self._end_waiting(following)
        elif self._waiting is not None:
            last = self._waiting
            end = self._tick((last.pts + (last.duration or 0)) * last.time_base)
            self._hand_on(max(end, self._begins + 1))
        self._waiting = None

    def drop(self) -> None:
        """Let the waiting picture go."""
        self._waiting = None

    def _end_waiting(self, following: Frame) -> None:
        tick = self._tick(following.pts * following.time_base)
        if self._waiting is None:
            return
        if tick == self._begins:
            self.left_out += 1
        else:
            self._hand_on(tick)

    def _tick(self, moment: Fraction) -> int:
        """The grid's tick nearest to a time of the source, in seconds."""
        if self._origin is None:
            self._origin = moment
        return math.floor((moment - self._origin) * self.rate + Fraction(1, 2))

    def _hand_on(self, end: int) -> None:
        """The waiting picture, once for every tick until `end`."""
        assert self._waiting is not None and self._origin is not None
        period = 1 / self.rate
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
            self._take(placed)


def grid_changes(rate: Fraction, repeated: int, left_out: int) -> tuple[str, ...]:
    """The notice of what was done to reach a constant rate; none where nothing was."""
    if not repeated and not left_out:
        return ()
    shown = f"{float(rate):.3f}".rstrip("0").rstrip(".")
    pictures = "1 picture was" if repeated == 1 else f"{repeated} pictures were"
    return (f"To reach {shown} frames a second, {pictures} repeated and {left_out} left out.",)


class ConstantRate:
    """A sink in front of another: takes pictures at any times, hands them on at shift + n/rate (see `Grid`).

    Args:
        sink: made for pictures whose time base is 1/rate.
        rate: frames a second.
        from_zero: the output's clock begins with its first picture (y4m); else the first picture keeps its time.
    """

    def __init__(self, sink: Sink, rate: Fraction, from_zero: bool = False) -> None:
        self._sink, self._rate = sink, rate
        self._grid = Grid(sink.write, rate, None if from_zero else sink.shift)

    @property
    def repeated(self) -> int:
        """Extra copies handed on."""
        return self._grid.repeated

    @property
    def left_out(self) -> int:
        """Pictures never handed on."""
        return self._grid.left_out

    @property
    def notices(self) -> tuple[str, ...]:
        """The sink's, and what was done to the pictures so far."""
        return (*self._sink.notices, *grid_changes(self._rate, self.repeated, self.left_out))

    @property
    def shift(self) -> Fraction:
        """Seconds taken off every source timestamp."""
        return self._sink.shift

    @property
    def place(self) -> Path:
        """Where the output lies until it has its name."""
        return self._sink.place

    @property
    def verified(self) -> VerifyReport | None:
        """What `finish` will return, from the moment when only the name is missing."""
        found = self._sink.verified
        return None if found is None else on_grid(found, self._rate, self.repeated, self.left_out)

    def __enter__(self) -> ConstantRate:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, frame: Frame) -> None:
        """Take the next picture; it is handed on when the one after it is known."""
        self._grid.write(frame)

    def finish(self, before_naming: Callable[[], None] | None = None) -> VerifyReport:
        """Hand on the last picture, and finish the sink: it verifies exactly this grid."""
        self._grid.end()
        return on_grid(self._sink.finish(before_naming), self._rate, self.repeated, self.left_out)

    def cancel(self) -> None:
        """Wake the sink where it waits for a reader; called from another thread when the job is stopped."""
        cancel = getattr(self._sink, "cancel", None)
        if cancel is not None:
            cancel()

    def close(self) -> None:
        """Let go of the sink, and of the picture that waits."""
        self._grid.drop()
        self._sink.close()


def on_grid(report: VerifyReport, rate: Fraction, repeated: int, left_out: int) -> VerifyReport:
    """A report of an output whose pictures were put on a grid, saying so."""
    return replace(report, constant_rate=float(rate), notices=(*report.notices, *grid_changes(rate, repeated, left_out)))
