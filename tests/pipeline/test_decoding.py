"""Who decodes and who encodes: settled before the work, in plan and key; frames that lie on a device go the whole way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.desk import digest, write_clip
from vidrestore.config import RunConfig
from vidrestore.device import HostSeat
from vidrestore.errors import RuntimeUnavailableError, UsageError
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.nvdec import UNTOLD_DAMAGE
from vidrestore.media.input.picture_decoder import DecodeOptions, PictureDecoder, Window
from vidrestore.media.input.probe import probe
from vidrestore.media.input.source import FileSource
from vidrestore.pipeline.decoding import check_decoder, decode_options, ring_of
from vidrestore.pipeline.engines import EngineShelf, card_digest, halo_of
from vidrestore.pipeline.job import Job
from vidrestore.pipeline.journal.fingerprint import make_key
from vidrestore.pipeline.machine import encoder_kind
from vidrestore.pipeline.prepare import settled
from vidrestore.pipeline.segment import JobSpec, cut_into_segments
from vidrestore.pipeline.segment_runner import SegmentRunner
from vidrestore.types import Frame

FRAMES = 14
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a CUDA GPU")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", FRAMES)


def settings(**more: Any) -> RunConfig:
    return RunConfig.model_validate({"engines": ("tiny",), "segment_frames": 5, "threads": 1} | more)


def test_left_open_it_is_the_cpu() -> None:
    chosen = settled(settings(device="cpu"), [])
    assert (chosen.decoder, chosen.encode.encoder) == ("cpu", "software")
    asked = settled(settings(device="cpu", decoder="nvdec", encode={"encoder": "nvenc", "crf": 20}), [])
    assert (asked.decoder, asked.encode.encoder, asked.encode.crf) == ("nvdec", "nvenc", 20)


def test_only_frames_for_the_engines_lie_on_their_device() -> None:
    cpu, gpu = settings(decoder="cpu"), settings(decoder="nvdec")
    assert decode_options(cpu, "cuda:1").device is None
    assert decode_options(gpu, "cuda:1").device == "cuda:1"
    assert decode_options(gpu).device is None, "who scores, reports or previews wants frames on the host"


def test_the_ring_is_where_the_decoder_leaves_frames(clip: Path) -> None:
    media, seat = probe(clip), HostSeat()
    for config in (settings(decoder="cpu"), settings(decoder="nvdec")):
        with ring_of(config, media, seat, batch_size=2, batches=3) as ring:
            assert ring.capacity == 6 and ring.shape == (3, media.video.height, media.video.width)
            assert ring.device == torch.device("cpu"), "which is this seat's device"
    with ring_of(settings(decoder="cpu"), media, None, 1, 2) as ring:
        assert ring.capacity == 2


def test_a_decoder_that_cannot_be_is_refused_with_the_plan(clip: Path, engines: Path, tmp_path: Path) -> None:
    check_decoder(settings(device="cpu", decoder="cpu"), probe(clip))
    with (
        Job(clip, tmp_path / "out.mp4", settings(device="cpu", decoder="nvdec"), engines_dir=engines) as job,
        pytest.raises(UsageError, match="--decoder nvdec decodes on the GPU of the engines"),
    ):
        job.plan()
    with pytest.raises(UsageError, match="--on-damage conceal"):
        check_decoder(settings(device="cuda", decoder="nvdec", on_damage="conceal"), probe(clip))


@without_gpu
def test_an_encoder_that_cannot_be_is_refused_with_the_plan(clip: Path, engines: Path, tmp_path: Path) -> None:
    config = settings(encode={"encoder": "nvenc"})
    with (
        Job(clip, tmp_path / "out.mp4", config, engines_dir=engines) as job,
        pytest.raises(RuntimeUnavailableError, match="NVENC cannot write h264"),
    ):
        job.plan()
    assert not list(tmp_path.iterdir())
    assert encoder_kind("h264_nvenc") == "h264_nvenc of a GPU that torch does not see"


def test_the_key_and_the_plan_tell(clip: Path, engines: Path, tmp_path: Path) -> None:
    by_cpu = make_key([clip], settings(decoder="cpu", encode={"encoder": "software"}), [], {})
    by_gpu = make_key([clip], settings(decoder="nvdec", encode={"encoder": "nvenc"}), [], {})
    assert by_cpu.differences(by_gpu) == ["the settings (decoder, encode.encoder)"]
    with Job(clip, tmp_path / "out.mp4", settings(), engines_dir=engines, measure=False) as job:
        plan = job.plan()
    assert (plan.decoder, plan.encoder, plan.coders) == ("cpu", "libx264", "h264")
    assert plan.settings["decoder"] == "cpu" and plan.settings["encode"]["encoder"] == "software"
    with Job(clip, tmp_path / "out.gif", settings(cfr=True, drop_streams=("audio",)), engines_dir=engines, measure=False) as job:
        assert job.plan().encoder == ""


class OnDevice(FileSource):
    """A source whose frames are tensors, as a GPU's decoder gives them."""

    def decoder(self, options: DecodeOptions = DecodeOptions(), window: Window | None = None) -> PictureDecoder:  # noqa: B008
        class Decoder(VideoDecoder):
            def __iter__(self) -> Iterator[Frame]:
                for frame in super().__iter__():
                    pixels = torch.from_numpy(np.ascontiguousarray(frame.data.transpose(1, 2, 0)))
                    yield frame.with_data(pixels.permute(2, 0, 1))

        return Decoder(self.media, options, window)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_tensors_go_the_way_of_arrays(clip: Path, engines: Path, tmp_path: Path, batch_size: int) -> None:
    """Halos, padded batches, joints and encoding: the same segments, byte for byte."""
    config = settled(settings(device="cpu", batch_size=batch_size), [])
    shelf = EngineShelf()
    engine = shelf.load(config, engines)
    cards = tuple((card.id, card_digest(card)) for card in engine.cards)
    media, found = probe(clip), []
    for source in (FileSource(media), OnDevice(media)):
        folder = tmp_path / type(source).__name__
        folder.mkdir()
        spec = JobSpec(str(clip), str(folder / "out.mp4"), config, folder, str(engines), cards)
        segments = iter(cut_into_segments(source.index(decode_options(config)), 5, halo_of(config, engine)))
        runner = SegmentRunner(spec, shelf=shelf, source=source)
        runner.run(
            lambda: next(segments, None),  # noqa: B023
            lambda number: folder / f"{number}.seg",  # noqa: B023
            lambda done: None,
            lambda number, frames: None,
            lambda: False,
        )
        found.append([digest(path) for path in sorted(folder.glob("*.seg"))])
    shelf.close()
    assert len(found[0]) == 3 and found[0] == found[1]


