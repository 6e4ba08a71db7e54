"""NVDEC, the decoder of NVIDIA's GPUs, whose pictures stay on the device: which files it may have, and how it is asked.

It decodes as the CPU does, and says nothing of damage: where data is broken in the middle of a picture it makes something up and
reports success (FFmpeg does not ask for its status). So nobody gets it unasked. What FFmpeg itself finds in headers and among
references is told as ever: at the first trouble the CPU decodes the place again, and what it says is what is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain, islice

import av
import av.error
from av.codec.hwaccel import HWAccel

from vidrestore.config import Damage as OnDamage
from vidrestore.config import LimitsConfig
from vidrestore.errors import RuntimeUnavailableError, UsageError
from vidrestore.kernels.gpu import availability
from vidrestore.media.convert_on_device import LAYOUTS, ToDeviceRGB, layout_of
from vidrestore.media.input.ledger import Slot
from vidrestore.media.input.limits import codec_options
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.probe import open_input
from vidrestore.media.matrices import is_quick
from vidrestore.media.messages import Messages
from vidrestore.media.tags import LOG_LOCK

__all__ = ["UNTOLD_DAMAGE", "decoder_like", "doubted", "hwaccel_on", "require_nvdec", "unsuited"]

CODECS = ("h264", "hevc", "av1", "vp9")
"""Those whose standard leaves no room for rounding: any decoder gives the same bits (of AV1, where it has no film grain)."""
UNTOLD_DAMAGE = "NVDEC decodes the video: damage inside a picture goes unnoticed, which the CPU's decoder would tell."
PATIENCE = 300
"""Packets within which the first picture comes."""
DOUBT = 24
"""Pictures that the CPU decodes behind a place where NVDEC gave up, before it is NVDEC that is to blame: more than lie between a
packet and its picture (see `ledger.PATIENCE`)."""


def require_nvdec(media: MediaInfo, device: str, *, on_damage: OnDamage = "stop", deinterlace: bool = False) -> None:
    """Make sure that the GPU decodes a file: by what is known of both, then by decoding the first picture there.

    Args:
        media: the file.
        device: where the engines run: `cuda`, `cuda:1`.
        on_damage, deinterlace: as in `DecodeOptions`.

    Raises:
        UsageError: the file, or what is to be done with it, is not for NVDEC, or the engines run on no GPU.
        RuntimeUnavailableError: there is no such GPU, or it does not decode this.
    """
    if not device.startswith("cuda"):
        message = f"--decoder nvdec decodes on the GPU of the engines, and they run on {device}."
        raise UsageError(message, "Use --decoder cpu, or --device cuda.")
    if (why := unsuited(media, on_damage=on_damage, deinterlace=deinterlace)) is not None:
        raise UsageError(f"NVDEC cannot decode {media.path}: {why}.", "Use --decoder cpu.")
    if (why := availability(device)) is None:
        why = _tried(media, device)
    if why is not None:
        raise RuntimeUnavailableError(f"NVDEC cannot decode {media.path} here: {why}.", "Use --decoder cpu.")


def unsuited(media: MediaInfo, *, on_damage: OnDamage = "stop", deinterlace: bool = False) -> str | None:
    """Why a file is not for any NVDEC, in words that follow a colon; None: it may be."""
    video = media.video
    if on_damage == "conceal":
        return "it does not say which pictures are damaged, and --on-damage conceal lists them"
    if media.truncation is not None:
        return "the file is known to be damaged, and NVDEC does not say where pictures are"
    if deinterlace or media.interlaced:
        return "fields are made whole on the CPU"
    if video.codec not in CODECS:
        return f"its codec {video.codec or 'is unknown and'} is none of {', '.join(CODECS)}"
    if video.alpha:
        return "its transparency is decoded on the CPU only"
    if video.pixel_format not in LAYOUTS:
        return f"its pixel format {video.pixel_format} is not 4:2:0 of 8 or 10 bits"
    width, height = media.coded_size
    if not is_quick(width, height, replace(video.color, chroma_location=None)):
        return f"its pictures of {width}x{height} are odd in size or too small for the conversion on the GPU"
    if not is_quick(width, height, video.color):
        return f"its chroma lies {video.color.chroma_location}, for which there is no conversion on the GPU"
    return None


def hwaccel_on(device: str) -> HWAccel:
    """FFmpeg's way onto a GPU: it shares torch's CUDA context, which becomes the calling thread's, and leaves pictures there.

    (A context of its own would hold memory of its own; the primary one FFmpeg takes only if nobody has set it up before.)
    """
    import torch  # here, since most files are decoded on the CPU, and torch loads slowly

    number = torch.device(device).index or 0
    torch.zeros(1, device=f"cuda:{number}")
    torch.cuda.synchronize(number)
    options: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
    return HWAccel("cuda", device=str(number), allow_software_fallback=False, options=options, is_hw_owned=True)


def decoder_like(stream: av.VideoStream, hwaccel: HWAccel | None, limits: LimitsConfig) -> av.VideoCodecContext:
    """FFmpeg's own decoder for a stream that is open, on a device or (None) on the CPU; no part of the stream's own.

    Raises av.error.FFmpegError: the device cannot be opened.
    """
    own = stream.codec_context
    with _current(hwaccel):
        context = av.CodecContext.create(own.codec.canonical_name, "r", hwaccel=hwaccel)
    assert isinstance(context, av.VideoCodecContext)
    if own.extradata is not None:
        context.extradata = own.extradata
    context.width, context.height = own.width, own.height
    context.reorder_depth = own.reorder_depth
    context.thread_count = 1
    context.options = codec_options(limits)
    return context


def _current(hwaccel: HWAccel | None) -> AbstractContextManager[object]:
    """The context that torch has made on the GPU is the thread's own meanwhile: FFmpeg takes the one that it finds there."""
    import torch

    if hwaccel is None or not torch.cuda.is_initialized():
        return nullcontext()
    return torch.cuda.device(int(hwaccel.device_id))


