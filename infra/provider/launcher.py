"""Becomes the program its specification describes; supervisord starts this file, with `python -I`.

Standard library only and no import of ours: it runs at every start. It exists because
supervisord's own `environment=` cannot carry every value, and because supervisord neither counts
restarts nor ends the children of a program that died by itself.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

PROC = Path("/proc")
RECENT_STARTS = 4
END_S_MAX = 5.0
NOT_FOUND = 127


class Living(NamedTuple):
    """A process that is not a zombie; `born` tells it from a later one of the same number."""

    pid: int
    parent: int
    born: int


def living(pid: int) -> Living | None:
    """The process, or None when it is gone or only waits to be collected."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Living(pid, int(fields[1]), int(fields[19]))


def everyone() -> list[int]:
    """The numbers of all processes of this machine."""
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def carrying(marks: Collection[str]) -> list[int]:
    """Living processes whose environment holds all `marks`; this one and those above it aside."""
    wanted, spared = {mark.encode() for mark in marks}, _lineage()
    return [pid for pid in everyone() if pid not in spared and wanted <= _environment(pid)]


def _lineage() -> set[int]:
    line, pid = set[int](), os.getpid()
    while pid and (process := living(pid)):
        line.add(pid)
        pid = process.parent
    return line


def _environment(pid: int) -> set[bytes]:
    try:
        entries = set((PROC / str(pid) / "environ").read_bytes().split(b"\0"))
    except OSError:
        return set()
    return entries if entries != {b""} and living(pid) else set()


def end(find: Callable[[], Collection[int]], s_max: float = END_S_MAX) -> list[int]:
    """Whatever `find` finds is asked to end, after `s_max` made to; returns what was found."""
    found = list(find())
    deadline = time.monotonic() + s_max
    _signal(found, signal.SIGTERM)
    while (left := find()) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(left, signal.SIGKILL)
    deadline = time.monotonic() + s_max
    while find() and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _signal(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def note_start(path: Path) -> None:
    """Counts this start; monotonic seconds are the same clock in every process of one boot."""
    try:
        count = int(json.loads(path.read_text())["count"])
        recent = list[float](json.loads(path.read_text())["recent"])
    except (OSError, ValueError, KeyError):
        count, recent = 0, []
    me = living(os.getpid())
    note = {
        "count": count + 1,
        "recent": [*recent, time.monotonic()][-RECENT_STARTS:],
        "pid": os.getpid(),
        "born": me.born if me else 0,
    }
    fresh = path.with_suffix(".fresh")
    fresh.write_text(json.dumps(note))
    fresh.replace(path)


def become(spec: dict[str, Any]) -> None:
    """Turns into the program: same pid, the exact environment, the account's rights."""
    marks = {key: value for key, value in os.environ.items() if key.startswith("SUPERVISOR_")}  # noqa: TID251 - supervisord hands them on this way
    if spec["nofile"]:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(spec["nofile"], hard), hard))
    if os.geteuid() != spec["uid"]:
        os.setgroups(spec["groups"])
        os.setgid(spec["gid"])
        os.setuid(spec["uid"])
    os.chdir(spec["cwd"])
    os.execvpe(spec["argv"][0], spec["argv"], {**spec["env"], **marks})


def main(path: str) -> int:
    spec = json.loads(Path(path).read_text())
    name = spec["name"]
    url = os.environ["SUPERVISOR_SERVER_URL"]  # noqa: TID251 - supervisord hands it on this way
    marks = (f"SUPERVISOR_SERVER_URL={url}", f"SUPERVISOR_PROCESS_NAME={name}")
    note_start(Path(spec["starts"]))
    if found := end(lambda: carrying(marks)):
        sys.stderr.write(f"ended {len(found)} left over from the last run of `{name}`\n")
        sys.stderr.flush()
    try:
        become(spec)
    except OSError as error:
        sys.stderr.write(
            f"cannot start `{name}`: `{spec['argv'][0]}` in `{spec['cwd']}`: {error}\n"
        )
    return NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
