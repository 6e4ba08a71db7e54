"""The founding experiment, again: every second of a film that no engine was trained on, reduced, and enlarged by an engine.

    python -m benchmarks.founding                                 rdtn-x2 against bicubic, two encodings of the film
    python -m benchmarks.founding --factor 4 --engine rdtn-x4     four times
    python -m benchmarks.founding --video DIR                     and bicubic | engine as a video, written to DIR

The project that vidrestore grew from took one frame a second of a trailer, reduced it, restored it with its light residual dense
transpose network, and found +4.03 dB over bicubic enlargement, and a gain on each of 30 frames. Here the same is done with the
opening of Big Buck Bunny (c) copyright 2008, Blender Foundation, CC BY 3.0, from `$VIDRESTORE_DATA`, which everybody may have:
another film, so that the figures stand beside those of the founding project, and neither beat them nor fall short of them. That
network was trained on frames of the trailer itself; no engine here has seen the film.

PSNR is over RGB samples, SSIM has k1 = 0.01 and k2 = 0.03. Frames are reduced as in the test sets (antialiased bicubic) and
rounded to 8 bits. Frames alone are restored: no blending over time. Of the video, consecutive frames are, with blending, as a
run does it. A frame that bicubic enlargement restores without error (black) has no gain: it is named, and not counted.

Writes founding.json, .md and .png (for the factor 4 founding_x4.*) into benchmarks/results/; none with --limit.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import about
from benchmarks.quality import sets
from benchmarks.quality.measure import Restore, restorer
from benchmarks.quality.sets import Unavailable, data_root, enlarged
from vidrestore.engine.catalog import Catalog
from vidrestore.errors import VidrestoreError
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.sample import write_image
from vidrestore.metrics.psnr import psnr
from vidrestore.metrics.ssim import ssim
from vidrestore.training.data import forbidden_names, takes
from vidrestore.training.recipe import Recipe, read_recipe

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CREDIT = "Big Buck Bunny (c) copyright 2008, Blender Foundation, www.bigbuckbunny.org, CC BY 3.0"
AUTHOR = "Blender Foundation"
COPYRIGHT = "(c) copyright 2008, Blender Foundation, www.bigbuckbunny.org"
LICENCE = "Creative Commons Attribution 3.0, https://creativecommons.org/licenses/by/3.0/"
CLIPS = ("cine/bbb_480p_30s.mp4", "cine/moviepy_big_buck_bunny_0_30.webm")
"""Of the data folder; both are the film's first 30 seconds, the second at 720p and compressed harder."""
FOUNDING = {
    "frames": 30,
    "bicubic": 37.27,
    "restored": 41.30,
    "mean_gain": 4.03,
    "smallest_gain": 1.70,
    "largest_gain": 14.88,
    "better": 30,
}
"""What the founding project measured on its own trailer, x2, PSNR in dB."""
ENGINES = {2: "rdtn-x2", 4: "sr-x4-fast"}


@dataclass(frozen=True)
class FrameFigures:
    """One frame: PSNR in dB and SSIM of bicubic enlargement and of the engine."""

    frame: int
    seconds: float
    bicubic: float
    restored: float
    bicubic_ssim: float
    restored_ssim: float

    @property
    def gain(self) -> float | None:
        """In dB; None where bicubic or the engine leaves no error at all."""
        return self.restored - self.bicubic if math.isfinite(self.bicubic) and math.isfinite(self.restored) else None

    def row(self) -> dict[str, Any]:
        """For JSON, which knows no infinity: the PSNR of an exact frame is null, and so is its gain."""
        values = {**asdict(self), "gain": self.gain}
        return {name: round(value, 4) if value is not None and math.isfinite(value) else None for name, value in values.items()}


Taken = tuple[int, float, np.ndarray]
"""A frame: its number, seconds, (H, W, 3) uint8."""


def every_second(frames: Iterable[Taken]) -> Iterator[Taken]:
    """The first frame at or after each whole second of the film, counted from its first frame."""
    begin: float | None = None
    wanted = 0
    for frame in frames:
        begin = frame[1] if begin is None else begin
        passed = frame[1] - begin + 1e-6  # seconds are quotients: the 24th of 24 frames is no less than 1
        if passed >= wanted:
            yield frame
            wanted = math.floor(passed) + 1


def held_out(clip: str, recipe: Recipe, forbidden: Container[str] = ()) -> bool:
    """Whether a training by this recipe never sees the clip.

    Args:
        clip: path below the data folder.
        forbidden: what the recipe's `exclude_lists` name.
    """
    return not takes(recipe.data, clip, forbidden)


