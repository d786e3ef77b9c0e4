"""The machine and the software a figure was measured on: without them it means nothing."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
MEASURED = (
    "confluent-kafka",
    "clickhouse-connect",
    "chdb",
    "msgspec",
    "litestar",
    "uvicorn",
    "uvloop",
    "psycopg",
    "numpy",
    "scipy",
    "tiktoken",
    "fastapi",
    "pydantic",
    "sumy",
)


class Machine(msgspec.Struct, frozen=True):
    """What the benchmarks ran on."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    versions: dict[str, str]


def machine() -> Machine:
    """The machine we run on."""
    return Machine(
        cpu=_named(Path("/proc/cpuinfo"), "model name"),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        versions={name: importlib.metadata.version(name) for name in MEASURED},
    )


def commit() -> str:
    """The commit measured, marked where the tree differs from it."""
    head = _git("rev-parse", "--short=12", "HEAD")
    return f"{head}+changes" if _git("status", "--porcelain") else head


def load_average() -> float:
    """How many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2)


def _named(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
