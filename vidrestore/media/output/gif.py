"""GIF out: 256 colours a picture, a clock of 1/100 s, and what the file says of its loop (GIF89a specification, 1990)."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
import av.filter
import numpy as np

from vidrestore.config import RunConfig
from vidrestore.errors import (
    EmptyVideoError,
    MediaError,
    UnsupportedStreamError,
    UsageError,
    VerificationError,
    VidrestoreError,
)
from vidrestore.media.convert import FromRGB
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.output.gif_blocks import GifBlocks, read_blocks
from vidrestore.media.output.mark import gif_comment, gif_with_comment
from vidrestore.media.output.own_check import compared, report
from vidrestore.media.output.pace import cfr_rate, picture_times
from vidrestore.media.output.picture_sink import Intake, PictureSink, refuse_encoding, refuse_hdr, refuse_streams, words_lost
from vidrestore.media.output.target import PendingFile, storage_error
from vidrestore.media.proof.verify import VerifyReport
from vidrestore.types import ColorSpec, Frame, StreamInfo

__all__ = ["GifBlocks", "GifPlan", "GifSink", "plan_gif", "read_blocks"]

TICK = Fraction(1, 100)
LONGEST = 65535
"""Ticks that one picture can stay (16 bits)."""
LARGEST_SIDE = 65535
_SHORTEST_SHOWN = 2
"""Ticks below which browsers show a picture for ten (their common rule against endless loops without a pause)."""
_OPAQUE = 128
"""Opacity from which on a pixel is drawn; gif knows drawn and not drawn only."""

# A palette for each picture: one for all would need all pictures twice. The ordered pattern stands still where the picture does;
# error diffusion crawls: on a film (Big Buck Bunny, 480p) its difference between neighbouring pictures is 5.7 levels against 4.0,
# and its error no smaller (4.4 against 4.0; blurred, as the eye does, 1.9 against 2.1).
_PALETTE = "palettegen", "stats_mode=single:reserve_transparent={alpha:d}"
_DITHER = "paletteuse", "new=1:dither=bayer:bayer_scale=3:alpha_threshold=128"


@dataclass(frozen=True)
class GifPlan:
    """How a gif is written."""

    loop: int
    """For FFmpeg's muxer: 0 for ever, -1 once, else the number of repetitions."""
    rate: Fraction | None
    """Of `--cfr`."""
    notices: tuple[str, ...]


def plan_gif(media: MediaInfo, info: StreamInfo, config: RunConfig) -> GifPlan:
    """Settle the loop and look at the times, or refuse what a gif cannot hold.

    The loop is that of a gif source; others loop for ever, as gifs are expected to.

    Raises:
        UnsupportedStreamError: further streams, HDR, times closer than 1/100 s or farther than 655.35 s, more than 65535 pixels a
            side, an odd rotation.
        UsageError: encoder settings.
    """
    what = "A gif"
    refuse_streams(media, config, what)
    refuse_encoding(config.encode, what)
    refuse_hdr(info, what)
    if config.encode.bit_depth not in ("auto", 8):
        raise UsageError(
            f"A gif has 8 bits: --bit-depth {config.encode.bit_depth} cannot apply.", "Leave it out, or write to .mkv."
        )
    if max(info.width, info.height) > LARGEST_SIDE:
        raise UnsupportedStreamError(f"A gif cannot be {info.width}x{info.height}: its sides have 16 bits.", "Write to .mkv.")
    rate = cfr_rate(media, config) if config.cfr else None
    notices = [*Intake(info, media, what).notices, *words_lost(media, config, what)]
    notices.append("A gif has 256 colours a picture, and each pixel is drawn or not: other colours are dithered.")
    notices += _look_at_times(media, config, rate)
    return GifPlan(_loop_of(media), rate, tuple(notices))


def _look_at_times(media: MediaInfo, config: RunConfig, rate: Fraction | None) -> list[str]:
    if rate is not None:
        steps = [Fraction(1) / (rate * TICK)]
        shortest = math.floor(steps[0])
    else:
        pts = picture_times(media, config.start, config.duration)
        if pts is None:
            pts = tuple(range(3)) if media.video.frame_rate else ()
        ticks = [_tick((value - pts[0]) * media.video.time_base) for value in pts]
        steps = [Fraction(later - earlier) for earlier, later in pairwise(ticks)]
        shortest = int(min(steps, default=Fraction(LONGEST)))
    if shortest < 1:
        raise UnsupportedStreamError(
            f"A gif's clock ticks 100 times a second, and pictures of {media.path.name} come faster.",
            "Use --cfr --rate 50, which leaves pictures out, or write to .mkv or .mp4.",
        )
    if steps and max(steps) > LONGEST:
        raise UnsupportedStreamError(
            f"A picture of {media.path.name} stays {float(max(steps) * TICK):.0f} s; a gif can show one for 655.35 s.",
            "Write to .mkv or .mp4.",
        )
    if shortest < _SHORTEST_SHOWN:
        return [
            "Some pictures stay for 1/100 s: browsers show those for 1/10 s. --cfr --rate 50 makes a gif that they play in time."
        ]
    return []


