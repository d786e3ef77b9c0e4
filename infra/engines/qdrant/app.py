"""Qdrant's REST interface over the embedded engine."""

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import msgspec

from infra.engines.qdrant.collections import Collections
from infra.engines.qdrant.errors import QdrantError, from_engine, malformed
from infra.engines.qdrant.metrics import Metrics
from infra.engines.qdrant.routes import Call, find
from infra.engines.serving import Receive, Scope, Send, live

BODY_BYTES_MAX = 32 * 1024 * 1024  # the server's own bound
THREADS = 8
JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
BEARER = "bearer "
HEALTH = frozenset(["/healthz", "/readyz", "/livez"])
UNAUTHORIZED = "Must provide an API key or an Authorization bearer token"


class ClientGoneError(ConnectionError):
    """The client broke off: nobody reads an answer."""


class Application:
    """The ASGI application; the engine works in threads, so that health is always answered."""

    def __init__(self, collections: Collections, *, api_key: str, version: str) -> None:
        self._collections = collections
        self._api_key = api_key.encode()
        self._version = version
        self._metrics = Metrics(version, collections.all)
        self._threads = ThreadPoolExecutor(THREADS, "requests")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send, self._close)
            return
        path = scope["path"].rstrip("/") or "/"
        if path in HEALTH:
            await _answer(send, f"{path[1:]} check passed".encode(), kind=TEXT)
        elif path == "/":
            await _answer(send, self._title())
        elif not self._allows(scope):
            await _answer(send, UNAUTHORIZED.encode(), HTTPStatus.UNAUTHORIZED, kind=TEXT)
        elif path == "/metrics":
            await _answer(send, await self._in_thread(self._metrics.render), kind=PROMETHEUS)
        else:
            await self._serve(scope["method"], path, receive, send)

    def _title(self) -> bytes:
        title = {"title": "qdrant - vector search engine", "version": self._version}
        return msgspec.json.encode(title)

    def _allows(self, scope: Scope) -> bool:
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        return hmac.compare_digest(key_of(headers).encode(), self._api_key)

    async def _serve(self, method: str, path: str, receive: Receive, send: Send) -> None:
        start_s = time.perf_counter()
        template = "unknown"
        try:
            route, params = find(method, path)
            template = route.path
            call = Call(self._collections, params, await _read(receive))
            body = await self._in_thread(lambda: _run(route.run, call, start_s))
            status = HTTPStatus.OK
        except ClientGoneError:
            return
        except QdrantError as error:
            status = error.status
            body = _envelope(start_s, {"error": error.message}, None)
        self._metrics.observe((method, template, int(status)), time.perf_counter() - start_s)
        await _answer(send, body, status)

    async def _in_thread(self, work: Callable[[], bytes]) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._collections.close)


def key_of(headers: Mapping[str, str]) -> str:
    """The key a request carries, whichever header it uses; empty if none."""
    bearer = headers.get("authorization", "")
    token = bearer[len(BEARER) :] if bearer.lower().startswith(BEARER) else ""
    return headers.get("api-key") or token


def _run(run: Callable[[Call], Any], call: Call, start_s: float) -> bytes:
    try:
        return _envelope(start_s, "ok", run(call))
    except QdrantError:
        raise
    except msgspec.ValidationError as error:
        raise malformed(str(error)) from error
    except Exception as error:
        raise from_engine(error) from error


def _envelope(start_s: float, status: Any, result: Any) -> bytes:
    seconds = time.perf_counter() - start_s
    return msgspec.json.encode({"result": result, "status": status, "time": seconds})


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_BYTES_MAX:
            text = f"the body exceeds {BODY_BYTES_MAX} bytes; send smaller batches"
            raise QdrantError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _answer(
    send: Send, body: bytes, status: int = HTTPStatus.OK, *, kind: bytes = JSON
) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
