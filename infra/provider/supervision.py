"""The processes of a stack as children of one supervisord: made so, looked at, ended."""

import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from helix.errors import ConflictError, UnavailableError
from helix.topology.model import Record
from infra.launch import Launch
from infra.provider import launcher, layout, programs
from infra.provider.accounts import account, environment
from infra.provider.client import Client, Info
from infra.provider.files import make_folder, write_private
from infra.provider.initialise import initialise
from infra.provider.reaper import SUPERVISOR_MARK, holder, leftovers, reap, supervisors
from infra.provider.secrets import vault

SUPERVISOR_START_S_MAX = 15.0
SUPERVISOR_STOP_S_MAX = 10.0
PORT_FREE_S_MAX = 3.0  # a big process that has ended gives its sockets back a moment later
LOOP_S = 60.0  # that many seconds for the launcher's recent starts make a crash loop
LAUNCH_S_MAX = 5.0
LOOK_S = 0.05


class State(Record, frozen=True):
    """One process as it is; `restarts` counts since it was last started on purpose."""

    name: str
    pid: int
    state: str
    restarts: int
    uptime_s: int
    looping: bool
    reason: str = ""

    @property
    def holds(self) -> bool:
        """It runs, or supervisord brings it back: nothing has to be done."""
        return self.state in {"RUNNING", "STARTING", "BACKOFF"} and not self.looping


def is_running(home: Path) -> bool:
    """Whether the stack's supervisor answers."""
    return Client(home).answers()


def ensure_running(home: Path) -> bool:
    """A supervisord answers; True if it had to be started, after its leftovers were ended."""
    with layout.locked(home):
        if Client(home).answers():
            return False
        launcher.end(lambda: supervisors(home))
        reap(home)
        layout.make(home)
        for stale in layout.starts(home).iterdir():
            stale.unlink()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        who = account()
        conf = layout.run(home) / "supervisord.conf"
        write_private(conf, programs.supervisor(home, user=who.name, open_files_max=hard))
        started = subprocess.run(
            [sys.executable, "-I", "-m", "supervisor.supervisord", "-c", str(conf)],
            env=environment(who, {SUPERVISOR_MARK: layout.url(home)}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SUPERVISOR_START_S_MAX,
            check=False,
        )
        if not _becomes(Client(home).answers, SUPERVISOR_START_S_MAX):
            said = (started.stdout + started.stderr).strip()
            raise UnavailableError(
                "supervisor",
                f"supervisord did not start; see `{layout.log(home, 'supervisord')}`: {said}",
            )
    return True


def apply(home: Path, launch: Launch, *, stopping: threading.Event) -> bool:
    """The process runs as the launch says; True if it was started or restarted for that.

    Readiness is another question: see `wait_ready`.
    """
    client = Client(home)
    who = account(launch.user)
    whole = programs.resolved(launch, vault(home))
    for folder in whole.folders:
        make_folder(Path(folder), who)
    _replace_files(home, whole)
    initialise(home, whole, stopping=stopping)
    spec = programs.spec(whole, home, who)
    command = [sys.executable, "-I", str(Path(launcher.__file__).resolve())]
    program = programs.program(whole, home, spec_text=spec, launcher=command)
    with layout.locked(home):
        write_private(layout.spec(home, launch.name), spec)
        write_private(layout.program(home, launch.name), program)
        stale = launch.name in client.reload()
    if not stale and (state := state_of(home, launch.name)) and state.holds:
        return False
    _restart(home, launch, stale=stale)
    return True


def _replace_files(home: Path, launch: Launch) -> None:
    """Writes the launch's files, and takes away those of the former launch that it has no more."""
    for path in _files(home, launch.name) - launch.files.keys():
        Path(path).unlink(missing_ok=True)
    for path, text in launch.files.items():
        write_private(Path(path), text, account(launch.user))


def _files(home: Path, name: str) -> set[str]:
    path = layout.spec(home, name)
    return set(json.loads(path.read_text())["files"]) if path.exists() else set()


def _restart(home: Path, launch: Launch, *, stale: bool) -> None:
    client = Client(home)
    client.stop(launch.name)
    if stale:
        client.forget(launch.name)
        client.add(launch.name)
    reap(home, launch.name)
    started = layout.start(home, launch.name)
    started.unlink(missing_ok=True)
    _claim_port(launch)
    client.start(launch.name)
    # Until supervisord's child has become the launcher, it would lose the signal of a stop.
    _becomes(started.exists, LAUNCH_S_MAX)


def _claim_port(launch: Launch) -> None:
    """Before the start: the server's own complaint would be buried in its log."""
    check = launch.check
    if _becomes(lambda: holder(check.host, check.port) is None, PORT_FREE_S_MAX):
        return
    raise ConflictError(
        f"`{launch.name}` needs port {check.port} of {check.host}, and "
        f"{holder(check.host, check.port)} listens there; stop that, or set the stack's "
        "`port_offset`"
    )


def stop(home: Path, name: str) -> None:
    """It runs no more, nor do its children; the supervisor goes on knowing it."""
    client = Client(home)
    if client.answers():
        client.stop(name)
    reap(home, name)


def remove(home: Path, name: str) -> None:
    """As if it had never been applied; its data and its log stay."""
    stop(home, name)
    client = Client(home)
    with layout.locked(home):
        for path in _files(home, name):
            Path(path).unlink(missing_ok=True)
        for path in (layout.program(home, name), layout.spec(home, name), layout.start(home, name)):
            path.unlink(missing_ok=True)
        if client.answers() and name in client.reload():
            client.forget(name)


def states(home: Path) -> list[State]:
    """All processes of the stack; `UnavailableError` when its supervisor is gone."""
    return [_state(home, info) for info in Client(home).infos()]


def state_of(home: Path, name: str) -> State | None:
    """One process; None when the supervisor does not know it."""
    info = Client(home).info(name)
    return _state(home, info) if info else None


def _state(home: Path, info: Info) -> State:
    count, recent = _starts(home, info.name)
    full = len(recent) == launcher.RECENT_STARTS
    now = time.monotonic()
    return State(
        name=info.name,
        pid=info.pid,
        state=info.state,
        restarts=max(0, count - 1),
        uptime_s=info.uptime_s,
        looping=full and now - recent[0] <= LOOP_S,
        reason=info.reason,
    )


def _starts(home: Path, name: str) -> tuple[int, list[float]]:
    path = layout.start(home, name)
    if not path.exists():
        return 0, []
    note = json.loads(path.read_text())
    return note["count"], note["recent"]


def shutdown(home: Path) -> None:
    """Nothing of the stack runs, nothing is left in its `run` folder; data, logs, secrets stay."""
    with layout.locked(home):
        client = Client(home)
        if client.answers():
            pid = client.pid()
            client.stop_all()
            client.shutdown()
            _becomes(lambda: launcher.living(pid) is None, SUPERVISOR_STOP_S_MAX)
        launcher.end(lambda: supervisors(home))
        reap(home)
        if left := leftovers(home):
            raise UnavailableError(
                "supervisor", f"these processes do not end: {sorted(left)}; end them by hand"
            )
        if layout.run(home).exists():
            shutil.rmtree(layout.run(home))


def _becomes(true: Callable[[], bool], s_max: float) -> bool:
    """Looks until it is so or the time is up."""
    deadline = time.monotonic() + s_max
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True
