"""The short way to routes that write: from the body's bytes to the handler and back."""

import re
from typing import Any

from litestar import Request
from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import ASGIApp, Receive, Send

from controlplane.auth import DIRECT
from controlplane.errors import GONE
from helix.client.wire import PRINTABLE

_CHARACTERS_MAX = 255
_PLAIN = re.compile(PRINTABLE)


class Direct:
    """Calls a direct route's handler itself, past the framework's general reading of parameters.

    What it does not take is left to the framework, whose refusal it then is.
    """

    def __init__(self, app: ASGIApp, body_bytes_max: int) -> None:
        self._app = app
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer the request."""
        handler = scope["route_handler"]
        if DIRECT not in handler.opt or not self._takes(scope):
            await self._app(scope, receive, send)
            return
        body = await self._body(receive)
        request: Request[Any, Any, Any] = Request(scope)
        data = handler.resolve_data_dto()(request).decode_bytes(body)
        response = await handler.fn(**scope["path_params"], data=data, request=request)
        await response(scope, receive, send)

    def _takes(self, scope: Any) -> bool:
        """Whether the ids in the path are ids, and a body is announced that may be so long."""
        for value in scope["path_params"].values():
            if len(value) > _CHARACTERS_MAX or not _PLAIN.fullmatch(value):
                return False
        for name, value in scope["headers"]:
            if name == b"content-length":
                return value.isdigit() and 0 < int(value) <= self._body_bytes_max
        return False

    async def _body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message: Any = await receive()
            if message["type"] != "http.request":
                raise InternalServerException(GONE)
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._body_bytes_max:
                raise RequestEntityTooLarge
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)
