"""Where pictures come from: the one door for files, image sequences and pipes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from vidrestore.config import LimitsConfig
from vidrestore.media.input.decode import VideoDecoder, windowed_range
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.packet_scan import scan_packets
from vidrestore.media.input.picture_decoder import WHOLE, DecodeOptions, PictureDecoder, Window
from vidrestore.media.input.probe import probe
from vidrestore.media.input.sequence_source import SequenceSource
from vidrestore.media.input.y4m_source import Y4mSource, is_y4m
from vidrestore.media.sequence import is_sequence

__all__ = ["FileSource", "Source", "open_source"]

_log = logging.getLogger(__name__)


class Source(Protocol):
    """Something that holds one moving picture."""

    @property
    def media(self) -> MediaInfo:
        """What is in it."""
        ...

    @property
    def live(self) -> bool:
        """True: a pipe, which can be decoded once only."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """All whose content decides the pictures, sounds and words; empty for a pipe and an address."""
        ...

    def decoder(self, options: DecodeOptions = WHOLE, window: Window | None = None) -> PictureDecoder:
        """Its pictures, of `window` only if there is one. Raises ValueError the second time where `live`."""
        ...

    def index(self, options: DecodeOptions = WHOLE) -> tuple[int, ...] | None:
        """pts of every picture that `decoder(options)` will give, rising; each of them is a place for a window to begin.

        None where only decoding from the beginning can tell, or where pictures would not be the same, bit for bit, if the source
        were entered in the middle.
        """
        ...

    def close(self) -> None:
        """Let go of what is open; may be called more than once."""
        ...


class FileSource:
    """A file in a container that FFmpeg reads."""

    live = False

    def __init__(self, media: MediaInfo) -> None:
        self.media = media

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.media.path,) if self.media.address.startswith("file:") else ()

    def decoder(self, options: DecodeOptions = WHOLE, window: Window | None = None) -> PictureDecoder:
        return VideoDecoder(self.media, options, window)

    def index(self, options: DecodeOptions = WHOLE) -> tuple[int, ...] | None:
        if options.on_damage == "conceal" or options.deinterlace or not self.files:
            return None
        scan = scan_packets(self.media)
        if scan.pts is None or scan.doubt is not None:
            _log.info("%s is decoded from its beginning only: %s", self.media.path, scan.doubt)
            return None
        first, end = windowed_range(self.media, options, None)
        return tuple(pts for pts in scan.pts if (first is None or pts >= first) and (end is None or pts < end))

    def close(self) -> None:
        """Nothing is held open between decoders."""


def open_source(
    address: str | Path,
    *,
    limits: LimitsConfig | None = None,
    protocols: tuple[str, ...] = ("file",),
    frame_rate: str | None = None,
) -> Source:
    """Open what `address` names, and describe it.

    Args:
        address: a video file; a folder or a pattern (`frames/%06d.png`) of images; `-` for y4m on standard input. A file that
            begins as y4m does is read as such, whatever its name.
        limits: what it may ask of the machine; None: the defaults.
        protocols: FFmpeg's names of the protocols that may be used to read it.
        frame_rate: frames a second of sources that do not say, such as `25` or `30000/1001`.

    Raises:
        MediaError: as `probe` does.
        UsageError: standard input is a terminal.
    """
    if str(address) == "-" or is_y4m(Path(address)):
        return Y4mSource(address, limits, frame_rate)
    if is_sequence(address):
        return SequenceSource(address, limits, frame_rate)
    return FileSource(probe(address, limits=limits, protocols=protocols))
