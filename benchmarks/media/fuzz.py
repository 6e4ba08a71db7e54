"""Hostile and broken files: damaged variants of real ones through the whole of `vidrestore run`.

    python -m benchmarks.media.fuzz [--variants 2000] [--seed 1] [--data FOLDER] [--jobs 2] [--json FILE] [--keep FOLDER]
    python -m benchmarks.media.fuzz --seed 1 --only 888 --keep FOLDER

Each variant is one file with bytes flipped, cut off, swapped or zeroed, or its header hit: which file and how follows from
the seed and the variant's number alone. Every other one runs with --on-damage conceal. Worker processes run them, so that a
crash or a hang is seen and belongs to one variant. All counts but those of the exit codes must be 0:

crashes      the process died by a signal
hangs        it was not done after the time limit
tracebacks   an error that is none of vidrestore.errors left the program
partial      something lay in the output's folder though the run failed, or more than the output though it succeeded
undocumented an exit code that vidrestore.errors does not name
blamed       an exit code that blames the engine, the machine or the disk (4, 5, 6) for what is in the file
unverified   the output was written and then did not pass its own check

Writes benchmarks/results/media_fuzz.json, unless --json names another file. --only runs one variant, keeps it, prints what the
program said of it, and writes no results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["SOURCES", "Finding", "Source", "Tally", "damage", "fuzz", "main", "only"]

RESULTS = Path(__file__).resolve().parents[1] / "results" / "media_fuzz.json"
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
EXIT_CODES = frozenset({0, 1, 2, 3, 4, 5, 6, 130})
"""What vidrestore.errors documents."""
BLAMED = {4: "an engine", 5: "the machine", 6: "the disk"}
"""Exit codes that no input alone may cause."""
VARIANTS_PER_WORKER = 50
"""Then it is started anew: what one file did to the process cannot be blamed on one far behind it."""
UNFORESEEN = "Something unforeseen went wrong"


@dataclass(frozen=True)
class Source:
    """A sound file, and how much of it is restored (seconds; None: all), so that 2,000 runs take minutes."""

    path: Path
    duration: float | None = None


SOURCES = (
    ("codecs/torchcodec_h265_video.mp4", None),
    ("codecs/torchcodec_h265_10bits.mp4", None),
    ("codecs/torchcodec_av1_video.mkv", 0.6),
    ("codecs/moviepy_transparent.webm", 0.8),
    ("codecs/moviepy_pigs_in_a_polka.gif", None),
    ("codecs/foreman/foreman_h264.264", None),
    ("codecs/foreman/foreman_vp9.ivf", None),
    ("codecs/intel_asl_bird.mkv", 0.6),
    ("cine/moviepy_fire2.mp4", 0.3),
    ("codecs/torchcodec_nasa_13013.mp4", 1.0),
)
"""Ten real files, seven containers, seven codecs: below the data folder, with the seconds that are restored."""


def _places(generator: random.Random, size: int, count: int) -> list[int]:
    return [generator.randrange(size) for _ in range(count)]


def _flip(content: bytearray, generator: random.Random) -> None:
    for place in _places(generator, len(content), generator.choice((1, 2, 8, 64))):
        content[place] ^= 1 << generator.randrange(8)


def _noise(content: bytearray, generator: random.Random) -> None:
    begin = generator.randrange(len(content))
    length = min(len(content) - begin, generator.choice((4, 40, 400, 4000)))
    content[begin : begin + length] = generator.randbytes(length)


def _zero(content: bytearray, generator: random.Random) -> None:
    begin = generator.randrange(len(content))
    length = min(len(content) - begin, generator.choice((1, 16, 256, 4096, 65536)))
    content[begin : begin + length] = bytes(length)


def _cut(content: bytearray, generator: random.Random) -> None:
    del content[generator.randrange(1, len(content)) :]


def _behead(content: bytearray, generator: random.Random) -> None:
    """A part in the middle or at the start is gone."""
    begin = generator.choice((0, generator.randrange(len(content))))
    del content[begin : begin + generator.choice((1, 100, 5000))]
    content += b"" if content else b"\0"


def _swap(content: bytearray, generator: random.Random) -> None:
    length = min(len(content) // 4 or 1, generator.choice((4, 188, 2048, 16384)))
    one, other = sorted(_places(generator, max(1, len(content) - length), 2))
    if other - one >= length:
        content[one : one + length], content[other : other + length] = (
            content[other : other + length],
            content[one : one + length],
        )


def _header(content: bytearray, generator: random.Random) -> None:
    """Where containers say what they hold: the first kilobyte, and for mp4 the index, which may lie at the end."""
    index = content.find(b"moov")
    begin = generator.choice((0, index)) if index >= 0 else 0
    reach = min(len(content) - begin, generator.choice((64, 1024, 8192)))
    for _ in range(generator.choice((1, 4, 16))):
        content[begin + generator.randrange(reach)] = generator.choice((0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)))


DAMAGES: dict[str, Callable[[bytearray, random.Random], None]] = {
    "flip": _flip,
    "noise": _noise,
    "zero": _zero,
    "cut": _cut,
    "behead": _behead,
    "swap": _swap,
    "header": _header,
}


def damage(content: bytes, seed: int, number: int) -> tuple[str, bytes]:
    """Variant `number` of a file: the name of what was done to it, and the bytes."""
    generator = random.Random(f"{seed}:{number}")
    name = generator.choice(sorted(DAMAGES))
    changed = bytearray(content)
    DAMAGES[name](changed, generator)
    return name, bytes(changed)


@dataclass(frozen=True)
class Finding:
    """A variant that did what no file may make the program do."""

    number: int
    source: str
    damage: str
    on_damage: str
    kind: str
    detail: str


@dataclass
class Tally:
    variants: int = 0
    exit_codes: Counter[int] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    longest_seconds: float = 0.0

    def count(self, kind: str) -> int:
        return sum(finding.kind == kind for finding in self.findings)


class Worker:
    """A process that runs one `vidrestore` command line after another, for as long as it lives."""

    def __init__(self) -> None:
        self.done = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.media.fuzz", "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[2],
        )

    def run(self, arguments: Sequence[str], limit: float) -> dict[str, Any]:
        """The command's exit code and what it said on stderr; or `signal`, or `hung`."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.done += 1
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(list(arguments)).encode() + b"\n")
            self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], limit)
        if not ready:
            self.close()
            return {"hung": True}
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            return {"signal": -self.process.wait()}
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def usable(self) -> bool:
        return self.done < VARIANTS_PER_WORKER and self.process.poll() is None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def serve() -> None:
    """The worker's side: a JSON list of arguments a line in, a JSON object a line out; what commands print is kept off both."""
    from vidrestore.cli import cli

    answers = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryFile("w+") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        for line in sys.stdin:
            said.seek(0)
            said.truncate()
            try:
                cli.main(json.loads(line), prog_name="vidrestore")
            except SystemExit as leaving:
                code = leaving.code
            sys.stdout.flush()
            sys.stderr.flush()
            said.seek(0)
            answers.write(json.dumps({"code": code, "said": said.read()[-2000:]}) + "\n")
            answers.flush()


