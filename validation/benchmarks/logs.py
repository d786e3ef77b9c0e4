"""Logs that benchmarks put under the platform: one that keeps nothing, one on another topic."""

import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from helix.adapters import fakes
from helix.domain.positions import Position, Range, Stored
from helix.events import AnyEvent, encode
from helix.ports import EventLog, Receipt


@dataclass
class NullLog(fakes.FakeLog):
    """Encodes and acknowledges at once, keeps nothing: what is left is the program's own cost."""

    offsets: Iterator[int] = field(default_factory=itertools.count)

    async def publish_all(self, topic: str, keyed: Sequence[tuple[str, AnyEvent]]) -> list[Receipt]:
        """Receipts in order."""
        return [Receipt(event.event_id, topic, 0, self._kept(event)) for _, event in keyed]

    def _kept(self, event: AnyEvent) -> int:
        encode(event)
        return next(self.offsets)


@dataclass(frozen=True, slots=True)
class OnTopic:
    """The real log, whatever topic is named: the platform's own is left alone."""

    log: EventLog
    topic: str

    async def publish(self, topic: str, key: str, events: Sequence[AnyEvent]) -> list[Receipt]:
        """As the log does, on our topic."""
        del topic
        return await self.log.publish(self.topic, key, events)

    async def publish_all(self, topic: str, keyed: Sequence[tuple[str, AnyEvent]]) -> list[Receipt]:
        """As the log does, on our topic."""
        del topic
        return await self.log.publish_all(self.topic, keyed)

    async def partition(self, topic: str, key: str) -> int:
        """As the log does, on our topic."""
        del topic
        return await self.log.partition(self.topic, key)

    async def high_watermark(self, topic: str, partition: int) -> Position:
        """As the log does, on our topic."""
        del topic
        return await self.log.high_watermark(self.topic, partition)

    def scan(self, span: Range) -> AsyncIterator[Stored]:
        """As the log does, on our topic."""
        return self.log.scan(msgspec.structs.replace(span, topic=self.topic))

    async def ping(self) -> str:
        """As the log does."""
        return await self.log.ping()
