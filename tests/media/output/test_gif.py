"""gif out: times by the nearest tick, the loop, the last picture's duration, one-bit transparency, and the same bits twice."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.media.conftest import picture
from vidrestore.config import RunConfig
from vidrestore.errors import EmptyVideoError, MediaError, UnsupportedStreamError, UsageError, VerificationError
from vidrestore.media.input.probe import probe
from vidrestore.media.output.gif import GifSink, plan_gif, read_blocks
from vidrestore.media.output.sink import check_sink, open_sink
from vidrestore.types import Frame


def blocks_of(path: Path) -> Any:
    return read_blocks(path.read_bytes())


def shown(path: Path) -> list[Any]:
    """The pictures as another library shows them, (H, W, 4)."""
    with Image.open(path) as image:
        pictures = []
        for number in range(image.n_frames):
            image.seek(number)
            pictures.append(np.asarray(image.convert("RGBA")))
        return pictures


def make_gif(path: Path, delays: list[int], loop: int | None = None, clear: bool = False) -> Path:
    """A gif of another library; `clear`: the left half is not drawn."""
    pictures = []
    for number in range(len(delays)):
        pixels = np.dstack([picture(5 * number, 24, 16), np.full((16, 24), 255, np.uint8)])
        if clear:
            pixels[:, :12, 3] = 0
        pictures.append(Image.fromarray(pixels, "RGBA"))
    options = {} if loop is None else {"loop": loop}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[10 * d for d in delays], disposal=2, **options)
    return path


def test_blocks_are_walked_over(tmp_path: Path) -> None:
    path = make_gif(tmp_path / "in.gif", [4, 7, 50], loop=3)
    blocks = blocks_of(path)
    assert (blocks.width, blocks.height, blocks.delays, blocks.loop) == (24, 16, (4, 7, 50), 3)
    assert blocks_of(make_gif(tmp_path / "once.gif", [4, 4])).loop is None
    whole = path.read_bytes()
    for length in [*range(40), *range(40, len(whole) - 1, 37), len(whole) - 1]:
        with pytest.raises(ValueError, match="no whole gif"):
            read_blocks(whole[:length])


def test_every_time_is_rounded_by_itself(make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]) -> None:
    stamps = [n * 1001 for n in range(60)]
    clip = make_clip("ntsc.mp4", pts=stamps, time_base=Fraction(1, 30000), size=(16, 16))
    report = through(clip, tmp_path / "out.gif")
    delays = blocks_of(tmp_path / "out.gif").delays
    starts = [sum(delays[:n]) for n in range(60)]
    assert starts == [round(stamp * 100 / 30000) for stamp in stamps]
    assert set(delays) == {3, 4} and report.frames == 60
    assert report.largest_pts_error <= 0.005 and not report.pts_exact


def test_the_last_picture_stays_as_long_as_in_the_source(tmp_path: Path, through: Callable[..., Any]) -> None:
    through(make_gif(tmp_path / "in.gif", [4, 7, 50], loop=0), tmp_path / "out.gif")
    assert blocks_of(tmp_path / "out.gif").delays == (4, 7, 50)


@pytest.mark.parametrize("loop", [None, 0, 3])
def test_the_loop_of_a_gif_is_kept(loop: int | None, tmp_path: Path, through: Callable[..., Any]) -> None:
    through(make_gif(tmp_path / "in.gif", [4, 4], loop=loop), tmp_path / "out.gif")
    assert blocks_of(tmp_path / "out.gif").loop == loop


def test_other_sources_loop_for_ever(make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]) -> None:
    through(make_clip("clip.mp4", frames=2), tmp_path / "out.gif")
    assert blocks_of(tmp_path / "out.gif").loop == 0


def test_colours_come_close_and_few_colours_come_back(
    tmp_path: Path, make_clip: Callable[..., Path], through: Callable[..., Any]
) -> None:
    through(make_clip("clip.mkv", codec="ffv1", pixel_format="yuv444p", frames=3), tmp_path / "out.gif")
    for number, found in enumerate(shown(tmp_path / "out.gif")):
        error = found[..., :3].astype(float) - picture(number, 64, 48)
        assert np.sqrt((error**2).mean()) < 10 and abs(error.mean()) < 1 and (found[..., 3] == 255).all()


def test_transparency_is_kept_as_one_bit(tmp_path: Path, through: Callable[..., Any]) -> None:
    source = make_gif(tmp_path / "in.gif", [4, 4, 4], clear=True)
    assert probe(source).video.alpha
    through(source, tmp_path / "out.gif")
    wanted, found = shown(source), shown(tmp_path / "out.gif")
    for one, other in zip(wanted, found, strict=True):
        assert np.array_equal(one[..., 3], other[..., 3])
        drawn = one[..., 3] > 0
        assert 0 < drawn.mean() < 1 and abs(one[drawn].astype(int) - other[drawn]).mean() < 8
    through(source, tmp_path / "opaque.gif", drop_streams=("alpha",))
    assert all((one[..., 3] == 255).all() for one in shown(tmp_path / "opaque.gif"))


def test_partial_opacity_is_cut_in_the_middle(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    media = probe(make_clip("alpha.mkv", codec="ffv1", pixel_format="yuva420p", frames=1))
    alpha = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    with open_sink(tmp_path / "out.gif", media, media.video, RunConfig()) as sink:
        sink.write(Frame(np.full((3, 48, 64), 128, np.uint8), 0, 0, Fraction(1, 25), alpha=alpha))
        sink.finish()
    assert np.array_equal(shown(tmp_path / "out.gif")[0][..., 3] == 255, alpha >= 128)


def test_the_same_bits_twice(make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]) -> None:
    clip = make_clip("clip.mp4")
    for name in ("one.gif", "two.gif"):
        through(clip, tmp_path / name)
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()


def test_refusals_and_notes_before_work(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    def check(clip: Path, **settings: Any) -> Any:
        media = probe(clip)
        return check_sink(tmp_path / "out.gif", media, media.video, RunConfig.model_validate(settings))

    with pytest.raises(UnsupportedStreamError, match=r"cannot hold stream 1 audio aac.*--drop-streams audio"):
        check(make_clip("sound.mp4", audio=True))
    with pytest.raises(UsageError, match="--crf 20 cannot apply"):
        check(make_clip("clip.mp4"), encode={"crf": 20})
    with pytest.raises(UsageError, match="--bit-depth 10"):
        check(make_clip("clip.mp4"), encode={"bit_depth": 10})
    fast = make_clip("fast.mp4", pts=range(6), time_base=Fraction(1, 240))
    with pytest.raises(UnsupportedStreamError, match=r"come faster.*--cfr --rate 50"):
        check(fast)
    assert check(fast, cfr=True, frame_rate="50").frame_rate == 50
    with pytest.raises(UnsupportedStreamError, match="come faster"):
        check(fast, cfr=True, frame_rate="240")
    assert any(
        "browsers show those" in notice for notice in check(make_clip("80.mp4", pts=range(6), time_base=Fraction(1, 80))).notices
    )
    assert not any("browsers" in notice for notice in check(make_clip("50.mp4", pts=range(6), time_base=Fraction(1, 50))).notices)
    with pytest.raises(UnsupportedStreamError, match=r"stays 700 s; a gif can show one for 655\.35 s"):
        check(make_clip("slow.mp4", pts=[0, 700], time_base=Fraction(1)))
    hdr = make_clip("hdr.mp4", codec="libx265", tags={"color_trc": 18, "color_primaries": 9, "colorspace": 9})
    with pytest.raises(UnsupportedStreamError, match="HDR"):
        check(hdr)


def test_the_container_can_be_asked_for(make_clip: Callable[..., Path], tmp_path: Path, through: Callable[..., Any]) -> None:
    through(make_clip("clip.mp4", frames=2), tmp_path / "picture.bin", container="gif")
    assert len(blocks_of(tmp_path / "picture.bin").delays) == 2


def test_two_pictures_at_one_tick_stop_the_writer(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    media = probe(make_clip("clip.mp4", frames=2))
    with GifSink(tmp_path / "out.gif", media, media.video, plan_gif(media, media.video, RunConfig()), False) as sink:
        black = np.zeros((3, 48, 64), np.uint8)
        sink.write(Frame(black, 0, 0, Fraction(1, 1000)))
        with pytest.raises(MediaError, match="Frame 1 comes"):
            sink.write(Frame(black, 1, 4, Fraction(1, 1000)))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_what_is_not_finished_or_not_whole_is_not_there(
    make_clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = probe(make_clip("clip.mp4", frames=2))
    frames = [Frame(np.full((3, 48, 64), 90 * n, np.uint8), n, n, Fraction(1, 25)) for n in range(2)]

    def begin() -> GifSink:
        return GifSink(tmp_path / "out.gif", media, media.video, plan_gif(media, media.video, RunConfig()), False)

    with begin() as sink:
        sink.write(frames[0])
    with begin() as sink, pytest.raises(EmptyVideoError):
        sink.finish()
    with begin() as sink:
        for frame in frames:
            sink.write(frame)
        monkeypatch.setattr(sink, "_digests", [b"another", *sink._digests])
        with pytest.raises(VerificationError, match="pictures with the same pixels"):
            sink.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_real_phone_clip(real: Callable[[str], Path], tmp_path: Path, through: Callable[..., Any]) -> None:
    report = through(real("cine/moviepy_fire2.mp4"), tmp_path / "out.gif", drop_streams=("audio",), duration=0.3)
    assert report.frames == 3 and any("turned upright" in notice for notice in report.notices)
