"""Measures a restored video against its source for the proof report: both are read again, in step, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidrestore.config import Damage as OnDamage
from vidrestore.config import LimitsConfig
from vidrestore.errors import InterruptedJob, UsageError
from vidrestore.media.input.pairs import Pairs, open_pairs
from vidrestore.media.output.mark_text import parse_mark
from vidrestore.media.proof.findings import counted, were
from vidrestore.media.proof.verify import compare, own_limits
from vidrestore.metrics.resize import grows
from vidrestore.pipeline.batch.record import place_of
from vidrestore.pipeline.journal.fingerprint import digest_of
from vidrestore.pipeline.plan import Result, written_bytes
from vidrestore.pipeline.scoring import figures_of
from vidrestore.report.facts import NO_RUN, check_rows, mark_of, run_of_mark, run_of_result, stream_facts, without_folders
from vidrestore.report.names import is_remote, plain_name
from vidrestore.report.pass_over import Findings, pass_over
from vidrestore.report.proof import Proof
from vidrestore.report.shown import Viewer, refuse_other_shape
from vidrestore.report.specimens import Specimen, choose_specimens, make_clip, show_moments

__all__ = ["Part", "measure", "measure_run"]

THREADS = 2
"""Of each of the two decoders."""
UNNAMED = "an engine that the mark does not name"


@dataclass(frozen=True)
class Part:
    """Which part of the source the output shows, and how it was made: as for `media.proof.verify.compare`."""

    start: float = 0.0
    duration: float | None = None
    frame_rate: str | None = None
    protocols: tuple[str, ...] = ("file",)
    drop_streams: tuple[str, ...] = ()
    strip_location: bool = False
    cfr: bool = False
    deinterlace: bool = False
    on_damage: OnDamage = "stop"
    bit_depth: int | None = None

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> Part:
        """The part that a run restored, by its settings."""
        depth = settings["encode"]["bit_depth"]
        same = ("start", "duration", "frame_rate", "strip_location", "cfr", "deinterlace", "on_damage")
        return cls(
            **{key: settings[key] for key in same},
            protocols=tuple(settings["protocols"]),
            drop_streams=tuple(settings["drop_streams"]),
            bit_depth=None if depth == "auto" else depth,
        )


def measure_run(
    result: Result,
    *,
    command: str | None = None,
    progress: Callable[[float], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Proof:
    """The proof of a job that has just ended: see `measure`."""
    told = json.loads(json.dumps(result.as_dict(), default=str))
    return measure(result.source, result.output, result=told, command=command, progress=progress, stopping=stopping)


def measure(
    source: str | Path,
    output: str | Path,
    *,
    part: Part | None = None,
    result: Mapping[str, Any] | None = None,
    command: str | None = None,
    progress: Callable[[float], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Proof:
    """Hold a restored video against its source, whoever made it.

    What a run said of itself is taken from `result`; without one the check is made anew, and what ran is what the mark in the
    file says. Pictures are read again in any case.

    Args:
        source, output: what `open_source` opens, but for pipes.
        part: which part the output shows; None: what the settings in `result` say, else all of it.
        result: `Result.as_dict()`, also as `run --json` has written it.
        command: what the page says that the user typed.
        progress: called with how much is done, 0..1.
        stopping: asked often; True gives up.

    Raises:
        UsageError: `result` is of another output; frames of a constant rate cannot be paired.
        MediaError: the two cannot be read, do not show the same moments, or show pictures of different shape.
        InterruptedJob: stopped.
    """
    source, output = str(source), str(output)
    part = part or (Part() if result is None else Part.of_settings(result["plan"]["settings"]))
    if part.cfr:
        raise UsageError(
            "With --cfr frames are repeated and left out, so that those of OUT have no partners in IN to be compared with.",
            "There is no report of such a file; `vidrestore verify --cfr` checks it.",
        )
    limits = LimitsConfig() if result is None else LimitsConfig(**result["plan"]["settings"]["limits"])
    tell = _Progress(progress, stopping)
    with open_pairs(
        source,
        output,
        start=part.start,
        duration=part.duration,
        frame_rate=part.frame_rate,
        protocols=part.protocols,
        limits=limits,
        output_limits=own_limits(limits),
        deinterlace=part.deinterlace,
        on_damage=part.on_damage,
        threads=THREADS,
    ) as pairs:
        _refuse_other_result(result, pairs, output)
        refuse_other_shape(pairs.reference, pairs.output)
        rows, lost = _check(source, output, part, result)
        hashes = tuple(digest_of(place_of(address), lambda _: tell(0.0)) for address in (source, output))
        viewers = Viewer(pairs.reference), Viewer(pairs.output)
        found = pass_over(pairs, viewers, lambda done: tell(0.75 * done))
        specimens = choose_specimens(found, seed=hashes[1])
        moments = show_moments(pairs, viewers, specimens)
        tell(0.8)
        clip = make_clip(pairs, viewers, found, lambda done: tell(0.8 + 0.2 * min(1.0, done)))
        tell(1.0)
        mark = mark_of(pairs.output)
        run = run_of_mark(mark) if result is None else run_of_result(result, mark, command or result.get("command"))
        notices, invented = _notices(pairs, result, mark)
        plain = {address: _name(address) for address in (source, output)}
        written = {
            told: name for address, name in plain.items() for told in (address, str(Path(address)), str(place_of(address)))
        }
        names = {told: name for told, name in written.items() if "/" in told.strip("/")}
        return Proof(
            source=plain[source],
            output=plain[output],
            source_sha256=hashes[0],
            output_sha256=hashes[1],
            source_stream=stream_facts(pairs.reference, None),
            output_stream=stream_facts(pairs.output, found.frames),
            run=run,
            rows=check_rows(rows, names),
            lost=without_folders(lost, names),
            curves=_curves(found),
            steadiness=_steadiness(found) | {"enlarged": grows(viewers[0].size, *viewers[1].size)},
            moments=moments,
            clip=clip,
            damage=tuple({**entry} for entry in (result or {}).get("damage", ())),
            notices=tuple(without_folders(notice, names) for notice in notices),
            invented=invented,
            notes=tuple(_notes(found, viewers, specimens, clip, result)),
        )


def _name(address: str) -> str:
    """What the page calls a file, or a folder of images."""
    place = place_of(address)
    return plain_name(address) if is_remote(address) else place.name or place.resolve().name


class _Progress:
    """Tells how much is done, and gives up when asked to."""

    def __init__(self, progress: Callable[[float], None] | None, stopping: Callable[[], bool]) -> None:
        self._progress, self._stopping = progress, stopping

    def __call__(self, done: float) -> None:
        if self._stopping():
            raise InterruptedJob("Stopped while measuring for the report.")
        if self._progress is not None:
            self._progress(done)


def _refuse_other_result(result: Mapping[str, Any] | None, pairs: Pairs, output: str) -> None:
    """A result of another output must not lend its words to this one."""
    if result is None:
        return
    frames, size = result["frames"], result["output_bytes"]
    same = (pairs.frames is None or frames == pairs.frames) and size == written_bytes(output)
    if not same:
        raise UsageError(
            f"The result is not that of {output}: it tells of {counted(frames, 'frame')} in {size} bytes.",
            "Give the JSON that the run of this very output wrote, or leave --result out.",
        )


def _check(source: str, output: str, part: Part, result: Mapping[str, Any] | None) -> tuple[Sequence[Mapping[str, Any]], str]:
    """Rows and closing sentence: of the run's own check, else of one made now."""
    said = {} if result is None else result["verification"]
    if said.get("rows"):
        return said["rows"], said["lost"]
    report = compare(
        source,
        output,
        frame_rate=part.frame_rate,
        protocols=part.protocols,
        start=part.start,
        duration=part.duration,
        drop_streams=part.drop_streams,
        strip_location=part.strip_location,
        bit_depth=part.bit_depth,
        on_damage=part.on_damage,
    )
    return [asdict(row) for row in report.rows], report.lost


