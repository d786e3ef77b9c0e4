"""The log: events are published, read back by range, and topics are made as the catalogue says."""

import asyncio
import contextlib
import functools
import queue
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription

from helix.adapters import murmur2, trust
from helix.domain.positions import Position, Range, Stored
from helix.errors import HelixError, InvalidError, MissingError, UnavailableError
from helix.events import EVENT_BYTES_MAX, AnyEvent, decode, encode
from helix.ports import Receipt
from helix.settings import Kafka

SERVICE = "kafka"
AWAY = f"`{SERVICE}` is unavailable: "
POLL_S_MAX = 0.1
ANSWER_S_MAX = 5.0  # for metadata, offsets and topic changes
FLUSH_S_MAX = 5.0
EPOCH_S_MAX = 1.0  # a topic made anew is seen at the latest after this
EPOCH_RETRY_S = 5.0  # when no controller said so
CONTROLLER_S_MAX = 1.0
SCAN_RECORDS_MAX = 1_000  # a batch handed from the reading thread to the loop
SCAN_S_MAX = 10.0  # without any progress
READERS_MAX = 4  # idle consumers kept warm for scans
AUDIENCE = "helix-pipelines"  # a record's header: the only pipelines it is for
TELLING = {KafkaError._AUTHENTICATION, KafkaError._SSL}  # noqa: SLF001 - their public names
TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE}


class Incarnation(msgspec.Struct, frozen=True):
    """A topic as it is now: its id is the epoch of every position in it."""

    epoch: str
    partitions: int


def client_config(settings: Kafka, **more: str | float | bool) -> dict[str, str | float | bool]:
    """What every client of ours says to the broker."""
    # A broker that is away is reported by the call that needed it, not by a log line.
    return {"bootstrap.servers": settings.bootstrap, "log_level": 0, **_secured(settings), **more}


def _secured(settings: Kafka) -> dict[str, str]:
    """Who this client is, and whom it trusts; nothing where the log is plain."""
    if not settings.ca:
        return {}
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": settings.user,
        "sasl.password": settings.password.reveal(),
        "ssl.ca.location": settings.ca,
        "ssl.endpoint.identification.algorithm": "https",
    }


class Admin:
    """A client for a few questions, and why the broker refuses them.

    A refused call only says that there is no broker; the reason comes beside it, to who polls.
    Made for a short life: what nobody polls for is kept.
    """

    def __init__(self, settings: Kafka, *, answer_s_max: float = ANSWER_S_MAX) -> None:
        timeout = {"socket.timeout.ms": int(answer_s_max * 1000)}
        config: dict[str, Any] = {**client_config(settings, **timeout), "error_cb": self._heard}
        self._reason: KafkaError | None = None
        try:
            self.client = AdminClient(config, logger=None)
        except KafkaException as error:
            raise away(error) from error

    @contextlib.contextmanager
    def asked(self) -> Generator[AdminClient]:
        """The client; an error of ours says what the broker had against it."""
        try:
            yield self.client
        except KafkaException as error:
            self.client.poll(0)
            raise away(self._reason or error) from error

    def _heard(self, error: KafkaError) -> None:
        if self._reason is None and error.code() in TELLING:
            self._reason = error


def producer_config(settings: Kafka) -> dict[str, str | float | bool]:
    """Acknowledged by all replicas, never doubled by own retries, placed as Java does."""
    return client_config(
        settings,
        **{
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": settings.linger_ms,
            "message.max.bytes": EVENT_BYTES_MAX,
            "partitioner": "murmur2_random",
            "delivery.timeout.ms": settings.deliver_ms_max,
        },
    )


def away(error: KafkaError | KafkaException) -> HelixError:
    """The error of ours that says what to do about Kafka's."""
    reason = error.args[0] if isinstance(error, KafkaException) else error
    if isinstance(reason, KafkaError) and reason.code() in TOO_LARGE:
        return InvalidError("the event is larger than the log takes: send less at once")
    if isinstance(reason, KafkaError) and reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return UnavailableError(
            SERVICE, "`kafka` lacks the topic: run `python -m runtime bootstrap`"
        )
    text = reason.str() if isinstance(reason, KafkaError) else str(reason)
    return UnavailableError(SERVICE, f"{AWAY}{trust.told(text)}")


