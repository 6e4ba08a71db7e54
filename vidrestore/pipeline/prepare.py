"""A job before it runs: everything is opened and checked, the engines are loaded, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from vidrestore.pipeline.engines import EngineShelf, engine_stage, stages_after
from vidrestore.pipeline.machine import available_cores
from vidrestore.pipeline.segment_runner import decode_options
from vidrestore.pipeline.stages import EngineStage, Stage
from vidrestore.runtimes import pick_device
from vidrestore.types import StreamInfo

__all__ = ["Prepared", "marking", "prepare", "settled"]

MOST_THREADS = 8
"""Beyond this many threads one network gains little on the CPU; more cores serve more workers."""

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
    """Settled: device, threads and batch size are no longer `auto`."""
    engine: FusedEngine
    info: StreamInfo
    """The picture as it leaves the engines."""
    sink: SinkPlan
    index: tuple[int, ...] | None
    """pts of every picture; None: only decoding from the beginning tells."""
    engines_dir: Path | None
    overwrite: bool

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


def settled(config: RunConfig, cards: Sequence[Card]) -> RunConfig:
    """The settings with what the machine decides made definite, because it can change bits: device, threads and batch.

    Networks of the fast tier get one thread on a CPU: the other parts of the pipeline fill the cores, and in networks as
    small as these threads wait for each other longer than they work, the more so the busier the machine is.

    Args:
        config: the settings.
        cards: of the engines that will run.

    Raises:
        RuntimeUnavailableError: the device asked for is not there.
    """
    device = pick_device(config.device)
    small = device == "cpu" and bool(cards) and all(card.tier == "fast" for card in cards if card.task != "baseline")
    most = 1 if small and any(card.task != "baseline" for card in cards) else MOST_THREADS
    threads = config.threads or min(available_cores(), most)
    batch_size = config.batch_size or (CPU_BATCH if device == "cpu" else GPU_BATCH)
    return config.model_copy(update={"device": device, "threads": threads, "batch_size": batch_size})


def prepare(
    address: str,
    output: str,
    config: RunConfig,
    shelf: EngineShelf,
    *,
    engines_dir: Path | None = None,
    overwrite: bool = False,
) -> Prepared:
    """Open and check everything.

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
    engine = shelf.load(config.model_copy(update={"device": pick_device(config.device)}), engines_dir)
    config = settled(config, engine.cards)
    info = EngineStage(engine).open(media.video)
    sink = check_sink(output, media, info, config, overwrite, marking(engine.cards))
    index = source.index(decode_options(config))
    if index is not None and not index:
        raise EmptyVideoError(f"{address} has not one picture in the part asked for.")
    return Prepared(address, source, output, config, engine, info, sink, index, engines_dir, overwrite)


def marking(cards: Sequence[Card]) -> str:
    """The comment written into the output, so that nobody takes a restored clip for evidence."""
    engines = tuple((card.id, card.sha256[:WEIGHTS_DIGITS] if card.sha256 else None) for card in cards)
    return Mark(vidrestore.__version__, engines, tuple(card.id for card in cards if card.generative)).text
