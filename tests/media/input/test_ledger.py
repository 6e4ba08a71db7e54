"""Packets and pictures, matched by number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from tests.media.input.test_damage import changed
from vidrestore.media import VideoDecoder
from vidrestore.media.input.ledger import PATIENCE, Ledger, Slot, shows_picture
from vidrestore.media.input.picture_decoder import DecodeOptions


@pytest.mark.parametrize(
    ("codec", "data", "shown"),
    [
        ("vp8", b"\x10\0\0", True),
        ("vp8", b"\x00\0\0", False),  # show_frame is 0
        ("vp9", b"\x82\0", True),  # profile 0, a key picture that is shown
        ("vp9", b"\x80\0", False),
        ("vp9", b"\x88\0", True),  # show_existing_frame
        ("vp9", b"\xb1\0", True),  # profile 3 has a bit more
        ("vp9", b"\xb2\0", False),
        ("vp9", b"\x80\0\xc1", True),  # a superframe
        ("mpeg2video", b"\0\0\1\xb3\0\0", False),
        ("mpeg2video", b"\0\0\1\0\0\0", True),
        ("mpeg4", b"\0\0\1\xb6\x50", False),  # a VOP of nothing but its header
        ("h264", b"\0\0\0\1\x65", True),
        ("h264", b"", False),
    ],
)
def test_which_packets_show_a_picture(codec: str, data: bytes, shown: bool) -> None:
    assert shows_picture(codec, data) == shown


@pytest.mark.parametrize("name", ["hidden.webm", "hidden.ivf"])
def test_hidden_reference_pictures_are_not_missed(make_clip: Callable[..., Path], tmp_path: Path, name: str) -> None:
    """VP8 has pictures that only others lean on: here each third one that is no key picture."""
    sound = make_clip("sound.webm", codec="libvpx", frames=50)
    path = changed(sound, tmp_path / name, lambda n, data: bytes([data[0] & ~0x10]) + data[1:] if n % 3 == 1 else data)
    for on_damage in ("stop", "conceal"):
        with VideoDecoder(path, DecodeOptions(on_damage=on_damage)) as decoder:
            frames = list(decoder)
            assert len(frames) == 33 and decoder.damage == ()
        assert [round(frame.seconds * 25) for frame in frames] == [n for n in range(50) if n % 3 != 1]


def packet(pts: int | None) -> av.Packet:
    made = av.Packet(b"data")
    made.pts = pts
    return made


def picture(number: int) -> av.VideoFrame:
    made = av.VideoFrame(16, 16, "yuv420p")
    made.pts = number
    return made


def stamps(slots: list[Slot]) -> list[tuple[int | None, bool]]:
    return [(slot.pts, slot.picture is not None) for slot in slots]


def test_pictures_come_at_once_where_none_is_missing() -> None:
    ledger = Ledger("h264")
    numbers = {pts: ledger.send(packet(pts)) for pts in (0, 120, 40, 80)}
    for pts in (0, 40, 80, 120):
        assert stamps(list(ledger.arrive(picture(numbers[pts])))) == [(pts, True)]
    assert list(ledger.finish()) == [] and not ledger.disordered


def test_a_lost_picture_is_told_in_its_place() -> None:
    ledger = Ledger("h264")
    numbers = {pts: ledger.send(packet(pts)) for pts in range(0, 1000, 40)}
    assert ledger.fail(numbers[80], "refused") is None
    came = [slot for pts, number in numbers.items() if pts != 80 for slot in ledger.arrive(picture(number))]
    came += list(ledger.finish())
    assert [slot.pts for slot in came] == list(numbers)
    assert [(slot.pts, slot.reason) for slot in came if slot.picture is None] == [(80, "refused")]


def test_one_that_comes_after_all_is_not_counted_twice() -> None:
    ledger = Ledger("h264")
    numbers = {pts: ledger.send(packet(pts)) for pts in range(0, 40 * (PATIENCE + 5), 40)}
    late = numbers.pop(80)
    came = [slot for number in numbers.values() for slot in ledger.arrive(picture(number))]
    assert len(came) == len(numbers) + 1
    assert list(ledger.arrive(picture(late))) == []


def test_moments_in_the_order_of_decoding_are_dealt_out_in_order() -> None:
    """AVI: pts 0, 40, 80, 120 on packets decoded as I P B B, shown as I B B P."""
    ledger = Ledger("h264")
    first, last, *between = (ledger.send(packet(pts)) for pts in (0, 40, 80, 120))
    came = [slot for number in (first, *between, last) for slot in ledger.arrive(picture(number))]
    assert stamps([*came, *ledger.finish()]) == [(0, True), (40, True), (80, True), (120, True)]
    assert ledger.disordered


def test_hidden_packets_show_nothing_and_are_not_missed() -> None:
    ledger = Ledger("vp8")
    number = ledger.send(av.Packet(b"\x00\0\0\0"))
    assert list(ledger.arrive(picture(number))) == [] and list(ledger.finish()) == []
