"""Parts of the log become effects in a store; what no worker can use becomes a dead letter."""

from collections.abc import Callable, Sequence
from typing import get_args

from confluent_kafka import Message

from helix.adapters.kafka import audience, decoded
from helix.errors import InvalidError
from helix.events import DeadLetter
from helix.ports import Clock
from runtime.batch import Part
from runtime.burial import letter
from runtime.meters import Meters
from runtime.pipelines import Pipeline
from runtime.sinks import Record, Refused, Sink, Slice


class Saver:
    """Applies parts, each record once or buried with the reason; all of it or none."""

    def __init__(
        self,
        pipeline: Pipeline,
        sink: Sink,
        bury: Callable[[Sequence[DeadLetter]], None],
        *,
        clock: Clock,
        meters: Meters,
    ) -> None:
        self._pipeline = pipeline
        self._sink = sink
        self._publish = bury
        self._clock = clock
        self._meters = meters
        self._events = frozenset(get_args(pipeline.events))
        self._buried: set[str] = set()  # of the parts in hand: a retried save buries nothing twice

    def save(self, parts: Sequence[Part]) -> None:
        """Every part is behind us when this returns; after an error none is."""
        slices: list[Slice] = []
        letters: list[DeadLetter] = []
        for part in parts:
            records, undecodable = self._decoded(part)
            slices.append(Slice(part.owned, records))
            letters += undecodable
        self._bury(letters)
        with self._meters.save_s.labels(self._pipeline.name).time():
            self._sifted(parts, slices)
        self._buried.clear()
        self._count(slices)

    def _sifted(self, parts: Sequence[Part], slices: Sequence[Slice]) -> None:
        """What the store refuses is buried, the rest saved as the same ranges."""
        try:
            self._sink.save(slices)
        except InvalidError:
            refused = self._sink.refused([record for part in slices for record in part.records])
            if not refused:
                raise  # no record is to blame: somebody has to look
            self._bury(self._letters(parts, refused))
            self._sink.save([_without(part, refused) for part in slices])

    def _letters(self, parts: Sequence[Part], refused: Sequence[Refused]) -> list[DeadLetter]:
        messages = {(m.partition(), m.offset()): m for part in parts for m in part.messages}
        places = [found.record.stored.position for found in refused]
        return [
            self._letter(messages[place.partition, place.offset], place.epoch, found.reason)
            for place, found in zip(places, refused, strict=True)
        ]

    def _letter(self, message: Message, epoch: str, reason: str) -> DeadLetter:
        now = self._clock()
        return letter(message, self._pipeline.name, epoch=epoch, reason=reason, now=now)

    def _decoded(self, part: Part) -> tuple[list[Record], list[DeadLetter]]:
        records: list[Record] = []
        letters: list[DeadLetter] = []
        epoch = part.owned.span.epoch
        for message in part.messages:
            if not message.headers() or self._meant(message):
                try:
                    records.append(self._record(message, epoch))
                except InvalidError as error:
                    letters.append(self._letter(message, epoch, error.message))
        return records, letters

    def _meant(self, message: Message) -> bool:
        """A dead letter published again is for the pipelines that buried it: others have it."""
        names = audience(message)
        return names is None or self._pipeline.name in names

    def _record(self, message: Message, epoch: str) -> Record:
        stored = decoded(message, epoch)
        if type(stored.event) not in self._events:
            raise InvalidError(f"`{type(stored.event).__name__}` is of another topic")
        value = message.value()
        return Record(stored, value if isinstance(value, bytes) else b"")

    def _bury(self, letters: Sequence[DeadLetter]) -> None:
        fresh = [letter for letter in letters if letter.event_id not in self._buried]
        if fresh:
            self._publish(fresh)
            self._buried |= {letter.event_id for letter in fresh}
            self._meters.dead_letters.labels(self._pipeline.name).inc(len(fresh))

    def _count(self, slices: Sequence[Slice]) -> None:
        name = self._pipeline.name
        self._meters.batches.labels(name).inc()
        self._meters.events.labels(name).inc(sum(len(part.records) for part in slices))
        oldest = min(
            (record.stored.event.ingested_at for part in slices for record in part.records[:1]),
            default=self._clock(),
        )
        self._meters.lag_s.labels(name).set(max(0.0, (self._clock() - oldest) / 1e6))


def _without(part: Slice, refused: Sequence[Refused]) -> Slice:
    places = {found.record.stored.position for found in refused}
    kept = [record for record in part.records if record.stored.position not in places]
    return Slice(part.owned, kept)
