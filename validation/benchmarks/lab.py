"""What benchmarks use of a running stack: topics and databases of their own, gone at the end."""

import contextlib
import itertools
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import msgspec
import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from helix.adapters import clickhouse, kafka, postgres
from helix.errors import UnavailableError
from helix.events import EVENT_BYTES_MAX
from helix.settings import Settings

DATABASE = "helix_bench"
PREFIX = "helix_bench."
ANSWER_S_MAX = 10.0
RETENTION_BYTES = 256 * 1024 * 1024  # of a partition: rounds write the same again and again
SEGMENT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stores:
    """Databases of our own with the platform's tables, empty."""

    settings: Settings
    engine: clickhouse.Engine
    session: postgres.Session

    def empty(self) -> None:
        """No row in the warm copy, no watermark."""
        for table in ("conversation_events", "conversation_hours"):
            self.engine.run(clickhouse.queries.bench_truncate, table=table)
        with self.session.transaction() as connection:
            connection.execute("TRUNCATE watermarks, pending_ranges")

    def rows(self) -> int:
        """How many events the warm copy holds."""
        return int(self.engine.rows(clickhouse.queries.bench_events_count)[0][0])


class Lab:
    """Lends what a benchmark needs and takes it back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._numbers = itertools.count(1)

    @contextlib.contextmanager
    def topic(self, name: str, *, partitions: int) -> Generator[str]:
        """A topic with the limits of the real ones, deleted afterwards."""
        full = f"{PREFIX}{name}.{next(self._numbers)}"
        admin = self._admin()
        config = {
            "compression.type": "producer",
            "max.message.bytes": str(EVENT_BYTES_MAX),
            "retention.bytes": str(RETENTION_BYTES),
            "segment.bytes": str(SEGMENT_BYTES),
        }
        asked = admin.create_topics([NewTopic(full, partitions, config=config)])
        _done([future.result for future in asked.values()])
        try:
            self.ends(full, partitions)  # answers when every partition has its leader
            yield full
        finally:
            _done([future.result for future in admin.delete_topics([full]).values()])

    def ends(self, topic: str, partitions: int) -> list[int]:
        """The offset after the last record of each partition."""
        config = kafka.client_config(self.settings.kafka, **{"group.id": "helix_bench"})
        consumer = Consumer(config, logger=None)
        try:
            return [self._end(consumer, topic, number) for number in range(partitions)]
        finally:
            consumer.close()

    def _end(self, consumer: Consumer, topic: str, partition: int) -> int:
        until = time.monotonic() + ANSWER_S_MAX
        while True:
            try:
                marks = consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=ANSWER_S_MAX
                )
            except KafkaException as error:  # a partition just made has no leader yet
                if time.monotonic() > until:
                    raise kafka.away(error) from error
            else:
                if marks:
                    return marks[1]
                raise UnavailableError(kafka.SERVICE)

    @contextlib.contextmanager
    def stores(self, name: str = "") -> Generator[Stores]:
        """The platform's tables in databases of our own, dropped afterwards."""
        database = DATABASE + name
        own = msgspec.structs.replace(
            self.settings,
            postgres=msgspec.structs.replace(self.settings.postgres, database=database),
            clickhouse=msgspec.structs.replace(self.settings.clickhouse, database=database),
        )
        engine, session = clickhouse.Engine(own.clickhouse), postgres.Session(own.postgres)
        try:
            clickhouse.migrate(engine)
            self._in_postgres(f"CREATE DATABASE {database}")
            postgres.migrate(session)
            yield Stores(own, engine, session)
        finally:
            engine.close()
            session.close()
            self._drop(database)

    def clean(self) -> None:
        """Take away what an interrupted run left."""
        admin = self._admin()
        try:
            left = [name for name in admin.list_topics(timeout=ANSWER_S_MAX).topics if _own(name)]
        except KafkaException as error:
            raise kafka.away(error) from error
        if left:
            _done([future.result for future in admin.delete_topics(left).values()])
        engine = self._default()
        with contextlib.closing(engine):
            databases = [str(name) for (name,) in engine.rows("SHOW DATABASES")]
        for name in databases:
            if name.startswith(DATABASE):
                self._drop(name)

    def _default(self) -> clickhouse.Engine:
        return clickhouse.Engine(
            msgspec.structs.replace(self.settings.clickhouse, database="default")
        )

    def _admin(self) -> AdminClient:
        return AdminClient(kafka.client_config(self.settings.kafka), logger=None)

    def _drop(self, database: str) -> None:
        # The engine's last: it is what `clean` finds leftovers by.
        self._in_postgres(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        with contextlib.closing(self._default()) as engine:
            engine.run(clickhouse.queries.bench_database_drop, database=database)

    def _in_postgres(self, statement: str) -> None:
        try:
            with psycopg.connect(
                postgres.conninfo(self.settings.postgres), autocommit=True
            ) as connection:
                connection.execute(statement.encode())
        except psycopg.Error as error:
            raise UnavailableError(postgres.SERVICE) from error


def _own(name: str) -> bool:
    return name.startswith(PREFIX)


def _done(results: Sequence[Callable[..., object]]) -> None:
    try:
        for result in results:
            result(timeout=ANSWER_S_MAX)
    except KafkaException as error:
        raise kafka.away(error) from error
