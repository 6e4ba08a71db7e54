"""Settings of a run: the only home of defaults. Read from TOML; an unknown key is an error."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vidrestore.errors import ConfigError, UsageError

__all__ = [
    "DEFAULT_CRF",
    "DEFAULT_ENCODER_PRESET",
    "DEFAULT_NVENC_PRESET",
    "TASK_BLENDING",
    "Blending",
    "Codec",
    "Damage",
    "EncodeConfig",
    "LimitsConfig",
    "Rectangle",
    "RunConfig",
    "RuntimeName",
    "TemporalConfig",
    "configs_dir",
    "load_config",
    "load_preset",
    "preset_names",
    "read_toml",
    "settle",
    "validate",
]

Tier = Literal["auto", "fast", "best"]
Device = Literal["auto", "cpu", "cuda"]
RuntimeName = Literal["auto", "torch", "tensorrt", "onnx"]
Codec = Literal["h264", "hevc", "av1", "vp9", "prores", "ffv1"]
Damage = Literal["stop", "conceal"]
Blending = Literal["auto", "maps", "coarse", "full", "maps+coarse", "maps+full"]


class Settings(BaseModel):
    """Frozen; unknown keys are refused, and so are infinity and not-a-number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Rectangle(Settings):
    """Pixels of the source picture, origin top left; kept as they were."""

    x: int = Field(ge=0, description="left edge")
    y: int = Field(ge=0, description="top edge")
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class TaskBlending(NamedTuple):
    """How strongly the picture that a task leaves is blended."""

    strength: float
    detail: float


TASK_BLENDING = {
    "flare": TaskBlending(0.7, 0.5),
    "day": TaskBlending(0.7, 0.5),
    "night": TaskBlending(0.7, 0.5),
    "sr": TaskBlending(0.4, 0.25),
}
"""What `strength = None` and `detail = None` mean: light and colour of flare, day and night strongly; what sr draws, lightly."""


def _by_task(field: str) -> str:
    """`flare, day, night 0.7, sr 0.4`, for the documentation."""
    tasks: dict[float, list[str]] = {}
    for task, blending in TASK_BLENDING.items():
        tasks.setdefault(getattr(blending, field), []).append(task)
    return "; ".join(f"{', '.join(names)} {value:g}" for value, names in tasks.items())


class TemporalConfig(Settings):
    """Steadying over time, along the motion and over a finite window: of what engines do to a frame, and of the pictures."""

    enabled: bool = Field(default=True, description="false: frames leave as the engines made them")
    method: Blending = Field(
        default="auto",
        description="maps: what flare, day and night are about to do is averaged before it is done, which moves no pixel; "
        "full: pictures are averaged at full size; coarse: what is coarser than 4 pixels is, at a tenth of the cost, and noise "
        "where nothing moves; auto: maps, then coarse where all engines are of tier fast, else full",
    )
    radius: int = Field(default=2, ge=1, le=4, description="frames looked at before and after")
    strength: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="weight of a perfectly matching neighbour; the frame itself has 1. None: 1 for maps; for pictures by task: "
        + _by_task("strength"),
    )
    tolerance: float = Field(
        default=10.0, gt=0, le=64, description="difference (8-bit levels) at which a neighbour's weight has fallen to exp(-1/2)"
    )
    detail: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the blending that fine detail gets where the picture moves. None: by task: " + _by_task("detail"),
    )
    cut_threshold: float = Field(
        default=18.0, gt=0, description="scene-cut score (0 the same, about 50 unrelated) above which a new shot begins"
    )

    @property
    def map_strength(self) -> float:
        """Of maps: they hold light and colour only, and are steadied as far as they go."""
        return 1.0 if self.strength is None else self.strength

    def for_tasks(self, tasks: Iterable[str]) -> TemporalConfig:
        """The same with `strength` and `detail` settled for pictures that these tasks leave.

        In a chain the strongest task decides about light and colour, the most careful one about detail.
        """
        known = [TASK_BLENDING[task] for task in tasks if task in TASK_BLENDING] or [TASK_BLENDING["day"]]
        strength = max(task.strength for task in known) if self.strength is None else self.strength
        detail = min(task.detail for task in known) if self.detail is None else self.detail
        return self.model_copy(update={"strength": strength, "detail": detail})


