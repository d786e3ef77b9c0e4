"""Jobs side by side, seen by who waits: a line at each start and end, and now and then between."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from helix.errors import HelixError
from infra.artifacts.commands import Report

HEARTBEAT_S = 15.0
LOG_CHARS_MAX = 70
JOIN_S_MAX = 5.0  # for jobs to clean up after their programs were ended


@dataclass(frozen=True)
class Job:
    """One thing to do; `log` is where its programs write."""

    name: str
    work: Callable[[Report], object]
    log: Path


@dataclass
class Running:
    """A job at work: since when, and what it last said it is doing."""

    job: Job
    started: float
    doing: str = "starting"

    def line(self, now: float) -> str:
        """What a heartbeat shows: the job's own words, and its log's last line."""
        last = last_line(self.job.log)
        return f"...   {self.job.name:14} {now - self.started:4.0f} s  {self.doing}{last}"


class Board:
    """Runs lanes of jobs: lanes beside each other, the jobs of a lane one after another."""

    def __init__(
        self, say: Report, *, stop: Callable[[], None], heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        """`stop` ends the programs of all jobs; it is called when the user interrupts."""
        self._say = say
        self._stop = stop
        self._stopping = threading.Event()
        self._heartbeat_s = heartbeat_s
        self._running: dict[str, Running] = {}
        self._failed: dict[str, str] = {}

    def run(self, lanes: Sequence[Sequence[Job]]) -> dict[str, str]:
        """Do everything that can be done; name -> reason of the jobs that failed."""
        lanes = [lane for lane in lanes if lane]
        threads = [threading.Thread(target=self._lane, args=(x,), daemon=True) for x in lanes]
        try:
            for thread in threads:
                thread.start()
            self._watch(threads)
        except KeyboardInterrupt:
            self._stopping.set()
            self._stop()
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join(timeout=JOIN_S_MAX)
            raise
        return dict(self._failed)

    def _watch(self, threads: Sequence[threading.Thread]) -> None:
        beat = time.monotonic() + self._heartbeat_s
        for thread in threads:
            while thread.is_alive():
                thread.join(timeout=max(0.0, beat - time.monotonic()))
                if time.monotonic() >= beat:
                    self._show()
                    beat = time.monotonic() + self._heartbeat_s

    def _show(self) -> None:
        now = time.monotonic()
        for running in tuple(self._running.values()):
            self._say(running.line(now))

    def _lane(self, lane: Sequence[Job]) -> None:
        for job in lane:
            if self._stopping.is_set():
                return
            self._say(f"start {job.name}")
            with self._watched(job) as running:
                job.work(lambda text, running=running: setattr(running, "doing", text))

    @contextlib.contextmanager
    def _watched(self, job: Job) -> Generator[Running]:
        running = self._running[job.name] = Running(job, time.monotonic())
        try:
            yield running
        except (HelixError, OSError) as error:
            self._failed[job.name] = str(error)
            self._say(f"FAIL  {job.name:14} {time.monotonic() - running.started:4.0f} s")
        else:
            self._say(f"done  {job.name:14} {time.monotonic() - running.started:4.0f} s")
        finally:
            del self._running[job.name]


def last_line(log: Path) -> str:
    """The last line of a log, short enough for a terminal; empty if there is none yet."""
    try:
        with log.open("rb") as source:
            source.seek(max(0, log.stat().st_size - 4 * LOG_CHARS_MAX))
            lines = source.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return ""
    text = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {text[:LOG_CHARS_MAX]}" if text else ""
