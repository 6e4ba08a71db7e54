"""NVDEC: which files it may have, what is said where it cannot, and what becomes of damage. What decodes on a GPU needs one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.codec.hwaccel import HWAccel
from numpy.typing import NDArray

from tests.media.input.test_damage import NUMBER, changed, noise
from vidrestore.config import LimitsConfig
from vidrestore.errors import DamagedVideoError, RuntimeUnavailableError, UsageError
from vidrestore.media import VideoDecoder
from vidrestore.media.convert_on_device import LAYOUTS, layout_of, planes_of
from vidrestore.media.input import nvdec, packet_pass
from vidrestore.media.input.declared import Crop
from vidrestore.media.input.ledger import Slot
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.picture_decoder import DecodeOptions, Window
from vidrestore.media.input.probe import probe

Make = Callable[..., Path]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a CUDA GPU")
STREAMS = [
    ("libx264", "yuv420p", {"bf": "3", "g": "12"}),
    ("libx264", "yuv420p10le", {"bf": "2", "g": "12"}),
    ("libx265", "yuv420p10le", {"x265-params": "log-level=error:bframes=3:keyint=12:pools=1:frame-threads=1"}),
    ("libvpx-vp9", "yuv420p", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "10"}),
]


def numbered(context: av.VideoCodecContext, path: Path) -> Iterator[tuple[int | None, bytes]]:
    """pts and luma of everything that a decoder makes of a file."""
    with av.open(str(path)) as container:
        for packet in [*(packet for packet in container.demux(video=0) if packet.size), None]:
            for picture in context.decode(packet):
                plane = picture.planes[0]
                yield picture.pts, np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width].tobytes()


def media_of(make_clip: Make, **settings: Any) -> MediaInfo:
    return probe(make_clip(**settings))


@pytest.mark.parametrize(("codec", "pixel_format", "options"), STREAMS)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_decoder_beside_the_streams_own_gives_the_same(
    make_clip: Make, name: str, codec: str, pixel_format: str, options: dict[str, str]
) -> None:
    """All that it needs to know was carried over: parameter sets, order."""
    path = make_clip(name, frames=30, codec=codec, pixel_format=pixel_format, options=options)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context, own = nvdec.decoder_like(stream, None, LimitsConfig()), stream.codec_context
        pairs = list(zip_longest(numbered(context, path), numbered(own, path)))
    assert len(pairs) == 30 and all(mine == theirs for mine, theirs in pairs)


def test_files_that_any_nvdec_may_have(make_clip: Make) -> None:
    for number, (codec, pixel_format, options) in enumerate(STREAMS):
        media = media_of(make_clip, name=f"{number}.mkv", codec=codec, pixel_format=pixel_format, options=options)
        assert nvdec.unsuited(media) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pixel_format": "yuv422p"}, "pixel format yuv422p is not 4:2:0"),
        ({"pixel_format": "yuv444p10le"}, "pixel format yuv444p10le is not 4:2:0"),
        ({"codec": "mpeg4", "name": "clip.mp4"}, "its codec mpeg4 is none of h264, hevc, av1, vp9"),
        ({"codec": "ffv1", "name": "clip.mkv"}, "its codec ffv1 is none of"),
        ({"size": (16, 16)}, "pictures of 16x16 are odd in size or too small"),
        ({"codec": "libvpx-vp9", "name": "clip.webm", "size": (63, 49)}, "pictures of 63x49 are odd in size"),
    ],
)
def test_files_that_are_not_for_nvdec(make_clip: Make, settings: dict[str, Any], said: str) -> None:
    media = media_of(make_clip, **settings)
    with pytest.raises(UsageError, match=said) as caught:
        nvdec.require_nvdec(media, "cuda")
    assert str(media.path) in str(caught.value) and "--decoder cpu" in str(caught.value)


def test_work_that_is_not_for_nvdec(make_clip: Make, tmp_path: Path) -> None:
    media = media_of(make_clip)
    for wish, said in (({"on_damage": "conceal"}, "--on-damage conceal"), ({"deinterlace": True}, "fields")):
        with pytest.raises(UsageError, match=said):
            nvdec.require_nvdec(media, "cuda", **wish)  # type: ignore[arg-type]
    transparent = replace(media, video=replace(media.video, alpha=True))
    assert "transparency" in str(nvdec.unsuited(transparent))
    chroma = replace(media.video.color, chroma_location="bottomleft")
    assert "chroma lies bottomleft" in str(nvdec.unsuited(replace(media, video=replace(media.video, color=chroma))))
    whole = make_clip("whole.mkv", frames=60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert "known to be damaged" in str(nvdec.unsuited(probe(cut)))


def test_engines_on_the_cpu_have_no_nvdec(make_clip: Make) -> None:
    with pytest.raises(
        UsageError, match=r"--decoder nvdec decodes on the GPU of the engines, and they run on cpu\. Use --decoder"
    ):
        nvdec.require_nvdec(media_of(make_clip), "cpu")


@without_gpu
def test_a_machine_without_a_gpu_is_told_so(make_clip: Make) -> None:
    with pytest.raises(
        RuntimeUnavailableError, match=r"cannot decode .*clip\.mp4 here: torch sees no CUDA GPU\. Use --decoder cpu"
    ):
        nvdec.require_nvdec(media_of(make_clip), "cuda")


@without_gpu
def test_ffmpegs_own_reason_is_what_is_told(make_clip: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg is really asked for the GPU; only torch, which would refuse before it, is not."""
    asked = HWAccel("cuda", device="0", allow_software_fallback=False, is_hw_owned=True)
    monkeypatch.setattr(nvdec, "hwaccel_on", lambda device: asked)
    monkeypatch.setattr(nvdec, "availability", lambda device: None)
    with pytest.raises(RuntimeUnavailableError, match=r"here: .*(libcuda|nvcuda|CUDA)"):
        nvdec.require_nvdec(media_of(make_clip), "cuda")


