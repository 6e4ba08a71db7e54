"""Writes measured figures into the engines' cards and the generated part of their model cards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.quality.sheets import write_shipped_sheet
from vidrestore.engine.catalog import Catalog
from vidrestore.training.export import write_card

__all__ = ["write_cards"]

BEGIN = "<!-- figures: written by `python -m benchmarks.quality --cards` -->"
END = "<!-- end of figures -->"


def _figures(engine: str, tables: Sequence[dict[str, Any]]) -> str:
    lines = [BEGIN, ""]
    for table in tables:
        if table["engine"] != engine:
            continue
        lines += [f"**{table['name']}** ({table['pictures']} pictures)", "", "| method | PSNR dB | SSIM |", "|---|---|---|"]
        for row in table["rows"]:
            likeness = "" if row["ssim"] is None else f"{row['ssim']:.4f}"
            lines.append(f"| {row['method']} | {row['psnr']:.2f} | {likeness} |")
        lines += ["", "; ".join(f"{name} {value:+.3f}" for name, value in table["figures"].items())]
        lines += [f"; {remark}" for remark in table["remarks"]] + [""]
    return "\n".join([*lines, END])


def _origin(engine: str) -> str:
    origin = Catalog.find().card(engine).origin
    assert origin is not None
    return (
        f"Trained by `{origin.command}` (seed {origin.seed}, {origin.steps} steps, {origin.seconds / 60:.0f} minutes on "
        f"{origin.device}, commit {origin.commit}) on {origin.data_files} files: {origin.data}."
    )


def write_cards(engines: Sequence[str], tables: Sequence[dict[str, Any]]) -> None:
    """Fill card.toml's [quality], the figures between the markers of README.md, and sheet.jpg."""
    catalog = Catalog.find()
    for engine in engines:
        folder = catalog.folder / engine
        card = catalog.card(engine)
        quality = {
            f"{table['name']}/{name}": round(value, 4)
            for table in tables
            if table["engine"] == engine
            for name, value in table["figures"].items()
        }
        write_card(folder, card.model_copy(update={"quality": quality}))
        readme = folder / "README.md"
        text = readme.read_text(encoding="utf-8") if readme.is_file() else f"# {engine}\n\n{card.description}\n\n{BEGIN}{END}\n"
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        block = _figures(engine, tables).replace(BEGIN, f"{BEGIN}\n\n{_origin(engine)}", 1)
        readme.write_text(before + block + after, encoding="utf-8")
        write_shipped_sheet(engine, folder / "sheet.jpg")
