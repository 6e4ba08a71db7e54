"""Numbers behind colour tags, against files that another FFmpeg wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av

from vidrestore.media.tags import content_light, mastering_display

DISPLAY = (35400, 14600, 8500, 39850, 6550, 2300, 15635, 16450, 10000000, 50)
X265 = "master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50):max-cll=1000,400:hdr10=1:log-level=0"


def test_static_hdr_metadata_is_read(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    path = tmp_path / "hdr.mkv"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.04", "-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params", X265, path
    )
    with av.open(str(path)) as container:
        found = next(container.decode(video=0)).side_data
        assert mastering_display(bytes(found["MASTERING_DISPLAY_METADATA"])) == DISPLAY  # type: ignore[call-overload]
        assert content_light(bytes(found["CONTENT_LIGHT_LEVEL"])) == (1000, 400)  # type: ignore[call-overload]


def test_half_a_description_counts_as_none() -> None:
    assert mastering_display(b"\0" * 87) is None and content_light(b"\0" * 7) is None
    assert mastering_display(b"\0" * 88) is None and content_light(b"\0" * 8) is None
