"""The mark of restored pictures, where metadata has no place for a comment: nobody shall take made-up detail for evidence.

| output | place |
|---|---|
| h264 and hevc in ts, m2ts and raw streams | user data, an SEI message, with every key picture (H.264 and H.265, annex D) |
| ts, m2ts | the name of the service, too (DVB, EN 300 468, 6.2.33), which players show |
| av1 in ivf and obu | a metadata OBU for private use (AV1, 6.7.1: types 6 to 31) with every key picture |
| gif | a comment extension (GIF89a, 24) |
| png, jpg, tif | tEXt `Comment`, COM, ImageDescription |
| y4m | a header word, XVIDRESTORE= |
| vp9 in ivf | none |
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import av.error

from vidrestore.errors import UnsupportedStreamError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.probe import open_input
from vidrestore.media.output.containers import Container
from vidrestore.media.output.mark_text import MARK, Mark, parse_mark
from vidrestore.media.passthrough.packets import coded_packet

__all__ = [
    "MARK",
    "Mark",
    "gif_with_comment",
    "held_in_stream",
    "image_with_comment",
    "invents",
    "marked_packet",
    "parse_mark",
    "read_mark",
    "read_marks",
    "require_mark",
    "y4m_word",
]

_IDENTITY = bytes.fromhex("7cb3f6e1d5a94c2e9b8a56fd13c7e4af")
"""Tells our user data from others'; without a zero byte, so that nothing has to be escaped."""
_PRIVATE = 31
"""Type of an AV1 metadata OBU that is free for private use."""
_SLICES = {"h264": lambda kind: 1 <= kind & 31 <= 5, "hevc": lambda kind: kind >> 1 & 63 < 32}
"""By codec: whether a unit, by the first byte of its header, holds a part of the picture."""
_Y4M_WORD = "XVIDRESTORE"
_Y4M_LINE = 128
"""Bytes of the longest header that FFmpeg reads."""
_Y4M_CUT = "The header of y4m has no room for the"
_LONGEST_NAME = 200
"""Bytes of a service's name: it shares 255 with its provider's."""


def invents(comment: str) -> bool:
    """Whether a comment says that detail was made up."""
    return "invented" in comment


def held_in_stream(container: Container, codec: str) -> bool:
    """Whether the mark goes into the coded picture: the container has no comment, the codec a place for it."""
    return not _has_comment(container) and codec in ("h264", "hevc", "av1")


def _has_comment(container: Container) -> bool:
    return container.metadata is True or "comment" in (container.metadata or ())


def service(container: Container, comment: str) -> dict[str, str]:
    """Metadata that FFmpeg's muxer makes a transport stream's description of its service of."""
    if container.muxer != "mpegts" or not comment:
        return {}
    return {"service_provider": "vidrestore", "service_name": _plain(comment)[:_LONGEST_NAME].decode("ascii")}


def require_mark(container: Container, codec: str, comment: str) -> str | None:
    """None where the mark can be written; else a notice.

    Raises:
        UnsupportedStreamError: it cannot, and detail was invented.
    """
    if not comment or _has_comment(container) or held_in_stream(container, codec):
        return None
    what = f"{container} with {codec} video"
    return _without(what, comment, "Write to .webm or .mkv (--container).")


def _without(what: str, comment: str, instead: str) -> str:
    if invents(comment):
        raise UnsupportedStreamError(
            f"{what} cannot say which engines ran, and they invented detail: nobody could tell it from footage.", instead
        )
    return f"{what} cannot say which engines ran."


def _plain(comment: str) -> bytes:
    """Printable ASCII: no byte of it has to be escaped anywhere."""
    return re.sub(rb"[^ -~]", b"?", comment.encode("ascii", "replace"))


# -- coded pictures ---------------------------------------------------------------------------------------------------


def marked_packet(packet: av.Packet, codec: str, comment: str) -> av.Packet:
    """A key picture with the mark in front of its pixels; other packets as they are. Nothing else is changed."""
    if not packet.is_keyframe:
        return packet
    data = bytes(packet)
    at = _first_tile(data) if codec == "av1" else _first_slice(data, codec)
    message = _metadata_unit(comment) if codec == "av1" else _user_data(codec, comment)
    marked = coded_packet(data[:at] + message + data[at:])
    marked.pts, marked.dts, marked.duration = packet.pts, packet.dts, packet.duration
    marked.time_base, marked.is_keyframe = packet.time_base, True
    if packet.stream is not None:
        marked.stream = packet.stream
    return marked


