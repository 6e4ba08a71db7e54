"""Preview: a few moments of a video restored as a run would restore them, before | after on one sheet, in seconds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidrestore.buffer import RingBuffer
from vidrestore.config import RunConfig
from vidrestore.errors import EmptyVideoError, UsageError
from vidrestore.media.input.packet_scan import scan_packets
from vidrestore.media.input.pairs import require_indexed
from vidrestore.media.input.picture_decoder import PictureDecoder, Window
from vidrestore.media.input.source import FileSource
from vidrestore.media.proof.findings import counted
from vidrestore.media.upright import Upright
from vidrestore.pipeline.decoding import decode_options, sample_type
from vidrestore.pipeline.engines import EngineShelf, halo_of
from vidrestore.pipeline.faults import memory_guard
from vidrestore.pipeline.moments import choose_moments
from vidrestore.pipeline.plan import expected_frames
from vidrestore.pipeline.prepare import Prepared, prepare
from vidrestore.report.compose import fit
from vidrestore.report.names import plain_name
from vidrestore.report.sheet import Shown, draw_sheet
from vidrestore.report.shown import Viewer
from vidrestore.report.still import check_still, write_still
from vidrestore.report.threads import threads_of
from vidrestore.types import Frame

__all__ = ["Preview", "default_sheet", "preview"]

Picture = NDArray[np.uint8]

CANDIDATES = 3
"""Places that are looked at for each moment, until one is not black."""
BLACK = 16
"""Level below which 99 of 100 pixels of a black picture lie."""
PANEL = 640, 720
"""Largest width and height of a picture on the sheet."""


@dataclass(frozen=True)
class Preview:
    """What was made."""

    output: Path
    seconds: tuple[float, ...]
    """Of the moments shown, on the source's timeline."""
    frames: int | None
    """Of the whole run; None if unknown."""
    frame_seconds: float
    """For a frame in engines and blending, as measured on the moments after the first."""
    description: str
    """Engines, device, precision."""
    invented: tuple[str, ...]
    notices: tuple[str, ...]

    @property
    def estimated_seconds(self) -> float | None:
        """Of the whole run by one worker, without encoding; None if its length is unknown."""
        return None if self.frames is None else self.frames * self.frame_seconds


def default_sheet(source: str) -> Path:
    """The sheet's name where none was given: beside the source.

    Raises:
        UsageError: no name can be made of it.
    """
    path = Path(source)
    if source == "-" or "://" in source or "%" in path.name or "*" in path.name:
        raise UsageError(f"No name can be made of {source}.", "Give the sheet a name with -o.")
    return path.with_name(f"{path.name if path.is_dir() else path.stem}_preview.png")


