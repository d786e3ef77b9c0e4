"""The machine a figure was measured on, and the code: without them it means little."""

import os
import platform
import subprocess
from pathlib import Path

import msgspec


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What runs us."""

    cpu: str
    cores: int
    kernel: str
    python: str


def host() -> Host:
    """The machine this runs on."""
    return Host(
        cpu=_cpu(Path("/proc/cpuinfo")),
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        python=platform.python_version(),
    )


def memory_bytes() -> int:
    """How much memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def commit(root: Path) -> str:
    """The commit checked out there; empty where there is none, or no git."""
    return _git(root, "rev-parse", "HEAD")


def edited(root: Path) -> bool:
    """Whether files there differ from the commit."""
    return bool(_git(root, "status", "--porcelain"))


def _cpu(described: Path) -> str:
    try:
        lines = described.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words], cwd=root, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip()