def _notices(pairs: Pairs, result: Mapping[str, Any] | None, mark: str | None) -> tuple[list[str], tuple[str, ...]]:
    """What a reader should know, and the engines that invented detail."""
    both = pairs.reference, pairs.output
    assumed = [f"{media.path.name}: {media.rate_assumed}" for media in both if media.rate_assumed is not None]
    if result is not None:
        return list(result["notices"]), tuple(engine["id"] for engine in result["engines"] if engine["generative"])
    told = parse_mark(mark) if mark else None
    if told is None:
        return [f"{pairs.output.path} does not say what made it: it carries no mark of vidrestore.", NO_RUN, *assumed], ()
    return [NO_RUN, *assumed], told.invented or ((UNNAMED,) if told.made_up else ())


def _curves(found: Findings) -> dict[str, tuple[list[float], list[float]]]:
    seconds = [sample.seconds for sample in found.samples]
    curves = {
        name: (seconds, [getattr(sample, name) for sample in found.samples])
        for name in ("change", "brightness_in", "brightness_out")
    }
    if found.warping:
        times, before, after = (list(values) for values in zip(*found.warping, strict=True))
        curves |= {"warping_in": (times, before), "warping_out": (times, after)}
    return curves


def _steadiness(found: Findings) -> dict[str, Any]:
    if found.steadiness is None:
        cuts = "the frames looked at have too little in common with the next (cuts, or noise)"
        return {"measured": False, "why_not": "there is only one frame" if found.frames == 1 else cuts}
    return {"measured": True, **figures_of(found.steadiness)}


