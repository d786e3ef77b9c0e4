"""One pipeline at work: poll, decode, save; position and effect together, whatever happens."""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from helix.adapters.kafka import Epochs, Readers, away, client_config, decoded, read
from helix.adapters.postgres import Claim, Owned
from helix.domain.positions import Range
from helix.errors import ConflictError, InvalidError, UnavailableError
from helix.events import DeadLetter
from helix.ports import Clock
from helix.settings import Settings
from runtime.burial import Burial
from runtime.meters import Meters, Readiness
from runtime.pipelines import Pipeline
from runtime.sinks import Record, Slice

RECORDS_MAX = 10_000  # of one batch, all partitions together
BYTES_MAX = 8 * 1024 * 1024
DRAIN_RECORDS_MAX = 1_000  # asked of the client at once
QUEUED_KIB_MAX = 16 * 1024  # fetched ahead by the client
POLL_S_MAX = 0.1
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)  # the last one repeats until the store is back
SESSION_MS = 6_000  # a killed worker's partitions go to another one after this
IDLE_CODES = {KafkaError._PARTITION_EOF, KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT}  # noqa: SLF001 - their public names

log = structlog.get_logger()


class Cursor:
    """A partition that is ours: what was saved, under which generation, and what waits."""

    def __init__(self, claim: Claim) -> None:
        self.next = claim.next
        self.generation = claim.generation
        self.waiting: list[Message] = []

    @property
    def expected(self) -> int:
        """The lowest offset that may come now."""
        return (self.waiting[-1].offset() or 0) + 1 if self.waiting else self.next


