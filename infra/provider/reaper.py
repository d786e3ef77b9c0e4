"""Finds what should not run: leftovers of a dead supervisord, and strangers on our ports."""

import ipaddress
import json
from collections.abc import Collection, Iterator
from pathlib import Path

from helix.topology.model import Record
from infra.provider import layout
from infra.provider.launcher import carrying, end, everyone, living

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
SUPERVISOR_MARK = "HELIX_SUPERVISOR"  # in its own environment; the launcher does not pass it on
LISTENING = "0A"
COMMAND_LETTERS_MAX = 120
REAP_S_MAX = 10.0  # databases write their last checkpoint


class Holder(Record, frozen=True):
    """Who listens on a port; pid 0 when that is another account's secret."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid} (`{self.command}`)" if self.pid else "a process of another account"


def leftovers(home: Path, name: str = "") -> set[int]:
    """What the stack's supervisord or a task started and still lives; of one program if named.

    Found by the environment, and by the pid noted at the start: servers that set their own title
    (Redis, PostgreSQL) overwrite the environment that the kernel shows.
    """
    marks = [f"SUPERVISOR_SERVER_URL={layout.url(home)}"]
    marks += [f"SUPERVISOR_PROCESS_NAME={name}"] if name else []
    return {*carrying(marks), *_noted(home, name or "*")}


def supervisors(home: Path) -> list[int]:
    """The stack's supervisord, also one that no longer answers because its socket was removed."""
    return carrying([f"{SUPERVISOR_MARK}={layout.url(home)}"])


def _noted(home: Path, pattern: str) -> Iterator[int]:
    for path in layout.starts(home).glob(f"{pattern}.json"):
        note = json.loads(path.read_text())
        process = living(note["pid"])
        if process and process.born == note["born"]:
            yield process.pid


def reap(home: Path, name: str = "") -> list[int]:
    """Ends all leftovers; returns what was found."""
    return end(lambda: leftovers(home, name), REAP_S_MAX)


def holder(host: str, port: int) -> Holder | None:
    """Who would be in the way of listening there."""
    inodes = set(_listening(ipaddress.ip_address(host), port))
    if not inodes:
        return None
    for pid in everyone():
        if _owns(pid, inodes):
            return Holder(pid=pid, command=_command(pid))
    return Holder(pid=0, command="")


def _listening(host: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> Iterator[str]:
    for table in TABLES:
        rows = table.read_text().splitlines()[1:] if table.exists() else []
        for row in rows:
            fields = row.split()
            address, number = fields[1].split(":")
            if fields[3] == LISTENING and int(number, 16) == port:
                bound = _address(address)
                if bound.is_unspecified or bound == host:
                    yield f"socket:[{fields[9]}]"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel prints each 32-bit word in the machine's byte order."""
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _owns(pid: int, inodes: Collection[str]) -> bool:
    try:
        return any(str(entry.readlink()) in inodes for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # ended meanwhile, or not ours to look at
        return False


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "ended meanwhile"
    return b" ".join(words).decode(errors="replace").strip()[:COMMAND_LETTERS_MAX]
