"""`vidrestore run` and `vidrestore.restore`: what they write, say and return."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import vidrestore
from tests.cli.desk import FRAMES, HEIGHT, WIDTH, Desk, tiny_engine
from vidrestore.cli.progress import progress_bar, progress_lines
from vidrestore.cli.run import overrides
from vidrestore.config import settle
from vidrestore.engine.card import Card
from vidrestore.engine.catalog import Catalog
from vidrestore.errors import ConfigError, InterruptedJob

ENGINES = Path(__file__).resolve().parents[2] / "engines"
ENLARGING = [card for card in Catalog(ENGINES).cards() if card.task == "sr"]
DEFAULTS = {
    "flare": False, "day": False, "night": False, "sr": None, "engine_ids": (), "tier": None, "device": None,
    "strength": None, "start": None, "duration": None, "codec": None, "crf": None, "protect": (), "no_temporal": False,
    "strip_location": False, "container": None, "frame_rate": None, "on_damage": None, "cfr": False, "deinterlace": False,
    "drop_streams": (), "protocols": None, "bit_depth": None, "encoder_option": (),
}  # fmt: skip


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def stamps(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def sound(path: Path) -> list[tuple[int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux(audio=0) if packet.size]


def test_identity_from_file_to_file(desk: Desk) -> None:
    report = desk.folder / "report.json"
    result = desk.restore("--no-temporal", "--json", report)
    assert result.exit_code == 0, result.stderr
    first, *_, line, verified, steady = result.stdout.splitlines()
    assert f"{WIDTH}x{HEIGHT}, {FRAMES} frames | identity (torch, " in first
    assert "estimated from" in first and "disk about" in first
    assert f"restored.mp4: {FRAMES} frames in " in line and "frames a second" in line
    assert verified.startswith(f"Verified: {FRAMES} frames, timestamps exactly")
    assert steady.startswith("Steadiness: not measured, because the frames looked at have too little in common")  # noise
    assert stamps(desk.output) == stamps(desk.source)
    assert sound(desk.output) == sound(desk.source)
    for before, after in zip(pictures(desk.source), pictures(desk.output), strict=True):
        assert np.abs(before.astype(int) - after).mean() < 4  # noise through x264
    told = json.loads(report.read_text())
    assert told["frames"] == told["verification"]["frames"] == FRAMES
    assert told["engines"][0]["id"] == "identity" and told["generative"] is False
    assert set(told["stage_seconds"]) == {"decode", "engine", "blend", "encode", "verify", "score"}
    assert told["peak_memory_bytes"] > 0 and told["plan"]["settings"]["temporal"]["enabled"] is False
    with av.open(str(desk.output)) as container:
        assert "vidrestore" in container.metadata["comment"] and "identity" in container.metadata["comment"]


def bicubic_for_sr(folder: Path, factor: int = 2) -> Path:
    """An engine that restores (so that its output is blended) and has no weights."""
    engine = folder / f"plain-x{factor}"
    engine.mkdir(parents=True)
    card = f"""id = "plain-x{factor}"\ntask = "sr"\ntier = "fast"\ndescription = "for tests"\narchitecture = "bicubic"
