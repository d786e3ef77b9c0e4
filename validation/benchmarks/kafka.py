"""K: what our way into and out of the log costs, beside the client library's own."""

import asyncio
import contextlib
import gc
import itertools
import json
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import msgspec
import uvloop
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from helix.adapters.kafka import Publisher, client_config, producer_config
from helix.adapters.postgres import Claim
from helix.client.wire import NewMessage
from helix.domain.ids import log_key
from helix.events import ConversationEvent, MessageAdded, encode
from helix.events import Message as Said
from helix.settings import Kafka, Settings
from helix.topology.model import Store
from runtime.loop import QUEUED_KIB_MAX, Loop
from runtime.meters import Meters, Readiness
from runtime.pipelines import Pipeline
from runtime.sinks import Record, Refused, Slice
from validation.benchmarks import byhand, speech
from validation.benchmarks.costs import Processes, Reading, Spent, kafka_address, own, servers
from validation.benchmarks.errors import VoidError
from validation.benchmarks.lab import Lab
from validation.benchmarks.runner import (
    Benchmark,
    Gate,
    Sample,
    Sides,
    counted,
    latency,
    rate,
    throughput,
)

PARTITIONS = 16  # as the topic of conversations
MESSAGES = 4_000
CHUNK = 500  # events of one `publish`, as a batch request has
PUBLISHERS = 8  # requests in flight
CONVERSATIONS = 400
DRAIN_RECORDS = 1_000
READ_MESSAGES = 24_000
RATE_HZ = 10_000
TICK_S = 0.001
PACED_S = 1.5
WARM_S = 0.3  # of a paced part, left out of its percentiles
WAIT_S_MAX = 60.0

_body = msgspec.json.Decoder(NewMessage)


# Into the log as fast as it goes: K1, K2.


