"""A job in miniature, for killing: segments of known bytes, joined by writing one behind the other. Run as a program it is a
process of its own that the tests end with SIGKILL: `python journal_run.py OUTPUT SEGMENTS [POINT VISIT | hold | leave]`."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from vidrestore.pipeline.journal.faultpoints import reached, set_hook
from vidrestore.pipeline.journal.fingerprint import Key, digest_of
from vidrestore.pipeline.journal.journal import Journal
from vidrestore.pipeline.segment import SegmentDone

KEY = Key((("input", "1"), ("setting strength", "1.0")))
FRAMES = 3


def payload(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest() * (20 + number)


def whole(segments: int) -> bytes:
    """What the job writes."""
    return b"".join(map(payload, range(segments)))


def write_part(journal: Journal, number: int, content: bytes | None = None) -> SegmentDone:
    """What a worker does."""
    path, data = journal.part_path(number), payload(number) if content is None else content
    with path.open("wb") as file:
        file.write(data)
        os.fsync(file.fileno())
    notices = (f"Notice of {number}.",)
    return SegmentDone(
        number, path, FRAMES, len(data), hashlib.sha256(data).hexdigest(), notices=notices, seconds={"engine": 0.5}
    )


def run(output: Path, segments: int, key: Key = KEY) -> int:
    """The whole job; returns how many segments an earlier run had done, or -1 if it had done all."""
    with Journal.open(str(output), key) as journal:
        if journal.finished_output(output) is not None:
            journal.remove()
            return -1
        journal.facts.update(segments=segments, frames=segments * FRAMES)
        done = journal.done()
        resumed = len(done)
        for number in range(segments):
            if number not in done:
                done[number] = journal.commit(write_part(journal, number))
        journal.set_state("joining")
        reached("join begun")
        joined = journal.join_folder / "joined.part"
        with joined.open("wb") as file:
            for number in range(segments):
                file.write(done[number].path.read_bytes())
            os.fsync(file.fileno())
        reached("join written")
        journal.record_output(digest_of(joined), joined.stat().st_size, {"lines": ["It is whole."]})
        joined.replace(output)
        reached("output named")
        journal.remove()
        return resumed


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def begun(output: Path, segments: int, key: Key = KEY) -> None:
    """A run that stopped after so many segments."""
    with Journal.open(str(output), key) as journal:
        journal.facts.update(segments=9, frames=9 * FRAMES)
        for number in range(segments):
            journal.commit(write_part(journal, number))
        journal.set_state("stopped", "Somebody wanted it.")


def kill_at(point: str, visit: int) -> None:
    """End this process without a word when it comes to `point` for the `visit`-th time."""
    visits = 0

    def hook(name: str) -> None:
        nonlocal visits
        visits += name == point
        if name == point and visits == visit:
            os.kill(os.getpid(), signal.SIGKILL)

    set_hook(hook)


def main() -> None:
    output, segments, *rest = sys.argv[1:]
    if rest in (["hold"], ["leave"]):
        journal = Journal.open(output, KEY)
        for number in range(int(segments)):
            journal.commit(write_part(journal, number))
        left = journal.part_path(int(segments))
        worker = "import sys, time\nwith open(sys.argv[1], 'wb', 0) as file:\n while True: file.write(b'x'); time.sleep(0.01)"
        pid = 0
        if rest == ["leave"]:  # a worker that outlives us, and would inherit whatever can be inherited
            pid = subprocess.Popen([sys.executable, "-c", worker, str(left)], close_fds=False).pid
            while not left.exists():
                time.sleep(0.01)
        sys.stdout.write(f"ready {pid}\n")
        sys.stdout.flush()
        time.sleep(60)
    if rest:
        kill_at(rest[0], int(rest[1]))
    run(Path(output), int(segments))


if __name__ == "__main__":
    main()
