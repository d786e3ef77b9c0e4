"""One HTTP request: who asks, with which settings, and a body that arrives in pieces."""

import base64
import binascii
import hmac
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from infra.engines.clickhouse.compression import Decoder
from infra.engines.clickhouse.config import Role, User
from infra.engines.clickhouse.errors import (
    AUTHENTICATION_FAILED,
    BAD_REQUEST,
    NOT_IMPLEMENTED,
    QUERY_IS_TOO_LARGE,
    failure,
)
from infra.engines.clickhouse.links import SESSION_S, Access, Want
from infra.engines.clickhouse.statements import Insert, find_insert
from infra.engines.serving import Receive, Scope

HEAD_BYTES_MAX = 1024 * 1024  # text allowed before the data of an INSERT
QUERY_BYTES_MAX = 64 * 1024 * 1024
FORM_BYTES_MAX = 256 * 1024 * 1024
START_BYTES = 16  # enough to tell an INSERT from anything else
MAY_BE_INSERT = re.compile(rb"\s*(?:--|/\*|insert\b)", re.IGNORECASE)
BOUNDARY = re.compile(r'boundary="?([^";]+)')
FIELD_NAME = re.compile(rb'name="([^"]*)"')
PARAM = "param_"

# What the interface itself reads; every other name in a query string is a setting.
TRANSPORT = frozenset(
    {
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "session_id",
        "session_timeout",
        "session_check",
        "query_id",
        "quota_key",
        "wait_end_of_query",
        "buffer_size",
        "compress",
        "decompress",
        "client_protocol_version",
        "role",
        "stacktrace",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "enable_http_compression",
        "http_zlib_compression_level",
        "cancel_http_readonly_queries_on_client_close",
        "close_session",
    }
)


class ClientGoneError(ConnectionError):
    """The client broke off: nothing of its INSERT is kept, nobody reads an answer."""


@dataclass(frozen=True)
class External:
    """A table sent along with a query."""

    name: str
    structure: str
    format: str
    data: bytes


@dataclass
class Request:
    """The parts of a request the interface acts on."""

    method: str
    headers: Mapping[str, str]
    query: dict[str, str]

    def is_on(self, name: str) -> bool:
        return self.query.get(name) in {"1", "true"}

    @property
    def format(self) -> str:
        asked = self.query.get("default_format") or self.headers.get("x-clickhouse-format")
        return asked or "TabSeparated"

    @property
    def params(self) -> dict[str, str]:
        """Query parameters; their text is escaped as the engine expects it."""
        return {
            name.removeprefix(PARAM): text
            for name, text in self.query.items()
            if name.startswith(PARAM)
        }

    @property
    def session_s(self) -> float:
        text = self.query.get("session_timeout") or str(SESSION_S)
        try:
            return float(text)
        except ValueError:
            raise failure(BAD_REQUEST, f"Invalid `session_timeout`: `{text}`") from None

    def _access(self, role: Role) -> Access:
        if role is Role.READER:
            return Access.READER
        return Access.FULL if self.method == "POST" or "readonly" in self.query else Access.GET

    def want(self, role: Role, mark: str) -> Want:
        """The state the request's connection must be in; `mark` finds its query again."""
        settings = {
            name: text
            for name, text in self.query.items()
            if name not in TRANSPORT and not name.startswith(PARAM)
        }
        database = self.query.get("database") or self.headers.get("x-clickhouse-database") or ""
        if not database and not self.query.get("session_id"):
            database = "default"
        return Want(self._access(role), database, {"log_comment": mark, **settings}, self.params)


def read_request(scope: Scope) -> Request:
    """The request of an ASGI scope."""
    headers = {name.decode().lower(): text.decode("latin1") for name, text in scope["headers"]}
    query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
    for name in ("compress", "decompress"):
        if query.get(name) in {"1", "true"}:
            raise failure(
                NOT_IMPLEMENTED,
                f"`{name}` is not available in the embedded engine; use HTTP compression "
                "(`enable_http_compression=1`, `Content-Encoding`)",
            )
    return Request(scope["method"], headers, query)


def authenticate(request: Request, users: Sequence[User]) -> User:
    """The user whose name and password the request carries."""
    name, password = _credentials(request)
    known = {user.name: user for user in users}.get(name)
    expected = known.password if known else ""
    same = hmac.compare_digest(expected.encode(), password.encode())
    if known is None or not same:
        raise failure(
            AUTHENTICATION_FAILED,
            f"{name}: Authentication failed: password is incorrect, "
            "or there is no user with such name.",
        )
    return known


