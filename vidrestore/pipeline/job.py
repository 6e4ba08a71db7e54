"""Job: one source, one output, the settings. It plans, measures one batch, runs, and tells what it did."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import vidrestore
from vidrestore.buffer import RingBuffer
from vidrestore.config import RunConfig, settle
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.errors import EmptyVideoError, InterruptedJob, UsageError, VerificationError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.picture_decoder import PictureDecoder
from vidrestore.media.input.probe import require_restorable
from vidrestore.media.input.source import Source, open_source
from vidrestore.media.output.sink import Sink, check_sink, open_sink
from vidrestore.media.proof.verify import VerifyReport
from vidrestore.pipeline.faults import memory_guard
from vidrestore.pipeline.interrupts import Interrupts
from vidrestore.pipeline.machine import available_cores, peak_memory
from vidrestore.pipeline.pipeline import Pipeline, Tally
from vidrestore.pipeline.plan import EngineSummary, Plan, Progress, Result, Seconds, check_space, estimate_bytes
from vidrestore.pipeline.stages import EngineStage, KeepRectangles, Stage
from vidrestore.temporal.blend import TemporalBlend
from vidrestore.types import Batch, StreamInfo

__all__ = ["Job", "check_count", "expected_frames", "marking", "restore"]

PROBE_SECONDS = 2.0
"""The first batch is run again while this has not passed: a first run pays for warming up."""
PROBE_RUNS = 3
EVIDENCE_NOTICE = "Detail was invented by {engines}: the restored clip shows what may have been there and is no evidence."


class Job:
    """A context manager that holds the engines from the plan to the end of the run.

    Args:
        source: the video to restore, a folder or pattern of images, or `-` (y4m on stdin); never written to.
        output: what to write: a file, a folder or pattern of images, or `-` (y4m on stdout). It appears under its name only
            when whole and verified; a pipe, which cannot be taken back, ends with an error instead.
        config: the settings; at least one engine.
        engines_dir: where engine folders lie; None: $VIDRESTORE_ENGINES, the package's, the checkout's.
        overwrite: replace an existing output.
    """

    def __init__(
        self,
        source: str | Path,
        output: str | Path,
        config: RunConfig,
        *,
        engines_dir: Path | None = None,
        overwrite: bool = False,
    ) -> None:
        self.source = str(source)
        self.output = str(output)
        self.config = config
        self._engines_dir = engines_dir
        self._overwrite = overwrite
        self._plan: Plan | None = None
        self._source: Source | None = None
        self._source_notices: tuple[str, ...] = ()
        self._damage: tuple[dict[str, Any], ...] = ()
        self._engine: FusedEngine | None = None
        self._stages: tuple[EngineStage, list[Stage]] | None = None
        self._former_threads = torch.get_num_threads()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the engines go. Harmless when called again."""
        if self._source is not None:
            self._source.close()
        if self._stages is not None:
            engine, after = self._stages
            self._stages = None
            engine.close()
            for stage in after:
                stage.close()
            torch.set_num_threads(self._former_threads)

    def plan(self) -> Plan:
        """Check everything that can be checked, load the engines, restore the first batch once for an estimate.

        Nothing is written.

        Raises:
            UsageError, MediaError, EngineError, RuntimeFailure, StorageError: what would stop the run.
        """
        if self._plan is None:
            with memory_guard("preparing the job"):
                self._plan = self._make_plan()
        return self._plan

    def run(self, progress: Callable[[Progress], None] | None = None) -> Result:
        """Restore the source. Plans first if `plan` was not called; can run once.

        Called in the main thread it holds SIGINT and SIGTERM until it has cleaned up.

        Raises:
            VidrestoreError: the first thing that went wrong; nothing is left under the output's name.
            InterruptedJob: Ctrl-C or SIGTERM.
        """
        plan = self.plan()
        done = 0

        def count(frames: int) -> None:
            nonlocal done
            done = frames
            if progress is not None:
                progress(Progress(frames, plan.frames, time.perf_counter() - began))

        began = time.perf_counter()
        with Interrupts() as interrupts:
            try:
                with memory_guard("writing the output"):
                    tally, report, verify = self._execute(interrupts, count)
            except KeyboardInterrupt:
                of = "" if plan.frames is None else f" of {plan.frames}"
                raise InterruptedJob(f"Stopped after {done}{of} frames; nothing was left behind.") from None
        return self._result(plan, tally, report, verify, time.perf_counter() - began)

    # Planning ---------------------------------------------------------------------------------

    def _make_plan(self) -> Plan:
        config = self.config
        if not config.engines:
            raise UsageError("No engine was asked for.", "Name at least one: flare, day, night, sr or an engine's id.")
        self._source = open_source(self.source, limits=config.limits, protocols=config.protocols, frame_rate=config.frame_rate)
        media = self._source.media
        if config.frame_rate and not config.cfr and media.container not in ("image2", "yuv4mpegpipe"):
            raise UsageError(f"--rate has no effect on {self.source}, which has timestamps.", "Add --cfr, or leave it out.")
        if media.interlaced and not config.deinterlace:
            require_restorable(media)
        check_sink(self.output, media, media.video, config, self._overwrite)
        out_info = self._load(media)
        sink = check_sink(self.output, media, out_info, config, self._overwrite, self._comment())
        frames = expected_frames(media.video, config.start, config.duration)
        size = estimate_bytes(out_info, sink.codec, config.encode.crf, frames)
        free = check_space(self.output, size)
        seconds, basis = self._measure()
        assert self._engine is not None
        return Plan(
            source=self.source,
            output=self.output,
            width=media.video.width,
            height=media.video.height,
            output_width=out_info.width,
            output_height=out_info.height,
            source_codec=media.video.codec,
            frame_rate=None if media.video.frame_rate is None else float(media.video.frame_rate),
            frames=frames,
            engines=tuple(
                EngineSummary(card.id, card.task, card.tier, card.generative, card.licence, card.sha256)
                for card in self._engine.cards
            ),
            device=str(self._engine.device),
            description=self._engine.describe(),
            batch_size=config.batch_size,
            threads=self._threads,
            temporal=self._blends,
            container=sink.container,
            codec=sink.codec,
            pixel_format=sink.pixel_format,
            bit_depth=sink.bit_depth,
            estimated_frame_seconds=seconds,
            estimated_seconds=None if frames is None or seconds is None else seconds * frames,
            estimate_basis=basis,
            estimated_bytes=size,
            free_bytes=free,
            notices=sink.notices,
            settings=config.model_dump(mode="json"),
        )

    @property
    def _threads(self) -> int:
        return self.config.threads or available_cores()

    def _load(self, media: MediaInfo) -> StreamInfo:
        """Load the engines and open all stages; returns the stream as it will be written."""
        config = self.config
        catalog = Catalog.find(self._engines_dir)
        cards = [catalog.resolve(name, config.tier) for name in config.engines]
        self._engine = FusedEngine(
            cards,
            catalog,
            device=config.device,
            strength=config.strength,
            protect=config.protect,
            tile_size=config.tile_size,
        )
        engine, after = EngineStage(self._engine), self._after()
        self._former_threads = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        self._stages = (engine, after)
        info = engine.open(media.video)
        for stage in after:
            info = stage.open(info)
        self._out_info = info
        return info

    @property
    def _blends(self) -> bool:
        """Blending steadies what engines changed. Where nothing is restored, the picture is not touched."""
        assert self._engine is not None
        restores = any(card.task != "baseline" for card in self._engine.cards)
        return self.config.temporal.enabled and restores and self.config.strength > 0

    def _after(self) -> list[Stage]:
        """The stages behind the engines: blending, which keeps off what is protected."""
        if not self._blends:
            return []
        blend: Stage = TemporalBlend(self.config.temporal)
        if not self.config.protect:
            return [blend]
        assert self._engine is not None
        scale = self._engine.scale
        scaled = [
            r.model_copy(update={key: getattr(r, key) * scale for key in ("x", "y", "width", "height")})
            for r in self.config.protect
        ]
        return [KeepRectangles(blend, scaled)]

    def _measure(self) -> tuple[float | None, str]:
        """Seconds for a frame in engines and blending, from the first batch, and the words that say how it was got."""
        assert self._source is not None
        if self._source.live:
            return None, "a pipe cannot be tried first"
        with self._decoder() as decoder:
            frames = list(itertools.islice(decoder, self.config.batch_size))
        if not frames:
            raise EmptyVideoError(f"{self.source} has no frame in the part asked for.")
        with RingBuffer(self.config.batch_size, frames[0].data.shape, sample_type(self._source.media), pin=False) as buffer:
            for frame in frames:
                buffer.put(frame)
            buffer.finish()
            batch = buffer.get(self.config.batch_size)
            assert batch is not None
            times: list[float] = []
            while not times or (sum(times) < PROBE_SECONDS and len(times) < PROBE_RUNS):
                began = time.perf_counter()
                self._restore_once(batch)
                times.append(time.perf_counter() - began)
        runs = "run" if len(times) == 1 else "runs"
        basis = f"estimated from {len(times)} {runs} of {len(frames)} frames, without encoding"
        return statistics.median(times) / len(frames), basis

    def _restore_once(self, batch: Batch) -> None:
        assert self._stages is not None
        engine, after = self._stages
        frames = engine.process(iter([batch]))
        for stage in after:
            frames = stage.process(frames)
        for _ in frames:
            pass

    # Running ----------------------------------------------------------------------------------

    def _execute(self, interrupts: Interrupts, count: Callable[[int], None]) -> tuple[Tally, VerifyReport, float]:
        config = self.config
        assert self._source is not None and self._stages is not None
        media = self._source.media
        engine, after = self._stages
        shape = (3, media.video.height, media.video.width)
        engine.seconds = 0.0
        with (
            self._decoder() as decoder,
            self._sink(media, self._out_info) as sink,
            RingBuffer(config.batch_size * config.buffer_batches, shape, sample_type(media)) as buffer,
        ):
            pipeline = Pipeline(
                decoder,
                buffer,
                config.batch_size,
                engine,
                after,
                sink,
                Path(self.output),
                interrupts=interrupts,
                watched=decoder,
                decode_seconds=config.limits.decode_seconds,
            )
            tally = pipeline.run(count)
            self._source_notices = decoder.notices
            self._damage = tuple(entry.as_dict() for entry in decoder.damage)
            check_count(tally, self.source)
            began = time.perf_counter()
            with interrupts.armed():
                report = sink.finish(before_naming=interrupts.hold).with_damage(decoder.damage)
            return tally, report, time.perf_counter() - began

    def _decoder(self) -> PictureDecoder:
        assert self._source is not None
        config = self.config
        return self._source.decoder(config.start, config.duration, self._threads, config.on_damage, config.deinterlace)

    def _sink(self, media: MediaInfo, info: StreamInfo) -> Sink:
        assert self._engine is not None
        return open_sink(
            self.output,
            media,
            info,
            self.config,
            overwrite=self._overwrite,
            comment=self._comment(),
        )

    def _comment(self) -> str:
        """What the output says of how it was made."""
        assert self._engine is not None
        return marking([card.id for card in self._engine.cards], self._generative())

    def _generative(self) -> list[str]:
        assert self._engine is not None
        return [card.id for card in self._engine.cards if card.generative]

    def _result(self, plan: Plan, tally: Tally, report: VerifyReport, verify: float, seconds: float) -> Result:
        invented = self._generative()
        notices = list(dict.fromkeys([*self._source_notices, *report.notices]))
        if invented:
            notices.append(EVIDENCE_NOTICE.format(engines=" and ".join(invented)))
        findings = [line for line in report.lines() if line not in report.notices]
        on_gpu = plan.device.startswith("cuda")
        return Result(
            source=plan.source,
            output=plan.output,
            frames=tally.written,
            seconds=seconds,
            fps=tally.written / seconds,
            width=plan.output_width,
            height=plan.output_height,
            engines=plan.engines,
            device=plan.device,
            stage_seconds=Seconds(tally.decode, tally.engine, tally.blend, tally.encode, verify),
            peak_memory_bytes=peak_memory(),
            device_peak_bytes=torch.cuda.max_memory_allocated() if on_gpu else None,
            output_bytes=written_bytes(self.output),
            verification=report.as_dict(),
            verification_line=f"Verified: {'; '.join(findings)}.",
            damage=self._damage,
            notices=tuple(notices),
            plan=plan,
        )


