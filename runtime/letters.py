"""Dead letters as operators see them: which there are, published again, or given up for ever."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec
from confluent_kafka import KafkaException, Message

from helix.adapters.kafka import (
    AUDIENCE,
    Epochs,
    Readers,
    away,
    read,
    records,
)
from helix.domain.ids import derived_id, log_key
from helix.domain.positions import Range
from helix.errors import InvalidError, MissingError
from helix.events import AnyEvent, DeadLetter, DeadLetterSettled, Settlement, decode, encode
from helix.ports import Clock
from helix.settings import Kafka
from runtime.burial import TOPIC
from runtime.sending import PARTITION_BY_KEY, Outgoing, Sender

ROUND_LETTERS_MAX = 200  # published and acknowledged before their settlement is noted
Place = tuple[str, str, int, int]  # topic, epoch, partition, offset


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of dead letters says of one; its bytes stay in the topic."""

    letter_id: str
    pipeline: str
    topic: str
    epoch: str
    partition: int
    offset: int
    buried_at: int  # microseconds since 1970 UTC
    size: int
    reason: str
    state: Literal["open"] | Settlement = "open"

    @property
    def place(self) -> Place:
        """Where the record was that became the letter."""
        return self.topic, self.epoch, self.partition, self.offset


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters a command is about; a field left empty excludes none."""

    ids: frozenset[str] = frozenset()
    pipeline: str = ""
    topic: str = ""
    partition: int | None = None
    first: int = 0
    end: int | None = None
    states: frozenset[str] = frozenset({"open"})

    def takes(self, entry: Entry) -> bool:
        """Whether the letter is one of them."""
        return (
            entry.state in self.states
            and (not self.ids or entry.letter_id in self.ids)
            and self.pipeline in {"", entry.pipeline}
            and self.topic in {"", entry.topic}
            and self.partition in {None, entry.partition}
            and entry.offset >= self.first
            and (self.end is None or entry.offset < self.end)
        )

    def of(self, entries: Iterable[Entry]) -> list[Entry]:
        """The letters of the choice; `MissingError` where an id is none of them."""
        chosen = [entry for entry in entries if self.takes(entry)]
        if unknown := self.ids - {entry.letter_id for entry in chosen}:
            raise MissingError(
                f"no {' or '.join(sorted(self.states))} letter `{min(unknown)}`:"
                " `python -m runtime letters` lists them"
            )
        return chosen


def ledger(events: Iterable[AnyEvent]) -> list[Entry]:
    """Every letter once, in the order of their burial, as the latest settlement left it."""
    entries: dict[str, Entry] = {}
    for event in events:
        if isinstance(event, DeadLetter):
            entries.setdefault(event.event_id, _entry(event))
        elif isinstance(event, DeadLetterSettled) and event.letter_id in entries:
            known = entries[event.letter_id]
            entries[event.letter_id] = msgspec.structs.replace(known, state=event.outcome)
    return sorted(entries.values(), key=lambda entry: (entry.buried_at, entry.place))


def _entry(letter: DeadLetter) -> Entry:
    return Entry(
        letter_id=letter.event_id,
        pipeline=letter.pipeline,
        topic=letter.topic,
        epoch=letter.epoch,
        partition=letter.partition,
        offset=letter.offset,
        buried_at=letter.ingested_at,
        size=max(letter.size, len(letter.value)),
        reason=letter.reason,
    )


def raised(value: bytes) -> bytes:
    """The event's bytes with one attempt more, all else as it came; other bytes as they are."""
    try:
        attempt = decode(value).attempt + 1
    except InvalidError:
        return value
    fields = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    fields["attempt"] = msgspec.Raw(msgspec.json.encode(attempt))
    return msgspec.json.encode(fields)


