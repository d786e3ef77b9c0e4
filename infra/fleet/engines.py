"""A Docker engine on every server of a fleet: brought up, repaired, taken away."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import docker
import msgspec
import requests
from docker.errors import APIError, DockerException

from helix.errors import UnavailableError
from helix.topology.model import Record
from infra.artifacts.commands import Commands, Report, tail
from infra.artifacts.workshop import Workshop
from infra.fleet import cgroups, mounts, network
from infra.fleet.plan import Fleet, Host, Setting
from infra.fleet.waiting import until

T = TypeVar("T")

START_S_MAX = 30.0
STOP_S_MAX = 40.0  # an engine gives its containers 10 s each, side by side
ASK_S_MAX = 5
SHIMS = Path("/run/containerd/s")  # where containerd's shims listen, whatever engine they serve

# A process enters its control groups before the program it becomes can have a child elsewhere.
ENTER = 'echo $$ >"$1" && shift && exec "$@"'


class Engine(Record, frozen=True):
    """One server's engine as it is."""

    host: Host
    answers: bool
    processes: int  # of its containers
    containers: tuple[str, ...] = ()


def settings(fleet: Fleet, host: Host) -> dict[str, Setting]:
    """What the engine is told: it leaves this machine's network and packet filter alone."""
    return {
        "hosts": [host.url],
        "data-root": str(host.home / "data"),
        "exec-root": str(host.volatile),
        "pidfile": str(host.pidfile),
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "cgroup-parent": f"/{host.cgroup}",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "labels": [f"server={host.server}"],
        # Else an engine that crashed stops its containers when it starts again, for good.
        "live-restore": True,
        **fleet.engine,
    }


def command(host: Host, folder: Path) -> list[str]:
    """How the engine is started: in its control group, on its server, a child of nobody here."""
    engine = ("dockerd", "--config-file", str(host.settings))
    entered = ("sh", "-c", ENTER, "enter", str(folder / "cgroup.procs"))
    return ["setsid", "--fork", *entered, *network.within(host, engine)]


def up(fleet: Fleet, say: Report) -> None:
    """Every server reachable, its engine answering; what is so already is left as it is."""
    _as_root()
    with alone(fleet, say):
        network.up(fleet)
        each(fleet.hosts, lambda host: _up(fleet, host, say))


def _up(fleet: Fleet, host: Host, say: Report) -> None:
    if answers(host):
        say(f"{host.server}: up at {host.address}")
        return
    write(host, settings(fleet, host))
    start(host)
    say(f"{host.server}: engine started at {host.address}, {host.url}")


def write(host: Host, wanted: dict[str, Setting]) -> None:
    """Lay down what the engine will be told."""
    host.home.mkdir(parents=True, exist_ok=True)
    host.settings.write_bytes(msgspec.json.format(msgspec.json.encode(wanted)))


