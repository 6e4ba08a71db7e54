"""What each container can hold: one row for each, from its specification and what FFmpeg's muxer writes and reads back.

A codec is listed only where it comes back with the same codec, packets and timestamps (test_remux.py holds
every row against real files); a muxer that takes a stream and loses it is no holder of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from vidrestore.errors import UsageError

__all__ = ["CONTAINERS", "FORMATS", "Container", "constant_rate_only", "muxer_of"]


@dataclass(frozen=True)
class Container:
    """A container. Codecs are FFmpeg's canonical names."""

    muxer: str
    """FFmpeg's name of its muxer."""
    extension: str
    """The usual one, with its dot: its name in sentences."""
    pictures: frozenset[str]
    """Codecs the restored picture may be written in."""
    video: frozenset[str] = frozenset()
    """Codecs of further pictures, copied."""
    audio: frozenset[str] = frozenset()
    subtitles: frozenset[str] = frozenset()
    text: str | None = None
    """What other text subtitles are converted to; None: it holds no text."""
    covers: frozenset[str] = frozenset()
    data: bool = False
    attachments: bool = False
    chapters: bool = False
    metadata: bool | frozenset[str] = False
    """True: any words; else only these keys."""
    languages: frozenset[str] = frozenset()
    """Kinds of streams whose language is kept."""
    titles: bool = False
    """Whether streams keep their titles."""
    dispositions: frozenset[str] = frozenset()
    """Marks of streams (default, forced ...) that come back."""
    rotation: bool = False
    aspect: bool = False
    """Whether it holds the shape of pixels whatever the codec."""
    tick: Fraction | None = None
    """Seconds of its clock; None: each stream has its own."""
    negative: bool = False
    """Whether a timestamp before 0 can be kept."""
    constant_rate: bool = False
    """No timestamps: every picture lasts as long as any other, and all streams begin together."""
    only_rate: Fraction | None = None
    """The one rate that readers assume, where the file states none."""
    lost: str = ""
    """Why it holds so little, for refusals."""
    options: dict[str, str] = field(default_factory=dict)
    """The muxer's own options."""

    def __str__(self) -> str:
        """With its article, to begin a sentence."""
        return f"{'A' if self.extension in ('.mov', '.ts', '.webm') else 'An'} {self.extension} file"


_PCM = frozenset(f"pcm_{kind}" for kind in ("s16le", "s24le", "s32le", "f32le", "f64le", "s16be", "s24be", "s32be"))
_TEXT = frozenset({"subrip", "webvtt", "ass", "text"})
_ALL = frozenset({"video", "audio", "subtitle", "data"})
_ROLES = frozenset({"hearing_impaired", "visual_impaired"})
_MPEG_AUDIO = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "dts"})
_RIFF_WORDS = frozenset({"title", "artist", "album", "comment", "copyright", "date", "genre", "language", "track", "timecode"})

# Each audio packet in a PES packet of its own, so that each keeps its own time; no delay added to any.
_TRANSPORT = {"pes_payload_size": "0", "mpegts_copyts": "1", "avoid_negative_ts": "disabled"}

