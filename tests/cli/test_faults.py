"""Every fault a user can meet: its exit code, one sentence, nothing left behind, the source untouched."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import Result

from tests.cli.desk import PROGRAM, ROOT, Desk, tiny_engine, write_clip
from vidrestore.media.output.segment_encoder import SegmentEncoder

Refused = Callable[[Result | subprocess.CompletedProcess[str], int], str]


def test_missing_file(desk: Desk, refused: Refused) -> None:
    assert "nowhere.mp4" in refused(desk.restore(source=desk.folder / "nowhere.mp4"), 3)


def test_a_folder_as_input(desk: Desk, refused: Refused) -> None:
    refused(desk.restore(source=desk.folder), 3)


def test_not_a_video(desk: Desk, refused: Refused) -> None:
    text = desk.folder / "notes.mp4"
    text.write_text("These are notes, not a video.\n" * 50)
    assert "notes.mp4" in refused(desk.restore(source=text), 3)


def test_no_video_stream(desk: Desk, refused: Refused) -> None:
    sound = desk.folder / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    assert "picture" in refused(desk.restore(source=sound), 3)


def test_zero_frames(desk: Desk, refused: Refused) -> None:
    empty = desk.folder / "empty.mkv"
    with av.open(str(empty), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    refused(desk.restore(source=empty), 3)
    assert "not one picture" in refused(desk.restore("--start", "10:00"), 3)


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_truncated_file(desk: Desk, refused: Refused, kept: float) -> None:
    cut = desk.folder / "cut.mp4"
    data = desk.source.read_bytes()
    cut.write_bytes(data[: int(len(data) * kept)])
    refused(desk.restore(source=cut), 3)


def test_damaged_pictures(desk: Desk, refused: Refused) -> None:
    """The index is whole, the pictures are not: the run stops with the frame's number."""
    damaged = desk.folder / "damaged.mp4"
    data = bytearray(desk.source.read_bytes())
    start = data.index(b"mdat") + 4 + (len(data) - data.index(b"mdat")) // 3
    data[start : start + 6000] = np.random.default_rng(1).bytes(6000)
    damaged.write_bytes(data)
    assert "rame " in refused(desk.restore(source=damaged), 3)


def test_unknown_codec(desk: Desk, refused: Refused) -> None:
    strange = desk.folder / "strange.mp4"
    data = desk.source.read_bytes()
    assert data.count(b"avc1") >= 1
    strange.write_bytes(data.replace(b"avc1", b"zzzz"))
    refused(desk.restore(source=strange), 3)
    assert "codec" in refused(desk.restore("--codec", "betamax"), 2)


def test_missing_folder(desk: Desk, refused: Refused) -> None:
    assert "folder" in refused(desk.restore(output=desk.folder / "nowhere" / "a.mp4"), 6)
    assert "is a file" in refused(desk.restore(output=desk.source / "a.mp4"), 6)
    refused(desk.restore("--json", desk.folder / "nowhere" / "a.json"), 6)


def test_json_is_not_written_over_a_video(desk: Desk, refused: Refused) -> None:
    """Nor over a folder; and it is refused before the work, not after it."""
    link = desk.folder / "link.json"
    link.symlink_to(desk.source)
    for target in (desk.source, link, desk.output):
        assert "the video itself" in refused(desk.restore("--json", target), 2)
    assert "is a folder" in refused(desk.restore("--json", desk.folder), 2)


def test_names_the_system_refuses(desk: Desk, refused: Refused) -> None:
    long = "a" * 300
    assert "too long" in refused(desk.restore(source=desk.folder / f"{long}.mp4"), 3)
    assert "too long" in refused(desk.restore(output=desk.folder / "out" / f"{long}.mp4"), 6)
    assert "too long" in refused(desk.restore("--json", desk.folder / f"{long}.json"), 6)


def test_a_start_beyond_all_timestamps(desk: Desk, refused: Refused) -> None:
    assert "not one picture" in refused(desk.restore("--start", "9" * 30), 3)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_an_encoder_preset_that_does_not_exist(desk: Desk, refused: Refused, codec: str) -> None:
    config = desk.folder / "my.toml"
    config.write_text('[encode]\npreset = "hasty"\n')
    assert "hasty" in refused(desk.restore("--config", config, "--codec", codec), 2)


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="needs POSIX users")
def test_unwritable_folder(desk: Desk, refused: Refused) -> None:
    import vidrestore.engine.fused
    import vidrestore.media.proof.verify
    import vidrestore.pipeline.job  # noqa: F401 - loaded while their files may still be read

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source.mp4"
        source.write_bytes(desk.source.read_bytes())
        source.chmod(0o444)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:  # root may write anywhere, so this runs as nobody
            os.setresuid(65534, 65534, 0)
        try:
            result = desk.restore(source=source, output=folder / "a.mp4")
        finally:
            if root:
                os.setresuid(0, 0, 0)
            folder.chmod(0o755)
        assert "written" in refused(result, 6)
        assert [path.name for path in folder.iterdir()] == ["source.mp4"]


