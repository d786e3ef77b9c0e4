"""C: what our way into the warm copy costs, beside the engine's own speed."""

import contextlib
import functools
import json
from collections.abc import Callable, Generator, Sequence

from helix.adapters.clickhouse import EVENTS_COLUMNS, queries
from helix.adapters.postgres import EVENTS_PIPELINE, Claim, Owned, Watermarks
from helix.domain.positions import Position, Range, Stored
from helix.events import decode, encode
from runtime.sinks import Record, Slice
from runtime.workers.conversations import EventSink, to_row
from validation.benchmarks import byhand, speech
from validation.benchmarks.costs import (
    Processes,
    clickhouse_address,
    own,
    postgres_address,
    servers,
)
from validation.benchmarks.lab import Lab, Stores
from validation.benchmarks.runner import Benchmark, Gate, Sample, Sides, rate

MESSAGES = 10_000
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
        Slice(Owned(span, claim.generation), records[start : start + BATCH])
        for start, span in zip(range(0, MESSAGES, BATCH), spans(claim), strict=True)
    ]


def spans(claim: Claim) -> list[Range]:
    """Return the ranges of a claimed partition that are saved one after the other."""
    return [
        Range(TOPIC, EPOCH, claim.partition, claim.next + start, claim.next + start + BATCH)
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


def _by_hand(stores: Stores, marks: Watermarks, claim: Claim) -> int:
    """The loop one writes with the client, each range noted and moved past as ours are."""
    client = stores.engine.client()
    for span in spans(claim):
        part = values()[span.first - claim.next : span.end - claim.next]
        byhand.store_range(client, TABLE, marks, Owned(span, claim.generation), part)
    return stores.rows()


def _selected(stores: Stores) -> int:
    stores.engine.run(queries.bench_ready_copy)
    return stores.rows()


def _keep_ready(stores: Stores) -> None:
    """Put the rows, as the sink would send them, into the engine's own memory."""
    stores.engine.run(queries.bench_ready_create)
    for part in slices(Claim(0, 0, 1)):
        rows = b"".join(map(to_row, part.records))
        stores.engine.client().raw_insert("ready", EVENTS_COLUMNS, rows, fmt="MsgPack")


@contextlib.contextmanager
def c2(lab: Lab) -> Generator[Sides]:
    """Our sink against the usual way."""
    with _sink(lab) as (stores, involved, ours):
        yield Sides(ours, lambda: _timed(stores, involved, lambda: _in_rows(stores)))


@contextlib.contextmanager
def c3(lab: Lab) -> Generator[Sides]:
    """Our sink against one written by hand, and against the engine alone."""
    with _sink(lab) as (stores, involved, ours):
        _keep_ready(stores)
        marks = Watermarks(stores.session, EVENTS_PIPELINE)

        def by_hand() -> Sample:
            stores.empty()
            (claim,) = marks.claim(TOPIC, EPOCH, [0])
            return rate(MESSAGES, lambda: _by_hand(stores, marks, claim), involved)

        yield Sides(ours, by_hand, lambda: _timed(stores, involved, lambda: _selected(stores)))


@contextlib.contextmanager
def _sink(lab: Lab) -> Generator[tuple[Stores, Processes, Callable[[], Sample]]]:
    """Empty stores, whoever has a part in storing, and our sink over them."""
    with (
        lab.stores() as stores,
        contextlib.closing(EventSink(stores.settings, EVENTS_PIPELINE, to_row)) as sink,
    ):
        addresses = clickhouse_address(lab.settings), postgres_address(lab.settings)
        involved = own() + servers(*addresses)

        def ours() -> Sample:
            stores.empty()
            claims = sink.claim(TOPIC, EPOCH, [0])
            return rate(MESSAGES, lambda: _saved(stores, sink, claims), involved)

        yield stores, involved, ours


def _timed(stores: Stores, involved: Processes, work: Callable[[], int]) -> Sample:
    stores.empty()
    return rate(MESSAGES, work, involved)


OURS = (
    f"our sink: {MESSAGES:,} events from the log's bytes to visible rows, {BATCH:,} a batch, each"
    " range noted and moved past in PostgreSQL"
)
VISIBLE = "`count()` of the table says that every row is visible"
WITH_ENGINES = "this process, ClickHouse, PostgreSQL"
BENCHMARKS = (
    Benchmark(
        id="C2",
        title="Storing: what our way gains over a tutorial's",
        a=OURS,
        b="`json.loads` of each event, lists of rows, the client's `insert`; no range is noted",
        unit="events/s",
        counted=VISIBLE,
        processes=WITH_ENGINES,
        gate=Gate("at least", 2.5),
        prepare=c2,
        why_missed="ClickHouse takes 6 to 8 us an event from both, 4 us of it to sort, index, roll"
        " up and write; A notes each range in PostgreSQL besides, B nothing",
    ),
    Benchmark(
        id="C3",
        title="Storing: what our way gains over the same guarantees by hand",
        a=OURS,
        b="a plain clickhouse-connect loop: `json.loads` of each event, fields checked by hand,"
        " lists of rows, the client's `insert` under the range's token, each range noted and moved"
        " past in PostgreSQL as well",
        unit="events/s",
        counted=VISIBLE,
        processes=WITH_ENGINES,
        gate=Gate("at least", 1.5),
        prepare=c3,
        why_missed="ClickHouse takes 7.6 us an event from A, whose rows it parses, and 6.4 us from"
        " B, whose columns come ready; in this process alone A takes 8.1 us and B 23 us",
        limit="`INSERT SELECT` of the same rows from a table in the engine's memory",
    ),
)
