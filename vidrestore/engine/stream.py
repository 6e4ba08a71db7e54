"""Frames on their way through passes of which those with maps look ahead: they see a frame, hold it, and do their work later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from vidrestore.engine.device_pass import DevicePass
from vidrestore.engine.passes import Observed, Pass
from vidrestore.errors import OutOfMemoryError
from vidrestore.models.pixel_maps import PixelMaps
from vidrestore.types import Batch, Frame

__all__ = ["Entered", "FrameWork", "Held", "Steadier", "restored_stream"]

Guard = Callable[[Frame], AbstractContextManager[None]]
Distance = Callable[[Frame], "int | None"]


class Steadier(Protocol):
    """Steadies what networks want done to consecutive frames (`temporal.maps.MapSteadier` is one)."""

    @property
    def halo(self) -> int:
        """Frames before and after a frame that it looks at."""

    def slide(self, items: Iterable[Observed]) -> Iterator[tuple[Observed, Sequence[PixelMaps]]]:
        """Each of `items` with its layers as they are to be carried out; as many, in the same order."""


@dataclass(frozen=True)
class Held:
    """A frame on its way."""

    frame: Frame
    distance: int | None
    """How far it lies outside what is wanted; None: it is padding, looked at so that a batch has its shape, and no more."""
    source: Any
    """The picture as it came: its own copy, on the engine's device."""
    picture: Any
    """As the passes so far have left it."""
    target: Any = None
    """Where the last pass writes, on a CPU."""


@dataclass(frozen=True)
class Entered:
    """A batch's frames as they begin their way."""

    held: list[Held]
    wait: Callable[[], None] = lambda: None
    """Returns when the batch's own memory may be written again."""


class FrameWork(Protocol):
    """The engine's part: what is done to held frames, on its device. What waits for a device is a call of its own."""

    @property
    def passes(self) -> Sequence[Pass | DevicePass]: ...

    @property
    def looks_at_groups(self) -> bool:
        """Whether networks look at several frames at once; if not, `look` is asked of one at a time."""

    @property
    def looks_ahead(self) -> int:
        """Groups that networks look at before what was seen of an earlier one is waited for."""

    @property
    def under_way(self) -> int:
        """Frames that leave before the first of them is waited for."""

    def enter(self, batch: Batch, distance: Distance) -> Entered: ...

    def look(self, place: int, group: Sequence[Held]) -> Callable[[], list[Observed]]:
        """What a pass that looks sees of frames; the call that comes back waits for it."""

    def advance(self, place: int, held: Held, layers: Sequence[PixelMaps] | None) -> Any:
        """A frame through a pass; `layers`: what a pass that looks is to do."""

    def leave(self, held: Held) -> Callable[[], Any]:
        """The frame as integers (3, scale * H, scale * W); the call that comes back waits for it to be on the host."""


def restored_stream(
    work: FrameWork, batches: Iterable[Batch], steadier: Steadier, distance: Distance, keep: int, guard: Guard
) -> Iterator[Frame]:
    """See FusedEngine.stream."""
    groups = _entering(work, batches, distance, guard)
    left = sum(step.looks for step in work.passes)
    for place, step in enumerate(work.passes):
        if step.looks:
            left -= 1
            groups = _looking(work, place, groups, steadier, keep + left * steadier.halo, guard)
        else:
            groups = _plain(work, place, groups, guard)
    yield from _leaving(work, groups, guard)


def _entering(work: FrameWork, batches: Iterable[Batch], distance: Distance, guard: Guard) -> Iterator[list[Held]]:
    for batch in batches:
        with guard(batch.frames[0]):  # copies only: there is no frame that could be at fault
            entered = work.enter(batch, distance)
        yield entered.held
        with guard(batch.frames[0]):
            entered.wait()


def _plain(work: FrameWork, place: int, groups: Iterator[list[Held]], guard: Guard) -> Iterator[list[Held]]:
    for group in groups:
        for held in group:
            if held.distance is None:
                continue
            with guard(held.frame):
                picture = work.advance(place, held, None)
            yield [replace(held, picture=picture)]


