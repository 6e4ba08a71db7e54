from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from vidrestore.media.input.checksums import Ffv1Checksums


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("options", [{"slices": "4"}, {"slices": "24", "coder": "1"}, {"slices": "4", "g": "1"}])
def test_every_flipped_bit_is_found(make_clip: Callable[..., Path], options: dict[str, str]) -> None:
    packets = packets_of(make_clip("sums.mkv", codec="ffv1", frames=3, options={"level": "3", "slicecrc": "1", **options}))
    sums = Ffv1Checksums()
    assert not any(sums.damaged(packet) for packet in packets)
    for place in range(0, len(packets[1]), 97):
        changed = bytearray(packets[1])
        changed[place] ^= 1 << (place % 8)
        assert sums.damaged(bytes(changed)), place
    assert sums.damaged(packets[1][:-1]) and sums.damaged(packets[1][:100])


@pytest.mark.parametrize("options", [{"level": "3", "slicecrc": "0", "slices": "4"}, {"level": "1"}])
def test_streams_without_checksums_are_let_be(make_clip: Callable[..., Path], options: dict[str, str]) -> None:
    sums = Ffv1Checksums()
    assert not any(sums.damaged(packet) for packet in packets_of(make_clip("none.mkv", codec="ffv1", options=options)))
    assert not sums.damaged(b"") and not sums.damaged(bytes(7)) and not sums.damaged(b"")
