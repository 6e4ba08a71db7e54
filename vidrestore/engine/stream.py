"""Frames on their way through passes of which those with maps look ahead: they see a frame, hold it, and do their work later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from vidrestore.engine.passes import MapPass, Observed, Pass, Picture
from vidrestore.models.pixel_maps import PixelMaps
from vidrestore.types import Batch, Frame

__all__ = ["FrameWork", "Held", "Steadier", "restored_stream"]

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
    picture: Picture
    """As the passes so far have left it."""
    target: Any = None
    """Where the last pass writes."""


class FrameWork(Protocol):
    """The engine's part: what is done to held frames, on its device."""

    def enter(self, batch: Batch, distance: Distance) -> list[Held]: ...

    def look(self, step: MapPass, group: Sequence[Held]) -> list[Observed]: ...

    @property
    def looks_at_groups(self) -> bool:
        """Whether networks look at several frames at once; if not, `look` is asked of one at a time."""

    def advance(self, place: int, held: Held, layers: Sequence[PixelMaps] | None) -> Picture: ...

    def leave(self, held: Held) -> Any: ...


def restored_stream(
    work: FrameWork,
    passes: Sequence[Pass],
    batches: Iterable[Batch],
    steadier: Steadier,
    distance: Distance,
    keep: int,
    guard: Guard,
) -> Iterator[Frame]:
    """See FusedEngine.stream."""

    def entering() -> Iterator[list[Held]]:
        for batch in batches:
            with guard(batch.frames[0]):  # copies only: there is no frame that could be at fault
                group = work.enter(batch, distance)
            yield group

    def plain(place: int, groups: Iterator[list[Held]]) -> Iterator[list[Held]]:
        for group in groups:
            for held in group:
                if held.distance is None:
                    continue
                with guard(held.frame):
                    picture = work.advance(place, held, None)
                yield [replace(held, picture=picture)]

    def steadied(place: int, step: MapPass, groups: Iterator[list[Held]], reach: int) -> Iterator[list[Held]]:
        waiting: deque[Held] = deque()

        def looked_at() -> Iterator[Observed]:
            for group in groups:
                for held, observed in zip(group, _look(work, step, group, guard), strict=True):
                    if held.distance is not None:
                        waiting.append(held)
                        yield observed

        for held, layers in _steadied(steadier, looked_at(), waiting, guard):
            assert held.distance is not None
            if held.distance <= reach:
                with guard(held.frame):
                    picture = work.advance(place, held, layers)
                yield [replace(held, picture=picture)]

    groups = entering()
    left = sum(isinstance(step, MapPass) for step in passes)
    for place, step in enumerate(passes):
        if isinstance(step, MapPass):
            left -= 1
            groups = steadied(place, step, groups, keep + left * steadier.halo)
        else:
            groups = plain(place, groups)
    for group in groups:
        for held in group:
            with guard(held.frame):
                data = work.leave(held)
            yield held.frame.with_data(data)


def _look(work: FrameWork, step: MapPass, group: Sequence[Held], guard: Guard) -> Iterator[Observed]:
    """What was seen of each frame; a failure is that frame's which fails alone, too, or the first one's if none does."""
    if not work.looks_at_groups:
        for held in group:
            with guard(held.frame):
                (observed,) = work.look(step, [held])
            yield observed
        return
    try:
        seen = work.look(step, group)
    except Exception as error:
        with guard(_culprit(work, step, group)):
            raise error
    yield from seen


def _culprit(work: FrameWork, step: MapPass, group: Sequence[Held]) -> Frame:
    for held in group:
        try:
            work.look(step, [held])
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
