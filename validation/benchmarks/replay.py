"""R: what a replay costs, beside a scan of the log and beside its own floor; how it scales."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import uvloop
from confluent_kafka import Consumer, Producer, TopicPartition

from controlplane.replay import TOPIC, resume
from controlplane.replay import replay as replayed
from helix.adapters import clickhouse, fakes, kafka, postgres
from helix.adapters.postgres import EVENTS_PIPELINE, STATES_PIPELINE, Owned
from helix.domain import conversations, snapshots
from helix.domain.ids import log_key
from helix.domain.positions import Position, Range, Stored
from helix.events import AnyEvent, MessageAdded, decode, encode
from helix.ports import World
from helix.settings import Kafka
from runtime.sinks import Record, Sink, Slice
from runtime.snapshots import compressed
from runtime.workers.conversations import EventSink, StateSink, to_row
from validation.benchmarks import speech
from validation.benchmarks.costs import (
    Processes,
    clickhouse_address,
    kafka_address,
    own,
    postgres_address,
    servers,
)
from validation.benchmarks.lab import Lab, Stores
from validation.benchmarks.logs import OnTopic
from validation.benchmarks.runner import Benchmark, Gate, Sample, Sides, counted, lasting

MESSAGES = 10_000  # of the conversation that is replayed
OTHERS = 20  # times as many of other conversations, in the same partition
OTHER_CONVERSATIONS = 500
TEXTS = 2_000
BATCH = 10_000
OURS = "wanted"
STORED_OTHERS = 100  # times as many rows of other conversations, in the larger store
SNAPSHOT_AGE = 500  # events since the snapshot, the most a snapshot is ever behind
WAIT_S_MAX = 60.0


def traffic(messages: int, others: int) -> Generator[MessageAdded]:
    """The conversation's messages, so many of others' between each two."""
    templates = [speech.added(number, OURS) for number in range(TEXTS)]
    numbers = itertools.count()
    for turn in range(messages):
        yield _event(templates, next(numbers), OURS)
        for other in range(others):
            name = f"other-{(turn * others + other) % OTHER_CONVERSATIONS}"
            yield _event(templates, next(numbers), name)


def _event(templates: Sequence[MessageAdded], number: int, name: str) -> MessageAdded:
    template = templates[number % len(templates)]
    event_id = f"event-{number}"
    return msgspec.structs.replace(
        template,
        event_id=event_id,
        ingested_at=speech.STARTED_US + number,
        conversation_id=name,
        message=msgspec.structs.replace(template.message, message_id=event_id),
    )


def produced(settings: Kafka, topic: str, events: Sequence[AnyEvent]) -> None:
    """The events are in the only partition of the topic, in their order."""
    producer = Producer(kafka.producer_config(settings), logger=None)
    for event in events:
        if not isinstance(event, MessageAdded):
            continue
        key = log_key(event.tenant, event.conversation_id).encode()
        while True:
            try:
                producer.produce(topic, encode(event), key)
                break
            except BufferError:
                producer.poll(1.0)
    counted(producer.flush(WAIT_S_MAX), 0)


def stored(sink: Sink, epoch: str, events: Sequence[MessageAdded]) -> None:
    """The events are where that pipeline puts them."""
    (claim,) = sink.claim(TOPIC, epoch, [0])
    for start in range(0, len(events), BATCH):
        part = events[start : start + BATCH]
        records = [
            Record(Stored(Position(epoch, 0, start + number), event), encode(event))
            for number, event in enumerate(part)
        ]
        span = Range(TOPIC, epoch, 0, start, start + len(part))
        sink.save([Slice(Owned(span, claim.generation), records)])


def crowded(stores: Stores, times: int, epoch: str) -> None:
    """So many times the conversation's rows more, of other conversations, made by the engine."""
    statement = clickhouse.queries.bench_events_crowd
    stores.engine.run(statement, times=times, conversation_id=OURS, epoch=epoch)


