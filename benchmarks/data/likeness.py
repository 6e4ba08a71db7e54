"""How like real pictures the synthetic ones are: contact sheets real | synthetic, and figures.

    python -m benchmarks.data.likeness --out DIR

    python -m benchmarks.data.likeness --write-docs

For night, flare, rain and glow, real pictures of $VIDRESTORE_DATA are held against what the degradations make of day and
night pictures from there. DIR gets one contact sheet each, to be looked at and not to be passed on: most of the real
pictures may not be shipped. The figures go to benchmarks/results/likeness.json; `likeness_statistics` says what they are.
A distance is 0 for equal distributions and 2 at most; `halves` is what random halves of the real pictures come to.
`--write-docs` measures nothing and puts the figures into docs/data.md.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.data.likeness_statistics import STATISTICS, distance, split_distance, statistics
from benchmarks.machine import about
from vidrestore.media.input.sample import read_image, sample_frames
from vidrestore.training.data import PICTURES, VIDEOS, shrink
from vidrestore.training.degradations.flare import FlareSettings, composite_flare
from vidrestore.training.degradations.flare_patterns import FlareBank
from vidrestore.training.degradations.night import simulate_night

__all__ = ["SUBJECTS", "Subject", "compare", "filled", "main", "rendered", "side_by_side"]

RESULTS = Path(__file__).resolve().parents[1] / "results" / "likeness.json"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"
BEGIN = "<!-- Between these lines `python -m benchmarks.data.likeness --write-docs` writes. -->"
END = "<!-- end of the written part -->"
FURTHEST = 4
"""How many statistics the page names for each subject."""
SIDE = 512
"""Longer side of the pictures that are compared, in pixels."""
SEED = 2026

Make = Callable[[np.random.Generator, np.ndarray], np.ndarray]
"""(H, W, 3) float32 sRGB in [0, 1] -> the same with the degradation."""


@dataclass(frozen=True)
class Subject:
    """Real pictures and from what synthetic ones of that kind are made; folders and files of the data folder."""

    real: tuple[str, ...]
    base: tuple[str, ...]
    make: Callable[[], Make]
    remark: str
    figures: tuple[str, ...] = tuple(STATISTICS)
    """What is counted."""
    count: int = 72
    """Synthetic pictures."""


def _night() -> Make:
    return simulate_night


def _flared(**settings: float) -> Callable[[], Make]:
    def build() -> Make:
        bank = FlareBank(np.random.default_rng(SEED), count=24)
        return lambda rng, clean: composite_flare(rng, clean, bank, settings=FlareSettings(**settings)).input  # type: ignore[arg-type]

    return build


SUBJECTS = {
    "night": Subject(
        real=("dashcam/bdd_night", "dashcam/crops_night", "dashcam/night", "street/clips_night", "street/road_night"),
        base=("dashcam/bdd_day", "dashcam/crops_day", "dashcam/day_images", "street/clips_day", "street/road_day"),
        make=_night,
        remark="roads by night against roads by day made night",
    ),
    "flare": Subject(
        real=("flare/real_night",),
        base=("street/city_night", "street/road_night", "street/city_day", "street/road_day"),
        make=_flared(p_darken=1.0),
        remark="phone pictures chosen for their flare against the mixture that flare engines are trained on",
    ),
    "rain": Subject(
        real=("dashcam/rain",),
        base=("dashcam/day_images", "street/road_day", "street/city_night"),
        make=_flared(p_darken=1.0, p_rain=1.0),
        remark="one drive, and that by day: drops there bend light, ours catch that of lamps by night; texture alone is counted",
        figures=("fineness", "local_contrast"),
    ),
    "glow": Subject(
        real=("flare/glow_pairs/glow", "flare/night_haze_glow"),
        base=("flare/glow_pairs/clean", "street/city_night"),
        make=_flared(p_veil=1.0, p_scene_glow=1.0, p_streak=0.0, p_rain=0.0, p_ghosts=0.0),
        remark="pictures with haze and glow, most of them rendered by others",
    ),
}


def _pictures(root: Path, places: Sequence[str], every_seconds: float = 1.0) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 pictures, at most SIDE pixels long, and frames of videos."""
    for place in places:
        for path in sorted((root / place).iterdir()):
            suffix = path.suffix.lower()
            if suffix in PICTURES | VIDEOS:
                frames = sample_frames(path, every_seconds) if suffix in VIDEOS else (read_image(path),)
                yield from (np.ascontiguousarray(shrink(frame, SIDE)) for frame in frames)


