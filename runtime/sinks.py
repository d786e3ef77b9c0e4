"""What a pipeline needs of its store: claims of partitions, and saves only their owner makes."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from helix.adapters.postgres import Claim, Owned
from helix.domain.positions import Stored


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event with its position, and its bytes as they came."""

    stored: Stored
    value: bytes


class Slice(msgspec.Struct, frozen=True):
    """A contiguous range of one partition and what of it could be decoded."""

    owned: Owned
    records: Sequence[Record]


class Sink(Protocol):
    """Where a pipeline's effect goes, position and effect together."""

    def claim(self, topic: str, epoch: str, partitions: Sequence[int]) -> list[Claim]:
        """Take partitions over: where each stands, and the range whose insert is in doubt."""
        ...

    def save(self, slices: Sequence[Slice]) -> None:
        """Apply the slices and move past them; `ConflictError` when they are another's now."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...
