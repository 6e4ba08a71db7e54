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

__all__ = ["Held", "Steadier", "Worker", "restored_stream"]

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
    """How far it lies outside what is wanted; None: it is padding."""
    source: Any
    """The picture as it came: its own copy, on the engine's device."""
    picture: Picture
    """As the passes so far have left it."""
    target: Any = None
    """Where the last pass writes."""


class Worker(Protocol):
    """The engine's part: what is done to held frames, on its device."""

    def enter(self, batch: Batch, distance: Distance) -> list[Held]: ...

    def look(self, step: MapPass, group: Sequence[Held]) -> list[Observed]: ...

    def advance(self, place: int, held: Held, layers: Sequence[PixelMaps] | None) -> Picture: ...

    def leave(self, held: Held) -> Any: ...


def restored_stream(
    worker: Worker,
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
            with guard(batch.frames[0]):
                group = worker.enter(batch, distance)
            yield group

    def plain(place: int, groups: Iterator[list[Held]]) -> Iterator[list[Held]]:
        for group in groups:
            for held in group:
                with guard(held.frame):
                    picture = worker.advance(place, held, None)
                yield [replace(held, picture=picture)]

    def steadied(place: int, step: MapPass, groups: Iterator[list[Held]], reach: int) -> Iterator[list[Held]]:
        waiting: deque[Held] = deque()

        def looked_at() -> Iterator[Observed]:
            for group in groups:
                with guard(group[0].frame):
                    seen = worker.look(step, group)
                for held, observed in zip(group, seen, strict=True):
                    if held.distance is not None:
                        waiting.append(held)
                        yield observed

        for _, layers in steadier.slide(looked_at()):
            held = waiting.popleft()
            assert held.distance is not None
            if held.distance <= reach:
                with guard(held.frame):
                    picture = worker.advance(place, held, layers)
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
                data = worker.leave(held)
            yield held.frame.with_data(data)
