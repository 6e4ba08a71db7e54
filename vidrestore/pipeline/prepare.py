"""A job before it runs: everything is opened and checked, the engines are loaded, nothing is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import vidrestore
from vidrestore.config import RunConfig
from vidrestore.engine.card import Card
from vidrestore.engine.fused import FusedEngine
from vidrestore.errors import EmptyVideoError, UsageError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.probe import require_restorable
from vidrestore.media.input.source import Source, open_source
from vidrestore.media.output.mark_text import WEIGHTS_DIGITS, Mark
from vidrestore.media.output.sink import SinkPlan, check_sink
from vidrestore.pipeline.batch_choice import BatchChoice
from vidrestore.pipeline.decoding import check_decoder, decode_options
from vidrestore.pipeline.engines import EngineShelf, card_digest, engine_stage, stages_after
from vidrestore.pipeline.journal.aside import kept_facts
from vidrestore.pipeline.journal.folder import job_folder
from vidrestore.pipeline.machine import available_cores, processor_kind
from vidrestore.pipeline.stages import EngineStage, Stage
from vidrestore.runtimes import pick_device, pick_runtime
from vidrestore.types import StreamInfo

__all__ = ["BATCH_FACT", "Prepared", "marking", "prepare", "settled"]

MOST_THREADS = 8
"""Beyond this many threads one network gains little on the CPU; more cores serve more workers."""

BATCH_FACT = "batch"
"""Under this name the journal keeps how the size of batches was chosen: a run that goes on takes the same."""
UNTRIED = {"batch_size", "limits"}
"""Settings that the choice of a batch size does not rest on."""
CPU_BATCH, GPU_BATCH = 1, 4
"""On a CPU engines restore one picture at a time in any case. A batch of 4 was 3 % faster at 720p and 10 % at
540p, and took 100 and 60 MiB more (benchmarks/results/batch_size.json): memory was preferred."""


@dataclass(frozen=True)
class Prepared:
    """The parts of a job."""

    address: str
    """What the user named as the source."""
    source: Source
    output: str
    config: RunConfig
    """Settled: device, runtime, threads, batch size, decoder and encoder are no longer `auto`."""
    engine: FusedEngine
    info: StreamInfo
    """The picture as it leaves the engines."""
    sink: SinkPlan
    index: tuple[int, ...] | None
    """pts of every picture; None: only decoding from the beginning tells."""
    engines_dir: Path | None
    overwrite: bool
    batch: BatchChoice | None = None
    """How the size of batches was chosen; None: the user said how large, or it is the CPU's."""

    @property
    def media(self) -> MediaInfo:
        return self.source.media

    @property
    def invented(self) -> list[str]:
        """Ids of the engines that invent detail."""
        return [card.id for card in self.engine.cards if card.generative]

    @property
    def comment(self) -> str:
        """What the output says of how it was made."""
        return marking(self.engine.cards)

    @property
    def resumable(self) -> bool:
        """Whether the job is cut into segments that outlive a crash: not with pipes or addresses, which cannot be read again."""
        return (
            self.config.segment_frames > 0
            and not self.source.live
            and self.output != "-"
            and bool(self.source.files)
            and all(path.exists() for path in self.source.files)
        )

    def stages(self) -> tuple[EngineStage, list[Stage]]:
        """The engines and what comes behind them, opened."""
        engine, after = engine_stage(self.config, self.engine), stages_after(self.config, self.engine)
        info = engine.open(self.media.video)
        for stage in after:
            info = stage.open(info)
        return engine, after


def settled(config: RunConfig, cards: Sequence[Card], batch: BatchChoice | None = None) -> RunConfig:
    """The settings with what is left open made definite, because it can change bits: device, runtime, threads, batch, coders.

    Networks of the fast tier get one thread on a CPU: the other parts of the pipeline fill the cores, and in networks as
    small as these threads wait for each other longer than they work, the more so the busier the machine is.

    Args:
        config: the settings.
        cards: of the engines that will run.
        batch: what was chosen for a batch of size 0; None: nothing was tried, and on a GPU it is 4.

    Raises:
        RuntimeUnavailableError: the device or the runtime asked for is not there.
    """
    device = pick_device(config.device, config.runtime)
    runtime = pick_runtime(config.runtime, device).name
    small = device == "cpu" and bool(cards) and all(card.tier == "fast" for card in cards if card.task != "baseline")
    most = 1 if small and any(card.task != "baseline" for card in cards) else MOST_THREADS
    threads = config.threads or min(available_cores(), most)
    untried = CPU_BATCH if device == "cpu" else GPU_BATCH
    batch_size = config.batch_size or (untried if batch is None else batch.size)
    decoder = "cpu" if config.decoder == "auto" else config.decoder
    encoder = "software" if config.encode.encoder == "auto" else config.encode.encoder
    definite = {"device": device, "runtime": runtime, "threads": threads, "batch_size": batch_size, "decoder": decoder}
    return config.model_copy(update={**definite, "encode": config.encode.model_copy(update={"encoder": encoder})})


