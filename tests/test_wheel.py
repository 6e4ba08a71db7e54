"""What `pip install` gives: the wheel carries engines and configs, and runs from another folder without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.desk import FRAMES, HEIGHT, WIDTH, write_clip
from vidrestore.config import load_preset, preset_names
from vidrestore.engine.catalog import Catalog

ROOT = Path(__file__).resolve().parents[1]
ENGINES = Catalog(ROOT / "engines")
LARGEST = 30_000_000


def call(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program without anything of the checkout around it; its stdout."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("VIDRESTORE_", "PYTHON", "PYTEST_"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=inherited | environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


class Installed:
    """The wheel unpacked by pip, and a folder of its own to work in. Dependencies are this environment's."""

    def __init__(self, site: Path, work: Path) -> None:
        self.site, self.work = site, work

    def python(self, *arguments: str | Path) -> str:
        """`python -P ...`: neither the working folder nor a script's folder is on the path, only the installed copy."""
        return call(sys.executable, "-P", *arguments, cwd=self.work, PYTHONPATH=str(self.site))

    def vidrestore(self, *arguments: str | Path) -> str:
        """The program that pip has put beside the package."""
        name = "vidrestore.exe" if os.name == "nt" else "vidrestore"
        return self.python(self.site / "bin" / name, *arguments)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    site, work = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("work")
    options = ("--isolated", "--disable-pip-version-check", "--no-deps", "--no-index", "--target", site)
    call(sys.executable, "-m", "pip", "install", *options, wheel, cwd=work)
    write_clip(work / "clip.mp4", FRAMES)
    return Installed(site, work)


def test_it_carries_every_engine_and_every_config(contents: set[str]) -> None:
    for folder in ("engines", "configs"):
        here = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert {f"vidrestore/_data/{name}" for name in here} <= contents
    for engine_id in ENGINES.ids():
        folder = f"vidrestore/_data/engines/{engine_id}"
        assert f"{folder}/card.toml" in contents
        assert (f"{folder}/weights.safetensors" in contents) == (ENGINES.card(engine_id).sha256 is not None)


def test_it_carries_the_package_and_nothing_else(contents: set[str]) -> None:
    assert {name.partition("/")[0] for name in contents if ".dist-info/" not in name} == {"vidrestore"}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vidrestore").rglob("*.py")}
    assert modules <= contents
    page = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vidrestore" / "report" / "page").glob("*.*")}
    assert {Path(name).suffix for name in page} == {".py", ".html", ".css", ".js"} and page <= contents
    unwanted = ("tests/", "benchmarks/", "runs/", "__pycache__", ".pt", ".pkl", ".part")
    assert not [name for name in contents if any(part in name for part in unwanted)]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in contents)


def test_it_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST


def test_the_installed_copy_finds_its_own_data(installed: Installed) -> None:
    told = installed.python(
        "-c",
        "import vidrestore.config, vidrestore.engine.catalog as catalog\n"
        "print(vidrestore.__file__, catalog.default_engines_dir(), vidrestore.config.configs_dir(), sep='\\n')",
    )
    package = installed.site / "vidrestore"
    assert told.splitlines() == [
        str(package / "__init__.py"),
        str(package / "_data" / "engines"),
        str(package / "_data" / "configs"),
    ]


def test_the_installed_copy_finds_the_parts_of_its_report(installed: Installed) -> None:
    told = installed.python(
        "-c",
        "from vidrestore.report.page import render\n"
        "from vidrestore.report.proof import Proof, Run\n"
        "run = Run((), {}, {}, '', '', None, None)\n"
        "print(render(Proof('in.mp4', 'out.mp4', '', '', {}, {}, run, (), '', {}, {}, (), None, (), (), ())))",
    )
    assert "<h1><bdi>out.mp4</bdi></h1>" in told and "clip-path" in told and "pointerdown" in told


def test_it_lists_its_engines(installed: Installed) -> None:
    told = installed.vidrestore("engines")
    assert [name for name in ENGINES.ids() if name not in told] == []
    assert str(ROOT) not in told
    assert installed.vidrestore("--version").startswith("vidrestore 0.")


def test_it_plans_a_run_with_a_preset(installed: Installed) -> None:
    """Engines are named, so that this holds whichever are shipped."""
    told = installed.vidrestore(
        "run", "clip.mp4", "-o", "out.mp4", "--preset", "cinematic", "--engine", "bicubic-x2", "--dry-run"
    )
    assert f"{WIDTH}x{HEIGHT}" in told and f"{2 * WIDTH}x{2 * HEIGHT}" in told and "bicubic-x2" in told
    assert [path.name for path in installed.work.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("preset", preset_names())
def test_it_plans_a_run_with_a_preset_as_it_is(installed: Installed, preset: str) -> None:
    wanted = load_preset(preset)["engines"]
    told = installed.vidrestore("run", "clip.mp4", "-o", "out.mp4", "--preset", preset, "--dry-run")
    assert all(ENGINES.resolve(name).id in told for name in wanted)
