"""Programs run on behalf of a job: their output goes to a log, and they end when the job ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import which

from helix.errors import UnavailableError

Report = Callable[[str], None]

STOP_S_MAX = 5.0
TAIL_LINES = 15
TAIL_BYTES_MAX = 16_384


class Commands:
    """Runs programs, each in a process group of its own, and can end all of them at once."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        """With `env` the programs are found and run there, else where this process runs."""
        self._env = env
        self._live: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._guard = threading.Lock()

    def find(self, program: str) -> str | None:
        """The program's path, or None; Java's programs are looked for in `JAVA_HOME` first."""
        if self._env is None:
            return which(program)
        home = self._env.get("JAVA_HOME", "")
        inside = which(program, path=str(Path(home, "bin"))) if home else None
        return inside or which(program, path=self._env.get("PATH", os.defpath))

    def require(self, program: str, *, install: str) -> str:
        """The program's path; `UnavailableError` saying what to install where there is none."""
        found = self.find(program)
        if found is None:
            raise UnavailableError(program, f"`{program}` is not on PATH; install {install}")
        return found

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        cwd: Path | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Run to the end; `UnavailableError` with the log's tail if the program fails."""
        settings = [f"{name}={value}" for name, value in (extra or {}).items()]
        command = ["env", *settings, *map(str, argv)] if settings else [*map(str, argv)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            child = self._start(command, sink.fileno(), cwd)
            status = self._wait(child)
        if status != 0:
            name = Path(argv[0]).name
            raise UnavailableError(
                name,
                f"`{name}` ended with status {status}; `{log}` ends with\n{tail(log)}\n"
                "Mend what it names, then run the same command again: it goes on from here.",
            )

    def stop(self) -> None:
        """End every program that still runs, with its children, and start no more."""
        with self._guard:
            self._stopped = True
            live = tuple(self._live)
        for child in live:
            _end(child)

    def _start(self, command: list[str], sink: int, cwd: Path | None) -> subprocess.Popen[bytes]:
        with self._guard:
            if self._stopped:
                raise UnavailableError(command[0], f"`{command[0]}` was not started: stopping")
            child = subprocess.Popen(
                [*self._mortal(), *command],
                cwd=cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._live.add(child)
            return child

    def _mortal(self) -> tuple[str, ...]:
        """A prefix that has the kernel end the program when we are killed, where there is one."""
        found = self.find("setpriv")
        return (found, "--pdeathsig", "TERM", "--") if found else ()

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        try:
            return child.wait()
        except BaseException:
            _end(child)
            raise
        finally:
            with self._guard:
                self._live.discard(child)


def on_stderr(line: str) -> None:
    """Report to whoever watches, beside a command's own output."""
    sys.stderr.write(f"{line}\n")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the process group: asked first, killed after a while."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
            child.wait(timeout=STOP_S_MAX)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def tail(log: Path, *, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, indented."""
    with log.open("rb") as source:
        source.seek(max(0, log.stat().st_size - TAIL_BYTES_MAX))
        text = source.read().decode(errors="replace")
    return "\n".join(f"  | {line}" for line in text.splitlines()[-lines:])
