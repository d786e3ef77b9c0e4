"""The application without a socket, as an HTTP client's transport meets it."""

import hashlib
from collections.abc import Callable, Generator
from contextlib import contextmanager

import httpx
from litestar.testing import TestClient

from controlplane.app import create
from controlplane.health import Monitor, Probes, Question
from helix.adapters import fakes
from helix.adapters.probes import Check
from helix.ports import Credential
from helix.settings import Settings
from helix.topology.catalog import CATALOG
from helix.topology.model import ProbeKind

KEY = "all"
CREDENTIAL = Credential("k", "acme", frozenset({"read", "write"}))
CHECK = Check(service="kafka", kind=ProbeKind.KAFKA, host="h", port=1)

Handle = Callable[[httpx.Request], httpx.Response]


@contextmanager
def application() -> Generator[Handle]:
    """The application over a world in memory, where `KEY` may read and write."""
    world = fakes.world({hashlib.sha256(KEY.encode()).hexdigest(): CREDENTIAL})
    asked = [Question(service="kafka", check=CHECK)]
    monitor = Monitor(asked, world.clock, Probes(ask=lambda _: "asked"))
    app = create(world, Settings(), CATALOG, monitor)
    with TestClient(app) as inner:

        def forward(request: httpx.Request) -> httpx.Response:
            answer = inner.request(
                request.method,
                str(request.url),
                content=request.content,
                headers=dict(request.headers),
            )
            return httpx.Response(
                answer.status_code, content=answer.content, headers=dict(answer.headers)
            )

        yield forward
    monitor.close()
