"""The tests' one way of waiting for something that can be seen, within a bound."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
HAPPENS_S_MAX = 90.0
LOOK_S = 0.05


def until(look: Callable[[], T], *, what: str, s_max: float = HAPPENS_S_MAX) -> T:
    """Return the first truthy value of `look`; fail naming `what` after `s_max` seconds."""
    deadline = time.monotonic() + s_max
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {s_max:g} s"
        time.sleep(LOOK_S)
    return seen
