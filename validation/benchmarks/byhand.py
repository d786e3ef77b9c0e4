"""What one would write without the platform, for the same guarantees: `json` and bare clients.

The comparison is with a careful user, not with a hasty one: every body is checked, every event has
its receipt, a malformed record stops nothing, a repeated one is left out, a range is inserted once
whatever happens. He knows his libraries: encoders are made once, settings are those of ours.
"""

import functools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from helix.adapters.clickhouse import EVENTS_COLUMNS
from helix.adapters.kafka import client_config
from helix.adapters.postgres import Naming, Owned, Watermarks
from helix.domain.ids import log_key
from helix.settings import Kafka
from validation.benchmarks import speech

ROLES = {"system", "user", "assistant", "tool"}
BODY_FIELDS = {"role", "content", "message_id", "name", "model", "tokens", "created_at", "metadata"}
EVENT_TYPES = {
    "conversation.created",
    "conversation.message.added",
    "conversation.message.edited",
    "conversation.message.deleted",
    "conversation.completed",
    "conversation.context.compressed",
}
CONTENT_CHARACTERS_MAX = 1024 * 1024
LABEL_CHARACTERS_MAX = 255
NAME_CHARACTERS_MAX = 200
BATCH_RECORDS_MAX = 10_000
BATCH_BYTES_MAX = 8 * 1024 * 1024
POLL_RECORDS_MAX = 1_000
POLL_S_MAX = 0.1
CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


# Into the log.


def check_body(body: Any) -> dict[str, Any]:
    """Return the body; `ValueError` where it is no message as a client may send it."""
    if not isinstance(body, dict) or not body.keys() <= BODY_FIELDS:
        raise ValueError("a message has other fields")
    if not isinstance(body.get("metadata", {}), dict):
        raise ValueError("`metadata` is an object")  # noqa: TRY004 - one error for a bad body
    content = body.get("content")
    if body.get("role") not in ROLES or not isinstance(content, str):
        raise ValueError("a message has a role and a content")
    if len(content) > CONTENT_CHARACTERS_MAX or "\0" in content:
        raise ValueError("the content is too long or holds a NUL")
    for name in ("message_id", "name", "model"):
        label = body.get(name) or ""
        if not isinstance(label, str) or len(label) > LABEL_CHARACTERS_MAX or CONTROL.search(label):
            raise ValueError(f"`{name}` is no label")
    return body


def stamp_body(body: bytes, number: int, conversation_id: str) -> tuple[str, str]:
    """Return the id and the wire text of the event that a client's message becomes."""
    given = check_body(json.loads(body))
    event_id = f"event-{number}"
    at = speech.STARTED_US + number
    message = {
        "message_id": given.get("message_id") or event_id,
        "role": given["role"],
        "content": given["content"],
        "created_at": at,
    }
    for name in ("name", "model", "metadata"):
        if given.get(name):
            message[name] = given[name]
    event = {
        "type": "conversation.message.added",
        "event_id": event_id,
        "tenant": speech.TENANT,
        "occurred_at": at,
        "ingested_at": at,
        "conversation_id": conversation_id,
        "message": message,
    }
    return event_id, _to_json(event)


@dataclass(slots=True)
class Request:
    """The receipts that one request waits for, in the order of its events."""

    receipts: list[dict[str, Any] | None]
    missing: int
    failure: KafkaError | None = None

    def acknowledge(
        self, index: int, event_id: str, error: KafkaError | None, message: Message
    ) -> None:
        """Note where an event is, or why it is nowhere."""
        if error is not None:
            self.failure = error
        else:
            self.receipts[index] = {
                "event_id": event_id,
                "topic": message.topic(),
                "partition": message.partition(),
                "offset": message.offset(),
            }
        self.missing -= 1


def publish_request(
    producer: Producer, topic: str, conversation_id: str, bodies: Sequence[bytes], *, first: int
) -> Request:
    """Send the events of a request's bodies, numbered from the first; return what to wait for."""
    request = Request([None] * len(bodies), len(bodies))
    key = log_key(speech.TENANT, conversation_id).encode()
    for index, body in enumerate(bodies):
        event_id, text = stamp_body(body, first + index, conversation_id)
        told = functools.partial(request.acknowledge, index, event_id)
        producer.produce(topic, text, key, on_delivery=told)
        producer.poll(0)
    return request


def await_receipts(producer: Producer, request: Request) -> list[dict[str, Any]]:
    """Return the receipts of a request once the broker acknowledged all of its events."""
    while request.missing and request.failure is None:
        producer.poll(POLL_S_MAX)
    if request.failure is not None:
        raise KafkaException(request.failure)
    return [receipt for receipt in request.receipts if receipt is not None]


# Out of the log.


def check_event(event: Any) -> dict[str, Any]:
    """Return the event; `ValueError` where it is none of a conversation's."""
    if not isinstance(event, dict) or event.get("type") not in EVENT_TYPES:
        raise ValueError("an event of another topic")
    for name in ("event_id", "tenant", "conversation_id"):
        text = event.get(name)
        if not isinstance(text, str) or "\0" in text or len(text) > NAME_CHARACTERS_MAX:
            raise ValueError(f"`{name}` is no name")
    for name in ("occurred_at", "ingested_at"):
        if not isinstance(event.get(name), int) or event[name] < 0:
            raise ValueError(f"`{name}` is no time")
    if event["type"] == "conversation.message.added":
        check_message(event.get("message"))
    return event


