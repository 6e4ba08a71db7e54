from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from vidrestore.media import MediaInfo, VerifyReport
from vidrestore.media.input.probe import probe
from vidrestore.media.passthrough.subtitles import holds_positions

Make = Callable[..., Path]
Restore = Callable[..., tuple[MediaInfo, Path, VerifyReport]]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("GPS(16.3725,48.2083,20)", True),
        ("F/2.8, SS 320, GPS (-122.39, 37.61, 19), D 63.5m", True),
        ("[latitude: 48.208] [longitude: 16.373]", True),
        ("lat=48.2 lon=16.4", True),
        ("N 48.2083 E 16.3725", True),
        ("48.2083°N", True),
        ("+48.20830,+16.37250", True),
        ("2024-05-01 12:00:00 48.2083, 16.3725", True),
        ("Turn on the GPS, we are late.", False),
        ("It was 12.50 at the shop, or 13.75.", False),
        ("At 5.30 we go north.", False),
        ("A latte, please. Long 2nd street.", False),
        ("speed 63 km/h 2024-05-01 12:00:00", False),
    ],
)
def test_what_reads_like_coordinates(make_clip: Make, text: str, position: bool) -> None:
    info = probe(make_clip("in.mkv", frames=25, subtitles=[(0, 300, "Hello"), (400, 900, text)]))
    assert holds_positions(info, info.streams) == (frozenset({1}) if position else frozenset())


@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
def test_drawings_are_no_words(make_clip: Make, restore: Restore, tmp_path: Path, name: str) -> None:
    base = make_clip("base.mkv", frames=50, subtitles=[(0, 300, "Hello")])
    source = tmp_path / "in.mkv"
    with av.open(str(base)) as there, av.open(str(source), "w") as here:
        picture = here.add_stream_from_template(there.streams.video[0], opaque=True)
        text = here.add_stream("ass")
        text.codec_context.subtitle_header = (  # type: ignore[attr-defined]
            b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\n"
            b"Format: Name, Fontname, Fontsize, Bold\nStyle: Default,Arial,16,0\n\n"
            b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        )
        here.start_encoding()
        for packet in there.demux(there.streams.video[0]):
            if packet.size:
                packet.stream = picture
                here.mux(packet)
        events = [r"{\p1}m 0 0 l 10 0 10 10{\p0}", r"{\an8\pos(10,20)}Up {\p1}m 0 0 l 5 5{\p0}there", r"{\i1}slanted{\i0}\Ndown"]
        for number, event in enumerate(events):
            line = av.Packet(f"{number},0,Default,,0,0,0,,{event}".encode())
            line.pts = line.dts = 200 + 400 * number
            line.duration, line.time_base, line.stream = 300, text.time_base or 0, text
            line.time_base = there.streams.video[0].time_base
            here.mux(line)
    _, target, _ = restore(source, name, codec="vp9" if name.endswith("webm") else "h264")
    with av.open(str(target)) as container:
        packets = [bytes(p) for p in container.demux(container.streams.subtitles[0]) if p.size > 2]
    if name.endswith("mp4"):
        packets = [packet[2 : 2 + int.from_bytes(packet[:2], "big")] for packet in packets]
    words = [packet.replace(b"<i>", b"").replace(b"</i>", b"") for packet in packets]
    assert words == [b"Up there", b"slanted\ndown"]
