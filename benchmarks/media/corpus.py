"""Every real file and every awkward variant through the identity engine, then `vidrestore verify`: one table.

    python -m benchmarks.media.corpus [--data FOLDER] [--json FILE]

Real files: those of the data folder's codecs and cine (see docs/data.md), each written to .mkv. Variants are made of a real
clip by an FFmpeg that is not ours (the wheel imageio-ffmpeg). `verify` runs as a program of its own, on the two files alone.
The result goes to benchmarks/results/media_corpus.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import ffmpeg
import imageio_ffmpeg

from benchmarks.machine import about

RESULTS = Path(__file__).resolve().parents[1] / "results" / "media_corpus.json"
PROGRAM = [sys.executable, "-c", "from vidrestore.cli import main; main()"]
NO_PICTURE = {".wav", ".mp3"}


@dataclass(frozen=True)
class Row:
    """What came of one file."""

    name: str
    target: str
    verdict: str
    """passed, refused or FAILED."""
    frames: int | None
    sentence: str
    """The refusal, or the notes of `verify`."""


@dataclass(frozen=True)
class Variant:
    """A file to make, where it goes, and what must come of it."""

    name: str
    make: Callable[[Path], Path]
    """Folder -> file."""
    target: str = "mkv"
    options: tuple[str, ...] = ()
    refused: str | None = None
    """Words of the refusal that docs/formats.md lists for this case; None: it must pass."""


def judge(*arguments: str | Path) -> None:
    """FFmpeg by its own command line, for what the graph builder cannot say."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def made(stream: ffmpeg.nodes.Stream, path: Path, **options: str | int) -> Path:
    """Write a graph's output with the judge's FFmpeg."""
    ffmpeg.output(stream, str(path), **options).overwrite_output().run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)
    return path


