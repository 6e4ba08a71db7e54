"""The folder that an image sequence goes to: which name stands for one, and what in it may be replaced."""

from __future__ import annotations

import os
from pathlib import Path

from vidrestore.errors import (
    FolderMissingError,
    NotWritableError,
    OutputExistsError,
    SameFileError,
    UsageError,
)
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.output.target import storage_error
from vidrestore.media.sequence import Pattern, is_folder
from vidrestore.media.timecodes import NAME, OURS

__all__ = ["WRITTEN", "check_again", "check_folder", "sequence_target"]

DEFAULT_NAME = "%06d.png"
WRITTEN = {".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg", ".tif": "tiff", ".tiff": "tiff"}
"""Extensions of images that are written, and FFmpeg's encoders."""


def sequence_target(target: str | Path) -> tuple[Path, Pattern] | None:
    """(folder, names) of an output that is a sequence: a pattern, or a folder that is there or is named with a slash at its end.

    Raises:
        UsageError: a pattern whose extension cannot be written.
    """
    name, path = str(target), Path(target)
    pattern = Pattern.parse(path.name)
    if pattern is not None:
        extension = Path(pattern.suffix or "x").suffix.lower() or pattern.suffix.lower()
        if extension not in WRITTEN:
            raise UsageError(
                f"{path.name} has no extension of an image that can be written.", f"Use one of {', '.join(sorted(WRITTEN))}."
            )
        return path.parent, pattern
    if name.endswith(("/", os.sep)) or is_folder(path):
        return path, _default_pattern()
    return None


def _default_pattern() -> Pattern:
    pattern = Pattern.parse(DEFAULT_NAME)
    assert pattern is not None
    return pattern


def check_folder(folder: Path, media: MediaInfo, overwrite: bool) -> None:
    """Raise now what would keep a whole folder from getting its name after hours.

    Raises:
        SameFileError: it is the folder of the input.
        OutputExistsError: there is something in the folder, and it may not be replaced.
        FolderMissingError, NotWritableError: the folder around it.
        UsageError: a folder that cannot be exchanged for another: where the shell is, or where a disk is mounted.
    """
    whole = folder.resolve()
    try:
        if whole.exists() and not whole.is_dir():
            raise OutputExistsError(f"{folder} is a file, not a folder.", "Choose another name.")
        if not whole.parent.is_dir():
            raise FolderMissingError(f"There is no folder {whole.parent}.")
        if not os.access(whole.parent, os.W_OK | os.X_OK):
            raise NotWritableError(f"The folder {whole.parent} may not be written to.")
        if not whole.exists():
            return
        if whole.samefile(Path.cwd()) or whole.is_mount():
            raise UsageError(
                f"{folder} is {'the current folder' if whole.samefile(Path.cwd()) else 'where a disk is mounted'}, which a whole "
                "sequence cannot take the place of.",
                "Give the images a folder of their own, such as frames/.",
            )
        if media.path.is_dir() and media.path.samefile(whole):
            raise SameFileError(
                f"The output {folder} is the folder of the input.", "Choose another folder; the source is never written to."
            )
        _check_content(whole, folder, overwrite)
    except OSError as error:
        raise storage_error(error, folder) from None


def _check_content(whole: Path, folder: Path, overwrite: bool) -> None:
    content = sorted(entry.name for entry in whole.iterdir())
    if not content:
        return
    if not overwrite:
        raise OutputExistsError(f"{folder} is there and not empty ({content[0]}).", "Choose another folder or add --overwrite.")
    other = _not_ours(whole, content)
    if other is not None:
        raise OutputExistsError(
            f"{folder} holds more than a sequence that vidrestore wrote ({other}), so it is not replaced.",
            "Choose another folder.",
        )


def _not_ours(folder: Path, content: list[str]) -> str | None:
    """The first thing in a folder that is not of a sequence written here; None if there is nothing else."""
    stated = folder / NAME
    if not stated.is_file() or OURS not in stated.read_text(encoding="utf-8", errors="replace").splitlines()[:3]:
        return content[0]
    for name in content:
        image = Path(name).suffix.lower() in WRITTEN and any(character.isdigit() for character in name)
        if name != NAME and not (image and (folder / name).is_file()):
            return name
    return None


def check_again(whole: Path, folder: Path, overwrite: bool) -> None:
    """What is under the name now may not be what was there hours ago."""
    if whole.exists() and not whole.is_dir():
        raise OutputExistsError(f"{folder} appeared while it was being written.")
    if whole.is_dir():
        _check_content(whole, folder, overwrite)
