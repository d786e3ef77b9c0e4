"""Callers of a server: as fast as it answers, or at a steady rate; every answer is counted."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import uvloop

from validation.benchmarks.costs import Processes
from validation.benchmarks.errors import VoidError
from validation.benchmarks.machine import ROOT

CORE = 1
SERVER_CORE = 0
KEY = "benchmark"  # what every target takes
TENANT = "bench"  # whose key it is
TOPIC_NAME = "HELIX_BENCH_TOPIC"  # the variable that names a target's topic
CONNECTIONS = 32
TICK_S = 0.001
ANSWER_S_MAX = 60.0
STOP_S_MAX = 10.0
ACCEPTED = b"HTTP/1.1 202"
HEAD_END = b"\r\n\r\n"

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Server:
    """A server process that we started and the address nobody else listens on."""

    process: subprocess.Popen[bytes]
    address: tuple[str, int]

    def processes(self) -> Processes:
        """Return the process that was started; void when it ended."""
        if self.process.poll() is not None:
            raise VoidError(f"the server ended with {self.process.returncode}")
        return Processes((self.process.pid,))


@contextmanager
def served(name: str, env: Mapping[str, str]) -> Generator[Server]:
    """That target, listening on a socket made here and handed over."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        descriptor = listening.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "validation.benchmarks.targets", name, str(descriptor)],
            cwd=ROOT,
            env=dict(env),
            pass_fds=[descriptor],
            stdout=subprocess.DEVNULL,  # its log lines are written, as everywhere, and not kept
        )
        address = listening.getsockname()
    try:
        yield Server(process, address)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def on_core() -> Generator[None]:
    """The calling thread keeps to its core meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Caller(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self._heard = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for a request."""
        self._transport = cast("asyncio.Transport", transport)
        self._crowd.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server hung up, or we did."""
        del exc
        self._crowd.lost()

    def send(self, request: bytes) -> None:
        """Ask."""
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Part of an answer, mostly all of it."""
        heard = self._heard + data if self._heard else data
        head, found, body = heard.partition(HEAD_END)
        length = _LENGTH.search(head + b"\r\n") if found else None
        if length is None or len(body) < int(length[1]):
            self._heard = heard
            return
        self._heard = b""
        self._crowd.answered(self, heard.startswith(ACCEPTED))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


class Crowd:
    """Many callers that share one supply of requests."""

    def __init__(self, requests: Sequence[bytes], total: int) -> None:
        self._requests = requests
        self._total = total
        self._sent = 0
        self.accepted = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.callers: list[Caller] = []

    def free(self, caller: Caller) -> None:
        """The next request, if there is one left."""
        if self._sent < self._total:
            request = self._requests[self._sent % len(self._requests)]
            self._sent += 1
            caller.send(request)

    def answered(self, caller: Caller, accepted: bool) -> None:
        """One answer more."""
        if not accepted:
            self._fail("a request was refused")
        self.accepted += 1
        if self.accepted == self._total and not self.done.done():
            self.done.set_result(None)
        self.free(caller)

    def lost(self) -> None:
        """A connection ended."""
        self._fail("the server hung up")

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(VoidError(why))


class Steady(Crowd):
    """Requests at a rate: each is timed from the moment it was due, waiting included."""

    def __init__(self, requests: Sequence[bytes], total: int) -> None:
        super().__init__(requests, total)
        self.took_ms: list[float] = []
        self._idle: deque[Caller] = deque()
        self._due: deque[float] = deque()
        self._asked: dict[Caller, float] = {}

    def free(self, caller: Caller) -> None:
        """The next request that is due, or rest."""
        if self._due:
            self._ask(caller, self._due.popleft())
        else:
            self._idle.append(caller)

    def due(self, at: float) -> None:
        """A request is due."""
        if self._idle:
            self._ask(self._idle.popleft(), at)
        else:
            self._due.append(at)

    def answered(self, caller: Caller, accepted: bool) -> None:
        """One answer more, and how long it took."""
        self.took_ms.append((time.monotonic() - self._asked[caller]) * 1e3)
        super().answered(caller, accepted)

    def _ask(self, caller: Caller, at: float) -> None:
        self._asked[caller] = at
        caller.send(self._requests[self._sent % len(self._requests)])
        self._sent += 1


async def _connected(crowd: Crowd, address: tuple[str, int], connections: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        _, caller = await loop.create_connection(lambda: Caller(crowd), *address)
        crowd.callers.append(caller)


async def _finished(crowd: Crowd) -> int:
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            await crowd.done
    except TimeoutError as error:
        raise VoidError("the server did not answer in time") from error
    for caller in crowd.callers:
        caller.close()
    return crowd.accepted


def flood(server: Server, requests: Sequence[bytes], total: int) -> int:
    """How many were accepted of so many requests, sent as fast as answers come."""

    async def sent() -> int:
        crowd = Crowd(requests, total)
        await _connected(crowd, server.address, CONNECTIONS)
        return await _finished(crowd)

    return uvloop.run(sent())


def schedule(rate_hz: int, total: int) -> Iterator[float]:
    """Seconds after the start at which each of so many is due."""
    return (number / rate_hz for number in range(total))


def paced(server: Server, requests: Sequence[bytes], *, rate_hz: int, total: int) -> list[float]:
    """Milliseconds each of so many requests took, from the moment it was due at that rate."""

    async def sent() -> list[float]:
        crowd = Steady(requests, total)
        await _connected(crowd, server.address, CONNECTIONS)
        started = time.monotonic()
        for at in schedule(rate_hz, total):
            while started + at > time.monotonic():  # noqa: ASYNC110 - waits for the clock, nobody else
                await asyncio.sleep(TICK_S)
            crowd.due(started + at)
        await _finished(crowd)
        return crowd.took_ms

    return uvloop.run(sent())
