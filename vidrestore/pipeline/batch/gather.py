"""What the inputs of a command mean: one job, or a batch of files and where each of them goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidrestore.errors import NotAVideoError, SourceMissingError, UsageError
from vidrestore.media.input.image_header import EXTENSIONS as IMAGES
from vidrestore.media.output.target import CONTAINERS
from vidrestore.media.sequence import VIDEOS, Pattern, is_folder, is_sequence, natural_key
from vidrestore.pipeline.batch.record import has_record

__all__ = ["Item", "gather", "is_batch"]

WRITTEN = frozenset(CONTAINERS) | {".gif", ".y4m"}


@dataclass(frozen=True)
class Item:
    """One file of a batch."""

    source: str
    output: str
    name: str
    """The output below the batch's folder, with `/`: what the file is called in reports and in the record."""
    refusal: str = ""
    """Why it has no place in the output folder; empty: it has."""


@dataclass(frozen=True)
class _Found:
    source: Path
    below: Path
    """Where it lies below the folder that was named; where it will lie below the output folder."""


def is_batch(inputs: Sequence[str], pattern: str | None, output: str = "") -> bool:
    """Whether these inputs are more than one job: several, a pattern to look for, or a folder of videos.

    One video for a folder that a batch has written to belongs to that batch: it must not be taken for a sequence of images that
    takes the place of the whole folder.

    Raises:
        NotAVideoError: a folder that holds videos and images: it is not said which are meant.
    """
    if len(inputs) != 1 or pattern is not None:
        return True
    if inputs[0] == "-":
        return False
    path = Path(inputs[0])
    return (is_folder(path) and _holds_videos(path)) or (bool(output) and has_record(Path(output)))


def gather(inputs: Sequence[str], output: str, pattern: str | None = None, container: str | None = None) -> list[Item]:
    """The files of a batch, in the order given, those of a folder as people count.

    An output has its source's name, and its extension or `container`; where two would get the same name, both keep the
    source's extension in it (`a.mov.mkv`). What a pattern finds in sub-folders goes into sub-folders of the same names.

    Args:
        inputs: files, folders of videos, folders and patterns of images.
        output: the folder to write into, there or not.
        pattern: which files of the folders, as `*.mp4` or `**/*.mp4`; None: every video that lies in the folder itself.
        container: extension to write, as `mkv`; None: each source's own.

    Raises:
        UsageError: the output is no folder, or the one of the inputs; two inputs that would be written to one place.
        SourceMissingError: nothing is found.
        NotAVideoError: a folder that holds videos and images; a folder of videos, and the output is named as a file.
    """
    folder = Path(output)
    _check_folder(output, inputs)
    found: list[_Found] = []
    for address in inputs:
        found += _find(address, pattern, folder)
    return _with_outputs(_once(found), folder, None if container is None else f".{container.removeprefix('.').lower()}")


def _holds_videos(folder: Path) -> bool:
    names = [entry.name for entry in _entries(folder) if entry.is_file() and not entry.name.startswith(".")]
    videos = sorted(name for name in names if Path(name).suffix.lower() in VIDEOS)
    images = sorted(name for name in names if Path(name).suffix.lower() in IMAGES)
    if videos and images:
        raise NotAVideoError(
            f"{folder} holds images and videos ({images[0]}, {videos[0]}).",
            f"Say which you mean: --pattern '*{Path(videos[0]).suffix}' for the videos, or name the images as %06d.png.",
        )
    return bool(videos)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise SourceMissingError(f"{folder} cannot be read: {error.strerror}.") from None


