"""Conversations: their states into PostgreSQL, their events into ClickHouse."""

from collections.abc import Callable, Sequence

import msgspec

from helix.adapters import clickhouse, postgres
from helix.adapters.postgres import Claim
from helix.domain.conversations import Conversation
from helix.domain.positions import Stored
from helix.errors import InvalidError
from helix.events import ConversationEvent
from helix.settings import Settings
from runtime.sinks import Record, Slice

Fold = Callable[[Conversation | None, Stored], Conversation]
ToRow = Callable[[Record], bytes]
TABLE = "conversation_events"


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row of the warm copy: the columns a replay filters by, and the event as it came."""

    tenant: str
    conversation_id: str
    epoch: str
    partition: int
    offset: int
    event_id: str
    type: str
    ingested_us: int
    value: str


_encoder = msgspec.json.Encoder()


def to_row(record: Record) -> bytes:
    """The record as a line of JSON for ClickHouse."""
    event, position = record.stored.event, record.stored.position
    row = Row(
        tenant=event.tenant,
        conversation_id=_conversation(record)[1],
        epoch=position.epoch,
        partition=position.partition,
        offset=position.offset,
        event_id=event.event_id,
        type=str(event.__struct_config__.tag),
        ingested_us=event.ingested_at,
        value=record.value.decode(errors="replace"),  # only fields we do not read can be bad
    )
    return _encoder.encode(row)


class StateSink:
    """Loads the states of a batch, folds, saves: two round trips, whatever the batch's size."""

    def __init__(self, settings: Settings, pipeline: str, fold: Fold) -> None:
        self._session = postgres.Session(settings.postgres)
        self._marks = postgres.Watermarks(self._session, pipeline)
        self._fold = fold

    def claim(self, topic: str, epoch: str, partitions: Sequence[int]) -> list[Claim]:
        return self._marks.claim(topic, epoch, partitions)

    def save(self, slices: Sequence[Slice]) -> None:
        records = [record for part in slices for record in part.records]
        touched = {_conversation(record) for record in records}
        # Loaded outside the transaction: who else writes them also moves the watermark we check.
        states: dict[tuple[str, str], Conversation] = dict(
            postgres.load_conversations(self._session, touched)
        )
        for record in records:
            key = _conversation(record)
            states[key] = self._fold(states.get(key), record.stored)
        with self._session.transaction() as connection:
            self._marks.advance(connection, [part.owned for part in slices])
            postgres.save_conversations(connection, states.values())

    def close(self) -> None:
        self._session.close()


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
        self._marks.begin(ranges)
        for part in slices:
            if part.records:
                self._engine.insert(
                    TABLE,
                    clickhouse.EVENTS_COLUMNS,
                    b"\n".join(map(self._row, part.records)),
                    token=part.owned.span.token,
                )
        self._marks.finish(ranges)

    def close(self) -> None:
        self._session.close()
        self._engine.close()


def _conversation(record: Record) -> tuple[str, str]:
    event = record.stored.event
    if not isinstance(event, ConversationEvent):
        raise InvalidError(f"`{type(event).__name__}` belongs to no conversation: bury it")
    return event.tenant, event.conversation_id
