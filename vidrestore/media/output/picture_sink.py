"""What outputs without further streams have in common (y4m, gif, images): what they refuse, and how a picture reaches them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vidrestore.config import EncodeConfig, RunConfig
from vidrestore.errors import UnsupportedStreamError, UsageError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.passthrough.metadata import file_metadata
from vidrestore.media.passthrough.streams import kept_streams
from vidrestore.media.proof.findings import listed
from vidrestore.media.proof.verify import VerifyReport
from vidrestore.media.upright import Upright
from vidrestore.types import Frame, StreamInfo

__all__ = ["Intake", "PictureSink", "captions_lost", "refuse_encoding", "refuse_hdr", "refuse_streams", "words_lost"]

_KINDS = {"video": "video", "audio": "audio", "subtitle": "subtitle", "data": "data", "attachment": "attachment"}


def refuse_streams(media: MediaInfo, config: RunConfig, what: str) -> None:
    """Raise UnsupportedStreamError for the first stream beside the picture that was not dropped; `what`: A gif file."""
    kept = kept_streams(media, config.drop_streams, config.strip_location)
    if not kept:
        return
    kinds = sorted({"cover" if stream.attached_picture else _KINDS.get(stream.type, str(stream.index)) for stream in kept})
    others, them = (f" (nor {len(kept) - 1} more)", "them") if len(kept) > 1 else ("", "it")
    raise UnsupportedStreamError(
        f"{what} holds pictures only: it cannot hold {kept[0]}{others}.",
        f"Write to .mkv (or --container mkv), or leave {them} out: --drop-streams {','.join(kinds)}.",
    )


def refuse_hdr(info: StreamInfo, what: str) -> None:
    """Raise UnsupportedStreamError for HDR: without its tags the picture would be shown wrongly."""
    if info.color.hdr:
        raise UnsupportedStreamError(
            f"{what} cannot say that its pictures are HDR ({info.color.transfer}).",
            "Write to .mkv or .mp4, or convert it to SDR first.",
        )


def refuse_encoding(encode: EncodeConfig, what: str) -> None:
    """Raise UsageError for settings that choose or steer a video encoder, which there is none of."""
    given = [
        flag
        for flag, said in (
            (f"--codec {encode.codec}", encode.codec != "auto"),
            (f"--crf {encode.crf}", encode.crf is not None),
            ("--encoder-option", bool(encode.options)),
        )
        if said
    ]
    if given:
        raise UsageError(
            f"{what} is not written by a video encoder: {listed(given)} cannot apply.", "Leave it out, or write to .mkv."
        )


def words_lost(media: MediaInfo, config: RunConfig, what: str) -> list[str]:
    """Notices of what is lost without being a stream: metadata and chapters."""
    lost = ["metadata"] if file_metadata(media, "", config.strip_location) else []
    lost += ["chapters"] if media.chapters and "chapters" not in config.drop_streams else []
    return [f"{what} holds no {' and no '.join(lost)}: what the source has is not written."] if lost else []


def captions_lost(what: str) -> str:
    """The notice where closed captions cannot be written."""
    return f"The picture carries closed captions, which {what} does not hold: they are not written; h264 and hevc keep them."


class Intake:
    """Pictures as they leave the engines, turned upright, with times that rise from the output's zero.

    Args:
        info: the picture as it leaves the engines.
        media: the source, for its display matrix.
        what: the output in sentences.

    Raises:
        UnsupportedStreamError: the source's rotation is no quarter turn.
    """

    def __init__(self, info: StreamInfo, media: MediaInfo, what: str) -> None:
        upright = Upright.of_matrix(media.display_matrix)
        if upright is None:
            raise UnsupportedStreamError(
                f"{what} cannot carry a rotation, and {info.rotation} degrees is no quarter turn.", "Write to .mkv, .mp4 or .mov."
            )
        self._upright, self._info = upright, info
        width, height = upright.size(info.width, info.height)
        aspect = info.sample_aspect_ratio
        if aspect is not None and upright.transpose:
            aspect = 1 / aspect
        self.info: StreamInfo = replace(info, width=width, height=height, sample_aspect_ratio=aspect, rotation=0)
        """The picture as it is written."""
        self.notices: tuple[str, ...] = (
            (f"{what} cannot carry a rotation: its pictures are turned upright.",) if upright.changes else ()
        )
        self.lost: tuple[str, ...] = ()
        """Notices of what the pictures so far had that cannot be written."""
        self._what = what
        self._last: Fraction | None = None

    def __call__(self, frame: Frame) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """(H, W, 3) and the opacity (h, w) or None, upright.

        Raises ValueError for a wrong shape, type or order: a fault of the caller, not of the file.
        """
        data = frame.data if isinstance(frame.data, np.ndarray) else frame.data.numpy()
        wanted = (3, self._info.height, self._info.width)
        if data.shape != wanted or data.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"frame {frame.index} is {data.dtype} {data.shape}, the writer takes uint8 or uint16 {wanted}")
        moment = frame.pts * frame.time_base
        if self._last is not None and moment <= self._last:
            raise ValueError(f"frame {frame.index}: its pts does not rise")
        self._last = moment
        if frame.captions:
            self.lost = (captions_lost(self._what[:1].lower() + self._what[1:]),)
        alpha = frame.alpha if self._info.alpha and frame.alpha is not None else None
        return self._upright(data.transpose(1, 2, 0)), None if alpha is None else self._upright(np.asarray(alpha))


class PictureSink(ABC):
    """What gif, y4m and image sequences have in common as sinks (see `Sink`).

    Args:
        intake: how pictures reach it.
        notices: of the plan.
    """

    def __init__(self, intake: Intake, notices: tuple[str, ...]) -> None:
        self._intake, self._notices = intake, notices
        self.verified: VerifyReport | None = None
        """What `finish` will return, from the moment when only the name is missing."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of the output, so far."""
        return (*self._notices, *self._intake.lost)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    @abstractmethod
    def place(self) -> Path:
        """Where the output lies until it has its name."""

    @abstractmethod
    def close(self) -> None:
        """Let go; leaves nothing behind unless `finish` succeeded."""
