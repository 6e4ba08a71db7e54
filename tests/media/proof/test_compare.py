"""Every kind of loss, made on purpose by another program: the right row says so, and no other."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import pytest

from vidrestore.errors import DamagedVideoError, UsageError, VerificationError
from vidrestore.media.proof.findings import VerifyReport
from vidrestore.media.proof.verify import compare

Judge = Callable[..., Path]

VFR = "settb=1/1000,setpts='(N+0.3*mod(N\\,3))/25/TB'"
"""Steps of 52, 52 and 16 ms."""
X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-x264-params", "threads=1"]
AGAIN = ["-map", "0", "-c", "copy", "-c:v:0", "libx264", "-preset", "ultrafast", "-fps_mode", "passthrough"]
"""The picture encoded anew, all else copied."""
BOTH = ["-map", "0:v", "-map", "0:a", "-c", "copy"]
KEEP = ["-enc_time_base", "demux", "-copyts"]

CHAPTERS = """;FFMETADATA1
title=A film
artist=Nobody
[CHAPTER]
TIMEBASE=1/1000
START=0
END=900
title=One
[CHAPTER]
TIMEBASE=1/1000
START=900
END=2000
title=Two
"""
WORDS = "1\n00:00:00,200 --> 00:00:00,700\nHello\n\n2\n00:00:01,000 --> 00:00:01,500\n<i>Good</i> bye\n"


def judge(*arguments: str | Path) -> None:
    """Another FFmpeg than ours."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "words.srt").write_text(WORDS)
    (folder / "other.srt").write_text(WORDS.replace("Hello", "Goodbye"))
    (folder / "chapters.txt").write_text(CHAPTERS)
    (folder / "renamed.txt").write_text(CHAPTERS.replace("title=Two", "title=Too"))
    (folder / "moved.txt").write_text(CHAPTERS.replace("900", "950"))
    (folder / "font.ttf").write_bytes(b"not a font, but bytes")
    judge("-f", "lavfi", "-i", "color=red:s=32x32:d=0.04", "-frames:v", "1", folder / "cover.jpg")
    return folder


@pytest.fixture(scope="module")
def rich(folder: Path) -> Path:
    """mkv: uneven 10-bit pictures tagged bt709, two sounds, a subtitle, chapters, a font.

    0 picture, 1 German sound, 2 English sound, 3 subtitle, 4 font.
    """
    path = folder / "rich.mkv"
    inputs = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=64x48:r=25:d=2",
        "-f",
        "lavfi",
        "-i",
        "sine=d=2",
        "-f",
        "lavfi",
        "-i",
        "sine=f=880:d=2",
    ]
    inputs += ["-i", folder / "words.srt", "-i", folder / "chapters.txt"]
    words = ["-metadata:s:a:0", "language=ger", "-metadata:s:a:1", "language=eng", "-metadata:s:s:0", "language=fre"]
    words += ["-metadata:s:a:1", "title=Comment", "-disposition:a:1", "comment", "-disposition:s:0", "forced"]
    attached = ["-attach", folder / "font.ttf", "-metadata:s:t:0", "mimetype=font/ttf"]
    tags = f"{VFR},format=yuv420p10le,setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
    maps = ["-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map_metadata", "4", "-map_chapters", "4"]
    codecs = [
        *X264,
        "-c:a:0",
        "aac",
        "-c:a:1",
        "flac",
        "-c:s",
        "srt",
        "-vf",
        tags,
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "filter",
    ]
    judge(*inputs, *maps, *codecs, *words, *attached, path)
    return path


@pytest.fixture(scope="module")
def phone(folder: Path) -> Path:
    """mp4: a turned picture, sound, a cover, a timecode (0 picture, 1 sound, 2 and 3 timecode, 4 cover)."""
    plain, path = folder / "plain.mp4", folder / "phone.mp4"
    inputs = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=1", "-f", "lavfi", "-i", "sine=d=1"]
    judge(*inputs, *X264, "-pix_fmt", "yuv420p", "-c:a", "aac", plain)
    cover = ["-i", folder / "cover.jpg", "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic"]
    judge("-display_rotation", "90", "-i", plain, *cover, "-timecode", "01:00:00:00", path)
    return path


