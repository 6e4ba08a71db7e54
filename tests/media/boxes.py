"""mp4 files changed box by box, for what no muxer at hand writes."""

from __future__ import annotations

SAMPLE_ENTRY = ("moov", "trak", "mdia", "minf", "stbl", "stsd")
DATA_REFERENCE = ("moov", "trak", "mdia", "minf", "dinf", "dref")


def box(name: str, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + name.encode() + content


def with_more(file: bytes, path: tuple[str, ...], more: bytes) -> bytes:
    """`file` with `more` at the end of the innermost box of `path` (the first of each name), and all around it as much larger.

    `moov` must be the last box, so that no sample moves.
    """
    grown, at = bytearray(file), 0
    for name in path:
        at = file.index(name.encode(), at)
        start = at - 4
        size = int.from_bytes(file[start:at], "big")
        grown[start:at] = (size + len(more)).to_bytes(4, "big")
    grown[start + size : start + size] = more
    return bytes(grown)
