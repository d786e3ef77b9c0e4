"""States, watermarks, API keys in PostgreSQL: asynchronous for the edge, blocking for workers."""

import contextlib
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from helix.adapters import statements, trust
from helix.domain.conversations import Conversation, Snapshot, Stats
from helix.domain.positions import Position, Range
from helix.errors import ConflictError, InvalidError, UnavailableError
from helix.events import ContextCompressed, Message
from helix.ports import Applied, CompressionFigures, Credential, Found, Receipt, Standing
from helix.settings import Postgres

SERVICE = "postgres"
STATES_PIPELINE = "conversation-states"
EVENTS_PIPELINE = "conversation-events"
TOPIC = "helixagent.conversations"
CONNECT_S_MAX = 5
WAIT_S_MAX = 5.0
NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")

Connection = psycopg.Connection[DictRow]

queries = statements.load(SERVICE)
_stats = msgspec.json.Decoder(Stats)
_context = msgspec.json.Decoder(tuple[Message, ...])


def conninfo(settings: Postgres) -> str:
    """The connection's parameters as libpq writes them."""
    return make_conninfo(
        **trust.libpq(settings.ca),
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password.reveal(),
        dbname=settings.database,
        connect_timeout=CONNECT_S_MAX,
        application_name="helix",
    )


@contextlib.contextmanager
def reporting() -> Generator[None]:
    """A server that is away becomes `UnavailableError`, values it never takes `InvalidError`."""
    try:
        yield
    except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
        raise InvalidError(f"`{SERVICE}` refuses a value: {trust.first(error)}") from error
    except (psycopg.Error, PoolTimeout) as error:
        raise UnavailableError(
            SERVICE, f"`{SERVICE}` is unavailable: {trust.told(error)}"
        ) from error


class Edge:
    """A pool of connections and one statement at a time on them."""

    def __init__(self, settings: Postgres) -> None:
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] = AsyncConnectionPool(
            conninfo(settings),
            min_size=1,
            max_size=settings.connections_max,
            timeout=WAIT_S_MAX,
            open=False,
            kwargs={"row_factory": dict_row, "autocommit": True},
        )

    async def open(self) -> None:
        """Start connecting; a server that is away is met again at the first statement."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Give the connections back."""
        await self._pool.close()

    async def row(self, statement: str, **values: object) -> DictRow | None:
        """The first row of the statement's answer."""
        with reporting():
            async with self._pool.connection() as connection:
                return await (await connection.execute(statement.encode(), values)).fetchone()

    async def rows(self, statement: str, **values: object) -> list[DictRow]:
        """Every row of the statement's answer."""
        with reporting():
            async with self._pool.connection() as connection:
                return await (await connection.execute(statement.encode(), values)).fetchall()

    async def ping(self) -> str:
        """What the server answered; `UnavailableError` when it did not."""
        row = await self.row("SELECT version() AS version")
        return f"SELECT version() answered {row['version'].split(' on ')[0] if row else 'nothing'}"


