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

from helix.adapters import statements
from helix.adapters.postgres import Marks
from helix.domain.positions import Position, Stored
from helix.errors import UnavailableError
from helix.events import decode
from helix.settings import Clickhouse

SERVICE = "clickhouse"
CONNECT_S_MAX = 5
ANSWER_S_MAX = 30
EVENTS_PIPELINE = "conversation-events"
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
    """A server that is away or refuses becomes `UnavailableError`."""
    try:
        yield
    except (ClickHouseError, urllib3.exceptions.HTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise UnavailableError(SERVICE, f"`{SERVICE}` is unavailable: {reason}") from error


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
                self._client = self._connect(self._settings.database)
            return self._client

    def _connect(self, database: str) -> Client:
        return clickhouse_connect.get_client(
            host=self._settings.host,
            port=self._settings.port,
            username=self._settings.user,
            password=self._settings.password.reveal(),
            database=database,
            connect_timeout=CONNECT_S_MAX,
            send_receive_timeout=ANSWER_S_MAX,
            autogenerate_session_id=False,  # a session allows one statement at a time
        )

    def rows(self, statement: str, **values: object) -> Sequence[Sequence[Any]]:
        """The statement's answer."""
        client = self.client()
        with reporting():
            return client.query(statement, parameters=values).result_rows

    def run(self, statement: str, **values: object) -> None:
        """A statement without an answer."""
        client = self.client()
        with reporting():
            client.command(statement, parameters=values)

    def insert(self, table: str, columns: Sequence[str], rows: bytes, *, token: str) -> None:
        """Insert lines of JSON; under a token that was inserted before, nothing happens."""
        client = self.client()
        settings = {
            "insert_deduplication_token": token,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
        }
        with reporting():
            client.raw_insert(
                table, column_names=columns, insert_block=rows, settings=settings, fmt="JSONEachRow"
            )

    def create_database(self) -> None:
        """The platform's database, before the first client that needs it."""
        with reporting(), contextlib.closing(self._connect("default")) as client:
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

    async def events(self, tenant: str, conversation_id: str, *, before: Position) -> list[Stored]:
        """Every event of the conversation below that position, in order, once each."""
        rows = await asyncio.to_thread(
            self._engine.rows,
            queries.conversation_events_before,
            tenant=tenant,
            conversation_id=conversation_id,
            epoch=before.epoch,
            offset=before.offset,
        )
        return in_order([_stored(row) for row in rows])

    async def ping(self) -> str:
        """What the server answered; `UnavailableError` when it did not."""
        rows = await asyncio.to_thread(self._engine.rows, "SELECT version()")
        return f"SELECT version() answered {rows[0][0]}"


def in_order(events: list[Stored]) -> list[Stored]:
    """Events of one conversation: incarnations of the topic by age, in each by offset."""
    began: dict[str, int] = {}
    for stored in events:
        at = stored.event.ingested_at
        began[stored.position.epoch] = min(at, began.get(stored.position.epoch, at))
    if len(began) > 1:
        events.sort(key=lambda s: (began[s.position.epoch], s.position.epoch, s.position.offset))
    return events


def _stored(row: Sequence[Any]) -> Stored:
    epoch, partition, offset, value = row
    return Stored(position=Position(epoch, partition, offset), event=decode(value.encode()))


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
