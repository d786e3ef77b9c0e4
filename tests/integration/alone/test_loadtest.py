"""The load test against a platform that stalls: the application over fakes, on a real socket."""

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import uvicorn
from litestar.types import ASGIApp, Receive, Scope, Send

from controlplane.app import create
from controlplane.health import Monitor, Probes, Question
from helix.adapters import fakes
from helix.adapters.probes import Check
from helix.ports import Credential
from helix.settings import Settings
from helix.topology.catalog import CATALOG
from helix.topology.model import ProbeKind
from loadtest.journeys.conversations import ADD
from loadtest.report import Record
from tests.tree import ROOT
from tests.waiting import until

KEY = "all"
CREDENTIAL = Credential("k", "acme", frozenset({"read", "write"}))
CHECK = Check(service="kafka", kind=ProbeKind.KAFKA, host="h", port=1)
RUN_S_MAX = 60
START_S_MAX = 10
ASKED_FIRST = 1  # before the run, for the rate limit
STALL_S = 1.5
STALLED_REQUEST = 150


class Stalling:
    """An application that answers nobody for a while, once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.requests = 0
        self.url = ""
        self._until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += scope["type"] == "http"
        if self.requests == STALLED_REQUEST:
            self._until = time.monotonic() + STALL_S
        await asyncio.sleep(max(0.0, self._until - time.monotonic()))
        await self._app(scope, receive, send)


@pytest.fixture
def platform() -> Iterator[Stalling]:
    """The application that stalls, serving."""
    world = fakes.world({hashlib.sha256(KEY.encode()).hexdigest(): CREDENTIAL})
    asked = [Question(service="kafka", check=CHECK)]
    monitor = Monitor(asked, world.clock, Probes(ask=lambda _: "asked"))
    app = Stalling(create(world, Settings(), CATALOG, monitor))
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))  # pyright: ignore[reportArgumentType] - Litestar's names of ASGI's types
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    until(lambda: server.started, s_max=START_S_MAX, what="the server has started")
    app.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    yield app
    server.should_exit = True
    thread.join()
    bound.close()
    monitor.close()


def load(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The load test in a process of its own: Locust changes how sockets work."""
    env = {**os.environ, "HELIX_URL": url, "HELIX_API_KEY": KEY}  # noqa: TID251 - a root of its own
    return subprocess.run(
        [sys.executable, "-m", "loadtest", *words],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )


def test_a_stall_is_charged_to_every_request_that_fell_due_in_it(
    platform: Stalling, tmp_path: Path
) -> None:
    path = tmp_path / "load.json"
    done = load(
        platform.url, "--users", "4", "--rate", "40", "--minutes", "0.1", "--record", str(path)
    )
    found = msgspec.json.decode(path.read_bytes(), type=Record)
    adds = next(row for row in found.routes if row.route == ADD)

    assert (done.returncode, found.errors, found.sent) == (1, [], found.planned), done.stderr
    assert "over its budget" in done.stdout
    assert adds.p95_ms > STALL_S * 1000 / 2
    assert adds.service_p95_ms < adds.p95_ms / 2


def test_a_run_that_is_interrupted_is_not_judged(platform: Stalling) -> None:
    env = {**os.environ, "HELIX_URL": platform.url, "HELIX_API_KEY": KEY}  # noqa: TID251 - a root of its own
    command = subprocess.Popen(
        [sys.executable, "-m", "loadtest", "--users", "2"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: platform.requests > ASKED_FIRST, s_max=RUN_S_MAX, what="visitors have come")
    command.send_signal(signal.SIGINT)
    out, error = command.communicate(timeout=RUN_S_MAX)

    assert (command.returncode, out) == (130, ""), error
    assert error.splitlines()[-1] == "stopped: nothing is judged"


def test_another_machine_is_not_loaded_by_mistake() -> None:
    done = load("http://192.0.2.1")

    assert (done.returncode, "--allow-remote" in done.stderr) == (2, True)