@dataclass(frozen=True, slots=True)
class Bench:
    """A world over real stores that hold the conversation, and the loop it lives in."""

    loop: asyncio.AbstractEventLoop
    world: World
    stores: Stores
    epoch: str

    def replay(self) -> int:
        """How many messages a full replay gives."""
        found = self.loop.run_until_complete(replayed(self.world, speech.TENANT, OURS))
        return len(conversations.messages(found.events))

    def resumed(self) -> int:
        """How many events a resume reads after the snapshot."""
        found = self.loop.run_until_complete(resume(self.world, speech.TENANT, OURS))
        return len(found.later.events) if found else -1

    def bare(self) -> int:
        """How many rows a bare SELECT gives, decoded."""
        answer = self.stores.engine.client().query(
            clickhouse.queries.bench_event_values,
            parameters={"tenant": speech.TENANT, "conversation_id": OURS},
            column_formats={"value": "bytes"},
            column_oriented=True,
        )
        return len([decode(value) for value in answer.result_columns[0]])


@dataclass(frozen=True, slots=True)
class Told:
    """The conversation, and others with it, in a topic of their own."""

    topic: str
    events: list[MessageAdded]


@contextlib.contextmanager
def told(lab: Lab, name: str, *, others: int = 0) -> Generator[Told]:
    """So many times the conversation's messages of others in its topic."""
    events = list(traffic(MESSAGES, others))
    with lab.topic(name, partitions=1) as topic:
        produced(lab.settings.kafka, topic, events)
        yield Told(topic, events)


@contextlib.contextmanager
def bench(lab: Lab, given: Told, *, name: str = "") -> Generator[Bench]:
    """What was told, in stores of its own as well."""
    epoch = kafka.Epochs(lab.settings.kafka).current(given.topic).epoch
    with lab.stores(name) as stores, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for sink in (
            EventSink(stores.settings, EVENTS_PIPELINE, to_row),
            StateSink(stores.settings, STATES_PIPELINE, conversations.fold),
        ):
            with contextlib.closing(sink):
                stored(sink, epoch, given.events)
        edge = postgres.Edge(stores.settings.postgres)
        log = kafka.Log(stores.settings.kafka)
        runner.run(edge.open())
        try:
            world = replace(
                fakes.world(),
                log=OnTopic(log, given.topic),
                conversations=postgres.States(edge),
                events=clickhouse.Events(stores.engine, postgres.Marks(edge)),
            )
            # Not by the runner's own `run`, which prints what a task returned into a string.
            yield Bench(runner.get_loop(), world, stores, epoch)
        finally:
            log.close()
            runner.run(edge.close())


class Scan:
    """A warm consumer that reads the whole partition and keeps one key."""

    def __init__(self, settings: Kafka, topic: str, end: int) -> None:
        self._topic = topic
        self._end = end
        self._key = log_key(speech.TENANT, OURS).encode()
        config = kafka.client_config(
            settings,
            **{"group.id": "helix_bench", "enable.auto.commit": False, "fetch.wait.max.ms": 10},
        )
        self._consumer = Consumer(config, logger=None)

    def __call__(self) -> int:
        """How many messages of the conversation there are, decoded."""
        self._consumer.assign([TopicPartition(self._topic, 0, 0)])
        found: list[AnyEvent] = []
        place = 0
        while place < self._end:
            messages = self._consumer.consume(1_000, timeout=1.0)
            if not messages:
                break
            place = (messages[-1].offset() or 0) + 1
            found += [
                decode(value)
                for message in messages
                if message.key() == self._key and isinstance(value := message.value(), bytes)
            ]
        return len(found)

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()


def processes(lab: Lab) -> Processes:
    """Whoever has a part in a replay."""
    settings = lab.settings
    return own() + servers(
        kafka_address(settings), clickhouse_address(settings), postgres_address(settings)
    )


def replays(ours: Bench, involved: Processes) -> Callable[[], Sample]:
    """One side of a comparison: the whole conversation replayed."""
    return partial(lasting, MESSAGES, ours.replay, involved)


