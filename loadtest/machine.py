"""Where a run took place: figures mean little without it."""

import os
from pathlib import Path

import msgspec

from helix.adapters import machine

ROOT = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024


class Machine(machine.Host, frozen=True, kw_only=True):
    """What the load generator ran on, and from which code."""

    memory_mib: int
    load_1min: float
    commit: str
    edited: bool  # files differ from the commit


def measure() -> Machine:
    """Look at the machine this runs on."""
    return Machine(
        **msgspec.structs.asdict(machine.host()),
        memory_mib=machine.memory_bytes() // MIB,
        load_1min=os.getloadavg()[0],
        commit=machine.commit(ROOT),
        edited=machine.edited(ROOT),
    )