hyperparameters = {{ scale = {factor} }}\nscale = {factor}\nlicence = "Apache-2.0"\n"""
    (engine / "card.toml").write_text(card)
    return folder


@pytest.mark.parametrize("factor", [2, 4])
def test_the_factor_decides_which_engine_enlarges(desk: Desk, factor: int) -> None:
    folder = bicubic_for_sr(bicubic_for_sr(desk.folder / "engines", 2), 4)
    result = desk.run("run", desk.source, "-o", desk.output, "--sr", factor, "--engines-dir", folder)
    assert result.exit_code == 0, result.stderr
    assert f"{factor * WIDTH}x{factor * HEIGHT}" in result.stdout and f"plain-x{factor}" in result.stdout
    made = pictures(desk.output)
    assert len(made) == FRAMES and {picture.shape for picture in made} == {(factor * HEIGHT, factor * WIDTH, 3)}
    assert stamps(desk.output) == stamps(desk.source)


@pytest.mark.parametrize("card", ENLARGING, ids=[card.id for card in ENLARGING])
def test_every_engine_that_enlarges_is_reached_by_its_factor(desk: Desk, card: Card) -> None:
    arguments = ("--sr", card.scale, "--tier", card.tier, "--no-temporal", "--duration", "0.1")
    result = desk.run("run", desk.source, "-o", desk.output, *arguments)
    assert result.exit_code == 0, result.stderr
    assert f"{card.scale * WIDTH}x{card.scale * HEIGHT}" in result.stdout and card.id in result.stdout
    before, after = pictures(desk.source), pictures(desk.output)
    assert {picture.shape for picture in after} == {(card.scale * HEIGHT, card.scale * WIDTH, 3)}
    for small, large in zip(before, after, strict=False):
        again = cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - again).mean() < 12, "reduced again it is the picture it came from"


def test_a_factor_that_no_engine_has_is_refused(desk: Desk) -> None:
    folder = bicubic_for_sr(desk.folder / "engines", 2)
    result = desk.run("run", desk.source, "-o", desk.output, "--sr", "4", "--engines-dir", folder)
    assert result.exit_code == 4 and "enlarges 4 times (there are engines for: 2)" in result.stderr
    assert desk.run("run", desk.source, "-o", desk.output, "--sr", "3", "--engines-dir", folder).exit_code == 2


@pytest.mark.parametrize("arguments", [("--engine", "identity"), ("--sr", "2", "--strength", "0")])
def test_where_nothing_is_restored_nothing_is_blended(desk: Desk, arguments: tuple[str, ...]) -> None:
    folder = bicubic_for_sr(desk.folder / "engines")
    (folder / "identity").mkdir()
    (folder / "identity" / "card.toml").write_bytes((ENGINES / "identity" / "card.toml").read_bytes())
    lossless = desk.folder / "out" / "a.mkv"
    command = ("run", desk.source, "-o", lossless, *arguments, "--codec", "ffv1", "--quiet", "--engines-dir", folder)
    assert desk.run(*command).exit_code == 0
    blended = pictures(lossless)
    assert desk.run(*command, "--overwrite", "--no-temporal").exit_code == 0
    assert all(np.array_equal(a, b) for a, b in zip(blended, pictures(lossless), strict=True))


def test_enlarging_and_protecting_under_blending(desk: Desk) -> None:
    box = (32, 16, 24, 32)
    lossless = desk.folder / "out" / "a.mkv"
    folder = bicubic_for_sr(desk.folder / "engines")
    arguments = ("run", desk.source, "-o", lossless, "--sr", "2", "--codec", "ffv1", "--quiet", "--engines-dir", folder)
    assert desk.run(*arguments, "--protect", ",".join(map(str, box))).exit_code == 0
    protected = pictures(lossless)
    assert protected[0].shape == (2 * HEIGHT, 2 * WIDTH, 3)
    assert desk.run(*arguments, "--overwrite", "--no-temporal").exit_code == 0
    plain = pictures(lossless)
    x, y, width, height = (2 * number for number in box)
    inside = (slice(y + 6, y + height - 6), slice(x + 6, x + width - 6))  # chroma is interpolated over the edge
    assert all(np.abs(a[inside].astype(int) - b[inside]).max() <= 1 for a, b in zip(plain, protected, strict=True))
    assert any(np.abs(a.astype(int) - b).max() > 4 for a, b in zip(plain, protected, strict=True))


def test_start_and_duration(desk: Desk) -> None:
    result = desk.restore("--start", "0:00:00.1", "--duration", "0.2", "--quiet")
    assert result.exit_code == 0 and result.stdout == "" and result.stderr == ""
    assert len(stamps(desk.output)) == 6


def test_how_many_frames_at_once_is_the_users_to_say(desk: Desk) -> None:
    plan = desk.folder / "plan.json"
    assert desk.restore("--dry-run", "--device", "cpu", "--batch-size", "2", "--json", plan).exit_code == 0
    told = json.loads(plan.read_text())["plan"]
    assert told["batch_size"] == told["settings"]["batch_size"] == 2 and told["batch"] is None
    refused = desk.restore("--batch-size", "65")
    assert refused.exit_code == 2 and "1<=x<=64" in refused.stderr


def test_dry_run_says_it_and_writes_nothing(desk: Desk) -> None:
    plan = desk.folder / "plan.json"
    result = desk.restore("--dry-run", "--json", plan)
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 1
    assert not list((desk.folder / "out").iterdir())
    told = json.loads(plan.read_text())
    assert told["dry_run"] is True and told["plan"]["frames"] == FRAMES and told["plan"]["estimated_seconds"] > 0


def test_json_to_stdout_is_nothing_but_json(desk: Desk) -> None:
    result = desk.restore("--json", "-")
    assert json.loads(result.stdout)["frames"] == FRAMES


@pytest.mark.parametrize("moment", ["file", "folder"])
def test_a_signal_while_the_output_gets_its_name_comes_too_late(desk: Desk, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Nobody is told that nothing was left behind where a whole output stands; not even by a second signal."""
    flush, struck_at = os.fsync, []

    def struck(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        due = place.parent.name == "join" if moment == "file" else desk.output.exists() and place == desk.output.parent
        if due and not struck_at:
            struck_at.append(place)
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", struck)
    result = desk.restore()
    assert result.exit_code == 0, result.stderr
    assert len(struck_at) == 1 and len(stamps(desk.output)) == FRAMES
    assert [entry.name for entry in desk.output.parent.iterdir()] == [desk.output.name]


def test_overwrite(desk: Desk) -> None:
    desk.output.write_bytes(b"old")
    assert desk.restore("--overwrite").exit_code == 0
    assert len(stamps(desk.output)) == FRAMES


def test_invented_detail_is_marked(desk: Desk) -> None:
    engines = tiny_engine(desk.folder / "engines", "", generative=True)
    result = desk.run("run", desk.source, "-o", desk.output, "--sr", "2", "--engines-dir", engines, "--quiet")
    assert result.exit_code == 0, result.stderr
    assert "Detail was invented by tiny" in result.stderr and "no evidence" in result.stderr
    with av.open(str(desk.output)) as container:
        assert "Detail was invented by tiny" in container.metadata["comment"]


@pytest.mark.parametrize("codec", ["h264", "hevc", "ffv1"])
def test_two_runs_give_the_same_bits(desk: Desk, codec: str) -> None:
    outputs = [desk.folder / "out" / f"{number}.mkv" for number in range(3)]
    for output in outputs:
        assert desk.restore("--codec", codec, output=output).exit_code == 0
    assert len({output.read_bytes() for output in outputs}) == 1


def test_order_of_engines_is_fixed() -> None:
    given = {**DEFAULTS, "sr": "2", "day": True, "flare": True, "engine_ids": ("b", "a")}
    assert overrides(given)["engines"] == ("flare", "day", "sr", "b", "a")
    assert overrides({**given, "sr": "4"})["engines"] == ("flare", "day", "sr:4", "b", "a")
    assert overrides(DEFAULTS) == {}


def test_flags_of_the_media_become_settings() -> None:
    flags = overrides(
        {**DEFAULTS, "drop_streams": ("2, data", "cover"), "protocols": "file,http", "bit_depth": "10", "on_damage": "conceal"}
        | {"encoder_option": (("tune", "film"), ("aq-mode", "3")), "cfr": True, "frame_rate": "30000/1001"}
    )
    run = settle(flags)
    assert run.drop_streams == ("2", "data", "cover") and run.protocols == ("file", "http")
    assert run.encode.bit_depth == 10 and run.encode.options == {"tune": "film", "aq-mode": "3"}
    assert run.on_damage == "conceal" and run.cfr and run.frame_rate == "30000/1001" and not run.deinterlace
    assert settle(overrides({**DEFAULTS, "bit_depth": "auto"})).encode.bit_depth == "auto"


def test_a_rate_without_effect_is_refused(desk: Desk) -> None:
    result = desk.restore("--rate", "30")
    assert result.exit_code == 2 and "--rate has no effect" in result.stderr and "--cfr" in result.stderr
    assert desk.restore("--rate", "30", "--cfr").exit_code == 0


def test_pictures_and_json_do_not_share_stdout(desk: Desk) -> None:
    result = desk.restore("--json", "-", output=Path("-"))
    assert result.exit_code == 2 and "cannot both go to stdout" in result.stderr


def test_flags_win_over_presets_and_presets_over_defaults() -> None:
    preset = settle({}, preset="cinematic")
    assert preset.engines == ("sr",) and preset.temporal.strength == 0.4 and preset.temporal.radius == 2
    flags = overrides({**DEFAULTS, "engine_ids": ("identity",), "no_temporal": True, "crf": 30, "protect": ((1, 2, 3, 4),)})
    both = settle(flags, preset="cinematic")
    assert both.engines == ("identity",) and both.encode.crf == 30 and both.encode.codec == "auto"
    assert both.temporal.enabled is False and both.temporal.strength == 0.4
    assert both.protect[0].height == 4


def test_from_python(desk: Desk) -> None:
    steps: list[vidrestore.Progress] = []
    result = vidrestore.restore(
        desk.source, desk.output, engines=["identity"], encode={"codec": "hevc"}, batch_size=5, progress=steps.append
    )
    assert isinstance(result, vidrestore.Result)
    assert result.frames == FRAMES == len(steps) and steps[-1].total == FRAMES
    assert result.plan.codec == "hevc" and Path(result.output) == desk.output
    with pytest.raises(ConfigError, match="quality"):
        vidrestore.restore(desk.source, desk.output, engines=["identity"], quality=3)


def test_from_another_thread(desk: Desk) -> None:
    """Signals belong to the main thread; a run elsewhere leaves them alone."""
    results: list[vidrestore.Result] = []
    thread = threading.Thread(target=lambda: results.append(vidrestore.restore(desk.source, desk.output, engines=["identity"])))
    thread.start()
    thread.join(60)
    assert [result.frames for result in results] == [FRAMES]


def test_the_bar_counts_frames(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    with vidrestore.Job(desk.source, desk.output, settle({"engines": ("identity",)})) as job:
        plan = job.plan()
    with progress_bar(plan) as step:
        step(vidrestore.Progress(FRAMES, FRAMES, 1.0))
    assert f"/{FRAMES}" in capsys.readouterr().err


def test_a_log_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_lines(every=0.0) as step:
        step(vidrestore.Progress(30, 120, 10.0, resumed=10))
        step(vidrestore.Progress(30, None, 0.0))
    assert capsys.readouterr().err.splitlines() == [
        "30 of 120 frames, 2.00 frames a second, about 45 s left",
        "30 frames, 0.00 frames a second",
    ]
    with progress_lines() as step:
        step(vidrestore.Progress(30, 120, 10.0))
    assert capsys.readouterr().err == ""


def test_what_becomes_of_an_earlier_run_is_said_before_the_work_and_once(desk: Desk) -> None:
    short = desk.folder / "short.toml"
    short.write_text("segment_frames = 5\n")
    config = settle({"engines": ("identity",)}, config=short)
    with pytest.raises(InterruptedJob), vidrestore.Job(desk.source, desk.output, config) as job:
        job.run(stopping=iter([False] * 8 + [True] * 10_000).__next__)
    first = desk.restore("--config", short, "--crf", "30", "--dry-run")
    assert first.exit_code == 0
    result = desk.restore("--config", short)
    lines = result.stderr.splitlines()
    assert result.exit_code == 0 and sum("restored by an earlier run" in line for line in lines) == 1


def test_presets_are_valid() -> None:
    from vidrestore.config import preset_names

    assert preset_names()
    for name in preset_names():
        assert settle({}, preset=name).engines
