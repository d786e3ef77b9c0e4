"""C: what our way into the warm copy costs, beside the engine's own speed."""

import contextlib
import functools
import json
from collections.abc import Callable, Generator, Sequence

from helix.adapters.clickhouse import EVENTS_COLUMNS, queries
from helix.adapters.postgres import EVENTS_PIPELINE, Claim, Owned
from helix.domain.positions import Position, Range, Stored
from helix.events import decode, encode
from runtime.sinks import Record, Slice
from runtime.workers.conversations import EventSink, to_row
from validation.benchmarks import speech
from validation.benchmarks.lab import Lab, Stores
from validation.benchmarks.runner import Benchmark, Gate, Sample, Sides, rate

MESSAGES = 50_000
BATCH = 10_000  # records of one save, as the workers gather them
CONVERSATIONS = 400
TABLE = "conversation_events"
TOPIC = "helix_bench.events"
EPOCH = "bench"


@functools.cache
def values() -> tuple[bytes, ...]:
    """The bytes of the events as they come out of the log."""
    return tuple(encode(event) for event in speech.events(MESSAGES, CONVERSATIONS))


def slices(claim: Claim) -> list[Slice]:
    """The records of one partition, decoded as the workers do it, cut into batches."""
    records = [
        Record(Stored(Position(EPOCH, claim.partition, claim.next + number), decode(value)), value)
        for number, value in enumerate(values())
    ]
    return [
        Slice(
            Owned(
                Range(
                    TOPIC, EPOCH, claim.partition, claim.next + start, claim.next + start + BATCH
                ),
                claim.generation,
            ),
            records[start : start + BATCH],
        )
        for start in range(0, MESSAGES, BATCH)
    ]


def _saved(stores: Stores, sink: EventSink, claims: Sequence[Claim]) -> int:
    """How many rows are visible once every batch is saved."""
    (claim,) = claims
    for part in slices(claim):
        sink.save([part])
    return stores.rows()


def _in_rows(stores: Stores) -> int:
    """The usual way: objects, lists of rows, `insert`."""
    client = stores.engine.client()
    for start in range(0, MESSAGES, BATCH):
        rows: list[list[object]] = []
        for number, value in enumerate(values()[start : start + BATCH], start):
            event = json.loads(value)
            rows.append(
                [
                    event["tenant"],
                    event["conversation_id"],
                    EPOCH,
                    0,
                    number,
                    event["event_id"],
                    event["type"],
                    event["ingested_at"],
                    value.decode(),
                ]
            )
        client.insert(TABLE, rows, column_names=EVENTS_COLUMNS)
    return stores.rows()


def _ready() -> list[bytes]:
    """The rows of each batch as the sink would send them."""
    whole = slices(Claim(0, 0, 1))
    return [b"".join(map(to_row, part.records)) for part in whole]


def _sent(stores: Stores, buffers: Sequence[bytes]) -> int:
    client = stores.engine.client()
    for buffer in buffers:
        client.raw_insert(TABLE, EVENTS_COLUMNS, buffer, fmt="MsgPack")
    return stores.rows()


def _selected(stores: Stores) -> int:
    stores.engine.run(queries.bench_ready_copy)
    return stores.rows()


@contextlib.contextmanager
def _against(lab: Lab, other: Callable[[Stores], Callable[[], int]]) -> Generator[Sides]:
    with (
        lab.stores() as stores,
        contextlib.closing(EventSink(stores.settings, EVENTS_PIPELINE, to_row)) as sink,
    ):
        theirs = other(stores)

        def ours() -> Sample:
            stores.empty()
            claims = sink.claim(TOPIC, EPOCH, [0])
            return rate(MESSAGES, lambda: _saved(stores, sink, claims))

        def timed() -> Sample:
            stores.empty()
            return rate(MESSAGES, theirs)

        yield Sides(ours, timed)


def c1(lab: Lab) -> contextlib.AbstractContextManager[Sides]:
    """Against the engine alone, which reads the rows from its own memory."""

    def prepared(stores: Stores) -> Callable[[], int]:
        stores.engine.run(queries.bench_ready_create)
        for buffer in _ready():
            stores.engine.client().raw_insert("ready", EVENTS_COLUMNS, buffer, fmt="MsgPack")
        return lambda: _selected(stores)

    return _against(lab, prepared)


def c2(lab: Lab) -> contextlib.AbstractContextManager[Sides]:
    """Against the usual way."""
    return _against(lab, lambda stores: lambda: _in_rows(stores))


def c3(lab: Lab) -> contextlib.AbstractContextManager[Sides]:
    """Against sending what is ready."""
    buffers = _ready()
    return _against(lab, lambda stores: lambda: _sent(stores, buffers))


OURS = (
    f"our sink: {MESSAGES:,} events from the log's bytes to visible rows, {BATCH:,} a batch, each"
    " range noted and moved past in PostgreSQL"
)
VISIBLE = "`count()` of the table says that every row is visible"
BENCHMARKS = (
    Benchmark(
        id="C1",
        title="Storing: how far from the engine's limit",
        a=OURS,
        b="`INSERT SELECT` of the same rows from a table in the engine's memory",
        unit="events/s",
        counted=VISIBLE,
        gate=None,
        prepare=c1,
    ),
    Benchmark(
        id="C2",
        title="Storing: what our way gains",
        a=OURS,
        b="`json.loads` of each event, lists of rows, the client's `insert`",
        unit="events/s",
        counted=VISIBLE,
        gate=Gate("at least", 2.5),
        prepare=c2,
        limit="both wait about 8 us an event for the engine to sort, index, roll up and write; the"
        " CPU of our process is 5.3 us an event, of B's 6.9 us",
    ),
    Benchmark(
        id="C3",
        title="Storing: what our way costs",
        a=OURS,
        b="`raw_insert` of the same rows, made beforehand",
        unit="events/s",
        counted=VISIBLE,
        gate=Gate("at least", 0.8),
        prepare=c3,
        limit="the engine takes about 8 us an event from both; ours spends 5.2 us of CPU before, of"
        " which the decode is 1.9 us, the row 1.3 us and the record 1.0 us",
    ),
)
