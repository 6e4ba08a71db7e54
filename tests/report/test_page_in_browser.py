"""The page in a real browser: the line moves, the clip plays, nothing is asked of the network, and it is readable everywhere.

Needs Playwright's Python package and a Chromium of the system (Debian's package `chromium`); skipped, with the reason, without.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.report.test_page import HOSTILE, hostile
from vidrestore.report.page import render
from vidrestore.report.proof import Proof

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install playwright)")

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)")

CONTRASTS = Path(__file__).with_name("contrast.js")
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(proof: Proof, tmp_path_factory: pytest.TempPathFactory) -> str:
    return stored(render(proof), tmp_path_factory.mktemp("page") / "report.html")


def stored(text: str, path: Path) -> str:
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


@contextmanager
def opened(browser: Any, address: str, viewport: dict[str, int] = DESK, **options: Any) -> Iterator[Any]:
    """The page in a window of its own; at the end nothing may have been asked for, and nothing complained of."""
    context = browser.new_context(viewport=viewport, **options)
    asked: list[str] = []
    complaints: list[str] = []

    def stop(route: Any) -> None:
        route.continue_() if route.request.url == address else route.abort()

    context.route("**/*", stop)
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    try:
        yield page
        outside = [url[:80] for url in asked if not url.startswith("data:") and url.partition("#")[0] != address]
        assert outside == [] and address in asked
        assert complaints == []
    finally:
        context.close()


def boundary(page: Any, number: int = 1) -> float:
    """Where the after picture begins, as a share of the picture's width, measured on what is drawn."""
    clip = page.locator(f"#moment-{number} .after").evaluate("element => getComputedStyle(element).clipPath")
    found = re.fullmatch(r"inset\(0px 0px 0px ([\d.]+)%\)", clip)
    assert found, clip
    picture, handle = (page.locator(f"#moment-{number} {part}").bounding_box() for part in (".compare", ".handle"))
    middle = handle["x"] + handle["width"] / 2
    assert abs(middle - picture["x"] - picture["width"] * float(found[1]) / 100) <= 1.5
    return float(found[1]) / 100


def seen(page: Any, proof: Proof, left: float, right: float) -> str:
    """Which of the two pictures is shown between two shares of the width, by its pixels."""
    moment = proof.moments[0]
    picture = np.asarray(Image.open(io.BytesIO(page.locator("#moment-1 .compare").screenshot())).convert("RGB"))

    def mean(pixels: np.ndarray) -> float:
        height, width = pixels.shape[:2]
        return float(pixels[int(0.7 * height) : int(0.95 * height), int(left * width) : int(right * width)].mean())

    distances = {name: abs(mean(picture) - mean(getattr(moment, name))) for name in ("before", "after")}
    nearest = min(distances, key=distances.__getitem__)
    assert distances[nearest] < 4 and max(distances.values()) > 15, distances
    return nearest


def test_the_line_follows_the_mouse(browser: Any, address: str, proof: Proof) -> None:
    with opened(browser, address) as page:
        picture = page.locator("#moment-1 .compare")
        picture.scroll_into_view_if_needed()
        assert boundary(page) == 0.5
        assert seen(page, proof, 0.3, 0.45) == "before" and seen(page, proof, 0.55, 0.7) == "after"
        box = picture.bounding_box()
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] / 2, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.25, middle, steps=4)
        assert boundary(page) == 0.25
        assert seen(page, proof, 0.3, 0.45) == "after"
        page.mouse.move(box["x"] + box["width"] * 2, middle, steps=4)  # beyond the picture it stops at its edge
        assert boundary(page) == 1.0
        page.mouse.up()
        page.mouse.move(box["x"] + box["width"] * 0.1, middle)
        assert boundary(page) == 1.0
        assert seen(page, proof, 0.55, 0.7) == "before"
        page.mouse.click(box["x"] + box["width"] * 0.4, middle)
        assert boundary(page) == 0.4
        assert boundary(page, 2) == 0.5  # the others stay


