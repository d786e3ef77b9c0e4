"""A request id on everything, figures by route template, and lines in the log."""

import re
import time
from bisect import bisect_left
from collections.abc import Iterator
from http import HTTPMethod, HTTPStatus
from typing import Any, cast

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from helix.ports import Ids

HEADER = b"x-request-id"
HEADERS = "answer_headers"  # in the request's state: what goes with its answer, whatever that is
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
METHODS = frozenset(HTTPMethod)
NO_ROUTE = "none"
LINES_APART_S = 1.0  # of requests that did not fail here

_ID = re.compile(rb"[\w.:-]{1,128}")

log = structlog.get_logger()


class Series:
    """The figures of one method and route: plain arrays, nothing is looked up by label."""

    __slots__ = ("buckets", "seconds", "statuses")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_S) + 1)  # the last one has no bound
        self.seconds = 0.0
        self.statuses: dict[int, int] = {}

    def observe(self, status: int, seconds: float) -> None:
        """One request more."""
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        self.seconds += seconds
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: each with all below it."""
        bounds = [str(float(bound)) for bound in BUCKETS_S] + ["+Inf"]
        total = 0
        rows: list[tuple[str, float]] = []
        for bound, count in zip(bounds, self.buckets, strict=True):
            total += count
            rows.append((bound, total))
        return rows


class Figures(Collector):
    """All series, made into metrics only when somebody asks."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], Series] = {}

    def of(self, method: str, route: str) -> Series:
        """The series of that method and route."""
        found = self._series.get((method, route))
        if found is None:
            found = self._series[method, route] = Series()
        return found

    def collect(self) -> Iterator[Metric]:
        """Times and counts, by the names they always had."""
        seconds = HistogramMetricFamily(
            "helix_http_request_seconds",
            "Time from request to the end of its answer.",
            labels=["method", "route"],
        )
        requests = CounterMetricFamily(
            "helix_http_requests", "Requests answered.", labels=["method", "route", "status"]
        )
        for labels, series in list(self._series.items()):
            seconds.add_metric(labels, buckets=series.cumulative(), sum_value=series.seconds)
            for status, count in list(series.statuses.items()):
                requests.add_metric((*labels, str(status)), count)
        yield seconds
        yield requests


class Telemetry:
    """Around the whole application, so that unknown routes are seen as well."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry, ids: Ids) -> None:
        self._app = app
        self._ids = ids
        self._figures = Figures()
        self._logged_at = float("-inf")
        registry.register(self._figures)
        ProcessCollector(registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, stamped and measured."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = self._request_id(scope)
        state: dict[str, Any] = scope["state"]
        state["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 500

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = cast("list[tuple[bytes, bytes]]", state.get(HEADERS, []))
                message["headers"] = [*message["headers"], (HEADER, request_id.encode()), *own]
            await send(message)

        started_at = time.monotonic()
        try:
            await self._app(scope, receive, stamped)
        finally:
            self._observe(scope, status, started_at)

    def _observe(self, scope: Any, status: int, started_at: float) -> None:
        now = time.monotonic()
        seconds = now - started_at
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = scope.get("path_template") or NO_ROUTE
        self._figures.of(method, route).observe(status, seconds)
        failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if failed or now - self._logged_at >= LINES_APART_S:
            self._logged_at = now
            took_ms = round(seconds * 1000, 3)
            log.info("request", method=method, route=route, status=status, took_ms=took_ms)

    def _request_id(self, scope: Scope) -> str:
        for name, value in scope["headers"]:
            if name == HEADER and _ID.fullmatch(value):
                return value.decode("ascii")
        return self._ids()
