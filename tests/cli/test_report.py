"""`run --report` and `vidrestore report`: pages appear beside done jobs, never instead of them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.desk import PROGRAM, Desk, digest
from tests.report.movies import write_movie
from vidrestore.errors import ReportError


@pytest.fixture
def page(desk: Desk) -> Path:
    return desk.folder / "page.html"


def tidy(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_run_and_its_page(desk: Desk, page: Path) -> None:
    told = desk.folder / "result.json"
    result = desk.restore("--report", page, "--json", told)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"Report: {page}"
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and digest(desk.output) in text and digest(desk.source) in text
    assert "vidrestore run source.mp4 -o restored.mp4" in text and str(desk.folder) not in text
    assert tidy(desk.folder) == ["out", "page.html", "result.json", "source.mp4"]
    assert tidy(desk.output.parent) == ["restored.mp4"]
    again = desk.folder / "again.html"
    done = desk.run("report", desk.source, desk.output, "-o", again, "--result", told)
    assert done.exit_code == 0, done.stderr
    assert again.read_text(encoding="utf-8") == text, "the page of a run can be made again from its JSON"


def test_a_page_of_files_that_are_there(desk: Desk) -> None:
    assert desk.restore("--start", "0.1", "--duration", "0.2").exit_code == 0
    done = desk.run("report", desk.source, desk.output, "--start", "0.1", "--duration", "0.2", "--json", "-")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["output_stream"]["frames"] == 6 and told["run"]["engines"][0]["id"] == "identity"
    assert (desk.output.parent / "restored.mp4.html").is_file()
    refused = desk.run("report", desk.source, desk.output, "--start", "0.1", "--duration", "0.2")
    assert refused.exit_code == 2 and "exists already" in refused.stderr
    whole = desk.run("report", desk.source, desk.output, "-o", desk.folder / "b.html")
    assert whole.exit_code == 3 and "has no partner" in whole.stderr and not (desk.folder / "b.html").exists()


CASES: dict[str, Callable[[Desk], tuple[list[str], int, str]]] = {
    "the input": lambda desk: (["--report", str(desk.source)], 2, "is the video itself"),
    "the output": lambda desk: (["--report", str(desk.output)], 2, "is the video itself"),
    "a folder": lambda desk: (["--report", str(desk.folder)], 2, "is a folder"),
    "no folder": lambda desk: (["--report", str(desk.folder / "no" / "page.html")], 6, "There is no folder"),
    "the JSON": lambda desk: (
        ["--report", str(desk.folder / "a"), "--json", str(desk.folder / "a")], 2, "both the report and the JSON"
    ),
    "no room for its name": lambda desk: (["--report", str(desk.folder / ("x" * 300))], 6, "too long"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_page_that_cannot_be_is_refused_before_the_work(desk: Desk, refused: Callable[..., str], case: str) -> None:
    arguments, code, words = CASES[case](desk)
    assert words in refused(desk.restore(*arguments), code)
    assert tidy(desk.folder) == ["out", "source.mp4"]


def test_an_existing_page_stays(desk: Desk, page: Path) -> None:
    page.write_text("mine")
    result = desk.restore("--report", page)
    assert result.exit_code == 2 and "exists already" in result.stderr and not desk.output.exists()
    assert page.read_text() == "mine"
    assert desk.restore("--report", page, "--overwrite").exit_code == 0
    assert "<!doctype html>" in page.read_text(encoding="utf-8")


def test_a_page_among_images_is_refused(desk: Desk, refused: Callable[..., str]) -> None:
    images = f"{desk.folder}/out/images/"
    told = refused(desk.restore("--report", f"{images}page.html", output=images), 2)  # type: ignore[arg-type]
    assert "lies among the images" in told


@pytest.mark.parametrize(("source", "output"), [("-", None), (None, "-")])
def test_pipes_have_no_report(desk: Desk, refused: Callable[..., str], source: str | None, output: str | None) -> None:
    page = desk.folder / "p.html"
    arguments = ("run", source or desk.source, "-o", output or desk.output, "--engine", "identity", "--report", page)
    assert "which a pipe cannot be" in refused(desk.run(*arguments), 2)


def test_constant_rate_has_no_report(desk: Desk) -> None:
    assert desk.restore("--cfr", "--rate", "60").exit_code == 0
    done = desk.run("report", desk.source, desk.output, "--cfr")
    assert done.exit_code == 2 and "no partners" in done.stderr and tidy(desk.output.parent) == ["restored.mp4"]


@pytest.mark.parametrize("name", ["<script>alert(1)<script>.mp4", "ab\u202etxt.mp4", "-o.mp4", "a\nb 'c\".mp4", "&amp;%s.mp4"])
def test_hostile_names(desk: Desk, name: str) -> None:
    target = desk.folder / "out" / name
    page = desk.folder / "out" / f"{name}.html"
    result = desk.restore("--report", page, output=target)
    assert result.exit_code == 0, result.stderr
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and "\u202e" not in text and ("&amp;amp;" in text) == ("&amp;" in name)
    assert tidy(desk.folder / "out") == sorted((name, f"{name}.html"))


@pytest.fixture
def small_disk(desk: Desk) -> Iterator[Path]:
    place = desk.folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, timeout=30).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], capture_output=True, timeout=30)


def test_a_full_disk_costs_the_page_only(desk: Desk, small_disk: Path) -> None:
    result = desk.restore("--report", small_disk / "page.html", "--json", desk.folder / "r.json")
    assert result.exit_code == ReportError.exit_code == 7
    lines = [line for line in result.stderr.splitlines() if line.startswith("vidrestore: ")]
    assert len(lines) == 1 and "could not be made" in lines[0] and "whole and verified" in lines[0]
    assert desk.output.is_file() and not list(small_disk.iterdir())
    assert json.loads((desk.folder / "r.json").read_text())["frames"] == 12


def test_ctrl_c_while_the_page_is_made_keeps_the_output(desk: Desk, page: Path) -> None:
    source = write_movie(desk.folder / "movie.mp4", count=240)
    command = [*PROGRAM, "run", str(source), "-o", str(desk.output), "--engine", "identity", "--report", str(page)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=desk.folder) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if line.startswith("Steadiness: "):
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
        assert process.wait(60) == 7, told
    assert "was not made: stopped" in told and "Traceback" not in told
    assert desk.output.is_file() and not page.exists() and tidy(desk.output.parent) == ["restored.mp4"]
    assert not [name for name in tidy(desk.folder) if name.startswith(".")]


def batch(desk: Desk, *arguments: Any) -> Any:
    videos = desk.folder / "videos"
    if not videos.exists():
        videos.mkdir()
        for name in ("a.mp4", "b.mp4"):
            shutil.copy(desk.source, videos / name)
    return desk.run("run", videos, "-o", desk.folder / "done", "--engine", "identity", "--workers", 1, *arguments)


def test_a_batch_has_a_page_for_each(desk: Desk) -> None:
    pages = desk.folder / "pages"
    result = batch(desk, "--report", pages)
    assert result.exit_code == 0, result.stderr
    assert tidy(pages) == ["a.mp4.html", "b.mp4.html"] and "Steadiness: " in result.stdout
    assert result.stdout.splitlines()[-1] == f"Reports: 2 pages written to {pages}/"
    before = (pages / "b.mp4.html").stat().st_mtime_ns
    (pages / "a.mp4.html").unlink()
    again = batch(desk, "--report", pages)
    assert again.exit_code == 0 and "2 done already" in again.stdout
    assert tidy(pages) == ["a.mp4.html", "b.mp4.html"], "what is missing is made of the files"
    assert (pages / "b.mp4.html").stat().st_mtime_ns == before


def test_a_batch_whose_pages_fail_is_done(desk: Desk) -> None:
    pages = desk.folder / "pages"
    pages.mkdir()
    (pages / "a.mp4.html").mkdir()
    (pages / "a.mp4.html" / "in the way").touch()
    result = batch(desk, "--report", pages, "--overwrite")
    assert result.exit_code == 7 and "not every report" in result.stderr
    assert "could not be made" in result.stderr and "2 done" in result.stdout
    assert (pages / "b.mp4.html").is_file() and {"a.mp4", "b.mp4"} <= set(tidy(desk.folder / "done"))
    file = desk.folder / "file"
    file.touch()
    assert "need a folder" in batch(desk, "--report", file, "--overwrite").stderr


def test_a_page_that_is_there_stops_no_batch(desk: Desk) -> None:
    pages = desk.folder / "pages"
    pages.mkdir()
    (pages / "a.mp4.html").write_text("mine")
    result = batch(desk, "--report", pages)
    assert result.exit_code == 7 and "not every report" in result.stderr and "is there already, and was kept" in result.stderr
    assert (pages / "a.mp4.html").read_text() == "mine" and (pages / "b.mp4.html").is_file()
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("a.mp4  ")]
    assert row.endswith("its report was not made") and {"a.mp4", "b.mp4"} <= set(tidy(desk.folder / "done"))
    assert result.stdout.splitlines()[-1] == f"Reports: 1 page written to {pages}/"
    one = batch(desk, "--report", desk.folder / "x.html")
    assert one.exit_code == 2 and "is the name of one page" in one.stderr and not (desk.folder / "x.html").exists()


def test_a_result_that_is_none_is_refused(desk: Desk, page: Path) -> None:
    assert desk.restore().exit_code == 0
    other = desk.folder / "other.json"
    other.write_text('{"dry_run": true}')
    for path, code in ((other, 2), (desk.folder / "none.json", 6), (desk.source, 2)):
        done = desk.run("report", desk.source, desk.output, "-o", page, "--result", path)
        assert done.exit_code == code and not page.exists(), done.stderr
    assert tidy(desk.output.parent) == ["restored.mp4"]


def test_an_address_tells_no_more_than_its_name(desk: Desk, page: Path) -> None:
    told = desk.folder / "result.json"
    result = desk.run("run", f"file://{desk.source}", "-o", desk.output, "--engine", "identity", "--report", page, "--json", told)
    assert result.exit_code == 0, result.stderr
    text = page.read_text(encoding="utf-8")
    assert str(desk.folder) not in text and "file://" not in text and digest(desk.source) in text
    assert json.loads(told.read_text())["command"].startswith("vidrestore run source.mp4 -o restored.mp4 ")
    again = desk.run("report", f"file://{desk.source}", desk.output, "-o", desk.folder / "again.html", "--json", "-")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["source"] == "source.mp4"


def test_a_source_of_the_network_has_no_report(desk: Desk, page: Path, refused: Callable[..., str]) -> None:
    address = "http://anna:secret@127.0.0.1:9/private/in.mp4?token=abc"
    arguments = ("run", address, "--protocols", "file,http,tcp", "-o", desk.output, "--engine", "identity", "--report", page)
    told = refused(desk.run(*arguments), 2)
    assert "reads in.mp4 again" in told and "secret" not in told and "token" not in told


def test_a_loss_is_on_the_page_and_in_the_exit_code(desk: Desk, page: Path) -> None:
    assert desk.restore("--drop-streams", "audio").exit_code == 0
    done = desk.run("report", desk.source, desk.output, "-o", page, "--json", desk.folder / "r.json")
    assert done.exit_code == 3 and done.stdout == ""
    (told,) = done.stderr.splitlines()
    assert (
        "is not a whole copy of" in told
        and "Lost or changed: stream 1 audio aac." in told
        and f"The report {page} was written" in told
    )
    assert "Something was lost or changed" in page.read_text(encoding="utf-8")
    assert any(row["verdict"] == "differs" for row in json.loads((desk.folder / "r.json").read_text())["rows"])
    assert " und" not in told and "aac und" not in page.read_text(encoding="utf-8"), "a language that is not told is no word"
    done = desk.run("report", desk.source, desk.output, "-o", page, "--overwrite", "--drop-streams", "audio")
    assert done.exit_code == 0 and "Nothing was lost" in done.stdout
