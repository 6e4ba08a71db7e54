"""Compare: two to four videos side by side in one video, or one wiped over the other, at the same moments, with their names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vidrestore.config import Damage as OnDamage
from vidrestore.config import EncodeConfig, RunConfig
from vidrestore.errors import EmptyVideoError, UnsupportedStreamError, UsageError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.media.input.source import open_source
from vidrestore.media.output.clip import screen_color
from vidrestore.media.output.mark import read_marks
from vidrestore.media.output.sink import check_sink, open_sink
from vidrestore.media.output.target import check_place
from vidrestore.report.compose import common_size, fit, side_by_side, wipe
from vidrestore.report.follow import Follower
from vidrestore.report.still import check_still, write_still
from vidrestore.types import Frame, StreamInfo

__all__ = ["MOST", "Comparison", "Wanted", "compare", "compare_still", "default_name"]

Picture = NDArray[np.uint8]

MOST = 4
"""Panels."""
SWEEP_SECONDS = 8.0
"""In which the line of a wipe goes from one side to the other and back."""
BICUBIC = "bicubic"
EARLIER = "Name an earlier moment."


@dataclass(frozen=True)
class Wanted:
    """What a comparison is to show."""

    labels: tuple[str, ...] = ()
    """One for each video, or for each panel; empty: the names of the files."""
    bicubic: bool = False
    """Add the first video enlarged by bicubic interpolation; it is itself then enlarged by repeating its pixels."""
    wipe: float | Literal["travel"] | None = None
    """Where the dividing line stands (0..1), or that it travels; None: side by side."""
    start: float = 0.0
    duration: float | None = None
    """Seconds from the first picture; None: to the end of the shortest."""
    slow: int = 1
    """How many times slower than the videos; their sound is then left out."""
    height: int | None = None
    """Of a panel in pixels; None: of the largest video."""
    on_damage: OnDamage = "stop"
    deinterlace: bool = False
    frame_rate: str | None = None
    protocols: tuple[str, ...] = ("file",)
    encode: EncodeConfig = field(default_factory=EncodeConfig)


@dataclass(frozen=True)
class Comparison:
    """What was written."""

    output: Path
    width: int
    height: int
    frames: int
    notices: tuple[str, ...]


def default_name(last: str, still: bool = False) -> Path:
    """The output's name where none was given: beside the last video.

    Raises:
        UsageError: the last video is a pattern of images, beside which nobody expects a file.
    """
    path = Path(last)
    if "%" in path.name or "*" in path.name:
        raise UsageError(f"{last} is a pattern of images: no name can be made of it.", "Give the output a name with -o.")
    stem = path.name if path.is_dir() else path.stem
    return path.with_name(f"{stem}_compare{'.png' if still else '.mp4'}")


def compare(
    videos: Sequence[str],
    output: Path,
    wanted: Wanted,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> Comparison:
    """Write a video that shows `videos` at the same moments; its times and its sound are those of the first.

    Videos are laid on each other by their first pictures: what was restored from one another has the same times. One that is
    just as long as the part asked for, where the first is longer, is taken for that part. The picture nearest in time is
    shown; the comparison ends with the shortest.

    Args:
        videos: what `open_source` opens, but for pipes.
        output: a muxed file, gif or y4m by its extension.
        wanted: what is shown.
        overwrite: replace an existing output.
        progress: called with the pictures written so far, and their number if it is known.

    Raises:
        UsageError: more or fewer videos, or labels, than can be shown; a position outside 0..1; what `check_sink` refuses.
        MediaError: as decoding does, or the videos have no moment in common.
        StorageError: while writing.
    """
    with ExitStack() as stack:
        stage = _Stage(videos, wanted, stack)
        for follower in stage.followers:
            check_place(output, follower.media.path, overwrite)
        frames = stage.pictures()
        first = next(frames, None)
        if first is None:
            raise EmptyVideoError(f"{stage.names[0]} has not one picture at a moment that all the others show, too.")
        media, info, config, comment = stage.written(first[1], output, overwrite)
        count = 0
        with open_sink(output, media, info, config, overwrite=overwrite, comment=comment) as sink:
            while first is not None:
                frame, picture = first
                pts = (frame.pts - stage.first_pts) if stage.wanted.slow != 1 else frame.pts
                data = picture.transpose(2, 0, 1)
                sink.write(Frame(data, count, pts, info.time_base, frame.duration))
                count += 1
                if progress is not None:
                    progress(count, stage.total)
                first = next(frames, None)
            sink.finish()
            # That the other streams are left out is what a comparison is.
            notices = [*stage.notices, *(notice for notice in sink.notices if not notice.endswith("as asked for."))]
        return Comparison(output, info.width, info.height, count, tuple(dict.fromkeys(notices)))


def compare_still(videos: Sequence[str], output: Path, wanted: Wanted, moment: float, *, overwrite: bool = False) -> Comparison:
    """Write one picture (png or jpg) of what `compare` would show `moment` seconds after the first video's first picture.

    `wanted.start` and `wanted.duration` say which part of the first video is meant, as for `compare`; the moment lies in it.

    Raises:
        UsageError: the moment lies outside the part, or after the end of one of the videos.
        Else as `compare`.
    """
    with ExitStack() as stack:
        stage = _Stage(videos, wanted, stack)
        check_still(output, [follower.media.path for follower in stage.followers], overwrite)
        stage.refuse_moment(Fraction(str(moment)))
        found = next(stage.pictures(Fraction(str(moment))), None)
        if found is None:
            raise UsageError(f"The moment {moment:g} s lies after the end of {stage.names_said}.", EARLIER)
        picture = found[1]
        write_still(output, picture, stage.comment, overwrite)
        return Comparison(output, picture.shape[1], picture.shape[0], 1, tuple(stage.notices))


class _Stage:
    """The videos of a comparison, opened and laid on each other."""

    def __init__(self, videos: Sequence[str], wanted: Wanted, stack: ExitStack) -> None:
        self.wanted = wanted
        self.notices: list[str] = []
        _check(videos, wanted)
        options = DecodeOptions(on_damage=wanted.on_damage, deinterlace=wanted.deinterlace)
        self.followers = []
        for video in videos:
            source = open_source(video, protocols=wanted.protocols, frame_rate=wanted.frame_rate)
            self.followers.append(stack.enter_context(Follower(source, options)))
        self.names = [str(follower.media.path) for follower in self.followers]
        self.labels = self._labels()
        self._start, self._duration = Fraction(str(wanted.start)), None
        if wanted.duration is not None:
            self._duration = Fraction(str(wanted.duration))
        self._offsets = [Fraction(0), *(self._offset(follower) for follower in self.followers[1:])]
        self._tell_lengths()
        self._size = common_size([follower.viewer.size[::-1] for follower in self.followers], wanted.height)
        self.total = self._count()
        self.first_pts = 0
        for follower in self.followers:
            if follower.media.rate_assumed is not None:
                self.notices.append(f"{follower.media.path.name}: {follower.media.rate_assumed}")
            if follower.media.video.color.hdr:
                self.notices.append(
                    f"{follower.media.path.name} is HDR: it is shown as an SDR screen without tone mapping would."
                )

    @property
    def comment(self) -> str:
        """What the output says of itself: the panels, and the marks of what is shown."""
        marks = dict.fromkeys(filter(None, (read_marks(follower.media) for follower in self.followers)))
        shown = f"Compared by vidrestore: {' | '.join(self.labels)}."
        return " ".join([shown, *marks])

    @property
    def names_said(self) -> str:
        """The videos, for a sentence."""
        return " or ".join(follower.media.path.name for follower in self.followers)

    def refuse_moment(self, moment: Fraction) -> None:
        """Raise UsageError for a moment that not all have, as far as that is known without decoding."""
        part_end = None if self._duration is None else self._start + self._duration
        if moment < self._start or (part_end is not None and moment >= part_end):
            end = "the end" if part_end is None else f"{float(part_end):g} s"
            raise UsageError(
                f"The moment {float(moment):g} s lies outside the part asked for, {float(self._start):g} s to {end}.",
                "Leave out --start and --duration, or name a moment in between.",
            )
        for follower, offset in zip(self.followers, self._offsets, strict=True):
            if follower.moments is not None and follower.end is not None and moment >= follower.end + offset:
                last = float(follower.moments[-1] + follower.step + offset)
                name = follower.media.path.name
                raise UsageError(f"The moment {float(moment):g} s lies after the end of {name} ({last:.2f} s).", EARLIER)

    def written(self, picture: Picture, output: Path, overwrite: bool) -> tuple[MediaInfo, StreamInfo, RunConfig, str]:
        """What `open_sink` is told: of the first video only its clock and its sound are left."""
        master, slow = self.followers[0].media, self.wanted.slow
        height, width = picture.shape[:2]
        video = master.video
        rate = None if video.frame_rate is None else video.frame_rate / slow
        info = StreamInfo(
            width, height, video.time_base * slow, screen_color(width, height), frame_rate=rate, sample_aspect_ratio=Fraction(1)
        )
        media = replace(master, display_matrix=None, metadata={}, chapters=(), notices=())
        others = [stream for stream in media.streams if stream.index != media.video_index]
        sound = [stream for stream in others if stream.type == "audio"]
        silent = tuple(str(stream.index) for stream in others)
        part = self._start if slow == 1 else Fraction(0)
        begin = self.followers[0].moment_on_timeline(part) if part > 0 else 0.0
        duration = self.wanted.duration if slow == 1 else None
        config = RunConfig(encode=self.wanted.encode, start=begin, duration=duration, drop_streams=silent)
        if not sound:
            check_sink(output, media, info, config, overwrite, self.comment)
            return media, info, config, self.comment
        if slow != 1:
            self.notices.append("Sound cannot be slowed down by copying it: it is left out.")
        else:
            try:
                heard = tuple(str(stream.index) for stream in others if stream.type != "audio")
                with_sound = config.model_copy(update={"drop_streams": heard})
                check_sink(output, media, info, with_sound, overwrite, self.comment)
                return media, info, with_sound, self.comment
            except UnsupportedStreamError as error:
                self.notices.append(f"The sound is left out: {error.message}")
        check_sink(output, media, info, config, overwrite, self.comment)
        return media, info, config, self.comment

    def pictures(self, moment: Fraction | None = None) -> Iterator[tuple[Frame, Picture]]:
        """The first video's frames, each with what the comparison shows then; from `moment` on in place of the part asked for."""
        master, *others = self.followers
        begun: Fraction | None = None
        part = (self._start, self._duration) if moment is None else (moment, None)
        for frame in master.frames(*part):
            now = master.moment(frame)
            if begun is None:
                begun, self.first_pts = now, frame.pts
            shown = [master.screen(frame)]
            for follower, offset in zip(others, self._offsets[1:], strict=True):
                picture = follower.at(now - offset)
                if picture is None:
                    return
                shown.append(picture)
            yield frame, _even(self._composed(shown, float((now - begun) * self.wanted.slow)))

    def _composed(self, pictures: list[Picture], seconds: float) -> Picture:
        wide, high = self._size
        if self.wanted.wipe is not None:
            position = self.wanted.wipe if self.wanted.wipe != "travel" else self._position(seconds)
            return wipe(fit(pictures[0], wide, high), fit(pictures[1], wide, high), position, self.labels)
        panels = [fit(picture, wide, high) for picture in pictures]
        if self.wanted.bicubic:
            bare = cv2.resize(np.ascontiguousarray(pictures[0]), (wide, high), interpolation=cv2.INTER_NEAREST_EXACT)
            panels = [np.asarray(bare, np.uint8), *panels]
        return side_by_side(panels, self.labels)

    def _position(self, seconds: float) -> float:
        """Of a travelling line: from the right to the left and back, in a short clip once."""
        period = SWEEP_SECONDS
        if self.total is not None:
            period = min(period, float(self.total * self.followers[0].step * self.wanted.slow))
        return 0.5 + 0.5 * math.cos(2 * math.pi * seconds / max(period, 0.1))

    def _labels(self) -> tuple[str, ...]:
        given = list(self.wanted.labels)
        if not given:
            names = [follower.media.path.name for follower in self.followers]
            if len(set(names)) < len(names):
                names = ["/".join(follower.media.path.parts[-2:]) for follower in self.followers]
            given = names
        if self.wanted.bicubic and len(given) == len(self.followers):
            given.insert(1, BICUBIC)
        return tuple(given)

    def _offset(self, follower: Follower) -> Fraction:
        """What has to be taken off a moment of the first video to find it in this one; not 0 for a part of it."""
        master = self.followers[0]
        if follower.moments is None or master.moments is None or self._start <= 0:
            return Fraction(0)
        end = master.moments[-1] if self._duration is None else min(self._start + self._duration, master.moments[-1])
        part = [moment for moment in master.moments if self._start <= moment <= end]
        if not part:
            return Fraction(0)
        length, slack = follower.moments[-1], 3 * master.step / 2
        name = follower.media.path.name
        if abs(length - (part[-1] - part[0])) > slack or master.moments[-1] - length <= slack:
            return Fraction(0)
        self.notices.append(f"{name} is as long as the part asked for: it is taken to begin at {float(self._start):g} s.")
        return part[0]

    def _tell_lengths(self) -> None:
        """Say which videos, laid on the first by their first pictures, are shorter or longer: they may be parts of something."""
        master = self.followers[0]
        for follower, offset in zip(self.followers[1:], self._offsets[1:], strict=True):
            if offset or follower.moments is None or master.moments is None:
                continue
            lengths = [float(line.moments[-1] + line.step) for line in (follower, master) if line.moments is not None]
            if abs(lengths[0] - lengths[1]) > 1.5 * float(master.step):
                names = follower.media.path.name, master.media.path.name
                told = f"{names[0]} lasts {lengths[0]:.3f} s, {names[1]} {lengths[1]:.3f} s"
                all_of = "both" if len(self.followers) == 2 else "all"
                self.notices.append(f"{told}: {all_of} are shown from their first pictures on, as long as {all_of} last.")

    def _count(self) -> int | None:
        """How many pictures will be written; None where only decoding tells."""
        every = self.followers[0].moments
        ends = [
            follower.end + offset
            for follower, offset in zip(self.followers, self._offsets, strict=True)
            if follower.end is not None
        ]
        if every is None or len(ends) < len(self.followers):
            return None
        if self._duration is not None:
            ends.append(self._start + self._duration)
        return sum(self._start <= moment < min(ends) for moment in every)


