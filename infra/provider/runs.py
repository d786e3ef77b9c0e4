"""Commands that end: an exact environment, a log, and never two of one name at a time."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from helix.errors import UnavailableError
from helix.topology.model import Record
from infra.provider import layout
from infra.provider.accounts import account, environment
from infra.provider.files import make_passage
from infra.provider.reaper import reap

RUN_S_MAX = 3600.0
STOP_S_MAX = 10.0
LOOK_S = 0.2
TAIL_BYTES = 65_536


class Stopped(UnavailableError):  # noqa: N818 - not a failure: somebody asked for it
    """The work was given up on request; it is simply done again by the next `pulumi up`."""


class Run(Record, frozen=True):
    """A command with everything it needs; its secrets are in place."""

    name: str
    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str] = {}
    user: str = ""
    s_max: float = RUN_S_MAX


def run_to_end(home: Path, run: Run, *, stopping: threading.Event, lines: int = 20) -> None:
    """Returns when the command succeeded; else an error with the log's last lines."""
    reap(home, _mark(run))  # the same command of an `up` that was killed
    who = account(run.user)
    other = who.uid != os.geteuid()
    marks = {"SUPERVISOR_SERVER_URL": layout.url(home), "SUPERVISOR_PROCESS_NAME": _mark(run)}
    log = layout.log(home, run.name)
    make_passage(log.parent)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with log.open("wb") as output:
        try:
            child = subprocess.Popen(
                run.argv,
                cwd=run.cwd,
                env={**environment(who, run.env), **marks},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=who.uid if other else None,
                group=who.gid if other else None,
                extra_groups=who.groups if other else None,
            )
        except OSError as error:
            raise UnavailableError(
                run.name, f"`{run.name}`: cannot start `{run.argv[0]}` in `{run.cwd}`: {error}"
            ) from error
    _watch(home, run, child, stopping)
    if child.returncode:
        raise UnavailableError(
            run.name,
            f"`{run.name}`: `{run.argv[0]}` ended with status {child.returncode}; its log `{log}` "
            f"ends with:\n{tail(home, run.name, lines)}",
        )


def _mark(run: Run) -> str:
    """No process can have this name, so that a run never ends the process it is named after."""
    return f"run:{run.name}"


def _watch(
    home: Path, run: Run, child: "subprocess.Popen[bytes]", stopping: threading.Event
) -> None:
    deadline = time.monotonic() + run.s_max
    while child.poll() is None:
        late = time.monotonic() > deadline
        if late or stopping.wait(LOOK_S):
            _stop(child)
            reap(home, _mark(run))
            why = f"did not end within {run.s_max:.0f} s" if late else "was asked to stop"
            raise Stopped(run.name, f"`{run.name}` {why}; run `pulumi up` again")


def _stop(child: "subprocess.Popen[bytes]") -> None:
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def tail(home: Path, name: str, lines: int) -> str:
    """The last lines of the log of that name; says so when there are none."""
    path = layout.log(home, name)
    if not path.exists():
        return "(no log yet)"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:]) or "(nothing was written)"