def test_the_line_follows_the_keys_and_says_where_it_is(browser: Any, address: str, proof: Proof) -> None:
    with opened(browser, address) as page:
        line = page.locator("#wipe-1")
        page.locator(".contents a").last.focus()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "wipe-1"
        for key, share in (("ArrowLeft", 0.49), ("ArrowRight", 0.5), ("Home", 0.0), ("ArrowRight", 0.01), ("End", 1.0)):
            page.keyboard.press(key)
            assert boundary(page) == share
            assert line.get_attribute("aria-valuetext") == f"{round(100 * share)} % before, {100 - round(100 * share)} % after"
        page.keyboard.press("PageDown")
        assert boundary(page) < 1
        page.keyboard.press("Home")
        assert seen(page, proof, 0.1, 0.4) == "after"


def test_where_the_focus_is_can_be_seen(browser: Any, address: str) -> None:
    def outline(page: Any, selector: str) -> bool:
        style = "element => [getComputedStyle(element).outlineStyle, parseFloat(getComputedStyle(element).outlineWidth)]"
        kind, width = page.locator(selector).first.evaluate(style)
        return bool(kind != "none" and width >= 2)

    with opened(browser, address) as page:
        page.keyboard.press("Tab")
        assert page.locator(".skip").bounding_box()["y"] >= 0
        page.keyboard.press("Tab")
        assert outline(page, ".scheme input:checked + span")
        page.keyboard.press("Tab")
        assert outline(page, ".go a, .contents a")
        assert not outline(page, "#moment-1 .compare")
        page.locator(".contents a").last.focus()
        page.keyboard.press("Tab")
        assert outline(page, "#moment-1 .compare")


