"""Which of the local stack's ports somebody else holds."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from helix.topology.model import Record, Topology

PROC = Path("/proc")
LISTENING = "0A"


class Holder(Record, frozen=True):
    """A process that listens."""

    pid: int
    command: str


def wanted(topology: Topology, offset: int) -> dict[int, str]:
    """Port -> service of everything the local substrate runs."""
    return {
        port.number + offset: service.name
        for service in topology.services
        if service.laptop is not None
        for port in service.ports
    }


def conflicts(ports: Mapping[int, str], state: Path) -> list[str]:
    """One sentence for each port that a process which is not of our stacks listens on."""
    taken = ports.keys() & _listening().keys()
    if not taken:
        return []
    inodes = {inode: port for port, inode in _listening().items() if port in taken}
    holders = {inodes[inode]: pid for inode, pid in _owners(inodes) if not _ours(pid, state)}
    ours = {inodes[inode] for inode, pid in _owners(inodes) if _ours(pid, state)}
    return [
        f"port {port} of `{ports[port]}` is held by {_named(holders.get(port))};"
        " end it, or give the stack another `port_offset`"
        for port in sorted(taken - ours)
    ]


def _listening() -> dict[int, str]:
    """Port -> inode of the sockets that listen."""
    rows = (
        line.split()
        for table in ("tcp", "tcp6")
        if (PROC / "net" / table).exists()
        for line in (PROC / "net" / table).read_text().splitlines()[1:]
    )
    return {int(row[1].rsplit(":", 1)[1], 16): row[9] for row in rows if row[3] == LISTENING}


def _owners(inodes: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Inode and pid of the processes that hold these sockets, as far as they may be seen."""
    known = set(inodes)
    for link in PROC.glob("[0-9]*/fd/*"):
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
        except OSError:
            continue  # gone since, or somebody else's
        if found and found[1] in known:
            yield found[1], int(link.parts[2])


def _ours(pid: int, state: Path) -> bool:
    """Whether the process was started by a supervisor under our state folder."""
    try:
        environ = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return f"SUPERVISOR_SERVER_URL=unix://{state}/".encode() in environ


def _named(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        command = "already gone"
    return f"pid {pid} (`{command.strip()[:60]}`)"
