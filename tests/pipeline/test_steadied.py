"""Runs whose maps are steadied: the same bits however the clip is cut, batched and handed out; and what is blended, and how."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.desk import digest, write_clip
from tests.temporal.shots import noisy, texture
from vidrestore.config import RunConfig
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.engine.on_host import HostWork
from vidrestore.engine.passes import MapPass
from vidrestore.errors import FrameFailedError, InterruptedJob, OutOfMemoryError
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.metrics.noise import temporal_noise
from vidrestore.pipeline.engines import blends, engine_stage, halo_of, stages_after
from vidrestore.pipeline.job import Job
from vidrestore.pipeline.plan import Result
from vidrestore.pipeline.stages import EngineStage, SteadyEngineStage
from vidrestore.temporal.blend import TemporalBlend
from vidrestore.temporal.coarse import CoarseBlend
from vidrestore.temporal.maps import MapSteadier
from vidrestore.types import Batch, Frame

FRAMES = 17
CHAINS = {"flare,day": {}, "day,sr": {"method": "maps"}, "day,night,flare": {"radius": 1}}
"""With two layers of maps, with an enlargement behind them, with another radius."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", FRAMES)


def settings(engines: str = "flare,day", **more: object) -> RunConfig:
    given = {"engines": engines.split(","), "tier": "fast", "device": "cpu", "threads": 1, "encode": {"codec": "ffv1"}}
    return RunConfig.model_validate(given | more)


def run(source: Path, output: Path, config: RunConfig, **more: object) -> Result:
    with Job(source, output, config, measure=False, overwrite=True, **more) as job:  # type: ignore[arg-type]
        return job.run()


def load(config: RunConfig) -> FusedEngine:
    catalog = Catalog.find()
    cards = [catalog.resolve(name, config.tier, "cpu") for name in config.engines]
    return FusedEngine(cards, catalog, device="cpu", strength=config.strength, protect=config.protect)


def pictures(path: Path) -> list[np.ndarray]:
    return [np.array(frame.data) for frame in VideoDecoder(path)]


@pytest.mark.parametrize("engines", CHAINS)
def test_segments_and_batches_change_no_bit(clip: Path, tmp_path: Path, engines: str) -> None:
    more = {"temporal": CHAINS[engines]}
    run(clip, tmp_path / "single.mkv", settings(engines, segment_frames=0, **more))
    single = pictures(tmp_path / "single.mkv")
    assert len(single) == FRAMES
    for length, batch in ((1, 1), (5, 4), (7, 2), (240, 1)):
        run(clip, tmp_path / "pieces.mkv", settings(engines, segment_frames=length, batch_size=batch, **more))
        pieces = pictures(tmp_path / "pieces.mkv")
        assert all(np.array_equal(a, b) for a, b in zip(single, pieces, strict=True)), (length, batch)
    plain = settings(engines, temporal={"enabled": False})
    run(clip, tmp_path / "plain.mkv", plain)
    assert not all(np.array_equal(a, b) for a, b in zip(single, pictures(tmp_path / "plain.mkv"), strict=True))


def test_stopped_or_handed_out_it_is_the_same_file(clip: Path, tmp_path: Path) -> None:
    config = settings(segment_frames=4)
    run(clip, tmp_path / "whole.mkv", config)
    seen = 0

    def progress(step) -> None:  # type: ignore[no-untyped-def]
        nonlocal seen
        seen = step.frames

    with (
        Job(clip, tmp_path / "parts.mkv", config, measure=False) as job,
        pytest.raises(InterruptedJob, match="kept in"),
    ):
        job.run(progress, stopping=lambda: seen >= 5)
    assert run(clip, tmp_path / "parts.mkv", config).resumed_frames > 0
    assert run(clip, tmp_path / "two.mkv", config, workers=2).workers == 2
    assert digest(tmp_path / "whole.mkv") == digest(tmp_path / "parts.mkv") == digest(tmp_path / "two.mkv")


def test_what_is_protected_stays_and_strength_mixes(clip: Path, tmp_path: Path) -> None:
    """Half the strength is half of what the steadied engines do."""
    box = {"x": 8, "y": 6, "width": 20, "height": 12}
    maps = {"temporal": {"method": "maps"}}
    run(clip, tmp_path / "none.mkv", settings("identity"))
    run(clip, tmp_path / "half.mkv", settings(strength=0.5, protect=[box], **maps))
    run(clip, tmp_path / "full.mkv", settings(**maps))
    none, half, full = (pictures(tmp_path / f"{name}.mkv") for name in ("none", "half", "full"))
    area = (slice(None), slice(8, 17), slice(10, 26))  # inside by two: chroma is stored at half size
    for source, mixed, restored in zip(none, half, full, strict=True):
        assert np.abs(mixed[area].astype(int) - source[area]).max() <= 3
        apart = np.abs(mixed.astype(int) - (source.astype(int) + restored) / 2)
        apart[:, 4:20, 6:30] = 0
        assert apart.mean() < 1.0