def preview(
    source: str,
    config: RunConfig,
    output: Path,
    *,
    moments: int = 6,
    engines_dir: Path | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> Preview:
    """Restore `moments` frames spread over the part that `config` names, and write them before | after on one sheet.

    Each is restored with as many frames around it as blending looks at, so that it shows what the run will show, before
    encoding. Moments lie where decoding is cheap; those that are black are passed over where a neighbour is not.

    Args:
        source: what a run would be given, but for pipes.
        config: the settings of the run.
        output: png or jpg.
        moments: fewer are shown of a clip that has no room for them.
        engines_dir: where engine folders lie; None: the usual places.
        overwrite: replace an existing sheet.
        progress: called with the moments restored so far, and their number.

    Raises:
        UsageError, MediaError, EngineError, RuntimeFailure: what would stop the run.
        StorageError: the sheet cannot be written.
    """
    if source == "-":
        raise UsageError("A pipe cannot be previewed: it is read once only.", "Save it to a file first.")
    check_still(output, [Path(source)], overwrite)
    shelf = EngineShelf()
    try:
        with memory_guard("preparing the preview"):
            job = _prepared(source, config, shelf, engines_dir)
        try:
            with memory_guard("restoring a moment"), threads_of(job.config.threads, opencv=False):
                return _make(job, output, moments, overwrite, progress)
        finally:
            job.source.close()
    finally:
        shelf.close()


def _prepared(source: str, config: RunConfig, shelf: EngineShelf, engines_dir: Path | None) -> Prepared:
    """The job without its output: all checks of a run but those of the container, of which nothing is known yet."""
    bare = config.model_copy(
        update={"drop_streams": ("audio", "video", "subtitle", "data", "attachment", "cover", "chapters"), "container": None}
    )
    with tempfile.TemporaryDirectory() as folder:
        return prepare(source, str(Path(folder) / "nothing.mkv"), bare, shelf, engines_dir=engines_dir)


def _make(
    job: Prepared, output: Path, moments: int, overwrite: bool, progress: Callable[[int, int | None], None] | None
) -> Preview:
    halo = halo_of(job.config, job.engine)
    frames = len(job.index) if job.index is not None else expected_frames(job.media.video, job.config.start, job.config.duration)
    reader = _Reader(job)
    places = _places(job, frames, moments, halo)
    fewer = _fewer(moments, len(places), frames, 2 * halo + 1)
    found: list[Shown] = []
    busy: list[float] = []
    skipped = 0
    try:
        for place in places:
            run, black = _first_with_light(reader, place)
            if not run:
                continue
            skipped += black
            began = time.perf_counter()
            restored = restore_run(job, run)
            busy.append((time.perf_counter() - began) / len(run))
            middle = len(run) // 2
            found.append(_shown(job, run[middle], restored[middle]))
            if progress is not None:
                progress(len(found), len(places))
    finally:
        reader.close()
    if not found:
        raise EmptyVideoError(f"{job.address} has not one picture in the part asked for.")
    if len(busy) == 1:  # the first run of all pays for warming up
        began = time.perf_counter()
        restore_run(job, run)
        busy.append((time.perf_counter() - began) / len(run))
    made = Preview(
        output=output,
        seconds=tuple(shown.seconds for shown in found),
        frames=frames,
        frame_seconds=sum(busy[1:]) / len(busy[1:]),
        description=job.engine.describe(),
        invented=tuple(job.invented),
        notices=(*fewer, *_notes(skipped), *Viewer(job.media).notes),
    )
    title = f"{plain_name(job.address)}: {' + '.join(card.id for card in job.engine.cards)}"
    title += ". Details at full size." if any(shown.remark for shown in found) else ""
    warning = f"Detail was invented by {' and '.join(made.invented)}: no evidence." if made.invented else ""
    write_still(output, draw_sheet(found, title, warning), f"Preview, before | after. {job.comment}", overwrite)
    return made


def _fewer(wanted: int, places: int, frames: int | None, length: int) -> tuple[str, ...]:
    """Why there are fewer moments than asked for."""
    if places >= wanted:
        return ()
    told = f"{counted(places, 'moment')} of the {wanted} asked for"
    if frames is None:
        return (f"{told}, the beginning: how long the video is is not known.",)
    around = "" if length == 1 else f", and blending looks at {length} for each"
    return (f"{told}: there {'is' if frames == 1 else 'are'} only {counted(frames, 'frame')}{around}.",)


def _notes(skipped: int) -> tuple[str, ...]:
    if not skipped:
        return ()
    return (f"{skipped} black {'moment was' if skipped == 1 else 'moments were'} passed over.",)


def restore_run(job: Prepared, run: Sequence[Frame]) -> list[Frame]:
    """Restore consecutive frames as if there were no others, (3, H, W) each as decoded, by engines and blending.

    A frame with as many on either side as `halo_of` says comes out as in the whole run, bit for bit.
    """
    engine, after = job.stages()
    size = job.config.batch_size
    capacity = -(-len(run) // size) * size
    samples = sample_type(job.media.video.color.bit_depth)
    with RingBuffer(capacity, run[0].data.shape, samples, pin=False) as buffer:
        for frame in run:
            buffer.put(frame)
        buffer.finish()
        frames = engine.process(buffer.batches(size))
        for stage in after:
            frames = stage.process(frames)
        # What an engine gives out may be a view of memory that it will write to again.
        return [frame.with_data(np.array(frame.data, copy=True, order="K")) for frame in frames]


class _Reader:
    """Runs of consecutive frames of the job by their first index, rising where the source has no index."""

    def __init__(self, job: Prepared) -> None:
        self._job = job
        self._decoder: PictureDecoder | None = None
        self._frames: Iterator[Frame] = iter(())
        self._next = 0

    def read(self, first: int, count: int) -> list[Frame]:
        """As many of them as there are.

        Raises:
            IndexMismatchError: the file does not hold the pictures of its index.
        """
        index = self._job.index
        if self._decoder is None or first < self._next or (index is not None and first > self._next):
            self.close()
            window = None if index is None else Window(first_index=first, first_pts=index[first])
            self._decoder = self._job.source.decoder(decode_options(self._job.config), window)
            self._frames = iter(self._decoder)
            self._next = 0 if index is None else first
        run: list[Frame] = []
        count = count if index is None else min(count, len(index) - first)
        while len(run) < count:
            frame = next(self._frames, None)
            if index is not None:
                require_indexed(self._job.media, self._next, frame, index[self._next])
            if frame is None:
                break
            if self._next >= first:
                run.append(frame)
            self._next += 1
        return run

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
        self._decoder = None


def _places(job: Prepared, frames: int | None, moments: int, halo: int) -> list[list[tuple[int, int]]]:
    """For each moment, in order, the runs (first frame, number of frames) that may show it, the best one first.

    Of a source whose length nobody knows only the beginning is looked at; of one without an index each moment is one place, since
    there is no way back.
    """
    if frames is None:
        return [[(0, 2 * halo + 1)]]
    length = min(2 * halo + 1, frames)
    if job.index is None:
        return [[(first, length)] for first in choose_moments(frames, moments, length)]
    keys: list[Sequence[int]] = []
    if isinstance(job.source, FileSource):
        entries = frozenset(scan_packets(job.media).keys)
        keys = [[number for number, pts in enumerate(job.index) if pts in entries]]
    wanted = min(moments, max(1, frames // length))
    every = choose_moments(frames, CANDIDATES * wanted, length, keys)
    if len(every) < CANDIDATES * wanted:
        return [[(first, length)] for first in choose_moments(frames, wanted, length, keys)]
    groups = [every[n : n + CANDIDATES] for n in range(0, len(every), CANDIDATES)]
    return [[(first, length) for first in (group[1], group[0], group[2])] for group in groups]


def _first_with_light(reader: _Reader, place: list[tuple[int, int]]) -> tuple[list[Frame], int]:
    """The first run of a place whose middle is not black, or else the first one; and how many were passed over."""
    black: list[list[Frame]] = []
    for first, count in place:
        run = reader.read(first, count)
        if run and not _is_black(run[len(run) // 2]):
            return run, len(black)
        black.append(run)
    return black[0], 0


def _is_black(frame: Frame) -> bool:
    data = np.asarray(frame.data)
    scale = 257 if data.dtype == np.uint16 else 1
    return bool(np.percentile(data[:, ::8, ::8].max(axis=0), 99) < BLACK * scale)


def _shown(job: Prepared, before: Frame, after: Frame) -> Shown:
    """A moment as the sheet shows it: small, or of super-resolution a detail at full size, since small nobody sees it."""
    viewer = Viewer(job.media)
    upright = Upright.of_matrix(job.media.display_matrix) or Upright()
    old = viewer(upright(np.asarray(before.data).transpose(1, 2, 0)))
    new = upright(np.asarray(after.data).transpose(1, 2, 0))
    scale = job.engine.scale
    if new.dtype == np.uint16:
        new = cv2.convertScaleAbs(new, alpha=1 / 257)
    new = fit(np.asarray(new, np.uint8), viewer.size[0] * scale, viewer.size[1] * scale)
    moment = float(before.pts * before.time_base - job.media.start_time)
    if scale == 1:
        width, height = _panel(*viewer.size)
        return Shown(moment, fit(old, width, height), fit(new, width, height))
    width, height = min(PANEL[0], new.shape[1]), min(PANEL[0] * 9 // 16, new.shape[0])
    enlarged = fit(old, new.shape[1], new.shape[0])
    top, left = _liveliest(old, height // scale, width // scale)
    window = slice(top * scale, top * scale + height), slice(left * scale, left * scale + width)
    whole = (height, width) == new.shape[:2]
    remark = "" if whole else f"detail: {_part_of(old, top + height // scale / 2, left + width // scale / 2)}"
    return Shown(moment, enlarged[window], new[window], remark)


def _part_of(picture: Picture, y: float, x: float) -> str:
    """Where a point lies: top left, middle, bottom ..."""
    thirds = int(min(2, 3 * y / picture.shape[0])), int(min(2, 3 * x / picture.shape[1]))
    words = ("top", "", "bottom")[thirds[0]], ("left", "", "right")[thirds[1]]
    return " ".join(filter(None, words)) or "middle"


def _panel(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, PANEL[0] / width, PANEL[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _liveliest(picture: Picture, height: int, width: int) -> tuple[int, int]:
    """(top, left) of the window of this size with the most fine detail; every eighth place is tried."""
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    fine = np.abs(cv2.Laplacian(grey, cv2.CV_32F, ksize=3))
    sums = cv2.integral(fine)
    total = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    place = np.unravel_index(int(total[::8, ::8].argmax()), total[::8, ::8].shape)
    return int(place[0]) * 8, int(place[1]) * 8