DEFAULT_CRF: dict[str, int] = {"h264": 18, "hevc": 20, "av1": 28, "vp9": 24}
"""What `crf = None` means; ffv1 is lossless and prores has its own profiles: they have none."""
DEFAULT_ENCODER_PRESET: dict[str, str] = {"h264": "veryfast", "hevc": "veryfast", "av1": "8", "vp9": "5", "prores": "hq"}
"""What `preset = "auto"` means; for vp9 it is `cpu-used`, for prores the profile."""
DEFAULT_NVENC_PRESET = "p5"
"""The same for NVENC, of p1 (fastest) to p7."""


class EncodeConfig(Settings):
    """The written video stream."""

    codec: Literal["auto", Codec] = Field(
        default="auto",
        description="auto: h264; hevc where h264 has too few bits; vp9, prores or ffv1 where there is transparency",
    )
    crf: int | None = Field(default=None, ge=0, le=63, description="None: h264 18, hevc 20, vp9 24, av1 28; ffv1 is lossless")
    preset: str = Field(
        default="auto",
        description="auto: veryfast for h264 and hevc, 8 for av1, 5 (cpu-used) for vp9, hq (profile) for prores; p5 for nvenc",
    )
    bit_depth: Literal["auto", 8, 10, 12] = Field(default="auto", description="bits a sample; auto: as many as the source has")
    encoder: Literal["auto", "software", "nvenc"] = Field(
        default="auto",
        description="who writes h264, hevc and av1. nvenc: the encoder of an NVIDIA GPU, many times as fast, for larger files; "
        "auto: software (x264, x265, SVT-AV1), whose bits no GPU and no driver decides",
    )
    options: dict[str, str] = Field(default={}, description="further options of the encoder, by FFmpeg's names")
    threads: int = Field(default=2, ge=1, le=64, description="fixed, because it can change the bits written")


class LimitsConfig(Settings):
    """What a file may ask of the machine before it is refused: a hostile file can state anything."""

    pixels: int = Field(default=1 << 27, ge=1, description="of one picture; the default is 16384x8192")
    frame_rate: float = Field(default=1000.0, gt=0, description="frames a second stated by the header")
    streams: int = Field(default=64, ge=1)
    metadata_bytes: int = Field(default=1 << 20, ge=0, description="of all metadata and chapter titles together")
    decode_seconds: float = Field(default=60.0, gt=0, description="until the next picture is decoded")