def _check(videos: Sequence[str], wanted: Wanted) -> None:
    panels = len(videos) + wanted.bicubic
    if "-" in videos:
        raise UsageError("A pipe cannot be compared: it is read once only.", "Save it to a file first.")
    if len(videos) < 2:
        raise UsageError("There is nothing to compare one video with.", "Name two to four videos.")
    if panels > MOST:
        raise UsageError(f"{panels} panels are too small to see anything in.", f"Compare at most {MOST} at once.")
    if wanted.wipe is not None and panels != 2:
        raise UsageError("A wipe shows two videos, one on either side of its line.", "Leave out --wipe, --bicubic or the others.")
    if isinstance(wanted.wipe, float) and not 0 <= wanted.wipe <= 1:
        raise UsageError(f"The line of a wipe cannot stand at {wanted.wipe:g}.", "Give a place from 0 (left) to 1 (right).")
    if len(wanted.labels) not in (0, len(videos), panels):
        raise UsageError(f"There are {len(wanted.labels)} labels for {len(videos)} videos.", "Give one --label for each.")


def _even(picture: Picture) -> Picture:
    """With a row or column more where that makes the sides even, which most codecs and players need."""
    high, wide = picture.shape[0] % 2, picture.shape[1] % 2
    return np.pad(picture, ((0, high), (0, wide), (0, 0)), mode="edge") if high or wide else picture