def differing(report: VerifyReport) -> set[str]:
    return {row.name for row in report.rows if row.verdict == "differs"}


def again(*options: str, pixels: str = "yuv420p10le") -> list[str]:
    return [*AGAIN, "-pix_fmt", pixels, *KEEP, *options]


RICH_LOSSES: dict[str, tuple[list[str], set[str]]] = {
    "nothing": (["-map", "0", "-c", "copy"], set()),
    "nothing but generations": (again(), set()),
    "a frame": (again("-vf", "select='not(eq(n,7))'"), {"frames"}),
    "the first frame": (
        again("-vf", "select='gt(n,0)'"),
        {"frames", "offset of stream 1", "offset of stream 2", "offset of stream 3"},
    ),
    "even times": (again("-vf", "setpts=N/25/TB"), {"frame times"}),
    "a constant rate": ([*AGAIN, "-pix_fmt", "yuv420p10le", "-fps_mode", "cfr", "-r", "25"], {"frames", "frame times"}),
    "half the frames": (again("-vf", "select='not(mod(n,2))'"), {"frames"}),
    "10 bits": (again(pixels="yuv420p"), {"bit depth"}),
    "range": (again("-vf", "setparams=range=pc"), {"range"}),
    "matrix": (again("-vf", "setparams=colorspace=smpte170m"), {"matrix"}),
    "primaries": (again("-vf", "setparams=color_primaries=bt470bg"), {"primaries"}),
    "transfer": (again("-vf", "setparams=color_trc=bt2020-10"), {"transfer"}),
    "chroma location": (again("-vf", "setparams=chroma_location=topleft"), {"chroma location"}),
    "pixel shape": (again("-vf", "setsar=4/3"), {"pixel aspect"}),
    "size": (again("-vf", "scale=66:50"), {"size", "pixel aspect"}),
    "uneven scale": (again("-vf", "scale=128:48,setsar=1"), {"size"}),
    "upright": (["-display_rotation", "180", "-i", "IN", "-map", "0", "-c", "copy"], {"rotation"}),
    "the second sound": (["-map", "0", "-map", "-0:2", "-c", "copy"], {"stream 2"}),
    "all sound": (["-map", "0", "-map", "-0:a", "-c", "copy"], {"stream 1", "stream 2"}),
    "the subtitle": (["-map", "0", "-map", "-0:s", "-c", "copy"], {"stream 3"}),
    "the font": (["-map", "0", "-map", "-0:4", "-c", "copy"], {"stream 4"}),
    "the chapters": (["-map", "0", "-c", "copy", "-map_chapters", "-1"], {"chapters"}),
    "a chapter's name": (["-i", "renamed.txt", "-map", "0", "-c", "copy", "-map_chapters", "1"], {"chapter list"}),
    "a chapter's place": (["-i", "moved.txt", "-map", "0", "-c", "copy", "-map_chapters", "1"], {"chapter list"}),
    "the title": (["-map", "0", "-c", "copy", "-metadata", "title="], {"metadata"}),
    "a word of the metadata": (["-map", "0", "-c", "copy", "-metadata", "artist=Somebody"], {"metadata"}),
    "a language": (["-map", "0", "-c", "copy", "-metadata:s:1", "language=ita"], {"languages"}),
    "a stream's title": (["-map", "0", "-c", "copy", "-metadata:s:2", "title="], {"titles"}),
    "forced": (["-map", "0", "-c", "copy", "-disposition:s:0", "0"], {"dispositions"}),
    "sound, encoded anew": (["-map", "0", "-c", "copy", "-c:a:0", "aac"], {"stream 1"}),
    "the end of a sound": (["-map", "0", "-c", "copy", "-bsf:a:1", "noise=drop=gt(pts*tb\\,1.5)"], {"stream 2"}),
    "a subtitle's words": (
        [
            "-i",
            "other.srt",
            "-map",
            "0",
            "-map",
            "-0:s",
            "-map",
            "1",
            "-c",
            "copy",
            "-disposition:s:0",
            "forced",
            "-metadata:s:s:0",
            "language=fre",
        ],
        {"stream 3"},
    ),
}


