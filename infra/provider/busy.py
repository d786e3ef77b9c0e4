"""A plugin whose work is under way in threads, and what becomes of it when its engine ends."""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from pulumi.provider.experimental import provider

IDLE_S_MAX = 60.0  # what is being made when the CLI dies is undone first
Answer = TypeVar("Answer")


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


class Interruptible(provider.Provider):
    """Blocking work in threads; it ends early when it is cancelled or its engine is gone."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._busy = Busy()

    async def cancel(self) -> None:
        """The first ^C: what waits ends early."""
        self._stopping.set()

    def orphaned(self) -> None:
        """The CLI was killed: what is still being made is in no state, so it is undone."""
        self._stopping.set()
        self._busy.wait_idle(IDLE_S_MAX)

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        def counted() -> Answer:
            with self._busy.one():
                return work()

        return await asyncio.to_thread(counted)
