"""Containers and codecs: the only room that imports PyAV, decord or ffmpeg.

Names are loaded on first use, so that importing this package (and `vidrestore --help`) stays fast. The two functions
that are named like their module are imported from it: `from vidrestore.media.input.probe import probe` and
`from vidrestore.media.proof.verify import verify`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidrestore.media.input.decode import VideoDecoder
    from vidrestore.media.input.media_info import Chapter, MediaInfo, StreamSummary
    from vidrestore.media.input.sample import read_image, sample_frames, write_image
    from vidrestore.media.output.encode import VideoWriter
    from vidrestore.media.output.target import check_target
    from vidrestore.media.proof.verify import StreamCheck, VerifyReport

__all__ = [
    "Chapter",
    "MediaInfo",
    "StreamCheck",
    "StreamSummary",
    "VerifyReport",
    "VideoDecoder",
    "VideoWriter",
    "check_target",
    "read_image",
    "sample_frames",
    "write_image",
]

_HOMES = {
    "Chapter": "input.media_info",
    "MediaInfo": "input.media_info",
    "StreamCheck": "proof.verify",
    "StreamSummary": "input.media_info",
    "VerifyReport": "proof.verify",
    "VideoDecoder": "input.decode",
    "VideoWriter": "output.encode",
    "check_target": "output.target",
    "read_image": "input.sample",
    "sample_frames": "input.sample",
    "write_image": "input.sample",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
