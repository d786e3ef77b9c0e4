"""A batch keeps to its bounds, and all of it becomes an effect or a dead letter."""

from collections.abc import Callable, Sequence

import pytest
from confluent_kafka import Message

from helix.adapters.kafka import AUDIENCE
from helix.adapters.postgres import Claim
from helix.errors import InvalidError, UnavailableError
from helix.events import EVENT_BYTES_MAX, ConversationCompleted, DeadLetter, encode
from runtime.batch import BYTES_MAX, DRAIN_RECORDS_MAX, RECORDS_MAX, Batch
from runtime.burial import HELD_BYTES_MAX, letter
from runtime.meters import Meters
from runtime.pipelines import PIPELINES
from runtime.saver import Saver
from runtime.sinks import Record, Refused, Slice

TOPIC = "helixagent.conversations"
PIPELINE = PIPELINES[0]


def message(
    offset: int, *, partition: int = 0, value: bytes | None = None, to: str = ""
) -> Message:
    event = ConversationCompleted(
        event_id=f"e{offset}",
        tenant="t",
        occurred_at=1,
        ingested_at=2,
        conversation_id="c",
        outcome="successful",
    )
    return Message(
        topic=TOPIC,
        partition=partition,
        offset=offset,
        key=b"t/c",
        value=encode(event) if value is None else value,
        headers=[(AUDIENCE, to.encode())] if to else None,
    )


def batch_of(*messages: Message, first: int = 0) -> Batch:
    batch = Batch()
    for partition in range(2):
        batch.own(Claim(partition, first, 7))
    batch.take(messages)
    return batch


class MemorySink:
    """Keeps what it is given, refuses the offsets it is told to."""

    def __init__(self, *refused: int) -> None:
        self.saved: list[Slice] = []
        self.failures = 0
        self._refused = set(refused)

    def claim(self, topic: str, epoch: str, partitions: Sequence[int]) -> list[Claim]:
        return [Claim(partition, 0, 1) for partition in partitions if topic and epoch]

    def save(self, slices: Sequence[Slice]) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("postgres")
        if self.refused([record for part in slices for record in part.records]):
            raise InvalidError("one of them")
        self.saved += slices

    def refused(self, records: Sequence[Record]) -> list[Refused]:
        bad = [record for record in records if record.stored.position.offset in self._refused]
        return [Refused(record, "too odd") for record in bad]

    def close(self) -> None:
        self.saved.clear()

    @property
    def offsets(self) -> list[int]:
        return [record.stored.position.offset for part in self.saved for record in part.records]


Make = Callable[[MemorySink], Saver]


@pytest.fixture
def letters() -> list[DeadLetter]:
    return []


@pytest.fixture
def saver(letters: list[DeadLetter]) -> Make:
    return lambda sink: Saver(PIPELINE, sink, letters.extend, clock=lambda: 9, meters=Meters())


def test_every_partition_becomes_one_range_up_to_its_last_record() -> None:
    batch = batch_of(message(3), message(5), message(4, partition=1), first=2)

    spans = [part.owned.span for part in batch.parts(TOPIC, "epoch")]

    assert [(span.partition, span.first, span.end) for span in spans] == [(0, 2, 6), (1, 2, 5)]


def test_a_record_that_was_there_already_is_not_taken_twice() -> None:
    batch = batch_of(message(3), message(3), message(1), first=2)

    assert [len(part.messages) for part in batch.parts(TOPIC, "epoch")] == [1]


def test_a_batch_is_full_by_records_and_empty_once_they_are_saved() -> None:
    batch = batch_of(*(message(offset, value=b"x") for offset in range(RECORDS_MAX)))
    assert batch.full

    for part in batch.parts(TOPIC, "epoch"):
        batch.saved(part)

    assert not batch.full
    assert batch.wanted == DRAIN_RECORDS_MAX
    assert batch.parts(TOPIC, "epoch") == []


