"""Work that goes on after the answer: a failure is logged and troubles nobody."""

import asyncio
from collections.abc import Coroutine

import structlog

TASKS_MAX = 256  # beyond, work is left undone: it only saves or records something

log = structlog.get_logger()


class Background:
    """Tasks that nobody waits for, referenced until they end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None], *, name: str) -> None:
        """Do the work soon, unless too much is going on already."""
        if len(self._tasks) >= TASKS_MAX:
            work.close()
            log.warning("background_work_left", work=name, tasks=len(self._tasks))
            return
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("background_work_failed", work=task.get_name(), reason=str(error))