def _tick(seconds: Fraction) -> int:
    """The nearest tick; half a tick rounds up."""
    return math.floor(seconds / TICK + Fraction(1, 2))


def _loop_of(media: MediaInfo) -> int:
    if media.container != "gif" or not media.path.is_file():
        return 0
    try:
        loop = read_blocks(media.path.read_bytes()).loop
    except (OSError, ValueError):
        return 0
    return -1 if loop is None else loop


class _Paletted:
    """Pictures to pictures of 256 colours, one out for each one in."""

    def __init__(self, info: StreamInfo, alpha: bool) -> None:
        self._graph = av.filter.Graph()
        layout = av.VideoFormat("rgba" if alpha else "rgb24", info.width, info.height)
        source = self._graph.add_buffer(width=info.width, height=info.height, format=layout, time_base=TICK)
        split = self._graph.add("split")
        palette = self._graph.add(_PALETTE[0], _PALETTE[1].format(alpha=alpha))
        dither, sink = self._graph.add(*_DITHER), self._graph.add("buffersink")
        source.link_to(split)
        split.link_to(palette, 0, 0)
        split.link_to(dither, 1, 0)
        palette.link_to(dither, 0, 1)
        dither.link_to(sink)
        self._graph.configure()

    def push(self, picture: av.VideoFrame | None) -> list[av.VideoFrame]:
        """Give a picture (None: the last has come); returns what is ready."""
        self._graph.vpush(picture)
        ready = []
        with contextlib.suppress(BlockingIOError, av.error.EOFError):
            while True:
                ready.append(self._graph.vpull())
        return ready


