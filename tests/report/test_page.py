"""The page as text: sound HTML, everything in it, nothing outside it, nothing unescaped."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import resource
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from vidrestore.errors import DiskFullError, FolderMissingError, OutputExistsError, UsageError
from vidrestore.report.page import LARGEST_PAGE, facts, plots, render, words, write_page
from vidrestore.report.proof import CheckRow, Moment, Proof, Run

VOID = {"meta", "link", "img", "input", "br", "hr"}
HOSTILE = '<script>alert("x")</script>"><img src=x onerror=alert(1)> \u202egpj.exe {{ 7 * 7 }} \udcff.mp4'


class Reader(HTMLParser):
    """Collects elements with their attributes, and complains of elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.words.setdefault(self.open[-1], []).append(data)

    def all(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    def text(self) -> str:
        return " ".join(word for tag, found in self.words.items() if tag not in ("script", "style") for word in found)


@pytest.fixture(scope="module")
def page(proof: Proof) -> str:
    return render(proof)


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    return Reader(page)


def hostile(proof: Proof) -> Proof:
    """Everything that may come from a file says something that a browser must not believe."""
    engine = {**proof.run.engines[1], "id": HOSTILE, "licence": HOSTILE, "task": HOSTILE}
    run = replace(
        proof.run,
        engines=(engine,),
        command=HOSTILE,
        mark=HOSTILE,
        description=HOSTILE,
        settings={**proof.run.settings, HOSTILE: HOSTILE},
        versions={HOSTILE: HOSTILE},
    )
    return replace(
        proof,
        source=HOSTILE,
        output=HOSTILE,
        run=run,
        rows=(CheckRow(HOSTILE, HOSTILE, HOSTILE, "differs", HOSTILE), *proof.rows),
        lost=HOSTILE,
        notices=(HOSTILE,),
        notes=(HOSTILE,),
        invented=(HOSTILE,),
        damage=({"index": 3, "seconds": 0.1, "kind": HOSTILE, "reason": HOSTILE, "count": 1},),
        source_stream={**proof.source_stream, "codec": HOSTILE, "container": HOSTILE, "frame_rate": HOSTILE},
    )


def test_ids_are_unique_and_what_is_named_exists(read: Reader) -> None:
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [attributes.get("for", "") for attributes in read.all("label")]
    named += [part for _, attributes in read.elements for part in attributes.get("aria-labelledby", "").split()]
    named += [attributes["href"][1:] for attributes in read.all("a", "use")]
    assert [name for name in named if name and name not in ids] == []


def test_every_control_and_picture_has_a_name(read: Reader) -> None:
    labelled = {attributes.get("for") for attributes in read.all("label")}
    ranges = [attributes for attributes in read.all("input") if attributes["type"] == "range"]
    assert len(ranges) == 3
    assert all(control["id"] in labelled and control["aria-valuetext"] for control in ranges)
    assert all(picture["alt"] for picture in read.all("img"))
    assert all(video["aria-label"] and "controls" in video and "autoplay" not in video for video in read.all("video"))
    drawn = [attributes for attributes in read.all("svg") if attributes.get("role") == "img"]
    assert all(attributes.get("aria-label") or attributes.get("aria-labelledby") for attributes in drawn)
    assert len(read.all("h1")) == 1 and read.all("html")[0]["lang"] == "en"
    assert all(attributes.get("scope") for attributes in read.all("th"))


def test_headings_skip_no_level(read: Reader) -> None:
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_it_refers_to_nothing_outside(page: str, read: Reader) -> None:
    addresses = [
        attributes[name] for _, attributes in read.elements for name in ("src", "href", "poster", "action") if name in attributes
    ]
    assert [address[:40] for address in addresses if not address.startswith(("data:", "#"))] == []
    style = "".join(read.words["style"])
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import\()", "".join(read.words["script"]))
    assert not re.search(r"https?:", page)


def test_its_policy_allows_its_own_style_and_script_only(read: Reader) -> None:
    (policy,) = [attributes["content"] for attributes in read.all("meta") if "http-equiv" in attributes]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and "unsafe" not in policy and "http" not in policy
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256("".join(read.words[tag]).encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    forbidden = [name for _, attributes in read.elements for name in attributes if name == "style" or name.startswith("on")]
    assert forbidden == []


def test_it_says_what_the_proof_says(proof: Proof, read: Reader) -> None:
    text = re.sub(r"\s+", " ", read.text())
    for wanted in (
        proof.output, proof.source, proof.source_sha256, proof.output_sha256, proof.lost, proof.run.command, proof.run.mark,
        *proof.notices, *proof.notes, *(engine["id"] for engine in proof.run.engines),
        *(engine["sha256"] for engine in proof.run.engines), *proof.run.versions,
        *(row.name for row in proof.rows), *(row.sentence for row in proof.rows), *(moment.why for moment in proof.moments),
    ):  # fmt: skip
        assert str(wanted) in text
    assert "What you see may not have been there" in text and "This video is no evidence." in text


def test_without_invented_detail_there_is_no_such_warning(proof: Proof) -> None:
    assert "no evidence" not in Reader(render(replace(proof, invented=()))).text()


def test_the_same_proof_gives_the_same_page(proof: Proof, page: str) -> None:
    assert render(proof) == page


def test_hostile_words_stay_words(proof: Proof, read: Reader) -> None:
    found = Reader(render(hostile(proof)))
    assert len(found.all("script")) == 1 and len(found.all("img")) == len(read.all("img"))
    text = found.text()
    assert text.count('<script>alert("x")</script>') >= 15
    assert "\u202e" not in text and "\\u202e" in text and "\\udcff" in text
    assert "{{ 7 * 7 }}" in text
    render(hostile(proof)).encode("utf-8")


@pytest.mark.parametrize(
    ("verdicts", "state", "headline"),
    [
        (("ok", "note"), "ok", "Nothing was lost"),
        (("ok", "differs"), "differs", "Something was lost or changed"),
        ((), "unknown", "Not compared"),
    ],
)
def test_the_verdict_is_that_of_the_rows(proof: Proof, verdicts: tuple[str, ...], state: str, headline: str) -> None:
    rows = tuple(CheckRow(name, "1", "2", name, "" if name == "ok" else "Why.") for name in verdicts)
    changed = replace(proof, rows=rows, lost="Words of the check.")
    verdict = facts.verdict_of(changed)
    assert (verdict.state, verdict.headline) == (state, headline)
    assert (headline == "Nothing was lost") == ("Nothing was lost" in render(changed))
    assert "Words of the check." in render(changed)


def test_what_differs_comes_first() -> None:
    rows = [CheckRow("a", "1", "1", "ok"), CheckRow("b", "1", "2", "note", "Why."), CheckRow("c", "1", "2", "differs", "Why.")]
    assert [check.name for check in facts.checks_of(rows)] == ["c", "b", "a"]


def test_settings_other_than_the_defaults_are_told_first(proof: Proof) -> None:
    settings = facts.settings_of(proof.run.settings)
    assert [(setting.key, setting.value) for setting in settings if setting.differs] == [
        ("engines", "flare, day"),
        ("strength", "0.8"),
    ]
    assert {"temporal.radius", "encode.crf", "limits.pixels"} <= {setting.key for setting in settings}


def test_a_bare_proof_makes_a_page(proof: Proof) -> None:
    run = Run((), {}, {}, "", "", None, None)
    bare = replace(
        proof, run=run, curves={}, steadiness={}, moments=(), clip=None, notices=(), notes=(), invented=(), rows=(),
        source_stream={}, output_stream={},
    )  # fmt: skip
    found = Reader(render(bare))
    assert "Not compared" in found.text() and not found.all("video") and not found.all("img")


def test_the_largest_page_is_below_its_limit(proof: Proof) -> None:
    """Noise at 1080p is the worst that pictures can be, and a minute has 3,600 values a curve at 60 frames a second."""
    random = np.random.default_rng(7)
    noise = [random.integers(0, 256, (1080, 1920, 3), dtype=np.uint8) for _ in range(2)]
    moments = tuple(Moment("at random", index, index / 60, 80.0, *noise) for index in range(9))
    times = [index / 60 for index in range(3600)]
    curves = {key: (times, random.uniform(0, 255, 3600).tolist()) for key in proof.curves}
    page = render(replace(proof, moments=moments, curves=curves, clip=random.bytes(3_000_000)))
    assert 4_000_000 < len(page.encode()) < LARGEST_PAGE
    assert "Reduced to" in page and page.count("data:image/webp") == 18


def test_a_clip_too_large_is_left_out_and_said(proof: Proof) -> None:
    page = render(replace(proof, clip=bytes(7_000_000)))
    assert "too large for this page" in page and "<video" not in page


def test_the_small_output_is_not_enlarged(read: Reader, proof: Proof) -> None:
    height, width = proof.moments[0].after.shape[:2]
    assert {(picture["width"], picture["height"]) for picture in read.all("img")} == {(str(width), str(height))}
    assert "Reduced" not in read.text()


def test_tall_pictures_are_reduced_by_their_longest_side(proof: Proof) -> None:
    tall = np.zeros((1920, 1080, 3), np.uint8)
    found = Reader(render(replace(proof, moments=(Moment("at random", 0, 0.0, 0.0, tall, tall),))))
    assert {(picture["width"], picture["height"]) for picture in found.all("img")} == {("720", "1280")}


def drawn(seconds: list[float], values: list[float]) -> plots.Plot:
    (plot,) = plots.plots_of({"change": (seconds, values)}, (), None)
    return plot


def test_thinning_keeps_every_peak() -> None:
    values = [1.0] * 50_000
    values[31_234], values[777] = 200.0, 0.0
    line = drawn([index / 25 for index in range(50_000)], values).lines[0]
    kept = [float(pair.split(",")[1]) for pair in line.values.split()]
    assert len(kept) <= plots.MOST_POINTS and max(kept) == 200 and min(kept) == 0


def test_nothing_is_drawn_where_nothing_was_measured() -> None:
    whole = drawn([0.0, 0.1, 0.2, 0.3], [1.0, 2.0, 3.0, 4.0]).lines[0].path
    assert whole.count("M") == 1
    missing = drawn([0.0, 0.1, 0.2, 0.3], [1.0, math.nan, 3.0, 4.0]).lines[0].path
    apart = drawn([0.0, 0.1, 0.2, 9.0, 9.1, 9.2], [1.0] * 6).lines[0].path
    assert missing.count("M") == apart.count("M") == 2
    in_pairs = [float(second) for start in range(0, 60, 2) for second in (start, start + 0.04)]
    assert drawn(in_pairs, in_pairs).lines[0].path.count("M") == 1  # of a long clip every so often two frames are measured
    long = [index / 25 for index in range(5000)]
    wave = [100 + 50 * math.sin(index / 7) for index in range(5000)]
    assert drawn(long, wave).lines[0].path.count("M") == 1
    later = [second + (60 if second > 100 else 0) for second in long]
    assert drawn(later, wave).lines[0].path.count("M") == 2
    assert "nan" not in missing + apart


def test_lines_stay_inside_their_plot() -> None:
    plot = drawn([0.0, 1.0, 2.0], [0.0, 255.0, 40.0])
    numbers = [tuple(map(float, place.split())) for place in re.findall(r"[ML]([^ML]+)", plot.lines[0].path)]
    assert all(0 <= x <= plots.ACROSS and 0 <= y <= plots.HEIGHT for x, y in numbers)
    assert numbers[0][1] == plots.HEIGHT  # zero lies on the ground
    assert plot.top >= 255 and "highest 255 at 0:01.00" in plot.sentence


def test_a_curve_without_values_says_so() -> None:
    assert drawn([0.0, 1.0], [math.nan, math.nan]).sentence == "No value could be measured."


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (53.04, "53.0"),
        (0.000791, "0.000791"),
        (1234567.0, "1,234,567"),
        (math.nan, "–"),
        (-2.5, "-2.50"),
        (1e-12, "1.00e-12"),
    ],
)
def test_numbers_in_words(value: float, said: str) -> None:
    assert words.figure(value) == said