def _first_slice(data: bytes, codec: str) -> int:
    """Where the first unit with a part of the picture begins, its start code included."""
    holds = _SLICES[codec]
    for found in re.finditer(rb"\x00?\x00\x00\x01(.)", data, re.S):
        if holds(found[1][0]):
            return found.start()
    return len(data)


def _user_data(codec: str, comment: str) -> bytes:
    """An SEI message of unregistered user data, in a unit of its own with its start code."""
    payload = _IDENTITY + _plain(comment)
    size = b"\xff" * (len(payload) // 255) + bytes([len(payload) % 255])
    header = b"\x06" if codec == "h264" else b"\x4e\x01"
    return b"\0\0\0\1" + header + b"\x05" + size + payload + b"\x80"


def _first_tile(data: bytes) -> int:
    """Where the first unit behind the temporal delimiter (2) and the sequence header (1) begins."""
    at = 0
    while at < len(data) and data[at] >> 3 & 15 in (1, 2) and data[at] & 2:
        size, content = _leb128(data, at + 1 + (data[at] >> 2 & 1))
        at = content + size
    return at


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of 7 bits, and the place behind it."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def _metadata_unit(comment: str) -> bytes:
    payload = bytes([_PRIVATE]) + _IDENTITY + _plain(comment) + b"\x80"
    low, high = len(payload) & 127, len(payload) >> 7
    return b"\x2a" + (bytes([low | 128, high]) if high else bytes([low])) + payload


# -- files that are written here --------------------------------------------------------------------------------------


def gif_with_comment(data: bytes, comment: str) -> bytes:
    """A gif with a comment behind its palette and its loop."""
    at = 13 + (3 * (2 << (data[10] & 7)) if data[10] & 0x80 else 0)
    while data[at : at + 2] == b"\x21\xff":
        at = _behind_blocks(data, at + 2)
    text = _plain(comment)
    blocks = b"".join(bytes([len(part)]) + part for part in (text[n : n + 255] for n in range(0, len(text), 255)))
    return data[:at] + b"\x21\xfe" + blocks + b"\0" + data[at:]


def _behind_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += data[at] + 1
    return at + 1


def image_with_comment(data: bytes, codec: str, comment: str) -> bytes:
    """A png, jpg (`mjpeg`) or tif, as FFmpeg writes them, with a comment."""
    text = _plain(comment)
    if codec == "png":
        chunk = b"tEXt" + b"Comment\0" + text
        return data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    if codec == "mjpeg":
        at = 2
        while data[at + 1] & 0xF0 == 0xE0:  # JFIF's own segment has to be the first
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        return data[:at] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + data[at:]
    return _tif_with_comment(data, text + b"\0")


_IMAGE_DESCRIPTION, _ASCII = 270, 2


def _tif_with_comment(data: bytes, text: bytes) -> bytes:
    """The directory is written anew at the end, its entries in their order (TIFF 6.0, section 2)."""
    order = "<" if data[:2] == b"II" else ">"
    (old,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, old)
    entries = [data[old + 2 + 12 * n : old + 14 + 12 * n] for n in range(count)]
    place = len(data) + len(data) % 2
    entries.append(struct.pack(order + "HHII", _IMAGE_DESCRIPTION, _ASCII, len(text), place))
    entries.sort(key=lambda entry: int(struct.unpack(order + "H", entry[:2])[0]))
    text += bytes(len(text) % 2)
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    body = data.ljust(place, b"\0") + text + directory
    return body[:4] + struct.pack(order + "I", place + len(text)) + body[8:]


def y4m_word(line: bytes, comment: str) -> tuple[bytes, str | None]:
    """The word to put at the end of a header line (with its space), as much as fits into what FFmpeg reads, and a notice.

    Raises:
        UnsupportedStreamError: not even a short one fits, and detail was invented.
    """
    if not comment:
        return b"", None
    told = _plain(comment).decode("ascii").removeprefix(MARK).strip()
    first = told.split(". ")[0].rstrip(".")
    short = first.replace(" ", "") + (";detail_invented" if invents(comment) else "")
    bare = "detail_invented" if invents(comment) else "1"
    names = re.sub(r"\([0-9a-f]+\)", "", short)
    for words in (told.replace(" ", "_"), short, names, bare):
        word = f" {_Y4M_WORD}={words}".encode("ascii")
        if len(line) + len(word) <= _Y4M_LINE:
            if words == bare:
                return word, f"{_Y4M_CUT} names of the engines: it only says that the pictures were restored."
            return word, f"{_Y4M_CUT} weights of the engines: it only names them." if words == names != short else None
    return b"", _without("The header of this y4m stream", comment, "Write to .mkv or .mp4.")


# -- reading ----------------------------------------------------------------------------------------------------------


def read_mark(media: MediaInfo) -> str:
    """The mark that a file carries, wherever its format has a place for it; the last of several; empty: none.

    `parse_mark` tells what it says.
    """
    words = _words(media)
    start = words.rfind(MARK)
    return words[start:] if start >= 0 else ""


def read_marks(media: MediaInfo) -> str:
    """All marks that a file carries, the oldest first, of pictures that were restored more than once; empty: none."""
    words = _words(media)
    start = words.find(MARK)
    return words[start:] if start >= 0 else ""


def _words(media: MediaInfo) -> str:
    words = next((value for key, value in media.metadata.items() if key.lower() == "comment"), "")
    if MARK not in words:
        try:
            words = next((text for text in _texts(media) if text), "")
        except (OSError, av.error.FFmpegError, ValueError, IndexError):
            words = ""
    return words


def _texts(media: MediaInfo) -> Iterator[str]:
    if media.container == "yuv4mpegpipe":
        with media.path.open("rb") as file:
            yield _of_y4m(file.readline(4096))
    elif files := getattr(media, "files", ()):
        yield image_comment(files[0])
    elif media.container == "gif":
        yield gif_comment(media.path.read_bytes())
    elif media.video.codec in ("h264", "hevc", "av1") and media.container.split(",")[0] in _STREAMS:
        with open_input(media) as container:
            packets = container.demux(container.streams[media.video_index])
            yield next((_of_packet(bytes(packet)) for packet in packets if packet.is_keyframe), "")


_STREAMS = frozenset({"mpegts", "h264", "hevc", "obu", "ivf"})


def _of_packet(data: bytes) -> str:
    found = re.search(re.escape(_IDENTITY) + rb"([ -~]*)", data)
    return found[1].decode("ascii") if found else ""


def _of_y4m(line: bytes) -> str:
    found = re.search(rb" " + _Y4M_WORD.encode() + rb"=(\S+)", line)
    return f"{MARK} {found[1].decode('ascii', 'replace').replace('_', ' ')}" if found else ""


def gif_comment(data: bytes) -> str:
    """The comment before a gif's first picture; empty: none."""
    at = 13 + (3 * (2 << (data[10] & 7)) if data[10] & 0x80 else 0)
    while data[at] == 0x21:
        if data[at + 1] == 0xFE:
            text, at = b"", at + 2
            while data[at]:
                text += data[at + 1 : at + 1 + data[at]]
                at += data[at] + 1
            return text.decode("ascii", "replace")
        at = _behind_blocks(data, at + 2)
    return ""


def image_comment(path: Path) -> str:
    """The mark in an image: it begins like one, in printable letters."""
    found = re.search(re.escape(MARK.encode()) + rb"[ -~]*", _head_or_tail(path))
    text = b"" if found is None else found[0]
    if path.suffix.lower() == ".png":  # a chunk ends with a checksum, whose bytes may be letters, too
        data = path.read_bytes()[:4096]
        at = data.find(b"tEXtComment\0")
        size = int.from_bytes(data[at - 4 : at], "big") if at >= 4 else 0
        text = data[at + 12 : at + 4 + size] if size else b""
    return text.decode("ascii", "replace")


def _head_or_tail(path: Path) -> bytes:
    """The first and the last bytes of a file: where comments of images are put here."""
    data = path.read_bytes()
    return data[:4096] + b"\0" + data[-4096:]