def restore(
    source: str | Path,
    output: str | Path,
    *,
    engines: Sequence[str] = (),
    preset: str | None = None,
    config: str | Path | None = None,
    engines_dir: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Result:
    """Restore a video: `restore("in.mp4", "out.mp4", engines=["flare", "day"])`.

    Args:
        source: the video, a folder or pattern of images, or `-`; never written to.
        output: what to write; appears only when whole and verified.
        engines: tasks (flare, day, night, sr) or engine ids, in order; empty: those of the preset or config.
        preset: name of a preset (dashcam, cinematic).
        config: path of a TOML file of settings.
        engines_dir: where engine folders lie, if not in the usual places.
        overwrite: replace an existing output.
        progress: called with a Progress after each frame, in the caller's thread.
        settings: any key of RunConfig, such as `tier`, `strength` or `encode={"codec": "hevc"}`; an unknown one is an error.

    Raises:
        VidrestoreError: see vidrestore.errors; the output is then not there.
    """
    overrides: Mapping[str, Any] = {**settings, **({"engines": tuple(engines)} if engines else {})}
    run = settle(dict(overrides), preset=preset, config=None if config is None else Path(config))
    folder = None if engines_dir is None else Path(engines_dir)
    with Job(source, output, run, engines_dir=folder, overwrite=overwrite) as job:
        return job.run(progress)


def expected_frames(info: StreamInfo, start: float, duration: float | None) -> int | None:
    """Frames between `start` and `start + duration` (seconds), by the header; None where it does not say."""
    if start == 0 and duration is None:
        return info.frames
    if info.frame_rate is None:
        return None
    left = None if info.duration is None else max(0.0, info.duration - start)
    spans = [span for span in (left, duration) if span is not None]
    return max(1, round(min(spans) * info.frame_rate)) if spans else None


def sample_type(media: MediaInfo) -> torch.dtype:
    """What a decoded sample is: uint8, or uint16 where the source has more than 8 bits."""
    return torch.uint8 if media.video.color.bit_depth <= 8 else torch.uint16


def written_bytes(output: str) -> int | None:
    """Size of a file or of the files of a folder; None for a pipe."""
    path = Path(output)
    if output == "-":
        return None
    if path.is_file():
        return path.stat().st_size
    folder = path if path.is_dir() else path.parent
    return sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file())


def check_count(tally: Tally, source: str) -> None:
    """As many frames out as in, and at least one."""
    if tally.decoded == 0:
        raise EmptyVideoError(f"{source} has no frame in the part asked for.")
    if tally.written != tally.decoded:
        raise VerificationError(f"{tally.decoded} frames were read but {tally.written} written.")


def marking(engines: Sequence[str], invented: Sequence[str]) -> str:
    """The comment written into the output, so that nobody takes a restored clip for evidence."""
    text = f"Restored by vidrestore {vidrestore.__version__}: {', '.join(engines)}."
    return f"{text} Detail was invented by {' and '.join(invented)}: no evidence." if invented else text
