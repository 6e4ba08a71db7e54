"""The join: an output made of finished segments, in one pass, without encoding any picture again.

Muxed outputs take the packets as they are. Only their times are set anew: the pictures of all segments in order have one rising
list of pts, and the i-th packet of all is decoded D pictures before the i-th of that list is shown, D being the farthest that
decoding runs ahead in any segment. So dts rise through all joins and are never after the pts.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import av
from av.packet import PacketSideData, PktSideDataT

from vidrestore.config import RunConfig
from vidrestore.errors import DamagedSegmentError, EmptyVideoError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.output.constant_rate import on_grid
from vidrestore.media.output.lossless import PictureRestorer
from vidrestore.media.output.muxed_file import MuxedFile
from vidrestore.media.output.muxed_plan import MuxedPlan, plan_muxed
from vidrestore.media.output.packet_file import PacketReader, Record, Trailer
from vidrestore.media.output.sink import kind_of_sink, open_sink, paced, without_alpha
from vidrestore.media.output.target import check_target, muxer_of
from vidrestore.media.passthrough.packets import coded_packet
from vidrestore.media.proof.verify import VerifyReport
from vidrestore.types import Frame, StreamInfo

__all__ = ["join", "segment_origin"]

_SIDE_DATA = get_args(PktSideDataT)
"""Names of side data in the order of FFmpeg's numbers."""

BeforeNaming = Callable[[Path, VerifyReport], None]


def segment_origin(
    target: str, media: MediaInfo, info: StreamInfo, config: RunConfig, folder: Path, comment: str = ""
) -> Fraction | None:
    """Seconds of the source's timeline at which the grid of a constant rate begins; None where segments need no such thing.

    Muxed outputs with `--cfr` are encoded on a grid whose zero depends on what the file can hold, and so on its sound: it is
    settled here once, for all segments. Arguments and errors as for `join`; a file is begun in `folder` and removed.
    """
    if not config.cfr or kind_of_sink(target, config.container) != "muxed":
        return None
    file = MuxedFile(_muxed_plan(target, media, info, config, comment), folder=folder)
    try:
        return file.shift
    finally:
        file.close()


def join(
    target: str,
    media: MediaInfo,
    info: StreamInfo,
    config: RunConfig,
    segments: Sequence[Path],
    *,
    folder: Path,
    overwrite: bool = False,
    comment: str = "",
    before_naming: BeforeNaming | None = None,
) -> VerifyReport:
    """Make the output of all segments, verify it, and give it its name.

    Args:
        target: the output as the user named it; not a pipe.
        media: the input, whose other streams are copied.
        info: the picture as it leaves the engines.
        config: the settings that the segments were encoded with.
        segments: packet files of `SegmentEncoder`, in order, all of them.
        folder: where the output grows, on the same disk, used by nobody else; what a killed join left there is replaced.
        overwrite: replace an existing output.
        comment: which engines ran.
        before_naming: called with the verified file (a folder of images) and the report when only the name is missing.

    Raises:
        UsageError, MediaError, StorageError: as `check_sink` and `VideoWriter` do.
        DamagedSegmentError: a segment is not what was written, or was encoded with other settings.
        EmptyVideoError: there is no picture.
        VerificationError: nothing is left under the name.
        ValueError: segments that do not follow each other: a fault of the caller.
    """
    kind = kind_of_sink(target, config.container)
    if kind == "pipe":
        raise ValueError("what goes into a pipe cannot be made of segments")
    total = _check_order(segments, "coded" if kind == "muxed" else "kept")
    if not total:
        raise EmptyVideoError(f"No picture was written to {target}.")
    work = _Work(target, media, info, config, segments, folder, overwrite, comment, before_naming)
    return _join_packets(work) if kind == "muxed" else _join_pictures(work)


@dataclass(frozen=True)
class _Work:
    """What `join` was asked for."""

    target: str
    media: MediaInfo
    info: StreamInfo
    config: RunConfig
    segments: Sequence[Path]
    folder: Path
    overwrite: bool
    comment: str
    before_naming: BeforeNaming | None


def _check_order(segments: Sequence[Path], kind: str) -> int:
    """The number of all pictures; refuses segments of another kind, and gaps between them."""
    total, following = 0, None
    for path in segments:
        trailer = _trailer(path)
        if trailer.kind != kind:
            raise DamagedSegmentError(f"The segment {path} was made for another kind of output.")
        if trailer.frames:
            if following is not None and trailer.first != following:
                raise ValueError(f"{path} begins with frame {trailer.first} instead of {following}")
            following = trailer.first + trailer.frames
        total += len(trailer.pts)
    return total


def _trailer(path: Path) -> Trailer:
    with PacketReader(path) as reader:
        return reader.trailer


# -- muxed ------------------------------------------------------------------------------------------------------------


def _muxed_plan(target: str, media: MediaInfo, info: StreamInfo, config: RunConfig, comment: str) -> MuxedPlan:
    path = Path(target)
    info, _ = paced(media, without_alpha(info, config), config, muxer_of(path, config.container))
    return plan_muxed(
        path,
        media,
        info,
        config.encode,
        start=config.start,
        duration=config.duration,
        strip_location=config.strip_location,
        comment=comment,
        container=config.container,
        drop_streams=config.drop_streams,
        on_damage=config.on_damage,
    )