def test_a_batch_is_full_by_bytes_and_asks_for_less_the_larger_its_records_are() -> None:
    batch = batch_of(message(0, value=bytes(BYTES_MAX // 10)))
    assert batch.wanted == 4

    batch.take([message(offset, value=bytes(BYTES_MAX // 10 + 1)) for offset in range(1, 10)])

    assert batch.full


def test_what_finds_no_room_is_handed_back_from_there_on() -> None:
    batch = batch_of(*(message(offset, value=b"x") for offset in range(RECORDS_MAX - 1)))

    late = batch.take([message(RECORDS_MAX - 1), message(RECORDS_MAX), message(0, partition=1)])

    assert [(one.partition(), one.offset()) for one in late] == [(0, RECORDS_MAX), (1, 0)]
    assert [len(part.messages) for part in batch.parts(TOPIC, "epoch")] == [RECORDS_MAX]


def test_a_record_of_a_partition_that_is_not_ours_is_left() -> None:
    batch = batch_of(message(0, partition=9))

    assert batch.parts(TOPIC, "epoch") == []


def test_a_lost_partition_takes_what_waited_along() -> None:
    batch = batch_of(message(0, partition=1), message(0, value=bytes(BYTES_MAX)))
    batch.lose(0)

    assert not batch.full
    assert [part.owned.span.partition for part in batch.parts(TOPIC, "epoch")] == [1]


def test_what_cannot_be_decoded_is_buried_and_the_rest_saved_as_the_whole_range(
    saver: Make, letters: list[DeadLetter]
) -> None:
    sink = MemorySink()
    saver(sink).save(batch_of(message(0), message(1, value=b"?"), message(2)).parts(TOPIC, "e"))

    assert sink.offsets == [0, 2]
    assert sink.saved[0].owned.span.end == 3
    [found] = letters
    assert (found.offset, found.value, found.key, found.size) == (1, b"?", b"t/c", 1)


def test_what_the_store_refuses_is_buried_and_the_rest_saved_as_the_same_ranges(
    saver: Make, letters: list[DeadLetter]
) -> None:
    sink = MemorySink(1, 5)
    given = batch_of(*map(message, range(4)), message(5, partition=1))
    saver(sink).save(given.parts(TOPIC, "e"))

    assert sink.offsets == [0, 2, 3]
    assert [(part.owned.span.first, part.owned.span.end) for part in sink.saved] == [(0, 4), (0, 6)]
    assert {(found.offset, found.reason) for found in letters} == {
        (1, "too odd"),
        (5, "too odd"),
    }


def test_a_save_that_is_tried_again_buries_nothing_twice(
    saver: Make, letters: list[DeadLetter]
) -> None:
    sink = MemorySink()
    sink.failures = 2
    parts = batch_of(message(0, value=b"?"), message(1)).parts(TOPIC, "e")
    ours = saver(sink)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            ours.save(parts)

    ours.save(parts)

    assert len(letters) == 1
    assert sink.offsets == [1]


def test_a_record_for_other_pipelines_is_passed_and_not_buried(
    saver: Make, letters: list[DeadLetter]
) -> None:
    sink = MemorySink()
    given = batch_of(
        message(0, to=PIPELINE.name), message(1, to=f"x,{PIPELINE.name}"), message(2, to="x")
    )
    saver(sink).save(given.parts(TOPIC, "e"))

    assert sink.offsets == [0, 1]
    assert sink.saved[0].owned.span.end == 3
    assert letters == []


def test_a_letter_without_room_for_its_record_says_how_large_that_is() -> None:
    large = message(1, value=bytes(HELD_BYTES_MAX))

    found = letter(large, "p", epoch="e", reason="too much", now=1)

    assert (found.value, found.key, found.size) == (b"", b"", HELD_BYTES_MAX)


def test_the_largest_record_that_a_letter_holds_fits_into_the_log() -> None:
    large = message(1, value=bytes(HELD_BYTES_MAX - 3))

    found = letter(large, "p", epoch="e", reason="r" * 1000, now=1)

    assert found.value
    assert len(encode(found)) < EVENT_BYTES_MAX
