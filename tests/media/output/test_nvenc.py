"""NVENC: what is chosen, asked of it and refused. What is written needs a GPU; its names and values are FFmpeg's own here."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from vidrestore.config import EncodeConfig, RunConfig
from vidrestore.errors import ConfigError, RuntimeUnavailableError, UnsupportedStreamError, UsageError, VidrestoreError
from vidrestore.media.convert import FromRGB
from vidrestore.media.input.probe import probe
from vidrestore.media.output.codecs import ENCODERS, NVENC, encoder_of
from vidrestore.media.output.encoder_check import check_options
from vidrestore.media.output.encoder_options import encoder_options
from vidrestore.media.output.encoders import plan_encoding, settle_encode
from vidrestore.media.output.sink import check_sink
from vidrestore.media.output.written_picture import choose_pixel_format, place_chroma, static_hdr
from vidrestore.types import ColorSpec, StreamInfo

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a CUDA GPU")


def info_of(pixel_format: str = "yuv420p", size: tuple[int, int] = (320, 180), **color: Any) -> StreamInfo:
    alpha = color.pop("alpha", False)
    bits = max(8, av.VideoFormat(pixel_format, 16, 16).components[0].bits)
    return StreamInfo(*size, Fraction(1, 25), ColorSpec(bit_depth=bits, **color), pixel_format, alpha=alpha)


def nvenc(**encode: Any) -> EncodeConfig:
    return EncodeConfig.model_validate({"encoder": "nvenc", **encode})


def settled(info: StreamInfo, container: str = "mp4", **encode: Any) -> EncodeConfig:
    return settle_encode(nvenc(**encode), info, container)


def options_of(info: StreamInfo, container: str = "mp4", **encode: Any) -> dict[str, str]:
    config = settled(info, container, **encode)
    pixel_format, _ = choose_pixel_format(info, config)
    return encoder_options(config, info.color, pixel_format, container, (info.width, info.height))


@pytest.mark.parametrize(
    ("pixel_format", "container", "codec", "written", "given"),
    [
        ("yuv420p", "mp4", "h264", "yuv420p", "yuv420p"),
        ("yuv444p", "mp4", "h264", "yuv444p", "yuv444p"),
        ("yuv422p", "mp4", "h264", "yuv444p", "yuv444p"),
        ("yuv420p10le", "mp4", "hevc", "yuv420p10le", "p010le"),
        ("yuv420p10le", "webm", "av1", "yuv420p10le", "p010le"),
        ("yuv420p", "webm", "av1", "yuv420p", "yuv420p"),
        ("yuv422p10le", "matroska", "hevc", "yuv420p10le", "p010le"),
    ],
)
def test_what_is_written_by_itself(pixel_format: str, container: str, codec: str, written: str, given: str) -> None:
    info = info_of(pixel_format)
    config = settled(info, container)
    assert (config.codec, choose_pixel_format(info, config)[0]) == (codec, written)
    assert encoder_of(config).given(written) == given
    assert given in [layout.name for layout in av.codec.Codec(encoder_of(config).name, "w").video_formats or ()]


def test_nobody_gets_it_unasked() -> None:
    for wish in ("auto", "software"):
        config = settle_encode(EncodeConfig(encoder=wish), info_of(), "mp4")
        assert encoder_of(config) is ENCODERS["h264"]
        assert plan_encoding(config, info_of(), "mp4").encoder.name == "libx264"


@pytest.mark.parametrize("codec", NVENC)
@pytest.mark.parametrize("encode", [{}, {"crf": 30, "preset": "p7"}, {"options": {"rc": "constqp", "qp": "20"}}, {"crf": 1}])
def test_options_are_the_encoders_own(codec: str, encode: dict[str, Any]) -> None:
    """Each is one that FFmpeg lists for the encoder, with a value it takes."""
    encoder = NVENC[codec]
    supported = av.CodecContext.create(encoder.name, "w").supported_options
    known = {option.name: option for option in (*supported.generic, *supported.private)}
    for name, value in options_of(info_of(), codec=codec, **encode).items():
        option = known[name]
        choices = {choice.name for choice in option.choices}
        assert value in choices or option.min <= float(value) <= option.max, (name, value)
    assert float(known["cq"].max) == encoder.largest_crf, "quality is said on FFmpeg's scale"
    assert set(encoder.presets) <= {choice.name for choice in known["preset"].choices}


def test_quality_is_constant_unless_a_rate_is_given() -> None:
    assert options_of(info_of(), crf=23) | {"cq": "23"} == options_of(info_of(), crf=23)
    chosen = options_of(info_of())
    assert (chosen["rc"], chosen["cq"], chosen["b"], chosen["preset"], chosen["profile"]) == ("vbr", "18", "0", "p5", "high")
    by_rate = options_of(info_of(), options={"b": "4000000"})
    assert by_rate["b"] == "4000000" and "cq" not in by_rate
    assert "crf" not in chosen and not any(name.endswith("-params") for name in chosen)
    assert options_of(info_of(), "avi", codec="h264")["bf"] == "0"
    for codec in ("hevc", "av1"):
        assert options_of(info_of(), codec=codec)["split_encode_mode"] == "disabled"


@pytest.mark.parametrize(
    ("pixel_format", "container", "encode", "error", "said"),
    [
        ("yuv420p", "webm", {"codec": "vp9"}, UsageError, "NVENC writes h264, hevc, av1, and not vp9"),
        ("yuv420p", "matroska", {"codec": "ffv1"}, UsageError, "and not ffv1"),
        ("yuv420p12le", "mp4", {}, UsageError, "at most 8 bits a sample, and the source has 12. Use --encoder software"),
        (
            "yuv420p10le",
            "mp4",
            {"codec": "h264"},
            UsageError,
            "h264 holds at most 8 bits a sample, and the source has 10",
        ),
        ("yuv420p", "mp4", {"crf": 0}, UsageError, r"--crf 0 is out of range for h264 of NVENC. Use 1\.\.51"),
        ("yuv420p", "mp4", {"codec": "hevc", "crf": 60}, UsageError, r"Use 1\.\.51"),
        ("yuv420p", "mp4", {"preset": "veryfast"}, ConfigError, "no preset 'veryfast'"),
        ("yuv420p", "mpegts", {"codec": "av1"}, UnsupportedStreamError, "cannot hold av1"),
        ("yuv420p", "mp4", {"options": {"cq": "20"}}, ConfigError, "Use --crf"),
        ("yuv420p", "mp4", {"options": {"gpu": "1"}}, ConfigError, "differ from one machine"),
        ("yuv420p", "mp4", {"codec": "hevc", "options": {"split_encode_mode": "3"}}, ConfigError, "differ from one machine"),
        ("yuv420p", "mp4", {"options": {"highbitdepth": "1"}}, ConfigError, "the colour and its depth are the source's"),
        ("yuv420p", "mp4", {"options": {"extra_sei": "0"}}, ConfigError, "captions or transparency would be lost"),
        ("yuv420p", "mp4", {"options": {"x264-params": "ref=1"}}, ConfigError, "h264_nvenc of FFmpeg"),
    ],
)
def test_what_is_refused(
    pixel_format: str, container: str, encode: dict[str, Any], error: type[VidrestoreError], said: str
) -> None:
    with pytest.raises(error, match=said):
        plan_encoding(nvenc(**encode), info_of(pixel_format), container)


def test_what_is_not_kept_is_refused() -> None:
    with pytest.raises(UsageError, match="and not prores, which keeps the transparency"):
        settle_encode(nvenc(codec="prores"), info_of(alpha=True), "mov")
    with pytest.raises(UsageError, match="vp9, which keeps the transparency"):
        settle_encode(nvenc(), info_of(alpha=True), "webm")
    hdr = info_of("yuv420p10le", transfer="smpte2084", content_light=(1000, 400)).color
    with pytest.raises(UsageError, match=r"NVENC does not keep the HDR mastering display.*--encoder software"):
        static_hdr(hdr, settled(info_of("yuv420p10le")))


def test_chroma_lies_where_players_look_for_it() -> None:
    """Its streams do not say where, and readers believe them more than the container."""
    color = info_of(chroma_location="topleft").color
    for codec in NVENC:
        config = settled(info_of(), codec=codec)
        assert place_chroma(color, config, "mp4").chroma_location == "left"
        assert place_chroma(color, config, "matroska").chroma_location == "left"
        assert place_chroma(info_of().color, config, "mp4").chroma_location is None


@pytest.mark.parametrize("target", ["frames/", "out.gif", "out.y4m", "-"])
def test_outputs_without_an_encoder_are_refused(make_clip: Callable[..., Path], tmp_path: Path, target: str) -> None:
    media = probe(make_clip())
    place = target if target == "-" else f"{tmp_path}/{target}"
    with pytest.raises(UsageError, match=r"NVENC writes h264, hevc and av1, which .* does not hold"):
        check_sink(place, media, media.video, RunConfig(encode=nvenc()))


@without_gpu
@pytest.mark.parametrize("codec", NVENC)
def test_a_machine_without_a_gpu_is_told_so(codec: str) -> None:
    """In FFmpeg's own words, after it was really asked."""
    with pytest.raises(RuntimeUnavailableError, match=rf"NVENC cannot write {codec} of 320x180 here: .*(load|CUDA|device).* Use"):
        plan_encoding(nvenc(codec=codec), info_of(), "mp4")


