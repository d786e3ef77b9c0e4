"""Workers that die at the worst moment: after an insert into the warm copy, before it is noted."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from helix.adapters import clickhouse
from helix.settings import Settings, from_env
from runtime.__main__ import work
from runtime.pipelines import PIPELINES
from runtime.workers.conversations import EventSink

INSERTS_BEFORE = 2  # that many go well


class DeadlyEngine(clickhouse.Engine):
    """The warm copy's client; one insert is its last."""

    inserts = 0

    def insert(self, table: str, columns: Sequence[str], rows: bytes, *, token: str) -> None:
        super().insert(table, columns, rows, token=token)
        self.inserts += 1
        if self.inserts > INSERTS_BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingSink(EventSink):
    """Inserts with an engine that kills."""

    def __init__(self, settings: Settings, pipeline: str, function: Any) -> None:
        super().__init__(settings, pipeline, function)
        self._engine = DeadlyEngine(settings.clickhouse)


if __name__ == "__main__":
    settings = from_env(os.environ)  # noqa: TID251 - the composition root
    wanted = [
        msgspec.structs.replace(pipeline, sink=DyingSink)
        if pipeline.sink is EventSink
        else pipeline
        for pipeline in PIPELINES
    ]
    sys.exit(work(settings, wanted))
