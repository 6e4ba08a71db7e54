"""Letters of names in pictures: a font that has them, and something legible for those that no font here has."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

__all__ = ["font", "font_file", "legible"]

UNKNOWN = "?"
"""Stands for a letter that no font has, or that cannot be seen."""
MOST_FONTS = 400
"""Of the system, that are looked into."""


def font(size: int, text: str = "") -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, or where `text` has letters that it lacks another one, see `font_file`."""
    file = font_file(text)
    return ImageFont.load_default(size) if file is None else _loaded(file, size)


def legible(text: str) -> str:
    """`text` with `?` for each letter that `font(..., text)` lacks, or that cannot be seen, instead of an empty box."""
    file = font_file(text)
    if file is None:
        return text
    known = _codes(file)
    return "".join(letter if letter.isprintable() and ord(letter) in known else UNKNOWN for letter in text)


@lru_cache(maxsize=256)
def font_file(text: str) -> str | None:
    """The font that has all letters of `text`, else most of them; None: Pillow's own is enough.

    After Pillow's own come that of many scripts which Matplotlib brings along, and those of the system.
    """
    wanted = {ord(letter) for letter in text if letter.isprintable()}
    if text.isprintable() and not wanted - set(range(32, 127)) - {ord("…")}:
        return None
    best, lacking = None, len(wanted) + 1
    for file in _files():
        missing = len(wanted - _codes(file))
        if missing < lacking:
            best, lacking = file, missing
        if not missing:
            break
    return best


@lru_cache(maxsize=64)
def _loaded(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@lru_cache(maxsize=1)
def _files() -> tuple[str, ...]:
    found = find_spec("matplotlib")
    own = [] if found is None or found.origin is None else [Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"]
    if not own:
        return ()
    from matplotlib.font_manager import findSystemFonts

    # Plain and upright ones first; of equal ones always the same.
    system = sorted(findSystemFonts(), key=lambda name: (len(Path(name).stem), name))
    return (*(str(file) for file in own if file.is_file()), *system[:MOST_FONTS])


@lru_cache(maxsize=MOST_FONTS + 1)
def _codes(file: str) -> frozenset[int]:
    """The letters that a font can draw at any size; none of one that cannot be used."""
    from matplotlib.ft2font import FT2Font

    try:
        face = FT2Font(file)
        return frozenset(face.get_charmap()) if face.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()
