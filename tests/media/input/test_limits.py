"""Hostile files: what they ask for is refused, and nothing they point at is opened."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import pytest

from tests.media.boxes import DATA_REFERENCE, with_more
from vidrestore.config import LimitsConfig
from vidrestore.errors import LimitExceededError, MediaError, NotAVideoError
from vidrestore.media import VideoDecoder
from vidrestore.media.input.limits import formats
from vidrestore.media.input.probe import open_input, probe

Make = Callable[..., Path]


# Asking for too much --------------------------------------------------------------------------------


def test_pixels_are_limited_before_a_picture_is_decoded(make_clip: Make) -> None:
    path = make_clip(size=(64, 48))
    assert probe(path, limits=LimitsConfig(pixels=64 * 48)).video.width == 64
    with pytest.raises(LimitExceededError, match=r"64x48.*3071"):
        probe(path, limits=LimitsConfig(pixels=64 * 48 - 1))


def test_a_header_that_lies_about_its_size_is_limited_too(make_clip: Make) -> None:
    """The stream says 16x16, its pictures are 160x128: FFmpeg has the limit too, and allocates no such picture."""
    from vidrestore.media.input.limits import codec_options

    with av.open(str(make_clip(size=(160, 128), frames=2))) as container:
        context = container.streams.video[0].codec_context
        context.options = codec_options(LimitsConfig(pixels=16 * 16))
        with pytest.raises(av.error.FFmpegError):
            list(container.decode(video=0))


def test_frame_rate_is_limited(make_clip: Make) -> None:
    path = make_clip(frames=12)
    with pytest.raises(LimitExceededError, match="25 frames a second; 24 are allowed"):
        probe(path, limits=LimitsConfig(frame_rate=24))


def test_streams_are_limited(make_clip: Make) -> None:
    path = make_clip("two.mp4", audio=True)
    assert len(probe(path, limits=LimitsConfig(streams=2)).streams) == 2
    with pytest.raises(LimitExceededError, match="more streams than the 1 allowed"):
        probe(path, limits=LimitsConfig(streams=1))


def test_metadata_are_limited(make_clip: Make) -> None:
    path = make_clip("told.mkv", metadata={"comment": "x" * 5000}, chapters=[(0, 200, "y" * 3000)])
    with pytest.raises(LimitExceededError, match=r"metadata.*8000 are allowed"):
        probe(path, limits=LimitsConfig(metadata_bytes=8000))
    assert probe(path, limits=LimitsConfig(metadata_bytes=9000)).chapters


def test_limits_go_with_the_source(make_clip: Make) -> None:
    """Whoever opens a probed file again opens it under the limits it was probed with."""
    path = make_clip("two.mp4", audio=True)
    media = probe(path, limits=LimitsConfig(streams=2))
    with open_input(media) as container:
        assert len(container.streams) == 2
    with pytest.raises(LimitExceededError):
        open_input(path, limits=LimitsConfig(streams=1))


def test_a_picture_that_takes_too_long_ends_the_decoding(make_clip: Make) -> None:
    """Every picture takes longer than a ten-millionth of a second."""
    info = probe(make_clip())
    with (
        pytest.raises(LimitExceededError, match=r"Decoding frame 0 .* takes longer than 1e-07 s"),
        VideoDecoder(info, limits=LimitsConfig(decode_seconds=1e-7)) as decoder,
    ):
        list(decoder)


def test_busy_since_is_told_while_ffmpeg_works(make_clip: Make) -> None:
    """Another thread sees the decoder at work: what a watch needs to end a decoder that hangs."""
    path = make_clip(size=(320, 240), frames=20, options={"preset": "ultrafast", "crf": "0"})
    seen: set[bool] = set()
    done = threading.Event()
    end = time.monotonic() + 60
    while seen != {True, False} and time.monotonic() < end:  # the other thread need not come to look while one clip is decoded
        with VideoDecoder(path) as decoder:

            def watch(decoder: VideoDecoder = decoder) -> None:
                while not done.is_set():
                    seen.add(decoder.busy_since is not None)
                    time.sleep(0)

            done.clear()
            thread = threading.Thread(target=watch)
            thread.start()
            for _ in decoder:
                pass
            done.set()
            thread.join()
            assert decoder.busy_since is None
    assert seen == {True, False}


# Pointing elsewhere -------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    hits: list[str]


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.hits.append(self.path)  # type: ignore[attr-defined]
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A real server on the loopback that counts who comes; it serves tmp_path/www."""
    folder = tmp_path / "www"
    folder.mkdir()
    served = Server(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    served.hits = []
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def address_of(server: Server, name: str) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{name}"


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{there}\n#EXT-X-ENDLIST\n",
    "master.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n{there}\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{there}'\n",
    "list.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="9">'
    "<BaseURL>{there}</BaseURL></Representation></AdaptationSet></Period></MPD>\n",
    "call.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "list.pls": "[playlist]\nFile1={there}\nNumberOfEntries=1\n",
    "list.asx": '<asx version="3.0"><entry><ref href="{there}"/></entry></asx>\n',
    "script.avs": 'FFmpegSource2("{there}")\n',
    "link.ram": "{there}\n",
}