def check_message(message: Any) -> None:
    """Raise `ValueError` unless it is an event's message."""
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise ValueError("a message has a role")
    if not isinstance(message.get("content"), str):
        raise ValueError("a message has a content")  # noqa: TRY004 - one error for a bad event


@dataclass(slots=True)
class PartitionBatch:
    """What waits of one partition, from the first offset that was not saved."""

    expected: int
    events: list[tuple[int, dict[str, Any], bytes]] = field(default_factory=list)


@dataclass(slots=True)
class GroupLoop:
    """A member of a group: batches by partition, saved and then committed; bad records are kept."""

    consumer: Consumer
    topic: str
    claim: Callable[[Sequence[int]], Sequence[tuple[int, int]]]  # partitions with their places
    save: Callable[[dict[int, PartitionBatch]], None]
    batches: dict[int, PartitionBatch] = field(default_factory=dict)
    malformed: list[tuple[Message, str]] = field(default_factory=list)
    records: int = 0
    size: int = 0

    def assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Begin each partition where the store stands."""
        claims = self.claim([place.partition for place in partitions])
        self.batches |= {partition: PartitionBatch(place) for partition, place in claims}
        consumer.incremental_assign(
            [TopicPartition(self.topic, partition, place) for partition, place in claims]
        )

    def revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Forget what waits of partitions that are another's now."""
        for place in partitions:
            batch = self.batches.pop(place.partition, None)
            self.records -= len(batch.events) if batch else 0
        consumer.incremental_unassign(partitions)

    def gather(self) -> None:
        """Take records until the batch is full or none is there."""
        while self.records < BATCH_RECORDS_MAX and self.size < BATCH_BYTES_MAX:
            messages = self.consumer.consume(POLL_RECORDS_MAX, timeout=POLL_S_MAX)
            for message in messages:
                self.take(message)
            if not messages:
                return

    def take(self, message: Message) -> None:
        """Check a record and keep it with its partition, unless it came before."""
        error = message.error()
        if error is not None:
            raise KafkaException(error)
        partition, offset, value = message.partition(), message.offset(), message.value()
        if partition is None or offset is None or not isinstance(value, bytes):
            return
        batch = self.batches.get(partition)
        if batch is None or offset < batch.expected:
            return
        batch.expected = offset + 1
        try:
            event = check_event(json.loads(value))
        except ValueError as why:
            self.malformed.append((message, str(why)))
            return
        batch.events.append((offset, event, value))
        self.records += 1
        self.size += len(value)

    def flush(self) -> None:
        """Save what waits, then tell the group."""
        if not self.records:
            return
        self.save(self.batches)
        for batch in self.batches.values():
            batch.events = []
        self.records = self.size = 0
        places = [TopicPartition(self.topic, at, one.expected) for at, one in self.batches.items()]
        self.consumer.commit(offsets=places, asynchronous=True)


def group_consumer(settings: Kafka, group: str) -> Consumer:
    """Return a member of the group with the settings of our workers."""
    config = client_config(
        settings,
        **{
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "cooperative-sticky",
            "queued.max.messages.kbytes": 16 * 1024,
            "fetch.max.bytes": BATCH_BYTES_MAX,
            "fetch.wait.max.ms": 50,
        },
    )
    return Consumer(config, logger=None)


# Into the store.


def store_range(
    client: Client, table: str, marks: Watermarks, owned: Owned, values: Sequence[bytes]
) -> None:
    """Insert the records of a range once: noted, inserted under its token, then moved past.

    The notes are ours, in PostgreSQL, fence and all: what differs is how rows come about.
    """
    span = owned.span
    events = [
        (offset, check_event(json.loads(value)), value)
        for offset, value in enumerate(values, span.first)
    ]
    marks.begin([owned], [_naming(owned, at, event) for at, event, _ in events if _named(event)])
    rows = [
        [
            event["tenant"],
            event["conversation_id"],
            span.epoch,
            span.partition,
            offset,
            event["event_id"],
            event["type"],
            event["ingested_at"],
            value.decode(errors="replace"),
        ]
        for offset, event, value in events
    ]
    client.insert(
        table,
        rows,
        column_names=EVENTS_COLUMNS,
        settings={
            "insert_deduplication_token": span.token,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            "max_partitions_per_insert_block": 0,
        },
    )
    marks.finish([owned])


def _named(event: dict[str, Any]) -> bool:
    return bool(event.get("request")) or event.get("attempt", 1) > 1


def _naming(owned: Owned, offset: int, event: dict[str, Any]) -> Naming:
    return Naming(
        tenant=event["tenant"],
        event_id=event["event_id"],
        epoch=owned.span.epoch,
        partition=owned.span.partition,
        offset=offset,
        request=event.get("request", ""),
    )
