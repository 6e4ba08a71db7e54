"""What PyAV has no attribute for is read without a look at FFmpeg's log: crops and Dolby Vision are in test_probe.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import av.logging
import pytest

from vidrestore.media.input.probe import probe

Make = Callable[..., Path]

TOGETHER = """
import sys, threading
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.probe import probe

path, media, stop = sys.argv[1], probe(sys.argv[1]), threading.Event()

def decode():
    while not stop.is_set():
        with VideoDecoder(media, DecodeOptions(threads=8)) as decoder:
            try:
                next(decoder.pictures())  # closed while its threads still work
            except Exception:
                pass

threads = [threading.Thread(target=decode, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
sys.setswitchinterval(1e-5)
for _ in range(150):
    probe(path)
stop.set()
for thread in threads:
    thread.join(20)
sys.exit(any(thread.is_alive() for thread in threads))
"""


@pytest.mark.parametrize("number, name", [*enumerate(("left", "center", "topleft", "top", "bottomleft", "bottom"))])
@pytest.mark.parametrize("ending", ["mp4", "ts"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_every_chroma_location(
    make_clip: Make, tmp_path: Path, ffmpeg: Callable[..., None], codec: str, ending: str, number: int, name: str
) -> None:
    quiet = {"x265-params": "log-level=error"} if codec == "hevc" else {}
    plain = make_clip("plain.mp4", codec={"h264": "libx264", "hevc": "libx265"}[codec], options=quiet, size=(64, 64), frames=3)
    path = tmp_path / f"said.{ending}"
    ffmpeg("-i", plain, "-c", "copy", "-bsf:v", f"{codec}_metadata=chroma_sample_loc_type={number}", path)
    assert probe(path).video.color.chroma_location == name


def test_codecs_that_matroska_cannot_hold(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    path = tmp_path / "camera.dv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=720x576:r=25:d=0.08", "-pix_fmt", "yuv420p", "-c:v", "dvvideo", path)
    assert probe(path).video.color.chroma_location == "topleft"


def test_ffmpegs_log_is_left_alone(make_clip: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip()
    for name in ("set_level", "set_libav_level", "restore_default_callback"):
        monkeypatch.setattr(av.logging, name, lambda *_: pytest.fail("the log is one for all threads"))
    probe(path)


@pytest.mark.timeout(120)
def test_probing_while_others_decode_and_close(make_clip: Make, tmp_path: Path) -> None:
    """Damaged pictures, so that the decoders' threads have something to say."""
    sound = make_clip("sound.mkv", size=(320, 240), frames=40, options={"g": "100"})
    content = bytearray(sound.read_bytes())
    for at in range(len(content) // 3, len(content), 997):
        content[at] ^= 0x55
    path = tmp_path / "hurt.mkv"
    path.write_bytes(content)
    done = subprocess.run([sys.executable, "-c", TOGETHER, str(path)], timeout=100)
    assert done.returncode == 0
