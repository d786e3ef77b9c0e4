"""One pipeline at work: poll, decode, save; position and effect together, whatever happens."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from helix.adapters.kafka import Epochs, Readers, away, client_config, read
from helix.adapters.postgres import Claim, Owned
from helix.budgets import LAG_RECORDS_MAX
from helix.domain.positions import Range
from helix.errors import ConflictError, UnavailableError
from helix.ports import Clock
from helix.settings import Settings
from runtime.batch import BYTES_MAX, RANGE_BYTES_MAX, RANGE_RECORDS_MAX, Batch, Part
from runtime.burial import Burial
from runtime.meters import Meters, Readiness
from runtime.pipelines import Pipeline
from runtime.saver import Saver

QUEUED_KIB_MAX = 16 * 1024  # fetched ahead by the client
POLL_S_MAX = 0.1
REPORT_S = 0.25  # between two looks at the lag
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)  # the last one repeats until the store is back
SESSION_MS = 6_000  # a killed worker's partitions go to another one after this
IDLE_CODES = {KafkaError._PARTITION_EOF, KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT}  # noqa: SLF001 - their public names

log = structlog.get_logger()


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
        self._stop = stop
        self._meters = meters
        self._readiness = readiness
        self._sink = pipeline.open(settings)
        self._burial = Burial(settings.kafka)
        self._saver = Saver(pipeline, self._sink, self._burial.bury, clock=clock, meters=meters)
        self._epochs = Epochs(settings.kafka)
        self._readers = Readers(settings.kafka)
        self._batch = Batch()
        self._epoch = ""
        self._joined = False  # the group gave us our share, were it nothing
        self._catching_up = CatchingUp()
        self._moved = False  # the group changed since the last look
        self._held = False  # a batch waits for its store: nothing more is fetched
        self._reported = 0.0

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
                self._same_topic()
                self._report(consumer)
        except KafkaException as error:
            raise away(error) from error
        finally:
            self._leave(consumer)

    def _leave(self, consumer: Consumer) -> None:
        self._batch.clear()
        self._joined = self._held = False
        consumer.close()

    def _same_topic(self) -> None:
        """A topic that was made anew begins at 0 again: so does whoever reads it."""
        seen = self._epochs.glimpse(self._pipeline.topic)
        if seen is not None and seen.epoch != self._epoch:
            raise ConflictError(f"`{self._pipeline.topic}` was made anew: join the group again")

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
                "fetch.max.bytes": BYTES_MAX,
                "fetch.wait.max.ms": 50,
            },
        )

    # The group: what is ours, and what no longer is.

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._moved = True
        claims = self._claimed([place.partition for place in partitions])
        for claim in claims:
            self._batch.own(claim)
        topic = self._pipeline.topic
        places = [TopicPartition(topic, claim.partition, claim.next) for claim in claims]
        consumer.incremental_assign(places)
        # A partition that was paused when it was taken away is still paused when it comes back.
        (consumer.pause if self._held else consumer.resume)(places)
        self._joined = not self._stop.is_set()

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
        self._saver.save([Part(Owned(span, claim.generation), self._read(span))])
        log.info("range_recovered", pipeline=self._pipeline.name, range=span.token)
        return Claim(claim.partition, span.end, claim.generation)

    def _read(self, span: Range) -> list[Message]:
        """The records of a range that was one batch: no more than a batch comes into memory."""
        reader = self._readers.take()
        messages: list[Message] = []
        size = 0
        try:
            for batch in read(reader, span):
                messages += batch
                size += sum(map(len, batch))
                if len(messages) > RANGE_RECORDS_MAX or size > RANGE_BYTES_MAX:
                    raise AssertionError(f"{span.token} is more than any batch was")
        except KafkaException as error:
            raise away(error) from error
        finally:
            self._readers.give(reader)
        return messages

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._moved = True
        for place in partitions:
            self._batch.lose(place.partition)
            self._meters.lag_records.remove(self._pipeline.name, str(place.partition))
        consumer.incremental_unassign(partitions)

    # A batch: wait for the first record only, then take what is there.

    def _gather(self, consumer: Consumer) -> None:
        first = self._polled(consumer, POLL_S_MAX)
        if first is None:
            return
        self._keep(consumer, [first])
        until = time.monotonic() + self._pipeline.gather_s
        while not self._stop.is_set() and not self._batch.full:
            left = until - time.monotonic()
            more = consumer.consume(self._batch.wanted, timeout=max(0.0, min(left, POLL_S_MAX)))
            self._keep(consumer, more)
            if not more and left <= 0:
                return

    def _polled(self, consumer: Consumer, timeout_s: float) -> Message | None:
        self._moved = False
        return consumer.poll(timeout_s)

    def _keep(self, consumer: Consumer, messages: Sequence[Message]) -> None:
        """Add records to their partitions; what came too early is read again in its time."""
        records = [message for message in messages if _is_record(message)]
        # With a change of the group, places changed; in a full batch there is no room.
        early = records if self._moved else self._batch.take(records)
        self._moved = False
        for partition in {message.partition() or 0 for message in early}:
            cursor = self._batch.cursors.get(partition)
            if cursor is not None:
                place = TopicPartition(self._pipeline.topic, partition, cursor.expected)
                consumer.seek(place)

    # The effect: saved under the fence, or held until its store is back.

    def _save(self, consumer: Consumer) -> None:
        """What waits is saved, also when told to stop: then it is tried once."""
        attempt = 0
        while parts := self._batch.parts(self._pipeline.topic, self._epoch):
            try:
                self._saver.save(parts)
                self._pass(consumer, parts)
            except UnavailableError as error:
                self._blocked(error.message)
                if self._stop.is_set():
                    return
                self._hold(consumer, BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
                attempt += 1
        if self._held:
            self._held = False
            self._reported = 0.0
            consumer.resume(consumer.assignment())

    def _pass(self, consumer: Consumer, parts: Sequence[Part]) -> None:
        for part in parts:
            self._batch.saved(part)
        spans = [part.owned.span for part in parts]
        consumer.commit(  # only displays lag: the store's watermark is what counts
            offsets=[TopicPartition(span.topic, span.partition, span.end) for span in spans],
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

    # What is told of it: the lag, and whether others may count on us.

    def _report(self, consumer: Consumer) -> None:
        if time.monotonic() - self._reported < REPORT_S or not self._joined:
            return
        self._reported = time.monotonic()
        name = self._pipeline.name
        lags = {
            partition: self._lag(consumer, partition, cursor.next)
            for partition, cursor in self._batch.cursors.items()
        }
        for partition, lag in lags.items():
            if lag is not None:
                self._meters.lag_records.labels(name, str(partition)).set(lag)
        self._ready(list(lags.values()))

    def _lag(self, consumer: Consumer, partition: int, place: int) -> int | None:
        """How far the partition's end is; None before the broker said where it is."""
        marks = consumer.get_watermark_offsets(
            TopicPartition(self._pipeline.topic, partition), cached=True
        )
        return max(0, marks[1] - place) if marks and marks[1] >= 0 else None

    def _ready(self, lags: Sequence[int | None]) -> None:
        if not any(lags):
            self._meters.lag_s.labels(self._pipeline.name).set(0)
        why = self._catching_up.blocker(lags)
        if why:
            self._readiness.blocked(self._pipeline.name, why)
        else:
            self._readiness.ready(self._pipeline.name)


def _is_record(message: Message) -> bool:
    """Whether it is one; `UnavailableError` where it tells of a fault that stays."""
    error = message.error()
    if error is not None and error.code() not in IDLE_CODES:
        raise away(error)
    return error is None


class CatchingUp:
    """Whether others may count on a pipeline: from the first time it was near the log's end.

    Later lag makes it slow, not unready: a restart would only add to it.
    """

    def __init__(self) -> None:
        self._done = False

    def blocker(self, lags: Sequence[int | None]) -> str:
        """What keeps it from being counted on, now that its partitions are so far behind."""
        if None not in lags:
            self._done = self._done or sum(filter(None, lags)) <= LAG_RECORDS_MAX
        if self._done:
            return ""
        return f"{sum(filter(None, lags))} records behind at least, ready below {LAG_RECORDS_MAX}"
