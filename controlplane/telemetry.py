"""A request id on everything, and figures by route template."""

import re
import time
from http import HTTPMethod
from typing import Any

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from helix.ports import Ids

HEADER = b"x-request-id"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
METHODS = frozenset(HTTPMethod)
NO_ROUTE = "none"

_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class Telemetry:
    """Around the whole application, so that unknown routes are seen as well."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry, ids: Ids) -> None:
        self._app = app
        self._ids = ids
        self._seconds = Histogram(
            "helix_http_request_seconds",
            "Time from request to the end of its answer.",
            ["method", "route"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._requests = Counter(
            "helix_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        ProcessCollector(registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, stamped and measured."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = self._request_id(scope)
        scope["state"]["request_id"] = request_id
        status = 500

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER, request_id.encode())]
            await send(message)

        started_at = time.monotonic()
        try:
            with structlog.contextvars.bound_contextvars(request_id=request_id):
                await self._app(scope, receive, stamped)
        finally:
            self._observe(scope, status, time.monotonic() - started_at)

    def _observe(self, scope: Any, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = scope.get("path_template") or NO_ROUTE
        self._seconds.labels(method, route).observe(seconds)
        self._requests.labels(method, route, str(status)).inc()

    def _request_id(self, scope: Scope) -> str:
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        text = given.decode("latin-1")
        return text if _ID.fullmatch(text) else self._ids()
