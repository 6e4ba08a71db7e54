"""Makes examples/night_drive.mp4: night and flare simulated on a day drive that may be shared.

    python examples/make_night_drive.py DAY_DRIVE.mp4

No free footage that shows both night and flare well was at hand. The day drive is Udacity's (MIT); what makes it night
is this program: one relighting for all frames, street lamps and oncoming cars that stand and drive in the scene's
perspective, and one windscreen whose smears turn every lamp into the same flare.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from vidrestore.config import EncodeConfig
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.media.input.probe import probe
from vidrestore.media.output.encode import VideoWriter
from vidrestore.training.degradations.common import add_noise, linear_to_srgb, srgb_to_linear
from vidrestore.training.degradations.flare_patterns import render_flare
from vidrestore.training.degradations.night import NightSettings, relight, stamp_disc

HERE = Path(__file__).resolve().parent
SEED = 2026
WIDTH, HEIGHT = 640, 360
FOCAL = 0.9 * WIDTH
"""Pixels; with the horizon this places lamps in metres."""
HORIZON = (325.0, 212.0)
SPEED = 22.0
"""Metres a second."""
NIGHT = NightSettings(
    exposure=(0.065, 0.066), contrast=(1.2, 1.21), sky=(0.06, 0.07), headlights=(2.5, 2.6), vignetting=(0.4, 0.41)
)
SODIUM, WHITE = np.array((1.0, 0.62, 0.28), np.float32), np.array((1.0, 0.97, 0.9), np.float32)


def lamps_at(seconds: float) -> list[tuple[float, float, float, np.ndarray, float]]:
    """(x, y, radius, colour, strength) in pixels of all lamps ahead: sodium lamps on the right, oncoming cars."""
    lamps = []
    for number in range(6):
        distance = 14.0 + 35.0 * number - SPEED * seconds
        if distance > 6.0:
            lamps.append((5.5, -6.0, distance, 0.28, SODIUM))
    for start in (75.0, 190.0):
        distance = start - 2 * SPEED * seconds
        if distance > 7.0:
            lamps += [(-7.5 + side, 0.55, distance, 0.16, WHITE) for side in (-0.7, 0.7)]
    placed = []
    for x, y, distance, size, colour in lamps:
        scale = FOCAL / distance
        placed.append((HORIZON[0] + x * scale, HORIZON[1] + y * scale, max(1.2, size * scale), colour, min(1.0, 18.0 / distance)))
    return placed


def add_flare(scene: np.ndarray, tile: np.ndarray, seconds: float) -> np.ndarray:
    """Linear light of the scene with its lamps, and what the windscreen makes of them."""
    flare = np.zeros_like(scene)
    for x, y, radius, colour, strength in lamps_at(seconds):
        if -40 < x < WIDTH + 40 and -40 < y < HEIGHT + 40:
            stamp_disc(scene, (x, y), radius, colour * 4)
        half = tile.shape[0] / 2
        zoom = 0.8 + 0.6 * strength
        matrix = np.array([[zoom, 0, x - zoom * half], [0, zoom, y - zoom * half]])
        flare += cv2.warpAffine(tile, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR) * colour * (0.009 * strength)
    return scene + flare


def main(source: Path, target: Path) -> None:
    tile, _ = render_flare(np.random.default_rng(SEED + 2), 512)
    noise = np.random.default_rng([SEED, 1])
    media = probe(source)
    with VideoDecoder(media, DecodeOptions(duration=4.0)) as decoder:
        info = replace(decoder.info, width=WIDTH, height=HEIGHT)
        settings = EncodeConfig(crf=22, preset="medium")
        with VideoWriter(
            target, media, info, settings, duration=4.0, overwrite=True, comment="night and flare simulated"
        ) as writer:
            for frame in decoder:
                day = cv2.resize(np.moveaxis(frame.data, 0, -1), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
                linear = srgb_to_linear(day.astype(np.float32) / 255)
                # The same random numbers for every frame: the light does not flicker.
                night = add_flare(relight(np.random.default_rng(SEED + 3), linear, NIGHT), tile, frame.seconds)
                picture = linear_to_srgb(add_noise(noise, night, 2e-4, 6e-4, grain=0.3))
                pixels = np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)
                writer.write(frame.with_data(np.moveaxis(pixels, -1, 0)))
            writer.finish()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), HERE / "night_drive.mp4")
