"""Restores the example drive with a report and takes pictures of it: docs/report_desk_light.jpg, docs/report_phone_dark.jpg.

python docs/make_report_pictures.py [FOLDER]

Needs Playwright's Python package and a Chromium. FOLDER keeps the report and the restored clip; without one they are thrown away.
The speed in the pictures is that of the machine they are taken on.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).resolve().parent
DRIVE = DOCS.parent / "examples" / "night_drive.mp4"
PICTURES = {
    "report_desk_light.jpg": ({"width": 1280, "height": 1580}, "light", 1),
    "report_phone_dark.jpg": ({"width": 390, "height": 1530}, "dark", 1.5),
}
"""Name: window, colours, pixels of the picture a pixel of the page."""
MOST_BYTES = 400_000


def restored(folder: Path) -> Path:
    """The report of a run of the example."""
    report = folder / "report.html"
    program = [sys.executable, "-c", "from vidrestore.cli import main; main()"]
    command = ["run", str(DRIVE), "--flare", "--day", "-o", str(folder / "restored.mp4"), "--report", str(report), "--overwrite"]
    subprocess.run([*program, *command], check=True)
    return report


def small(picture: bytes) -> bytes:
    """As JPEG, as good as MOST_BYTES allow."""
    for quality in range(92, 40, -4):
        memory = io.BytesIO()
        Image.open(io.BytesIO(picture)).convert("RGB").save(memory, "JPEG", quality=quality, optimize=True, subsampling=0)
        if memory.tell() <= MOST_BYTES:
            break
    return memory.getvalue()


def main(folder: Path) -> None:
    address = restored(folder).as_uri()
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (window, colours, scale) in PICTURES.items():
            page = chromium.new_page(viewport=window, color_scheme=colours, device_scale_factor=scale)
            page.goto(address)
            page.wait_for_timeout(500)
            (DOCS / name).write_bytes(small(page.screenshot()))
            print(f"docs/{name}: {(DOCS / name).stat().st_size:,} bytes")
        chromium.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