class States:
    """One row a conversation."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def get(self, tenant: str, conversation_id: str) -> Conversation | None:
        """The conversation's state, None where there is none."""
        row = await self._edge.row(
            queries.conversation_get, tenant=tenant, conversation_id=conversation_id
        )
        return None if row is None else msgspec.convert(row, Conversation)

    async def standing(
        self, topic: str, partition: int, tenant: str, conversation_id: str
    ) -> Standing:
        """The row, and the positions up to which the rows and the warm copy are complete."""
        row = await self._edge.row(
            queries.conversation_standing,
            topic=topic,
            partition=partition,
            tenant=tenant,
            conversation_id=conversation_id,
            states=STATES_PIPELINE,
            events=EVENTS_PIPELINE,
        )
        found: dict[str, Any] = dict(row or {})
        return Standing(
            state=msgspec.convert(found, Conversation) if found.get("conversation_id") else None,
            states_next=_position(found, "states"),
            events_next=_position(found, "events"),
        )

    async def listed(self, tenant: str, *, user_id: str = "", text: str = "", rows: slice) -> Found:
        """A tenant's conversations, the latest active first: of that user, with that in the title.

        `rows` are the wanted rows of the list; empty `user_id` or `text` asks for all.
        """
        start = rows.start or 0
        found = await self._edge.rows(
            queries.conversations_listed,
            tenant=tenant,
            user_id=user_id,
            text=text,
            start=start,
            count=None if rows.stop is None else max(0, rows.stop - start),
        )
        states = [row for row in found if row["conversation_id"] is not None]
        return Found(found[0]["total"], msgspec.convert(states, list[Conversation]))

    async def snapshot(self, tenant: str, conversation_id: str) -> Snapshot | None:
        """The latest snapshot of the conversation, None before the first."""
        row = await self._edge.row(
            queries.snapshot_get, tenant=tenant, conversation_id=conversation_id
        )
        return None if row is None else _snapshot(row)

    async def compressions(
        self, tenant: str, conversation_id: str, *, limit: int
    ) -> list[ContextCompressed]:
        """The latest compressions of the conversation, newest first."""
        rows = await self._edge.rows(
            queries.compressions_latest,
            tenant=tenant,
            conversation_id=conversation_id,
            limit=limit,
        )
        return msgspec.convert(rows, list[ContextCompressed])

    async def compression_figures(self, tenant: str) -> list[CompressionFigures]:
        """Every strategy that was used, with its averages."""
        rows = await self._edge.rows(queries.compression_figures, tenant=tenant)
        return [CompressionFigures(**row) for row in rows]

    async def applied(self, tenant: str, event_ids: Sequence[str]) -> dict[str, Applied]:
        """Those of the events that were applied already, by event id."""
        rows = await self._edge.rows(
            queries.applied_find, pipeline=STATES_PIPELINE, tenant=tenant, ids=list(event_ids)
        )
        return {
            row["event_id"]: Applied(
                Receipt(row["event_id"], TOPIC, row["partition"], row["offset"]),
                row["request"],
            )
            for row in rows
        }

    async def ping(self) -> str:
        """What the server answered; `UnavailableError` when it did not."""
        return await self._edge.ping()


def _position(row: dict[str, Any], store: str) -> Position | None:
    """The position in a row's `<store>_epoch` and `<store>_next`."""
    if row.get(f"{store}_epoch") is None:
        return None
    return Position(row[f"{store}_epoch"], row["asked_partition"], row[f"{store}_next"])


def _snapshot(row: DictRow) -> Snapshot:
    return Snapshot(
        tenant=row["tenant"],
        conversation_id=row["conversation_id"],
        upto=Position(row["epoch"], row["partition"], row["upto"]),
        event_count=row["event_count"],
        active_at=row["active_at"],
        stats=_stats.decode(row["stats"]),
        context=_context.decode(row["context"]),
        made_at=row["made_at"],
    )


class Marks:
    """How far pipelines are."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def get(self, pipeline: str, topic: str, partition: int) -> Position | None:
        """The position up to which the pipeline is complete; None before its first claim."""
        row = await self._edge.row(
            queries.watermark_current, pipeline=pipeline, topic=topic, partition=partition
        )
        return None if row is None else Position(row["epoch"], row["partition"], row["next"])


class ApiKeys:
    """API keys, known by their hashes."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def find(self, digest: str) -> Credential | None:
        """Who holds the key with that SHA-256, None where it is unknown or revoked."""
        row = await self._edge.row(queries.api_key_find, digest=digest)
        if row is None:
            return None
        return Credential(row["key_id"], row["tenant"], frozenset(row["scopes"]))


class Naming(msgspec.Struct, frozen=True):
    """An event that its client named, where the log has it."""

    tenant: str
    event_id: str
    epoch: str
    partition: int
    offset: int
    request: str


Names = dict[tuple[str, str], Position]


class Owned(msgspec.Struct, frozen=True):
    """A range and the generation of the claim under which it is saved."""

    span: Range
    generation: int


class Claim(msgspec.Struct, frozen=True):
    """A partition taken over: where it stands, and the range whose insert is in doubt."""

    partition: int
    next: int
    generation: int
    pending: Range | None = None


