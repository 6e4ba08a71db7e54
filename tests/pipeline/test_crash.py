"""Jobs that are killed, stopped, and refused by the disk on their way: run again they give the same file, bit for bit.

`python -m benchmarks.jobs.kill` does the killing at a hundred random moments, with real engines.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.jobs.wreck import digest, examine, in_session
from tests.cli.desk import tiny_engine, write_clip
from tests.pipeline.crash_server import INTERRUPT, KILL, Ended, Running, Server, serving
from tests.pipeline.workers.callers import until
from vidrestore.pipeline.journal.faultpoints import FAULT_POINTS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and POSIX signals")

FRAMES, LENGTH = 15, 4
SETTINGS = 'engines = ["tiny"]\nthreads = 1\nsegment_frames = {length}\n'
TWICE = f"{INTERRUPT}; {INTERRUPT}"


class Bench:
    """A clip of a constant rate, one whose rate changes where two segments meet, an engine, and a server."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.server = server
        self.constant = write_clip(folder / "constant.mp4", FRAMES, 64, 48)
        self.varying = varying_clip(folder / "varying.mkv")
        self.long = write_clip(folder / "long.mp4", 400, 320, 180, sound=False)
        self.engines = tiny_engine(folder / "engines", "")
        self._folder = folder
        self.told: list[str] = []
        """Notices of the last run that went to its end."""
        self._expected: dict[tuple[Path, str, int], str] = {}

    def command(self, source: Path, output: Path, workers: int = 1, length: int = LENGTH) -> list[str]:
        settings = self._folder / f"{length}.toml"
        settings.write_text(SETTINGS.format(length=length))
        told = ["--json", told_at(output), "--quiet"]
        settled = ["--config", settings, "--engines-dir", self.engines, "--workers", workers]
        return [str(word) for word in ("run", source, "-o", output, *settled, *told)]

    def expected(self, source: Path, name: str, length: int = LENGTH) -> str:
        """SHA-256 of the file that a run without any trouble writes."""
        key = (source, Path(name).suffix, length)
        if key not in self._expected:
            output = self._folder / f"whole-{len(self._expected)}{key[1]}"
            ended = self.server.run(*self.command(source, output, length=length))
            assert ended.code == 0, ended.err
            self._expected[key] = digest(output)
        return self._expected[key]

    def go_on(self, source: Path, output: Path, length: int = LENGTH) -> int:
        """The same command to its end: the right file and nothing beside it. Returns the frames that it did not restore."""
        ended = self.server.run(*self.command(source, output, length=length))
        assert ended.code == 0, ended.err
        assert digest(output) == self.expected(source, output.name, length)
        assert [entry.name for entry in output.parent.iterdir()] == [output.name]
        told = json.loads(told_at(output).read_text())
        assert told["frames"] == FRAMES
        self.told = told["notices"]
        resumed = told["resumed_frames"]
        assert isinstance(resumed, int)
        return resumed


def told_at(output: Path) -> Path:
    return output.parent.parent / "told.json"