# What becomes of trouble: the CPU's decoder stands in for the GPU's, as neither hears of damage from this module.


@pytest.fixture
def by_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is none: FFmpeg's own decoder without one."""
    monkeypatch.setattr(packet_pass, "hwaccel_on", lambda device: None)


def test_the_device_gives_what_the_cpu_gives(make_clip: Make, by_cpu: None) -> None:
    path = make_clip(frames=30, options={"bf": "3", "g": "10"})
    for start in (0.0, 0.5):
        with VideoDecoder(path, DecodeOptions(start, device="cuda")) as one, VideoDecoder(path, DecodeOptions(start)) as other:
            for mine, theirs in zip(one, other, strict=True):
                assert (mine.index, mine.pts, mine.duration) == (theirs.index, theirs.pts, theirs.duration)
                assert np.array_equal(mine.data, theirs.data)
    window = Window(first_index=20, first_pts=probe(path).video.frame_rate and list(VideoDecoder(path))[20].pts)
    with VideoDecoder(path, DecodeOptions(device="cuda"), window) as decoder:
        assert [frame.index for frame in decoder] == list(range(20, 30))


@pytest.mark.parametrize("name", ["broken.mkv", "broken.h264"])
def test_damage_is_told_as_the_cpu_tells_it(make_clip: Make, tmp_path: Path, by_cpu: None, name: str) -> None:
    """Also in a raw stream, whose pictures have no timestamps."""
    whole = make_clip(f"whole{Path(name).suffix}", frames=40, options={"g": "10", "bf": "2"}, size=(192, 128))
    broken = changed(whole, tmp_path / name, lambda number, data: noise(number, data) if number != NUMBER + 6 else data[:20])
    told = []
    for device in (None, "cuda"):
        with pytest.raises(DamagedVideoError) as caught, VideoDecoder(broken, DecodeOptions(device=device, threads=1)) as decoder:
            for _ in decoder:
                pass
        told.append((caught.value.index, caught.value.seconds, caught.value.message))
    assert told[0] == told[1]