def start(host: Host) -> None:
    """Start the server's engine, unless it runs, and wait until it answers."""
    if not pid(host):
        _forget(host)
        folder = cgroups.engine_folder(host)
        folder.mkdir(parents=True, exist_ok=True)
        with host.log.open("ab") as log:
            subprocess.run(
                command(host, folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=True,
            )
    if not until(lambda: answers(host), s_max=START_S_MAX):
        raise UnavailableError(
            host.server,
            f"the engine of `{host.server}` does not answer; `{host.log}` ends with\n"
            f"{tail(host.log)}\nMend what it names, then run `python -m infra.fleet up` again.",
        )


def _forget(host: Host) -> None:
    """Notes of processes that are gone: an engine would wait for them, or refuse to start."""
    until(lambda: not _contained(host), s_max=ASK_S_MAX)
    for note in (host.pidfile, host.volatile / "containerd" / "containerd.pid"):
        note.unlink(missing_ok=True)


def _contained(host: Host) -> bool:
    """Whether the containerd of an engine that crashed is still at its end."""
    return _noted(host, host.volatile / "containerd" / "containerd.pid") != 0


def pid(host: Host) -> int:
    """The engine's process; 0 if it does not run, whatever its pid file says."""
    return _noted(host, host.pidfile)


def _noted(host: Host, note: Path) -> int:
    try:
        noted = int(note.read_text())
    except (FileNotFoundError, ValueError):
        return 0
    return noted if noted in cgroups.engine(host) else 0


def answers(host: Host) -> bool:
    """Whether the engine runs and says so."""
    if not pid(host):
        return False
    with contextlib.suppress(DockerException, requests.RequestException), client(host) as engine:
        return bool(engine.ping())
    return False


@contextmanager
def client(host: Host) -> Generator[docker.DockerClient]:
    """The server's engine, spoken to for a while."""
    engine = docker.DockerClient(base_url=host.url, timeout=int(STOP_S_MAX))
    try:
        yield engine
    finally:
        engine.close()


def stop(host: Host) -> None:
    """Stop the engine as a shut-down of its server would: containers first, each in its way."""
    found = pid(host)
    if not found:
        return
    # An engine that lets its containers live on would leave them to be killed.
    told: dict[str, Setting] = msgspec.json.decode(host.settings.read_bytes())
    write(host, {**told, "live-restore": False})
    os.kill(found, signal.SIGHUP)
    until(lambda: not _lets_live(host), s_max=ASK_S_MAX)
    os.kill(found, signal.SIGTERM)
    until(lambda: not pid(host), s_max=STOP_S_MAX)
    write(host, told)


def _lets_live(host: Host) -> bool:
    try:
        with client(host) as engine:
            return bool(engine.info()["LiveRestoreEnabled"])
    except (DockerException, requests.RequestException):
        return False


def kill_containers(host: Host) -> None:
    """End every container at once, for good: for whoever deletes what it would have saved."""
    with client(host) as engine:
        for container in engine.containers.list():
            with contextlib.suppress(APIError):  # it ended since it was listed
                container.kill()


def down(fleet: Fleet, say: Report) -> None:
    """Stop everything on every server and take all of it away but the engines' data."""
    _as_root()
    with alone(fleet, say):
        each(fleet.hosts, stop)
        each(fleet.hosts, clear)
        network.down(fleet)
    say(f"`{fleet.name}` is down; its data stays in `{fleet.home}`")


def clear(host: Host) -> None:
    """End whatever is left on the server, and with it all that a power cut does not keep."""
    cgroups.kill(host)
    for socket in _shims(host):
        socket.unlink(missing_ok=True)
    mounts.release(host.home)
    shutil.rmtree(host.volatile, ignore_errors=True)
    for note in (host.pidfile, host.socket):
        note.unlink(missing_ok=True)
    cgroups.remove(host)


def _shims(host: Host) -> list[Path]:
    """The sockets of the server's shims, as containerd noted them."""
    noted = host.volatile.glob("containerd/daemon/io.containerd.runtime.v*.task/moby/*/address")
    sockets = [Path(note.read_text().removeprefix("unix://")) for note in noted]
    return [socket for socket in sockets if socket.is_relative_to(SHIMS)]


def status(fleet: Fleet) -> list[Engine]:
    """Every server as it is."""
    return each(fleet.hosts, look)


def look(host: Host) -> Engine:
    """The server's engine and its containers, each with its state."""
    processes = len(set(cgroups.alive(host)) - set(cgroups.engine(host)))
    if not answers(host):
        return Engine(host=host, answers=False, processes=processes)
    with client(host) as engine:
        rows = engine.api.containers(all=True)
    found = tuple(sorted(f"{row['Names'][0].removeprefix('/')}: {row['Status']}" for row in rows))
    return Engine(host=host, answers=True, processes=processes, containers=found)


def each(hosts: Iterable[Host], work: Callable[[Host], T]) -> list[T]:
    """The same on every server, side by side; the first failure is raised when all have ended."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(work, hosts))


@contextmanager
def alone(fleet: Fleet, say: Report) -> Generator[None]:
    """One command at a time moves a fleet."""
    fleet.home.mkdir(parents=True, exist_ok=True)
    with Workshop(fleet.home, say, Commands()).alone(fleet.name):
        yield


def _as_root() -> None:
    if os.geteuid() != 0:
        raise UnavailableError(
            "fleet", "network namespaces and engines need root: run the same command with `sudo`"
        )
