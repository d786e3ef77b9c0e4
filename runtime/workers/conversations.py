"""Conversations: their states into PostgreSQL, their events into ClickHouse."""

import functools
from collections.abc import Callable, Iterable, Sequence

import msgspec
import psycopg

from helix.adapters import clickhouse, postgres
from helix.adapters.postgres import Claim, Connection, Names, Naming
from helix.domain.conversations import Conversation, named
from helix.domain.positions import Stored
from helix.errors import InvalidError
from helix.events import ContextCompressed, ConversationEvent
from helix.settings import Settings
from runtime.sinks import Record, Refused, Slice, bisected

Fold = Callable[[Conversation | None, Stored], Conversation]
ToRow = Callable[[Record], bytes]
TABLE = "conversation_events"


_encoder = msgspec.msgpack.Encoder()


def to_row(record: Record) -> bytes:
    """The columns a replay filters by, and the event as it came: MessagePack for ClickHouse."""
    event, position = record.stored.event, record.stored.position
    row = (
        *_conversation(record),
        position.epoch,
        position.partition,
        position.offset,
        event.event_id,
        event.__struct_config__.tag,
        event.ingested_at,
        record.value.decode(errors="replace"),  # only fields we do not read can be bad
    )
    return _encoder.encode(row)[1:]  # without the byte that says nine values: a row has no head


class StateSink:
    """Loads the states of a batch, folds, saves: three round trips, whatever the batch's size."""

    def __init__(self, settings: Settings, pipeline: str, fold: Fold) -> None:
        self._session = postgres.Session(settings.postgres)
        self._marks = postgres.Watermarks(self._session, pipeline)
        self._fold = fold

    def claim(self, topic: str, epoch: str, partitions: Sequence[int]) -> list[Claim]:
        return self._marks.claim(topic, epoch, partitions)

    def save(self, slices: Sequence[Slice]) -> None:
        with self._session.transaction() as connection:
            self._marks.advance(connection, [part.owned for part in slices])
            self._apply(connection, [record for part in slices for record in part.records])

    def refused(self, records: Sequence[Record]) -> list[Refused]:
        return bisected(records, self._tried)

    def close(self) -> None:
        self._session.close()

    def _tried(self, records: Sequence[Record]) -> None:
        with self._session.transaction() as connection:
            self._apply(connection, records)
            raise psycopg.Rollback

    def _apply(self, connection: Connection, given: Sequence[Record]) -> None:
        """Fold what was not applied before, inside the caller's transaction."""
        firsts = self._marks.firsts(connection, namings(given))
        records = applied(given, firsts)
        if not records:
            return
        states: dict[tuple[str, str], Conversation] = dict(
            postgres.load_conversations(connection, {_conversation(record) for record in records})
        )
        for record in records:
            key = _conversation(record)
            states[key] = self._fold(states.get(key), record.stored)
        postgres.save_conversations(connection, states.values())
        events = [record.stored.event for record in records]
        compressed = [event for event in events if isinstance(event, ContextCompressed)]
        if compressed:
            postgres.save_compressions(connection, compressed)


class EventSink:
    """Inserts each range once: noted as pending, inserted under its token, then passed."""

    def __init__(self, settings: Settings, pipeline: str, row: ToRow) -> None:
        self._session = postgres.Session(settings.postgres)
        self._marks = postgres.Watermarks(self._session, pipeline)
        self._engine = clickhouse.Engine(settings.clickhouse)
        self._row = row

    def claim(self, topic: str, epoch: str, partitions: Sequence[int]) -> list[Claim]:
        return self._marks.claim(topic, epoch, partitions)

    def save(self, slices: Sequence[Slice]) -> None:
        ranges = [part.owned for part in slices]
        names = [name for part in slices for name in namings(part.records)]
        firsts = self._marks.begin(ranges, names)
        for at, part in enumerate(slices):
            records = applied(part.records, firsts)
            try:
                self._insert(TABLE, records, token=part.owned.span.token)
            except InvalidError:
                # Nothing of this range was inserted: its names are recorded again with what is
                # left of it, and free for the record that is buried, should it come back.
                self._marks.withdraw(
                    [name for late in slices[at:] for name in namings(late.records)]
                )
                raise
        self._marks.finish(ranges)

    def refused(self, records: Sequence[Record]) -> list[Refused]:
        return bisected(records, functools.partial(self._insert, clickhouse.NOWHERE, token=""))

    def close(self) -> None:
        self._session.close()
        self._engine.close()

    def _insert(self, table: str, records: Sequence[Record], *, token: str) -> None:
        if records:
            rows = b"".join(map(self._row, records))
            self._engine.insert(table, clickhouse.EVENTS_COLUMNS, rows, token=token)


def namings(records: Iterable[Record]) -> list[Naming]:
    """The events that their clients named, each where it is."""
    return [_naming(record.stored) for record in records if named(record.stored.event)]


def _naming(stored: Stored) -> Naming:
    place, event = stored.position, stored.event
    return Naming(
        tenant=event.tenant,
        event_id=event.event_id,
        epoch=place.epoch,
        partition=place.partition,
        offset=place.offset,
        request=event.request,
    )


def applied(records: Sequence[Record], firsts: Names) -> Sequence[Record]:
    """Those that are applied where they are: without any known place, all of them."""
    return [record for record in records if is_first(record, firsts)] if firsts else records


def is_first(record: Record, firsts: Names) -> bool:
    """Whether the event is applied at this position: where it was first, if it may come again.

    `firsts` has those that were somewhere else, at least.
    """
    event, position = record.stored.event, record.stored.position
    return not named(event) or firsts.get((event.tenant, event.event_id), position) == position


def _conversation(record: Record) -> tuple[str, str]:
    event = record.stored.event
    if not isinstance(event, ConversationEvent):
        raise InvalidError(f"`{type(event).__name__}` belongs to no conversation: bury it")
    return event.tenant, event.conversation_id
