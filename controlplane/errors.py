"""The one table from errors to HTTP answers, and the envelope they come in."""

import asyncio
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any

import structlog
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, InternalServerException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from controlplane.instants import instant
from helix.client.wire import Failure, Refused
from helix.errors import (
    ConflictError,
    HelixError,
    InvalidError,
    MissingError,
    TopologyError,
    UnavailableError,
)
from helix.ports import Clock

RETRY_AFTER_S = 1

# By class, most special first; TimeoutError is what `deadline` raises.
ANSWERS: Mapping[type[Exception], tuple[int, str]] = {
    InvalidError: (400, "INVALID_REQUEST"),
    MissingError: (404, "NOT_FOUND"),
    ConflictError: (409, "CONFLICT"),
    UnavailableError: (503, "SERVICE_UNAVAILABLE"),
    TopologyError: (500, "INTERNAL_ERROR"),
    TimeoutError: (504, "DEADLINE_EXCEEDED"),
    RecursionError: (400, "INVALID_REQUEST"),  # only the JSON decoder recurses as deep as its input
}
CODES: Mapping[int, str] = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "BODY_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMIT_EXCEEDED",
}
WRITE_STATUSES = (400, 401, 403, 409, 413, 415, 429, 503, 504)
READ_STATUSES = (400, 401, 403, 404, 429, 503, 504)

Refuse = Callable[[Request[Any, Any, State], Exception], Response[Refused]]

BODY = "body"
BODY_PARAMETER = "data"  # what the framework calls it
GONE = (
    "client disconnected prematurely"  # what it calls a client that left; nobody hears the answer
)
TOO_DEEP = "the body nests too deeply: flatten it"
INTERNAL = "the control plane failed: report the request id `{request_id}` to its operator"

_FIELD = re.compile(r"field `(?P<name>[^`]*)`")
_PATH = re.compile(r" - at `(?P<key>key in )?\$?(?P<path>[^`]*)`$")

log = structlog.get_logger()


def refusals(*statuses: int) -> dict[int, ResponseSpec]:
    """How the API's document describes those refusals."""
    return {
        status: ResponseSpec(
            Refused, description=HTTPStatus(status).phrase, generate_examples=False
        )
        for status in statuses
    }


def explained(error: str) -> tuple[str, str]:
    """What a decoding error says, and the field it speaks of; empty for the whole body."""
    at = _PATH.search(error)
    path = at["path"].removeprefix(".") if at else ""
    named = _FIELD.search(error)
    field = ".".join(part for part in (path, named["name"] if named else "") if part)
    return _PATH.sub("", error), field


def accepting(answer: type[Any]) -> dict[int, ResponseSpec]:
    """How the API's document describes a write that was acknowledged."""
    told = "The broker acknowledged it"
    return {202: ResponseSpec(answer, description=told, generate_examples=False)}


class deadline:  # noqa: N801 - used as the function it once was; a generator costs twice as much
    """TimeoutError naming what was waited for, once the time is up."""

    __slots__ = ("_seconds", "_timeout", "_waited_for")

    def __init__(self, waited_for: str, seconds: float) -> None:
        self._waited_for = waited_for
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        """The time runs."""
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """The time is up, or no longer matters."""
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise self._named() from late
        if isinstance(error, TimeoutError):
            raise self._named() from error

    def _named(self) -> TimeoutError:
        return TimeoutError(
            f"no answer within {self._seconds:g} s from {self._waited_for}: try again"
        )


def handlers(clock: Clock) -> dict[int | type[Exception], Refuse]:
    """What the application does with every exception: nothing leaves without the envelope."""

    def refuse(request: Request[Any, Any, State], error: Exception) -> Response[Refused]:
        status, code, message, details = _answer(request, error)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("request_failed", status=status, code=code, reason=str(error))
        failure = Failure(code=code, message=message, details=details, timestamp=instant(clock()))
        return Response(Refused(error=failure), status_code=status, headers=_headers(status, error))

    return {HTTPException: refuse, Exception: refuse}


def _answer(
    request: Request[Any, Any, State], error: Exception
) -> tuple[int, str, str, dict[str, Any]]:
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _framework(error)
    if isinstance(error, InternalServerException) and error.detail == GONE:
        return 400, "INCOMPLETE_BODY", "the body ended too early: send all of it", {}
    row = next((row for kind, row in ANSWERS.items() if isinstance(error, kind)), None)
    if row is None or row[0] == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request_crashed", exc_info=error)
        message = INTERNAL.format(request_id=request.scope["state"].get("request_id", ""))
        return 500, "INTERNAL_ERROR", message, {}
    status, code = row
    details = dict(error.details) if isinstance(error, HelixError) else {}
    message = TOO_DEEP if isinstance(error, RecursionError) else str(error)
    return status, str(details.pop("code", code)), message, details


def _framework(error: HTTPException) -> tuple[int, str, str, dict[str, Any]]:
    code = CODES.get(error.status_code, HTTPStatus(error.status_code).name)
    if not isinstance(error, ValidationException):
        return error.status_code, code, error.detail, {}
    first = next(iter(error.extra or []), None)
    if not isinstance(first, dict):
        return 400, code, error.detail, {}
    field = str(first.get("key", ""))
    field = BODY if field == BODY_PARAMETER else field
    return 400, code, f"`{field}`: {first.get('message', '')}", {"field": field}


def _headers(status: int, error: Exception) -> dict[str, str]:
    given = (error.headers or {}) if isinstance(error, HTTPException) else {}
    if status == HTTPStatus.UNAUTHORIZED:
        return {**given, "WWW-Authenticate": "Bearer"}
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        return {"Retry-After": str(RETRY_AFTER_S), **given}
    return dict(given)