def _looking(
    work: FrameWork, place: int, groups: Iterator[list[Held]], steadier: Steadier, reach: int, guard: Guard
) -> Iterator[list[Held]]:
    waiting: deque[Held] = deque()

    def looked_at() -> Iterator[Observed]:
        for held, observed in _looked_at(work, place, groups, guard):
            if held.distance is not None:
                waiting.append(held)
                yield observed

    for held, layers in _steadied(steadier, looked_at(), waiting, guard):
        assert held.distance is not None
        if held.distance <= reach:
            with guard(held.frame):
                picture = work.advance(place, held, layers)
            yield [replace(held, picture=picture)]


def _looked_at(work: FrameWork, place: int, groups: Iterator[list[Held]], guard: Guard) -> Iterator[tuple[Held, Observed]]:
    """Each frame with what was seen of it; networks look at some groups ahead, while the host is busy with those before."""
    ahead: deque[tuple[list[Held], Callable[[], list[Observed]]]] = deque()

    def arrived() -> Iterator[tuple[Held, Observed]]:
        group, fetch = ahead.popleft()
        with _group_guard(work, place, group, guard):
            seen = fetch()
        yield from zip(group, seen, strict=True)

    for entered in groups:
        for group in [entered] if work.looks_at_groups else [[held] for held in entered]:
            with _group_guard(work, place, group, guard):
                fetch = work.look(place, group)
            ahead.append((group, fetch))
            if len(ahead) > work.looks_ahead:
                yield from arrived()
    while ahead:
        yield from arrived()


def _leaving(work: FrameWork, groups: Iterator[list[Held]], guard: Guard) -> Iterator[Frame]:
    """Frames in order, some of them on their way while one is waited for."""
    leaving: deque[tuple[Frame, Callable[[], Any]]] = deque()

    def arrived() -> Frame:
        frame, fetch = leaving.popleft()
        with guard(frame):
            return frame.with_data(fetch())

    for group in groups:
        for held in group:
            if held.distance is None:
                continue
            with guard(held.frame):
                fetch = work.leave(held)
            leaving.append((held.frame, fetch))
            if len(leaving) > work.under_way:
                yield arrived()
    while leaving:
        yield arrived()


@contextmanager
def _group_guard(work: FrameWork, place: int, group: Sequence[Held], guard: Guard) -> Iterator[None]:
    """A failure is that frame's which fails alone, too, or the first one's if none does; memory that is used up is no frame's."""
    if len(group) == 1:
        with guard(group[0].frame):
            yield
        return
    try:
        yield
    except Exception as error:
        used_up = isinstance(error, MemoryError | torch.OutOfMemoryError | OutOfMemoryError)
        with guard(group[0].frame if used_up else _culprit(work, place, group)):
            raise error


def _culprit(work: FrameWork, place: int, group: Sequence[Held]) -> Frame:
    for held in group:
        try:
            work.look(place, [held])()
        except Exception:  # whatever it is: the group's own error is what will be told
            return held.frame
    return group[0].frame


def _steadied(
    steadier: Steadier, seen: Iterator[Observed], waiting: deque[Held], guard: Guard
) -> Iterator[tuple[Held, Sequence[PixelMaps]]]:
    """What is waiting, each with its layers. What fails in the steadier is the fault of the first frame without a result."""
    coming = _Passing(seen)
    results = iter(steadier.slide(coming))
    while True:
        try:
            _, layers = next(results)
        except StopIteration:
            return
        except Exception as error:
            if error is coming.failure or not waiting:
                raise
            with guard(waiting[0].frame):
                raise
        yield waiting.popleft(), layers


class _Passing(Iterator[Observed]):
    """Hands observations on, and remembers what its source failed of: that is not the failure of whoever asks."""

    def __init__(self, items: Iterator[Observed]) -> None:
        self._items = items
        self.failure: Exception | None = None

    def __next__(self) -> Observed:
        try:
            return next(self._items)
        except StopIteration:
            raise
        except Exception as error:
            self.failure = error
            raise
