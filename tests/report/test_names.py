"""Nothing of a path or address is passed on but its last part."""

from __future__ import annotations

import pytest

from vidrestore.report.names import is_remote, plain_name, plain_word

NAMES = {
    "in.mp4": "in.mp4",
    "/home/anna/private/in.mp4": "in.mp4",
    "frames/": "frames",
    "file:///home/anna/private/in.mp4": "in.mp4",
    "file:///home/anna/what?#1.mp4": "what?#1.mp4",
    "https://anna:secret@example.org/private/in.mp4?token=abc/d#t=5": "in.mp4",
    "https://example.org/in.mp4?next=http://other/secret": "in.mp4",
    "https://anna:secret@example.org?token=abc": "https",
    "https://anna:se/cret@example.org/in.mp4": "in.mp4",
    "https://anna:se/cret@example.org": "example.org",
    "async:http://anna:secret@example.org/in.mp4?token=abc": "in.mp4",
    "HTTP://example.org/folder/": "folder",
}


@pytest.mark.parametrize("address", sorted(NAMES))
def test_the_last_part_is_left(address: str) -> None:
    assert plain_name(address) == NAMES[address]
    folder = "/" if address == "frames/" else ""
    assert plain_word(address) == f"{NAMES[address]}{folder}"
    assert plain_word(f"--report={address}") == f"--report={NAMES[address]}{folder}"


def test_words_of_a_command() -> None:
    assert plain_word("out/images/") == "images/"
    assert plain_word("--rate=30000/1001") == "--rate=30000/1001"
    assert plain_word("30000/1001") == "30000/1001"
    assert plain_word("--json") == "--json"
    assert plain_word("-") == "-"


def test_what_is_on_this_machine() -> None:
    assert is_remote("https://example.org/in.mp4")
    assert not is_remote("file:///in.mp4")
    assert not is_remote("a/b.mp4")
