"""The machine and the software a figure was measured on: without them it means nothing."""

import importlib.metadata
import os
from pathlib import Path

import msgspec

from helix.adapters import machine as host

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
COMMIT_DIGITS = 12
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
    "aiokafka",
    "pydantic",
    "sumy",
)


class Machine(host.Host, frozen=True, kw_only=True):
    """What the benchmarks ran on."""

    memory_gib: float
    versions: dict[str, str]


def machine() -> Machine:
    """The machine we run on."""
    return Machine(
        **msgspec.structs.asdict(host.host()),
        memory_gib=round(host.memory_bytes() / GIB, 1),
        versions={name: importlib.metadata.version(name) for name in MEASURED},
    )


def commit() -> str:
    """The commit measured, marked where the tree differs from it."""
    head = host.commit(ROOT)[:COMMIT_DIGITS]
    return f"{head}+changes" if host.edited(ROOT) else head


def load_average() -> float:
    """How many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2)
