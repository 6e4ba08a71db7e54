"""A proof rendered as one page that holds everything it needs and may not ask for more."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vidrestore.media.output.target import check_place, written_whole
from vidrestore.report.page import facts, pictures, plots, words
from vidrestore.report.page.glossary import GLOSSARY
from vidrestore.report.proof import Proof

__all__ = ["LARGEST_PAGE", "render", "write_page"]

LARGEST_PAGE = 8_000_000
"""Bytes. Pictures are compressed until the page has at most so many."""
_RESERVE = 700_000
"""Of them, for everything but pictures and clip."""
_LARGEST_CLIP = 5_000_000
"""Bytes of its base64; a larger one would leave the pictures no room."""


def render(proof: Proof) -> str:
    """The whole page as HTML.

    It is the same for the same proof. Styles and script are named by their digest in a Content-Security-Policy that allows
    nothing else, neither other scripts nor any address outside the page; every word of the proof is escaped, and characters
    that cannot be seen are spelled out.
    """
    folder = resources.files(__package__)
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    clip = None if proof.clip is None else pictures.data_uri("video/webm", proof.clip)
    too_large = clip is not None and len(clip) > _LARGEST_CLIP
    clip = None if too_large else clip
    room = LARGEST_PAGE - _RESERVE - len(clip or "")
    settings = facts.settings_of(proof.run.settings)
    page = _environment().get_template("page.html")
    return page.render(
        proof=proof,
        run=proof.run,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        verdict=facts.verdict_of(proof),
        tiles=facts.tiles_of(proof),
        pairs=pictures.pairs_within(proof.moments, room),
        clip=clip,
        clip_too_large=too_large,
        plots=plots.plots_of(proof.curves, proof.moments, proof.run.speed),
        across=plots.ACROSS,
        height=plots.HEIGHT,
        files=facts.files_of(proof),
        checks=facts.checks_of(proof.rows),
        settings=settings,
        changed_settings=[setting for setting in settings if setting.differs],
        bars=facts.bars_of(proof.run.speed, proof.output_stream.get("frames")),
        damage=facts.damage_of(proof.damage),
        steadiness=facts.steadiness_of(proof.steadiness),
        ways=facts.ways_to_check(proof),
        verify=facts.verify_command(proof),
        glossary=GLOSSARY,
    )


def write_page(proof: Proof, path: Path, overwrite: bool = False) -> None:
    """Render into `path`; the file is there whole or not at all.

    Raises:
        OutputExistsError: it is there and `overwrite` is False.
        UsageError: it is a folder.
        FolderMissingError, NotWritableError, DiskFullError, StorageError: the place.
    """
    check_place(path, None, overwrite)
    text = render(proof)
    with written_whole(path, overwrite) as pending:
        pending.write_text(text, encoding="utf-8", newline="\n")


def _policy(style: str, script: str) -> str:
    """Nothing but our own style and script by their digests, and what is in the page."""
    sources = {
        "default-src": "'none'",
        "style-src": _digest(style),
        "script-src": _digest(script),
        "img-src": "data:",
        "media-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {source}" for name, source in sources.items())


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("vidrestore.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_seen,
    )
    environment.filters.update(figure=words.figure, task=facts.task_said, bytes=words.bytes_said, value=words.value_said)
    return environment


def _seen(value: Any) -> Any:
    """Every word that goes into the page passes here before it is escaped; what is ours (Markup) stays."""
    return words.shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value