FORMATS = {
    "m2ts" if container.extension == ".m2ts" else container.muxer: container
    for container in (
        Container(
            muxer="mp4",
            extension=".mp4",
            pictures=frozenset({"h264", "hevc", "av1", "vp9"}),
            video=frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "vc1"}),
            audio=_MPEG_AUDIO | {"opus", "flac", "alac", "vorbis"} | _PCM,
            subtitles=frozenset({"mov_text", "dvd_subtitle"}),
            text="mov_text",
            covers=frozenset({"mjpeg", "png", "bmp"}),
            data=True,
            chapters=True,
            metadata=True,
            languages=_ALL,
            titles=True,
            dispositions=_ROLES | {"default", "dub", "comment", "forced", "captions", "descriptions"},
            rotation=True,
            aspect=True,
            negative=True,
        ),
        Container(
            muxer="mov",
            extension=".mov",
            pictures=frozenset({"h264", "hevc", "prores"}),
            video=frozenset({"h264", "hevc", "prores", "dnxhd", "mpeg4", "mpeg2video", "mjpeg", "png", "cfhd", "rawvideo"}),
            audio=_MPEG_AUDIO | {"alac", "amr_nb", "amr_wb", "pcm_u8", "pcm_s8", "pcm_alaw", "pcm_mulaw"} | _PCM,
            subtitles=frozenset({"mov_text"}),
            text="mov_text",
            data=True,
            chapters=True,
            metadata=True,
            languages=_ALL,
            titles=True,
            dispositions=frozenset({"default"}),
            rotation=True,
            aspect=True,
            negative=True,
        ),
        Container(
            muxer="matroska",
            extension=".mkv",
            pictures=frozenset({"h264", "hevc", "av1", "vp9", "prores", "ffv1"}),
            video=frozenset({"h264", "hevc", "av1", "vp8", "vp9", "prores", "ffv1", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg"})
            | {"theora", "snow", "rv30", "rv40"},
            audio=_MPEG_AUDIO | {"opus", "vorbis", "flac", "alac", "truehd", "mlp", "tta", "wavpack", "pcm_u8", "cook"} | _PCM,
            subtitles=_TEXT | {"ssa", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"},
            text="subrip",
            covers=frozenset({"mjpeg", "png", "bmp", "gif", "tiff", "webp"}),
            attachments=True,
            chapters=True,
            metadata=True,
            languages=_ALL,
            titles=True,
            dispositions=_ROLES | {"default", "dub", "comment", "forced", "original", "descriptions"},
            rotation=True,
            aspect=True,
            tick=Fraction(1, 1000),
            lost="Matroska knows no data tracks (RFC 9559, section 5.1.4.1.3: its track types have none)",
            options={"default_mode": "passthrough"},
        ),
        Container(
            muxer="webm",
            extension=".webm",
            pictures=frozenset({"vp9", "av1"}),
            video=frozenset({"vp8", "vp9", "av1"}),
            audio=frozenset({"opus", "vorbis"}),
            subtitles=frozenset({"webvtt"}),
            text="webvtt",
            chapters=True,
            metadata=True,
            languages=_ALL,
            titles=True,
            dispositions=frozenset({"default", "forced"}),
            rotation=True,
            aspect=True,
            tick=Fraction(1, 1000),
            lost="WebM holds VP8, VP9 and AV1, Vorbis and Opus, and WebVTT only",
            options={"default_mode": "passthrough"},
        ),
        Container(
            muxer="mpegts",
            extension=".ts",
            pictures=frozenset({"h264", "hevc"}),
            video=frozenset({"h264", "hevc", "mpeg2video", "mpeg1video", "mpeg4", "vc1"}),
            audio=_MPEG_AUDIO | {"opus"},
            subtitles=frozenset({"dvb_subtitle"}),
            languages=frozenset({"audio", "subtitle"}),
            dispositions=_ROLES,
            tick=Fraction(1, 90000),
            lost="an MPEG transport stream (ISO/IEC 13818-1) has no stream type for it",
            options=_TRANSPORT,
        ),
        Container(
            muxer="mpegts",
            extension=".m2ts",
            pictures=frozenset({"h264", "hevc"}),
            audio=_MPEG_AUDIO,
            languages=frozenset({"audio", "subtitle"}),
            dispositions=_ROLES,
            tick=Fraction(1, 90000),
            lost="a BDAV transport stream has one picture, and no stream type for it",
            options={**_TRANSPORT, "mpegts_m2ts_mode": "1"},
        ),
        Container(
            muxer="avi",
            extension=".avi",
            pictures=frozenset({"h264", "ffv1"}),
            video=frozenset({"ffv1", "mjpeg", "huffyuv", "png"}),
            audio=frozenset({"aac", "ac3", "mp2", "mp3", "flac", "adpcm_ima_wav", "wmav2", "pcm_u8", "pcm_alaw", "pcm_mulaw"})
            | {name for name in _PCM if name.endswith("le")},
            metadata=_RIFF_WORDS,
            titles=True,
            constant_rate=True,
            lost="an AVI file has no timestamps and holds pictures and sound only",
            options={"avoid_negative_ts": "disabled"},
        ),
        Container(
            "h264", ".h264", frozenset({"h264"}), constant_rate=True, lost="a raw H.264 stream holds nothing but its pictures"
        ),
        Container(
            "hevc", ".hevc", frozenset({"hevc"}), constant_rate=True, lost="a raw HEVC stream holds nothing but its pictures"
        ),
        Container(
            muxer="obu",
            extension=".obu",
            pictures=frozenset({"av1"}),
            constant_rate=True,
            only_rate=Fraction(25),
            lost="a raw AV1 stream holds nothing but its pictures",
        ),
        Container("ivf", ".ivf", frozenset({"vp9", "av1"}), lost="an IVF file holds nothing but its pictures"),
    )
}
"""By the name of the muxer, `m2ts` for the 192-byte packets of BDAV and AVCHD."""

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".m2ts": "m2ts",
    ".mts": "m2ts",
    ".avi": "avi",
    ".h264": "h264",
    ".264": "h264",
    ".hevc": "hevc",
    ".h265": "hevc",
    ".265": "hevc",
    ".obu": "obu",
    ".ivf": "ivf",
}
"""Extension of the output to its key in FORMATS."""


def muxer_of(target: Path, container: str | None = None) -> str:
    """The key in FORMATS of an output's container: that of the extension `container` (`mkv` or `.mkv`) if given, else of its own.

    Raises:
        UsageError: neither is one that can be written.
    """
    extension = target.suffix if container is None else f".{container.removeprefix('.')}"
    muxer = CONTAINERS.get(extension.lower())
    if muxer is None:
        what = f"{target.name} has no extension" if container is None else f"--container {container} is none"
        raise UsageError(f"{what} that can be written.", f"Use one of {', '.join(sorted(CONTAINERS))}.")
    return muxer


def constant_rate_only(extension: str) -> bool:
    """Whether files of this extension (`.avi` or `avi`) keep no timestamps, so that pictures must come at a constant rate."""
    muxer = CONTAINERS.get(f".{extension.removeprefix('.')}".lower())
    return muxer is not None and FORMATS[muxer].constant_rate
