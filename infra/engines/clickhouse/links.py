"""The embedded engine and its connections: pooled ones, sessions, and readers'."""

import asyncio
import contextlib
import re
import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import chdb

from infra.engines.clickhouse.config import READER_QUERY_S_MAX
from infra.engines.clickhouse.errors import (
    READONLY,
    SESSION_IS_LOCKED,
    SESSION_NOT_FOUND,
    TOO_MANY_QUERIES,
    UNKNOWN_SETTING,
    failure,
)
from infra.engines.clickhouse.statements import ROWS_VERBS, STATE_VERBS, with_file

IDLE_MAX = 64
SESSIONS_MAX = 1_000
SESSION_S_MAX = 3_600.0
SESSION_S = 60.0
SESSION_WAIT_S_MAX = 2.0
SETTING = re.compile(r"[A-Za-z_]\w*")

T = TypeVar("T")


class Result(Protocol):
    """One answer of the engine, or one piece of it."""

    def bytes(self) -> bytes: ...
    def bytes_read(self) -> int: ...
    def rows_read(self) -> int: ...
    def storage_rows_read(self) -> int: ...
    def storage_bytes_read(self) -> int: ...
    def rows_written(self) -> int: ...
    def bytes_written(self) -> int: ...


class Stream(Protocol):
    """An answer that is taken piece by piece."""

    def __iter__(self) -> Iterator[Result]: ...
    def __next__(self) -> Result: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Written:
    """What an INSERT did."""

    rows_written: int
    bytes_written: int


class Inserter(Protocol):
    """An INSERT under way: nothing is kept unless `finish` returns."""

    def append(self, data: bytes) -> None: ...
    def finish(self) -> Written: ...
    def cancel(self) -> None: ...


class Access(StrEnum):
    """What the statement of a request may do."""

    FULL = "full"
    GET = "get"  # a GET changes nothing, whoever sends it
    READER = "reader"
    STRICT = "strict"  # a reader's that might reach beyond the tables


