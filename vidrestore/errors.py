"""Every error a user can meet, as one tree. Each has an exit code and says what to do next.

VidrestoreError                      1
├── UsageError                       2   the command or its settings are wrong
│   ├── ConfigError                      a preset or TOML file has a bad key or value
│   ├── JobLockedError                   another run is working on the output
│   ├── OutputExistsError                the output is there already
│   └── SameFileError                    the output is the input
├── MediaError                       3   the input (or what was written) is not sound
│   ├── SourceMissingError               no such file
│   ├── NotAVideoError                   the file is no container that can be read
│   ├── NoVideoStreamError               a container without a picture
│   ├── EmptyVideoError                  a video stream without a frame
│   ├── DamagedVideoError                a frame cannot be decoded; carries its index
│   ├── UnknownCodecError                no decoder or encoder for a codec
│   ├── UnsupportedStreamError           the output container cannot hold a stream
│   ├── LimitExceededError               the file asks for more than a set limit
│   ├── SourceChangedError               the input changed or went away during the job
│   ├── IndexMismatchError               decoding gives other pictures than the file's index says
│   └── VerificationError                the written file differs from what was promised
├── EngineError                      4   an engine folder is missing or wrong
│   ├── UnknownEngineError               no engine of this id or task
│   ├── TierUnavailableError             a task has no engine of this tier
│   ├── InvalidCardError                 card.toml is missing or breaks its schema
│   ├── WeightsError                     weights missing, wrong sha256 or wrong tensors
│   └── FrameFailedError                 an engine failed on a frame; carries its index
├── RuntimeFailure                   5   the machine cannot run the network
│   ├── RuntimeUnavailableError          missing extra, driver or device
│   ├── ClusterError                     no Ray cluster there, or one that cannot run the job
│   ├── CompilationError                 TensorRT cannot compile a graph
│   └── OutOfMemoryError                 host or device memory is used up
├── StorageError                     6   the disk refuses
│   ├── FolderMissingError               the target folder does not exist
│   ├── NotWritableError                 the target folder cannot be written
│   ├── DamagedSegmentError              a segment kept for resuming is not what was written
│   └── DiskFullError                    no space left
├── ReportError                      7   the output is done and verified, but its report could not be made
└── InterruptedJob                   130 Ctrl-C or SIGTERM
"""

from __future__ import annotations

__all__ = [
    "ClusterError",
    "CompilationError",
    "ConfigError",
    "DamagedSegmentError",
    "DamagedVideoError",
    "DiskFullError",
    "EmptyVideoError",
    "EngineError",
    "FolderMissingError",
    "FrameFailedError",
    "IndexMismatchError",
    "InterruptedJob",
    "InvalidCardError",
    "JobLockedError",
    "LimitExceededError",
    "MediaError",
    "NoVideoStreamError",
    "NotAVideoError",
    "NotWritableError",
    "OutOfMemoryError",
    "OutputExistsError",
    "ReportError",
    "RuntimeFailure",
    "RuntimeUnavailableError",
    "SameFileError",
    "SourceChangedError",
    "SourceMissingError",
    "StorageError",
    "TierUnavailableError",
    "UnknownCodecError",
    "UnknownEngineError",
    "UnsupportedStreamError",
    "UsageError",
    "VerificationError",
    "VidrestoreError",
    "WeightsError",
]