class SemiPlanar:
    """FFmpeg's decoder, whose pictures have the layout that they have on a GPU."""

    def __init__(self, context: av.VideoCodecContext) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        pictures = self._context.decode(packet)
        return [picture.reformat(format=LAYOUTS[picture.format.name]) for picture in pictures]


def rgb_by_device(media: MediaInfo, options: DecodeOptions) -> list[tuple[int, int, tuple[int, ...], NDArray[Any]]]:
    """Called where the kernels are interpreted: the whole decoder, a GPU's layout and conversion, on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packet_pass, "hwaccel_on", lambda device: None)
        patch.setattr(packet_pass, "decoder_like", lambda *arguments: SemiPlanar(nvdec.decoder_like(*arguments)))
        with VideoDecoder(media, options) as decoder:
            return [(f.index, f.pts, f.data.stride(), f.data.numpy()) for f in decoder if isinstance(f.data, torch.Tensor)]


@pytest.mark.parametrize(
    ("codec", "pixel_format", "cropped"),
    [
        ("libx264", "yuv420p", False),
        ("libx264", "yuv420p", True),
        ("libx264", "yuvj420p", False),
        ("libx265", "yuv420p10le", True),
    ],
)
def test_frames_are_tensors_in_the_cpus_colours(
    make_clip: Make, codec: str, pixel_format: str, cropped: bool, interpreted: Any
) -> None:
    """From packets to frames, entered in the middle, cropped as the container says."""
    media = media_of(make_clip, frames=9, codec=codec, pixel_format=pixel_format, options={"g": "5"}, name="clip.mkv")
    if cropped:
        video = replace(media.video, width=media.video.width - 6, height=media.video.height - 3)
        media = replace(media, crop=Crop(left=4, right=2, top=1, bottom=2), video=video)
    found = interpreted(rgb_by_device, media, DecodeOptions(0.2, device="cuda"))
    with VideoDecoder(media, DecodeOptions(0.2)) as decoder:
        expected = list(decoder)
    assert len(found) == len(expected) == 4
    for (index, pts, strides, data), frame in zip(found, expected, strict=True):
        assert (index, pts, data.shape, data.dtype) == (frame.index, frame.pts, frame.data.shape, frame.data.dtype)
        assert strides == (1, 3 * media.coded_size[0], 3), "channels last in memory"
        largest = np.abs(data.astype(int) - frame.data).max()
        assert largest <= (1 if data.dtype == np.uint8 else 2 * 257)


def test_pictures_of_another_kind_are_refused(make_clip: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvdec, "hwaccel_on", lambda device: None)
    monkeypatch.setattr(nvdec, "availability", lambda device: None)
    with pytest.raises(RuntimeUnavailableError, match="come out as 64x48 yuv420p instead of 64x48 nv12"):
        nvdec.require_nvdec(media_of(make_clip), "cuda")


def slots(count: int, trouble: int | None = None, timed: bool = True) -> list[Slot]:
    return [Slot(None, n if timed else None, 1, "bad data" if n == trouble else None) for n in range(count)]


@pytest.mark.parametrize("timed", [True, False])
def test_trouble_that_the_cpu_does_not_see_is_the_gpus(timed: bool) -> None:
    again: list[int | None] = []

    def on_cpu(at: int | None) -> Iterator[Slot]:
        again.append(at)
        return iter(slots(100, timed=timed))

    passed = nvdec.doubted(iter(slots(100, 7, timed)), on_cpu, RuntimeUnavailableError)
    got = [next(passed) for _ in range(7)]
    with pytest.raises(RuntimeUnavailableError, match="bad data"):
        next(passed)
    assert len(got) == 7 and again == [6 if timed else None]


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("at", [3, 7, 20])
def test_trouble_that_the_cpu_sees_is_where_it_sees_it(timed: bool, at: int) -> None:
    """Before the place where the GPU's decoder complained, too: it may have passed it over."""
    passed = list(nvdec.doubted(iter(slots(100, 7, timed)), lambda _: iter(slots(100, at, timed)), RuntimeUnavailableError))
    reasons = [number for number, slot in enumerate(passed) if slot.reason]
    assert reasons == [max(at, 7)] and all(slot.reason is None for slot in passed[:7])
    assert len(passed) == 101 if at < 7 else len(passed) == 100