def varying_clip(path: Path) -> Path:
    """h264 with B-frames: pictures of 40 ms up to the joint at LENGTH, of 10 up to the next, then of 70."""
    random_numbers = np.random.default_rng(3)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "fast", "bf": "3"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = video.time_base = Fraction(1, 1000)
        pts, moments = 0, []
        for index in range(FRAMES):
            pixels = random_numbers.integers(0, 32, (48, 64, 3), np.uint8) + np.uint8(6 * index)
            picture = av.VideoFrame.from_ndarray(pixels, "rgb24")
            picture.pts, picture.time_base = pts, video.time_base
            container.mux(video.encode(picture))
            moments.append(pts)
            pts += 40 if index < LENGTH else 10 if index < 2 * LENGTH else 70
        container.mux(video.encode(None))
    with av.open(str(path)) as container:
        assert [frame.pts for frame in container.decode(video=0)] == moments, "the clip is what it is meant to be"
    return path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("crash")
    with serving(folder) as server:
        yield Bench(folder, server)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder for the output alone."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def disk(out: Path) -> Iterator[Path]:
    """A disk of 1 MB; skips where none may be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(out)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, timeout=30).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield out
    subprocess.run(["umount", str(out)], check=True, timeout=30)


def kept(output: Path) -> int:
    """Segments in the folder of a job."""
    return len(list(output.with_name(output.name + ".vidrestore").glob("segments/*.seg")))


# Killed --------------------------------------------------------------------------------------------

OF_SEGMENTS = [point for point in FAULT_POINTS if point.startswith("segment")]
OF_THE_END = [point for point in FAULT_POINTS if not point.startswith("segment")]
PLACES = [
    *((point, visit, "a.mp4") for point in OF_SEGMENTS for visit in (1, 3)),
    *((point, 1, name) for point in OF_THE_END for name in ("a.mp4", "a.mkv")),
]


@pytest.mark.parametrize(("point", "visit", "name"), PLACES)
def test_killed_at_a_fault_point(bench: Bench, out: Path, name: str, point: str, visit: int) -> None:
    expected = bench.expected(bench.constant, name)
    running = bench.server.start(*bench.command(bench.constant, out / name), at=point, visit=visit, code=KILL)
    assert running.wait().code == -signal.SIGKILL
    wreck = examine(out / name, expected, running.pid)
    assert not wreck.faults
    resumed = bench.go_on(bench.constant, out / name)
    recorded = {"segment recorded": visit}.get(point, visit - 1) if point in OF_SEGMENTS else 4
    assert resumed == min(FRAMES, LENGTH * recorded), bench.told


def test_killed_again_and_again(bench: Bench, out: Path) -> None:
    """Every run gets one step further than the last."""
    output = out / "a.mp4"
    for point in (*OF_SEGMENTS, *OF_SEGMENTS, *OF_THE_END):
        ended = bench.server.run(*bench.command(bench.constant, output), at=point, code=KILL)
        assert ended.code == -signal.SIGKILL or point == "folder half removed"
    assert not output.exists() or digest(output) == bench.expected(bench.constant, output.name)
    if not output.exists() or list(out.iterdir()) != [output]:
        bench.go_on(bench.constant, output)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_killed_at_random_moments(bench: Bench, out: Path, name: str) -> None:
    output = out / name
    expected = bench.expected(bench.constant, name)
    command = bench.command(bench.constant, output)
    began = time.monotonic()
    assert bench.server.run(*command).code == 0
    length = time.monotonic() - began
    output.unlink()
    dice = random.Random(name)
    for _ in range(5):
        running = bench.server.start(*command)
        time.sleep(dice.random() * length)
        running.send(signal.SIGKILL)
        running.wait()
        assert not examine(output, expected, running.pid).faults
        if not output.exists() and dice.random() < 2 / 3:
            bench.go_on(bench.constant, output)
        output.unlink(missing_ok=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_workers_end_with_the_process_that_started_them(bench: Bench, out: Path) -> None:
    output = out / "long.mp4"
    running = bench.server.start(*bench.command(bench.long, output, 2, length=200))
    until(lambda: len(list(out.glob("*.vidrestore/segments/*.part"))) == 2)
    running.send(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    assert not in_session(running.pid)


# However the work is shared ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("rate", ["constant", "varying"])
def test_workers_and_stops_make_no_difference(bench: Bench, out: Path, rate: str, name: str) -> None:
    source = bench.constant if rate == "constant" else bench.varying
    expected = bench.expected(source, name)
    assert bench.server.run(*bench.command(source, out / name, 2)).code == 0
    assert digest(out / name) == expected, "two workers"
    (out / name).unlink()
    stopped = bench.server.run(*bench.command(source, out / name), at="segment recorded", code=INTERRUPT)
    assert stopped.code == 130
    assert bench.go_on(source, out / name) > 0, "stopped and gone on with"


# Ctrl-C --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "length"), [(1, LENGTH), (2, 1)])
def test_ctrl_c_once_keeps_what_is_done(bench: Bench, out: Path, workers: int, length: int) -> None:
    output = out / "a.mp4"
    command = bench.command(bench.constant, output, workers, length)
    running = bench.server.start(*command, at="segment recorded", code=INTERRUPT)
    ended = running.wait()
    assert ended.code == 130
    done = length * kept(output)
    assert 0 < done < FRAMES
    assert f"{done} of {FRAMES} frames are restored and kept" in ended.sentence and "same command" in ended.sentence
    assert not output.exists() and not in_session(running.pid)
    assert bench.go_on(bench.constant, output, length) == done


def test_ctrl_c_twice_stops_at_once(bench: Bench, out: Path) -> None:
    """The first signal lets the segment in work, which takes long, be completed; the second does not."""
    output = out / "long.mp4"
    running = bench.server.start(*bench.command(bench.long, output, length=240))
    until(lambda: list(out.glob("*.vidrestore/segments/*.part")))
    running.send(signal.SIGINT)
    until(lambda: "Stopping" in running.err.read_text())
    running.send(signal.SIGINT)
    ended = running.wait()
    assert ended.code == 130
    assert "Stopped after" in ended.sentence and not list(out.iterdir()), "nothing was complete, so nothing is kept"


def test_ctrl_c_twice_ends_workers_at_once(bench: Bench, out: Path) -> None:
    """Two workers stand still: the first signal waits for them, the second does not."""
    output = out / "long.mp4"
    running = bench.server.start(*bench.command(bench.long, output, 2, length=200))
    until(lambda: len(list(out.glob("*.vidrestore/segments/*.part"))) == 2)
    workers = [pid for pid in in_session(running.pid, 0) if pid != running.pid]
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    running.send(signal.SIGINT)
    until(lambda: "Stopping" in running.err.read_text())
    time.sleep(0.5)
    assert running.pid in in_session(running.pid, 0), "segments in work are waited for"
    began = time.monotonic()
    running.send(signal.SIGINT)
    ended = running.wait(20)
    assert ended.code == 130 and "Stopped after" in ended.sentence
    assert time.monotonic() - began < 4, "at once"
    assert not in_session(running.pid) and not list(out.iterdir())


# What the disk and the user do meanwhile ----------------------------------------------------------


def refused(running: Running | Ended, code: int, *words: str) -> None:
    """One sentence, with these words and how to go on."""
    ended = running.wait() if isinstance(running, Running) else running
    assert ended.code == code, ended.err
    assert all(word in ended.sentence for word in words), ended.sentence


FULL = """
import errno
with open({filler!r}, "wb", 0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC
"""
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, -1))"


@pytest.mark.parametrize(
    ("name", "point", "visit", "workers"),
    [
        ("a.mp4", "segment recorded", 2, 1),
        ("a.mp4", "segment recorded", 1, 2),
        ("a.mkv", "segment renamed", 2, 1),
        ("a.mp4", "join begun", 1, 1),
        ("a.mkv", "join written", 1, 1),
    ],
)
def test_a_full_disk(bench: Bench, disk: Path, name: str, point: str, visit: int, workers: int) -> None:
    output = disk / name
    filler = disk / "filler"
    command = bench.command(bench.constant, output, workers)
    ended = bench.server.run(*command, at=point, visit=visit, code=FULL.format(filler=str(filler)))
    refused(ended, 6, "space", "same command")
    assert not output.exists()
    refused(bench.server.run(*command), 6, "space")
    assert not output.exists()
    filler.unlink()
    assert bench.go_on(bench.constant, output) >= LENGTH


def test_no_file_may_grow(bench: Bench, out: Path) -> None:
    """The kernel refuses to let any file grow, from the second segment on."""
    output = out / "a.mp4"
    command = bench.command(bench.constant, output)
    refused(bench.server.run(*command, at="segment recorded", visit=2, code=LIMIT), 6, "space", "same command")
    assert not output.exists()
    assert bench.go_on(bench.constant, output) >= LENGTH


@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_folder(bench: Bench, disk: Path, begun: bool) -> None:
    output = disk / "a.mp4"
    if begun:
        bench.server.run(*bench.command(bench.constant, output), at="segment recorded", code=KILL)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=30)
    refused(bench.server.run(*bench.command(bench.constant, output)), 6, str(disk))
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True, timeout=30)
    assert bench.go_on(bench.constant, output) == (LENGTH if begun else 0)


CHANGED = "import pathlib; file = pathlib.Path({0!r}); file.write_bytes(file.read_bytes() + bytes(1))"
REMOVED = "import pathlib; pathlib.Path({0!r}).unlink()"


@pytest.mark.parametrize(
    ("code", "word", "point", "visit", "workers"),
    [
        (CHANGED, "was changed", "segment recorded", 2, 1),
        (CHANGED, "was changed", "segment recorded", 2, 2),
        (CHANGED, "was changed", "join begun", 1, 1),
        (REMOVED, "no longer there", "segment recorded", 2, 1),
        (REMOVED, "no longer there", "join begun", 1, 1),
        (REMOVED, "no longer there", "join written", 1, 1),
    ],
    ids=lambda value: {CHANGED: "changed", REMOVED: "removed"}.get(value, str(value)),
)
def test_an_input_that_does_not_stay(
    bench: Bench, out: Path, tmp_path: Path, code: str, word: str, point: str, visit: int, workers: int
) -> None:
    source = Path(shutil.copy(bench.constant, tmp_path / "in.mp4"))
    output = out / "a.mp4"
    command = bench.command(source, output, workers)
    refused(bench.server.run(*command, at=point, visit=visit, code=code.format(str(source))), 3, source.name, word)
    assert not output.exists()
    if code == REMOVED:
        refused(bench.server.run(*command), 3, source.name)
    shutil.copy(bench.constant, source)
    assert bench.go_on(source, output) >= LENGTH, "the content is what it was"


def test_another_input_under_the_same_name_is_another_job(bench: Bench, out: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(bench.constant, tmp_path / "in.mp4"))
    output = out / "a.mp4"
    assert bench.server.run(*bench.command(source, output), at="segment recorded", visit=2, code=KILL).code < 0
    write_clip(source, FRAMES, sound=False)
    assert bench.go_on(source, output) == 0