def doubted(
    slots: Iterator[Slot], on_cpu: Callable[[int | None], Iterator[Slot]], failure: Callable[[str], Exception]
) -> Iterator[Slot]:
    """The moments of a pass through NVDEC; from the first trouble on, those that the CPU decodes.

    Args:
        slots: what comes through NVDEC.
        on_cpu: the same by the CPU, from a moment (ticks; None: the beginning) or before it on.
        failure: makes the error for a reason that NVDEC had and the CPU has not.

    Raises what `failure` makes: the CPU finds nothing wrong with the next pictures.
    """
    passed, last, reason = 0, None, None
    for slot in slots:
        if slot.reason is not None:
            reason = slot.reason
            break
        passed, last = passed + 1, slot.pts
        yield slot
    if reason is None:
        return
    again = _behind(on_cpu(last), passed, last)
    seen = list(islice(again, DOUBT))
    if not any(slot.reason is not None for slot in seen):
        raise failure(reason)
    yield from chain(seen, again)


def _behind(slots: Iterator[Slot], passed: int, last: int | None) -> Iterator[Slot]:
    """What comes after the moments that went by, and any trouble among them: NVDEC may not have seen it."""
    for number, slot in enumerate(slots):
        new = number >= passed if last is None else slot.pts is not None and slot.pts > last
        if new or slot.reason is not None:
            yield slot


def _tried(media: MediaInfo, device: str) -> str | None:
    """What is in the way of the first picture on a GPU; None: it came, and became RGB there."""
    with LOG_LOCK, Messages() as messages:
        try:
            picture = _first_picture(media, device)
        except (av.error.FFmpegError, MemoryError, RuntimeError) as error:
            problem: Exception | None = error
        else:
            problem = None
    if problem is not None:
        return messages.first(problem)
    if picture is None:
        return next(iter(messages.texts), "it gave no picture")
    found = (picture.width, picture.height, layout_of(picture))
    wanted = (*media.coded_size, LAYOUTS[media.video.pixel_format])
    if found != wanted:
        return "its pictures come out as {}x{} {} instead of {}x{} {}".format(*found, *wanted)
    try:
        ToDeviceRGB(media.video)(picture).cpu()
        _ = picture.side_data
    except (ValueError, RuntimeError, NotImplementedError) as error:
        return str(error).strip().rstrip(".").partition("\n")[0]
    return None


def _first_picture(media: MediaInfo, device: str) -> av.VideoFrame | None:
    with open_input(media) as container:
        stream = container.streams[media.video_index]
        assert isinstance(stream, av.VideoStream)
        decoder = decoder_like(stream, hwaccel_on(device), media.limits)
        for packet in islice(container.demux(stream), PATIENCE):
            if packet.size and (pictures := decoder.decode(packet)):
                return pictures[0]
        return next(iter(decoder.decode(None)), None)