@dataclass(slots=True)
class Acks:
    """Acknowledgements counted as a user of the library would."""

    count: int = 0
    failed: int = 0

    def __call__(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.count += 1
        else:
            self.failed += 1


def stamped(body: bytes, number: int, conversation_id: str) -> MessageAdded:
    """The event of a body, validated and stamped as the edge does it."""
    given = _body.decode(body)
    event_id = f"event-{number}"
    at = speech.STARTED_US + number
    return MessageAdded(
        event_id=event_id,
        tenant=speech.TENANT,
        occurred_at=at,
        ingested_at=at,
        conversation_id=conversation_id,
        message=Said(
            message_id=given.message_id or event_id,
            role=given.role,
            content=given.content,
            name=given.name,
            model=given.model,
            created_at=at,
            metadata=given.metadata,
        ),
    )


async def _published(publisher: Publisher, topic: str, bodies: Sequence[bytes]) -> int:
    """How many were acknowledged: requests of many events each, several in flight."""
    starts = iter(range(0, len(bodies), CHUNK))

    async def requests() -> int:
        acknowledged = 0
        for start in starts:
            name = f"conversation-{start // CHUNK % CONVERSATIONS}"
            chunk = enumerate(bodies[start : start + CHUNK], start)
            events = [stamped(body, number, name) for number, body in chunk]
            receipts = await publisher.publish(topic, log_key(speech.TENANT, name), events)
            acknowledged += len(receipts)
        return acknowledged

    return sum(await asyncio.gather(*(requests() for _ in range(PUBLISHERS))))


def _bare(producer: Producer, topic: str, values: Sequence[tuple[bytes, bytes]]) -> int:
    acks = Acks()
    produce = producer.produce
    for number, (key, value) in enumerate(values):
        produce(topic, value, key, on_delivery=acks)
        if not number % DRAIN_RECORDS:
            producer.poll(0)
    producer.flush(WAIT_S_MAX)
    return acks.count


def _stamped_dict(body: bytes, number: int, conversation_id: str) -> dict[str, Any]:
    """What `stamped` makes, without types and unchecked."""
    given = json.loads(body)
    event_id = f"event-{number}"
    at = speech.STARTED_US + number
    return {
        "type": "conversation.message.added",
        "event_id": event_id,
        "tenant": speech.TENANT,
        "occurred_at": at,
        "ingested_at": at,
        "conversation_id": conversation_id,
        "message": {**given, "message_id": given.get("message_id") or event_id, "created_at": at},
    }


def _naive(producer: Producer, topic: str, bodies: Sequence[bytes]) -> int:
    acks = Acks()
    for number, body in enumerate(bodies):
        event = _stamped_dict(body, number, f"conversation-{number // CHUNK % CONVERSATIONS}")
        value = json.dumps(event).encode()
        producer.produce(topic, value, _chunk_key(number).encode(), on_delivery=acks)
        producer.poll(0)
    producer.flush(WAIT_S_MAX)
    return acks.count


def _chunk_key(number: int) -> str:
    return log_key(speech.TENANT, f"conversation-{number // CHUNK % CONVERSATIONS}")


def _wire() -> list[tuple[str, bytes]]:
    """The events of our way, keyed the same, as they go on the wire."""
    return [
        (_chunk_key(number), encode(stamped(body, number, f"conversation-{number // CHUNK}")))
        for number, body in enumerate(speech.bodies(MESSAGES))
    ]


def _by_hand(producer: Producer, topic: str, bodies: Sequence[bytes]) -> int:
    """How many have their receipts: the same requests, as many in flight, without our library."""
    waiting: deque[byhand.Request] = deque()
    acknowledged = 0
    for start in range(0, len(bodies), CHUNK):
        name = f"conversation-{start // CHUNK % CONVERSATIONS}"
        chunk = bodies[start : start + CHUNK]
        waiting.append(byhand.publish_request(producer, topic, name, chunk, first=start))
        if len(waiting) == PUBLISHERS:
            acknowledged += len(byhand.await_receipts(producer, waiting.popleft()))
    return acknowledged + sum(len(byhand.await_receipts(producer, one)) for one in waiting)


@contextlib.contextmanager
def k1(lab: Lab) -> Generator[Sides]:
    """Our way against what one writes by hand, and against ready bytes.

    Each has its producer, connected and warm, before anything is timed.
    """
    kafka = lab.settings.kafka
    bodies = speech.bodies(MESSAGES)
    ready = [(key.encode(), value) for key, value in _wire()]
    involved = own() + servers(kafka_address(lab.settings))
    producer = Producer(producer_config(kafka), logger=None)
    with (
        lab.topic("K1", partitions=PARTITIONS) as topic,
        contextlib.closing(Publisher(kafka)) as publisher,
    ):
        yield Sides(
            lambda: rate(MESSAGES, lambda: _ours(publisher, topic, bodies), involved),
            lambda: rate(MESSAGES, lambda: _by_hand(producer, topic, bodies), involved),
            lambda: rate(MESSAGES, lambda: _bare(producer, topic, ready), involved),
        )


@contextlib.contextmanager
def k2(lab: Lab) -> Generator[Sides]:
    """Our way against the first example of every tutorial."""
    kafka = lab.settings.kafka
    bodies = speech.bodies(MESSAGES)
    involved = own() + servers(kafka_address(lab.settings))
    producer = Producer(producer_config(kafka), logger=None)
    with (
        lab.topic("K2", partitions=PARTITIONS) as topic,
        contextlib.closing(Publisher(kafka)) as publisher,
    ):
        yield Sides(
            lambda: rate(MESSAGES, lambda: _ours(publisher, topic, bodies), involved),
            lambda: rate(MESSAGES, lambda: _naive(producer, topic, bodies), involved),
        )


def _ours(publisher: Publisher, topic: str, bodies: Sequence[bytes]) -> int:
    return uvloop.run(_published(publisher, topic, bodies))


# Out of the log: K4.


class Counting:
    """A sink that only counts, and tells when everything came."""

    def __init__(self, expected: int, done: threading.Event, processes: Processes) -> None:
        self._expected = expected
        self._done = done
        self._processes = processes
        self.count = 0
        self.first = 0  # records of the first save: they were gathered before the clock started
        self._start: Reading | None = None
        self._spent: Spent | None = None

    def claim(self, topic: str, epoch: str, partitions: Sequence[int]) -> list[Claim]:
        """Every partition from its beginning."""
        del topic, epoch
        return [Claim(partition, 0, 1) for partition in partitions]

    def save(self, slices: Sequence[Slice]) -> None:
        """Count the records of the slices."""
        self.add(sum(len(part.records) for part in slices))

    def add(self, records: int) -> None:
        """Count; the clock runs from the first call to the last."""
        if not self.count:
            self._start, self.first = self._processes.read(), records
        self.count += records
        if self.count >= self._expected and self._start is not None:
            self._spent = self._processes.since(self._start)
            self._done.set()

    def refused(self, records: Sequence[Record]) -> list[Refused]:
        """Nothing is."""
        del records
        return []

    def close(self) -> None:
        """Nothing to let go of."""

    def sample(self) -> Sample:
        """Events a second after the first batch; void if one is missing or came twice."""
        counted(self.count, self._expected)
        if self._spent is None:
            raise VoidError("nothing came")
        return throughput(self.count - self.first, self._spent)


def _worked(settings: Settings, topic: str, group: str, involved: Processes) -> Sample:
    stop = threading.Event()
    sink = Counting(READ_MESSAGES, stop, involved)

    def opened(settings: Settings, name: str, function: object) -> Counting:
        del settings, name, function
        return sink

    pipeline = Pipeline(
        name=group,
        noun="conversations",
        topic=topic,
        events=ConversationEvent,
        function=len,
        store=Store.POSTGRES,
        sink=opened,
        gather_s=0.0,
    )
    loop = Loop(
        pipeline,
        settings,
        clock=lambda: speech.STARTED_US,
        stop=stop,
        meters=Meters(),
        readiness=Readiness((group,)),
    )
    thread = threading.Thread(target=loop.run)
    gc.collect()
    thread.start()
    stop.wait(WAIT_S_MAX)
    stop.set()
    thread.join(WAIT_S_MAX)
    return sink.sample()


def _gathered(settings: Kafka, topic: str, group: str, involved: Processes) -> Sample:
    """The loop one writes by hand, a member of a group like ours."""
    stop = threading.Event()
    sink = Counting(READ_MESSAGES, stop, involved)
    consumer = byhand.group_consumer(settings, group)
    loop = byhand.GroupLoop(
        consumer,
        topic,
        claim=lambda partitions: [(partition, 0) for partition in partitions],
        save=lambda batches: sink.add(sum(len(batch.events) for batch in batches.values())),
    )
    until = time.monotonic() + WAIT_S_MAX
    gc.collect()
    with contextlib.closing(consumer):
        consumer.subscribe([topic], on_assign=loop.assign, on_revoke=loop.revoke)
        while not stop.is_set() and time.monotonic() < until:
            loop.gather()
            loop.flush()
    counted(len(loop.malformed), 0)
    return sink.sample()


def _dropped(settings: Kafka, topic: str, involved: Processes) -> Sample:
    consumer = Consumer(
        client_config(
            settings,
            **{
                "group.id": "helix_bench",  # required by the client, never joined
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": QUEUED_KIB_MAX,
                "fetch.wait.max.ms": 50,
            },
        ),
        logger=None,
    )
    gc.collect()
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    first = done = len(consumer.consume(DRAIN_RECORDS, timeout=WAIT_S_MAX))
    start = involved.read()
    while done < READ_MESSAGES and time.perf_counter() - start.at_s < WAIT_S_MAX:
        done += len(consumer.consume(DRAIN_RECORDS, timeout=0.1))
    spent = involved.since(start)
    consumer.close()
    counted(done, READ_MESSAGES)
    return throughput(done - first, spent)


@contextlib.contextmanager
def k4(lab: Lab) -> Generator[Sides]:
    """The workers' loop against the one written by hand, and against reading alone."""
    wire = [
        (log_key(speech.TENANT, event.conversation_id).encode(), encode(event))
        for event in speech.events(MESSAGES, CONVERSATIONS)
    ]
    producer = Producer(producer_config(lab.settings.kafka), logger=None)
    with lab.topic("K4", partitions=PARTITIONS) as topic:
        for _ in range(READ_MESSAGES // MESSAGES):
            counted(_bare(producer, topic, wire), MESSAGES)
        groups = (f"helix_bench.{topic}.{number}" for number in itertools.count())
        kafka, involved = lab.settings.kafka, own() + servers(kafka_address(lab.settings))
        yield Sides(
            lambda: _worked(lab.settings, topic, next(groups), involved),
            lambda: _gathered(kafka, topic, next(groups), involved),
            lambda: _dropped(kafka, topic, involved),
        )


# From end to end at a steady rate: K5.


class Sent(msgspec.Struct, frozen=True):
    """When an event was meant to be sent, by the clock all processes share."""

    occurred_at: int


_sent = msgspec.json.Decoder(Sent)


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def listen(settings: Kafka, topic: str, firsts: Sequence[int], expected: int, pipe: Any) -> None:
    """In a process of its own: send the milliseconds each event took, late ones included."""
    consumer = Consumer(
        client_config(
            settings,
            **{
                "group.id": "helix_bench",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            },
        ),
        logger=None,
    )
    consumer.assign([TopicPartition(topic, number, at) for number, at in enumerate(firsts)])
    pipe.send(True)
    took: list[float] = []
    heard = time.monotonic()
    while len(took) < expected and time.monotonic() - heard < PACED_S:
        message = consumer.poll(0.1)
        if message is not None and isinstance(value := message.value(), bytes):
            heard = time.monotonic()
            took.append((_now_us() - _sent.decode(value).occurred_at) / 1e3)
    consumer.close()
    pipe.send(took)


async def ticks(rate_hz: int, duration_s: float) -> AsyncIterator[int]:
    """How many to send now, by a schedule that a slow tick does not move."""
    started = time.monotonic()
    sent = 0
    while sent < rate_hz * duration_s:
        due = int(min(time.monotonic() - started, duration_s) * rate_hz) - sent
        if due > 0:
            yield due
            sent += due
        await asyncio.sleep(TICK_S)


async def _paced(publisher: Publisher, topic: str) -> int:
    """Single events, each its own request, at the rate; how many were acknowledged."""
    bodies = speech.bodies(RATE_HZ)
    tasks: list[asyncio.Task[int]] = []

    async def one(number: int) -> int:
        name = f"conversation-{number % CONVERSATIONS}"
        event = stamped(bodies[number % RATE_HZ], number, name)
        event = msgspec.structs.replace(event, occurred_at=_now_us())
        return len(await publisher.publish(topic, log_key(speech.TENANT, name), [event]))

    async for due in ticks(RATE_HZ, PACED_S):
        now = len(tasks)
        tasks += [asyncio.create_task(one(now + index)) for index in range(due)]
    return sum(await asyncio.gather(*tasks))


def _by_publisher(settings: Kafka, topic: str) -> int:
    publisher = Publisher(settings)
    try:
        return uvloop.run(_paced(publisher, topic))
    finally:
        publisher.close()


def _halves() -> list[tuple[bytes, bytes, bytes]]:
    """Key, and the wire bytes around the time of sending."""
    marked = [
        (
            log_key(speech.TENANT, event.conversation_id),
            msgspec.structs.replace(event, occurred_at=1),
        )
        for event in speech.events(RATE_HZ, CONVERSATIONS)
    ]
    parted = [(key, encode(event).partition(b'"occurred_at":1,')) for key, event in marked]
    return [
        (key.encode(), before + b'"occurred_at":', b"," + after)
        for key, (before, _, after) in parted
    ]


async def _paced_bare(
    settings: Kafka, topic: str, halves: Sequence[tuple[bytes, bytes, bytes]]
) -> int:
    producer = Producer(producer_config(settings), logger=None)
    acks = Acks()
    stopped = threading.Event()

    def poll() -> None:
        while not stopped.is_set():
            producer.poll(0.1)

    thread = threading.Thread(target=poll)
    thread.start()
    number = 0
    async for due in ticks(RATE_HZ, PACED_S):
        for _ in range(due):
            key, before, after = halves[number % RATE_HZ]
            value = b"%b%d%b" % (before, _now_us(), after)
            producer.produce(topic, value, key, on_delivery=acks)
            number += 1
    stopped.set()
    thread.join()
    producer.flush(WAIT_S_MAX)
    return acks.count


def _heard(lab: Lab, topic: str, send: Callable[[], int]) -> Sample:
    """p95 from end to end; void when an event is missing."""
    expected = int(RATE_HZ * PACED_S)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    firsts = lab.ends(topic, PARTITIONS)
    listener = context.Process(
        target=listen, args=(lab.settings.kafka, topic, firsts, expected, there)
    )
    listener.start()
    try:
        _received(here)
        gc.collect()
        start = own().read()
        counted(send(), expected)
        spent = own().since(start)
        took: list[float] = _received(here)
    finally:
        listener.join(WAIT_S_MAX)
        if listener.is_alive():
            listener.kill()
    counted(len(took), expected)
    return latency(took, spent, warm=int(RATE_HZ * WARM_S))


def _received(pipe: Connection) -> Any:
    if not pipe.poll(WAIT_S_MAX):
        raise VoidError("the listening process said nothing")
    return pipe.recv()


@contextlib.contextmanager
def k5(lab: Lab) -> Generator[Sides]:
    """Our way against the library's at the same rate."""
    kafka = lab.settings.kafka
    halves = _halves()
    with lab.topic("K5", partitions=PARTITIONS) as topic:
        yield Sides(
            lambda: _heard(lab, topic, lambda: _by_publisher(kafka, topic)),
            lambda: _heard(lab, topic, lambda: uvloop.run(_paced_bare(kafka, topic, halves))),
        )


OURS = (
    f"our `Publisher`: {MESSAGES:,} bodies validated, stamped, encoded, produced and acknowledged, "
    f"{CHUNK} a call, {PUBLISHERS} calls in flight"
)
WITH_BROKER = "this process, the broker"
BENCHMARKS = (
    Benchmark(
        id="K1",
        title="Publishing: what our way gains over the same guarantees by hand",
        a=OURS,
        b="`json` and bare confluent-kafka: the same requests, every body checked by hand, stamped,"
        " `json` to text, `produce`, `poll(0)`, a receipt for every event",
        unit="events/s",
        counted="every event acknowledged",
        processes=WITH_BROKER,
        gate=Gate("at least", 1.5),
        prepare=k1,
        limit="bare `Producer.produce` of ready bytes, nothing decoded, with a delivery callback",
    ),
    Benchmark(
        id="K2",
        title="Publishing: what our way gains over a tutorial's",
        a=OURS,
        b="`json.loads` of each body, unchecked, a dict stamped, `json.dumps`, `produce` with a"
        " callback that counts, `poll(0)`",
        unit="events/s",
        counted="every event acknowledged",
        processes=WITH_BROKER,
        gate=Gate("at least", 2),
        prepare=k2,
        why_missed="ready bytes alone take 5.1 us of this process and 1.6 us of the broker in both;"
        " B checks nothing and keeps no receipts, for which A takes 13.1 us in all and B 21.9 us",
    ),
    Benchmark(
        id="K4",
        title="Consuming: what our way gains over the same guarantees by hand",
        a="the workers' loop: group, typed decode, batches by partition, commits; its sink counts",
        b="`json` and bare confluent-kafka: group, `consume(1000)`, `json.loads`, fields checked by"
        " hand, batches by partition, commits; it counts",
        unit="events/s",
        counted=f"{READ_MESSAGES:,} events came once each",
        processes=WITH_BROKER,
        gate=Gate("at least", 1.5),
        prepare=k4,
        limit="`consume(1000)` of assigned partitions that drops every message",
    ),
    Benchmark(
        id="K5",
        title="End to end at 10,000 events a second, p95",
        a="our `Publisher`, one event a call, to a consumer in another process",
        b="bare `produce` of ready bytes at the same rate and linger, to the same consumer",
        unit="ms",
        counted=f"{int(RATE_HZ * PACED_S):,} events acknowledged and read",
        processes="the process that sends",
        judged_by="wall time",
        gate=Gate("at most", 1.3),
        prepare=k5,
    ),
)
