"""What may be passed on of paths and addresses: their last part, without folders, users, passwords and tokens."""

from __future__ import annotations

import re

__all__ = ["is_remote", "plain_name", "plain_word"]

_SCHEME = re.compile(r"([a-z][a-z0-9+.:,-]*)://", re.IGNORECASE)

_RATIO = re.compile(r"\d+/\d+")


def plain_name(address: str) -> str:
    """The last part of a path or address.

    Of an address user, password, host, query and fragment are left out; where it has no path its scheme stands for it.
    """
    found = _SCHEME.match(address)
    if found is None:
        return address.rstrip("/").rsplit("/", 1)[-1] if "/" in address else address
    rest = address[found.end() :]
    if found[1].lower() != "file":  # in names of files ? and # are letters
        rest = re.split("[?#]", rest, maxsplit=1)[0].partition("/")[2]
        rest = rest.rpartition("@")[2]  # a password may hold a stroke, which an address should not have
    return rest.rstrip("/").rsplit("/", 1)[-1] or found[1]


def plain_word(word: str) -> str:
    """A word of a command line; of an option with a value only the value is changed, and a folder keeps its stroke."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    if _RATIO.fullmatch(value):
        return word
    folder = "/" if value.endswith("/") and _SCHEME.match(value) is None and value.strip("/") else ""
    return f"{option}{equals}{plain_name(value)}{folder}"


def is_remote(address: str) -> bool:
    """Whether it is an address that is no file of this machine."""
    found = _SCHEME.match(address)
    return found is not None and found[1].lower() != "file"