class Desk:
    """Reads the dead-letter topic, and settles what it is told to."""

    def __init__(self, settings: Kafka, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._sender = Sender(settings)
        self.lost: list[str] = []  # why letters could not be published: their bytes are nowhere

    def entries(self) -> list[Entry]:
        """Every letter there is."""
        return ledger(self._events())

    def bury(self, chosen: Sequence[Entry]) -> Iterator[Entry]:
        """Give the letters up for ever; each is told once that is noted."""
        for start in range(0, len(chosen), ROUND_LETTERS_MAX):
            part = chosen[start : start + ROUND_LETTERS_MAX]
            self._settle(part, "buried")
            yield from part

    def replay(self, chosen: Sequence[Entry]) -> Iterator[Entry]:
        """Publish the records again, once each, for the pipelines that buried them.

        A letter is told once its record is acknowledged and that is noted. What is cut short
        between the two is published again the next time: its id makes the sinks apply it once.
        """
        wanted: dict[Place, list[Entry]] = {}
        for entry in chosen:
            wanted.setdefault(entry.place, []).append(entry)
        sent: list[Entry] = []
        for event in self._events():
            if not isinstance(event, DeadLetter):
                continue
            group = wanted.pop(_entry(event).place, [])
            if group and self._published(event, group):
                sent += group
            if len(sent) >= ROUND_LETTERS_MAX:
                yield from self._noted(sent)
                sent = []
        yield from self._noted(sent)

    def _noted(self, sent: Sequence[Entry]) -> Sequence[Entry]:
        self._sender.flush()
        self._settle(sent, "replayed")
        return sent

    def _published(self, letter: DeadLetter, group: Sequence[Entry]) -> bool:
        """Whether the record is on its way; what is gone is remembered as `lost`."""
        try:
            key, value = self._original(letter)
        except MissingError as error:
            self.lost.append(error.message)
            return False
        audience = ",".join(sorted({entry.pipeline for entry in group}))
        record = Outgoing(
            topic=letter.topic,
            value=raised(value),
            key=key or None,
            # Without a key nothing but its old partition keeps the record near its neighbours.
            partition=PARTITION_BY_KEY if key else letter.partition,
            headers={AUDIENCE: audience.encode()},
        )
        self._sender.send(record)
        return True

    def _original(self, letter: DeadLetter) -> tuple[bytes, bytes]:
        """Key and value of the record; `MissingError` where neither letter nor log has them."""
        if letter.size <= len(letter.value):
            return letter.key, letter.value
        span = Range(letter.topic, letter.epoch, letter.partition, letter.offset, letter.offset + 1)
        for message in self._read(span):
            key, value = message.key(), message.value()
            if isinstance(value, bytes):
                return key if isinstance(key, bytes) else b"", value
        raise MissingError(
            f"the record of letter `{letter.event_id}` is gone from `{letter.topic}`, and it was"
            " too large to be kept: `python -m runtime bury --id` gives it up"
        )

    def _read(self, span: Range) -> list[Message]:
        if Epochs(self._settings).current(span.topic).epoch != span.epoch:
            return []
        readers = Readers(self._settings)
        reader = readers.take()
        try:
            return [message for batch in read(reader, span) for message in batch]
        except KafkaException as error:
            raise away(error) from error
        finally:
            readers.give(reader)
            readers.close()

    def _settle(self, entries: Sequence[Entry], outcome: Settlement) -> None:
        now = self._clock()
        for entry in entries:
            settled = DeadLetterSettled(
                event_id=derived_id(entry.letter_id, outcome),
                tenant="",
                occurred_at=now,
                ingested_at=now,
                letter_id=entry.letter_id,
                outcome=outcome,
            )
            # The letter's own key, so that this comes behind it.
            key = log_key("", entry.topic).encode()
            self._sender.send(Outgoing(topic=TOPIC, value=encode(settled), key=key))
        self._sender.flush()

    def _events(self) -> Iterator[AnyEvent]:
        for message in records(self._settings, TOPIC):
            value = message.value()
            with contextlib.suppress(InvalidError):  # somebody else's: not ours to judge
                yield decode(value if isinstance(value, bytes) else b"")