@pytest.mark.parametrize(
    ("given", "maps", "blend", "halo"),
    [
        ({}, True, CoarseBlend, 4),
        ({"tier": "best"}, True, TemporalBlend, 4),
        ({"temporal": {"method": "maps"}}, True, None, 2),
        ({"temporal": {"method": "coarse"}}, False, CoarseBlend, 2),
        ({"temporal": {"method": "full", "radius": 3}}, False, TemporalBlend, 3),
        ({"temporal": {"method": "maps"}, "cfr": True}, True, None, 3),
        ({"temporal": {"enabled": False}}, False, None, 0),
        ({"temporal": {"strength": 0.0}}, False, None, 0),
        ({"strength": 0.0}, False, None, 0),
        ({"engines": "sr"}, False, CoarseBlend, 2),
        ({"engines": "sr", "temporal": {"method": "maps"}}, False, None, 0),
        ({"engines": "identity"}, False, None, 0),
        ({"engines": "bicubic-x2,identity"}, False, None, 0),
    ],
)
def test_what_is_blended(given: dict, maps: bool, blend: type | None, halo: int) -> None:
    config = settings(**given)
    engine = load(config)
    assert isinstance(engine_stage(config, engine), SteadyEngineStage if maps else EngineStage)
    assert isinstance(engine_stage(config, engine), SteadyEngineStage) == maps
    after = stages_after(config, engine)
    assert [type(stage) for stage in after] == ([] if blend is None else [blend])
    assert halo_of(config, engine) == halo
    assert blends(config, engine) == (maps or blend is not None)


def through(config: RunConfig, shot: list[np.ndarray], batch: int = 1) -> list[np.ndarray]:
    """A shot through the stages of a run, `batch` frames at a time."""
    engine = load(config)
    frames = [Frame(p.transpose(2, 0, 1), k, k, Fraction(1, 30)) for k, p in enumerate(shot)]
    batches = [
        Batch(torch.from_numpy(np.stack(shot[k : k + batch])).permute(0, 3, 1, 2), tuple(frames[k : k + batch]))
        for k in range(0, len(shot), batch)
    ]
    out = engine_stage(config, engine).process(iter(batches))
    for stage in stages_after(config, engine):
        out = stage.process(out)
    return [np.ascontiguousarray(np.asarray(frame.data).transpose(1, 2, 0)) for frame in out]


@pytest.mark.parametrize("method", ["maps", "maps+coarse", "maps+full"])
def test_no_frame_mixes_two_shots(method: str) -> None:
    one, two = noisy([texture(180, 320, 1)] * 4), noisy([texture(180, 320, 2)] * 4, seed=9)
    config = settings(temporal={"method": method})
    together, apart = through(config, [*one, *two]), [*through(config, one), *through(config, two)]
    assert all(np.array_equal(a, b) for a, b in zip(together, apart, strict=True))


@pytest.mark.parametrize("tier", ["fast", "best"])
def test_a_static_shot_with_noise_gets_calm(tier: str) -> None:
    """Through the engines, as a run has it by default."""
    shot = noisy([texture(180, 320)] * 9)
    plain = through(settings(tier=tier, temporal={"enabled": False}), shot)
    assert temporal_noise(through(settings(tier=tier), shot)) <= 0.6 * temporal_noise(plain)


def test_a_failure_names_its_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = HostWork.advance

    def failing(self: HostWork, place: int, held, layers):  # type: ignore[no-untyped-def]
        if held.frame.index == 3:
            raise ValueError("no")
        return advance(self, place, held, layers)

    monkeypatch.setattr(HostWork, "advance", failing)
    with pytest.raises(FrameFailedError, match=r"frame 3 .*ValueError: no"):
        through(settings(), [texture(48, 64)] * 6)


def test_a_failure_names_its_frame_within_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    observe, calls = MapPass.observe, 0

    def third(self: MapPass, picture, clock):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ValueError("no")
        return observe(self, picture, clock)

    monkeypatch.setattr(MapPass, "observe", third)
    with pytest.raises(FrameFailedError, match=r"frame 2 .*ValueError: no") as caught:
        through(settings(), [texture(48, 64)] * 8, batch=4)
    assert caught.value.index == 2


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [(ValueError("no"), FrameFailedError, r"frame 1 .*ValueError: no"), (MemoryError(), OutOfMemoryError, "frame 1")],
)
def test_a_failure_of_the_steadier_names_a_frame(
    raised: Exception, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one whose maps were due."""
    blend, calls = MapSteadier._blend, 0

    def second(self: MapSteadier, entry, sides):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls == 2:
            raise raised
        return blend(self, entry, sides)

    monkeypatch.setattr(MapSteadier, "_blend", second)
    with pytest.raises(error, match=words):
        through(settings(), [texture(48, 64)] * 6)


def test_the_engines_seconds_are_their_own() -> None:
    """Waiting for batches does not count."""
    import time

    config = settings()
    stage = engine_stage(config, load(config))

    def slow():  # type: ignore[no-untyped-def]
        for k in range(3):
            time.sleep(0.5)
            data = torch.zeros((1, 3, 48, 64), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
            yield Batch(data, (Frame(data[0].numpy(), k, k, Fraction(1, 30)),))

    began = time.perf_counter()
    assert len(list(stage.process(slow()))) == 3
    assert 0 < stage.seconds < time.perf_counter() - began - 1.4
