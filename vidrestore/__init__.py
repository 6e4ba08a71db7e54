"""vidrestore restores video and proves that nothing was lost.

    import vidrestore
    result = vidrestore.restore("in.mp4", "out.mp4", engines=["flare", "day"])

Names are loaded on first use: importing this package loads neither torch nor PyAV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidrestore.config import RunConfig
    from vidrestore.errors import VidrestoreError
    from vidrestore.media.input.media_info import MediaInfo
    from vidrestore.media.input.probe import probe
    from vidrestore.pipeline.job import Job, restore
    from vidrestore.pipeline.plan import Plan, Progress, Result

__all__ = [
    "Job",
    "MediaInfo",
    "Plan",
    "Progress",
    "Result",
    "RunConfig",
    "VidrestoreError",
    "__version__",
    "probe",
    "restore",
]

_HOMES = {
    "Job": "pipeline.job",
    "MediaInfo": "media.input.media_info",
    "Plan": "pipeline.plan",
    "Progress": "pipeline.plan",
    "Result": "pipeline.plan",
    "RunConfig": "config",
    "VidrestoreError": "errors",
    "probe": "media.input.probe",
    "restore": "pipeline.job",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("vidrestore")
        except PackageNotFoundError:  # run from a checkout that was never installed
            return "0+checkout"
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
