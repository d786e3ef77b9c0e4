"""The warm copy of conversations in ClickHouse, through its HTTP interface."""

import asyncio
import contextlib
import threading
from collections.abc import Generator, Sequence
from typing import Any

import clickhouse_connect
import urllib3.exceptions
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from helix.adapters import statements, trust
from helix.adapters.postgres import EVENTS_PIPELINE, Marks
from helix.domain.positions import Position, Stored
from helix.errors import InvalidError, UnavailableError
from helix.events import decode
from helix.ports import Trend
from helix.settings import Clickhouse

SERVICE = "clickhouse"
CONNECT_S_MAX = 5
ANSWER_S_MAX = 30
# What is wrong with the rows themselves and stays wrong; anything else may pass.
DATA_ERRORS = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        69,  # ARGUMENT_OUT_OF_BOUND
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    }
)
# Rows of `conversation_events` sent here are read as its rows would be, and thrown away.
NOWHERE = (
    "FUNCTION null('tenant String, conversation_id String, epoch LowCardinality(String), "
    "`partition` UInt16, `offset` UInt64, event_id String, type LowCardinality(String), "
    "ingested_us Int64, value String')"
)
EVENTS_COLUMNS = (
    "tenant",
    "conversation_id",
    "epoch",
    "partition",
    "offset",
    "event_id",
    "type",
    "ingested_us",
    "value",
)

queries = statements.load(SERVICE)


@contextlib.contextmanager
def reporting() -> Generator[None]:
    """A server that is away becomes `UnavailableError`, rows it never takes `InvalidError`."""
    try:
        yield
    except (ClickHouseError, urllib3.exceptions.HTTPError, OSError) as error:
        if getattr(error, "code", None) in DATA_ERRORS:
            raise InvalidError(f"`{SERVICE}` refuses a row: {trust.first(error)}") from error
        raise UnavailableError(
            SERVICE, f"`{SERVICE}` is unavailable: {trust.told(error)}"
        ) from error


def connect(settings: Clickhouse, database: str) -> Client:
    """A client that was answered once; a server that is away raises what `reporting` reports."""
    return clickhouse_connect.get_client(
        host=settings.host,
        port=settings.port,
        username=settings.user,
        password=settings.password.reveal(),
        database=database,
        connect_timeout=CONNECT_S_MAX,
        send_receive_timeout=ANSWER_S_MAX,
        autogenerate_session_id=False,  # a session allows one statement at a time
        **trust.clickhouse(settings.ca),
    )


class Engine:
    """One client, made at the first use and safe among threads."""

    def __init__(self, settings: Clickhouse) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: Client | None = None

    def client(self) -> Client:
        """The client; `UnavailableError` when the server does not answer."""
        with self._lock, reporting():
            if self._client is None:
                self._client = connect(self._settings, self._settings.database)
            return self._client

    def rows(self, statement: str, **values: object) -> Sequence[Sequence[Any]]:
        """The statement's answer."""
        client = self.client()
        with reporting():
            return client.query(statement, parameters=values).result_rows

    def columns(self, statement: str, **values: object) -> Sequence[Sequence[Any]]:
        """The statement's answer column by column; a `value` as the bytes it is."""
        client = self.client()
        with reporting():
            return client.query(
                statement,
                parameters=values,
                column_formats={"value": "bytes"},
                column_oriented=True,
            ).result_columns

    def run(self, statement: str, **values: object) -> None:
        """A statement without an answer."""
        client = self.client()
        with reporting():
            client.command(statement, parameters=values)

    def insert(self, table: str, columns: Sequence[str], rows: bytes, *, token: str) -> None:
        """Insert rows of MessagePack; under a token that was inserted before, nothing happens.

        The engine reads them faster than JSON, in which an event would be escaped once more.
        """
        client = self.client()
        settings = {
            "insert_deduplication_token": token,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            "max_partitions_per_insert_block": 0,  # a batch may span as many months as it does
        }
        with reporting():
            client.raw_insert(
                table, column_names=columns, insert_block=rows, settings=settings, fmt="MsgPack"
            )

    def create_database(self) -> None:
        """The platform's database, before the first client that needs it."""
        with reporting(), contextlib.closing(connect(self._settings, "default")) as client:
            client.command(
                queries.database_create, parameters={"database": self._settings.database}
            )

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