def test_focus_goes_through_the_page_in_its_order(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        order: list[tuple[float, str]] = []
        for _ in range(60):
            page.keyboard.press("Tab")
            place = page.evaluate(
                "() => { const e = document.activeElement; if (e === document.body) return null;"
                " return [[...document.querySelectorAll('*')].indexOf(e), e.id || e.localName] }"
            )
            if place is None:
                break
            order.append((place[0], place[1]))
        else:
            raise AssertionError("focus never came back")
        assert [place for place, _ in order] == sorted(place for place, _ in order)
        names = [name for _, name in order]
        assert [name for name in names if name.startswith("wipe-")] == ["wipe-1", "wipe-2", "wipe-3"]
        assert "video" in names and names.count("summary") == page.locator("summary").count()


def test_it_is_read_out_well(browser: Any, address: str, proof: Proof) -> None:
    with opened(browser, address) as page:
        said = page.locator("body").aria_snapshot()
        for wanted in (
            f'slider "Line between before and after, frame {proof.moments[0].index}, changed most"',
            f'img "Before: frame {proof.moments[0].index} at',
            'heading "Detail was made up" [level=2]',
            'radio "Dark"',
            'img "Brightness"',
            'columnheader "verdict"',
            'rowheader "frame times"',
            'navigation "Contents"',
            "- main:",
        ):
            assert wanted in said, wanted
        tools = page.context.new_cdp_session(page)
        nodes = tools.send("Accessibility.getFullAXTree")["nodes"]
        sliders = [entry for entry in nodes if entry.get("role", {}).get("value") == "slider" and not entry.get("ignored")]
        assert len([entry for entry in sliders if "Line between" in entry["name"]["value"]]) == 3
        # Read out in the place of the number. The tree's own `valuetext` is the number in Chromium 156.0.8078.79, whatever
        # aria-valuetext says; so the element that the tree names is asked.
        words = tools.send("DOM.describeNode", {"backendNodeId": sliders[0]["backendDOMNodeId"]})["node"]["attributes"]
        assert dict(zip(words[::2], words[1::2], strict=True))["aria-valuetext"] == "50 % before, 50 % after"


def test_the_line_follows_a_finger_and_the_page_still_scrolls(browser: Any, address: str) -> None:
    with opened(browser, address, PHONE, has_touch=True, is_mobile=True) as page:
        page.locator("#moment-1 .compare").scroll_into_view_if_needed()
        box = page.locator("#moment-1 .compare").bounding_box()
        hand = page.context.new_cdp_session(page)

        def touch(kind: str, *points: tuple[float, float]) -> None:
            places = [{"x": box["x"] + box["width"] * x, "y": box["y"] + box["height"] * y} for x, y in points]
            hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

        touch("touchStart", (0.5, 0.5))
        for share in (0.55, 0.65, 0.8):
            touch("touchMove", (share, 0.5))
        touch("touchEnd")
        assert boundary(page) == pytest.approx(0.8, abs=0.01)
        touch("touchStart", (0.3, 0.5))
        touch("touchEnd")
        assert boundary(page) == pytest.approx(0.3, abs=0.01)  # a tap
        before = page.evaluate("scrollY")
        touch("touchStart", (0.6, 0.9))
        for share in np.linspace(0.8, -0.4, 10):
            touch("touchMove", (0.6, float(share)))
        touch("touchEnd")
        page.wait_for_timeout(200)
        assert page.evaluate("scrollY") > before + 100
        assert boundary(page) == pytest.approx(0.3, abs=0.01)  # the line has not jumped


def test_the_clip_is_there_and_plays(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        video = page.locator("video")
        video.scroll_into_view_if_needed()
        video.evaluate("v => v.readyState >= 2 || new Promise(done => { v.onloadeddata = done })")
        assert video.evaluate("v => [v.paused, v.currentTime, v.controls, v.autoplay]") == [True, 0, True, False]
        assert video.evaluate("v => v.duration") == pytest.approx(1.0, abs=0.05)
        assert video.evaluate("v => v.videoWidth / v.videoHeight") > 3  # side by side
        played = "v => new Promise(done => { v.ontimeupdate = () => v.currentTime > .2 && done(v.currentTime); v.play() })"
        assert 0.2 < video.evaluate(played) < 1.1
        assert video.evaluate("v => v.error") is None


def test_plots_are_drawn_and_can_be_read_off(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        assert page.locator(".plot").evaluate_all("all => all.map(plot => plot.id)") == [
            "plot-change", "plot-brightness", "plot-warping", "plot-fps",
        ]  # fmt: skip
        for path in page.locator(".area path").all():
            drawn = path.bounding_box()
            assert drawn["width"] > 250 and drawn["height"] > 2
            assert path.evaluate("p => p.getTotalLength()") > 500
            assert path.evaluate("p => getComputedStyle(p).stroke") not in ("none", "")
        area = page.locator("#plot-brightness .area")
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
        assert re.fullmatch(r"0:0[12]\.\d\d  before [\d.]+, after [\d.]+", page.locator("#plot-brightness .readout").inner_text())
        page.mouse.move(5, 5)
        assert page.locator("#plot-brightness .readout").inner_text() == ""


def test_its_policy_is_in_force(browser: Any, address: str) -> None:
    """What a page without it would load, and scripts and styles that slipped in, are refused by the browser itself."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    refused = page.evaluate(
        """async () => {
        const refused = [];
        addEventListener('securitypolicyviolation', event => refused.push(event.effectiveDirective));
        const add = (name, settings) => document.body.append(Object.assign(document.createElement(name), settings));
        add('img', { src: 'http://127.0.0.1:9/x.png' });
        add('script', { textContent: 'window.slipped = true' });
        add('style', { textContent: 'body { color: red }' });
        add('iframe', { src: 'http://127.0.0.1:9/' });
        await fetch('http://127.0.0.1:9/').catch(() => {});
        await new Promise(done => setTimeout(done, 200));
        return [...refused.sort(), String(window.slipped)];
        }"""
    )
    context.close()
    assert refused == ["connect-src", "frame-src", "img-src", "script-src-elem", "style-src-elem", "undefined"]


@pytest.mark.parametrize("made", [lambda proof: proof, hostile], ids=["plain", "hostile"])
def test_a_phone_scrolls_one_way_only(browser: Any, proof: Proof, made: Any, tmp_path: Path) -> None:
    with opened(browser, stored(render(made(proof)), tmp_path / "report.html"), PHONE) as page:
        page.locator("details").evaluate_all("all => all.forEach(details => { details.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        outside = page.evaluate(
            """() => [...document.querySelectorAll('main *, header *, footer *')].filter(element => {
            const box = element.getBoundingClientRect();
            return box.width > 1 && box.height > 1 && (box.right > 360.5 || box.left < -0.5) && !element.closest('.scroll');
            }).map(element => element.outerHTML.slice(0, 80))"""
        )
        assert outside == []


@pytest.mark.parametrize("width", [480, 700, 900, 1280, 2400])
def test_no_window_is_too_narrow(browser: Any, proof: Proof, tmp_path: Path, width: int) -> None:
    with opened(browser, stored(render(hostile(proof)), tmp_path / "report.html"), {"width": width, "height": 800}) as page:
        page.locator("details").evaluate_all("all => all.forEach(details => { details.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_stands_out_from_what_is_behind_it(browser: Any, address: str, scheme: str) -> None:
    """WCAG 2.2, 1.4.3 (AA): 4.5 to 1."""
    with opened(browser, address, color_scheme=scheme) as page:
        page.locator("details").evaluate_all("all => all.forEach(details => { details.open = true })")
        found = page.evaluate(CONTRASTS.read_text(encoding="utf-8"))
        assert len(found) > 150
        assert [(round(contrast, 2), words) for contrast, words in found if contrast < 4.5] == []


def background(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_it_is_dark_where_the_system_is_and_the_switch_overrules_it(browser: Any, address: str) -> None:
    with opened(browser, address, color_scheme="dark") as page:
        dark = background(page)
        page.locator("#scheme-light").check()
        light = background(page)
        page.locator("#scheme-auto").check()
        assert background(page) == dark != light
    with opened(browser, address, color_scheme="light") as page:
        assert background(page) == light
        page.locator("#scheme-dark").focus()
        page.keyboard.press("Space")
        assert background(page) == dark
        page.emulate_media(media="print")
        assert background(page) == light  # paper is white


def boxes(page: Any, number: int = 1) -> list[dict[str, float]]:
    """Of both pictures, measured at once: the page may be scrolling."""
    measure = "all => all.map(element => element.getBoundingClientRect().toJSON())"
    return list(page.locator(f"#moment-{number} img").evaluate_all(measure))


def test_without_script_both_pictures_stand_side_by_side(browser: Any, address: str, proof: Proof) -> None:
    with opened(browser, address, java_script_enabled=False) as page:
        one, other = boxes(page)
        assert one["x"] + one["width"] <= other["x"] and one["y"] == other["y"] and one["width"] > 400
        assert not page.locator("#wipe-1").is_visible() and not page.locator(".hint").is_visible()
        assert page.locator("video").is_visible() and page.locator(".area path").first.is_visible()
        assert page.get_by_text(proof.output_sha256).is_visible()
        page.locator("#scheme-dark").check()
    with opened(browser, address, PHONE, java_script_enabled=False) as page:
        one, other = boxes(page)
        assert other["y"] >= one["y"] + one["height"] and one["width"] > 300


def test_it_prints(browser: Any, address: str, tmp_path: Path) -> None:
    with opened(browser, address, {"width": 688, "height": 1000}) as page:
        page.locator("#wipe-1").focus()
        page.keyboard.press("Home")
        page.emulate_media(media="print")
        one, other = boxes(page)
        assert one["x"] + one["width"] <= other["x"] and one["y"] == other["y"] and one["width"] > 300
        clip = page.locator("#moment-1 .after").evaluate("element => getComputedStyle(element).clipPath")
        assert clip == "none"
        for hidden in (".scheme", ".contents", "#wipe-1", "#moment-1 .handle", "video", ".hint", ".skip"):
            assert not page.locator(hidden).first.is_visible(), hidden
        kept = page.locator("figure, tr").evaluate_all("all => all.map(element => getComputedStyle(element).breakInside)")
        assert set(kept) == {"avoid"}
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        assert page.locator("#ran .more code", has_text="limits.pixels").is_visible()
        assert page.locator(".sha .full").first.is_visible()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details[open]").count() == 0
        document = page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
        assert document.startswith(b"%PDF")
        sizes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", document)
        assert sizes
        for width, height in sizes:  # A4 in points
            assert float(width) == pytest.approx(595.3, abs=1.5) and float(height) == pytest.approx(841.9, abs=1.5)
        assert 3 <= len(re.findall(rb"/Type /Page\b", document)) <= 12


def test_hostile_names_do_nothing(browser: Any, proof: Proof, tmp_path: Path) -> None:
    with opened(browser, stored(render(hostile(proof)), tmp_path / "report.html")) as page:
        assert page.locator("script").count() == 1 and page.locator("img").count() == 6
        shown = HOSTILE.replace("\u202e", "\\u202e").replace("\udcff", "\\udcff")
        assert page.locator("h1").inner_text() == shown
        assert page.title() == f"{shown}: proof report"


def test_movement_can_be_declined(browser: Any, address: str) -> None:
    for wish, way in (("no-preference", "smooth"), ("reduce", "auto")):
        with opened(browser, address, reduced_motion=wish) as page:
            assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == way
