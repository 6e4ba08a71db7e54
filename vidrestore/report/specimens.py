"""Which frames a report shows, and its short clip: chosen by what was measured, and by chance that anybody can repeat."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vidrestore.media.input.pairs import Pairs
from vidrestore.media.output.clip import ClipWriter
from vidrestore.metrics.resize import match_size
from vidrestore.report.compose import side_by_side
from vidrestore.report.pass_over import Findings, Sample, bigger
from vidrestore.report.proof import Moment
from vidrestore.report.shown import Viewer

__all__ = ["CLIP_BYTES", "Specimen", "choose_specimens", "make_clip", "show_moments"]

WANTED = ("changed most", "changed least", "at random", "changed most", "at random", "at random")
"""In the order in which they are chosen: a clip too short for all of them has one of each kind first."""
ALONE, RANDOM = "the only frame", "at random"
APART = 0.08
"""Share of the clip that two frames shown are apart, where there are frames enough."""
CLIP_SECONDS = 5.0
CLIP_BYTES = 1_500_000
CLIP_RATE = 30
"""Pictures a second, at most: of faster videos every second one is shown, every third ..."""
SIZES = ((640, 480, 34), (640, 480, 44), (426, 320, 44), (320, 240, 52))
"""Width and height that a panel fits in, and crf: the next where the clip is larger than CLIP_BYTES."""


@dataclass(frozen=True)
class Specimen:
    """A frame to show."""

    why: str
    sample: Sample


def choose_specimens(found: Findings, seed: str) -> list[Specimen]:
    """The frames that changed most and least, and some at random, well apart in time; kind by kind.

    Where all changed alike, or not at all, none changed most: all are drawn at random.

    Args:
        found: by the pass.
        seed: of the chance: the hash of the output, so that nobody can have chosen.
    """
    chosen: list[Specimen] = []
    shuffled = sorted(found.samples, key=lambda sample: sample.number)
    random.Random(seed).shuffle(shuffled)
    orders = {
        "changed most": sorted(found.samples, key=lambda sample: (-sample.change, sample.number)),
        "changed least": sorted(found.samples, key=lambda sample: (sample.change, sample.number)),
        "at random": shuffled,
    }
    apart = max(1.0, APART * found.frames)
    if found.frames == 1:
        return [Specimen(ALONE, found.samples[0])]
    changes = [sample.change for sample in found.samples]
    for why in WANTED if max(changes) > min(changes) else [RANDOM] * len(WANTED):
        free = (one for one in orders[why] if all(abs(one.number - other.sample.number) >= apart for other in chosen))
        sample = next(free, None)
        if sample is not None:
            chosen.append(Specimen(why, sample))
    return sorted(chosen, key=lambda one: WANTED.index(one.why))


def show_moments(pairs: Pairs, viewers: tuple[Viewer, Viewer], specimens: Sequence[Specimen]) -> tuple[Moment, ...]:
    """Read the frames again and put them beside each other, in the order of `specimens`."""
    moments: dict[int, Moment] = {}
    for specimen in sorted(specimens, key=lambda one: one.sample.number):
        sample = specimen.sample
        ((pair,),) = pairs.at([sample.number])
        before, after = (viewer(picture) for viewer, picture in zip(viewers, pair.pictures, strict=True))
        before = np.ascontiguousarray(bigger(before, after))
        moments[sample.number] = Moment(
            specimen.why, sample.number, sample.seconds, sample.change, before, np.ascontiguousarray(after)
        )
    return tuple(moments[specimen.sample.number] for specimen in specimens)


def make_clip(pairs: Pairs, viewers: tuple[Viewer, Viewer], found: Findings, progress: Callable[[float], None]) -> bytes | None:
    """Some seconds around the frame that changed most, before | after; None of a single frame."""
    if found.frames < 2:
        return None
    rate = _rate(found)
    step = max(1, round(rate / CLIP_RATE))
    count = max(2, min(found.frames, round(CLIP_SECONDS * rate)))
    most = max(found.samples, key=lambda sample: (sample.change, -sample.number)).number
    first = min(max(0, most - count // 2), found.frames - count)
    coded = b""
    for wide, high, crf in SIZES:
        coded = _encode(pairs, viewers, range(first, first + count, step), rate / step, (wide, high), crf, progress)
        if len(coded) <= CLIP_BYTES:
            return coded
    return None


def _encode(
    pairs: Pairs,
    viewers: tuple[Viewer, Viewer],
    numbers: range,
    rate: Fraction,
    most: tuple[int, int],
    crf: int,
    progress: Callable[[float], None],
) -> bytes:
    coded = io.BytesIO()
    writer: ClipWriter | None = None
    try:
        for done, (pair,) in enumerate(pairs.at(numbers)):
            shown = [viewer(picture) for viewer, picture in zip(viewers, pair.pictures, strict=True)]
            wide, high = _panel(shown[1], most)
            sheet = side_by_side(
                [np.asarray(match_size(picture, high, wide), np.uint8) for picture in shown], ("before", "after"), columns=2
            )
            if writer is None:
                writer = ClipWriter(coded, sheet.shape[1], sheet.shape[0], rate, codec="vp9", crf=crf)
            writer.write(sheet)
            progress(done / len(numbers))
        if writer is not None:
            writer.finish()
    finally:
        if writer is not None:
            writer.close()
    return coded.getvalue()


def _rate(found: Findings) -> Fraction:
    """Frames a second on average of the part that was looked at."""
    first, last = found.samples[0], found.samples[-1]
    passed = last.seconds - first.seconds
    if passed <= 0:
        return Fraction(25)
    return Fraction((last.number - first.number) / passed).limit_denominator(1001)


def _panel(picture: NDArray[np.uint8], most: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a panel: even, and no larger than the picture or `most`."""
    height, width = picture.shape[:2]
    scale = min(1.0, most[0] / width, most[1] / height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