@pytest.mark.parametrize("loss", RICH_LOSSES)
def test_each_loss_is_found(loss: str, rich: Path, folder: Path, tmp_path: Path) -> None:
    arguments, rows = RICH_LOSSES[loss]
    out = tmp_path / "out.mkv"
    inputs = [] if "IN" in arguments else ["-i", rich]
    judge(
        *inputs,
        *(rich if word == "IN" else folder / word if word.endswith((".txt", ".srt")) else word for word in arguments),
        out,
    )
    report = compare(rich, out)
    assert differing(report) == rows, [row for row in report.rows if row.verdict == "differs"]
    assert report.lost.startswith("Nothing was lost") if not rows else report.lost.startswith("Lost or changed: ")
    assert all(row.sentence.endswith(".") for row in report.rows if row.verdict != "ok")


PHONE_LOSSES: dict[str, tuple[list[str], set[str]]] = {
    "nothing": (["-i", "IN", *BOTH], set()),
    "the rotation": (["-display_rotation", "0", "-i", "IN", *BOTH], {"rotation"}),
    "the direction": (["-display_rotation", "270", "-i", "IN", *BOTH], {"rotation"}),
    "a mirror": (["-display_hflip", "-i", "IN", *BOTH], {"rotation"}),
    "upright pixels": (["-i", "IN", *BOTH, "-c:v:0", "libx264"], {"rotation", "size"}),
    "the cover": (["-i", "IN", "-map", "0:v:0", "-map", "0:a", "-c", "copy"], {"stream 4"}),
    "the timecode": (
        ["-i", "IN", *BOTH, "-write_tmcd", "0", "-map_metadata", "-1"],
        {"stream 2", "stream 3", "metadata"},
    ),
    "20 ms of sound": (
        ["-itsoffset", "0.02", "-i", "IN", "-i", "IN", "-map", "1:v", "-map", "0:a", "-c", "copy"],
        {"times of stream 1", "offset of stream 1"},
    ),
    "pace of sound": (
        ["-itsscale", "1.1", "-i", "IN", "-i", "IN", "-map", "1:v", "-map", "0:a", "-c", "copy"],
        {"times of stream 1", "offset of stream 1", "end of the last stream"},
    ),
    "a repeated frame": (
        ["-noautorotate", "-i", "IN", *BOTH, "-c:v:0", "libx264", "-filter:v:0", "tpad=stop=1:stop_mode=clone"],
        {"frames"},
    ),
}


@pytest.mark.parametrize("loss", PHONE_LOSSES)
def test_each_loss_of_a_phone_clip_is_found(loss: str, phone: Path, tmp_path: Path) -> None:
    arguments, rows = PHONE_LOSSES[loss]
    out = tmp_path / "out.mp4"
    judge(*(phone if word == "IN" else word for word in arguments), out)
    report = compare(phone, out)
    assert differing(report) == rows, [row for row in report.rows if row.verdict == "differs"]


def test_shown_pictures_hidden_by_an_edit_list_do_not_count(phone: Path, tmp_path: Path) -> None:
    """A cut without encoding keeps the pictures before it in the file, hidden."""
    out = tmp_path / "out.mp4"
    judge("-ss", "0.5", "-i", phone, "-map", "0:v:0", "-map", "0:a", "-c", "copy", out)
    assert "frames" in differing(compare(phone, out))


def rows_of(report: VerifyReport) -> dict[str, tuple[str, str]]:
    return {row.name: (row.verdict, row.sentence) for row in report.rows}