class Epochs:
    """What topics are now, asked at most once a second."""

    def __init__(self, settings: Kafka) -> None:
        self._admin = AdminClient(client_config(settings), logger=None)
        self._known: dict[str, tuple[float, Incarnation]] = {}  # each with when it was said
        self._asked: dict[str, Future[Incarnation]] = {}
        self._retry_at: dict[str, float] = {}
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="epochs")

    def current(self, topic: str) -> Incarnation:
        """The topic's present incarnation; `UnavailableError` when the broker does not say."""
        if not self._fresh(topic):
            self._learned(topic, self._ask(topic))
        return self._known[topic][1]

    def glimpse(self, topic: str) -> Incarnation | None:
        """What the broker said last, without waiting for it; asked again when that is old."""
        asked = self._asked.get(topic)
        if asked is not None and asked.done():
            del self._asked[topic]
            if asked.exception() is None:
                self._learned(topic, asked.result())
            else:
                self._retry_at[topic] = time.monotonic() + EPOCH_RETRY_S
        waiting = topic in self._asked or time.monotonic() < self._retry_at.get(topic, 0.0)
        if not waiting and not self._fresh(topic):
            self._asked[topic] = self._asker.submit(self._ask, topic)
        return self._known[topic][1] if topic in self._known else None

    def _fresh(self, topic: str) -> bool:
        return topic in self._known and time.monotonic() - self._known[topic][0] < EPOCH_S_MAX

    def _learned(self, topic: str, now: Incarnation) -> None:
        self._known[topic] = (time.monotonic(), now)

    def _ask(self, topic: str) -> Incarnation:
        """Asked of the controller, which librdkafka finds again only in new metadata.

        While the one it knows is away it dials that one without a pause, a core's worth: hence
        metadata first, from any broker, and a short time for the question.
        """
        try:
            self._admin.list_topics(timeout=ANSWER_S_MAX)
            wanted = TopicCollection([topic])
            asked = self._admin.describe_topics(wanted, request_timeout=CONTROLLER_S_MAX)[topic]
            return _incarnation(asked.result(timeout=ANSWER_S_MAX))
        except KafkaException as error:
            raise away(error) from error
        except TimeoutError as error:
            raise UnavailableError(SERVICE) from error


def _incarnation(found: TopicDescription) -> Incarnation:
    return Incarnation(epoch=str(found.topic_id), partitions=len(found.partitions))


@dataclass(slots=True, eq=False)
class _Publication:
    """The acknowledgements one `publish` waits for."""

    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[list[Receipt]]
    topic: str
    ids: list[str]
    receipts: list[Receipt | None]
    missing: int
    failure: HelixError | None = None

    def settle(self) -> None:
        """Tell who waits; in the loop that waits."""
        if self.done.done():
            return
        if self.failure is not None:
            self.done.set_exception(self.failure)
        else:
            self.done.set_result([receipt for receipt in self.receipts if receipt is not None])


