"""One session of measuring: what is to be measured, in what order, on which pictures; the report at its end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidrestore.bench.clip import ClipShelf
from vidrestore.bench.engines import count_engine_flop, measure_engine, with_shares
from vidrestore.bench.figures import ChainFigures, DeviceFigures, EngineFigures, Report
from vidrestore.bench.machine import Watch, about_machine
from vidrestore.bench.on_device import BATCHES, RUNS, SECONDS, DeviceBench, with_share
from vidrestore.bench.stages import Bench, frames_that_fit, read_batches
from vidrestore.bench.timing import GEMM_SECONDS, gemm_peak, gemm_rate, gemm_sizes
from vidrestore.bench.whole import measure_whole, run_once, with_overhead
from vidrestore.config import RunConfig, settle
from vidrestore.device import open_seat
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.errors import OutOfMemoryError, RuntimeFailure
from vidrestore.pipeline.engines import EngineShelf
from vidrestore.pipeline.machine import available_cores, load_average
from vidrestore.pipeline.prepare import Prepared, prepare
from vidrestore.runtimes import pick_device

__all__ = ["DEFAULT_CHAIN", "Plan", "Session", "chains_of"]

DEFAULT_CHAIN = ("flare", "day")
"""What runs from file to file where nobody names engines."""
RUN_SECONDS = 10.0
"""What a run should take, where nobody says how many frames."""
FEWEST, MOST = 24, 240
"""Frames of a run, where nobody says how many."""
BESIDE_ENGINES_MS = 60.0
"""A megapixel's decoding, blending and encoding, guessed, to choose the number of frames."""
BASELINE = "baseline"
"""The task of engines that have no network, so that no number format is theirs."""
ENGINE_FRAMES = 8
"""Different frames that engines alone are run on."""


Chains = tuple[tuple[str, ...], ...]
"""Each of engine ids or tasks, in order."""


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    alone: Chains
    """Measured without decoding and encoding."""
    whole: Chains
    """Their stages are measured one by one, and they are run from file to file."""
    clip: Path | None = None
    """None: the example drive."""
    size: tuple[int, int] | None = None
    """(width, height); None: the clip's own."""
    frames: int | None = None
    """Of a run; None: as many as take about ten seconds, 24 to 240."""
    repeats: int = 3
    settings: dict[str, Any] | None = None
    """Keys of RunConfig that differ from `vidrestore run`'s defaults: tier, device, threads, batch_size ..."""
    engines_dir: Path | None = None
    workers: int = 0
    gemm_sizes: tuple[int, ...] | None = None
    """None: those of the device."""
    gemm_seconds: float = GEMM_SECONDS
    stages: bool = True
    """False: whole runs only, without each stage alone."""
    batches: tuple[int, ...] | None = None
    """Batch sizes at which the chains of `alone` are measured on a device (see bench.on_device); None: on a GPU 1, 4 and 8, on
    the CPU none."""
    runs: int = RUNS
    """Batches of each such measurement, at most."""
    run_seconds: float = SECONDS
    """What each of them may take."""

    def config(self, engines: Sequence[str]) -> RunConfig:
        """The settings of a chain.

        Raises:
            ConfigError: a wrong value.
        """
        return settle({**(self.settings or {}), "engines": tuple(engines)})


def chains_of(names: Sequence[str], fused: bool, tier: str, catalog: Catalog) -> tuple[Chains, Chains]:
    """(alone, whole): which chains to measure alone, and which from file to file.

    Args:
        names: engine ids or tasks as the user gave them; `flare,day` is one chain. Empty: every engine (of the tier) alone,
            flare with day as one, and that from file to file.
        fused: all of them as one chain too; then only that is run from file to file.
        tier: auto, fast or best.
        catalog: the engines there are.
    """
    if not names:
        cards = [card for card in catalog.cards() if tier in ("auto", card.tier)]
        whole = (DEFAULT_CHAIN,) if set(DEFAULT_CHAIN) <= {card.task for card in cards} else ()
        return (*((card.id,) for card in cards), *whole), whole
    split = (tuple(part.strip() for part in name.split(",") if part.strip()) for name in names)
    chains = tuple(dict.fromkeys(chain for chain in split if chain))
    if not fused or len(chains) == 1:
        return chains, chains
    joined = tuple(name for chain in chains for name in chain)
    return tuple(dict.fromkeys((*chains, joined))), (joined,)


