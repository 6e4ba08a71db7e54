"""A small real clip, engines of its own, and what must hold after every refused run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result

from vidrestore.cli import cli

WIDTH, HEIGHT, FRAMES = 96, 64, 12
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", "from vidrestore.cli import main; main()"]


def write_clip(path: Path, frames: int, width: int = WIDTH, height: int = HEIGHT, sound: bool = True) -> Path:
    """A moving gradient with noise at 30 fps, h264, pts not starting at 0, and half a second of aac."""
    random = np.random.default_rng(5)
    with av.open(str(path), "w", options={"movflags": "+faststart"} if path.suffix == ".mp4" else {}) as container:
        video = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "bf": "2"})
        video.width, video.height, video.pix_fmt, video.time_base = width, height, "yuv420p", Fraction(1, 15360)
        audio = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        ramp = np.linspace(20, 220, width)[None, :, None] + np.zeros((height, 1, 3))
        for index in range(frames):
            noisy = np.roll(ramp, 3 * index, axis=1) + random.normal(0, 6, ramp.shape)
            picture = av.VideoFrame.from_ndarray(np.clip(noisy, 0, 255).astype(np.uint8), "rgb24")
            picture.pts, picture.time_base = 512 * index, video.time_base
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio is not None:
            samples = av.AudioFrame.from_ndarray((random.normal(0, 0.1, (1, 8000))).astype(np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 16000, 0
            container.mux(audio.encode(samples))
            container.mux(audio.encode(None))
    return path


@pytest.fixture(scope="session")
def master_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "source.mp4", FRAMES)


@dataclass
class Desk:
    """A folder with a source in it, to run commands in."""

    folder: Path
    source: Path

    @property
    def output(self) -> Path:
        return self.folder / "out" / "restored.mp4"

    def run(self, *arguments: str | Path) -> Result:
        """`vidrestore ...` in this process."""
        return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="vidrestore")

    def restore(self, *arguments: str | Path, source: Path | None = None, output: Path | None = None) -> Result:
        """`vidrestore run SOURCE -o OUTPUT --engine identity ...`."""
        return self.run("run", source or self.source, "-o", output or self.output, "--engine", "identity", *arguments)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def desk(tmp_path: Path, master_clip: Path) -> Desk:
    (tmp_path / "out").mkdir()
    return Desk(tmp_path, Path(shutil.copy(master_clip, tmp_path / "source.mp4")))


@pytest.fixture
def refused(desk: Desk) -> Iterator[Callable[[Result | subprocess.CompletedProcess[str], int], str]]:
    """Checks a refused run: its exit code, one sentence, no traceback. At the end: nothing left, the source as it was."""
    before = digest(desk.source)

    def check(result: Result | subprocess.CompletedProcess[str], code: int) -> str:
        status = result.exit_code if isinstance(result, Result) else result.returncode
        told = result.stderr
        assert status == code, told
        lines = [line for line in told.splitlines() if line.startswith("vidrestore: ")]
        assert len(lines) == 1, told
        assert "Traceback" not in told
        return lines[0]

    yield check
    assert digest(desk.source) == before
    assert not list((desk.folder / "out").iterdir()), "neither an output nor a temporary file is left"


def tiny_engine(folder: Path, sha256: str, generative: bool = False) -> Path:
    """An engine folder `tiny` (sr x2, a very small RDN) whose card gives `sha256` for its weights."""
    from safetensors.torch import save

    from vidrestore.models import build

    hyperparameters = {"blocks": 1, "convolutions": 1, "growth": 4, "features": 4}
    engine = folder / "tiny"
    engine.mkdir(parents=True)
    weights = save(build("rdn", hyperparameters).state_dict())
    (engine / "weights.safetensors").write_bytes(weights)
    (engine / "card.toml").write_text(
        f"""
id = "tiny"
task = "sr"
tier = "best"
description = "for tests"
architecture = "rdn"
hyperparameters = {{ blocks = 1, convolutions = 1, growth = 4, features = 4 }}
scale = 2
tile_halo = 8
precisions = ["fp32", "bf16"]
generative = {str(generative).lower()}
licence = "Apache-2.0"
sha256 = "{sha256 or hashlib.sha256(weights).hexdigest()}"

[origin]
command = "none"
commit = "none"
seed = 0
steps = 0
seconds = 0.0
device = "cpu"
data = "none"
data_files = 0
data_sha256 = "none"
"""
    )
    return folder
