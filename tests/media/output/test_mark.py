"""Made-up detail is marked in every format; other programs find the mark."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from vidrestore.config import RunConfig
from vidrestore.errors import UnsupportedStreamError
from vidrestore.media import VerifyReport
from vidrestore.media.input.source import open_source
from vidrestore.media.output.containers import FORMATS
from vidrestore.media.output.mark import marked_packet, read_mark, read_marks, require_mark, y4m_word
from vidrestore.media.output.mark_text import Mark, parse_mark
from vidrestore.media.output.sink import check_sink, open_sink
from vidrestore.media.proof.verify import compare

BINARY = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
FACTS = Mark("0.1.0", (("flare-fast", "6b11ecae"), ("identity", None), ("day-fast", "3d9fc792")), ("day-fast",))
COMMENT = FACTS.text
Make = Callable[..., Path]


def write(source: Path, target: Path, comment: str = COMMENT, **settings: Any) -> VerifyReport:
    config = RunConfig.model_validate(settings)
    opened = open_source(source)
    media = opened.media
    check_sink(target, media, media.video, config, comment=comment)
    with opened.decoder() as decoder, open_sink(target, media, media.video, config, comment=comment) as sink:
        for frame in decoder:
            sink.write(frame)
        return sink.finish()


def told(*arguments: str | Path) -> str:
    """What the judge says."""
    done = subprocess.run([BINARY, "-hide_banner", *map(str, arguments)], capture_output=True, check=False, timeout=60)
    return done.stderr.decode("utf-8", "replace")


def mark_of(source: Path, target: Path) -> str:
    row = next(row for row in compare(source, target).rows if row.name == "mark")
    return row.found


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.ts", "h264"), ("a.ts", "hevc"), ("a.m2ts", "h264"), ("a.h264", "h264"), ("a.hevc", "hevc")],
)
def test_user_data_in_the_stream(tmp_path: Path, make_clip: Make, name: str, codec: str) -> None:
    source, target = make_clip(), tmp_path / name
    report = write(source, target, encode={"codec": codec})
    assert next(row.found for row in report.rows if row.name == "mark") == COMMENT
    assert mark_of(source, target) == COMMENT
    shown = told("-i", target, "-vf", "showinfo", "-f", "null", "-")
    assert f"User Data={COMMENT.encode().hex()}" in shown
    assert COMMENT.encode() in target.read_bytes() or name.endswith("ts")
    assert not any("comment" in notice for notice in report.notices)


@pytest.mark.parametrize("name", ["a.ts", "a.m2ts"])
def test_the_service_of_a_transport_stream_is_called_so(tmp_path: Path, make_clip: Make, name: str) -> None:
    target = tmp_path / name
    write(make_clip(), target, comment=COMMENT + "x" * 400)
    assert re.search(rf"service_name\s*: {re.escape(COMMENT)}x", told("-i", target))


@pytest.mark.parametrize("name", ["a.ivf", "a.obu"])
def test_metadata_unit_of_av1(tmp_path: Path, make_clip: Make, name: str) -> None:
    source, target = make_clip(size=(64, 64)), tmp_path / name
    report = write(source, target, encode={"codec": "av1"})
    assert COMMENT.encode() in target.read_bytes()
    assert mark_of(source, target) == COMMENT
    assert "rror" not in told("-v", "warning", "-i", target, "-f", "null", "-")
    assert "Unknown Metadata" in told("-v", "verbose", "-i", target, "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-")
    assert next(row.found for row in report.rows if row.name == "mark") == COMMENT


@pytest.mark.parametrize(("codec", "form"), [("libx264", "h264"), ("libx265", "hevc"), ("libsvtav1", "obu")])
def test_pictures_stay_as_they_are(tmp_path: Path, make_clip: Make, codec: str, form: str) -> None:
    """Only bytes are added, once for each key picture, and the same picture is decoded."""
    source = make_clip("raw.mkv", codec=codec, size=(64, 64), options={"preset": "8"} if form == "obu" else {"g": "4"})
    kind = {"h264": "h264", "hevc": "hevc", "obu": "av1"}[form]
    streams = []
    for marked in (False, True):
        out = io.BytesIO()
        with av.open(str(source)) as there, av.open(out, "w", format=form) as here:
            stream = here.add_stream_from_template(there.streams.video[0], opaque=True)
            filters = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
            bits = av.BitStreamFilterContext(filters.get(form, "null"), there.streams.video[0])
            for packet in there.demux(video=0):
                for ready in bits.filter(packet):
                    changed = marked_packet(ready, kind, COMMENT) if marked else ready
                    assert (changed.pts, changed.dts, changed.duration) == (ready.pts, ready.dts, ready.duration)
                    added = range(len(COMMENT) + 16, len(COMMENT) + 40)  # an identity of 16 bytes, and headers
                    assert len(bytes(changed)) - len(bytes(ready)) in (added if marked and ready.is_keyframe else (0,))
                    changed.stream = stream
                    here.mux(changed)
        out.seek(0)
        with av.open(out, format=form) as again:
            streams.append([picture.to_ndarray().tobytes() for picture in again.decode(video=0)])
    assert streams[0] == streams[1]
    assert len(streams[0]) == 12


def test_vp9_in_ivf_has_no_place(tmp_path: Path, make_clip: Make) -> None:
    source = make_clip()
    for check in (check_sink, open_sink):
        info = open_source(source).media
        config = RunConfig.model_validate({"encode": {"codec": "vp9"}})
        with pytest.raises(UnsupportedStreamError, match="cannot say which engines ran") as refused:
            check(tmp_path / "a.ivf", info, info.video, config, comment=COMMENT)
        assert "--container" in str(refused.value.next_step)
    report = write(source, tmp_path / "b.ivf", comment="Restored by vidrestore 0.1.0: flare.", encode={"codec": "vp9"})
    assert sum("cannot say which engines ran" in notice for notice in report.notices) == 1


def test_every_format_holds_the_mark_or_says_so() -> None:
    for key, container in FORMATS.items():
        for codec in container.pictures:
            if (key, codec) == ("ivf", "vp9"):
                continue
            assert require_mark(container, codec, COMMENT) is None


def test_gif_comment(tmp_path: Path, make_clip: Make) -> None:
    image = pytest.importorskip("PIL.Image")
    source, target = make_clip(), tmp_path / "a.gif"
    long = COMMENT + " " + "y" * 300
    write(source, target, comment=long)
    assert mark_of(source, target) == long
    with image.open(target) as found:
        assert found.info["comment"].decode() == long
        assert found.n_frames == 12
    assert COMMENT in told("-i", target)


@pytest.mark.parametrize("name", ["%03d.png", "%03d.jpg", "%03d.tif"])
@pytest.mark.parametrize("size", [(64, 48), (35, 21)])
def test_images(tmp_path: Path, make_clip: Make, name: str, size: tuple[int, int]) -> None:
    image = pytest.importorskip("PIL.Image")
    source = make_clip("a.mkv", size=size, frames=3, codec="ffv1")
    write(source, tmp_path / "out" / name)
    assert mark_of(source, tmp_path / "out") == COMMENT
    assert f"# {COMMENT}" in (tmp_path / "out" / "timecodes.txt").read_text().splitlines()
    for number in range(1, 4):
        with image.open(tmp_path / "out" / (name % number)) as found:
            found.load()
            assert found.size == size
            words = found.tag_v2[270] if name.endswith("tif") else found.info["Comment" if name.endswith("png") else "comment"]
            assert (words if isinstance(words, str) else words.decode()) == COMMENT
    assert "rror" not in told("-v", "warning", "-i", tmp_path / "out" / name, "-f", "null", "-")


def test_y4m(tmp_path: Path, make_clip: Make) -> None:
    source, target = make_clip(), tmp_path / "a.y4m"
    report = write(source, target)
    first = target.read_bytes().split(b"\n")[0]
    assert b" XVIDRESTORE=" in first and len(first) < 128
    assert parse_mark(mark_of(source, target)) == Mark(
        "0.1.0", (("flare-fast", None), ("identity", None), ("day-fast", None)), (), made_up=True
    )
    assert any("has no room for the weights of the engines: it only names them" in notice for notice in report.notices)
    assert "rror" not in told("-v", "warning", "-i", target, "-f", "null", "-")
    with av.open(str(target)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12
    assert any(row.name == "mark" for row in report.rows)


def test_a_header_line_of_y4m_has_room_for_so_much() -> None:
    line = b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED\n"
    many = "Restored by vidrestore 0.1.0: " + ", ".join(f"engine-{n}" for n in range(20)) + "."
    invented = many + " Detail was invented by engine-1: no evidence."
    assert y4m_word(line, "") == (b"", None)
    assert y4m_word(line, "Restored by vidrestore 0.1.0: flare.") == (b" XVIDRESTORE=0.1.0:_flare.", None)
    word, notice = y4m_word(line, many)
    assert word == b" XVIDRESTORE=1" and notice
    word, notice = y4m_word(line, invented)
    assert word == b" XVIDRESTORE=detail_invented" and notice
    assert "cannot say" in str(y4m_word(line + b"x" * 60, many)[1])
    with pytest.raises(UnsupportedStreamError, match="invented"):
        y4m_word(line + b"x" * 60, invented)
    one = "Restored by vidrestore 0.1.0: flare-fast (6b11ecae)."
    assert y4m_word(line, one) == (b" XVIDRESTORE=0.1.0:_flare-fast_(6b11ecae).", None)
    word, notice = y4m_word(line, one + " Detail was invented by flare-fast: no evidence.")
    assert word == b" XVIDRESTORE=0.1.0:flare-fast(6b11ecae);detail_invented" and notice is None
    word, notice = y4m_word(line, COMMENT)
    assert word == b" XVIDRESTORE=0.1.0:flare-fast,identity,day-fast;detail_invented" and "only names them" in str(notice)


TEXTS = (
    (COMMENT, FACTS),
    (Mark("0.1.0+checkout", (("identity", None),)).text, Mark("0.1.0+checkout", (("identity", None),))),
    (  # before marks named weights
        "Restored by vidrestore 0+checkout: flare-fast, day-fast. Detail was invented by day-fast and night-fast: no evidence.",
        Mark("0+checkout", (("flare-fast", None), ("day-fast", None)), ("day-fast", "night-fast")),
    ),
    ("Restored by vidrestore 0.1.0: flare.", Mark("0.1.0", (("flare", None),))),
    # as y4m holds them
    (
        "Restored by vidrestore 0.1.0:flare-fast(6b11ecae),day-fast(3d9fc792);detail invented",
        Mark("0.1.0", (("flare-fast", "6b11ecae"), ("day-fast", "3d9fc792")), (), made_up=True),
    ),
    ("Restored by vidrestore 0.1.0:a,b;detail invented", Mark("0.1.0", (("a", None), ("b", None)), (), made_up=True)),
    ("Restored by vidrestore detail invented", Mark("", (), (), made_up=True)),
    ("Restored by vidrestore 1", Mark("", ())),
    ("Restored by vidrestore", Mark("", ())),
    # behind words of others, or an older mark
    (f"Holiday (2019): fun; {COMMENT}", FACTS),
    (f"{COMMENT}; Restored by vidrestore 0.2.0: sr-x2-fast (ed899ee5).", Mark("0.2.0", (("sr-x2-fast", "ed899ee5"),))),
)


@pytest.mark.parametrize(("text", "facts"), TEXTS)
def test_a_mark_is_read(text: str, facts: Mark) -> None:
    assert parse_mark(text) == facts


def test_a_mark_says_what_it_knows_and_no_more() -> None:
    assert COMMENT == (
        "Restored by vidrestore 0.1.0: flare-fast (6b11ecae), identity, day-fast (3d9fc792). "
        "Detail was invented by day-fast: no evidence."
    )
    for _, facts in TEXTS:
        assert parse_mark(facts.text) == facts
    assert FACTS.made_up and not Mark("1.0", (("a", None),)).made_up
    assert parse_mark("A comment by somebody else.") is None and parse_mark("") is None


@pytest.mark.parametrize(
    "name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.avi", "a.ts", "a.m2ts", "a.hevc", "a.obu", "a.gif", "%d.png"]
)
def test_facts_come_back_from_every_format(tmp_path: Path, make_clip: Make, name: str) -> None:
    target = tmp_path / "out" / name
    target.parent.mkdir()
    if "%" in name:
        target.parent.rmdir()
    write(make_clip(size=(64, 64)), target)
    media = open_source(target if "%" not in name else target.parent).media
    assert parse_mark(read_mark(media)) == FACTS


def test_all_marks_of_a_clip_that_was_restored_twice(tmp_path: Path, make_clip: Make) -> None:
    first, second = tmp_path / "1.mkv", tmp_path / "2.mkv"
    later = Mark("0.1.0", (("sr-x2-fast", "ed899ee5"),))
    write(make_clip(), first)
    write(first, second, comment=later.text)
    media = open_source(second).media
    assert parse_mark(read_mark(media)) == later
    assert read_marks(media) == f"{COMMENT}; {later.text}"