def _blending_note(said: Mapping[str, Any]) -> str:
    """What blending did to the steadiness, by what the run measured."""
    ratios = said["unblended"]["ratio"], said["ratio"]
    if None in ratios:
        return (
            f"Nothing moves or flickers in the input at the {counted(said['moments'], 'moment')} that the run looked at, so that "
            "no ratio says what blending did."
        )
    return (
        f"What blending did, at {counted(said['moments'], 'moment')}, as ratio of the warping error to that of the input at the "
        f"same brightness: {ratios[0]:.2f} before blending and encoding, {ratios[1]:.2f} in the written file."
    )


def _notes(
    found: Findings,
    viewers: tuple[Viewer, Viewer],
    specimens: Sequence[Specimen],
    clip: bytes | None,
    result: Mapping[str, Any] | None,
) -> Iterator[str]:
    """How it was measured."""
    if found.frames == 1:
        yield "Change and brightness were measured on the only frame."
    elif found.whole:
        yield f"Change and brightness were measured on all {found.frames} frames."
    else:
        yield f"Change and brightness were measured on {len(found.samples)} of {found.frames} frames, spread evenly."
    if found.steadiness is not None:
        pairs, cuts = found.steadiness.pairs, found.steadiness.skipped
        left_out = f"; {cuts} more {were(cuts)} left out as {'a cut' if cuts == 1 else 'cuts'}" if cuts else ""
        yield (
            f"The warping error was measured on {counted(pairs, 'pair')} of neighbouring frames, along the motion of the "
            f"input{left_out}."
        )
    else:
        yield f"The warping error was not measured, because {_steadiness(found)['why_not']}."
    said = {} if result is None else result["steadiness"]
    if said.get("measured") and said["ratio"] is not None and found.steadiness is not None:
        yield (
            f"The closing line of the run, {said['ratio']:.2f}x, is of {counted(said['pairs'], 'such pair')}, where reading "
            "costs little; the figure at the top of this page is of more, and the one to trust."
        )
    if said.get("measured") and said.get("unblended"):
        yield _blending_note(said)
    if result is not None and result["resumed_frames"] and result["resumed_frames"] < result["frames"]:
        yield (
            "Speed and times are those of this run alone, which restored "
            f"{counted(result['frames'] - result['resumed_frames'], 'frame')}; "
            f"{result['resumed_frames']} {were(result['resumed_frames'])} restored by an earlier run."
        )
    if result is not None and result["resumed_frames"] == result["frames"]:
        yield "All frames were restored by an earlier run: how fast that was is not known."
    if any(one.why == "at random" for one in specimens):
        yield "The random frames were drawn with the output's SHA-256 as seed, so that nobody could choose them."
    if clip is None:
        why = "the video has a single frame" if found.frames == 1 else "it does not compress to a size that fits a page"
        yield f"There is no short clip: {why}."
    yield from (note for viewer in viewers for note in viewer.notes)
    if viewers[0].size != viewers[1].size:
        how = "enlarged (bicubic)" if grows(viewers[0].size, *viewers[1].size) else "reduced (by area)"
        yield f"Pictures of the source are {how} to the size of the output, to be compared and shown beside it."
