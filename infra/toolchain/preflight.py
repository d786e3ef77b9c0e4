"""What this machine has and lacks, one line each, before anything is fetched."""

import os
import shutil
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from helix.topology.check import laptop_mib
from helix.topology.model import MIB_PER_GIB, Artifact, Go, Maven, Record, Topology
from infra.artifacts import golang
from infra.artifacts.commands import Commands
from infra.toolchain import java, programs
from infra.toolchain.programs import Program

# Measured: jars, wheels and programs 1.5, the tools' own download and build caches 7.
DISK_GIB_MIN = 10


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARN = "warn"
    LACK = "lack"  # something cannot be made until it is there


class Finding(Record, frozen=True):
    """One fact about the machine; `package` is Debian's name of what would mend it."""

    level: Level
    text: str
    package: str = ""


class Machine(Record, frozen=True):
    """What was measured, as a value."""

    memory_mib: int
    available_mib: int
    disk_mib: int
    java: str
    go: str
    lacking: tuple[Program, ...] = ()


def measure(
    commands: Commands, env: Mapping[str, str], cache: Path, wanted: Sequence[Program]
) -> Machine:
    """Look at this machine, and for the programs that are wanted on it."""
    memory = meminfo(Path("/proc/meminfo"))
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    own_java, own_go = java.machine_java(env), commands.find("go")
    fits = own_go is not None and golang.version(own_go) >= golang.GO_MIN
    return Machine(
        memory_mib=memory.get("MemTotal", 0),
        available_mib=memory.get("MemAvailable", 0),
        disk_mib=shutil.disk_usage(existing).free // MIB_PER_GIB**2,
        java=str(own_java or ""),
        go=own_go if own_go and fits else "",
        lacking=tuple(programs.lacking(wanted, commands)),
    )


def meminfo(source: Path) -> dict[str, int]:
    """Name -> MiB of the kernel's table of memory; without such a table what the C library says."""
    if not source.exists():
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB_PER_GIB**2
        return {"MemTotal": total, "MemAvailable": total}
    rows = (line.split() for line in source.read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) // MIB_PER_GIB for row in rows}


def findings(machine: Machine, topology: Topology, todo: Sequence[Artifact]) -> list[Finding]:
    """One line for each thing that matters for what is still to be done."""
    return [
        memory_finding(machine, topology),
        disk_finding(machine, todo),
        java_finding(machine),
        *go_findings(machine, todo),
        *map(program_finding, machine.lacking),
    ]


def builders(todo: Sequence[Artifact]) -> list[Program]:
    """Return the programs that are called for what is still to be made."""
    jars = [artifact for artifact in todo if isinstance(artifact, Maven)]
    names = (["mvn"] if jars else []) + (["javac"] if any(jar.sources for jar in jars) else [])
    return [programs.program(name) for name in names]


def memory_finding(machine: Machine, topology: Topology) -> Finding:
    """Whether the local stack fits into memory beside what runs already."""
    need = laptop_mib(topology, [service.name for service in topology.services])
    fits = machine.available_mib >= need
    text = (
        f"memory: {gib(machine.memory_mib)} GiB, {gib(machine.available_mib)} available;"
        f" the whole local stack takes {gib(need)}"
    )
    if fits:
        return Finding(level=Level.OK, text=text)
    return Finding(level=Level.WARN, text=f"{text}: end other programs, or leave services out")


def disk_finding(machine: Machine, todo: Sequence[Artifact]) -> Finding:
    """Whether the disk of the cache holds what is still to be fetched and built."""
    text = f"disk: {gib(machine.disk_mib)} GiB free"
    if not todo or machine.disk_mib >= DISK_GIB_MIN * MIB_PER_GIB:
        return Finding(level=Level.OK, text=text)
    return Finding(
        level=Level.WARN,
        text=f"{text}, a first set-up takes up to {DISK_GIB_MIN}: make room,"
        " or set XDG_CACHE_HOME to a folder on a larger disk",
    )


def java_finding(machine: Machine) -> Finding:
    """Which Java runs the servers."""
    if machine.java:
        return Finding(level=Level.OK, text=f"java: {machine.java}")
    return Finding(
        level=Level.WARN,
        text=f"java: none from {java.MAJOR_MIN} to {java.MAJOR_MAX} in JAVA_HOME or on PATH;"
        " the servers get one from a Python package",
    )


def go_findings(machine: Machine, todo: Sequence[Artifact]) -> list[Finding]:
    """Which Go builds the programs, if any is still to be built."""
    if not any(isinstance(artifact, Go) for artifact in todo):
        return []
    wanted = ".".join(map(str, golang.GO_MIN))
    text = f"go: {machine.go}" if machine.go else f"go: none from {wanted}; a pinned one is fetched"
    return [Finding(level=Level.OK, text=text)]


def program_finding(program: Program) -> Finding:
    """Which program is absent, what for, and the package that brings it."""
    text = f"{program.name}: absent; it {program.purpose}"
    return Finding(level=Level.LACK, text=text, package=program.package)


def gib(mib: int) -> str:
    """MiB as GiB with one decimal."""
    return f"{mib / MIB_PER_GIB:.1f}"