class Loop:
    """Runs one pipeline until it is told to stop."""

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Settings,
        *,
        clock: Clock,
        stop: threading.Event,
        meters: Meters,
        readiness: Readiness,
    ) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._clock = clock
        self._stop = stop
        self._meters = meters
        self._readiness = readiness
        self._sink = pipeline.open(settings)
        self._burial = Burial(settings.kafka, pipeline.name, clock)
        self._epochs = Epochs(settings.kafka)
        self._readers = Readers(settings.kafka)
        self._cursors: dict[int, Cursor] = {}
        self._epoch = ""
        self._moved = False  # the group changed since the last look
        self._held = False  # a batch waits for its store: nothing more is fetched
        self._buried: set[str] = set()  # of the batch in hand: a retried save buries nothing twice

    def run(self) -> None:
        """Work until told to stop; a lost partition means joining the group again."""
        try:
            while not self._stop.is_set():
                try:
                    self._member()
                except ConflictError as error:
                    self._blocked(error.message)
                except UnavailableError as error:
                    self._blocked(error.message)
                    self._stop.wait(BACKOFF_S[-1])
        finally:
            self._sink.close()
            self._readers.close()

    def _blocked(self, why: str) -> None:
        self._readiness.blocked(self._pipeline.name, why)
        log.warning("pipeline_blocked", pipeline=self._pipeline.name, why=why)

    def _member(self) -> None:
        """Be a member of the group; leave it whatever happens, and forget what was not saved."""
        self._epoch = self._epochs.current(self._pipeline.topic).epoch
        consumer = Consumer(self._config(), logger=None)
        try:
            consumer.subscribe(
                [self._pipeline.topic],
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._revoked,
            )
            while not self._stop.is_set():
                self._gather(consumer)
                self._save(consumer)
                self._report(consumer)
        except KafkaException as error:
            raise away(error) from error
        finally:
            self._cursors.clear()
            consumer.close()

    def _config(self) -> dict[str, Any]:
        return client_config(
            self._settings.kafka,
            **{
                "group.id": f"helix.{self._pipeline.name}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": SESSION_MS,
                "queued.max.messages.kbytes": QUEUED_KIB_MAX,
                "fetch.wait.max.ms": 50,
            },
        )

    # The group: what is ours, and what no longer is.

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._moved = True
        claims = self._claimed([place.partition for place in partitions])
        self._cursors |= {claim.partition: Cursor(claim) for claim in claims}
        topic = self._pipeline.topic
        places = [TopicPartition(topic, claim.partition, claim.next) for claim in claims]
        consumer.incremental_assign(places)
        if self._held:
            consumer.pause(places)
        if not self._stop.is_set():
            self._readiness.ready(self._pipeline.name)

    def _claimed(self, partitions: Sequence[int]) -> list[Claim]:
        """The claims, doubtful ranges inserted again; none when told to stop meanwhile."""
        attempt = 0
        while partitions and not self._stop.is_set():
            try:
                claims = self._sink.claim(self._pipeline.topic, self._epoch, partitions)
                return [self._recovered(claim) for claim in claims]
            except UnavailableError as error:
                self._blocked(error.message)
                self._stop.wait(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
                attempt += 1
        return []

    def _recovered(self, claim: Claim) -> Claim:
        """Exactly the range whose insert is in doubt is read again and saved under its token."""
        span = claim.pending
        if span is None:
            return claim
        reader = self._readers.take()
        try:
            messages = [message for batch in read(reader, span) for message in batch]
        except KafkaException as error:
            raise away(error) from error
        finally:
            self._readers.give(reader)
        records, letters = self._decoded(messages)
        self._burial.bury(letters)
        self._sink.save([Slice(Owned(span, claim.generation), records)])
        log.info("range_recovered", pipeline=self._pipeline.name, range=span.token)
        return Claim(claim.partition, span.end, claim.generation)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._moved = True
        for place in partitions:
            self._cursors.pop(place.partition, None)
        consumer.incremental_unassign(partitions)

    # A batch: wait for the first record only, then take what is there.

    def _gather(self, consumer: Consumer) -> None:
        first = self._polled(consumer, POLL_S_MAX)
        if first is None:
            return
        self._keep(consumer, [first])
        until = time.monotonic() + self._pipeline.gather_s
        while not self._stop.is_set() and not self._full():
            left = until - time.monotonic()
            more = consumer.consume(DRAIN_RECORDS_MAX, timeout=max(0.0, min(left, POLL_S_MAX)))
            self._keep(consumer, more)
            if not more and left <= 0:
                return

    def _polled(self, consumer: Consumer, timeout_s: float) -> Message | None:
        self._moved = False
        return consumer.poll(timeout_s)

    def _keep(self, consumer: Consumer, messages: Iterable[Message]) -> None:
        """Add records to their partitions; what came with a change of the group is read again."""
        touched: set[int] = set()
        for message in messages:
            self._usable(message)
            cursor = self._cursors.get(message.partition() or 0)
            if message.error() is not None or cursor is None:
                continue
            if self._moved:
                touched.add(message.partition() or 0)
            elif (message.offset() or 0) >= cursor.expected:
                cursor.waiting.append(message)
        self._moved = False
        for partition in touched:
            place = self._cursors[partition].expected
            consumer.seek(TopicPartition(self._pipeline.topic, partition, place))

    def _usable(self, message: Message) -> None:
        error = message.error()
        if error is not None and error.code() not in IDLE_CODES:
            raise away(error)

    def _full(self) -> bool:
        waiting = [message for cursor in self._cursors.values() for message in cursor.waiting]
        return len(waiting) >= RECORDS_MAX or sum(len(message) for message in waiting) >= BYTES_MAX

    # The effect: saved under the fence, or held until its store is back.

    def _save(self, consumer: Consumer) -> None:
        attempt = 0
        while (slices := self._slices()) and not self._stop.is_set():
            try:
                self._saved(consumer, *slices)
                break
            except UnavailableError as error:
                self._blocked(error.message)
                self._hold(consumer, BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
                attempt += 1
        if self._held and not self._stop.is_set():
            self._held = False
            consumer.resume(consumer.assignment())
            self._readiness.ready(self._pipeline.name)

    def _slices(self) -> tuple[list[Slice], list[DeadLetter]] | None:
        """What waits, cut into one range a partition; what cannot be decoded set apart."""
        slices: list[Slice] = []
        buried: list[DeadLetter] = []
        for partition, cursor in self._cursors.items():
            if cursor.waiting:
                records, letters = self._decoded(cursor.waiting)
                span = Range(
                    self._pipeline.topic, self._epoch, partition, cursor.next, cursor.expected
                )
                slices.append(Slice(Owned(span, cursor.generation), records))
                buried += letters
        return (slices, buried) if slices else None

    def _decoded(self, messages: Iterable[Message]) -> tuple[list[Record], list[DeadLetter]]:
        records: list[Record] = []
        letters: list[DeadLetter] = []
        for message in messages:
            try:
                records.append(self._record(message))
            except InvalidError as error:
                letters.append(self._burial.letter(message, self._epoch, error.message))
        return records, letters

    def _record(self, message: Message) -> Record:
        stored = decoded(message, self._epoch)
        if not isinstance(stored.event, self._pipeline.events):
            raise InvalidError(f"`{type(stored.event).__name__}` is of another topic")
        value = message.value()
        return Record(stored, value if isinstance(value, bytes) else b"")

    def _saved(self, consumer: Consumer, slices: list[Slice], letters: list[DeadLetter]) -> None:
        name = self._pipeline.name
        fresh = [letter for letter in letters if letter.event_id not in self._buried]
        if fresh:
            self._burial.bury(fresh)
            self._buried |= {letter.event_id for letter in fresh}
            self._meters.dead_letters.labels(name).inc(len(fresh))
        with self._meters.save_s.labels(name).time():
            self._sink.save(slices)
        for part in slices:
            cursor = self._cursors[part.owned.span.partition]
            cursor.next = part.owned.span.end
            cursor.waiting = []
        self._buried.clear()
        self._meters.batches.labels(name).inc()
        self._meters.events.labels(name).inc(sum(len(part.records) for part in slices))
        oldest = min(
            (record.stored.event.ingested_at for part in slices for record in part.records[:1]),
            default=self._clock(),
        )
        self._meters.lag_s.labels(name).set(max(0.0, (self._clock() - oldest) / 1e6))
        consumer.commit(  # only displays lag: the store's watermark is what counts
            offsets=[
                TopicPartition(
                    part.owned.span.topic, part.owned.span.partition, part.owned.span.end
                )
                for part in slices
            ],
            asynchronous=True,
        )

    def _hold(self, consumer: Consumer, wait_s: float) -> None:
        """Wait with the batch in hand, still a member of the group: nothing more is fetched."""
        self._held = True
        consumer.pause(consumer.assignment())
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            stray = self._polled(consumer, min(left, POLL_S_MAX))
            if stray is not None:
                self._moved = True  # fetched before the pause: read it again
                self._keep(consumer, [stray])

    def _report(self, consumer: Consumer) -> None:
        name = self._pipeline.name
        total = 0
        for partition, cursor in self._cursors.items():
            place = TopicPartition(self._pipeline.topic, partition)
            marks = consumer.get_watermark_offsets(place, cached=True)
            lag = max(0, marks[1] - cursor.next) if marks else 0
            total += lag
            self._meters.lag_records.labels(name, str(partition)).set(lag)
        if not total:
            self._meters.lag_s.labels(name).set(0)