@pytest.mark.parametrize(("seconds", "said"), [(4.2, "0:04.20"), (59.999, "1:00.00"), (3723.4, "1:02:03.40"), (-1, "−0:01.00")])
def test_times_in_words(seconds: float, said: str) -> None:
    assert words.clock(seconds) == said


def test_names_that_hide_something_are_spelled_out() -> None:
    assert words.shown("a\u202eb\x00c\udcffd\u200be") == "a\\u202eb\\x00c\\udcffd\\u200be"
    assert words.shown("Nachtfahrt – ночь 夜 😀\n") == "Nachtfahrt – ночь 夜 😀\n"


def test_commands_quote_names(proof: Proof) -> None:
    ways = dict(facts.ways_to_check(replace(proof, source="-rf $(x).mp4", output="it's.mp4")))
    assert ways["Linux"] == """sha256sum './-rf $(x).mp4' 'it'"'"'s.mp4'"""
    assert ways["Windows"].endswith("'-rf $(x).mp4', 'it''s.mp4'")


def test_it_is_written_whole_and_never_over_another(proof: Proof, page: str, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    write_page(proof, target)
    assert target.read_text(encoding="utf-8") == page
    target.write_text("mine")
    with pytest.raises(OutputExistsError):
        write_page(proof, target)
    assert target.read_text() == "mine"
    write_page(proof, target, overwrite=True)
    assert target.read_text(encoding="utf-8") == page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_place_that_will_not_do_is_refused(proof: Proof, tmp_path: Path) -> None:
    with pytest.raises(FolderMissingError):
        write_page(proof, tmp_path / "none" / "report.html")
    with pytest.raises(UsageError):
        write_page(proof, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(proof: Proof, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(DiskFullError):
            write_page(proof, tmp_path / "report.html")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_ticks_before_the_beginning_are_told_as_such() -> None:
    assert words.whole_clock(-5.2) == "−0:05"
    assert [words.whole_clock(seconds) for seconds in (0, 59.6, 3723)] == ["0:00", "1:00", "1:02:03"]
    (plot,) = plots.plots_of({"change": ([-65.0, 0.0, 65.0], [1.0, 2.0, 3.0])}, [], None)
    assert plot.x_ticks[0][1] == "−1:05"
