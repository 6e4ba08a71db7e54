"""Pictures for training: some frames of a video, and still images."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidrestore.errors import MediaError, SourceMissingError
from vidrestore.media.convert import ToRGB
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.probe import probe
from vidrestore.media.output.target import storage_error

__all__ = ["read_image", "sample_frames", "write_image"]

_log = logging.getLogger(__name__)

Picture = NDArray[np.uint8]

# decord 0.6 opens these and then fails or hangs.
_NOT_FOR_DECORD = {"av1"}


def sample_frames(path: str | Path, every_seconds: float = 1.0) -> Iterator[Picture]:
    """Yield the first frame at or after 0, `every_seconds`, 2 x `every_seconds` ... of the video's own time.

    Each is an own (H, W, 3) uint8 array, RGB 0..255. decord is used for its random access where it is installed and can
    read the file, PyAV otherwise; the log says which. decord converts colours the fast way, about 1 level darker than
    `VideoDecoder`: good enough to train on. Raises the errors of `probe` and `VideoDecoder`.
    """
    if every_seconds <= 0:
        raise ValueError("every_seconds must be positive")
    info = probe(path)
    reader = _decord_reader(info)
    if reader is None:
        _log.info("%s: sampled with PyAV", path)
        return _sample_pyav(info, every_seconds)
    _log.info("%s: sampled with decord", path)
    return _sample_decord(reader, every_seconds)


def _decord_reader(info: MediaInfo) -> Any | None:
    """A decord reader, or None where it is missing, cannot read the file, or would hand its pictures out otherwise."""
    if info.video.codec in _NOT_FOR_DECORD or info.video.color.bit_depth > 8 or info.damaged_from is not None:
        return None
    if info.display_matrix is not None or info.crop is not None:
        return None  # decord turns pictures upright and crops none; everything else here leaves them as stored, and crops
    try:
        import decord

        return decord.VideoReader(str(info.path), ctx=decord.cpu(0), num_threads=1)
    except ImportError:
        return None
    except Exception as error:  # decord's own error class is private, and it also raises RuntimeError
        _log.info("%s: decord cannot read it (%s)", info.path, str(error).splitlines()[0] if str(error) else error)
        return None


def _sample_decord(reader: Any, every_seconds: float) -> Iterator[Picture]:
    begins = np.asarray(reader.get_frame_timestamp(range(len(reader))))[:, 0]
    begins = begins - begins[0]
    steps = np.arange(0.0, begins[-1] + 1e-6, every_seconds)
    for index in np.unique(np.searchsorted(begins, steps - 1e-6)):
        yield reader[int(index)].asnumpy()


def _sample_pyav(info: MediaInfo, every_seconds: float) -> Iterator[Picture]:
    to_rgb = ToRGB(info.video)
    begin: float | None = None
    wanted = 0
    with VideoDecoder(info) as decoder:
        for picture, pts in decoder.pictures():
            seconds = float(pts * info.video.time_base)
            begin = seconds if begin is None else begin
            if seconds - begin >= wanted * every_seconds - 1e-6:
                wanted = int((seconds - begin + 1e-6) / every_seconds) + 1
                yield np.ascontiguousarray(info.cropped(to_rgb(picture)[0]))


def read_image(path: str | Path) -> Picture:
    """Read a still image as an own (H, W, 3) uint8 array, RGB 0..255, turned upright by its EXIF orientation.

    Grey becomes three equal channels, transparency is dropped, 16 bits are reduced to 8. Raises SourceMissingError, or
    MediaError if it is no image.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceMissingError(f"There is no file {path}.")
    stored = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    bgr = cv2.imdecode(stored, cv2.IMREAD_COLOR) if stored.size else None
    if bgr is None:
        raise MediaError(f"{path} is no image that can be read.", "Give a PNG or JPEG file.")
    return np.ascontiguousarray(bgr[:, :, ::-1])


def write_image(path: str | Path, array: Picture, quality: int = 95) -> None:
    """Write (H, W, 3) uint8 RGB as PNG or JPEG (by the extension), under a temporary name first.

    Args:
        quality: of JPEG, 0..100.

    Raises:
        ValueError: wrong shape or type.
        MediaError: an extension other than .png, .jpg, .jpeg.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(f"an image is (H, W, 3) uint8, got {array.shape} {array.dtype}")
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise MediaError(f"{path.name} has no extension that can be written.", "Use .png or .jpg.")
    settings = [] if path.suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, coded = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(array[:, :, ::-1]), settings)
    if not done:
        raise MediaError(f"{path} could not be encoded.", "Check the picture's size.")
    pending = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        pending.write_bytes(coded.tobytes())
        pending.replace(path)
    except OSError as error:
        pending.unlink(missing_ok=True)
        raise storage_error(error, path) from None