@needs_gpu
@pytest.mark.parametrize("encoder", ["software", "nvenc"])
def test_from_file_to_file_on_a_gpu(clip: Path, engines: Path, tmp_path: Path, encoder: str) -> None:
    """Decoded there, restored there, written; the same bits twice, in segments or after a stop; near to what the CPU decodes."""
    there = settings(device="cuda", decoder="nvdec", encode={"encoder": encoder, "crf": 10})
    here = settings(device="cuda", decoder="cpu", encode={"encoder": "software", "crf": 10})
    try:
        for name, config in (("a.mp4", there), ("b.mp4", there), ("c.mp4", here)):
            with Job(clip, tmp_path / name, config, engines_dir=engines, measure=False) as job:
                result = job.run()
                assert result.frames == FRAMES and (UNTOLD_DAMAGE in result.notices) == (config is there)
    except RuntimeUnavailableError as error:  # some GPUs decode or encode nothing
        pytest.skip(str(error))
    assert digest(tmp_path / "a.mp4") == digest(tmp_path / "b.mp4")
    for one, other in zip(VideoDecoder(tmp_path / "a.mp4"), VideoDecoder(tmp_path / "c.mp4"), strict=True):
        assert one.pts == other.pts
        assert np.abs(one.data.astype(int) - other.data).mean() < 3
