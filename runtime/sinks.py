"""What a pipeline needs of its store: claims of partitions, and saves only their owner makes."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from helix.adapters.postgres import Claim, Owned
from helix.domain.positions import Stored
from helix.errors import InvalidError


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event with its position, and its bytes as they came."""

    stored: Stored
    value: bytes


class Slice(msgspec.Struct, frozen=True):
    """A contiguous range of one partition and what of it is to be applied."""

    owned: Owned
    records: Sequence[Record]


class Refused(msgspec.Struct, frozen=True):
    """A record its store will never take, and why."""

    record: Record
    reason: str


class Sink(Protocol):
    """Where a pipeline's effect goes, position and effect together."""

    def claim(self, topic: str, epoch: str, partitions: Sequence[int]) -> list[Claim]:
        """Take partitions over: where each stands, and the range whose insert is in doubt."""
        ...

    def save(self, slices: Sequence[Slice]) -> None:
        """Apply the slices and move past them.

        `ConflictError` when they are another's now; `InvalidError` when the store refuses a record:
        ask `refused` which, and save the same ranges without them.
        """
        ...

    def refused(self, records: Sequence[Record]) -> list[Refused]:
        """Which of the records the store refuses, the same ones however often; saves nothing."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


def bisected(
    records: Sequence[Record], attempt: Callable[[Sequence[Record]], None]
) -> list[Refused]:
    """The records that make `attempt` fail with `InvalidError`, found by halves."""
    found: list[Refused] = []
    waiting = [records] if records else []
    while waiting:
        part = waiting.pop()
        try:
            attempt(part)
        except InvalidError as error:
            if len(part) == 1:
                found.append(Refused(part[0], error.message))
                continue
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]
    return found