def _join_packets(work: _Work) -> VerifyReport:
    config = work.config
    check_target(Path(work.target), work.media.path, work.overwrite, container=config.container)
    plan = _muxed_plan(work.target, work.media, work.info, config, work.comment)
    file = MuxedFile(plan, work.overwrite, work.folder)
    try:
        sum_up = _place_all(file, work.segments, config.cfr)
        for record, packet, duration in _packets(file, work.segments, sum_up):
            file.mux(_with_side_data(packet, record), duration)
        file.complete()
        report = file.verified(sum_up.last_duration, (*file.notices, *sum_up.notices))
        if config.cfr and plan.picture.info.frame_rate is not None:
            report = on_grid(report, plan.picture.info.frame_rate, sum_up.repeated, sum_up.left_out)
        if work.before_naming is not None:
            work.before_naming(file.path, report)
        file.commit()
        return report
    except BaseException as error:
        raise file.explained(error) from None
    finally:
        file.close()


class _Sum:
    """What all trailers say together."""

    def __init__(self) -> None:
        self.depth = self.repeated = self.left_out = 0
        self.last_duration: int | None = None
        self.notices: tuple[str, ...] = ()


def _place_all(file: MuxedFile, segments: Sequence[Path], constant: bool) -> _Sum:
    """Give every picture its pts in the file; refuses segments that another encoder made, or for another grid."""
    total = _Sum()
    picture = file.plan.picture
    written = file.stream.codec_context.extradata or b""
    begin = file.shift if constant else Fraction(0)
    index = 0
    for path in segments:
        trailer = _trailer(path)
        if not trailer.pts:
            total.repeated, total.left_out = total.repeated + trailer.repeated, total.left_out + trailer.left_out
            continue
        there = (trailer.codec, trailer.width, trailer.height, trailer.pixel_format, trailer.time_base, trailer.extradata)
        here = (picture.encoding.encode.codec, picture.info.width, picture.info.height, picture.encoding.pixel_format)
        if there != (*here, picture.info.time_base, written) or trailer.origin != begin:
            raise DamagedSegmentError(f"The segment {path} was encoded with other settings, or by another version.")
        for pts in trailer.pts:
            file.place(trailer.origin + pts * trailer.time_base, index, trailer.time_base)
            index += 1
        total.depth = max(total.depth, trailer.depth)
        total.repeated, total.left_out = total.repeated + trailer.repeated, total.left_out + trailer.left_out
        last = trailer.durations[-1]
        total.last_duration = None if last is None else max(1, round(last * trailer.time_base / file.time_base))
        total.notices = tuple(dict.fromkeys([*total.notices, *trailer.notices]))
    return total


def _packets(file: MuxedFile, segments: Sequence[Path], total: _Sum) -> Iterator[tuple[Record, av.Packet, int | None]]:
    """Every packet with its new times, in decoding order, and how long its picture is shown."""
    stamps, decoded, before = file.stamps, 0, 0
    for path in segments:
        with PacketReader(path) as reader:
            seen = 0
            for record in reader.records():
                if record.picture >= len(reader.trailer.pts):
                    raise DamagedSegmentError(f"The segment {path} has a packet of no picture.")
                number = before + record.picture
                packet = coded_packet(record.payload)
                packet.pts, packet.dts = stamps[number], _decoding_time(stamps, decoded, total.depth)
                packet.time_base, packet.is_keyframe = file.time_base, record.key
                packet.duration = record.duration
                packet.stream = file.stream
                last = number + 1 == len(stamps)
                yield record, packet, total.last_duration if last else stamps[number + 1] - stamps[number]
                decoded, seen = decoded + 1, seen + 1
            if seen != len(reader.trailer.pts):
                raise DamagedSegmentError(f"The segment {path} has {seen} packets of {len(reader.trailer.pts)} pictures.")
            before += seen


def _decoding_time(stamps: array[int], number: int, depth: int) -> int:
    """dts of packet `number` of all: that of the picture `depth` before it; for the first ones, as far before the beginning."""
    if number >= depth:
        return stamps[number - depth]
    return stamps[number] - (stamps[depth] - stamps[0])


def _with_side_data(packet: av.Packet, record: Record) -> av.Packet:
    for name, data in record.side:
        side: Any = PacketSideData(_SIDE_DATA.index(name), len(data))  # type: ignore[call-arg]
        side.update(data)
        packet.set_sidedata(side, True)
    return packet


# -- other outputs ----------------------------------------------------------------------------------------------------


def _join_pictures(work: _Work) -> VerifyReport:
    with open_sink(
        work.target, work.media, work.info, work.config, overwrite=work.overwrite, comment=work.comment, folder=work.folder
    ) as sink:
        for frame in _frames(work.segments):
            sink.write(frame)

        def tell() -> None:
            assert sink.verified is not None
            if work.before_naming is not None:
                work.before_naming(sink.place, sink.verified)

        return sink.finish(tell)


def _frames(segments: Sequence[Path]) -> Iterator[Frame]:
    """Every kept picture as it was given to the segments."""
    for path in segments:
        with PacketReader(path) as reader:
            trailer, seen = reader.trailer, 0
            restorer = PictureRestorer(trailer, path.name)
            for record in reader.records():
                if record.picture != seen or seen >= len(trailer.pts):
                    raise DamagedSegmentError(f"The segment {path} has its pictures in another order.")
                data, alpha, captions = restorer.restore(record)
                yield Frame(
                    data,
                    trailer.first + seen,
                    trailer.pts[seen],
                    trailer.time_base,
                    trailer.durations[seen],
                    alpha,
                    captions,
                )
                seen += 1
            if seen != len(trailer.pts):
                raise DamagedSegmentError(f"The segment {path} has {seen} of {len(trailer.pts)} pictures.")
