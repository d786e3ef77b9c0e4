"""The table of pipelines fits the catalogue, and sinks apply each event where it was first."""

from collections.abc import Sequence

import pytest

from helix.adapters import statements
from helix.adapters.clickhouse import EVENTS_COLUMNS, NOWHERE
from helix.domain.positions import Position, Stored
from helix.errors import InvalidError
from helix.events import Message, MessageAdded, encode
from helix.topology.catalog import CATALOG
from runtime.burial import TOPIC as DEAD_LETTERS
from runtime.pipelines import PIPELINES
from runtime.sinks import Record, bisected
from runtime.workers.conversations import is_first, namings


def record(offset: int, *, request: str = "", attempt: int = 1) -> Record:
    event = MessageAdded(
        event_id=f"e{offset}",
        tenant="t",
        occurred_at=1,
        ingested_at=1,
        conversation_id="c",
        request=request,
        attempt=attempt,
        message=Message(message_id=f"m{offset}", role="user", content="hi", tokens=1),
    )
    return Record(Stored(Position("e", 3, offset), event), encode(event))


def test_every_pipeline_reads_a_topic_that_names_its_noun_as_a_reader() -> None:
    readers = {topic.name: topic.readers for topic in CATALOG.topics}

    assert all(pipeline.noun in readers[pipeline.topic] for pipeline in PIPELINES)


def test_every_pipeline_has_a_name_of_its_own() -> None:
    names = [pipeline.name for pipeline in PIPELINES]

    assert len(set(names)) == len(names)


def test_dead_letters_go_to_a_topic_of_the_workers() -> None:
    writers = {topic.name: topic.writer for topic in CATALOG.topics}

    assert writers[DEAD_LETTERS] == "workers"


@pytest.mark.parametrize("bad", [set[int](), {0}, {8}, {3, 4}, set(range(9))])
def test_the_records_a_store_refuses_are_found_in_order(bad: set[int]) -> None:
    def attempt(part: Sequence[Record]) -> None:
        if any(one.stored.position.offset in bad for one in part):
            raise InvalidError("no")

    found = bisected([record(offset) for offset in range(9)], attempt)

    assert [one.record.stored.position.offset for one in found] == sorted(bad)
    assert all(one.reason == "no" for one in found)


def test_no_record_is_refused_of_none() -> None:
    def attempt(_: Sequence[Record]) -> None:
        raise AssertionError

    assert bisected([], attempt) == []


def test_only_events_that_may_come_again_are_noted() -> None:
    noted = namings([record(1), record(2, request="digest"), record(3, attempt=2)])

    assert [(name.event_id, name.offset, name.request) for name in noted] == [
        ("e2", 2, "digest"),
        ("e3", 3, ""),
    ]


def test_an_event_is_applied_where_it_was_first_and_nowhere_else() -> None:
    firsts = {("t", "e2"): Position("e", 3, 2)}
    again = Record(Stored(Position("e", 3, 9), record(2, request="x").stored.event), b"")

    assert is_first(record(2, request="x"), firsts)
    assert not is_first(again, firsts)


def test_an_event_that_was_not_noted_before_is_first_here() -> None:
    assert is_first(record(2, request="x"), {})
    assert is_first(record(5), {("t", "e5"): Position("e", 3, 1)})


def test_what_is_read_and_thrown_away_is_what_the_warm_copy_reads() -> None:
    created = statements.migrations("clickhouse")[0].statements[0].replace("`", "")
    columns = NOWHERE.partition("'")[2].rpartition("'")[0].replace("`", "").split(", ")

    assert [column.split()[0] for column in columns] == list(EVENTS_COLUMNS)
    assert all(f"    {column}" in created for column in columns)
