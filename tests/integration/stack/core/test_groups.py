"""What a pipeline reads when its share of the log changes while its store is away."""

import contextlib
import threading
from collections.abc import Generator, Sequence

import msgspec
from confluent_kafka import Producer

from helix.adapters.kafka import producer_config
from helix.adapters.postgres import Claim
from helix.errors import UnavailableError
from helix.events import ConversationCompleted, encode
from helix.settings import Settings
from runtime.loop import Loop
from runtime.meters import Meters, Readiness
from runtime.pipelines import PIPELINES
from runtime.sinks import Record, Refused, Slice
from tests.integration.live import name
from tests.integration.running import SCRATCH_PARTITIONS, Running
from tests.waiting import until

ALL = set(range(SCRATCH_PARTITIONS))


class Store:
    """Where partitions stand, and which of them it does not take at present."""

    def __init__(self) -> None:
        self.saved: dict[int, int] = dict.fromkeys(ALL, 0)
        self.away: set[int] = set()


class Share:
    """The store, as one member of the group reaches it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.claimed: set[int] = set()
        self.refusals = 0

    def claim(self, topic: str, epoch: str, partitions: Sequence[int]) -> list[Claim]:
        assert topic
        assert epoch
        self.claimed |= set(partitions)
        return [Claim(partition, self._store.saved[partition], 1) for partition in partitions]

    def save(self, slices: Sequence[Slice]) -> None:
        spans = [part.owned.span for part in slices]
        if self._store.away.intersection(span.partition for span in spans):
            self.refusals += 1
            raise UnavailableError("postgres")
        self._store.saved |= {span.partition: span.end for span in spans}

    def refused(self, records: Sequence[Record]) -> list[Refused]:
        raise AssertionError(records)

    def close(self) -> None:
        self.claimed.clear()


@contextlib.contextmanager
def member(stack: Running, store: Store, topic: str) -> Generator[Share]:
    """A pipeline at work in the topic's group."""
    share, stop = Share(store), threading.Event()

    def opened(_settings: Settings, _name: str, _function: object) -> Share:
        return share

    pipeline = msgspec.structs.replace(PIPELINES[0], name=topic, topic=topic, sink=opened)
    loop = Loop(
        pipeline,
        stack.settings,
        clock=lambda: 1,
        stop=stop,
        meters=Meters(),
        readiness=Readiness((topic,)),
    )
    thread = threading.Thread(target=loop.run, name=topic)
    thread.start()
    try:
        yield share
    finally:
        stop.set()
        thread.join()


def publish(stack: Running, topic: str) -> None:
    """One more record in every partition."""
    event = ConversationCompleted(
        event_id=name(),
        tenant="t",
        occurred_at=1,
        ingested_at=2,
        conversation_id="c",
        outcome="successful",
    )
    producer = Producer(producer_config(stack.settings.kafka))
    for partition in ALL:
        producer.produce(topic, encode(event), key=b"t/c", partition=partition)
    assert producer.flush(10) == 0


def test_what_was_taken_away_while_its_store_was_away_is_read_when_it_is_given_back(
    stack: Running, scratch: str
) -> None:
    store = Store()
    with member(stack, store, scratch) as first:
        until(lambda: first.claimed == ALL, what="the first member has every partition")
        store.away = ALL
        publish(stack, scratch)
        until(lambda: first.refusals > 1, what="the first member waits for its store")
        with member(stack, store, scratch) as second:
            until(lambda: second.claimed, what="the second member has its share")
            store.away = set(second.claimed)
            kept = ALL - store.away
            until(lambda: all(store.saved[p] for p in kept), what="the first saved what it kept")
            first.claimed.clear()
        until(lambda: first.claimed == store.away, what="the first member has the rest again")
        store.away = set()
        publish(stack, scratch)
        until(lambda: set(store.saved.values()) == {2}, what="every partition is read to its end")
