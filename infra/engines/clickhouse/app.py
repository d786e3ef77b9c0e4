"""ClickHouse's HTTP interface over the embedded engine."""

import asyncio
import contextlib
import dataclasses
import re
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from http import HTTPStatus

import msgspec

from infra.engines.clickhouse.compression import Encoder
from infra.engines.clickhouse.config import User
from infra.engines.clickhouse.errors import ClickHouseError, from_engine
from infra.engines.clickhouse.links import (
    READERS,
    Engine,
    Inserter,
    Link,
    Result,
    Stream,
    allow,
    identifier,
)
from infra.engines.clickhouse.requests import (
    Body,
    ClientGoneError,
    External,
    Request,
    Sent,
    authenticate,
    read_request,
    read_sent,
)
from infra.engines.clickhouse.statements import Insert, Query, parse, refuse
from infra.engines.serving import Receive, Scope, Send, live

PING_S_MAX = 2.0
TEXT = "text/plain; charset=UTF-8"
NS_PER_S = 1_000_000_000

# Pieces of these formats, put one after the other, are one answer; others are built whole.
STREAM_FORMATS = frozenset(
    {
        "Native",
        "TabSeparated",
        "TSV",
        "TSVRaw",
        "TabSeparatedRaw",
        "CSV",
        "RowBinary",
        "JSONEachRow",
    }
)
JSON = "application/json; charset=UTF-8"
BINARY = "application/octet-stream"
MEDIA = {
    "JSON": JSON,
    "JSONCompact": JSON,
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "Native": BINARY,
    "Parquet": BINARY,
    "Arrow": BINARY,
    "ArrowStream": BINARY,
}
TSV = "text/tab-separated-values; charset=UTF-8"
CLEAN_ID = re.compile(r"[^\x21-\x7e]")