def program(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`vidrestore ...` as a user starts it."""
    return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=900)


def check(name: str, source: Path, target: Path, options: tuple[str, ...] = (), refused: str | None = None) -> Row:
    """Run, verify, clean up."""
    kind = target.suffix.lstrip(".")
    run = program("run", source, "-o", target, "--engine", "identity", "--quiet", *options)
    said = " ".join(line for line in run.stderr.splitlines() if line.startswith("vidrestore:"))
    if run.returncode:
        right = run.returncode in (2, 3) and len(said) > 0 and "Traceback" not in run.stderr and not target.exists()
        expected = right and (refused is None or refused in said)
        return Row(name, kind, "refused" if expected else "FAILED", None, said or run.stderr[-300:])
    if refused is not None:
        return Row(name, kind, "FAILED", None, f"was to be refused: {refused}")
    report = target.with_suffix(".json")
    proof = program("verify", source, target, "--json", report, *_for_verify(options))
    told = json.loads(report.read_text()) if report.exists() else {}
    report.unlink(missing_ok=True)
    target.unlink()
    notes = "; ".join(row["sentence"] for row in told.get("rows", ()) if row.get("sentence"))
    verdict = "passed" if proof.returncode == 0 else "FAILED"
    return Row(name, kind, verdict, told.get("frames"), notes or proof.stderr.strip()[-300:])


def _for_verify(options: tuple[str, ...]) -> list[str]:
    """The options of a run that `verify` must know too."""
    known = {"--start", "--duration", "--drop-streams"}
    return [word for pair in itertools.pairwise(options) if pair[0] in known for word in pair]


def real_files(data: Path) -> list[Path]:
    folders = [data / "codecs", data / "codecs" / "foreman", data / "cine"]
    return [path for folder in folders for path in sorted(folder.glob("*.*")) if path.suffix not in NO_PICTURE]


def variants(clip: Path) -> list[Variant]:
    """The awkward ones, made of the first second of `clip`."""
    source = ffmpeg.input(str(clip), t=1)
    video, sound = source.video, source.audio

    def rotated(folder: Path) -> Path:
        straight = made(video, folder / "straight.mp4", vcodec="libx264", preset="ultrafast")
        judge("-display_rotation", "90", "-i", straight, "-c", "copy", folder / "rotated.mp4")
        return folder / "rotated.mp4"

    def random_durations(folder: Path) -> Path:
        dice = random.Random(2026)
        steps = [0]
        while len(steps) < 24:
            steps.append(steps[-1] + dice.randint(90, 9000))
        times = "+".join(f"eq(N,{number})*{step}" for number, step in enumerate(steps))
        frames = video.filter("trim", end_frame=24).filter("settb", "1/90000").filter("setpts", times)
        return made(
            frames, folder / "vfr.mp4", vcodec="libx264", preset="ultrafast", video_track_timescale=90000, fps_mode="passthrough"
        )

    def deep(folder: Path) -> Path:
        return made(video, folder / "deep.mp4", vcodec="libx265", pix_fmt="yuv420p10le", preset="ultrafast")

    def fields(folder: Path) -> Path:
        woven = video.filter("interlace", scan="tff")
        return made(
            woven, folder / "fields.mp4", vcodec="libx264", preset="ultrafast", flags="+ildct+ilme", **{"x264-params": "tff=1"}
        )

    def wide_chroma(folder: Path) -> Path:
        return made(video, folder / "chroma.mp4", vcodec="libx264", pix_fmt="yuv422p", preset="ultrafast")

    def hdr10(folder: Path) -> Path:
        display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
        tags = "hdr10=1:repeat-headers=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
        params = f"{tags}:master-display={display}:max-cll=1000,400"
        return made(
            video, folder / "hdr10.mp4", vcodec="libx265", pix_fmt="yuv420p10le", preset="ultrafast", **{"x265-params": params}
        )

    def many_streams(suffix: str, text: str) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            words = folder / "words.srt"
            words.write_text("1\n00:00:00,100 --> 00:00:00,500\nGrüße\n\n2\n00:00:00,600 --> 00:00:00,900\n<i>zwei</i>\nZeilen\n")
            chapters = folder / "chapters.txt"
            parts = [";FFMETADATA1", "title=A drive"]
            for start, end, title in ((0, 400, "One"), (400, 1000, "Two")):
                parts += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={start}", f"END={end}", f"title={title}"]
            chapters.write_text("\n".join(parts) + "\n")
            path = folder / f"many{suffix}"
            inputs = [
                "-t",
                "1",
                "-i",
                clip,
                "-f",
                "lavfi",
                "-i",
                "sine=d=1",
                "-i",
                words,
                "-i",
                words,
                "-f",
                "ffmetadata",
                "-i",
                chapters,
            ]
            maps = [
                "-map",
                "0:v:0",
                "-map",
                "0:a:0",
                "-map",
                "1",
                "-map",
                "2",
                "-map",
                "3",
                "-map_chapters",
                "4",
                "-map_metadata",
                "4",
            ]
            coding = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-c:s", text, "-metadata:s:a:1", "language=deu"]
            judge(*inputs, *maps, *coding, "-metadata:s:s:1", "language=fra", "-disposition:s:1", "forced", path)
            return path

        return make

    def cover(folder: Path) -> Path:
        art, path = folder / "cover.png", folder / "cover.mp4"
        judge("-f", "lavfi", "-i", "testsrc=s=64x64:d=0.04", "-frames:v", "1", art)
        coding = [
            "-c:v:0",
            "libx264",
            "-preset",
            "ultrafast",
            "-c:v:1",
            "copy",
            "-c:a",
            "aac",
            "-disposition:v:1",
            "attached_pic",
        ]
        judge("-t", "1", "-i", clip, "-i", art, "-map", "0:v:0", "-map", "0:a:0", "-map", "1", *coding, path)
        return path

    def timecode(folder: Path) -> Path:
        return made(video, folder / "tmcd.mov", vcodec="libx264", preset="ultrafast", timecode="10:20:30:05")

    def telemetry(folder: Path) -> Path:
        """FFmpeg cannot make a gpmd track; the track of chapter titles that it writes becomes one, byte by byte."""
        words = folder / "chapters.txt"
        parts = [";FFMETADATA1"]
        for start, title in ((0, "One"), (500, "Two")):
            parts += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={start}", f"END={start + 500}", f"title={title}"]
        words.write_text("\n".join(parts) + "\n")
        path = folder / "gpmd.mp4"
        coding = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]
        judge("-t", "1", "-i", clip, "-f", "ffmetadata", "-i", words, "-map_chapters", "1", *coding, path)
        content = path.read_bytes()
        for old, new in (
            (b"\0\0\0\x0cchap", b"\0\0\0\x0cfree"),
            (b"\0\0\0\0text\0\0\0\0", b"\0\0\0\0meta\0\0\0\0"),
            (b"Otext\0", b"Ogpmd\0"),
            (b"\0\3One\0\0\0\x0cencd", b"GPS-1\0\0\0\x0cencd"),
            (b"\0\3Two\0\0\0\x0cencd", b"GPS-2\0\0\0\x0cencd"),
        ):
            if old not in content:
                raise RuntimeError(f"{path.name} has no {old!r}")
            content = content.replace(old, new)
        path.write_bytes(content)
        return path

    def sound_first(folder: Path) -> Path:
        late = video.filter("setpts", "PTS+0.25/TB")
        path = folder / "late.mp4"
        ffmpeg.output(late, sound, str(path), vcodec="libx264", preset="ultrafast", acodec="aac").overwrite_output().run(
            cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True
        )
        return path

    return [
        Variant("rotated by 90 degrees", rotated),
        Variant("rotated by 90 degrees", rotated, "mp4"),
        Variant("variable rate, random durations", random_durations),
        Variant("variable rate, random durations", random_durations, "mp4"),
        Variant("10 bit hevc", deep),
        Variant("10 bit hevc", deep, "mp4", ("--codec", "hevc")),
        Variant("4:2:2", wide_chroma),
        Variant("interlaced", fields, refused="interlaced"),
        Variant("interlaced, --deinterlace", fields, options=("--deinterlace",)),
        Variant("HDR10", hdr10),
        Variant("HDR10", hdr10, "mp4"),
        Variant("two sounds, two subtitles, chapters", many_streams(".mkv", "srt")),
        Variant("two sounds, two subtitles, chapters, srt to mov_text", many_streams(".mkv", "srt"), "mp4"),
        Variant("two sounds, two subtitles, chapters, mov_text to srt", many_streams(".mp4", "mov_text")),
        Variant("cover art", cover),
        Variant("cover art", cover, "mp4"),
        Variant("timecode track", timecode, "mov"),
        Variant("timecode track", timecode),
        Variant("telemetry (gpmd)", telemetry, "mp4", ("--drop-streams", "chapters")),
        Variant("telemetry (gpmd)", telemetry, "mov", ("--drop-streams", "chapters")),
        Variant("telemetry (gpmd)", telemetry, refused="data"),
        Variant("telemetry (gpmd), given up", telemetry, options=("--drop-streams", "data")),
        Variant("picture begins after 0", sound_first),
        Variant("picture begins after 0", sound_first, "mp4"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("VIDRESTORE_DATA", "data")))
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows: list[Row] = []

    def show(row: Row) -> None:
        rows.append(row)
        frames = "" if row.frames is None else f"{row.frames} frames"
        print(f"{row.verdict:<8} {row.target:<4} {row.name:<52} {frames:>11}  {row.sentence}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, path in enumerate(real_files(options.data)):
            show(check(str(path.relative_to(options.data)), path, folder / f"{number}.mkv"))
        for number, variant in enumerate(variants(options.data / "cine" / "bbb_480p_30s.mp4")):
            place = folder / f"variant{number}"
            place.mkdir()
            target = place / f"out.{variant.target}"
            show(check(variant.name, variant.make(place), target, variant.options, variant.refused))
    count = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("passed", "refused", "FAILED")}
    print(", ".join(f"{number} {verdict}" for verdict, number in count.items()))
    options.json.write_text(
        json.dumps({"machine": about(), "count": count, "rows": [asdict(row) for row in rows]}, indent=2) + "\n"
    )
    print(f"written to {options.json}")
    sys.exit(1 if count["FAILED"] else 0)


if __name__ == "__main__":
    main()