class Publisher:
    """One producer a process; one thread collects the acknowledgements for all who wait."""

    def __init__(self, settings: Kafka) -> None:
        self._producer = Producer(producer_config(settings), logger=None)
        self._settled: list[_Publication] = []  # of this poll; touched by its thread alone
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-acks", daemon=True)
        self._thread.start()

    async def publish(self, topic: str, key: str, events: Sequence[AnyEvent]) -> list[Receipt]:
        """Receipts in order once every event is acknowledged; else `UnavailableError`."""
        return await self._sent(topic, [key.encode()] * len(events), events)

    async def publish_all(self, topic: str, keyed: Sequence[tuple[str, AnyEvent]]) -> list[Receipt]:
        """The same for events of several keys; those of one key keep their order."""
        keys = [key.encode() for key, _ in keyed]
        return await self._sent(topic, keys, [event for _, event in keyed])

    async def _sent(
        self, topic: str, keys: Sequence[bytes], events: Sequence[AnyEvent]
    ) -> list[Receipt]:
        if not events:
            return []
        loop = asyncio.get_running_loop()
        count = len(events)
        ids = [event.event_id for event in events]
        waiting = _Publication(loop, loop.create_future(), topic, ids, [None] * count, count)
        # This loop and `_acked` run once an event: what is the same for all is taken out of them.
        produce, acked, partial = self._producer.produce, self._acked, functools.partial
        try:
            for index, (key, event) in enumerate(zip(keys, events, strict=True)):
                produce(topic, encode(event), key, on_delivery=partial(acked, waiting, index))
        except BufferError as error:
            raise UnavailableError(
                SERVICE, f"`{SERVICE}` is behind: the queue is full, retry"
            ) from error
        except KafkaException as error:
            raise away(error) from error
        return await waiting.done

    def _acked(
        self,
        waiting: _Publication,
        index: int,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        """In the polling thread: the last acknowledgement or the first failure ends the wait."""
        if error is None:
            partition, offset = message.partition(), message.offset()
            if partition is None or offset is None:
                raise AssertionError("an acknowledged record has a partition and an offset")
            event_id = waiting.ids[index]
            waiting.receipts[index] = Receipt(event_id, waiting.topic, partition, offset)
        else:
            waiting.failure = waiting.failure or away(error)
        waiting.missing -= 1
        if error is not None or not waiting.missing:
            self._settled.append(waiting)

    def _poll(self) -> None:
        while not self._stopped.is_set():
            self._producer.poll(POLL_S_MAX)
            self._hand_over()
        self._producer.flush(FLUSH_S_MAX)
        self._hand_over()

    def _hand_over(self) -> None:
        """Wake each loop once for all that is settled by this poll."""
        settled, self._settled = self._settled, []
        for loop in {waiting.loop for waiting in settled}:
            own = [waiting for waiting in settled if waiting.loop is loop]
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, own)

    def close(self) -> None:
        """Deliver what is queued, or give up after the bound; then end the thread."""
        self._stopped.set()
        self._thread.join(FLUSH_S_MAX + POLL_S_MAX + 1)


def _settle(publications: list[_Publication]) -> None:
    for waiting in publications:
        waiting.settle()


class Readers:
    """Warm consumers that read ranges of the log, outside any group."""

    def __init__(self, settings: Kafka) -> None:
        self._config = client_config(
            settings,
            **{
                "group.id": "helix-scan",  # required by the client, never joined
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
            },
        )
        self._idle: queue.SimpleQueue[Consumer] = queue.SimpleQueue()

    def take(self) -> Consumer:
        """A consumer of one's own until it is given back."""
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return Consumer(self._config, logger=None)

    def give(self, consumer: Consumer) -> None:
        """Back among the idle ones, or closed when there are enough."""
        consumer.unassign()
        if self._idle.qsize() < READERS_MAX:
            self._idle.put(consumer)
        else:
            consumer.close()

    def close(self) -> None:
        """Close every idle consumer."""
        while not self._idle.empty():
            self._idle.get_nowait().close()


def read(consumer: Consumer, span: Range) -> Iterator[list[Message]]:
    """The records of the range in batches, until the reader's place is at its end."""
    consumer.assign([TopicPartition(span.topic, span.partition, span.first)])
    place = span.first
    heard = time.monotonic()
    while place < span.end:
        batch, place = _next(consumer, place)
        if batch or place >= span.end:
            heard = time.monotonic()
            yield [message for message in batch if (message.offset() or 0) < span.end]
        elif time.monotonic() - heard > SCAN_S_MAX:
            raise UnavailableError(SERVICE, f"`{SERVICE}` gave nothing of {span.token}: retry")


def _next(consumer: Consumer, place: int) -> tuple[list[Message], int]:
    """Whatever is there, waiting only for the first; and the place after it."""
    first = consumer.poll(POLL_S_MAX)
    if first is None:
        return [], place
    batch: list[Message] = []
    for message in (first, *consumer.consume(SCAN_RECORDS_MAX - 1, timeout=0)):
        error = message.error()
        offset = message.offset()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            raise away(error)
        if error is not None:
            place = max(place, offset or 0)  # the end of the partition, markers included
        elif offset is not None:
            batch.append(message)
            place = offset + 1
    return batch, place


def records(settings: Kafka, topic: str) -> Iterator[Message]:
    """Everything the log has of a topic by now, partition by partition, in order."""
    now = Epochs(settings).current(topic)
    with contextlib.closing(Readers(settings)) as readers:
        consumer = readers.take()
        try:
            for partition in range(now.partitions):
                low, high = _ends(consumer, topic, partition)
                span = Range(topic, now.epoch, partition, low, high)
                for batch in read(consumer, span):
                    yield from batch
        except KafkaException as error:
            raise away(error) from error
        finally:
            readers.give(consumer)