class Session:
    """One blocking connection of a worker, made again after a failure."""

    def __init__(self, settings: Postgres) -> None:
        self._conninfo = conninfo(settings)
        self._connection: Connection | None = None

    @contextlib.contextmanager
    def transaction(self) -> Generator[Connection]:
        """All or nothing; `UnavailableError` where the server is away, and nothing happened."""
        try:
            with reporting():
                connection = self._open()
                # Statements wait for each other only where an answer is fetched.
                with connection.pipeline(), connection.transaction():
                    yield connection
        except UnavailableError:
            self.close()
            raise

    def _open(self) -> psycopg.Connection[DictRow]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.Connection[DictRow].connect(
                self._conninfo, row_factory=dict_row, autocommit=True
            )
        return self._connection

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Watermarks:
    """Where a pipeline stands, guarded: only the latest owner of a partition can move it."""

    def __init__(self, session: Session, pipeline: str) -> None:
        self._session = session
        self._pipeline = pipeline

    def claim(self, topic: str, epoch: str, partitions: Sequence[int]) -> list[Claim]:
        """Take the partitions over from whoever had them."""
        place = {"pipeline": self._pipeline, "topic": topic, "epoch": epoch}
        values = place | {"partitions": list(partitions)}
        with self._session.transaction() as connection:
            rows = connection.execute(queries.watermarks_claim.encode(), values).fetchall()
            doubtful = connection.execute(queries.pending_of.encode(), values).fetchall()
        pending = {row["partition"]: msgspec.convert(row, Range) for row in doubtful}
        return [
            Claim(row["partition"], row["next"], row["generation"], pending.get(row["partition"]))
            for row in rows
        ]

    def advance(self, connection: Connection, ranges: Sequence[Owned]) -> None:
        """Move past the ranges; `ConflictError` where somebody else owns one: stop and rejoin."""
        self._fenced(connection, queries.watermarks_advance, ranges)

    def begin(self, ranges: Sequence[Owned], names: Sequence[Naming] = ()) -> Names:
        """Note the ranges that are about to be inserted elsewhere; their names as `firsts` does.

        `ConflictError` as above.
        """
        with self._session.transaction() as connection:
            self._fenced(connection, queries.pending_record, ranges)
            return self.firsts(connection, names)

    def firsts(self, connection: Connection, names: Sequence[Naming]) -> Names:
        """Where named events were applied before; those that are not in it are first here."""
        if not names:
            return {}
        values = self._naming(names)
        noted = connection.execute(queries.applied_record.encode(), values).fetchone()
        if noted is not None and noted["count"] == len(names):
            return {}
        # A statement of its own: it sees what another worker noted while ours waited for it.
        rows = connection.execute(queries.applied_firsts.encode(), values).fetchall()
        return {
            (row["tenant"], row["event_id"]): Position(
                row["epoch"], row["partition"], row["offset"]
            )
            for row in rows
        }

    def withdraw(self, names: Sequence[Naming]) -> None:
        """Forget that the named events were applied where they are now: they were not."""
        with self._session.transaction() as connection:
            connection.execute(queries.applied_withdraw.encode(), self._naming(names))

    def finish(self, ranges: Sequence[Owned]) -> None:
        """Note that the ranges are inserted, and move past them; `ConflictError` as above."""
        with self._session.transaction() as connection:
            self._fenced(connection, queries.watermarks_advance, ranges)
            connection.execute(queries.pending_clear.encode(), self._values(ranges))

    def _fenced(self, connection: Connection, statement: str, ranges: Sequence[Owned]) -> None:
        touched = len(connection.execute(statement.encode(), self._values(ranges)).fetchall())
        if touched != len(ranges):
            raise ConflictError(
                f"`{self._pipeline}` lost {len(ranges) - touched} of {len(ranges)} partitions "
                "to another worker: join the group again"
            )

    def _values(self, ranges: Sequence[Owned]) -> Mapping[str, str]:
        rows = [msgspec.structs.asdict(r.span) | {"generation": r.generation} for r in ranges]
        return {"pipeline": self._pipeline, "ranges": msgspec.json.encode(rows).decode()}

    def _naming(self, names: Sequence[Naming]) -> Mapping[str, str]:
        return {"pipeline": self._pipeline, "names": _json(names)}


def load_conversations(
    connection: Connection, ids: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Conversation]:
    """The states of those (tenant, conversation) pairs that have one."""
    wanted = list(ids)
    values = {"tenants": [tenant for tenant, _ in wanted], "ids": [name for _, name in wanted]}
    rows = connection.execute(queries.conversations_load.encode(), values).fetchall()
    states = [msgspec.convert(row, Conversation) for row in rows]
    return {(state.tenant, state.conversation_id): state for state in states}


def save_conversations(connection: Connection, states: Iterable[Conversation]) -> None:
    """Write the states, inside the caller's transaction."""
    connection.execute(queries.conversations_save.encode(), {"states": _json(list(states))})


class Due(msgspec.Struct, frozen=True):
    """A conversation whose snapshot is behind, and how far the warm copy can bring it."""

    tenant: str
    conversation_id: str
    last_at: int
    event_count: int
    epoch: str
    partition: int
    next: int
    whole: bool  # whether the warm copy has all that was folded