def prepare(
    address: str,
    output: str,
    config: RunConfig,
    shelf: EngineShelf,
    *,
    engines_dir: Path | None = None,
    overwrite: bool = False,
    fresh: bool = False,
    sharing: Callable[[RunConfig], int] = lambda config: 1,
) -> Prepared:
    """Open and check everything; on a GPU, try how many frames it is to be given at once where the settings leave that open.

    Args:
        address: what is restored.
        output: what is written.
        config: the settings.
        shelf: engines that may have been loaded already.
        engines_dir: where engine folders lie.
        overwrite: an existing output may be replaced.
        fresh: nothing of an earlier run is taken up.
        sharing: how many workers will restore on one device at once, with settled settings.

    Raises:
        UsageError, MediaError, EngineError, RuntimeFailure, StorageError: what would stop the run.
    """
    if not config.engines:
        raise UsageError("No engine was asked for.", "Name at least one: flare, day, night, sr or an engine's id.")
    source = open_source(address, limits=config.limits, protocols=config.protocols, frame_rate=config.frame_rate)
    media = source.media
    if config.frame_rate and not config.cfr and media.container not in ("image2", "yuv4mpegpipe"):
        raise UsageError(f"--rate has no effect on {address}, which has timestamps.", "Add --cfr, or leave it out.")
    if media.interlaced and not config.deinterlace:
        require_restorable(media)
    check_sink(output, media, media.video, config, overwrite)
    engine = shelf.load(config, engines_dir)
    batch, untried = None, settled(config, engine.cards)
    check_decoder(untried, media)
    if not config.batch_size:
        batch = _chosen(untried, engine, media, shelf, None if fresh else output, sharing)
    config = settled(config, engine.cards, batch)
    info = EngineStage(engine).open(media.video)
    sink = check_sink(output, media, info, config, overwrite, marking(engine.cards))
    index = source.index(decode_options(config))
    if index is not None and not index:
        raise EmptyVideoError(f"{address} has not one picture in the part asked for.")
    return Prepared(address, source, output, config, engine, info, sink, index, engines_dir, overwrite, batch)


def _chosen(
    config: RunConfig,
    engine: FusedEngine,
    media: MediaInfo,
    shelf: EngineShelf,
    output: str | None,
    sharing: Callable[[RunConfig], int],
) -> BatchChoice | None:
    """How many frames the engines are given at once; None where they see them one by one: on a CPU.

    A size that the journal of `output` rests on is kept, since another one would make another job of it; so is one that was
    tried with the same engines a moment ago.
    """
    seat = engine.seat
    if seat is None or seat.name == "host":
        return None
    workers = sharing(config)
    basis = _basis(config, engine, media, workers)
    known = [shelf.batches[basis]] if basis in shelf.batches else []
    for fact in kept_facts(job_folder(output), BATCH_FACT) if output not in (None, "-") else ():
        with suppress(KeyError, TypeError):  # of another version
            known.insert(0, BatchChoice.of(fact))
    for choice in known:
        if choice.basis == basis:
            return replace(choice, kept=True)
    from vidrestore.device.host_seat import HostSeat
    from vidrestore.pipeline.batch_memory import BatchProbe

    stage = engine_stage(config, engine)
    info = stage.open(media.video)
    scale = info.width // media.video.width
    free = HostSeat().memory().free
    probe = BatchProbe(stage, seat, media.video, scale, config.buffer_batches, sharing=workers, host_free=free)
    shelf.batches[basis] = choice = probe.choose(basis, processor_kind(config.device))
    return choice


def _basis(config: RunConfig, engine: FusedEngine, media: MediaInfo, workers: int) -> str:
    settings = config.model_dump(mode="json", exclude=UNTRIED)
    cards = [card_digest(card) for card in engine.cards]
    video = (media.video.width, media.video.height, media.video.color.bit_depth)
    seat = "" if engine.seat is None else engine.seat.name
    how = (engine.precision, engine.compiled_by, seat, processor_kind(config.device))
    rests_on = (settings, cards, video, workers, how)
    return hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()


def marking(cards: Sequence[Card]) -> str:
    """The comment written into the output, so that nobody takes a restored clip for evidence."""
    engines = tuple((card.id, card.sha256[:WEIGHTS_DIGITS] if card.sha256 else None) for card in cards)
    return Mark(vidrestore.__version__, engines, tuple(card.id for card in cards if card.generative)).text
