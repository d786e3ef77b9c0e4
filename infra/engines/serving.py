"""What both engines share: a config file, an ASGI application, a stop that loses nothing."""

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvicorn

from helix.errors import TopologyError

STOP_S_MAX = 8  # below the ten seconds a supervisor waits before it kills
BACKLOG_MAX = 512
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2, the oldest that is spoken; 1.3 has its own

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

T = TypeVar("T")


def read_config(arguments: list[str], kind: type[T]) -> T:
    """The config file named by the only argument; `TopologyError` says what is wrong with it."""
    if len(arguments) != 1:
        raise TopologyError("expected one argument; pass the path of the config file")
    path = Path(arguments[0])
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise TopologyError(f"`{path}`: {error}; run `pulumi up` to write it again") from error


async def live(receive: Receive, send: Send, close: Callable[[], Awaitable[None]]) -> None:
    """The ASGI lifespan: nothing to do at the start, `close` once requests have ended."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await close()
    await send({"type": "lifespan.shutdown.complete"})


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an engine answers; `certificate` and `key` are paths of PEM, empty for plain HTTP."""

    host: str
    port: int
    certificate: str = ""
    key: str = ""


def serve(app: App, at: Place) -> bool:
    """Serve until SIGTERM; False if the port or the certificate could not be opened.

    One worker always: an engine locks its folder, a second process would be refused.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=at.host,
            port=at.port,
            ssl_certfile=at.certificate or None,
            ssl_keyfile=at.key or None,
            ssl_ciphers=CIPHERS,
            workers=1,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            access_log=False,
            log_level="warning",
            server_header=False,
            backlog=BACKLOG_MAX,
            timeout_graceful_shutdown=STOP_S_MAX,
        )
    )
    server.run()
    return server.started
