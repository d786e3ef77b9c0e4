"""What an operation may use beside its inputs, and how it waits."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from helix.errors import UnavailableError

LOOK_S = 0.2


@dataclass(frozen=True)
class Work:
    """One operation of the engine: of which resource, and whether it is to end early."""

    urn: str
    stopping: threading.Event
    report: Callable[[str], None] = lambda _: None


class StoppedError(UnavailableError):
    """The user ended the command while it was waiting."""

    def __init__(self, name: str) -> None:
        super().__init__("docker", f"`{name}`: stopped while waiting; run `pulumi up` again")


def becomes(true: Callable[[], bool], *, name: str, work: Work, s_max: float) -> bool:
    """Looks until it is so; False when the time is up."""
    deadline = time.monotonic() + s_max
    while not true():
        if time.monotonic() > deadline:
            return False
        if work.stopping.wait(LOOK_S):
            raise StoppedError(name)
    return True
