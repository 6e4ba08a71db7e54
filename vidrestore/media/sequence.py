"""Image sequences by name: which files of a folder belong to one, in which order, and that none is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vidrestore.errors import MediaError, NotAVideoError, SourceMissingError, UsageError
from vidrestore.media.input.image_header import EXTENSIONS

__all__ = ["VIDEOS", "Listing", "Pattern", "is_folder", "is_sequence", "list_images", "natural_key"]

_PLACEHOLDER = re.compile(r"%(?:0(\d{1,2}))?d")
VIDEOS = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".mxf"}
    | {".gif", ".y4m", ".ivf", ".h264", ".hevc", ".264", ".265", ".obu", ".vob", ".ogv"}
)
"""Extensions, in lower case, of what is taken for a video in a folder."""


@dataclass(frozen=True)
class Pattern:
    """Names with one number in them: `%06d.png` (zero-padded to six digits) or `shot%d.png`."""

    prefix: str
    digits: int
    """Width that numbers are padded to with zeros; 0: not padded."""
    suffix: str

    @classmethod
    def parse(cls, name: str) -> Pattern | None:
        """The pattern that a file name is; None if it has no placeholder, or more than one."""
        found = list(_PLACEHOLDER.finditer(name))
        if len(found) != 1:
            return None
        place = found[0]
        return cls(name[: place.start()], int(place[1] or 0), name[place.end() :])

    def name(self, number: int) -> str:
        """The name of one image."""
        return f"{self.prefix}{number:0{self.digits}d}{self.suffix}" if self.digits else f"{self.prefix}{number}{self.suffix}"

    def number(self, name: str) -> int | None:
        """The number in a name; None if it is none of this pattern."""
        inner = name.removeprefix(self.prefix).removesuffix(self.suffix)
        fits = re.fullmatch(r"[0-9]{1,18}", inner) and self.name(int(inner)) == name
        return int(inner) if fits else None

    def __str__(self) -> str:
        return f"{self.prefix}%{f'0{self.digits}' if self.digits else ''}d{self.suffix}"


@dataclass(frozen=True)
class Listing:
    """The images of a sequence, in their order."""

    folder: Path
    files: tuple[Path, ...]
    notices: tuple[str, ...] = ()


def is_sequence(address: str | Path) -> bool:
    """Whether an address names images: a folder, or a pattern that is not itself the name of a file."""
    path = Path(address)
    return is_folder(path) or (Pattern.parse(path.name) is not None and not path.exists())


def is_folder(path: Path) -> bool:
    """Whether a folder of this name can be seen; False for names that the system refuses."""
    try:
        return path.is_dir()
    except OSError:
        return False


def list_images(address: str | Path) -> Listing:
    """The images of a folder or a pattern.

    With a pattern, and in a folder where the names differ by one number only, numbers have to follow one another. Other
    names are sorted as people count (2 before 10).

    Raises:
        SourceMissingError: no such folder, or no image of the pattern.
        NotAVideoError: a folder without images, or with videos as well.
        MediaError: a number is missing, or there twice.
    """
    path = Path(address)
    if path.is_dir():
        return _list_folder(path)
    pattern = Pattern.parse(path.name)
    if pattern is None:
        raise UsageError(f"{path} is no folder and no pattern of images.", "Write a pattern as frames/%06d.png.")
    folder = path.parent
    numbered = {number: entry for entry in _entries(folder) if (number := pattern.number(entry.name)) is not None}
    if not numbered:
        raise SourceMissingError(f"There is no image {pattern} in {folder}.")
    _require_consecutive(sorted(numbered), pattern.name, folder)
    return Listing(folder, tuple(numbered[number] for number in sorted(numbered)))


def _entries(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    except FileNotFoundError:
        raise SourceMissingError(f"There is no folder {folder}.") from None
    except OSError as error:
        raise SourceMissingError(f"{folder} cannot be read: {error.strerror}.") from None


def _list_folder(folder: Path) -> Listing:
    entries = _entries(folder)
    images = sorted((e for e in entries if e.suffix.lower() in EXTENSIONS), key=lambda e: natural_key(e.name))
    videos = sorted(e.name for e in entries if e.suffix.lower() in VIDEOS)
    if videos and images:
        raise NotAVideoError(
            f"{folder} holds images and videos ({images[0].name}, {videos[0]}).",
            "Name one: the video, or the images by a pattern as %06d.png.",
        )
    if videos:
        raise NotAVideoError(f"{folder} is a folder of videos.", f"Give one of them, such as {folder / videos[0]}.")
    if not images:
        raise NotAVideoError(
            f"{folder} is a folder without images.", "Give a video, or a folder of png, jpg, tif, bmp or webp images."
        )
    split = [_last_number(entry.name) for entry in images]
    around = {(before, after) for before, _, after in split}
    if len(images) > 1 and len(around) == 1 and all(digits for _, digits, _ in split):
        names = {int(digits): entry.name for (_, digits, _), entry in zip(split, images, strict=True)}
        if len(names) < len(images):
            twice = next(b.name for a, b in pairwise(images) if int(_last_number(a.name)[1]) == int(_last_number(b.name)[1]))
            raise MediaError(f"The number of {folder / twice} is there twice.", "Take one of the two images away.")
        before, first, after = split[0]
        padded = Pattern(before, len(first) if first.startswith("0") else 0, after)
        _require_consecutive(sorted(names), padded.name, folder)
        return Listing(folder, tuple(images))
    if len(images) == 1:
        return Listing(folder, tuple(images))
    told = f"The images of {folder} are not numbered alike: they are sorted by name, and a missing one cannot be noticed."
    return Listing(folder, tuple(images), (told,))


def _require_consecutive(numbers: list[int], name: Callable[[int], str], folder: Path) -> None:
    for one, other in pairwise(numbers):
        if other != one + 1:
            missing = f"{one + 1}" if other == one + 2 else f"{one + 1} to {other - 1}"
            which = "Image" if other == one + 2 else "Images"
            raise MediaError(
                f"{which} {missing} of the sequence in {folder} {'is' if which == 'Image' else 'are'} missing "
                f"(between {name(one)} and {name(other)}).",
                "Put what is missing back, or number the images without a gap.",
            )


def _last_number(name: str) -> tuple[str, str, str]:
    """What is before, in and behind the last run of digits in a name without its extension; empty digits if there is none."""
    stem, suffix = Path(name).stem, Path(name).suffix
    found = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", stem, re.S)
    return (found[1], found[2], found[3] + suffix) if found else (stem, "", suffix)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A sorting key: runs of digits count as numbers."""
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part), part) if part.isdigit() else (0, 0, part.casefold()) for part in parts]