def reduced(picture: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """(the picture made smaller, the picture cut to a multiple of the factor), (H, W, 3) uint8 both."""
    height, width = (side - side % factor for side in picture.shape[:2])
    whole = picture[:height, :width]
    return sets.reduced(whole, factor), whole


def measured(frame: int, seconds: float, picture: np.ndarray, factor: int, restore: Restore) -> FrameFigures:
    """Reduce a frame, enlarge it both ways, and hold both against it."""
    small, whole = reduced(picture, factor)
    outputs = enlarged(small, factor), restore(small)
    likeness = [ssim(output, whole, exact=False) for output in outputs]
    return FrameFigures(frame, seconds, psnr(outputs[0], whole), psnr(outputs[1], whole), *likeness)


def summary(figures: Sequence[FrameFigures]) -> dict[str, Any]:
    """Means, extremes and how many frames are better; of the frames that have a gain.

    Raises:
        ValueError: none has.
    """
    counted = [(figure, figure.gain) for figure in figures if figure.gain is not None]
    if not counted:
        raise ValueError("no frame has a gain: bicubic or the engine restored each without error")
    gains = [gain for _, gain in counted]

    def mean(name: str) -> float:
        return float(np.mean([getattr(figure, name) for figure, _ in counted]))

    return {
        "frames": len(counted),
        "bicubic": mean("bicubic"),
        "restored": mean("restored"),
        "mean_gain": float(np.mean(gains)),
        "smallest_gain": min(gains),
        "largest_gain": max(gains),
        "better": sum(gain > 0 for gain in gains),
        "bicubic_ssim": mean("bicubic_ssim"),
        "restored_ssim": mean("restored_ssim"),
        "better_ssim": sum(figure.restored_ssim > figure.bicubic_ssim for figure, _ in counted),
        "not_counted": [figure.frame for figure in figures if figure.gain is None],
    }


def pictures(path: Path, start: float = 0.0, duration: float = math.inf) -> Iterator[Taken]:
    """Frames of the part asked for."""
    with VideoDecoder(path) as decoder:
        for frame in decoder:
            if frame.seconds >= start + duration:
                return
            if frame.seconds >= start:
                yield frame.index, frame.seconds, np.ascontiguousarray(np.moveaxis(frame.data, 0, -1))


def clip_figures(path: Path, factor: int, restore: Restore, limit: int | None) -> list[FrameFigures]:
    """One frame a second of a clip."""
    chosen = islice(every_second(pictures(path)), limit)
    return [measured(index, seconds, picture, factor, restore) for index, seconds, picture in chosen]


def table(figures: Sequence[FrameFigures], engine: str) -> list[str]:
    """Markdown, a row for each frame."""
    lines = [
        f"| second | bicubic, dB | {engine}, dB | gain, dB | bicubic, SSIM | {engine}, SSIM |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for one in figures:
        gain = "" if one.gain is None else f"{one.gain:+.2f}"
        dbs = " | ".join("exact" if math.isinf(value) else f"{value:.2f}" for value in (one.bicubic, one.restored))
        lines.append(f"| {one.seconds:.0f} | {dbs} | {gain} | {one.bicubic_ssim:.4f} | {one.restored_ssim:.4f} |")
    return lines


def against_founding(results: Sequence[tuple[str, dict[str, Any]]], factor: int) -> list[str]:
    """Markdown: a column for each clip, and for x2 one for the founding project's trailer."""
    columns = [(Path(name).name, figures) for name, figures in results]
    if factor == 2:
        columns.insert(0, ("the founding project's trailer", FOUNDING))
    rows = [
        ("frames", "frames", "{:d}"), ("bicubic, mean dB", "bicubic", "{:.2f}"), ("restored, mean dB", "restored", "{:.2f}"),
        ("mean gain, dB", "mean_gain", "{:+.2f}"), ("smallest gain, dB", "smallest_gain", "{:+.2f}"),
        ("largest gain, dB", "largest_gain", "{:+.2f}"), ("frames that are better", "better", "{:d}"),
        ("bicubic, mean SSIM", "bicubic_ssim", "{:.4f}"), ("restored, mean SSIM", "restored_ssim", "{:.4f}"),
    ]  # fmt: skip
    lines = [f"| | {' | '.join(name for name, _ in columns)} |", "|---|" + "---:|" * len(columns)]
    for words, key, form in rows:
        lines.append(f"| {words} | " + " | ".join(form.format(one[key]) if key in one else "" for _, one in columns) + " |")
    return lines


def draw(results: Sequence[tuple[str, list[FrameFigures]]], engine: str, factor: int, path: Path) -> None:
    """PNG: for each clip both PSNRs over time, and the gain of every frame below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(10, 2.9 * len(results)), layout="constrained")
    FigureCanvasAgg(sheet)
    axes: Any = sheet.subplots(len(results), 2, squeeze=False, sharex=True)
    for (left, right), (name, figures) in zip(axes, results, strict=True):
        counted = [(figure, figure.gain) for figure in figures if figure.gain is not None]
        seconds = [figure.seconds for figure, _ in counted]
        left.plot(seconds, [figure.bicubic for figure, _ in counted], "o-", color="#9aa3ad", ms=3, lw=1.1, label="bicubic")
        left.plot(seconds, [figure.restored for figure, _ in counted], "o-", color="#2f4b7c", ms=3, lw=1.1, label=engine)
        left.set_title(f"{Path(name).name}, x{factor}: PSNR, dB", fontsize=9, loc="left")
        left.legend(fontsize=8, frameon=False)
        gains = [gain for _, gain in counted]
        right.bar(seconds, gains, width=0.7, color=["#4d8f63" if gain > 0 else "#d1603d" for gain in gains])
        right.axhline(float(np.mean(gains)), color="#17331f", lw=1, label=f"mean {np.mean(gains):+.2f} dB")
        if factor == 2:
            words = f"founding project, its trailer: {FOUNDING['mean_gain']:+.2f} dB"
            right.axhline(FOUNDING["mean_gain"], color="#d1603d", lw=1, ls="--", label=words)
        right.set_title("gain over bicubic, dB", fontsize=9, loc="left")
        right.set_ylim(min(0.0, *gains), 1.3 * max(gains))  # room for the names
        right.legend(fontsize=8, frameon=False, loc="upper left", ncols=2)
    for axis in axes.flat:
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("second of the film", fontsize=8)
    sheet.savefig(path, format="png", dpi=110, metadata={"Software": None})


def write_video(path: Path, factor: int, engine: str, folder: Path, start: float, duration: float) -> Path:
    """bicubic | engine, the same frames of a film, reduced before: a video in `folder`, signed; an earlier one is replaced.

    The restored half is what a run of vidrestore makes of the reduced pictures, with its blending over time; the bicubic one is
    the enlargement that the figures are held against.
    """
    import vidrestore
    from vidrestore.media.input.probe import probe
    from vidrestore.report.compare import Wanted, compare

    folder.mkdir(parents=True, exist_ok=True)
    rate = str(probe(path).video.frame_rate)
    target = folder / f"bicubic_{engine}_{path.stem}.mp4"
    with tempfile.TemporaryDirectory() as rooms:
        small, plain, restored = (Path(rooms) / name for name in ("small", "bicubic", "restored"))
        small.mkdir()
        plain.mkdir()
        for number, (_, _, picture) in enumerate(pictures(path, start, duration)):
            made, _ = reduced(picture, factor)
            write_image(small / f"{number:06d}.png", made)
            write_image(plain / f"{number:06d}.png", enlarged(made, factor))
        vidrestore.restore(small, f"{restored}/", engines=[engine], frame_rate=rate, score=False)
        wanted = Wanted(labels=("bicubic", engine), frame_rate=rate)
        compare([str(plain), str(restored)], target, wanted, overwrite=True)
    sign(target, engine, start, duration)
    return target


def words(engine: str, start: float, duration: float, said: str) -> dict[str, str]:
    """What a video of the film must say of itself: the licence asks for author, source, licence and changes.

    Args:
        said: the comment that the video has already, such as the mark of what was restored; it is kept,
            and stands last, as the mark is read to the end.
    """
    changes = (
        f"Changes: an excerpt, reduced, enlarged again by bicubic interpolation and by {engine}, put together, without sound."
    )
    return {
        "title": f"Big Buck Bunny, {start:g} s to {start + duration:g} s: bicubic | {engine}",
        "artist": AUTHOR,
        "copyright": f"{COPYRIGHT}. {LICENCE}",
        "comment": f"{changes} {said}".strip(),
    }


def sign(path: Path, engine: str, start: float, duration: float) -> None:
    """Write `words` into a video in place. Packets are copied as they are, with their times; no picture is encoded again."""
    import av

    part = path.with_suffix(f".part{path.suffix}")
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(path)) as source, av.open(str(part), "w", container_options=options) as signed:
        signed.metadata.update(words(engine, start, duration, source.metadata.get("comment", "")))
        streams = {}
        for stream in source.streams:
            copy = signed.add_stream_from_template(stream)
            copy.metadata.update(stream.metadata)
            copy.time_base = stream.time_base
            streams[stream.index] = copy
        for packet in source.demux():
            if packet.size:  # the last one of each stream is empty
                packet.stream = streams[packet.stream.index]
                signed.mux(packet)
    part.replace(path)


def refuse_what_was_trained_on(engine: str) -> None:
    """Ends the program if the engine's recipe takes one of the clips."""
    folder = ROOT / "configs" / "train"
    recipe = read_recipe(folder / f"{engine}.toml")
    forbidden = forbidden_names(recipe.data, folder)
    for clip in CLIPS:
        if not held_out(clip, recipe, forbidden):
            sys.exit(f"{engine} was trained on {clip}: nothing can be measured with it.")


def page(clips: Sequence[tuple[str, list[FrameFigures]]], engine: str, factor: int) -> str:
    """The whole result as Markdown."""
    option = "" if factor == 2 else f" --factor {factor} --engine {engine}"
    lines = [f"# The founding experiment, x{factor}: {engine} against bicubic", ""]
    lines += [
        f"Written by `python -m benchmarks.founding{option}`: one frame a second, reduced {factor} times (antialiased bicubic)"
    ]
    lines += [f"and restored. Pictures: {CREDIT}.", ""]
    lines += against_founding([(name, summary(figures)) for name, figures in clips], factor)
    for name, figures in clips:
        left_out = summary(figures)["not_counted"]
        lines += ["", f"## {Path(name).name}", "", *table(figures, engine)]
        if left_out:
            lines += ["", f"Not counted, because nothing was lost: frame {', '.join(map(str, left_out))}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=int, choices=sorted(ENGINES), default=2)
    parser.add_argument("--engine", help="default: the best engine of the factor")
    parser.add_argument("--clip", action="append", choices=CLIPS, help="only this one (not written)")
    parser.add_argument("--limit", type=int, help="only the first N frames of each clip (not written)")
    parser.add_argument("--video", type=Path, metavar="DIR", help="write bicubic | engine of the first clip there")
    parser.add_argument("--start", type=float, default=13.0, help="of the video, seconds of the film")
    parser.add_argument("--duration", type=float, default=6.0, help="of the video, seconds")
    parser.add_argument("--only-video", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    engine = arguments.engine or ENGINES[arguments.factor]
    scale = Catalog.find().card(engine).scale
    if scale != arguments.factor:
        step = f"give --factor {scale}" if scale in ENGINES else "give another engine"
        sys.exit(f"{engine} enlarges {scale} times, not {arguments.factor}: {step}.")
    refuse_what_was_trained_on(engine)
    wanted = arguments.clip or list(CLIPS)
    clips = {name: data_root() / name for name in wanted}
    for name, path in clips.items():
        if not path.is_file():
            raise Unavailable(f"no {name} in the data folder")
    if not arguments.only_video:
        restore = restorer(engine)
        measure = [(name, clip_figures(path, scale, restore, arguments.limit)) for name, path in clips.items()]
        text = page(measure, engine, scale)
        print(text)
        if arguments.limit is None and not arguments.clip:
            write(measure, engine, scale, text)
    if arguments.video:
        print(write_video(clips[wanted[0]], scale, engine, arguments.video, arguments.start, arguments.duration))


def write(clips: Sequence[tuple[str, list[FrameFigures]]], engine: str, factor: int, text: str) -> None:
    """JSON, Markdown and plot into benchmarks/results/."""
    name = "founding" if factor == 2 else f"founding_x{factor}"
    record = {
        "machine": about(),
        "engine": engine,
        "weights": Catalog.find().card(engine).sha256,
        "factor": factor,
        "credit": CREDIT,
        "founding_project": FOUNDING if factor == 2 else None,
        "clips": [
            {"clip": clip, "summary": summary(figures), "frames": [figure.row() for figure in figures]} for clip, figures in clips
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    draw(clips, engine, factor, RESULTS / f"{name}.png")


if __name__ == "__main__":
    try:
        main()
    except (Unavailable, VidrestoreError) as error:
        sys.exit(str(error))