class Snapshots:
    """The snapshots of conversations, as the worker that takes them needs them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def due(self, *, idle_since: int, limit: int) -> list[Due]:
        """Conversations quiet since then, or grown much, whose snapshot is behind."""
        values = {
            "idle_since": idle_since,
            "limit": limit,
            "pipeline": EVENTS_PIPELINE,
            "topic": TOPIC,
        }
        with self._session.transaction() as connection:
            rows = connection.execute(queries.snapshots_due.encode(), values).fetchall()
        return msgspec.convert(rows, list[Due])

    def get(self, tenant: str, conversation_id: str) -> Snapshot | None:
        """The latest snapshot of the conversation, None before the first."""
        values = {"tenant": tenant, "conversation_id": conversation_id}
        with self._session.transaction() as connection:
            row = connection.execute(queries.snapshot_get.encode(), values).fetchone()
        return None if row is None else _snapshot(row)

    def save(self, snapshot: Snapshot) -> None:
        """Keep the snapshot, unless the one there reaches further."""
        values = msgspec.structs.asdict(snapshot) | {
            "epoch": snapshot.upto.epoch,
            "partition": snapshot.upto.partition,
            "upto": snapshot.upto.offset,
            "stats": msgspec.json.encode(snapshot.stats),
            "context": msgspec.json.encode(snapshot.context),
        }
        with self._session.transaction() as connection:
            connection.execute(queries.snapshot_save.encode(), values)
            connection.execute(queries.snapshot_passed.encode(), values)

    def passed(self, due: Due) -> None:
        """Do not come back to the conversation before it goes on."""
        values = msgspec.structs.asdict(due) | {"active_at": due.last_at}
        with self._session.transaction() as connection:
            connection.execute(queries.snapshot_passed.encode(), values)

    def forget_names(self, *, days: int, limit: int) -> None:
        """Drop some of the events' names that were noted so long ago that nobody retries them."""
        with self._session.transaction() as connection:
            connection.execute(queries.applied_forget.encode(), {"days": days, "limit": limit})


def save_compressions(connection: Connection, events: Iterable[ContextCompressed]) -> None:
    """Write what was measured, inside the caller's transaction."""
    rows = [msgspec.structs.asdict(event) for event in events]
    connection.execute(queries.compressions_save.encode(), {"events": _json(rows)})


def _json(rows: object) -> str:
    """JSON that PostgreSQL takes: it stores no NUL; the replacement says that one was there."""
    return NUL.sub(rb"\1\\ufffd", msgspec.json.encode(rows)).decode()


def migrate(session: Session) -> list[str]:
    """The names of the migrations that ran now, each in one transaction with its record."""
    with session.transaction() as connection:
        connection.execute(queries.migrations_lock.encode())
        connection.execute(queries.migrations_create.encode())
        rows = connection.execute(queries.migrations_applied.encode()).fetchall()
        applied: dict[int, str] = {row["version"]: row["digest"] for row in rows}
        wanted = statements.migrations(SERVICE)
        return statements.carry_out(
            statements.outstanding(wanted, applied, store=SERVICE),
            lambda text: connection.execute(text.encode()),
            record=lambda row: connection.execute(queries.migration_record.encode(), row),
        )


def put_api_key(session: Session, credential: Credential, digest: str) -> bool:
    """Make the key with that SHA-256 known; whether that changed anything."""
    values = {
        "tenant": credential.tenant,
        "key_id": credential.key_id,
        "digest": digest,
        "scopes": sorted(credential.scopes),
    }
    with session.transaction() as connection:
        return connection.execute(queries.api_key_put.encode(), values).rowcount > 0


class KeyRow(msgspec.Struct, frozen=True):
    """A key as it is known here: everything but itself."""

    tenant: str
    key_id: str
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None


def api_keys(session: Session, tenant: str = "") -> list[KeyRow]:
    """The tenant's keys, the newest first; everybody's where none is named."""
    with session.transaction() as connection:
        rows = connection.execute(queries.api_keys_of.encode(), {"tenant": tenant}).fetchall()
    return [msgspec.convert(row, KeyRow) for row in rows]


def revoke_api_key(session: Session, tenant: str, key_id: str) -> bool:
    """End a key; whether there was one to end."""
    values = {"tenant": tenant, "key_id": key_id}
    with session.transaction() as connection:
        return connection.execute(queries.api_key_revoke.encode(), values).rowcount > 0