def _credentials(request: Request) -> tuple[str, str]:
    user = request.headers.get("x-clickhouse-user")
    if user is not None:
        return user, request.headers.get("x-clickhouse-key", "")
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise failure(
                AUTHENTICATION_FAILED, "Authentication failed: malformed `Authorization` header"
            ) from None
        return user, password
    return request.query.get("user", "default"), request.query.get("password", "")


class Body:
    """The decoded body of a request, piece by piece."""

    def __init__(self, receive: Receive, encoding: str) -> None:
        self._receive = receive
        self._decoder = Decoder(encoding)
        self._at_end = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """The rest of the body; `ClientGoneError` if it never comes."""
        while not self._at_end:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            self._at_end = not message.get("more_body", False)
            piece = self._decoder.feed(message.get("body", b""))
            if self._at_end:
                self._decoder.end()
            if piece:
                yield piece

    async def whole(self, *, start: bytes = b"", bytes_max: int) -> bytes:
        """All that is left, at most `bytes_max`."""
        parts, size = [start], len(start)
        async for piece in self.pieces():
            parts.append(piece)
            size += len(piece)
            if size > bytes_max:
                raise failure(
                    QUERY_IS_TOO_LARGE, f"The query is larger than {bytes_max} bytes; split it"
                )
        return b"".join(parts)


@dataclass(frozen=True)
class Sent:
    """What a request asks: a text, or the head of an INSERT and the data read so far."""

    text: str
    insert: Insert | None = None
    data: bytes = b""
    externals: tuple[External, ...] = ()


async def read_sent(request: Request, body: Body) -> Sent:
    """Read until it is known what is asked; the data of an INSERT stays in the body."""
    text = request.query.get("query", "")
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        raw = await body.whole(bytes_max=FORM_BYTES_MAX)
        text, externals = _read_form(raw, kind, request)
        return Sent(text, externals=externals)
    insert = find_insert(text) if text else None
    if insert is not None:
        return Sent(text, insert, text[insert.data_at :].encode())
    return await _read_text(f"{text}\n".encode() if text else b"", body)


async def _read_text(start: bytes, body: Body) -> Sent:
    async for piece in body.pieces():
        start += piece
        if len(start) > HEAD_BYTES_MAX or (
            len(start) > START_BYTES and MAY_BE_INSERT.match(start) is None
        ):
            break
    # One byte, one character: so places in the text are places in the bytes.
    insert = find_insert(start[:HEAD_BYTES_MAX].decode("latin1"))
    if insert is not None:
        head = start[: len(insert.head)].decode()
        return Sent(head, Insert(head, insert.format, insert.data_at), start[insert.data_at :])
    whole = await body.whole(start=start, bytes_max=QUERY_BYTES_MAX)
    try:
        return Sent(whole.decode())
    except UnicodeDecodeError as error:
        raise failure(BAD_REQUEST, f"The query is not UTF-8: {error}") from error


def _read_form(raw: bytes, kind: str, request: Request) -> tuple[str, tuple[External, ...]]:
    """A form's fields become query parameters, its files tables."""
    boundary = BOUNDARY.search(kind)
    if boundary is None:
        raise failure(BAD_REQUEST, "The form has no boundary; send a `multipart/form-data` body")
    text, files = request.query.get("query", ""), dict[str, bytes]()
    for part in raw.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, data = part[2:].partition(b"\r\n\r\n")
        found = FIELD_NAME.search(head)
        if found is None:
            continue
        name, value = found[1].decode(), data[:-2]
        if b"filename=" in head:
            files[name] = value
        elif name == "query":
            text = f"{text}\n{value.decode()}" if text else value.decode()
        else:
            request.query.setdefault(name, value.decode())
    return text, tuple(_external(name, data, request) for name, data in files.items())


def _external(name: str, data: bytes, request: Request) -> External:
    structure = request.query.pop(f"{name}_structure", "")
    types = request.query.pop(f"{name}_types", "")
    if not structure:
        structure = ", ".join(f"_{at} {kind}" for at, kind in enumerate(types.split(","), 1))
    return External(
        name, structure, request.query.pop(f"{name}_format", "") or "TabSeparated", data
    )
