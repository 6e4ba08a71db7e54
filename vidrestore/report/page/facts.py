"""What the page says, out of a proof: the verdict, the figures at the top, tables and settings."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from vidrestore.config import RunConfig
from vidrestore.pipeline.scoring import ENLARGED
from vidrestore.report.page.words import bytes_said, clock, counted, figure, lasting, rate_said, value_said
from vidrestore.report.proof import CheckRow, Proof, Speed

__all__ = [
    "Bar",
    "Check",
    "Setting",
    "Tile",
    "Verdict",
    "bars_of",
    "checks_of",
    "damage_of",
    "files_of",
    "settings_of",
    "steadiness_of",
    "task_said",
    "tiles_of",
    "verdict_of",
    "verify_command",
    "ways_to_check",
]

_TASKS = {
    "flare": "takes flare away",
    "day": "turns night into day",
    "night": "turns day into night",
    "sr": "enlarges (super-resolution)",
    "baseline": "restores nothing, for comparison",
}
FEW_PAIRS = 4
"""A warping error that rests on fewer is told as such."""
_SEVERITY = {"differs": 0, "note": 1, "ok": 2}
_SAID = {"ok": "the same", "note": "note", "differs": "differs"}


@dataclass(frozen=True)
class Verdict:
    """The answer at the top."""

    state: str
    """`ok`, `differs` or `unknown`."""
    headline: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Tile:
    """A figure at the top."""

    name: str
    value: str
    told: str


@dataclass(frozen=True)
class Check:
    """A row of the comparison."""

    name: str
    expected: str
    found: str
    verdict: str
    said: str
    sentence: str


@dataclass(frozen=True)
class Setting:
    """A setting of the run beside its default."""

    key: str
    value: str
    default: str
    told: str
    differs: bool


@dataclass(frozen=True)
class Bar:
    """A stage of the work."""

    name: str
    seconds: str
    told: str
    share: float
    """Of the busiest, per cent."""


def verdict_of(proof: Proof) -> Verdict:
    """In a few words whether everything is still there."""
    found = Counter(row.verdict for row in proof.rows)
    if not proof.rows:
        return Verdict("unknown", "Not compared", ("Nobody has held this file against its source.", proof.lost))
    if found["differs"]:
        return Verdict("differs", "Something was lost or changed", (proof.lost, _tally(found)))
    return Verdict("ok", "Nothing was lost", (_tally(found), "What the pictures show is not part of this comparison."))


def _tally(found: Mapping[str, int]) -> str:
    """How many things were compared, and how they came out."""
    things = f"{counted(sum(found.values()), 'thing')} compared with the source"
    if found["ok"] == sum(found.values()):
        return f"{things}, all the same."
    parts = [f"{found['ok']} the same"]
    if found["note"]:
        parts.append(f"{found['note']} with a note")
    if found["differs"]:
        parts.append(f"{found['differs']} not as {'it' if found['differs'] == 1 else 'they'} should be")
    return f"{things}: {', '.join(parts)}."


def tiles_of(proof: Proof) -> list[Tile]:
    """Frames, picture, change, steadiness, speed; each only where it is known."""
    return list(_tiles(proof))


def _tiles(proof: Proof) -> Iterator[Tile]:
    before, after = proof.source_stream, proof.output_stream
    if after.get("frames") is not None:
        told = f"at {rate_said(after['frame_rate'])} a second" if after.get("frame_rate") else ""
        length = f"{lasting(float(after['seconds']))} " if after.get("seconds") else ""
        yield Tile("frames", f"{after['frames']:,}", f"{length}{told}")
    sizes = [_size(stream) for stream in (before, after)]
    if sizes[1]:
        told = "as in the source" if sizes[0] == sizes[1] else f"from {sizes[0]}" if sizes[0] else ""
        yield Tile("picture", sizes[1], told)
    change = [value for value in proof.curves.get("change", ([], []))[1] if math.isfinite(value)]
    if change:
        of = "of the only frame" if after.get("frames") == 1 else "mean of all frames measured"
        yield Tile("change", figure(sum(change) / len(change)), f"levels of 255, {of}" if max(change) else "nothing was changed")
    yield from _steadiness_tile(proof.steadiness)
    if proof.run.speed is not None:
        speed = proof.run.speed
        yield Tile("frames a second", figure(speed.fps), f"{lasting(speed.seconds)} in all, {counted(speed.workers, 'worker')}")


def _steadiness_tile(said: Mapping[str, Any]) -> Iterator[Tile]:
    ratio, pairs = said.get("ratio"), said.get("pairs")
    if said.get("measured") is False:
        yield Tile("warping error", "–", f"not measured: {said['why_not']}")
    if not isinstance(ratio, int | float) or not math.isfinite(ratio):
        return
    calmer = "steadier than" if ratio < 0.95 else "less steady than" if ratio > 1.05 else "as steady as"
    few = f"; of {counted(pairs, 'pair')} of frames only" if isinstance(pairs, int) and pairs < FEW_PAIRS else ""
    soft = f". {ENLARGED}" if said.get("enlarged") else ""
    yield Tile("warping error", f"{figure(float(ratio))}×", f"{calmer} the input at the same brightness{few}{soft}")


def _size(stream: Mapping[str, Any]) -> str:
    """Upright and with square pixels, where that is known."""
    width, height = stream.get("shown") or (stream.get("width"), stream.get("height"))
    return f"{width} × {height}" if width and height else ""


def _stored_size(stream: Mapping[str, Any]) -> str:
    """The same, and as it is stored if that is another."""
    stored = _size({**stream, "shown": None})
    return stored if stored == _size(stream) else f"{_size(stream)} (stored as {stored})"


def files_of(proof: Proof) -> list[tuple[str, str, str]]:
    """(what, in the source, in the output) of the two files."""
    before = _file_facts(proof.source, proof.source_stream)
    after = _file_facts(proof.output, proof.output_stream)
    return [(what, before[what] or "not known", after[what] or "not known") for what in before]


def _file_facts(name: str, stream: Mapping[str, Any]) -> dict[str, str]:
    """Empty where it is not known."""
    frames, rate, seconds, size = (stream.get(key) for key in ("frames", "frame_rate", "seconds", "bytes"))
    return {
        "name": name,
        "container": _container(name, stream.get("container") or ""),
        "video codec": stream.get("codec") or "",
        "picture": _stored_size(stream),
        "frames": "" if frames is None else f"{frames:,}",
        "frame rate": "" if rate is None else f"{rate_said(rate)} fps",
        "length": "" if seconds is None else clock(float(seconds)),
        "size": "" if size is None else bytes_said(int(size)),
    }


def _container(name: str, family: str) -> str:
    """Of the names that FFmpeg gives a family of containers, the one that the file bears."""
    names, ending = family.split(","), name.rpartition(".")[2].lower()
    return ending if ending in names else names[0]


def checks_of(rows: Iterable[CheckRow]) -> list[Check]:
    """What differs first, then what has a note, then the rest; each in the order of the check."""
    ordered = sorted(rows, key=lambda row: _SEVERITY.get(row.verdict, 0))
    return [
        Check(row.name, row.expected, row.found, row.verdict, _SAID.get(row.verdict, row.verdict), row.sentence)
        for row in ordered
    ]


def settings_of(settings: Mapping[str, Any]) -> list[Setting]:
    """Every setting with its default and what it is; in the order of RunConfig, unknown ones last."""
    given = dict(_flat(settings))
    known = list(_described(RunConfig))
    found = [
        Setting(key, value_said(given[key]), value_said(default), told, value_said(given[key]) != value_said(default))
        for key, default, told in known
        if key in given
    ]
    names = {key for key, _, _ in known}
    return found + [Setting(key, value_said(value), "not known", "", True) for key, value in given.items() if key not in names]


def _described(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted key, default, description) of every field."""
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from _described(type(default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", default, field.description or ""


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    tables = {name for name, field in RunConfig.model_fields.items() if isinstance(field.default, BaseModel)}
    for key, value in settings.items():
        if isinstance(value, Mapping) and not prefix and key in tables:
            yield from _flat(value, f"{key}.")
        else:
            yield f"{prefix}{key}", value


def task_said(task: str) -> str:
    """What an engine of a task does."""
    return _TASKS.get(task, task)


def bars_of(speed: Speed | None, frames: int | None) -> list[Bar]:
    """Busy seconds of each stage that took any, as shares of the longest."""
    if speed is None:
        return []
    stages = {name: seconds for name, seconds in speed.stage_seconds.items() if seconds > 0}
    longest, done = max(stages.values(), default=0.0), max(0, (frames or 0) - speed.resumed_frames)
    return [
        Bar(name, f"{seconds:,.2f} s", f"{seconds * 1e3 / done:,.1f} ms" if done else "", 100 * seconds / longest)
        for name, seconds in stages.items()
    ]


def damage_of(damage: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """(frame, time, what stands there, reason) of each damaged place."""
    rows = []
    for entry in damage:
        count, index = entry.get("count", 1), entry.get("index")
        frame = f"{index}" if count == 1 else f"from {index}" if count is None else f"{index} to {int(str(index)) + count - 1}"
        at = "not known" if entry.get("seconds") is None else clock(float(entry["seconds"]))
        rows.append((frame, at, _STANDS.get(str(entry.get("kind")), str(entry.get("kind"))), str(entry.get("reason", ""))))
    return rows


_STANDS = {
    "concealed": "concealed: the decoder's best guess stands there",
    "repeated": "repeated: a neighbour stands there",
    "missing": "missing: nothing stands there",
}


def steadiness_of(steadiness: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of what was measured."""
    return [
        (name.replace("_", " "), figure(float(value), 4) if isinstance(value, float) else value_said(value))
        for name, value in steadiness.items()
    ]


def verify_command(proof: Proof) -> str:
    """The command that makes the comparison again."""
    return f"vidrestore verify {_quoted(proof.source)} {_quoted(proof.output)}"


def _quoted(name: str) -> str:
    """For a shell; a name that begins with a dash is no option."""
    return shlex.quote(f"./{name}" if name.startswith("-") else name)


def ways_to_check(proof: Proof) -> list[tuple[str, str]]:
    """(system, command) that print the checksums of both files."""
    names = proof.source, proof.output
    both = " ".join(map(_quoted, names))
    windows = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
    return [
        ("Linux", f"sha256sum {both}"),
        ("macOS", f"shasum -a 256 {both}"),
        ("Windows", f"Get-FileHash -Algorithm SHA256 -LiteralPath {windows}"),
    ]