@contextlib.contextmanager
def r1(lab: Lab) -> Generator[Sides]:
    """The replay against what the log alone would take."""
    with (
        told(lab, "R1", others=OTHERS) as given,
        bench(lab, given) as ours,
        contextlib.closing(Scan(lab.settings.kafka, given.topic, len(given.events))) as scan,
    ):
        involved = processes(lab)
        yield Sides(partial(lasting, MESSAGES, scan, involved), replays(ours, involved))


@contextlib.contextmanager
def r2(lab: Lab) -> Generator[Sides]:
    """The replay among many rows against the replay among few."""
    with (
        told(lab, "R2") as given,
        bench(lab, given, name="_many") as many,
        bench(lab, given, name="_few") as few,
    ):
        crowded(few.stores, 1, few.epoch)
        for _ in range(STORED_OTHERS // 10):
            crowded(many.stores, 10, many.epoch)
        involved = processes(lab)
        yield Sides(replays(many, involved), replays(few, involved))


@contextlib.contextmanager
def r3(lab: Lab) -> Generator[Sides]:
    """The replay against its floor."""
    with told(lab, "R3") as given, bench(lab, given) as ours:
        involved = processes(lab)
        yield Sides(replays(ours, involved), partial(lasting, MESSAGES, ours.bare, involved))


@contextlib.contextmanager
def r4(lab: Lab) -> Generator[Sides]:
    """A resume against the whole."""
    early = MESSAGES - SNAPSHOT_AGE
    with told(lab, "R4") as given, bench(lab, given) as ours:
        snapshot = snapshots.taken(
            None,
            [
                Stored(Position(ours.epoch, 0, number), event)
                for number, event in enumerate(given.events[:early])
            ],
            upto=Position(ours.epoch, 0, early),
            made_at=speech.STARTED_US,
            compress=compressed,
        )
        postgres.Snapshots(ours.stores.session).save(snapshot)
        involved = processes(lab)
        resumes = partial(lasting, SNAPSHOT_AGE, ours.resumed, involved)
        yield Sides(resumes, replays(ours, involved))


REPLAY = f"`replay` of a conversation of {MESSAGES:,} messages: state, rows, tail, each once"
INVOLVED = "this process, the broker, ClickHouse, PostgreSQL"
COUNTED = f"all {MESSAGES:,} messages are in the answer"
BENCHMARKS = (
    Benchmark(
        id="R1",
        title="Replay: how much longer the log alone takes",
        a=f"a warm consumer reads the partition, {OTHERS} times as much of others in it, keeps one"
        " key and decodes it",
        b=REPLAY,
        unit="ms",
        counted=COUNTED,
        processes=INVOLVED,
        judged_by="wall time",
        gate=Gate("at least", 10),
        prepare=r1,
    ),
    Benchmark(
        id="R2",
        title="Replay: what a hundredfold store costs",
        a=f"{REPLAY}, {STORED_OTHERS} times as many rows of others stored",
        b="the same, as many rows of others stored as of its own",
        unit="ms",
        counted=COUNTED,
        processes=INVOLVED,
        judged_by="wall time",
        gate=Gate("at most", 1.5),
        prepare=r2,
    ),
    Benchmark(
        id="R3",
        title="Replay: how far from its floor",
        a=REPLAY,
        b="a bare SELECT of the same rows' values, decoded into the same events",
        unit="ms",
        counted=COUNTED,
        processes=INVOLVED,
        judged_by="wall time",
        gate=Gate("at most", 1.5),
        prepare=r3,
    ),
    Benchmark(
        id="R4",
        title="Resume: what a snapshot saves",
        a=f"`resume`: the snapshot and the {SNAPSHOT_AGE} messages after it",
        b=REPLAY,
        unit="ms",
        counted=f"{COUNTED}, or {SNAPSHOT_AGE} after the snapshot",
        processes=INVOLVED,
        judged_by="wall time",
        gate=Gate("at most", 0.2),
        prepare=r4,
        why_missed=(
            "this is the oldest a snapshot gets, and both leave out the answer's encoding: "
            "over REST a resume takes 0.05 of the replay's time right at the snapshot, 0.14 "
            "at 100 messages after it and 0.20 at 450"
        ),
    ),
)
