"""One picture into a PNG or JPEG file, with words about what it shows; whole or not there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from vidrestore.media.output.target import check_target, written_whole

__all__ = ["STILLS", "check_still", "write_still"]

STILLS = frozenset({".png", ".jpg", ".jpeg"})
_JPEG_QUALITY = 92


def check_still(target: Path, sources: Iterable[Path], overwrite: bool) -> None:
    """Raise before any work what `write_still` would raise after it, and refuse to write over a source.

    Raises:
        UsageError, SameFileError, OutputExistsError, FolderMissingError, NotWritableError: see `target.check_target`.
    """
    for source in (None, *sources):
        check_target(target, source, overwrite, extensions=STILLS)


def write_still(target: Path, picture: NDArray[np.uint8], comment: str, overwrite: bool = False) -> None:
    """Write (H, W, 3) uint8 RGB; `comment` goes into PNG's tEXt `Comment` or JPEG's COM.

    Raises:
        StorageError, OutputExistsError: as `PendingFile` does.
    """
    image = Image.fromarray(picture)
    with written_whole(target, overwrite) as pending:
        if target.suffix.lower() == ".png":
            words = PngImagePlugin.PngInfo()
            words.add_text("Comment", comment.encode("latin-1", "replace").decode("latin-1"))
            image.save(pending, "PNG", pnginfo=words)
        else:
            image.save(pending, "JPEG", quality=_JPEG_QUALITY, subsampling=0, comment=comment.encode("ascii", "replace"))
