"""Where this machine keeps what outlives a clone."""

import os
from collections.abc import Mapping
from pathlib import Path

SYSTEM_STATE = Path("/var/lib/helix")


def state_folder(env: Mapping[str, str]) -> Path:
    """The folder of every stack's data: the system's for root, else the user's own."""
    if os.geteuid() == 0:
        return SYSTEM_STATE
    base = env.get("XDG_STATE_HOME") or Path(env.get("HOME", "~"), ".local", "state").expanduser()
    return Path(base) / "helix"