def _ends(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """The first offset the partition has, and the one after its last."""
    place = TopicPartition(topic, partition)
    marks = consumer.get_watermark_offsets(place, timeout=ANSWER_S_MAX)
    if not marks:
        raise UnavailableError(SERVICE)
    return marks


class Log:
    """The log, as the edge needs it."""

    def __init__(self, settings: Kafka) -> None:
        self._publisher = Publisher(settings)
        self._epochs = Epochs(settings)
        self._readers = Readers(settings)

    async def publish(self, topic: str, key: str, events: Sequence[AnyEvent]) -> list[Receipt]:
        """Receipts in order once every event is acknowledged; else `UnavailableError`."""
        return await self._publisher.publish(topic, key, events)

    async def publish_all(self, topic: str, keyed: Sequence[tuple[str, AnyEvent]]) -> list[Receipt]:
        """The same for events of several keys; those of one key keep their order."""
        return await self._publisher.publish_all(topic, keyed)

    async def partition(self, topic: str, key: str) -> int:
        """The partition that key goes to."""
        now = await asyncio.to_thread(self._epochs.current, topic)
        return murmur2.partition(key.encode(), now.partitions)

    async def high_watermark(self, topic: str, partition: int) -> Position:
        """The position after the last record of the partition, in its current epoch."""
        return await asyncio.to_thread(self._high_watermark, topic, partition)

    def _high_watermark(self, topic: str, partition: int) -> Position:
        epoch = self._epochs.current(topic).epoch
        consumer = self._readers.take()
        try:
            return Position(epoch, partition, _ends(consumer, topic, partition)[1])
        except KafkaException as error:
            raise away(error) from error
        finally:
            self._readers.give(consumer)

    async def scan(self, span: Range) -> AsyncIterator[Stored]:
        """The records of that range of one partition, in order; undecodable ones are left out."""
        now = await asyncio.to_thread(self._epochs.current, span.topic)
        if now.epoch != span.epoch:
            raise MissingError(f"`{span.topic}` was made anew: positions of {span.epoch} are gone")
        if span.first >= span.end:
            return
        consumer = self._readers.take()
        try:
            batches = read(consumer, span)
            while batch := await asyncio.to_thread(_decoded, batches, span.epoch):
                for stored in batch:
                    yield stored
        finally:
            self._readers.give(consumer)

    async def ping(self) -> str:
        """What the broker answered; `UnavailableError` when it did not."""
        return await asyncio.to_thread(self._ping)

    def _ping(self) -> str:
        consumer = self._readers.take()
        try:
            metadata = consumer.list_topics(timeout=ANSWER_S_MAX)
        except KafkaException as error:
            raise away(error) from error
        finally:
            self._readers.give(consumer)
        return f"metadata: {len(metadata.brokers)} broker(s), {len(metadata.topics)} topics"

    def close(self) -> None:
        """Deliver what is queued, then let go of the broker."""
        self._publisher.close()
        self._readers.close()


def _decoded(batches: Iterator[list[Message]], epoch: str) -> list[Stored]:
    """The next batch that has an event of ours; empty at the end."""
    for batch in batches:
        events = [stored for message in batch if (stored := stored_of(message, epoch)) is not None]
        if events:
            return events
    return []


def stored_of(message: Message, epoch: str) -> Stored | None:
    """The record's event with its position; None where it is none of ours."""
    try:
        return decoded(message, epoch)
    except InvalidError:
        return None


def audience(message: Message) -> frozenset[str] | None:
    """The only pipelines that record is for; None where it is for all of them."""
    for name, value in message.headers() or ():
        if name == AUDIENCE and value is not None:
            text = value if isinstance(value, str) else value.decode(errors="replace")
            return frozenset(text.split(","))
    return None


def decoded(message: Message, epoch: str) -> Stored:
    """The record's event with its position; `InvalidError` where it is none of ours."""
    value, partition, offset = message.value(), message.partition(), message.offset()
    if not isinstance(value, bytes) or partition is None or offset is None:
        raise InvalidError("a record without a value")
    return Stored(Position(epoch, partition, offset), decode(value))