def judge(answer: dict[str, Any], folder: Path, output: Path) -> list[tuple[str, str]]:
    """(kind, detail) of everything wrong with a finished run."""
    from vidrestore.errors import VerificationError

    if answer.get("hung"):
        return [("hangs", "killed after the time limit")]
    if "signal" in answer:
        return [("crashes", f"signal {answer['signal']}")]
    found = []
    code, said = answer["code"], answer["said"]
    if UNFORESEEN in said or "Traceback" in said:
        found.append(("tracebacks", said[-400:]))
    if code not in EXIT_CODES:
        found.append(("undocumented", f"exit code {code}: {said[-300:]}"))
    if code in BLAMED:
        found.append(("blamed", f"{BLAMED[code]} is blamed: {said[-300:]}"))
    if code != 0 and VerificationError.next_step in said:
        found.append(("unverified", said[-400:]))
    left = {path.name for path in folder.iterdir()} - ({output.name} if code == 0 else set())
    if left or (code == 0 and not output.is_file()):
        found.append(("partial", f"exit code {code}, found {sorted(left)}"))
    return found


def _variants(sources: Sequence[Source], count: int, seed: int) -> Iterator[tuple[int, Source, str]]:
    for number in range(count):
        yield number, sources[number % len(sources)], "stop" if number // len(sources) % 2 == 0 else "conceal"


def fuzz(
    sources: Sequence[Source], variants: int, seed: int, *, jobs: int = 2, limit: float = 60.0, keep: Path | None = None
) -> Tally:
    """Run `variants` damaged copies of `sources` through the program and tell what happened.

    Args:
        sources: sound files; variant i is made of number i modulo their count.
        seed: decides, with its number, what is done to a variant.
        jobs: worker processes at a time.
        limit: seconds a run may take before it counts as a hang.
        keep: a folder for the variants with findings, by their number; None: they are not kept.
    """
    tally, began = Tally(), time.perf_counter()
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="fuzz") as scratch, ThreadPoolExecutor(jobs) as pool:

        def one(job: tuple[int, Source, str]) -> tuple[dict[str, Any], float, list[Finding]]:
            number, source, on_damage = job
            return _one(number, source, on_damage, seed, Path(scratch), idle, limit, keep)

        for answer, seconds, findings in pool.map(one, _variants(sources, variants, seed)):
            tally.variants += 1
            tally.longest_seconds = max(tally.longest_seconds, seconds)
            tally.exit_codes.update([answer["code"]] if "code" in answer else [])
            tally.findings += findings
    while not idle.empty():
        idle.get().close()
    tally.seconds = time.perf_counter() - began
    return tally


