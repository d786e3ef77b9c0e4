"""The engine's figures on a port of their own, in plain: the firewall says who may ask."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from http import HTTPStatus

import uvicorn
from uvicorn.server import ServerState

from infra.engines.clickhouse.app import plain
from infra.engines.clickhouse.links import Engine
from infra.engines.clickhouse.metrics import STATEMENTS
from infra.engines.serving import App, Receive, Scope, Send

PATH = "/metrics"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Figures:
    """The ASGI application with that one page."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The figures, whatever the engine's workers do."""
        del receive
        if scope["path"] != PATH:
            text = f"There is no handle {scope['path']}\n\nUse {PATH}.\n"
            await plain(send, text.encode(), HTTPStatus.NOT_FOUND)
            return
        parts = [await self._engine.control(statement) for statement in STATEMENTS]
        await plain(send, b"".join(parts), kind=PROMETHEUS)


class Beside:
    """An application, and for as long as it is served another one at `door` in plain."""

    def __init__(self, app: App, other: App, door: socket.socket) -> None:
        self._app = app
        self._other = other
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the first; the door is open between its start and its end."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        async with _open(self._other, self._door):
            await self._app(scope, receive, send)


@contextlib.asynccontextmanager
async def _open(app: App, door: socket.socket) -> AsyncGenerator[None]:
    """Serve in the loop that runs already: one process has one server that minds its signals."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,  # as the server around it has it
        access_log=False,
        server_header=False,
    )
    config.load()
    state = ServerState()

    def protocol() -> asyncio.Protocol:
        return config.http_protocol_class(config=config, server_state=state, app_state={})  # pyright: ignore[reportCallIssue] - declared as the base of what it is

    server = await asyncio.get_running_loop().create_server(protocol, sock=door)
    try:
        yield
    finally:
        server.close()