def _synthetic(subject: Subject, bases: Sequence[np.ndarray]) -> list[np.ndarray]:
    rng = np.random.default_rng(SEED)
    make = subject.make()
    order = [index for _ in range(subject.count // len(bases) + 1) for index in rng.permutation(len(bases))][: subject.count]
    made = (make(rng, bases[index].astype(np.float32) / 255) for index in order)
    return [np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8) for picture in made]


def compare(
    real: Sequence[np.ndarray], synthetic: Sequence[np.ndarray], names: Sequence[str] = tuple(STATISTICS)
) -> dict[str, dict[str, float | None]]:
    """Each statistic: medians of both sets, their distance, and that of halves of the real one; None for nothing to measure."""
    first, second = ([statistics(picture) for picture in pictures] for pictures in (real, synthetic))
    table: dict[str, dict[str, float | None]] = {}
    for name in names:
        a, b = ([row[name] for row in rows] for rows in (first, second))
        row = {"real": _median(a), "synthetic": _median(b), "distance": distance(a, b), "halves": split_distance(a)}
        table[name] = {key: round(value, 4) if np.isfinite(value) else None for key, value in row.items()}
    return table


def _median(values: Sequence[float]) -> float:
    there = [value for value in values if np.isfinite(value)]
    return float(np.median(there)) if there else float("nan")


def overall(table: dict[str, dict[str, float | None]], column: str) -> float:
    """Mean of a column of distances over the statistics that could be measured."""
    return float(np.mean([row[column] for row in table.values() if row[column] is not None]))


def side_by_side(real: Sequence[np.ndarray], synthetic: Sequence[np.ndarray], rows: int = 7, columns: int = 3) -> np.ndarray:
    """Contact sheet: `columns` real pictures, a white bar, as many synthetic ones, in each of `rows` rows."""
    width, height = 320, 240
    halves = []
    for pictures in (real, synthetic):
        picks = [pictures[round(k)] for k in np.linspace(0, len(pictures) - 1, min(rows * columns, len(pictures)))]
        cells = []
        for picture in picks:
            fit = min(width / picture.shape[1], height / picture.shape[0])
            size = max(round(picture.shape[1] * fit), 1), max(round(picture.shape[0] * fit), 1)
            cell = np.zeros((height, width, 3), dtype=np.uint8)
            cell[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            cells.append(cell)
        cells += [np.zeros((height, width, 3), dtype=np.uint8)] * (rows * columns - len(cells))
        halves.append(np.concatenate([np.concatenate(cells[k * columns : (k + 1) * columns], axis=1) for k in range(rows)]))
    return np.concatenate([halves[0], np.full((rows * height, 12, 3), 255, dtype=np.uint8), halves[1]], axis=1)


def rendered(result: dict[str, Any]) -> str:
    """The figures as Markdown: one row a subject, with the statistics that differ most.

    Args:
        result: what benchmarks/results/likeness.json holds.
    """
    lines = [
        "| subject | real | synthetic | distance | halves of the real | furthest apart (real, synthetic) |",
        "|" + "---|" * 6,
    ]
    for name, figures in result["subjects"].items():
        known = [(row["distance"], key, row) for key, row in figures["table"].items() if row["distance"] is not None]
        far = sorted(known, key=lambda item: -item[0])[:FURTHEST]
        words = ", ".join(f"`{key}` {row['real']:.2f}, {row['synthetic']:.2f}" for _, key, row in far)
        mean = figures["mean"]
        lines.append(
            f"| {name} | {figures['real']} | {figures['synthetic']} | {mean['distance']:.2f} | {mean['halves']:.2f} | {words} |"
        )
    remarks = "\n".join(f"- {name}: {figures['remark']}." for name, figures in result["subjects"].items())
    return "\n".join(lines) + f"\n\n{remarks}\n\nMeasured with commit `{result['about']['commit']}`, {result['about']['date']}."


def filled(page: str, part: str) -> str:
    """`page` with `part` between its marks.

    Raises:
        ValueError: the page has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{after}"


def _data_root(subjects: Sequence[str]) -> Path:
    if "VIDRESTORE_DATA" not in os.environ:
        raise SystemExit(
            "The real pictures are not in the repository: set VIDRESTORE_DATA to their folder, laid out as docs/data.md says."
        )
    root = Path(os.environ["VIDRESTORE_DATA"])
    places = [place for name in subjects for place in SUBJECTS[name].real + SUBJECTS[name].base]
    missing = sorted({place for place in places if not (root / place).is_dir()})
    if missing:
        raise SystemExit(f"The data folder {root} lacks {', '.join(missing)}.")
    return root


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the contact sheets")
    parser.add_argument("--write-docs", action="store_true", help="measure nothing; put the figures into docs/data.md")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures go")
    parser.add_argument("--only", choices=SUBJECTS, nargs="+", default=list(SUBJECTS), help="some of the subjects")
    options = parser.parse_args(arguments)
    if options.write_docs:
        result = json.loads(options.json.read_text(encoding="utf-8"))
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), rendered(result)), encoding="utf-8")
        return
    if options.out is None:
        parser.error("--out DIR is needed: the folder for the contact sheets")
    root = _data_root(options.only)
    options.out.mkdir(parents=True, exist_ok=True)
    machine = about()  # before the work: who commits meanwhile changes what is not measured
    figures = {}
    for name in options.only:
        subject = SUBJECTS[name]
        real, bases = (list(_pictures(root, places)) for places in (subject.real, subject.base))
        for kind, found in (("real", subject.real if not real else ()), ("base", subject.base if not bases else ())):
            if found:
                raise SystemExit(f"The data folder {root} has no {kind} pictures for {name} in {', '.join(found)}.")
        synthetic = _synthetic(subject, bases)
        table = compare(real, synthetic, subject.figures)
        sheet = options.out / f"{name}.png"
        if not cv2.imwrite(str(sheet), side_by_side(real, synthetic)[:, :, ::-1]):
            raise SystemExit(f"The contact sheet {sheet} cannot be written.")
        print(f"{name}: {len(real)} real, {len(synthetic)} synthetic pictures; {subject.remark}; sheet {sheet}")
        print(f"  {'':<18} {'real':>8} {'synth.':>8} {'distance':>8} {'halves':>8}")
        for key, row in table.items():
            cells = (f"{value:8.3f}" if value is not None else f"{'-':>8}" for value in row.values())
            print(f"  {key:<18} {' '.join(cells)}")
        means = {column: round(overall(table, column), 4) for column in ("distance", "halves")}
        print(f"  {'mean':<18} {'':>8} {'':>8} {means['distance']:8.3f} {means['halves']:8.3f}")
        figures[name] = {"remark": subject.remark, "real": len(real), "synthetic": len(synthetic), "mean": means, "table": table}
    if set(options.only) == set(SUBJECTS) or options.json != RESULTS:
        result = {"about": machine, "longer_side": SIDE, "seed": SEED, "statistics": STATISTICS, "subjects": figures}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"written to {options.json}")


if __name__ == "__main__":
    main()