def quoted(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """A quoted name."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


@dataclass(frozen=True)
class Want:
    """The state a request finds its connection in."""

    access: Access
    database: str
    settings: Mapping[str, str]
    params: Mapping[str, str]


READERS = frozenset({Access.READER, Access.STRICT})


class Link:
    """One connection of the engine: SET, USE and temporary tables are private to it."""

    def __init__(self, dsn: str) -> None:
        self._connection: Any = chdb.connect(dsn)
        self._database: str | None = None
        self._settings: dict[str, str] = {}
        self.spoilt = False  # must not serve another request

    def close(self) -> None:
        self._connection.close()

    def run(
        self, sql: str, *, form: str = "TabSeparated", params: Mapping[str, str] | None = None
    ) -> Result:
        """The whole answer at once."""
        return self._connection.query(sql, form, params=dict(params or {}))

    def stream(self, sql: str, *, form: str, params: Mapping[str, str]) -> Stream:
        """The answer in pieces, each a complete encoding."""
        return self._connection.send_query(sql, form, params=dict(params))

    def insert(self, head: str, *, form: str) -> Inserter:
        """An INSERT that takes its data in pieces cut anywhere."""
        return Spooled(self._connection, head, form=form)

    def be(self, want: Want) -> None:
        """Take the database and settings of a request, and undo those of the one before."""
        if want.database and want.database != self._database:
            self.run(f"USE {identifier(want.database)}")
            self._database = want.database
        settings = {name: text for name, text in want.settings.items() if name != "readonly"}
        before, self._settings = self._settings, {**self._settings, **settings}
        for name in before.keys() - settings.keys():
            self.run(f"SET {name} = DEFAULT")  # shares no SET with a value
        self._set({name: text for name, text in settings.items() if before.get(name) != text})
        self._settings = settings
        if "readonly" in want.settings:  # cannot be undone, so neither can the connection
            self.spoilt = True
            self._set({"readonly": want.settings["readonly"]})

    def bind(self, params: Mapping[str, str]) -> None:
        """Give an INSERT its parameters, which it takes from the connection only."""
        self._set({f"param_{name}": text for name, text in params.items()})

    def forget_database(self) -> None:
        """A statement may have switched it: the next request's is applied again."""
        self._database = None

    def _set(self, values: Mapping[str, str]) -> None:
        if values:
            pairs = ", ".join(f"{name} = {quoted(text)}" for name, text in values.items())
            self.run(f"SET {pairs}")


class Spooled:
    """An INSERT that reads its data from a file without a name, once all of it is there.

    The engine's own streaming INSERT reports rows as written that it could not write: on a full
    disk, or where a view failed.
    """

    def __init__(self, connection: Any, head: str, *, form: str) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `finish` or `cancel`
        path = f"/proc/self/fd/{self._file.fileno()}"
        self._sql = f"{with_file(head, path)} FORMAT {form}"
        self._connection = connection

    def append(self, data: bytes) -> None:
        """More of the data."""
        self._file.write(data)

    def finish(self) -> Written:
        """The rows are kept when this returns."""
        self._file.flush()
        result: Result = self._connection.query(self._sql)
        self._file.close()
        return Written(result.rows_written(), result.bytes_written())

    def cancel(self) -> None:
        """Nothing more is to be inserted."""
        self._file.close()


@dataclass
class Session:
    """A connection that a client comes back to by name."""

    link: Link
    used_s: float
    timeout_s: float = SESSION_S
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Engine:
    """The one engine of this process with its threads; `close` leaves no lock behind."""

    def __init__(self, dsn: str, *, threads: int) -> None:
        self._dsn = dsn
        self._root = Link(dsn)  # keeps the engine alive
        self._idle: dict[Access, deque[Link]] = {access: deque() for access in Access}
        self._idle_lock = threading.Lock()
        self._sessions: dict[tuple[str, str], Session] = {}
        self._workers = ThreadPoolExecutor(threads, "engine")
        # Health, figures and KILL must get through while every worker is busy.
        self._control = ThreadPoolExecutor(1, "control")
        self._pulse: asyncio.Future[bytes] | None = None
        answer = self._root.run("SELECT version(), timezone()").bytes().decode()
        ways_out = self._root.run("SELECT name FROM system.table_functions").bytes().decode()
        words = "|".join(["CREATE", "INSERT", *ways_out.split()])
        self._risky = re.compile(rf"\\|\b(?:{words})\b", re.IGNORECASE)
        self.version, self.timezone = answer.rstrip("\n").split("\t")

    async def close(self) -> None:
        """Stop what runs, then close every connection."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._control.submit(self._root.run, "KILL QUERY WHERE query NOT LIKE 'KILL QUERY%' ASYNC")
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._control.shutdown(wait=True)
        links = [session.link for session in self._sessions.values()]
        for link in [*links, *(link for idle in self._idle.values() for link in idle), self._root]:
            link.close()

    async def work(self, link: Link, call: Callable[[], T]) -> T:
        """Run `call` on a thread; a connection whose call was given up is never used again."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, call)
        except asyncio.CancelledError:
            link.spoilt = True
            raise

    async def control(self, sql: str) -> bytes:
        """A short statement of our own, whatever the workers do."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._control, lambda: self._root.run(sql, form="TSVRaw").bytes()
        )

    async def pulse(self, *, timeout_s: float) -> bool:
        """Whether the engine answers `SELECT 1` in time; one question at a time."""
        if self._pulse is None or self._pulse.done():
            self._pulse = asyncio.ensure_future(self.control("SELECT 1"))
        try:
            return await asyncio.wait_for(asyncio.shield(self._pulse), timeout_s) == b"1\n"
        except TimeoutError:
            return False

    def guard(self, access: Access, text: str) -> Access:
        """The stricter access for a reader's text with any word of a way out, even a quoted one."""
        risky = access is Access.READER and self._risky.search(text) is not None
        return Access.STRICT if risky else access

    async def kill(self, mark: str) -> None:
        """Stop the query that carries the mark as its `log_comment`."""
        await self.control(
            f"KILL QUERY WHERE Settings['log_comment'] = {quoted(mark)}"
            " AND query NOT LIKE 'KILL QUERY%' ASYNC"
        )

    @contextlib.asynccontextmanager
    async def borrow(self, want: Want) -> AsyncGenerator[Link]:
        """A connection in the wanted state for one request without a session."""
        check(want.settings)
        link = await self._ready(want)
        try:
            yield link
        except asyncio.CancelledError:
            link.spoilt = True
            raise
        finally:
            self._give_back(want.access, link)

    @contextlib.asynccontextmanager
    async def resume(
        self, name: tuple[str, str], want: Want, *, timeout_s: float, known: bool
    ) -> AsyncGenerator[Link]:
        """The named session's connection, one request at a time; `known` refuses a new one."""
        check(want.settings)
        # A client may send its next request before our last one has let go.
        try:
            async with asyncio.timeout(SESSION_WAIT_S_MAX):
                session = await self._locked(name, known=known)
        except TimeoutError:
            raise failure(
                SESSION_IS_LOCKED, f"Session `{name[1]}` is locked by a concurrent client"
            ) from None
        session.timeout_s = min(timeout_s, SESSION_S_MAX)
        try:
            await self.work(session.link, lambda: session.link.be(want))
            yield session.link
        finally:
            session.used_s = time.monotonic()
            session.lock.release()
            if session.link.spoilt and self._sessions.get(name) is session:
                del self._sessions[name]
                self._discard(session.link)

    async def _locked(self, name: tuple[str, str], *, known: bool) -> Session:
        session = self._session(name, known=known)
        await session.lock.acquire()
        while self._sessions.get(name) is not session:  # spoilt by the request before
            session.lock.release()
            session = self._session(name, known=known)
            await session.lock.acquire()
        return session

    def _session(self, name: tuple[str, str], *, known: bool) -> Session:
        self._expire()
        session = self._sessions.get(name)
        if session is not None:
            return session
        if known:
            raise failure(SESSION_NOT_FOUND, f"Session `{name[1]}` not found")
        if len(self._sessions) >= SESSIONS_MAX:
            raise failure(
                TOO_MANY_QUERIES, f"{SESSIONS_MAX} sessions are open; close some or send none"
            )
        session = Session(Link(self._dsn), time.monotonic())
        session.link.be(Want(Access.FULL, "default", {}, {}))
        self._sessions[name] = session
        return session

    def _expire(self) -> None:
        now = time.monotonic()
        for name, session in list(self._sessions.items()):
            if not session.lock.locked() and now - session.used_s > session.timeout_s:
                del self._sessions[name]
                self._discard(session.link)

    async def _ready(self, want: Want) -> Link:
        link = await asyncio.get_running_loop().run_in_executor(
            self._workers, self._take, want.access
        )
        try:
            await self.work(link, lambda: self._become(link, want))
        except BaseException:
            self._discard(link)
            raise
        return link

    def _take(self, access: Access) -> Link:
        with self._idle_lock:
            if self._idle[access]:
                return self._idle[access].pop()
        link = Link(self._dsn)
        if access is Access.GET:
            link.run("SET readonly = 2")
        return link

    def _become(self, link: Link, want: Want) -> None:
        if want.access not in READERS:
            link.be(want)
            return
        limits = {"max_execution_time": str(READER_QUERY_S_MAX)}
        # The last SET such a connection takes. 1 forbids url(), remote() and the like, but also the
        # statement's own settings, and shows clients every setting as fixed.
        last = {"readonly": "1" if want.access is Access.STRICT else "2"}
        link.run("SET profile = 'reader'")
        link.be(Want(want.access, want.database, {**limits, **want.settings, **last}, {}))

    def _give_back(self, access: Access, link: Link) -> None:
        with self._idle_lock:
            if not link.spoilt and len(self._idle[access]) < IDLE_MAX:
                self._idle[access].append(link)
                return
        self._discard(link)

    def _discard(self, link: Link) -> None:
        # Behind whatever still runs on it.
        with contextlib.suppress(RuntimeError):  # the threads are gone: so is the engine
            self._workers.submit(link.close)


def check(settings: Mapping[str, str]) -> None:
    """Names only: a setting's name is written into a statement."""
    for name in settings:
        if SETTING.fullmatch(name) is None:
            raise failure(UNKNOWN_SETTING, f"Unknown setting `{name}`")


def allow(access: Access, verb: str) -> None:
    """Refuse what `readonly` would let through: KILL, temporary tables, a GET in a session."""
    if access is not Access.FULL and verb not in ROWS_VERBS | STATE_VERBS:
        raise failure(READONLY, "Cannot execute query in readonly mode; ask an administrator")
