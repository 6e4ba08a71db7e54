"""Writes model cards: engines/<id>/README.md with figures, failures and their pictures, and card.toml's [quality].

All of a README is written anew but for one section: observations that a person wrote down looking at pictures. They are kept, and
name the weights they are of; when those have changed, the card says so and the command warns.
"""

from __future__ import annotations

import csv
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data.v1.generate import HERE as V1
from benchmarks.quality.floors import HEADS, markdown, summary
from benchmarks.quality.record import Picture, Record, yardstick_of
from benchmarks.quality.seen import real_pictures, training_of, which_served
from benchmarks.quality.sets import scene_of
from benchmarks.quality.sheets import ENLARGED, jpeg_within, restored_sheet, sample_sheet, shown_pictures
from benchmarks.quality.table import Sample, Table, heads, line_of
from vidrestore.engine.card import Card
from vidrestore.engine.catalog import Catalog
from vidrestore.training.export import write_card

__all__ = ["SHIPPED", "Observations", "Words", "model_card", "observations", "parameters", "words_of", "write_cards"]

SHIPPED = {"flare": "flare-v1", "day": "day-v1", "night": "night-v1", "sr": "photos"}
"""By task: the set of tier A whose worst pictures are shown."""
TEXTS = Path(__file__).parent / "texts.toml"
FAILURES_LIMIT, SHEET_LIMIT = 150_000, 300_000
"""Bytes of failures.jpg and sheet.jpg."""
NONE = "none"

_BEGIN = "<!-- observations of the weights {}: written by hand, kept by `python -m benchmarks.quality --cards` -->"
_END = "<!-- end of observations -->"
_SECTION = re.compile(r"<!-- observations of the weights (\w+)[^>]*-->\n(.*?)" + re.escape(_END), re.DOTALL)
_NOTE = "> **Of earlier weights** ({}): the engine has been trained again since. Trust the figures and the pictures."
_WARNING = """\
> **It invents.** What the recording does not hold is guessed. The output shows what may have been there: it is no evidence. The
> program marks it so in the file and says it at the end of every run."""


@dataclass(frozen=True)
class Observations:
    """What a person saw."""

    weights: str
    """First 12 digits of their sha256."""
    text: str


@dataclass(frozen=True)
class Words:
    """What a card says that nobody measures: texts.toml."""

    what: str
    how: str
    intended: str
    not_for: str
    data: str


def observations(readme: str) -> Observations | None:
    """The section of a model card that a person wrote; None where there is none or it is empty."""
    found = _SECTION.search(readme)
    return Observations(found[1], found[2].strip()) if found is not None and found[2].strip() else None


def words_of(card: Card, texts: Mapping[str, Any]) -> Words:
    """An engine's words; those of its own id go before those of its architecture and task.

    Raises:
        ValueError: there are none for its architecture, or they name a hyperparameter that the card does not have.
    """
    try:
        mine = {
            **texts["task"][card.task],
            **texts["architecture"][card.architecture],
            **texts.get("engine", {}).get(card.id, {}),
        }
    except KeyError as missing:
        raise ValueError(f"{TEXTS.name} has no words for {missing} (engine {card.id}).") from None
    known = {**card.hyperparameters, "scale": card.scale, "licence": card.licence}
    try:
        told = {name: text.strip().format_map(known) for name, text in mine.items()}
    except KeyError as missing:
        raise ValueError(f"{TEXTS.name}: the words for {card.id} name {missing}, which its card does not have.") from None
    return Words(**told)


def parameters(card: Card, catalog: Catalog) -> int:
    """How many numbers the engine learned."""
    return sum(value.numel() for value in catalog.load(card).parameters())


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, 125, break_long_words=False, break_on_hyphens=False)


