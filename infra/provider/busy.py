"""What is under way, so that a plugin whose engine died can wait for it."""

import threading
from collections.abc import Generator
from contextlib import contextmanager


class Busy:
    """How many operations are under way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    @contextmanager
    def one(self) -> Generator[None]:
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def _add(self, more: int) -> None:
        with self._changed:
            self._count += more
            self._changed.notify_all()

    def wait_idle(self, s_max: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0, s_max)
