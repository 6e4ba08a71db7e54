"""The program again and again, each time in a process of its own to kill, without the seconds that torch takes to load.

Run as a program it is a server with everything imported, which forks for every command it is given; imported, it is that server's
client. A command may carry Python code that runs in its process when it comes by a fault point: there it kills itself, is
interrupted, or finds the disk full.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
INTERRUPT = "os.kill(os.getpid(), signal.SIGINT)"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """As subprocess gives it: negative for a signal; -1000: it hung."""
    err: str
    """What it said on stderr."""

    @property
    def sentence(self) -> str:
        """The one line that tells an error."""
        lines = [line for line in self.err.splitlines() if line.startswith("vidrestore: ")]
        assert len(lines) == 1 and "Traceback" not in self.err, self.err
        return lines[0]


class Server:
    """Starts commands; each process is the first of a session of its own, so that its workers can be found."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder
        self._started = 0
        assert self._answer() == "ready"

    def start(self, *arguments: str | Path, at: str = "", visit: int = 1, code: str = "") -> Running:
        """`vidrestore ...`; `code` runs when the process comes to the fault point `at` for the `visit`-th time."""
        self._started += 1
        err = self._folder / f"{self._started}.err"
        pid = self._ask(arguments=[*map(str, arguments)], at=at, visit=visit, code=code, err=str(err))
        return Running(self, pid, err)

    def run(self, *arguments: str | Path, at: str = "", visit: int = 1, code: str = "") -> Ended:
        return self.start(*arguments, at=at, visit=visit, code=code).wait()

    def wait(self, pid: int, seconds: float) -> int:
        code = self._ask(pid=pid, seconds=seconds)
        assert isinstance(code, int)
        return code

    def _ask(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@dataclass(frozen=True)
class Running:
    """A command under way."""

    server: Server
    pid: int
    err: Path

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 60.0) -> Ended:
        code = self.server.wait(self.pid, seconds)
        return Ended(code, self.err.read_text())


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server; its commands leave what they say in `folder`."""
    command = [sys.executable, str(Path(__file__).resolve())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield Server(process, folder)
    finally:
        process.communicate(timeout=30)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    # All that a run imports: what is imported here is there in each fork.
    import vidrestore.cli.run
    import vidrestore.models
    import vidrestore.pipeline.job
    import vidrestore.pipeline.workers.local_pool
    import vidrestore.runtimes.torch  # noqa: F401

    gc.freeze()  # a collection in a fork would copy all of it
    answer("ready")
    for line in sys.stdin:
        order = json.loads(line)
        if "arguments" in order:
            pid = os.fork()
            if not pid:
                command(order)
            answer(pid)
        else:
            answer(wait(order["pid"], order["seconds"]))


def answer(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def wait(pid: int, seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1000


def command(order: dict[str, Any]) -> None:
    """The forked process: from here on it is the program, and ends as it does."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    err = os.open(order["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for number, descriptor in enumerate((nothing, nothing, err)):
        os.dup2(descriptor, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order["code"]:
        from vidrestore.pipeline.journal.faultpoints import set_hook

        visits = 0

        def hook(name: str) -> None:
            nonlocal visits
            visits += name == order["at"]
            if name == order["at"] and visits == order["visit"]:
                exec(order["code"], globals())

        set_hook(hook)
    sys.argv = ["vidrestore", *order["arguments"]]
    from vidrestore.cli import main as program

    try:
        program()
    except SystemExit as end:
        # As the interpreter ends, less the taking apart of all modules, which takes longer than the run.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)


if __name__ == "__main__":
    main()