class Session:
    """Measures what a plan says.

    Args:
        plan: what.
        tell: called with words before each piece of work.
        watch: sees who else uses the machine; None: an own one.

    Raises:
        UnknownEngineError, TierUnavailableError, InvalidCardError: an engine that is not there, before any work.
    """

    def __init__(self, plan: Plan, tell: Callable[[str], None] = lambda words: None, watch: Watch | None = None) -> None:
        self.plan = plan
        self.watch = watch or Watch()
        self._tell = tell
        self._catalog = Catalog.find(plan.engines_dir)
        self._peaks: dict[tuple[str, str], tuple[float, int]] = {}
        self._engine_ms: dict[tuple[str, ...], float] = {}
        self._devices: list[DeviceFigures] = []
        self._left_out: list[str] = []
        self._seat: dict[str, str | int] | None = None
        settings = plan.settings or {}
        device = pick_device(settings.get("device", "auto"), settings.get("runtime", "auto"))
        self._batches = plan.batches if plan.batches is not None else BATCHES if device.startswith("cuda") else ()
        self._gemm_sizes = plan.gemm_sizes or gemm_sizes(device)
        for chain in {*plan.alone, *plan.whole}:
            config = plan.config(chain).model_copy(update={"device": device})
            for name in chain:
                self._catalog.resolve(name, config.tier, device)

    @property
    def pieces(self) -> int:
        """How many pieces of work `tell` will be called for, at most."""
        whole = self.plan.repeats + (5 if self.plan.stages else 0) + 1
        return 5 + len(self.plan.alone) * (1 + len(self._batches)) + len(self.plan.whole) * whole

    def run(self, require_quiet: bool = False) -> Report:
        """Measure everything.

        Args:
            require_quiet: refuse a machine that others are using, before anything is measured.

        Raises:
            RuntimeFailure: it is not quiet, or a run failed.
            VidrestoreError: whatever engines, source and output raise.
        """
        machine = about_machine() | {"load_before": self.watch.load_before}
        self._tell("looking who else is here")
        self.watch.look()
        if require_quiet and (reasons := self.watch.busy()):
            raise RuntimeFailure(
                f"The machine is busy: {'; '.join(reasons)}.", "Wait until it is quiet, or leave out --require-quiet."
            )
        with tempfile.TemporaryDirectory(prefix="vidrestore-bench-") as name:
            folder = Path(name)
            clips = ClipShelf(folder, self.plan.clip, self.plan.size)
            engines = [self._alone(chain, clips, folder) for chain in self.plan.alone]
            chains = [self._chain(chain, clips, folder) for chain in self.plan.whole]
        peaks = []
        for (precision, device), before in self._peaks.items():
            with self._around(f"matrix product in {precision}, after"):
                peaks.append(gemm_peak(precision, before, device, self._gemm_sizes, self.plan.gemm_seconds))
        return Report(
            machine=machine | {"load_after": load_average()} | ({} if self._seat is None else {"seat": self._seat}),
            settings=self._settings(clips),
            busy=self.watch.busy(),
            sections=tuple(self.watch.sections),
            peaks=tuple(peaks),
            engines=tuple(with_shares(figures, peaks) for figures in engines),
            chains=tuple(chains),
            devices=tuple(with_share(figures, peaks) for figures in self._devices),
            left_out=tuple(self._left_out),
        )

    @contextmanager
    def _around(self, words: str) -> Iterator[None]:
        self._tell(words)
        with self.watch.section(words):
            yield

    def _settings(self, clips: ClipShelf) -> dict[str, Any]:
        plan = self.plan
        return {
            "size": list(clips.size),
            "clip": None if plan.clip is None else plan.clip.name,
            "frames": plan.frames,
            "repeats": plan.repeats,
            "gemm_sizes": list(self._gemm_sizes),
            "run": plan.config(DEFAULT_CHAIN).model_dump(mode="json", exclude={"engines"}),
        }

    def _prepared(self, chain: Sequence[str], clips: ClipShelf, folder: Path, frames: int, shelf: EngineShelf) -> Prepared:
        """A job on the first `frames` pictures of the clip, which is made if need be."""
        clip, seconds = clips.clip(frames)
        config = self.plan.config(chain)
        if seconds is not None:
            config = config.model_copy(update={"duration": seconds})
        return prepare(str(clip), str(_output(clip, folder)), config, shelf, engines_dir=self.plan.engines_dir, overwrite=True)

    def _alone(self, chain: tuple[str, ...], clips: ClipShelf, folder: Path) -> EngineFigures:
        import torch

        name = " + ".join(chain)
        shelf = EngineShelf()
        try:
            job = self._prepared(chain, clips, folder, ENGINE_FRAMES, shelf)
            torch.set_num_threads(job.config.threads)
            kind = (job.engine.precision, str(job.engine.device))
            if kind not in self._peaks and any(card.task != BASELINE for card in job.engine.cards):
                with self._around(f"matrix product in {kind[0]}, before"):
                    rate = gemm_rate(*kind, self._gemm_sizes, self.plan.gemm_seconds)
                if rate is not None:
                    self._peaks[kind] = rate
            batches = read_batches(job, ENGINE_FRAMES)
            whole = [batch for batch in batches if len(batch) == job.config.batch_size] or batches
            with self._around(f"{name} alone"):
                figures = measure_engine(job.engine, self._catalog, job.media.video, whole, job.config, self.plan.repeats)
            self._engine_ms[chain] = 1e3 / figures.fps.median
            if self._batches:
                self._on_device(name, job)
            return figures
        finally:
            shelf.close()

    def _on_device(self, name: str, job: Prepared) -> None:
        """The engines of a job at each batch size; on the CPU in a seat that is taken for this."""
        with ExitStack() as held:
            engine = job.engine
            if engine.seat is None:
                seat, config = held.enter_context(open_seat(job.config.device)), job.config
                engine = FusedEngine(
                    engine.cards, self._catalog, config.device, config.strength, config.protect, config.tile_size, seat=seat
                )
                held.callback(engine.close)
            frames = [frame for batch in read_batches(job, ENGINE_FRAMES) for frame in batch.frames]
            bench = DeviceBench(engine, job.media.video, frames, self.plan.repeats, self.plan.runs, self.plan.run_seconds)
            self._seat = bench.describe()
            flop = count_engine_flop(engine.cards, self._catalog, job.media.video.width, job.media.video.height)
            for size in self._batches:
                with self._around(f"{name} on {bench.device}, batches of {size}"):
                    try:
                        self._devices.append(bench.measure(size, flop))
                    except OutOfMemoryError as error:
                        self._left_out.append(f"{name}, batches of {size}: {error.message}")

    def _frames(self, chain: tuple[str, ...], job: Prepared) -> int:
        """How many frames a run of a chain has, where nobody says: as many as take about ten seconds."""
        if self.plan.frames is not None:
            return self.plan.frames
        engines = self._engine_ms.get(chain)
        if engines is None:
            engines = sum(self._engine_ms.get((name,), 0.0) for name in chain)
        frame = engines + BESIDE_ENGINES_MS * job.info.width * job.info.height / 1e6
        fit = frames_that_fit(job.info.width, job.info.height, 1 if job.media.video.color.bit_depth <= 8 else 2)
        return max(min(FEWEST, fit), min(MOST, fit, round(1e3 * RUN_SECONDS / frame)))

    def _chain(self, chain: tuple[str, ...], clips: ClipShelf, folder: Path) -> ChainFigures:
        name = " + ".join(chain)
        shelf = EngineShelf()
        try:
            job = self._prepared(chain, clips, folder, ENGINE_FRAMES, shelf)
            frames = self._frames(chain, job)
            with self._around("the clip"):
                job = self._prepared(chain, clips, folder, frames, shelf)
            if job.index is not None:
                frames = min(frames, len(job.index))
            stages = []
            if self.plan.stages:
                fit = frames_that_fit(job.info.width, job.info.height, 1 if job.media.video.color.bit_depth <= 8 else 2)
                bench = Bench(job, min(frames, fit), self.plan.repeats, folder)
                stages = bench.measure(lambda stage: self._around(f"{name}: {stage} alone"))
                _output(job.source.files[0], folder).unlink(missing_ok=True)
            description, info, media = job.engine.describe(), job.info, job.media.video
            ids = tuple(card.id for card in job.engine.cards)
        finally:
            shelf.close()
        settings = {**(self.plan.settings or {}), "engines": list(chain)}
        if job.config.duration is not None:
            settings["duration"] = job.config.duration
        clip = job.source.files[0]
        whole = measure_whole(
            lambda: run_once(clip, _output(clip, folder), settings, self.plan.engines_dir, self.plan.workers),
            self.plan.repeats,
            available_cores(),
            lambda words: self._around(f"{name}: {words}"),
        )
        return ChainFigures(
            name=name,
            engines=ids,
            description=description,
            width=media.width,
            height=media.height,
            output_width=info.width,
            output_height=info.height,
            clip=clips.describe(frames),
            stages=tuple(stages),
            whole=with_overhead(whole, stages) if stages else whole,
        )


def _output(clip: Path, folder: Path) -> Path:
    """Where the restored clip is written: the clip's own container, unless that is raw pictures."""
    return folder / f"restored{clip.suffix if clip.suffix not in ('', '.y4m') else '.mkv'}"