class RunConfig(Settings):
    """Everything that decides the output of a run."""

    engines: tuple[str, ...] = Field(default=(), description="tasks (flare, day, night, sr, sr:4) or engine ids, in order")
    tier: Tier = Field(default="auto", description="which engine of a task; auto: the one that suits the device")
    device: Device = Field(default="auto", description="auto: cuda where there is one, else cpu")
    decoder: Literal["auto", "cpu", "nvdec"] = Field(
        default="auto",
        description="nvdec: the decoder of the engines' GPU, whose frames never visit the host, and which says nothing of damage "
        "inside a picture; auto: the CPU, which does",
    )
    runtime: RuntimeName = Field(
        default="auto",
        description="what executes the engines; auto: on a GPU tensorrt, where it is installed and knows the GPU, else torch; "
        "onnx runs on the CPU, slower than torch",
    )
    seat: Literal["auto", "torch", "pycuda"] = Field(
        default="auto",
        description="who manages a GPU's memory and streams, which changes no picture; auto: pycuda if it is there, else torch",
    )
    strength: float = Field(default=1.0, ge=0, le=1, description="0: the input, 1: the engines' full effect")
    protect: tuple[Rectangle, ...] = ()
    temporal: TemporalConfig = TemporalConfig()
    encode: EncodeConfig = EncodeConfig()
    start: float = Field(default=0.0, ge=0, description="seconds")
    duration: float | None = Field(default=None, gt=0, description="seconds; None: to the end")
    container: str | None = Field(default=None, description="extension whose format is written; None: the output's own")
    drop_streams: tuple[str, ...] = Field(
        default=(),
        description="streams left out: numbers, kinds (audio, video, subtitle, data, attachment, cover), chapters or alpha",
    )
    cfr: bool = Field(default=False, description="repeat and leave out pictures to reach a constant rate, keeping time")
    frame_rate: str | None = Field(
        default=None, description="frames a second (25, 30000/1001) of image sequences without timecodes, and of cfr"
    )
    deinterlace: bool = Field(default=False, description="make whole pictures of fields, one for each source picture")
    on_damage: Damage = Field(default="stop", description="conceal: keep the decoder's picture in its place, and list it")
    protocols: tuple[str, ...] = Field(default=("file",), description="FFmpeg protocols that an input may open")
    limits: LimitsConfig = LimitsConfig()
    strip_location: bool = Field(default=False, description="leave out GPS metadata and location tracks")
    batch_size: int = Field(
        default=0,
        ge=0,
        le=64,
        description="frames an engine processes at once; 0: 1 on the CPU; on a GPU what pays and finds room, tried first",
    )
    buffer_batches: int = Field(default=3, ge=2, le=64, description="batches the ring buffer holds")
    tile_size: int = Field(default=1280, ge=128, description="longest side, in pixels, that a network sees at once")
    segment_frames: int = Field(
        default=240,
        ge=0,
        description="pictures that are restored and kept as one piece; 0: one single pass, which cannot be resumed",
    )
    threads: int = Field(
        default=0,
        ge=0,
        description="threads of torch and of the decoder in each worker, fixed because they can change bits; 0: 1 for the fast "
        "tier on a CPU, else the cores, at most 8",
    )


def validate(model: type[BaseModel], data: dict[str, Any], where: str) -> Any:
    """Build `model` from `data`; the first problem becomes one sentence that names the key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"]) or "the settings"
        if problem["type"] == "extra_forbidden":
            raise ConfigError(f"{where}: unknown key {key!r}.") from None
        raise ConfigError(f"{where}: {key} is wrong: {problem['msg']} (got {problem['input']!r}).") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file, or raise ConfigError with the place of the fault."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no config file {path}.", "Check the path.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}.") from None


def configs_dir() -> Path:
    """The folder of presets and training recipes: beside the installed package, else in the checkout."""
    packaged = Path(str(resources.files("vidrestore"))) / "_data" / "configs"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parent.parent / "configs"


def load_config(path: Path) -> dict[str, Any]:
    """Settings of a TOML file, checked against RunConfig, as a plain dict of the keys it sets."""
    data = read_toml(path)
    validate(RunConfig, data, str(path))
    return data


def preset_names() -> list[str]:
    return sorted(path.stem for path in (configs_dir() / "presets").glob("*.toml"))


def load_preset(name: str) -> dict[str, Any]:
    """Settings of configs/presets/<name>.toml."""
    if name not in preset_names():
        raise ConfigError(f"There is no preset {name!r}.", f"Presets: {', '.join(preset_names())}.")
    return load_config(configs_dir() / "presets" / f"{name}.toml")


def settle(overrides: dict[str, Any], *, preset: str | None = None, config: Path | None = None) -> RunConfig:
    """The settings of a run: `overrides` over those of a preset or a TOML file over the defaults.

    Args:
        overrides: keys of RunConfig; tables (temporal, encode) may be given in part and are merged key by key.
        preset: name of a file in configs/presets.
        config: path of a TOML file.

    Raises:
        ConfigError: an unknown preset, key or a wrong value.
        UsageError: both a preset and a file.
    """
    if preset is not None and config is not None:
        raise UsageError("A run takes a preset or a config file, not both.")
    data: dict[str, Any] = {}
    if preset is not None:
        data = load_preset(preset)
    elif config is not None:
        data = load_config(config)
    merged: RunConfig = validate(RunConfig, _merged(data, overrides), "The settings")
    return merged


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            value = _merged(result[key], value)
        result[key] = value
    return result
