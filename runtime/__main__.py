"""`python -m runtime NAME | --all | bootstrap | letters | replay | bury`: work, or see to it."""

import argparse
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

import structlog

from helix.adapters.postgres import EVENTS_PIPELINE
from helix.errors import HelixError
from helix.settings import Settings, from_env
from runtime import commands, http, snapshots
from runtime.loop import Loop
from runtime.meters import Meters, Readiness
from runtime.pipelines import PIPELINES, Pipeline

STOP_S_MAX = 5.0
GC_THRESHOLDS = (100_000, 50, 50)  # batches make many short-lived objects and few cycles

log = structlog.get_logger()


def main(arguments: Sequence[str] | None = None) -> int:
    """What the process ends with: 0 done, 1 the environment or a store is wrong."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ]
    )
    try:
        if words[:1] and words[0] in commands.COMMANDS:
            return commands.run(words, _settings, _clock)
        given = _parser().parse_args(words)
        settings = _settings()
        if given.name == "bootstrap":
            from runtime import bootstrap  # noqa: PLC0415 - workers need none of its seven clients

            bootstrap.run(settings, told=_told)
            return 0
        wanted = [p for p in PIPELINES if given.all or p.name == given.name]
        return work(settings, wanted)
    except HelixError as error:
        print(f"error: {error.message}", file=sys.stderr)  # noqa: T201 - the command's output
        return 1


def _settings() -> Settings:
    return from_env(os.environ)  # noqa: TID251 - the composition root


def work(settings: Settings, pipelines: Sequence[Pipeline]) -> int:
    """Run the pipelines, a thread each, until SIGTERM or SIGINT; 1 when one of them died."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _signal, _frame: stop.set())
    meters = Meters()
    readiness = Readiness(tuple(pipeline.name for pipeline in pipelines))
    server = http.serve(settings.http, meters, readiness)
    died: list[str] = []
    workers: dict[str, Loop | snapshots.Snapshots] = {
        pipeline.name: Loop(
            pipeline, settings, clock=_clock, stop=stop, meters=meters, readiness=readiness
        )
        for pipeline in pipelines
    }
    if EVENTS_PIPELINE in workers:  # who keeps the warm copy takes the snapshots from it
        workers["snapshots"] = snapshots.connected(settings, clock=_clock, stop=stop, meters=meters)
    threads = [
        threading.Thread(target=_run, args=(worker, name, stop, died), name=name)
        for name, worker in workers.items()
    ]
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    for thread in threads:
        thread.daemon = True  # one that hangs in its store does not keep the process alive
        thread.start()
    log.info("workers_started", pipelines=[pipeline.name for pipeline in pipelines])
    stop.wait()
    until = time.monotonic() + STOP_S_MAX
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    server.shutdown()
    log.info("workers_stopped", died=died)
    return 1 if died else 0


def _run(
    worker: Loop | snapshots.Snapshots, name: str, stop: threading.Event, died: list[str]
) -> None:
    try:
        worker.run()
    except BaseException:
        log.exception("pipeline_died", pipeline=name)
        died.append(name)
        raise
    finally:
        stop.set()


def _clock() -> int:
    return time.time_ns() // 1_000


def _told(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the command's output


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runtime", description=__doc__)
    names = [pipeline.name for pipeline in PIPELINES]
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--all", action="store_true", help="every pipeline, a thread each")
    group.add_argument(
        "name", nargs="?", choices=[*names, "bootstrap", *commands.COMMANDS], help="what to run"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