class VidrestoreError(Exception):
    """Base of all errors meant for people.

    Args:
        message: one sentence: what is wrong, and where.
        next_step: one sentence: what the user can do now. Falls back to the class's own.
    """

    exit_code: int = 1
    next_step: str = ""

    def __init__(self, message: str, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if next_step is not None:
            self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class UsageError(VidrestoreError):
    exit_code = 2
    next_step = "See `vidrestore run --help`."


class ConfigError(UsageError):
    next_step = "Correct the setting; the keys and their defaults are listed in docs/configuration.md."


class JobLockedError(UsageError):
    next_step = "Wait until it has ended, stop it, or choose another output."


class OutputExistsError(UsageError):
    next_step = "Choose another name or add --overwrite."


class SameFileError(UsageError):
    next_step = "Choose another output; the source is never written to."


class MediaError(VidrestoreError):
    exit_code = 3


class SourceMissingError(MediaError):
    next_step = "Check the path."


class NotAVideoError(MediaError):
    next_step = "Give a video file; `vidrestore probe FILE` shows what a file holds."


class NoVideoStreamError(MediaError):
    next_step = "Give a file with a picture; `vidrestore probe FILE` lists its streams."


class EmptyVideoError(MediaError):
    next_step = "Check the file, or the --start and --duration asked for."


class _AtFrame(VidrestoreError):
    """An error at one frame. `index` counts from 0 in display order; `seconds` is None if unknown."""

    def __init__(
        self,
        message: str,
        next_step: str | None = None,
        *,
        index: int | None = None,
        seconds: float | None = None,
    ) -> None:
        super().__init__(message, next_step)
        self.index = index
        self.seconds = seconds


class DamagedVideoError(MediaError, _AtFrame):
    next_step = "Use --on-damage conceal, repair the file, or restore the undamaged part with --start and --duration."


class UnknownCodecError(MediaError):
    next_step = "Convert the file to a common codec first, or choose another --codec."


class UnsupportedStreamError(MediaError):
    next_step = "Write to .mkv, which holds nearly every stream."


class LimitExceededError(MediaError):
    next_step = "If you trust the file, raise the limit in the config ([limits]; see docs/configuration.md)."


class SourceChangedError(MediaError):
    next_step = "Run the same command again when the input is as it is to be restored."


class IndexMismatchError(MediaError):
    next_step = "Set segment_frames = 0 in the config: the file is then decoded in one go, from its beginning."


class VerificationError(MediaError):
    next_step = "Nothing was left under the output's name; please report this with `vidrestore probe` of the input."


class EngineError(VidrestoreError):
    exit_code = 4


class UnknownEngineError(EngineError):
    next_step = "`vidrestore engines` lists them."


class TierUnavailableError(EngineError):
    next_step = "`vidrestore engines` lists the tiers there are; --tier auto takes what exists."


class InvalidCardError(EngineError):
    next_step = "Mend or remove that engine folder."


class WeightsError(EngineError):
    next_step = "Fetch the engine folder again: its weights are not the ones its card describes."


class FrameFailedError(EngineError, _AtFrame):
    next_step = "Nothing was written; please report this with the frame's number."


class RuntimeFailure(VidrestoreError):
    exit_code = 5


class RuntimeUnavailableError(RuntimeFailure):
    next_step = "Use --device cpu."


class ClusterError(RuntimeFailure):
    next_step = "See docs/cluster.md."


class CompilationError(RuntimeFailure):
    next_step = "Use `--runtime torch`, which compiles nothing."


class OutOfMemoryError(RuntimeFailure):
    next_step = "Use a smaller --batch-size, a smaller tile_size in the config, or a machine with more memory."


class StorageError(VidrestoreError):
    exit_code = 6


class FolderMissingError(StorageError):
    next_step = "Create it first, or choose another output."


class NotWritableError(StorageError):
    next_step = "Choose a folder you may write to."


class DamagedSegmentError(StorageError):
    next_step = "Check the disk; with --fresh the job begins anew."


class DiskFullError(StorageError):
    next_step = "Free some space or write to another disk; nothing was left behind."


class ReportError(VidrestoreError):
    """`result` is that of the job, where this comes of one."""

    exit_code = 7
    next_step = "The output is there, whole and verified; `vidrestore report IN OUT` makes the report again."

    def __init__(self, message: str, next_step: str | None = None, *, result: object = None) -> None:
        super().__init__(message, next_step)
        self.result = result


class InterruptedJob(VidrestoreError):
    exit_code = 130
    next_step = "Run the same command again."