@pytest.mark.parametrize("name", sorted(PLAYLISTS))
@pytest.mark.parametrize("where", ["network", "file", "beside"])
def test_no_playlist_opens_anything(make_clip: Make, tmp_path: Path, server: Server, name: str, where: str) -> None:
    canary = tmp_path / "canary.ts"
    shutil.copy(make_clip("clip.ts"), canary)
    shutil.copy(canary, tmp_path / "www" / "canary.ts")
    there = {"network": address_of(server, "canary.ts"), "file": f"file:{canary}", "beside": "canary.ts"}[where]
    path = tmp_path / name
    path.write_text(PLAYLISTS[name].format(there=there))
    before = canary.stat().st_atime_ns
    with pytest.raises(NotAVideoError):
        probe(path)
    # Not even where the network is allowed: a playlist is no video.
    with pytest.raises(NotAVideoError):
        probe(path, protocols=("file", "http", "tcp"))
    assert server.hits == [] and canary.stat().st_atime_ns == before


def test_playlists_are_called_by_their_name(tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text(PLAYLISTS["list.m3u8"].format(there="x.ts"))
    with pytest.raises(NotAVideoError, match="is a playlist"):
        probe(path)


def test_formats_that_follow_links_are_not_on_the_list() -> None:
    for name in ("hls", "concat", "dash", "sdp", "rtsp", "image2", "lavfi", "tty", "v4l2", "png_pipe", "webm_dash_manifest"):
        assert name not in formats()
    assert {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "avi", "gif", "h264", "hevc", "ivf", "obu", "y4m"} & set(
        formats()
    ) >= {
        "mov,mp4,m4a,3gp,3g2,mj2",
        "matroska,webm",
        "mpegts",
        "avi",
        "gif",
    }


def test_a_file_whose_name_is_a_pattern(make_clip: Make, tmp_path: Path) -> None:
    """`image2` would read frame1.png, frame2.png ... for it."""
    import numpy as np

    from vidrestore.media import write_image

    for number in (1, 2):
        write_image(tmp_path / f"frame{number}.png", np.zeros((8, 8, 3), np.uint8))
    pattern = tmp_path / "frame%d.png"
    shutil.copy(tmp_path / "frame1.png", pattern)
    with pytest.raises(NotAVideoError):
        probe(pattern)


def test_an_external_reference_in_a_mov_is_not_followed(make_clip: Make, tmp_path: Path, server: Server) -> None:
    """QuickTime's `dref` may say that the samples lie in another file."""
    source = make_clip("clip.mov")
    content = source.read_bytes()
    shutil.copy(source, tmp_path / "www" / "canary.mov")
    address = address_of(server, "canary.mov").encode() + b"\0"
    entry = content.index(b"url ", content.index(b"dref"))
    assert content[entry + 4 : entry + 8] == b"\0\0\0\1"  # the flag says: in this file
    outside = content[: entry + 4] + b"\0\0\0\0" + content[entry + 8 :]
    path = tmp_path / "outside.mov"
    path.write_bytes(with_more(outside, (*DATA_REFERENCE, "url "), address))
    try:
        with VideoDecoder(path) as decoder:
            list(decoder)
    except MediaError:
        pass  # what is left of the file may be refused; it may not be fetched
    assert server.hits == []


def test_an_address_is_opened_only_if_asked_for(make_clip: Make, tmp_path: Path, server: Server) -> None:
    shutil.copy(make_clip("clip.mp4", frames=12), tmp_path / "www" / "clip.mp4")
    address = address_of(server, "clip.mp4")
    with pytest.raises(MediaError, match=r"is an address.*--protocols file,http,tcp\."):
        probe(address)
    with pytest.raises(MediaError):
        probe(f"file:{address}")
    assert server.hits == []
    media = probe(address, protocols=("file", "http", "tcp"))
    assert media.address == address and media.video.frames == 12 and media.size_bytes > 1000
    with VideoDecoder(media) as decoder:
        assert len(list(decoder)) == 12
    assert server.hits


def test_files_can_be_shut_out_too(make_clip: Make) -> None:
    with pytest.raises(MediaError, match=r"is a file; only http, tcp may be opened"):
        probe(make_clip("clip.mp4"), protocols=("http", "tcp"))


def test_an_address_without_an_answer_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/x.mp4"
        began = time.perf_counter()
        with pytest.raises(LimitExceededError, match="takes longer"):
            probe(address, protocols=("http", "tcp"), limits=LimitsConfig(decode_seconds=0.5))
        assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    "name", ["data:video/mp4;base64,AAAA", "concat:a.ts|b.ts", "subfile,,start,0,end,9,,:x.mp4", "cache:x.mp4", "async:x"]
)
def test_names_that_ffmpeg_would_take_for_protocols_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MediaError, match="There is no file"):
        probe(name)


def test_a_file_name_with_a_colon_is_a_file(make_clip: Make, tmp_path: Path) -> None:
    path = tmp_path / "12:30 concat:.mp4"
    shutil.copy(make_clip("clip.mp4"), path)
    assert probe(path).video.frames == 12
