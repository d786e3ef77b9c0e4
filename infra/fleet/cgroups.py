"""The control groups of a server: all that runs on it, and nothing else, is in them."""

import contextlib
import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from helix.errors import UnavailableError
from infra.fleet.plan import Host
from infra.fleet.waiting import until

ROOT = Path("/sys/fs/cgroup")
ENGINE = "engine"  # the leaf of the engine itself; its containers are beside
END_S_MAX = 10.0


def hierarchy(root: Path = ROOT) -> Path:
    """The one that is asked who is alive: `pids` where each controller has a tree of its own."""
    own = root / "pids"
    return own if own.is_dir() else root


def folders(host: Host, root: Path = ROOT) -> list[Path]:
    """The server's folder in every hierarchy that has it."""
    return [
        found for found in (root / host.cgroup, *root.glob(f"*/{host.cgroup}")) if found.is_dir()
    ]


def engine_folder(host: Host, root: Path = ROOT) -> Path:
    """Where the engine is put before its first instruction."""
    return hierarchy(root) / host.cgroup / ENGINE


def pids(folder: Path) -> list[int]:
    """Every process in it and below; the dead that nobody reaped are not among them."""
    return [pid for file in folder.rglob("cgroup.procs") for pid in _listed(file)]


def _listed(file: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):  # it went away since it was found
        yield from map(int, file.read_text().split())


def alive(host: Host) -> list[int]:
    """Every process of the server."""
    return pids(hierarchy() / host.cgroup)


def engine(host: Host) -> list[int]:
    """The engine's processes: dockerd, containerd, and one shim a container."""
    return pids(engine_folder(host))


def kill(host: Host) -> None:
    """End every process of the server as a power cut would: the engine first, so it sees none."""

    def killed() -> bool:
        found = [*engine(host), *alive(host)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not found

    if not until(killed, s_max=END_S_MAX):
        raise UnavailableError(
            host.server,
            f"processes of `{host.server}` survive SIGKILL: {alive(host)}; look at them",
        )


def remove(host: Host) -> None:
    """Take the emptied folders away."""
    for top in folders(host):
        nested = [Path(path) for path, _, _ in os.walk(top, topdown=False)]
        for folder in nested:
            if not until(lambda folder=folder: _removed(folder), s_max=END_S_MAX):
                raise UnavailableError(
                    host.server,
                    f"`{folder}` is still in use; run `python -m infra.fleet down` again",
                )


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.EBUSY:  # the kernel has not forgotten the last process yet
            return False
        raise
    return True
