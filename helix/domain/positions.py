"""Positions order events: (epoch, partition, offset), where the epoch is Kafka's topic id."""

import msgspec

from helix.events import AnyEvent


class Position(msgspec.Struct, frozen=True, order=True, gc=False):
    """A place in one partition of one incarnation of a topic; order holds within one partition."""

    epoch: str
    partition: int
    offset: int


class Range(msgspec.Struct, frozen=True):
    """The records of one partition from `first` up to and without `end`.

    Offsets may have holes (transaction markers), so a range is never a count of records.
    """

    topic: str
    epoch: str
    partition: int
    first: int
    end: int

    @property
    def token(self) -> str:
        """The same for the same range for ever: ClickHouse's deduplication token."""
        return f"{self.topic}:{self.epoch}:{self.partition}:{self.first}-{self.end}"


class Stored(msgspec.Struct, frozen=True, gc=False):
    """An event with the position that orders it."""

    position: Position
    event: AnyEvent
