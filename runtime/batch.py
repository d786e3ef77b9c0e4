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
        self.generation = claim.generation
        self.pass_to(claim.next)

    def pass_to(self, place: int) -> None:
        """Everything below that place is behind us, and nothing waits."""
        self.next = self.expected = place  # `expected`: the lowest offset that may come now
        self.waiting: list[Message] = []
        self.size = 0  # bytes of what waits


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
            self._forget(cursor)

    def clear(self) -> None:
        """Nothing is ours."""
        for partition in list(self.cursors):
            self.lose(partition)

    def take(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Records wait in their partitions while there is room; those that found none are returned.

        What came before is not taken twice, what is not ours not at all.
        """
        cursors = self.cursors
        for at, message in enumerate(messages):
            if self._records >= RECORDS_MAX or self._bytes >= BYTES_MAX:
                return messages[at:]
            cursor = cursors.get(message.partition() or 0)
            offset = message.offset() or 0
            if cursor is not None and offset >= cursor.expected:
                size = len(message)
                cursor.expected = offset + 1
                cursor.waiting.append(message)
                cursor.size += size
                self._bytes += size
                self._records += 1
        return ()

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
        self._forget(cursor)
        cursor.pass_to(part.owned.span.end)

    def _forget(self, cursor: Cursor) -> None:
        self._records -= len(cursor.waiting)
        self._bytes -= cursor.size