def _origin(card: Card) -> str:
    origin = card.origin
    if origin is None:
        return "No weights, nothing learned."
    began = ""
    if origin.start_from is not None:
        own = "weights of its own that it had before" if origin.start_from == card.id else f"the weights of {origin.start_from}"
        which = f" ({origin.start_sha256[:8]})" if origin.start_sha256 else ""
        began = f" It began with {own}{which}, as far as their shapes agree; steps and minutes count from there."
    return (
        f"By `{origin.command}` (seed {origin.seed}, {origin.steps:,} steps, {origin.seconds / 60:.0f} minutes on "
        f"{origin.device}, commit {origin.commit}) from {origin.data_files} files: {origin.data}.{began}"
    )


def _sets(card: Card, tables: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Every set with all its rows."""
    for table in tables:
        columns = heads(table)
        yield from (f"**{table['name']}** ({table['pictures']} pictures)", "")
        yield "| method | " + " | ".join(columns) + " |"
        yield "| --- " * (len(columns) + 1) + "|"
        for row in table["rows"]:
            yield f"| {row['method']} | " + " | ".join(line_of(row, columns)) + " |"
        yield ""
        for remark in table["remarks"]:
            yield f"- {remark}"
        yield ""


def _spread(card: Card, pictures: Sequence[Picture]) -> Iterator[str]:
    """Of every set: how gains are spread, and the picture with the smallest."""
    mine = [one for one in pictures if one.engine == card.id]
    if not mine:
        return
    yield "| set | gain over | smallest, median, largest, dB | pictures below it | the smallest: picture, from, to, dB |"
    yield "| --- | --- | --- | --- | --- |"
    for name in dict.fromkeys(one.set for one in mine):
        here = [one for one in mine if one.set == name]
        gains = [one.reached - one.yardstick for one in here]
        worst = here[int(np.argmin(gains))]
        spread = f"{min(gains):+.2f}, {np.median(gains):+.2f}, {max(gains):+.2f}"
        one = f"{worst.name}, {worst.yardstick:.2f}, {worst.reached:.2f}"
        yield f"| {name} | {yardstick_of(name)} | {spread} | {sum(gain < 0 for gain in gains)} of {len(gains)} | {one} |"
    yield ""


def _licences() -> dict[str, str]:
    """Base picture of v1 -> licence and author."""
    with (V1 / "BASE.tsv").open(newline="", encoding="utf-8") as file:
        return {Path(row["file"]).stem: row["licence"] for row in csv.DictReader(file, delimiter="\t")}


def _failures(card: Card, failures: Sequence[Sample]) -> Iterator[str]:
    name = SHIPPED.get(card.task, "")
    if not failures:
        return
    licences = _licences()
    yield from ("![the pictures with the smallest gain: before, after, target](failures.jpg)", "")
    yield f"The scenes of {name} with the smallest gain over {yardstick_of(name)}, from the worst on; before | after | target:"
    yield ""
    for one in failures:
        licence = licences.get(scene_of(one.name, name))
        owner = "" if licence is None else f"; made of a picture under {licence}"
        yield f"- {name}, {one.name}: {one.psnr_before:.2f} dB before, {one.psnr_after:.2f} dB after{owner}"
    yield ""


def model_card(
    card: Card,
    words: Words,
    learned: int,
    tables: Sequence[Mapping[str, Any]],
    pictures: Sequence[Picture],
    rows: Sequence[tuple[str, ...]],
    failures: Sequence[Sample],
    seen: Observations | None,
) -> str:
    """The README of an engine.

    Args:
        card: of the engine.
        words: about it.
        learned: its parameters.
        tables: its measurements, as `Table.as_dict` gives them.
        pictures: single pictures of all sets.
        rows: its part of `floors.summary`.
        failures: the pictures in failures.jpg.
        seen: what a person wrote down.
    """
    current = NONE if card.sha256 is None else card.sha256[:12]
    outdated = [] if seen is None or seen.weights == current else [_NOTE.format(seen.weights), ""]
    told = [_BEGIN.format(current)] if seen is None else [_BEGIN.format(seen.weights), seen.text]
    real = "day" if card.task == "night" else "night"
    known = real_pictures()
    served = which_served(training_of(card.id), [known[path.stem] for path in shown_pictures(card.task)])
    shown = f"real pictures reduced to {ENLARGED // card.scale} pixels" if card.task == "sr" else f"real pictures by {real}"
    lines = [
        f"# {card.id}",
        "",
        _wrapped(f"{words.what} {words.how} {learned:,} parameters."),
        "",
        *([_WARNING, ""] if card.generative else []),
        _wrapped(f"**Intended for** {words.intended}. **Not for** {words.not_for}."),
        "",
        _wrapped(
            f"**Data and licence.** Weights {card.licence}, {words.data} (`docs/data.md`), never on a test set with a truth."
        ),
        "",
        _wrapped(f"**How it was trained.** {_origin(card)}"),
        "",
        "All of this page but the observations is written by `python -m benchmarks.quality --cards`.",
        "",
        "## Figures",
        "",
        *markdown(rows, HEADS[1:]),
        "",
        "What the sets and figures are: `benchmarks/quality/README.md`.",
        "",
        "## Failures",
        "",
        *_failures(card, failures),
        *_spread(card, pictures),
        "## What it does",
        "",
        f"![input and output on {shown}](sheet.jpg)",
        "",
        _wrapped(
            f"Input | output on {shown} (`benchmarks/data/real`; licences and authors in its `SOURCES.tsv`). {served}".strip()
        ),
        "",
        "## Observations",
        "",
        *outdated,
        *told,
        _END,
        "",
        "## All figures",
        "",
        *_sets(card, tables),
    ]
    return "\n".join(lines).rstrip() + "\n"


def write_cards(
    engines: Sequence[str],
    record: Record,
    measured: Sequence[Table],
    catalog: Catalog,
    sheet: Callable[[str, str], np.ndarray] = restored_sheet,
) -> list[str]:
    """Write README.md, failures.jpg, sheet.jpg and card.toml's [quality] into the engines' folders.

    Args:
        engines: ids.
        record: of all measurements.
        measured: this time's, with their pictures.
        catalog: of the folders.
        sheet: makes the sheet of real pictures from id and task.

    Returns:
        Warnings, a sentence each.

    Raises:
        ValueError: texts.toml lacks words for an engine.
    """
    texts = tomllib.loads(TEXTS.read_text(encoding="utf-8"))
    words = {engine: words_of(catalog.card(engine), texts) for engine in engines}  # before anything is written
    rows = summary(record.tables, catalog)
    warnings = []
    for engine in engines:
        card, folder = catalog.card(engine), catalog.folder / engine
        tables = [table for table in record.tables if table["engine"] == engine]
        figures = {f"{table['name']}/{name}": round(value, 4) for table in tables for name, value in table["figures"].items()}
        write_card(folder, card.model_copy(update={"quality": figures}))
        shown = SHIPPED.get(card.task)
        samples = [one for table in measured if (table.engine, table.name) == (engine, shown) for one in table.samples]
        failures = [one for one in samples if one.why == "failure"]
        if failures:
            (folder / "failures.jpg").write_bytes(jpeg_within(sample_sheet(failures), FAILURES_LIMIT))
        (folder / "sheet.jpg").write_bytes(jpeg_within(sheet(engine, card.task), SHEET_LIMIT))
        readme = folder / "README.md"
        seen = observations(readme.read_text(encoding="utf-8")) if readme.is_file() else None
        mine = [row for row in rows if row[0] == engine]
        learned = parameters(card, catalog)
        text = model_card(card, words[engine], learned, tables, record.pictures, mine, failures, seen)
        readme.write_text(text, encoding="utf-8")
        if seen is not None and card.sha256 is not None and seen.weights != card.sha256[:12]:
            warnings.append(
                f"{readme}: the observations are of the weights {seen.weights}, the engine has {card.sha256[:12]}: "
                "look at the pictures again, and write what you see and the new weights into that section."
            )
    return warnings