def limited(limits: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own that sets `limits` (Python code) once everything is loaded."""
    code = f"import resource, vidrestore.pipeline.job, vidrestore.models, vidrestore.runtimes.torch\n{limits}\n"
    code += "from vidrestore.cli import main; main()"
    command = [sys.executable, "-c", code, *[str(argument) for argument in arguments]]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)


def test_full_disk(desk: Desk, refused: Refused) -> None:
    """The kernel refuses to let any file grow beyond 40 kB, in the middle of encoding."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))"
    arguments = ("run", desk.source, "-o", desk.output.with_suffix(".mkv"), "--engine", "identity", "--codec", "ffv1")
    assert "space" in refused(limited(limit, *arguments), 6)


def test_full_disk_while_finishing(desk: Desk, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last write fails: the system's own error is raised where the file is given its name."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "space" in refused(desk.restore(), 6)


def test_output_is_input(desk: Desk, refused: Refused) -> None:
    assert "is the input" in refused(desk.restore("--overwrite", output=desk.source), 2)
    link = desk.folder / "link.mp4"
    link.symlink_to(desk.source)
    refused(desk.restore("--overwrite", output=link), 2)


def test_output_exists(desk: Desk, refused: Refused) -> None:
    there = desk.folder / "there.mp4"
    there.write_bytes(b"mine")
    assert "--overwrite" in refused(desk.restore(output=there), 2)
    assert there.read_bytes() == b"mine"


def test_unknown_extension(desk: Desk, refused: Refused) -> None:
    assert ".mkv" in refused(desk.restore(output=desk.folder / "out" / "a.txt"), 2)


def test_unknown_engine(desk: Desk, refused: Refused) -> None:
    assert "warp-drive" in refused(desk.restore("--engine", "warp-drive"), 4)
    assert "vidrestore engines" in refused(desk.run("engines", "show", "warp-drive"), 4)


def test_unknown_tier_of_a_task(desk: Desk, refused: Refused) -> None:
    engines = tiny_engine(desk.folder / "engines", "")
    result = desk.run("run", desk.source, "-o", desk.output, "--sr", "2", "--tier", "fast", "--engines-dir", engines)
    assert "fast" in refused(result, 4)


def test_unknown_preset(desk: Desk, refused: Refused) -> None:
    assert "dashcam" in refused(desk.restore("--preset", "holiday"), 2)


def test_bad_config(desk: Desk, refused: Refused) -> None:
    config = desk.folder / "my.toml"
    config.write_text("[encode]\nquality = 3\n")
    assert "encode.quality" in refused(desk.restore("--config", config), 2)
    config.write_text("strength = 3.0\n")
    assert "strength" in refused(desk.restore("--config", config), 2)
    config.write_text("strength = = 3\n")
    assert "my.toml" in refused(desk.restore("--config", config), 2)
    refused(desk.restore("--config", desk.folder / "none.toml"), 2)
    refused(desk.restore("--config", config, "--preset", "dashcam"), 2)
    refused(desk.restore("--strength", "2"), 2)


def test_wrong_sha256(desk: Desk, refused: Refused) -> None:
    engines = tiny_engine(desk.folder / "engines", "0" * 64)
    assert "sha256" in refused(desk.run("run", desk.source, "-o", desk.output, "--sr", "2", "--engines-dir", engines), 4)


def test_broken_card(desk: Desk, refused: Refused) -> None:
    engines = tiny_engine(desk.folder / "engines", "")
    card = engines / "tiny" / "card.toml"
    card.write_text(card.read_text().replace("licence", "license"))
    refused(desk.run("run", desk.source, "-o", desk.output, "--engine", "tiny", "--engines-dir", engines), 4)


def test_device_that_is_not_there(desk: Desk, refused: Refused) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert "cuda" in refused(desk.restore("--device", "cuda"), 5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS as Linux counts it")
def test_out_of_memory(desk: Desk, refused: Refused) -> None:
    """A process that may only grow by 300 MB meets a ring buffer of 64 frames of 1280x960."""
    config = desk.folder / "large.toml"
    config.write_text("batch_size = 64\nthreads = 1\n")
    large = write_clip(desk.folder / "large.mp4", 3, 1280, 960, sound=False)
    limit = (
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)"
    )
    told = refused(limited(limit, "run", large, "-o", desk.output, "--engine", "identity", "--config", config), 5)
    assert "memory" in told and "--batch-size" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(desk: Desk, refused: Refused, number: signal.Signals) -> None:
    """A signal in the middle of writing: exit 130, and the half-written file is gone."""
    long = write_clip(desk.folder / "long.mp4", 900, 160, 120)
    command = [*PROGRAM, "run", str(long), "-o", str(desk.output), "--engine", "identity"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if any(path.stat().st_size > 0 for path in (desk.folder / "out").iterdir()):
            break
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    told = refused(subprocess.CompletedProcess(command, process.returncode, out, err), 130)
    assert "nothing was left behind" in told


def test_an_unforeseen_fault_says_how_to_report_it(desk: Desk, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(encoder: SegmentEncoder, frame: object) -> None:
        raise LookupError("odd")

    monkeypatch.setattr(SegmentEncoder, "write", broken)
    assert "VIDRESTORE_DEBUG=1" in refused(desk.restore(), 1)
    monkeypatch.setenv("VIDRESTORE_DEBUG", "1")
    assert "Traceback" in desk.restore().stderr


def test_usage_errors(desk: Desk, refused: Refused) -> None:
    assert "--flare" in refused(desk.run("run", desk.source, "-o", desk.output), 2)
    assert "exclude" in refused(desk.restore("--day", "--night"), 2)
    assert "Missing option" in refused(desk.run("run", desk.source), 2)
    assert "No such option" in refused(desk.restore("--bogus"), 2)
    assert "1:99" in refused(desk.restore("--start", "1:99"), 2)
    assert "form" in refused(desk.restore("--protect", "1,2,3"), 2)
    assert "lie in the" in refused(desk.restore("--protect", "90,0,20,20"), 2)
    assert "No such command" in refused(desk.run("restore"), 2)
