"""The processor time that processes have used, so that work can be judged by what it costs.

Wall time is shared with whatever else the machine does; processor time is charged to who used it.
So it decides on a busy machine, as long as every process that does part of the work is asked: a
client can always look cheap by leaving work to its server.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from helix.settings import Settings
from validation.benchmarks.errors import AbsentError, VoidError

PROC = Path("/proc")
LISTENING = "0A"  # the state of a socket, as the kernel writes it
REST_LOOKS, REST_S = 4, 0.25
TICKS_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a piece of work took: of the clock, and of processor time."""

    took_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What the clock and the processes' own clocks said at a moment."""

    at_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Processes:
    """Processes by their ids, each with all that descend from it.

    A server does a little while nobody asks anything of it. That share is taken off, or whoever
    keeps it waiting longer would be charged more.
    """

    roots: tuple[int, ...]
    idle_share: float = 0.0  # of a core, at rest

    def __add__(self, other: "Processes") -> "Processes":
        return Processes(self.roots + other.roots, self.idle_share + other.idle_share)

    def read(self) -> Reading:
        """Return what the clocks say now."""
        return Reading(time.perf_counter(), self.cpu_s())

    def since(self, start: Reading) -> Spent:
        """Return what was spent after that reading; `VoidError` if it cannot be told from rest."""
        cpu_s = self.cpu_s() - start.cpu_s
        took_s = time.perf_counter() - start.at_s
        worked_s = cpu_s - self.idle_share * took_s
        if worked_s <= 0:
            raise VoidError("the processes spent no more than they do at rest")
        return Spent(took_s, worked_s)

    def at_rest(self) -> "Processes":
        """Watch the processes while nothing is asked of them, and know their share from then on.

        The least of several looks counts: what the work before left behind is no rest.
        """
        resting = Processes(self.roots)
        looks: list[float] = []
        for _ in range(REST_LOOKS):
            start = resting.read()
            time.sleep(REST_S)
            spent = resting.read()
            looks.append((spent.cpu_s - start.cpu_s) / (spent.at_s - start.at_s))
        return Processes(self.roots, min(looks))

    def cpu_s(self) -> float:
        """Return the processor time all of them have used, in user mode and in the kernel.

        `VoidError` where one of them has ended.
        """
        try:
            return sum(map(cpu_s_of, self.roots))
        except OSError as error:
            raise VoidError("a process whose time is counted has ended") from error


def cpu_s_of(pid: int) -> float:
    """Return the processor time of a process, its threads, its children and those that ended."""
    used = time.clock_gettime(cpu_clock(pid)) + reaped_cpu_s(pid)
    for child in children_of(pid):
        # One that ends meanwhile is from now on in what its parent reaped.
        with contextlib.suppress(OSError):
            used += cpu_s_of(child)
    return used


def cpu_clock(pid: int) -> int:
    """Return the kernel's clock of a process: nanoseconds of all its threads, ended ones too.

    It is what `clock_getcpuclockid` returns; `/proc` counts in hundredths of a second.
    """
    return (~pid << 3) | 2


def reaped_cpu_s(pid: int) -> float:
    """Return the processor time of children that ended and that the process has waited for."""
    fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICKS_HZ


def children_of(pid: int) -> Iterator[int]:
    """Yield the children of a process, whichever of its threads started them."""
    for file in (PROC / str(pid) / "task").glob("*/children"):
        yield from map(int, file.read_text().split())


def own() -> Processes:
    """Return this process."""
    return Processes((os.getpid(),))


def servers(*addresses: str) -> Processes:
    """Return the servers at those addresses, watched at rest; `AbsentError` if one is away."""
    return Processes(tuple(pid for one in addresses for pid in servers_at(one))).at_rest()


def servers_at(address: str) -> list[int]:
    """Return the processes that listen at `host:port`, without their children.

    Raise `AbsentError` where none of this machine does: then its cost cannot be known.
    """
    port = urlsplit(f"//{address}").port or 0
    sockets = {f"socket:[{number}]" for number in listening_sockets(port)}
    holders = [pid for pid in all_processes() if sockets & open_files(pid)]
    if not holders:
        raise AbsentError(f"`{address}` is no server of this machine: its cost cannot be counted")
    inherited = {child for pid in holders for child in children_of(pid)}
    return [pid for pid in holders if pid not in inherited]


def listening_sockets(port: int) -> Iterator[str]:
    """Yield the kernel's numbers of the sockets that listen at the port."""
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def all_processes() -> Iterator[int]:
    """Yield every process there is."""
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def open_files(pid: int) -> set[str]:
    """Return what a process has open; nothing where it ended or is another's."""
    found: set[str] = set()
    try:
        for entry in (PROC / str(pid) / "fd").iterdir():
            found.add(os.readlink(entry))  # noqa: PTH115 - a socket is no path
    except OSError:
        return found
    return found


def kafka_address(settings: Settings) -> str:
    """Return where the broker listens."""
    return settings.kafka.bootstrap.partition(",")[0]


def clickhouse_address(settings: Settings) -> str:
    """Return where ClickHouse listens."""
    return f"{settings.clickhouse.host}:{settings.clickhouse.port}"


def postgres_address(settings: Settings) -> str:
    """Return where PostgreSQL listens."""
    return f"{settings.postgres.host}:{settings.postgres.port}"