class Answer:
    """The HTTP answer of one request."""

    def __init__(self, send: Send, engine: Engine, query_id: str) -> None:
        self._send = send
        self._engine = engine
        self._start_s = time.perf_counter()
        self.query_id = query_id
        self.started = False

    async def start(self, headers: Mapping[str, str], status: int = HTTPStatus.OK) -> None:
        common = {
            "X-ClickHouse-Server-Display-Name": "embedded",
            "X-ClickHouse-Query-Id": CLEAN_ID.sub("_", self.query_id),  # echoed into a header
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        pairs = [(name.encode(), text.encode()) for name, text in {**common, **headers}.items()]
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def more(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def fail(self, error: ClickHouseError) -> None:
        """The error alone, before anything else was sent."""
        body = error.line(self._engine.version).encode()
        headers = {
            "X-ClickHouse-Exception-Code": str(error.code),
            "Content-Type": TEXT,
            "Content-Length": str(len(body)),
        }
        await self.start(headers, error.status)
        await self.end(body)

    def summary(
        self, *, read: Result | None = None, rows_written: int = 0, bytes_written: int = 0
    ) -> str:
        """The X-ClickHouse-Summary header: what was read and written, numbers as text."""
        figures = {
            "read_rows": read.storage_rows_read() if read else 0,
            "read_bytes": read.storage_bytes_read() if read else 0,
            "written_rows": rows_written or (read.rows_written() if read else 0),
            "written_bytes": bytes_written or (read.bytes_written() if read else 0),
            "total_rows_to_read": 0,
            "result_rows": rows_written or (read.rows_read() if read else 0),
            "result_bytes": read.bytes_read() if read else 0,
            "elapsed_ns": int((time.perf_counter() - self._start_s) * NS_PER_S),
        }
        return msgspec.json.encode({name: str(value) for name, value in figures.items()}).decode()


class Application:
    """The ASGI application; `ids` names queries whose client did not."""

    def __init__(self, engine: Engine, *, users: Sequence[User], ids: Callable[[], str]) -> None:
        self._engine = engine
        self._users = users
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send, self._engine.close)
            return
        match scope["path"]:
            case "/" if scope["query_string"] or scope["method"] == "POST":
                await self._run(scope, receive, send)
            case "/" | "/ping" | "/replicas_status":
                await self._ping(send)
            case path:
                text = f"There is no handle {path}\n\nUse / or /ping for health checks.\n"
                await plain(send, text.encode(), HTTPStatus.NOT_FOUND)

    async def _ping(self, send: Send) -> None:
        if await self._engine.pulse(timeout_s=PING_S_MAX):
            await plain(send, b"Ok.\n")
            return
        text = f"The engine did not answer `SELECT 1` within {PING_S_MAX} s; see its log.\n"
        await plain(send, text.encode(), HTTPStatus.SERVICE_UNAVAILABLE)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = Answer(send, self._engine, self._ids())
        try:
            request = read_request(scope)
            answer.query_id = request.query.get("query_id") or answer.query_id
            user = authenticate(request, self._users)
            await Exchange(self._engine, request, answer, receive).run(user)
        except ClientGoneError:
            return
        except ClickHouseError as error:
            await answer.fail(error)
        except Exception as error:
            if answer.started:  # too late for a status: break off, so that nobody takes it as whole
                raise
            await answer.fail(from_engine(error))


async def plain(send: Send, body: bytes, status: int = HTTPStatus.OK, *, kind: str = TEXT) -> None:
    """A whole answer of one piece."""
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Exchange:
    """One request from its statement to its answer."""

    def __init__(self, engine: Engine, request: Request, answer: Answer, receive: Receive) -> None:
        self._engine = engine
        self._request = request
        self._answer = answer
        self._receive = receive
        self._gone = False
        self._told = False  # the whole answer is handed over: leaving now is no giving up
        self._tag = secrets.token_hex(8)  # no row can foretell it

    async def run(self, user: User) -> None:
        """Read what is asked, borrow a connection in the right state, answer."""
        body = Body(self._receive, self._request.headers.get("content-encoding", ""))
        sent = await read_sent(self._request, body)
        refuse(sent.insert.head if sent.insert else sent.text)
        query = None if sent.insert else parse(sent.text)
        async with self._link(user, query) as link:
            if query is None:
                await self._insert(link, sent, body)
            else:
                await self._query(link, query, sent.externals)

    @contextlib.asynccontextmanager
    async def _link(self, user: User, query: Query | None) -> AsyncGenerator[Link]:
        request = self._request
        want = request.want(user.role, self._answer.query_id)
        allow(want.access, query.verb if query else "INSERT")
        if query is not None:
            want = dataclasses.replace(want, access=self._engine.guard(want.access, query.sql))
        name = request.query.get("session_id")
        # A reader's connection can keep no state, so it needs no session.
        if name and want.access not in READERS:
            source = self._engine.resume(
                (user.name, name),
                want,
                timeout_s=request.session_s,
                known=request.is_on("session_check"),
            )
        else:
            source = self._engine.borrow(want)
        async with source as link:
            if query is not None and query.keeps_state:
                link.forget_database()
                link.spoilt = link.spoilt or not name
            yield link

    async def _insert(self, link: Link, sent: Sent, body: Body) -> None:
        insert = sent.insert or Insert(sent.text, "Values", 0)
        params = self._request.params
        if params:
            # They stay on the connection, where another client's query must not find them.
            link.spoilt = link.spoilt or "session_id" not in self._request.query
            await self._engine.work(link, lambda: link.bind(params))
        inserter = await self._engine.work(
            link, lambda: link.insert(insert.head, form=insert.format)
        )
        try:
            await self._append(link, inserter, sent.data)
            async for piece in body.pieces():
                await self._append(link, inserter, piece)
            done = await self._engine.work(link, inserter.finish)
        except BaseException as error:
            link.spoilt = link.spoilt or not isinstance(error, Exception)
            await asyncio.shield(self._engine.work(link, lambda: _cancel(inserter)))
            raise
        summary = self._answer.summary(
            rows_written=done.rows_written, bytes_written=done.bytes_written
        )
        await self._answer.start({"X-ClickHouse-Summary": summary, "Content-Length": "0"})
        await self._answer.end()

    async def _append(self, link: Link, inserter: Inserter, data: bytes) -> None:
        if data:
            await self._engine.work(link, lambda: inserter.append(data))

    async def _query(self, link: Link, query: Query, externals: Sequence[External]) -> None:
        watch = asyncio.create_task(self._watch(link))
        try:
            if externals:
                await self._engine.work(link, lambda: _load(link, externals))
            form = query.format or self._request.format
            whole = self._request.is_on("wait_end_of_query") or form not in STREAM_FORMATS
            if whole or not query.can_stream:
                await self._whole(link, query, form)
            else:
                await self._stream(link, query, form)
        finally:
            watch.cancel()
            if externals:
                await self._engine.work(link, lambda: _unload(link, externals))

    def _encoder(self) -> Encoder:
        asked = self._request.is_on("enable_http_compression")
        return Encoder(self._request.headers.get("accept-encoding", "") if asked else "")

    async def _whole(self, link: Link, query: Query, form: str) -> None:
        encoder = self._encoder()

        def run() -> tuple[Result, int, bytes]:
            result = link.run(query.sql, form=form, params=self._request.params)
            data = result.bytes()
            return result, len(data), encoder.feed(data) + encoder.end()

        result, size, body = await self._engine.work(link, run)
        headers = {
            "X-ClickHouse-Summary": self._answer.summary(read=result),
            "Content-Length": str(len(body)),
        }
        # Clients take a named format as a promise of rows.
        named = _headers(form, encoder) if size or query.has_rows else {"Content-Type": TSV}
        self._told = True
        await self._answer.start({**named, **headers})
        await self._answer.end(body)

    async def _stream(self, link: Link, query: Query, form: str) -> None:
        encoder = self._encoder()
        params = self._request.params
        stream = await self._engine.work(
            link, lambda: link.stream(query.sql, form=form, params=params)
        )
        try:
            piece = await self._engine.work(link, lambda: next(stream, None))
            headers = _headers(form, encoder)
            headers["X-ClickHouse-Summary"] = self._answer.summary()
            headers["X-ClickHouse-Exception-Tag"] = self._tag
            await self._answer.start(headers)
            while piece is not None and not self._gone:
                await self._answer.more(encoder.feed(piece.bytes()))
                piece = await self._next(link, stream, encoder)
            self._told = True
            await self._answer.end(encoder.end())
        finally:
            await self._engine.work(link, stream.close)

    async def _next(self, link: Link, stream: Stream, encoder: Encoder) -> Result | None:
        """The next piece; an error after the first byte is told in the body, as the server does."""
        try:
            return await self._engine.work(link, lambda: next(stream, None))
        except Exception as error:  # noqa: BLE001 - whatever the engine raises must reach the client
            line = from_engine(error).line(self._engine.version)
            tail = f"{len(line.encode())} {self._tag}\r\n__exception__\r\n"
            text = f"\r\n__exception__\r\n{self._tag}\r\n{line}{tail}"
            await self._answer.more(encoder.feed(text.encode()))
            return None

    async def _watch(self, link: Link) -> None:
        """End the query of a client that has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._told:
            return
        self._gone = True
        link.spoilt = True  # the kill may still be on its way when the connection is free again
        if "log_comment" not in self._request.query:  # else the mark is not this query's alone
            await self._engine.kill(self._answer.query_id)


def _headers(form: str, encoder: Encoder) -> dict[str, str]:
    headers = {"X-ClickHouse-Format": form, "Content-Type": MEDIA.get(form, TSV)}
    return {**headers, "Content-Encoding": encoder.name} if encoder.name else headers


def _cancel(inserter: Inserter) -> None:
    with contextlib.suppress(Exception):  # the first failure is the one to tell
        inserter.cancel()


def _load(link: Link, tables: Sequence[External]) -> None:
    for table in tables:
        name = identifier(table.name)
        link.run(f"CREATE TEMPORARY TABLE {name} ({table.structure})")
        inserter = link.insert(f"INSERT INTO {name}", form=table.format)
        inserter.append(table.data)
        inserter.finish()


def _unload(link: Link, tables: Sequence[External]) -> None:
    """A table sent along lives as long as its query, also in a session."""
    for table in tables:
        link.run(f"DROP TEMPORARY TABLE IF EXISTS {identifier(table.name)}")
