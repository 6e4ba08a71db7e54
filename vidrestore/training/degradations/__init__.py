"""Degradations that make training pairs out of clean pictures: flare, night, low resolution.

All are functions of a `numpy.random.Generator` and a picture, (H, W, 3) float sRGB in [0, 1]: the same generator state
gives the same pixels.
"""

from vidrestore.training.degradations.flare import FlarePair, FlareSettings, composite_flare
from vidrestore.training.degradations.flare_patterns import FlareBank, render_flare
from vidrestore.training.degradations.night import NightSettings, relight, simulate_night
from vidrestore.training.degradations.sr import downscale, upscale, video_like

__all__ = [
    "FlareBank",
    "FlarePair",
    "FlareSettings",
    "NightSettings",
    "composite_flare",
    "downscale",
    "relight",
    "render_flare",
    "simulate_night",
    "upscale",
    "video_like",
]
