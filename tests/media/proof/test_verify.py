from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from vidrestore.config import LimitsConfig
from vidrestore.errors import DamagedVideoError, LimitExceededError, VerificationError
from vidrestore.media import MediaInfo, VerifyReport, VideoDecoder, VideoWriter
from vidrestore.media.input.damage import Damage
from vidrestore.media.input.probe import open_input, probe
from vidrestore.media.passthrough.remux import CopiedStream
from vidrestore.media.proof.findings import Finding, StreamCheck
from vidrestore.media.proof.verify import compare, verify

Make = Callable[..., Path]
Restore = Callable[..., tuple[MediaInfo, Path, VerifyReport]]


@pytest.fixture
def expected() -> list[tuple[int, Fraction]]:
    return [(512 * index, Fraction(1, 12800)) for index in range(12)]


def test_a_sound_file_passes(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    report = verify(probe(path), path, expected)
    assert report.frames == 12 and report.pts_exact and report.first_seconds == 0
    assert "12 frames" in report.lines()[0]
    assert json.loads(json.dumps(report.as_dict()))["frames"] == 12


def test_a_lost_frame(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    with pytest.raises(VerificationError, match=r"13 frames .* 12 were written"):
        verify(probe(path), path, [*expected, (7000, Fraction(1, 12800))])


def test_a_moved_frame(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    expected[5] = (expected[5][0] + 1, expected[5][1])
    with pytest.raises(VerificationError, match="Frame 5"):
        verify(probe(path), path, expected)


def test_wrong_colour_tags(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    color = probe(path).video.color
    with pytest.raises(VerificationError, match="colour tag matrix"):
        verify(probe(path), path, expected, color=replace(color, tagged_matrix="bt709"))
    with pytest.raises(VerificationError, match="range"):
        verify(probe(path), path, expected, color=replace(color, full_range=True))


def test_missing_chapters(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    with pytest.raises(VerificationError, match="2 chapters"):
        verify(probe(path), path, expected, chapters=2)


@pytest.fixture
def copied(make_clip: Make) -> tuple[MediaInfo, Callable[..., CopiedStream]]:
    """A clip with sound, and copied(change): its sound as a run would have copied it, each payload through `change`."""
    info = probe(make_clip(audio=True))

    def track(change: Callable[[int, bytes], bytes | None] = lambda _, payload: payload) -> CopiedStream:
        stream = CopiedStream(info.streams[1], None, 1)
        with open_input(info) as container:
            packets = [bytes(packet) for packet in container.demux(container.streams[1]) if packet.size]
        for payload in filter(None, (change(number, payload) for number, payload in enumerate(packets))):
            stream.digest.update(payload)
        return stream

    return info, track


def test_copied_packets_pass(copied: tuple[MediaInfo, Callable[..., CopiedStream]], expected: list[tuple[int, Fraction]]) -> None:
    info, track = copied
    report = verify(info, info.path, expected, copied=[track()])
    assert report.streams[0].packets == track().digest.packets > 0
    assert report.streams[0].sha256 == track().digest.hexdigest()


def test_a_lost_packet(copied: tuple[MediaInfo, Callable[..., CopiedStream]], expected: list[tuple[int, Fraction]]) -> None:
    info, track = copied
    sent = track()
    sent.digest.update(b"one more than the file has")
    count = sent.digest.packets
    with pytest.raises(VerificationError, match=rf"^{count} packets of stream 1 audio aac were copied, {count - 1} were found\."):
        verify(info, info.path, expected, copied=[sent])


def test_a_changed_packet(copied: tuple[MediaInfo, Callable[..., CopiedStream]], expected: list[tuple[int, Fraction]]) -> None:
    info, track = copied
    sent = track(lambda number, payload: payload[:-1] + bytes([payload[-1] ^ 1]) if number == 3 else payload)
    with pytest.raises(VerificationError, match=r"^The packets of stream 1 audio aac were changed on the way\."):
        verify(info, info.path, expected, copied=[sent])


def test_a_missing_stream(copied: tuple[MediaInfo, Callable[..., CopiedStream]], expected: list[tuple[int, Fraction]]) -> None:
    info, track = copied
    sent = track()
    sent.output_index = 2
    with pytest.raises(VerificationError, match=r"^Stream 1 audio aac is missing"):
        verify(info, info.path, expected, copied=[sent])


def test_a_file_that_cannot_be_read(tmp_path: Path, make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(VerificationError, match="cannot be read again"):
        verify(probe(make_clip()), broken, expected)


def test_a_failed_verification_leaves_nothing(make_clip: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidrestore.config import EncodeConfig
    from vidrestore.media.output import muxed_file

    def fail(*_: object, **__: object) -> VerifyReport:
        raise VerificationError("A frame is missing.")

    monkeypatch.setattr(muxed_file, "verify", fail)
    info = probe(make_clip("in.mp4"))
    with pytest.raises(VerificationError), VideoWriter(tmp_path / "out.mp4", info, info.video, EncodeConfig()) as writer:
        for frame in VideoDecoder(info):
            writer.write(frame)
        writer.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def test_a_missing_mark_and_words(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip(metadata={"comment": "Restored by vidrestore 9.9: identity.", "title": "A film"})
    plain = make_clip("plain.mp4")
    words = {"TITLE": "A film", "comment": "Restored by vidrestore 9.9: identity."}
    report = verify(probe(path), path, expected, metadata=words)
    assert next(row.found for row in report.rows if row.name == "mark") == "Restored by vidrestore 9.9: identity."
    with pytest.raises(VerificationError, match="The metadata TITLE and comment was lost or changed"):
        verify(probe(plain), plain, expected, metadata=words)
    with pytest.raises(VerificationError, match="The metadata title was lost or changed"):
        verify(probe(path), path, expected, metadata={"title": "Another film"})


def test_a_lost_rotation(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    turned, straight = make_clip("turned.mp4", rotation=90), make_clip("straight.mp4")
    assert verify(probe(turned), turned, expected).frames == 12
    assert probe(turned).video.rotation == 90  # counter-clockwise, as FFmpeg counts
    with pytest.raises(VerificationError, match="rotation was to be 270 degrees clockwise, it is written as none"):
        verify(probe(turned), straight, expected)


def test_a_wrong_size_or_pixel_shape(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    info = probe(path)
    with pytest.raises(VerificationError, match="was to be 128x96 pixels, it is 64x48"):
        verify(info, path, expected, info=info.video.scaled(2))
    with pytest.raises(VerificationError, match="pixel aspect ratio was to be 4/3"):
        verify(info, path, expected, info=replace(info.video, sample_aspect_ratio=Fraction(4, 3)))


def test_too_few_bits(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    info = probe(path)
    with pytest.raises(VerificationError, match="has 8 bits a sample, 10 were to be kept"):
        verify(info, path, expected, color=replace(info.video.color, bit_depth=10))


def test_chapters_at_other_times(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip(chapters=[(0, 200, "One"), (200, 480, "Two")])
    info = probe(path)

    def promised(start: int, title: str) -> list[dict[str, object]]:
        first = {"id": 0, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
        return [first, {**first, "start": start, "end": 480, "metadata": {"title": title}}]

    verify(info, path, expected, chapters=promised(200, "Two"))
    with pytest.raises(VerificationError, match=r"Chapter 1 'Two' begins at 0.200 s instead of 0.210 s"):
        verify(info, path, expected, chapters=promised(210, "Two"))
    with pytest.raises(VerificationError, match=r"Chapter 1 'Three' is called 'Two'"):
        verify(info, path, expected, chapters=promised(200, "Three"))


def test_pts_in_one_array(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    """What an hour of frames is kept in: eight bytes each."""
    path = make_clip()
    stamps = array("q", (pts for pts, _ in expected))
    assert verify(probe(path), path, (stamps, Fraction(1, 12800))).pts_exact
    stamps[7] += 1
    with pytest.raises(VerificationError, match="Frame 7"):
        verify(probe(path), path, (stamps, Fraction(1, 12800)))


def test_the_report_is_for_people_and_programs(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    report = verify(probe(path), path, expected, shift=Fraction(1, 10), notices=("A note.",))
    assert report.lines()[-1] == "A note." and "everything begins 0.100 s earlier" in report.lines()
    told = json.loads(json.dumps(report.as_dict()))
    assert report.lines()[0] == "12 frames, distances between timestamps exactly the source’s"
    assert told["verdict"] == "note" and told["lost"].startswith("Nothing was lost")
    assert {"name", "expected", "found", "verdict", "sentence", "loss"} == set(told["rows"][0])


def test_a_row_that_is_not_ok_says_why() -> None:
    with pytest.raises(ValueError, match="a sentence belongs to every finding"):
        Finding("frames", "1", "2", "differs")


def test_concealed_damage_is_told_as_notes(make_clip: Make, expected: list[tuple[int, Fraction]]) -> None:
    path = make_clip()
    report = verify(probe(path), path, expected)
    damage = [Damage(3, 1536, Fraction(1, 12800), "concealed", "broken data")]
    rows = report.with_damage(damage).rows
    assert rows[-1].verdict == "note" and rows[-1].name == "frame 3" and "broken data" in rows[-1].sentence


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
@pytest.mark.parametrize("duration", [None, 0.2])
def test_a_sound_that_states_to_last_for_minutes(
    make_clip: Make, restore: Restore, tmp_path: Path, name: str, duration: float | None
) -> None:
    """Matroska has no place for how long a packet of sound lasts, but counts it into the file's duration."""
    path = tmp_path / "long.mp4"
    content = make_clip("plain.mp4", audio=True, frames=25).read_bytes()
    at = content.rindex(b"stts") + 16
    assert int.from_bytes(content[at : at + 4], "big") == 1024
    path.write_bytes(content[:at] + (4_000_000).to_bytes(4, "big") + content[at + 4 :])
    settings = {} if duration is None else {"duration": duration}
    info, target, report = restore(path, name, **settings)
    assert not report.differing
    again = compare(info, target, duration=duration)
    assert not again.differing


def test_our_own_output_is_under_no_limit(make_clip: Make, tmp_path: Path) -> None:
    """What the source is allowed to be says nothing of what an engine and another container make of it."""
    limits = LimitsConfig(pixels=64 * 48, frame_rate=25, streams=1, metadata_bytes=150)
    info = probe(make_clip(), limits=limits)
    larger = make_clip("larger.mp4", size=(256, 192), metadata={"comment": "x" * 200})
    pts = [(512 * index, Fraction(1, 12800)) for index in range(12)]
    wide = replace(info.video, width=256, height=192)
    assert verify(info, larger, pts, info=wide).frames == 12
    with pytest.raises(LimitExceededError):
        probe(larger, limits=limits)


def test_one_picture_in_a_transport_stream(make_clip: Make, restore: Restore) -> None:
    """Its demuxer has but one time to guess a rate from, and states thousands of pictures a second."""
    _, target, report = restore(make_clip(frames=1, pts=[0]), "out.ts")
    assert report.frames == 1 and target.is_file()


def test_a_converted_subtitle_is_not_told_as_copied(make_clip: Make, restore: Restore) -> None:
    source = make_clip("words.mkv", subtitles=[(100, 300, "Hello"), (200, 400, "Both"), (420, 470, "Bye")])
    _, target, report = restore(source, "out.mp4")
    told = "stream 1 (subtitle subrip): converted to mov_text, 3 lines, same words and times"
    assert told in report.lines()
    assert told in compare(source, target).lines()
    _, _, kept = restore(source, "out.mkv")
    assert "stream 1 (subtitle subrip): 3 packets, same bytes" in kept.lines()


def test_a_constant_rate_is_told_as_one(make_clip: Make, through: Callable[..., VerifyReport], tmp_path: Path) -> None:
    source = make_clip(pts=[0, 512, 1100, 1536, 3072])
    told = through(source, tmp_path / "out.mp4", cfr=True, frame_rate="25").lines()
    assert told[0].endswith("pictures at a constant rate of 25 a second"), told
    assert any(line.startswith("To reach 25 frames a second, ") for line in told)
    assert through(source, tmp_path / "own.mp4").lines()[0] == "5 frames, timestamps exactly the source’s"


def test_one_is_not_many() -> None:
    check = StreamCheck(2, "audio", "aac", None, 1, "")
    report = VerifyReport(1, 0, 0, True, 0, 1, -0.023, (check,), 1, 1)
    assert report.lines() == [
        "1 frame, distances between timestamps exactly the source’s",
        "everything begins 0.023 s later, sound and picture alike",
        "stream 2 (audio aac): 1 packet, same bytes",
        "1 chapter",
    ]


def test_hidden_sound_that_is_heard_is_told(
    make_clip: Make, restore: Restore, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    """Cut without encoding: mp4 keeps sound from the key picture on, and hides it with an edit list."""
    whole, cut = make_clip("whole.mp4", audio=True, frames=25), tmp_path / "cut.mp4"
    ffmpeg("-ss", "0.5", "-i", whole, "-c", "copy", cut)
    with open_input(probe(cut)) as container:
        hidden = sum(packet.is_discard for packet in container.demux(audio=0))
    assert hidden > 2
    _, target, report = restore(cut, "out.mkv")
    told = [notice for notice in report.notices if "that the source hides before its beginning are heard in" in notice]
    assert len(told) == 1 and told[0].startswith(f"Stream 1: {hidden} packets (0."), report.notices
    rows = {row.name: row for row in compare(cut, target).rows}
    assert rows["hidden sound of stream 1"].verdict == "note"
    _, target, report = restore(cut, "out.mp4")
    assert not any("hides" in notice for notice in report.notices)
    _, _, plain = restore(whole, "plain.mkv")
    assert not any("hides" in notice for notice in plain.notices)


def test_a_concealed_copy_is_held_against_its_damaged_source(
    make_clip: Make, through: Callable[..., VerifyReport], tmp_path: Path
) -> None:
    path, out = make_clip("damaged.mkv", audio=True, frames=25), tmp_path / "out.mkv"
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) * 2 // 3])
    through(path, out, on_damage="conceal")
    with pytest.raises(DamagedVideoError):
        compare(path, out)
    report = compare(path, out, on_damage="conceal")
    assert not report.differing, report.differing
    assert any("The source is damaged" in row.sentence for row in report.rows)
