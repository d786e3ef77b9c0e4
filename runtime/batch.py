"""What waits to be saved, partition by partition, counted as it comes and never beyond a bound."""

from collections.abc import Sequence

import msgspec
from confluent_kafka import Message

from helix.adapters.postgres import Claim, Owned
from helix.domain.positions import Range

RECORDS_MAX = 10_000  # of one batch, all partitions together
BYTES_MAX = 8 * 1024 * 1024  # passed by one record at most
DRAIN_RECORDS_MAX = 1_000  # asked of the client at once
# What one claim may read again: an earlier release's batch could pass its bound by one drain.
RANGE_RECORDS_MAX = 2 * RECORDS_MAX
RANGE_BYTES_MAX = 8 * BYTES_MAX


class Part(msgspec.Struct, frozen=True):
    """A range of one partition under its claim, and the records that are in it."""

    owned: Owned
    messages: Sequence[Message]


class Cursor:
    """A partition that is ours: what was saved, under which generation, and what waits."""

    def __init__(self, claim: Claim) -> None:
        self.next = claim.next
        self.generation = claim.generation
        self.waiting: list[Message] = []

    @property
    def expected(self) -> int:
        """The lowest offset that may come now."""
        return (self.waiting[-1].offset() or 0) + 1 if self.waiting else self.next


class Batch:
    """The partitions that are ours and what waits in them."""

    def __init__(self) -> None:
        self.cursors: dict[int, Cursor] = {}
        self._records = 0
        self._bytes = 0

    def own(self, claim: Claim) -> None:
        """The partition is ours from here on."""
        self.lose(claim.partition)
        self.cursors[claim.partition] = Cursor(claim)

    def lose(self, partition: int) -> None:
        """The partition is another's, and so is what waited in it."""
        if cursor := self.cursors.pop(partition, None):
            self._forget(cursor.waiting)

    def clear(self) -> None:
        """Nothing is ours."""
        for partition in list(self.cursors):
            self.lose(partition)

    def add(self, message: Message) -> None:
        """One more record waits in its partition; what came before is not taken twice."""
        cursor = self.cursors[message.partition() or 0]
        if (message.offset() or 0) >= cursor.expected:
            cursor.waiting.append(message)
            self._records += 1
            self._bytes += len(message)

    @property
    def full(self) -> bool:
        """Nothing more may be added."""
        return self._records >= RECORDS_MAX or self._bytes >= BYTES_MAX

    @property
    def wanted(self) -> int:
        """How many records to ask for: what does not fit would have to be fetched again."""
        left = RECORDS_MAX - self._records
        if self._bytes:  # half of what fits if the next ones are as large
            left = min(left, (BYTES_MAX - self._bytes) * self._records // self._bytes // 2)
        return max(1, min(left, DRAIN_RECORDS_MAX))

    def parts(self, topic: str, epoch: str) -> list[Part]:
        """What waits, as one range a partition."""
        return [
            Part(
                Owned(
                    Range(topic, epoch, partition, cursor.next, cursor.expected), cursor.generation
                ),
                cursor.waiting,
            )
            for partition, cursor in self.cursors.items()
            if cursor.waiting
        ]

    def saved(self, part: Part) -> None:
        """The part is behind us."""
        cursor = self.cursors[part.owned.span.partition]
        self._forget(cursor.waiting)
        cursor.next = part.owned.span.end
        cursor.waiting = []

    def _forget(self, messages: Sequence[Message]) -> None:
        self._records -= len(messages)
        self._bytes -= sum(map(len, messages))