def test_a_constant_shift_is_a_note(phone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    judge("-i", phone, *BOTH, "-output_ts_offset", "1.5", out)
    report = compare(phone, out)
    assert not report.differing and report.shift == -1.5
    verdict, sentence = rows_of(report)["shift"]
    assert verdict == "note" and "+1.500000 s" in sentence and "the same for all streams" in sentence


def test_words_of_converted_subtitles_are_compared(rich: Path, folder: Path, tmp_path: Path) -> None:
    kept, changed = tmp_path / "kept.mp4", tmp_path / "changed.mp4"
    codecs = ["-c", "copy", "-c:s", "mov_text", "-strict", "-2", "-movflags", "use_metadata_tags"]
    judge("-i", rich, "-map", "0", "-map", "-0:t", *codecs, "-metadata:s:s:0", "language=fre", kept)
    judge("-i", rich, "-i", folder / "other.srt", "-map", "0:v", "-map", "0:a", "-map", "1", *codecs, changed)
    rows = rows_of(compare(rich, kept, drop_streams=["attachment"]))
    assert rows["stream 3"] == (
        "note",
        "Stream 3 subtitle subrip fre was converted to mov_text: words are the same, styles may not be.",
    )
    assert rows["times of stream 3"][0] == "ok"
    rows = rows_of(compare(rich, changed, drop_streams=["attachment"]))
    assert rows["stream 3"][0] == "differs" and "1 of its 2 lines are not the same" in rows["stream 3"][1]


def test_a_coarser_clock_is_no_loss_and_is_reported(phone: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "ntsc.mp4", tmp_path / "out.mkv"
    judge("-f", "lavfi", "-i", "testsrc2=s=64x48:r=30000/1001:d=1", *X264, "-pix_fmt", "yuv420p", source)
    judge("-i", source, "-c", "copy", out)
    report = compare(source, out)
    assert not report.differing and not report.pts_exact
    assert 0 < report.largest_pts_error <= report.tick / 2 == 0.0005
    assert "ticks every 1.000 ms" in next(row.found for row in report.rows if row.name == "frame times")


def test_what_was_asked_for_is_a_note(rich: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    judge(
        "-i",
        rich,
        "-map",
        "0",
        "-map",
        "-0:2",
        "-map",
        "-0:s",
        "-map_chapters",
        "-1",
        *AGAIN[2:],
        "-pix_fmt",
        "yuv420p",
        *KEEP,
        out,
    )
    assert differing(compare(rich, out)) == {"stream 2", "stream 3", "chapters", "bit depth"}
    report = compare(rich, out, drop_streams=["2", "subtitle", "chapters"], bit_depth=8)
    assert not report.differing and report.lost.startswith("Nothing was lost")
    rows = rows_of(report)
    assert rows["stream 2"] == ("note", "Stream 2 audio flac eng Comment is left out, as asked for.")
    assert rows["bit depth"][0] == "note" and rows["stream 3"][0] == "note"
    with pytest.raises(UsageError, match="has no stream 7"):
        compare(rich, out, drop_streams=["7"])


def test_a_picture_enlarged_by_a_whole_number(phone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    source = tmp_path / "in.mkv"
    judge("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", *X264, "-pix_fmt", "yuv420p", source)
    judge("-i", source, *X264, "-vf", "scale=128:96", out)
    rows = rows_of(compare(source, out))
    assert rows["size"] == ("note", "The picture is 2 times as wide and as high as the source's.")


def test_an_enlarged_picture_must_not_be_taken_for_another_matrix(tmp_path: Path) -> None:
    """Untagged pictures are read by their size: what was BT.601 becomes BT.709 by growing."""
    source, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
    judge("-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=0.1", *X264, "-pix_fmt", "yuv420p", source)
    judge("-i", source, *X264, "-vf", "scale=1280:720", out)
    assert differing(compare(source, out)) == {"matrix"}


def test_constant_rate_on_request(rich: Path, tmp_path: Path) -> None:
    even, uneven, short = tmp_path / "even.mkv", tmp_path / "uneven.mkv", tmp_path / "short.mkv"
    base = ["-i", rich, *AGAIN[:-2], "-pix_fmt", "yuv420p10le"]
    judge(*base, "-fps_mode", "cfr", "-r", "25", even)
    judge("-i", rich, "-map", "0", "-c", "copy", uneven)
    judge(*base, "-fps_mode", "cfr", "-r", "25", "-frames:v", "20", short)
    assert not compare(rich, even, cfr=True).differing
    assert differing(compare(rich, uneven, cfr=True)) == {"frame times"}
    assert "end of the picture" in differing(compare(rich, short, cfr=True))


def test_a_damaged_source_is_said_in_a_sentence(phone: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mkv"
    judge("-i", phone, "-map", "0:v:0", "-map", "0:a", "-c", "copy", cut)
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedVideoError, match="cut short"):
        compare(cut, phone)
    with pytest.raises(VerificationError, match="copy cannot be read whole"):
        compare(phone, cut)


def test_raw_streams_are_decoded_to_learn_their_times(tmp_path: Path) -> None:
    raw, out, less = tmp_path / "in.h264", tmp_path / "out.mkv", tmp_path / "less.mkv"
    judge("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", *X264, "-pix_fmt", "yuv420p", raw)
    judge("-r", "25", "-i", raw, *X264, out)
    judge("-r", "25", "-i", raw, *X264, "-vf", "select='not(eq(n,4))'", "-fps_mode", "passthrough", less)
    assert differing(compare(raw, out)) == set()
    assert differing(compare(raw, less)) == {"frames"}


def test_hidden_pictures_of_vp8_are_not_counted(tmp_path: Path) -> None:
    """Packets of VP8 may hold pictures that are only there for others to lean on."""
    source, out = tmp_path / "in.webm", tmp_path / "out.mkv"
    vp8 = ["-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "8", "-b:v", "40k", "-deadline", "good"]
    judge("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2", "-pix_fmt", "yuv420p", *vp8, source)
    judge("-i", source, *X264, "-fps_mode", "passthrough", "-enc_time_base", "demux", out)
    report = compare(source, out)
    assert report.frames == 50 and differing(report) == set()


def test_images_gif_and_y4m_are_compared_too(phone: Path, tmp_path: Path) -> None:
    source, less = tmp_path / "in.mp4", tmp_path / "less.mp4"
    judge("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", *X264, "-pix_fmt", "yuv420p", source)
    judge("-i", source, *X264, "-vf", "select='not(eq(n,4))'", "-fps_mode", "passthrough", less)
    (tmp_path / "frames").mkdir()
    for made, options in {"frames/%06d.png": [], "out.gif": [], "out.y4m": ["-pix_fmt", "yuv420p"]}.items():
        judge("-i", source, *options, tmp_path / made)
        report = compare(source, str(tmp_path / made), frame_rate="25")
        assert report.frames == 10 and differing(report) == set(), made
        assert "frames" in differing(compare(less, str(tmp_path / made), frame_rate="25")), made
    back = tmp_path / "back.mkv"
    judge("-framerate", "25", "-i", tmp_path / "frames/%06d.png", *X264, "-pix_fmt", "yuv444p", back)
    lost = differing(compare(tmp_path / "frames", back, frame_rate="25"))
    assert lost == {"primaries", "transfer"}  # PNG names sRGB; the judge's H.264 names nothing


def test_a_pipe_cannot_be_verified(phone: Path) -> None:
    for pair in (("-", phone), (phone, "-")):
        with pytest.raises(UsageError, match="read once only"):
            compare(*pair)


def test_hdr_tags(tmp_path: Path) -> None:
    """Mastering display and content light are as much a part of the picture as its transfer."""
    source, out, plain = tmp_path / "in.mp4", tmp_path / "out.mkv", tmp_path / "plain.mkv"
    tags = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=none"
    light = "hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
    x265 = ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params"]
    judge("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.2", *x265, f"{tags}:{light}", source)
    judge("-i", source, "-c", "copy", out)
    judge("-i", source, "-vf", "sidedata=mode=delete", *x265, tags, plain)
    assert differing(compare(source, out)) == set()
    assert {"mastering display", "content light"} <= differing(compare(source, plain))


def test_lost_transparency(tmp_path: Path) -> None:
    source, out = tmp_path / "in.mov", tmp_path / "out.mov"
    prores = ["-c:v", "prores_ks", "-profile:v", "4444"]
    judge("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.2", *prores, "-pix_fmt", "yuva444p10le", source)
    judge("-i", source, *prores, "-pix_fmt", "yuv444p10le", out)
    assert "transparency" in differing(compare(source, out))
    assert "transparency" not in differing(compare(source, out, drop_streams=["alpha"]))


def test_a_timecode_in_capitals(tmp_path: Path) -> None:
    """Matroska writes the names of tags in capitals."""
    source, out, bare = tmp_path / "in.mov", tmp_path / "out.mkv", tmp_path / "bare.mkv"
    judge("-f", "lavfi", "-i", "testsrc2=s=64x48:r=24:d=0.5", *X264, "-pix_fmt", "yuv420p", "-timecode", "10:20:30:05", source)
    judge("-i", source, "-map", "0:v", "-c", "copy", "-metadata:s:0", "TIMECODE=10:20:30:05", out)
    judge("-i", source, "-map", "0:v", "-c", "copy", "-map_metadata", "-1", "-map_metadata:s:0", "-1", bare)
    report = compare(source, out)
    assert differing(report) == set() and rows_of(report)["stream 1"][0] == "note"
    assert "stream 1" in differing(compare(source, bare))


def test_frames_closer_than_the_clock_ticks(tmp_path: Path) -> None:
    """Both are rounded to the same millisecond: no error above half a tick, and said."""
    source, out = tmp_path / "in.mp4", tmp_path / "out.mkv"
    times = "settb=1/90000,setpts='if(eq(N,3),7201,N*3600)'"
    x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-pix_fmt", "yuv420p"]
    options = [*x264, "-fps_mode", "passthrough", "-enc_time_base", "filter", "-video_track_timescale", "90000"]
    judge("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", "-vf", times, *options, source)
    judge("-i", source, "-c", "copy", out)
    report = compare(source, out)
    assert differing(report) == set()
    verdict, sentence = rows_of(report)["frame times"]
    assert verdict == "note" and sentence.startswith("1 frame shares the time of the one before")


def test_chroma_of_full_height_has_no_upper_and_lower_place(tmp_path: Path) -> None:
    picture = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", "-pix_fmt", "yuv422p"]
    judge(*picture, "-c:v", "mpeg2video", tmp_path / "in.mpg")  # read as topleft
    judge("-i", tmp_path / "in.mpg", *X264, "-chroma_sample_location", "left", tmp_path / "out.mp4")
    assert "chroma location" not in differing(compare(tmp_path / "in.mpg", tmp_path / "out.mp4"))
    judge("-i", tmp_path / "in.mpg", *X264, "-pix_fmt", "yuv420p", "-chroma_sample_location", "left", tmp_path / "half.mp4")
    assert "chroma location" in differing(compare(tmp_path / "in.mpg", tmp_path / "half.mp4"))


def test_sound_before_a_picture_without_timestamps(tmp_path: Path) -> None:
    """AVI starts all streams together: what only sets the decoder going is not played, and left out."""
    both = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=1", "-f", "lavfi", "-i", "sine=d=1"]
    judge(*both, *X264, "-bf", "0", tmp_path / "in.mp4")
    copied = ["-i", tmp_path / "in.mp4", "-map", "0", "-c", "copy", "-bsf:a"]
    judge(*copied, "noise=drop=eq(n\\,0)", tmp_path / "played.avi")
    assert "stream 1" not in differing(compare(tmp_path / "in.mp4", tmp_path / "played.avi"))
    judge(*copied, "noise=drop=lt(n\\,2)", tmp_path / "less.avi")
    assert "stream 1" in differing(compare(tmp_path / "in.mp4", tmp_path / "less.avi"))
