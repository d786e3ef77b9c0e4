"""States, watermarks, API keys in PostgreSQL: asynchronous for the edge, blocking for workers."""

import contextlib
import re
from collections.abc import Generator, Iterable, Mapping, Sequence

import msgspec
import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from helix.adapters import statements
from helix.domain.conversations import Conversation
from helix.domain.positions import Position, Range
from helix.errors import ConflictError, UnavailableError
from helix.ports import Credential
from helix.settings import Postgres

SERVICE = "postgres"
CONNECT_S_MAX = 5
WAIT_S_MAX = 5.0
NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")

queries = statements.load(SERVICE)


def conninfo(settings: Postgres) -> str:
    """The connection's parameters as libpq writes them."""
    return make_conninfo(
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
    """A server that is away or refuses becomes `UnavailableError`."""
    try:
        yield
    except (psycopg.Error, PoolTimeout) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnavailableError(SERVICE, f"`{SERVICE}` is unavailable: {reason}") from error


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

    async def ping(self) -> str:
        """What the server answered; `UnavailableError` when it did not."""
        return await self._edge.ping()


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
        self._connection: psycopg.Connection[DictRow] | None = None

    @contextlib.contextmanager
    def transaction(self) -> Generator[psycopg.Connection[DictRow]]:
        """All or nothing; `UnavailableError` where the server is away, and nothing happened."""
        try:
            with reporting():
                connection = self._open()
                with connection.transaction():
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

    def advance(self, connection: psycopg.Connection[DictRow], ranges: Sequence[Owned]) -> None:
        """Move past the ranges; `ConflictError` where somebody else owns one: stop and rejoin."""
        self._fenced(connection, queries.watermarks_advance, ranges)

    def begin(self, ranges: Sequence[Owned]) -> None:
        """Note the ranges that are about to be inserted elsewhere; `ConflictError` as above."""
        with self._session.transaction() as connection:
            self._fenced(connection, queries.pending_record, ranges)

    def finish(self, ranges: Sequence[Owned]) -> None:
        """Note that the ranges are inserted, and move past them; `ConflictError` as above."""
        with self._session.transaction() as connection:
            self._fenced(connection, queries.watermarks_advance, ranges)
            connection.execute(queries.pending_clear.encode(), self._values(ranges))

    def _fenced(
        self, connection: psycopg.Connection[DictRow], statement: str, ranges: Sequence[Owned]
    ) -> None:
        touched = connection.execute(statement.encode(), self._values(ranges)).rowcount
        if touched != len(ranges):
            raise ConflictError(
                f"`{self._pipeline}` lost {len(ranges) - touched} of {len(ranges)} partitions "
                "to another worker: join the group again"
            )

    def _values(self, ranges: Sequence[Owned]) -> Mapping[str, str]:
        rows = [msgspec.structs.asdict(r.span) | {"generation": r.generation} for r in ranges]
        return {"pipeline": self._pipeline, "ranges": msgspec.json.encode(rows).decode()}


def load_conversations(
    session: Session, ids: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Conversation]:
    """The states of those (tenant, conversation) pairs that have one."""
    wanted = list(ids)
    values = {"tenants": [tenant for tenant, _ in wanted], "ids": [name for _, name in wanted]}
    with session.transaction() as connection:
        rows = connection.execute(queries.conversations_load.encode(), values).fetchall()
    states = [msgspec.convert(row, Conversation) for row in rows]
    return {(state.tenant, state.conversation_id): state for state in states}


def save_conversations(
    connection: psycopg.Connection[DictRow], states: Iterable[Conversation]
) -> None:
    """Write the states, inside the caller's transaction."""
    # PostgreSQL stores no NUL character; the replacement character says that one was there.
    rows = NUL.sub(rb"\1\\ufffd", msgspec.json.encode(list(states)))
    connection.execute(queries.conversations_save.encode(), {"states": rows.decode()})


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
