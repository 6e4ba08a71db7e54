"""A frame as a screen shows it: plain 8-bit RGB with square pixels; and what that leaves out."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidrestore.errors import MediaError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.upright import Upright

__all__ = ["Viewer", "refuse_other_shape"]

SAME_SHAPE = 0.01
"""Of the width, that shapes may differ by: as `compose.fit`; and two pixels of either picture, for sides rounded to even."""


class Viewer:
    """Makes pictures for people of the upright pictures of one file (`media.input.pairs.Pair.pictures`).

    Args:
        media: the file.
    """

    def __init__(self, media: MediaInfo) -> None:
        video = media.video
        aspect = video.sample_aspect_ratio or Fraction(1)
        # Made square by enlarging: no row or column is lost.
        wide = max(1, round(video.width * max(aspect, Fraction(1))))
        high = max(1, round(video.height / min(aspect, Fraction(1))))
        self.size = (Upright.of_matrix(media.display_matrix) or Upright()).size(wide, high)
        """(width, height) of what is shown."""
        self.notes = tuple(_notes(media, aspect != 1))
        """Sentences on what a plain picture does not show."""

    def __call__(self, picture: NDArray[Any]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 or full-scale uint16 RGB, upright -> (H, W, 3) uint8; may be a view of the picture itself."""
        shown = eight_bits(picture) if picture.dtype == np.uint16 else picture
        if shown.shape[2] == 1:
            shown = np.repeat(shown, 3, axis=2)
        if self.size != (shown.shape[1], shown.shape[0]):
            shown = np.asarray(cv2.resize(np.ascontiguousarray(shown), self.size, interpolation=cv2.INTER_CUBIC), np.uint8)
        return shown


def refuse_other_shape(one: MediaInfo, other: MediaInfo) -> None:
    """Pictures of another shape do not lie on each other: what is measured of them would be of the stretching.

    Raises:
        MediaError: as screens show them, upright and with square pixels, their shapes differ by more than rounding.
    """
    (wide, high), (across, up) = Viewer(one).size, Viewer(other).size
    stretched = wide * up / high, across
    if abs(stretched[0] - stretched[1]) > max(2.0, SAME_SHAPE * across, 2.0 * up / high):
        raise MediaError(
            f"{one.path} and {other.path} show pictures of different shape: {wide}x{high} and {across}x{up}.",
            "`vidrestore compare` shows them beside each other; `vidrestore verify` compares all but the pictures.",
        )


def eight_bits(picture: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Full-scale uint16 -> uint8, rounded."""
    return ((picture.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _notes(media: MediaInfo, stretched: bool) -> list[str]:
    name, video = media.path.name, media.video
    notes = []
    if video.color.bit_depth > 8:
        notes.append(f"{name} has {video.color.bit_depth} bits a sample; pictures here are shown with 8.")
    if video.color.hdr:
        notes.append(f"{name} is HDR; pictures here are shown without tone mapping, so that they look flat.")
    if video.alpha:
        notes.append(f"{name} has transparency, which pictures here do not show.")
    if stretched:
        notes.append(f"{name} has pixels that are not square; pictures here are shown as players show them.")
    if media.display_matrix is not None and Upright.of_matrix(media.display_matrix) is None:
        notes.append(f"{name} is to be turned by an odd angle; pictures here are shown as stored.")
    return notes