def _check_folder(output: str, inputs: Sequence[str]) -> None:
    folder = Path(output)
    if "-" in inputs:
        raise UsageError("A pipe cannot be one of several inputs.", "Restore it on its own: `vidrestore run - -o OUT`.")
    if output == "-":
        raise UsageError("Several videos cannot go to stdout.", "Give -o a folder.")
    if folder.is_dir():
        if any(is_folder(Path(address)) and folder.samefile(address) for address in inputs):
            raise UsageError(f"{output} is the folder of the videos themselves.", "Give -o a folder of its own.")
        return
    if folder.exists():
        raise UsageError(f"{output} is a file; several videos need a folder.", "Give -o a folder.")
    named_as_file = not output.endswith("/") and (folder.suffix.lower() in WRITTEN or Pattern.parse(folder.name) is not None)
    if named_as_file and len(inputs) == 1 and is_folder(Path(inputs[0])):
        raise NotAVideoError(
            f"{inputs[0]} is a folder of videos, and {output} is named as one file.",
            "Name one of the videos, or give -o a folder.",
        )
    if named_as_file:
        raise UsageError(f"{output} is named as one file; several videos need a folder.", "Give -o a folder.")


def _find(address: str, pattern: str | None, output: Path) -> list[_Found]:
    """What one input stands for."""
    path = Path(address)
    if not is_folder(path):
        return [_Found(path, Path(path.parent.name or "images", path.name) if is_sequence(path) else Path(path.name))]
    if pattern is None:
        if not _holds_videos(path):
            return [_Found(path, Path(path.resolve().name))]
        names = [entry for entry in _entries(path) if entry.suffix.lower() in VIDEOS]
    else:
        try:
            names = list(path.glob(pattern))
        except (ValueError, NotImplementedError, IndexError) as error:
            raise UsageError(f"--pattern {pattern!r} is none: {error}.", "Write it as '*.mp4' or '**/*.mp4'.") from None
    found = [_Found(name, name.relative_to(path)) for name in names if name.is_file()]
    found = [entry for entry in found if not _is_ours(entry, path, output)]
    if not found:
        raise SourceMissingError(f"{path} holds no file like {pattern}." if pattern else f"{path} holds no video.")
    return sorted(found, key=lambda entry: [natural_key(part) for part in entry.below.parts])


def _is_ours(found: _Found, folder: Path, output: Path) -> bool:
    """Hidden files, and what a batch itself has put below the folder it reads from."""
    if any(part.startswith(".") or part.endswith(".vidrestore") for part in found.below.parts):
        return True
    return output.resolve().is_relative_to(folder.resolve()) and found.source.resolve().is_relative_to(output.resolve())


def _once(found: list[_Found]) -> list[_Found]:
    """Without files that were named twice."""
    return list({entry.source.absolute(): entry for entry in reversed(found)}.values())[::-1]


def _with_outputs(found: list[_Found], folder: Path, extension: str | None) -> list[Item]:
    short: dict[str, list[_Found]] = defaultdict(list)
    for entry in found:
        short[_key(_name(entry, extension, keep=False))].append(entry)
    items: list[Item] = []
    taken: dict[str, _Found] = {}
    for entry in found:
        clashes = len(short[_key(_name(entry, extension, keep=False))]) > 1
        name = _name(entry, extension, keep=clashes)
        other = taken.setdefault(_key(name), entry)
        if other is not entry:
            raise UsageError(
                f"{other.source} and {entry.source} would both be written to {folder / name}.",
                "Give the folder that holds both, with --pattern '**/*.mp4', or make two batches.",
            )
        output = str(folder / name) + ("/" if name.endswith("/") else "")
        items.append(Item(str(entry.source), output, name, _refusal(entry, extension)))
    return items


def _key(name: str) -> str:
    """Names that differ in upper and lower case only are one name on many disks."""
    return name.casefold()


def _name(found: _Found, extension: str | None, keep: bool) -> str:
    below = found.below
    if is_sequence(found.source):
        whole = below if is_folder(found.source) else below.parent
        if extension is not None:
            return f"{whole.as_posix()}{extension}"
        return f"{whole.as_posix()}/" if is_folder(found.source) else below.as_posix()
    if extension is None:
        return below.as_posix()
    return below.with_name((below.name if keep else below.stem) + extension).as_posix()


def _refusal(found: _Found, extension: str | None) -> str:
    own = found.source.suffix.lower()
    if extension is not None or is_sequence(found.source) or own in WRITTEN:
        return ""
    what = f"{own} files cannot be written" if own else "its name has no extension that says what to write"
    return f"{found.source}: {what}. Add --container mkv."