def _one(
    number: int,
    source: Source,
    on_damage: str,
    seed: int,
    scratch: Path,
    idle: queue.SimpleQueue[Worker],
    limit: float,
    keep: Path | None,
) -> tuple[dict[str, Any], float, list[Finding]]:
    """Make variant `number`, run it in an idle or a new worker, and judge what it left: answer, seconds, findings."""
    name, content = damage(source.path.read_bytes(), seed, number)
    folder = scratch / str(number)
    variant, output = folder / f"in{source.path.suffix}", folder / "out" / "restored.mkv"
    output.parent.mkdir(parents=True)
    variant.write_bytes(content)
    span = [] if source.duration is None else ["--duration", str(source.duration)]
    arguments = ["run", str(variant), "-o", str(output), "--engine", "identity", "--quiet", "--on-damage", on_damage, *span]
    try:
        worker = idle.get_nowait()
    except queue.Empty:
        worker = Worker()
    began = time.perf_counter()
    answer = worker.run(arguments, limit)
    seconds = time.perf_counter() - began
    if worker.usable:
        idle.put(worker)
    else:
        worker.close()
    found = judge(answer, output.parent, output)
    if found and keep is not None:
        shutil.copy(variant, keep / f"{number}{source.path.suffix}")
    shutil.rmtree(folder)
    return answer, seconds, [Finding(number, source.path.name, name, on_damage, *what) for what in found]


def only(sources: Sequence[Source], number: int, seed: int, keep: Path | None, limit: float = 60.0) -> list[Finding]:
    """Run variant `number` alone and print what came of it; `keep`: a folder for it, whatever that is."""
    *_, job = _variants(sources, number + 1, seed)
    _, source, on_damage = job
    name, content = damage(source.path.read_bytes(), seed, number)
    if keep is not None:
        (keep / f"{number}{source.path.suffix}").write_bytes(content)
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="fuzz") as scratch:
        answer, seconds, findings = _one(number, source, on_damage, seed, Path(scratch), idle, limit, None)
    while not idle.empty():
        idle.get().close()
    print(f"variant {number}: {source.path.name}, {name}, --on-damage {on_damage}, --duration {source.duration}; {seconds:.1f} s")
    print(answer)
    return findings


def report(tally: Tally, seed: int, sources: Sequence[Source]) -> dict[str, Any]:
    from benchmarks.machine import about

    kinds = ("crashes", "hangs", "tracebacks", "partial", "undocumented", "blamed", "unverified")
    return {
        "machine": about(),
        "seed": seed,
        "sources": [source.path.name for source in sources],
        "variants": tally.variants,
        **{kind: tally.count(kind) for kind in kinds},
        "exit_codes": {str(code): count for code, count in sorted(tally.exit_codes.items())},
        "seconds": round(tally.seconds, 1),
        "longest_seconds": round(tally.longest_seconds, 2),
        "findings": [asdict(finding) for finding in tally.findings],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--variants", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--keep", type=Path, help="folder for the variants that went wrong")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds until a run counts as a hang; more on a busy machine")
    parser.add_argument("--only", type=int, metavar="N", help="run variant N alone and tell what the program said")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        serve()
        return 0
    sources = [Source(options.data / name, duration) for name, duration in SOURCES]
    if absent := [str(source.path) for source in sources if not source.path.is_file()]:
        parser.error(f"the data folder lacks {', '.join(absent)}")
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    if options.only is not None:
        findings = only(sources, options.only, options.seed, options.keep, options.limit)
        print(*(f"{finding.kind}: {finding.detail}" for finding in findings), sep="\n")
        return 1 if findings else 0
    tally = fuzz(sources, options.variants, options.seed, jobs=options.jobs, limit=options.limit, keep=options.keep)
    said = report(tally, options.seed, sources)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(said, indent=2) + "\n")
    for finding in tally.findings:
        print(f"{finding.kind}: variant {finding.number} ({finding.source}, {finding.damage}): {finding.detail}")
    print({key: value for key, value in said.items() if key not in ("machine", "findings", "sources")})
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