def test_sound_files_pass_once() -> None:
    def never(at: int | None) -> Iterator[Slot]:
        raise AssertionError("nothing was wrong")

    assert len(list(nvdec.doubted(iter(slots(30)), never, RuntimeUnavailableError))) == 30


# On a GPU


def decodable(path: Path) -> Path:
    """The file, or a skip with the reason why the GPU that is here does not decode it."""
    try:
        nvdec.require_nvdec(probe(path), "cuda")
    except RuntimeUnavailableError as error:  # 10 bits of H.264, say, or a container without NVIDIA's libraries for video
        pytest.skip(str(error))
    return path


@needs_gpu
@pytest.mark.parametrize(("codec", "pixel_format", "options"), STREAMS)
def test_planes_on_the_gpu_are_the_cpus_bit_for_bit(
    make_clip: Make, codec: str, pixel_format: str, options: dict[str, str]
) -> None:
    path = decodable(make_clip("a.mkv", frames=40, size=(256, 160), codec=codec, pixel_format=pixel_format, options=options))
    layout, dtype = LAYOUTS[pixel_format], np.uint16 if "10" in pixel_format else np.uint8
    with av.open(str(path)) as container, av.open(str(path)) as again:
        context = nvdec.decoder_like(container.streams.video[0], nvdec.hwaccel_on("cuda"), LimitsConfig())
        pictures = [one for packet in container.demux(video=0) for one in context.decode(packet if packet.size else None)]
        assert {picture.format.name for picture in pictures} == {"cuda"} and {layout_of(one) for one in pictures} == {layout}
        there = [[plane.cpu().numpy().reshape(-1, 256) for plane in planes_of(picture)] for picture in pictures]
        here = [picture.reformat(format=layout) for picture in again.decode(video=0)]
    assert len(there) == len(here) == 40
    for planes, picture in zip(there, here, strict=True):
        for plane, found in zip(picture.planes, planes, strict=True):
            rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype().itemsize)
            assert np.array_equal(rows[:, :256], found)


@needs_gpu
@pytest.mark.parametrize(("codec", "pixel_format", "options"), STREAMS)
def test_frames_on_the_gpu_are_the_cpus(make_clip: Make, codec: str, pixel_format: str, options: dict[str, str]) -> None:
    """Within the rounding of another pass; indices, times and order alike; entered in the middle, the same bits."""
    path = decodable(make_clip("a.mkv", frames=40, size=(256, 160), codec=codec, pixel_format=pixel_format, options=options))
    with VideoDecoder(path, DecodeOptions(device="cuda")) as one, VideoDecoder(path) as other:
        found, expected = list(one), list(other)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.data.is_cuda and mine.data.stride()[0] == 1
        assert (mine.index, mine.pts, mine.duration) == (theirs.index, theirs.pts, theirs.duration)
        largest = np.abs(mine.data.cpu().numpy().astype(int) - theirs.data).max()
        assert largest <= (1 if theirs.data.dtype == np.uint8 else 2 * 257)
    window = Window(first_index=25, first_pts=expected[25].pts)
    with VideoDecoder(path, DecodeOptions(device="cuda"), window) as decoder:
        for mine, before in zip(decoder, found[25:], strict=True):
            assert mine.index == before.index and torch.equal(mine.data, before.data)
