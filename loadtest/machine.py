"""Where a run took place: figures mean little without it."""

import os
import platform
import subprocess
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the load generator ran on, and from which code."""

    cpu: str
    cores: int
    memory_mib: int
    kernel: str
    python: str
    load_1min: float
    commit: str
    edited: bool  # files differ from the commit


def measure() -> Machine:
    """Look at the machine this runs on."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB,
        kernel=platform.release(),
        python=platform.python_version(),
        load_1min=os.getloadavg()[0],
        commit=_git("rev-parse", "HEAD"),
        edited=bool(_git("status", "--porcelain")),
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _git(*words: str) -> str:
    """What git says; empty where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip()
