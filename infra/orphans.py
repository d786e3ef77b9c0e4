"""Nothing outlives the command that started it."""

import ctypes
import signal
from pathlib import Path

import msgspec

PR_SET_PDEATHSIG = 1  # linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True)


class Lock(msgspec.Struct):
    """What Pulumi's file backend writes into a lock."""

    pid: int


def die_with_parent() -> None:
    """From now on the kernel sends SIGTERM to this process when its parent dies."""
    if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM):
        raise OSError(ctypes.get_errno(), "prctl")


def holder(lock: Path) -> int:
    """The living Pulumi that holds the lock; 0 when there is none."""
    try:
        pid = msgspec.json.decode(lock.read_bytes(), type=Lock).pid
    except (OSError, msgspec.DecodeError):
        return 0
    return pid if _is_pulumi(pid) else 0


def is_abandoned(pid: int) -> bool:
    """Whether who started the process is gone: it was handed to the system's own process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    parent = int(fields[1])
    return parent == 1 or _name(parent) == "systemd"


def _is_pulumi(pid: int) -> bool:
    return _name(pid) == "pulumi"


def _name(pid: int) -> str:
    """The program's name; empty when it has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return Path(words[0].decode(errors="replace")).name
