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
    from vidrestore.pipeline.job import Job
    from vidrestore.pipeline.plan import Plan, Progress, Result
    from vidrestore.report.page_file import write_report
    from vidrestore.report.restore import restore

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
    "write_report",
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
    "restore": "report.restore",
    "write_report": "report.page_file",
}


CHECKOUT = "+checkout"
"""End of the version of a checkout that was never installed: it may hold any change since that version."""


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vidrestore")
    except PackageNotFoundError:
        return f"{_declared_version()}{CHECKOUT}"


def _declared_version() -> str:
    """What the checkout's pyproject.toml says; 0 where there is none, or it is another project's."""
    import tomllib
    from pathlib import Path

    try:
        text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        return str(project["version"]) if project["name"] == "vidrestore" else "0"
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError):
        return "0"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