class Events:
    """The warm copy of the conversations topic."""

    def __init__(self, engine: Engine, marks: Marks) -> None:
        self._engine = engine
        self._marks = marks

    async def watermark(self, topic: str, partition: int) -> Position | None:
        """The position up to which the warm copy is complete; None before the first record."""
        return await self._marks.get(EVENTS_PIPELINE, topic, partition)

    async def events(
        self, tenant: str, conversation_id: str, *, before: Position, first: Position | None = None
    ) -> list[Stored]:
        """Every event of the conversation from `first` up to and without `before`, in order.

        Without `first`, from the beginning, earlier incarnations of the topic included.
        """
        return await asyncio.to_thread(
            events_of, self._engine, tenant, conversation_id, before=before, first=first
        )

    async def event(self, tenant: str, event_id: str) -> Stored | None:
        """One event by its id, None where the warm copy has none of that id."""
        found = await asyncio.to_thread(
            _read, self._engine, queries.conversation_event_by_id, tenant=tenant, event_id=event_id
        )
        return found[0] if found else None

    async def trends(self, tenant: str, *, since: int, period_s: int) -> list[Trend]:
        """Periods of that length since then, oldest first; periods without events are left out."""
        rows = await asyncio.to_thread(
            self._engine.rows,
            queries.conversation_trends,
            tenant=tenant,
            since_s=since // 1_000_000 // period_s * period_s,
            period_s=period_s,
        )
        return [
            Trend(
                start=start_s * 1_000_000, conversations=several, messages=messages, tokens=tokens
            )
            for start_s, several, messages, tokens in rows
        ]

    async def ping(self) -> str:
        """What the server answered; `UnavailableError` when it did not."""
        rows = await asyncio.to_thread(self._engine.rows, "SELECT version()")
        return f"SELECT version() answered {rows[0][0]}"


def events_of(
    engine: Engine,
    tenant: str,
    conversation_id: str,
    *,
    before: Position,
    first: Position | None = None,
) -> list[Stored]:
    """What `Events.events` promises, for callers that wait."""
    whose = {"tenant": tenant, "conversation_id": conversation_id}
    end = {"epoch": before.epoch, "before": before.offset}
    if first is not None and first.epoch == before.epoch:
        statement = queries.conversation_events_between
        return _read(engine, statement, **whose, **end, first=first.offset)
    found = in_order(_read(engine, queries.conversation_events_before, **whose, **end))
    return found if first is None else since(found, first, current=before.epoch)


def in_order(events: list[Stored]) -> list[Stored]:
    """Events of one conversation: incarnations of the topic by age, in each by offset."""
    if len({stored.position.epoch for stored in events}) <= 1:
        return events
    began: dict[str, int] = {}
    for stored in events:
        at = stored.event.ingested_at
        began[stored.position.epoch] = min(at, began.get(stored.position.epoch, at))
    events.sort(key=lambda s: (began[s.position.epoch], s.position.epoch, s.position.offset))
    return events


def since(events: list[Stored], first: Position, *, current: str) -> list[Stored]:
    """Those of the ordered events at that position or later; `current` is the latest epoch."""
    same = [at for at, stored in enumerate(events) if stored.position.epoch == first.epoch]
    if not same:
        return [] if first.epoch == current else events
    later = (at for at in same if events[at].position.offset >= first.offset)
    return events[next(later, same[-1] + 1) :]


def _read(engine: Engine, statement: str, **values: object) -> list[Stored]:
    columns = engine.columns(statement, **values)
    return [
        Stored(Position(epoch, partition, offset), decode(value))
        for epoch, partition, offset, value in zip(*columns, strict=True)
    ]


def migrate(engine: Engine) -> list[str]:
    """The names of the migrations that ran now; every statement may be run again after a crash."""
    engine.create_database()
    engine.run(queries.migrations_create)
    applied = {
        int(version): str(digest) for version, digest in engine.rows(queries.migrations_applied)
    }
    wanted = statements.migrations(SERVICE)
    return statements.carry_out(
        statements.outstanding(wanted, applied, store=SERVICE),
        engine.run,
        record=lambda row: engine.run(queries.migration_record, **row),
    )
