"""Which FFmpeg this is: part of what decides the bits of an output."""

from __future__ import annotations

import av

__all__ = ["ffmpeg_versions"]


def ffmpeg_versions() -> str:
    """PyAV and FFmpeg's libraries with their versions, in one line.

    PyAV's own version stands for the encoders that its wheels carry (x264, x265, SVT-AV1, libvpx), which state none.
    """
    libraries = (f"{name} {'.'.join(map(str, version))}" for name, version in sorted(av.library_versions.items()))
    return ", ".join((f"PyAV {av.__version__}", *libraries))
