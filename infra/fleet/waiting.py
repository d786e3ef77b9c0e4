"""Waiting for something that can be seen, and not for ever."""

import time
from collections.abc import Callable

POLL_S = 0.02


def until(seen: Callable[[], bool], *, s_max: float) -> bool:
    """Whether it was seen in time."""
    end = time.monotonic() + s_max
    while not seen():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True
