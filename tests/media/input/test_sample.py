from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vidrestore.errors import MediaError, SourceMissingError, StorageError
from vidrestore.media import VideoDecoder, read_image, sample_frames, write_image

Make = Callable[..., Path]


@pytest.mark.parametrize("rotation", [None, 90])
def test_one_frame_a_step(make_clip: Make, caplog: pytest.LogCaptureFixture, rotation: int | None) -> None:
    """Through decord where it is installed, through PyAV for the rotated clip: the same frames, as stored."""
    path = make_clip(frames=75, rotation=rotation, options={"crf": "1"})
    with caplog.at_level(logging.INFO, logger="vidrestore.media.input.sample"):
        samples = list(sample_frames(path, 1.0))
    assert "sampled with" in caplog.text
    with VideoDecoder(path) as decoder:
        wanted = [frame.data.transpose(1, 2, 0) for frame in decoder if frame.index in (0, 25, 50)]
    assert len(samples) == 3
    for sample, frame in zip(samples, wanted, strict=True):
        assert sample.shape == (48, 64, 3) and sample.dtype == np.uint8
        assert np.abs(sample.astype(int) - frame).mean() < 3


def test_av1_goes_through_pyav(make_clip: Make, caplog: pytest.LogCaptureFixture) -> None:
    path = make_clip("clip.mkv", codec="libsvtav1", frames=30)
    with caplog.at_level(logging.INFO, logger="vidrestore.media.input.sample"):
        assert len(list(sample_frames(path, 0.5))) == 3
    assert "sampled with PyAV" in caplog.text


def test_a_step_must_be_positive(make_clip: Make) -> None:
    with pytest.raises(ValueError, match="positive"):
        sample_frames(make_clip(), 0)


@pytest.mark.parametrize(("name", "tolerance"), [("a.png", 0), ("a.jpg", 12), ("a.jpeg", 12)])
def test_images_there_and_back(tmp_path: Path, name: str, tolerance: int) -> None:
    y, x = np.mgrid[0:40, 0:50]
    image = np.stack([x * 5, y * 6, (x + y) * 2], axis=-1).astype(np.uint8)
    write_image(tmp_path / name, image)
    back = read_image(tmp_path / name)
    assert back.shape == image.shape and back.dtype == np.uint8 and back.flags["C_CONTIGUOUS"]
    assert np.abs(back.astype(int) - image).max() <= tolerance
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_image_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError):
        read_image(tmp_path / "absent.png")
    (tmp_path / "words.png").write_text("words")
    with pytest.raises(MediaError, match="no image"):
        read_image(tmp_path / "words.png")
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(MediaError, match="extension"):
        write_image(tmp_path / "a.bmp", image)
    with pytest.raises(StorageError):
        write_image(tmp_path / "absent" / "a.png", image)
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "a.png", image.astype(np.float32))