@pytest.mark.parametrize("full_range", [False, True])
def test_p010_is_the_planar_picture_in_another_layout(full_range: bool) -> None:
    """Every bit, and the tags and captions with it."""
    color = ColorSpec(bit_depth=10, full_range=full_range, tagged_matrix="bt2020nc", tagged_range="pc" if full_range else "tv")
    pixels = np.random.default_rng(1).integers(0, 65536, (48, 70, 3)).astype(np.uint16)
    planar = FromRGB(70, 48, "yuv420p10le", color)(pixels)
    packed = FromRGB(70, 48, "p010le", color)(pixels, None, b"\xfc\x94\x2c")
    samples = [
        np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : plane.width]  # type: ignore[call-overload]
        for plane in planar.planes
    ]
    luma, chroma = (np.frombuffer(plane, np.uint16).reshape(-1, plane.line_size // 2)[:, :70] for plane in packed.planes)
    assert packed.format.name == "p010le"
    for written, expected in zip((luma, chroma[:, ::2], chroma[:, 1::2]), samples, strict=True):
        assert np.array_equal(written, expected << 6)
    assert (packed.color_range, packed.colorspace) == (planar.color_range, planar.colorspace)
    assert [bytes(side) for side in packed.side_data] == [b"\xfc\x94\x2c"]


def test_options_that_are_the_users_to_set() -> None:
    for name, value in (("spatial-aq", "1"), ("rc-lookahead", "20"), ("bf", "2"), ("multipass", "fullres"), ("g", "60")):
        check_options(nvenc(codec="hevc", options={name: value}), "hevc_nvenc", "mp4")


# On a GPU that has an encoder (H100 has none)


@needs_gpu
@pytest.mark.parametrize(("codec", "pixel_format"), [("h264", "yuv420p"), ("hevc", "yuv420p10le"), ("av1", "yuv420p")])
def test_files_are_whole_and_the_same_twice(
    make_clip: Callable[..., Path], through: Callable[..., Any], tmp_path: Path, codec: str, pixel_format: str
) -> None:
    """Through the whole writer, which verifies: count, every timestamp, tags."""
    stamps = [0, 512, 1024, 1500, 2048, 3000, 3584, 4096, 4608, 5120, 5632, 6144, 6656, 7168, 7680, 8192]
    source = make_clip("in.mkv", size=(320, 192), pts=stamps, time_base=Fraction(1, 12800), pixel_format=pixel_format)
    encode = {"encoder": "nvenc", "codec": codec}
    try:
        plan_encoding(EncodeConfig.model_validate(encode), probe(source).video, "mp4")
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))
    for name in ("a.mp4", "b.mp4"):
        through(source, tmp_path / name, encode=encode)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert probe(tmp_path / "a.mp4").video.pixel_format == pixel_format