class GifSink(PictureSink):
    """Writes one gif: a context manager; `write` every picture in order, then `finish` (see `VideoWriter`).

    Each picture is shown from the tick nearest to its own time on (counted from the first picture), so errors do not add up.

    Args:
        target: the file.
        media: the source.
        info: the picture as it leaves the engines.
        plan: from `plan_gif`.
        overwrite: replace an existing file.
        comment: which engines ran; becomes a comment of the gif.
        place: a folder to grow in; None: hidden, beside its name.

    Raises:
        DiskFullError, StorageError: while writing.
        MediaError: two pictures at one tick, or one that stays too long.
        VerificationError: from `finish`; nothing is left under the name.
    """

    def __init__(
        self,
        target: Path,
        media: MediaInfo,
        info: StreamInfo,
        plan: GifPlan,
        overwrite: bool,
        comment: str = "",
        place: Path | None = None,
    ) -> None:
        self._target, self._plan, self._comment = target, plan, comment
        super().__init__(Intake(info, media, "A gif"), plan.notices)
        written = self._intake.info
        self._alpha = info.alpha
        color = ColorSpec(matrix=info.color.matrix, full_range=True, tagged_matrix="gbr", tagged_range="pc")
        self._from_rgb = FromRGB(written.width, written.height, "rgba" if info.alpha else "rgb24", color)
        self._paletted = _Paletted(written, info.alpha)
        self._begin: Fraction | None = None
        self._times: list[Fraction] = []
        self._ticks: list[int] = []
        self._end: int | None = None
        self._digests: list[bytes] = []
        self._container: av.container.OutputContainer | None = None
        self._pending = PendingFile(target, overwrite, ".gif", place)
        try:
            self._open(written)
        except BaseException as error:
            self.close()
            raise self._explained(error) from None

    @property
    def place(self) -> Path:
        """Where the file lies until it has its name."""
        return self._pending.path

    @property
    def shift(self) -> Fraction:
        """Seconds taken off every source timestamp: a gif begins with its first picture."""
        return self._begin or Fraction(0)

    def write(self, frame: Frame) -> None:
        """Encode one picture."""
        if self._container is None:
            raise ValueError("the writer is closed")
        pixels, alpha = self._intake(frame)
        self._place(frame)
        if alpha is not None:
            limit = _OPAQUE << (8 if alpha.dtype == np.uint16 else 0)
            alpha = np.where(alpha >= limit, np.iinfo(alpha.dtype).max, 0).astype(alpha.dtype)
        picture = self._from_rgb(pixels, alpha)
        picture.pts, picture.time_base = self._ticks[-1], TICK
        self._encode(picture)

    def finish(self, before_naming: Callable[[], None] | None = None) -> VerifyReport:
        """Flush, set how long each picture stays, read the file again, and only then give it its name."""
        if self._container is None:
            raise ValueError("the writer is closed")
        try:
            if not self._ticks:
                raise EmptyVideoError(f"No picture was written to {self._target}.")
            self._encode(None)
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            if self._comment:
                self._pending.path.write_bytes(gif_with_comment(self._pending.path.read_bytes(), self._comment))
            self.verified = found = self._verified(self._settle_delays())
            if before_naming is not None:
                before_naming()
            self._pending.commit()
            return found
        except BaseException as error:
            raise self._explained(error) from None
        finally:
            self.close()

    def close(self) -> None:
        """Let go; removes what was written unless `finish` succeeded."""
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
                container.close()
        self._pending.discard()

    def _open(self, written: StreamInfo) -> None:
        options = {"loop": str(self._plan.loop), "fflags": "+bitexact"}
        self._container = av.open(f"file:{self._pending.path}", "w", format="gif", container_options=options)
        self._stream: Any = self._container.add_stream("gif", rate=100, time_base=TICK)
        self._stream.width, self._stream.height, self._stream.pix_fmt = written.width, written.height, "pal8"
        self._stream.codec_context.thread_count = 1
        if written.sample_aspect_ratio is not None:
            self._stream.codec_context.sample_aspect_ratio = written.sample_aspect_ratio

    def _place(self, frame: Frame) -> None:
        moment = frame.pts * frame.time_base
        self._begin = moment if self._begin is None else self._begin
        moment -= self._begin
        tick = _tick(moment)
        if self._ticks and not 1 <= tick - self._ticks[-1] <= LONGEST:
            raise MediaError(
                f"Frame {frame.index} comes {float(moment - self._times[-1]):.4f} s after the one before; "
                "a gif can tell 0.01 to 655.35 s.",
                "Use --cfr --rate 50, or write to .mkv or .mp4.",
            )
        self._times.append(moment)
        self._ticks.append(tick)
        stays = (frame.duration or 0) * frame.time_base
        self._end = tick + min(LONGEST, max(1, _tick(moment + stays) - tick)) if frame.duration else None

    def _encode(self, picture: av.VideoFrame | None) -> None:
        try:
            for ready in self._paletted.push(picture):
                ready.pts, ready.time_base = self._ticks[len(self._digests)], TICK
                self._digests.append(_digest(ready, self._alpha))
                assert self._container is not None
                self._container.mux(self._stream.encode(ready))
        except BaseException as error:
            self.close()
            raise self._explained(error) from None

    def _settle_delays(self) -> list[int]:
        """Store how long each picture stays: the muxer cannot be told it of the last one."""
        steps = [later - earlier for earlier, later in pairwise(self._ticks)]
        last = steps[-1] if steps else 10
        delays = [*steps, last if self._end is None else self._end - self._ticks[-1]]
        blocks = self._read_back()
        rows = zip(blocks.places, delays, strict=False)
        with self._pending.path.open("r+b") as file:
            for place, delay in rows:
                if place >= 0:
                    file.seek(place)
                    file.write(delay.to_bytes(2, "little"))
        return delays

    def _read_back(self) -> GifBlocks:
        try:
            return read_blocks(self._pending.path.read_bytes())
        except ValueError:
            raise VerificationError("The written gif cannot be read again.") from None

    def _verified(self, delays: list[int]) -> VerifyReport:
        written, blocks = self._intake.info, self._read_back()
        expected = f"{written.width}x{written.height}"
        loops = {0: "for ever", -1: "once"}.get(self._plan.loop, f"{self._plan.loop} more times")
        found_loops = {0: "for ever", None: "once"}.get(blocks.loop, f"{blocks.loop} more times")
        rows = [
            compared("size", expected, f"{blocks.width}x{blocks.height}"),
            compared("loop", loops, found_loops),
            compared("delays", tuple(delays), blocks.delays),
            compared("pictures with the same pixels", len(self._digests), self._same_pictures()),
        ]
        if self._comment:
            rows.append(compared("mark", self._comment, gif_comment(self._pending.path.read_bytes())))
        starts = [Fraction(sum(blocks.delays[:n])) * TICK for n in range(len(blocks.delays))]
        return report(
            self._times,
            starts,
            tick=TICK,
            shift=self.shift,
            size_bytes=self._pending.path.stat().st_size,
            rows=rows,
            notices=self.notices,
        )

    def _same_pictures(self) -> int:
        """Decode the file; how many pictures show what was encoded, in its place."""
        options = {"protocol_whitelist": "file"}
        with av.open(f"file:{self._pending.path}", format="gif", container_options=options) as container:
            pictures = (_digest(picture, self._alpha) for picture in container.decode(video=0))
            return sum(one == other for one, other in zip(pictures, self._digests, strict=False))

    def _explained(self, error: BaseException) -> BaseException:
        if isinstance(error, VidrestoreError) or not isinstance(error, (av.error.FFmpegError, OSError)):
            return error
        return storage_error(error, self._target)


def _digest(picture: av.VideoFrame, alpha: bool) -> bytes:
    """sha256 of what is seen: colours where the picture is drawn."""
    pixels = picture.reformat(format="rgba").to_ndarray()
    drawn = pixels[..., 3:] >= _OPAQUE
    seen = np.where(drawn, pixels[..., :3], 0)
    return hashlib.sha256(seen.tobytes() + (drawn.tobytes() if alpha else b"")).digest()
